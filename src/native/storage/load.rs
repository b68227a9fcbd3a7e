//! What is read at start: the log by its manifest, or the last snapshot.
//!
//! A thread of its own reads the files ([`super::pieces`]); they pass a [`Checker`], and the engine takes them in
//! pieces between batches, while clients are served with -LOADING. What is damaged is [`super::mend`]'s. Also the
//! change from an old log of one file to Redis 7's layout. Redis' counterparts: `loadDataFromDisk`,
//! `loadAppendOnlyFiles`, `aofUpgradePrepare`.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::config::Config;
use crate::engine::load::LoadKind;
use crate::engine::time::Now;
use crate::native::clock::Clock;
use crate::native::log::{self, in_words};
use crate::native::process;
use crate::native::ready::Flag;
use crate::rdb::{Ahead, Aux, Format, Sum, Writer};

use super::append::OpenPart;
use super::check::{self, Checker, Found, Stop};
use super::disk::{Claim, Disk, SharedDisk};
use super::manifest::{self, Manifest, Part};
use super::mend::{self, Mended};
use super::pieces::{Piece, Pieces};
use super::seal::{Chain, End};
use super::worker::LogPlace;
use super::{current_dir, log_place};

/// How long the engine loads before clients are looked after.
const SLICE: Duration = Duration::from_millis(1);

/// How long to wait for another server to let go of the log.
const CLAIM_PATIENCE: Duration = Duration::from_secs(2);

/// A log that is open for appending.
pub struct OpenLog {
    /// Where it is.
    pub place: LogPlace,
    /// Its files.
    pub manifest: Manifest,
    /// The last part; none if the log begins anew.
    pub part: Option<OpenPart>,
    /// Bytes of all its files.
    pub bytes: u64,
}

/// A file to be loaded.
pub(super) struct Source {
    pub path: PathBuf,
    pub kind: LoadKind,
    pub bytes: u64,
    /// Its end may be torn: it was being written when the process ended.
    pub last: bool,
    /// Its number in the manifest, and whether it is the base.
    pub seq: u64,
    pub base: bool,
}

/// A log that is this server's: where it is, its files, and the claim to the last part.
struct Ours {
    place: LogPlace,
    manifest: Manifest,
    claim: Option<Claim>,
}

/// What is to be loaded.
pub struct Plan {
    sources: Vec<Source>,
    /// The log to go on with, unless it is off.
    log: Option<Ours>,
    /// Nothing is changed on the disk.
    look_only: bool,
    /// What is later than this is not wanted.
    until: Option<i64>,
}

/// The manifest on the disk, if there is one.
///
/// # Errors
/// In words: it cannot be read, or is wrong.
pub fn read_manifest(disk: &dyn Disk, place: &LogPlace) -> Result<Option<Manifest>, String> {
    let path = manifest::path(&place.dir, &place.prefix);
    let text = match disk.read(&path) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(format!("Can't read the manifest of the log, {}: {}", path.display(), in_words(&error)));
        }
    };
    let manifest = Manifest::parse(&text);
    manifest.map(Some).map_err(|what| {
        format!(
            "The manifest of the log is wrong. {}, {what}. Nothing was changed; put the file back from a backup.",
            path.display()
        )
    })
}

/// Finds what is to be loaded, and makes the log ready to be appended to.
///
/// # Errors
/// In words for the log: what is wrong with which file, and what to do.
pub fn plan(disk: &dyn Disk, config: &Config) -> Result<Plan, String> {
    let until = (config.aof_load_until > 0).then_some(config.aof_load_until as i64);
    let place = log_place(config);
    if let Some(until) = until.filter(|_| !config.appendonly) {
        let manifest = read_manifest(disk, &place)?;
        let manifest = manifest.ok_or_else(|| format!("There is no log in {} to be looked at", place.dir.display()))?;
        log::notice(&format!(
            "Loading the log up to the unix time {until}, to be looked at: appendonly is off, and no file of the log is changed."
        ));
        let sources = sources_of(disk, &place, &manifest)?;
        return Ok(Plan { sources, log: None, look_only: true, until: Some(until) });
    }
    check_folder(disk, config)?;
    remove_leftovers(disk);
    let rdb = current_dir().join(OsStr::from_bytes(&config.dbfilename));
    if !config.appendonly {
        let sources = snapshot_source(disk, rdb)?;
        return Ok(Plan { sources: sources.into_iter().collect(), log: None, look_only: true, until: None });
    }
    disk.make_folder(&place.dir).map_err(|error| {
        format!(
            "Can't create the log's folder {}: {}. Is the data folder writable?",
            place.dir.display(),
            in_words(&error)
        )
    })?;
    let known = read_manifest(disk, &place)?;
    let claim = known.as_ref().map(|manifest| claim_last(disk, &place, manifest)).transpose()?.flatten();
    let manifest = match known {
        Some(manifest) => {
            finish_upgrade(disk, &place, &manifest)?;
            if !manifest.sealed {
                mend::check_base(disk, &place, &manifest)?;
                log::notice("The manifest of the log has no checksum: another server wrote it, or an earlier version.");
            }
            manifest
        }
        None => {
            mend::check_forgotten(disk, &place)?;
            begin(disk, &place, config, &rdb)?
        }
    };
    let sources = sources_of(disk, &place, &manifest)?;
    Ok(Plan { sources, log: Some(Ours { place, manifest, claim }), look_only: false, until })
}

/// Claims the last part of the log for this server. One that has just been killed may need a moment to let go of it.
///
/// # Errors
/// In words: another server writes to it.
fn claim_last(disk: &dyn Disk, place: &LogPlace, manifest: &Manifest) -> Result<Option<Claim>, String> {
    let Some(path) = manifest.parts.last().map(|part| place.dir.join(&part.name)) else { return Ok(None) };
    let began = Instant::now();
    loop {
        match disk.claim(&path) {
            Ok(claim) => return Ok(Some(claim)),
            Err(error) if error.kind() != ErrorKind::ResourceBusy => return Ok(None),
            Err(_) if began.elapsed() < CLAIM_PATIENCE => std::thread::sleep(CLAIM_PATIENCE / 20),
            Err(_) => {
                return Err(format!(
                    "Another server is running that writes to {}. Stop it, or give this one a data folder of its own \
                     with --dir.",
                    path.display()
                ));
            }
        }
    }
}

/// The last snapshot as it is on the disk, to be loaded again.
///
/// # Errors
/// In words: there is none.
pub fn plan_snapshot_again(disk: &dyn Disk, config: &Config) -> Result<Plan, String> {
    let path = current_dir().join(OsStr::from_bytes(&config.dbfilename));
    match snapshot_source(disk, path)? {
        Some(source) => Ok(Plan { sources: vec![source], log: None, look_only: true, until: None }),
        None => Err("Error trying to load the RDB dump, check server logs.".to_owned()),
    }
}

/// The log as it is on the disk, to be loaded again.
///
/// # Errors
/// In words: there is none, or it is not complete.
pub fn plan_again(disk: &dyn Disk, place: &LogPlace) -> Result<Plan, String> {
    let manifest = read_manifest(disk, place)?.ok_or("there is no log to be loaded")?;
    let sources = sources_of(disk, place, &manifest)?;
    Ok(Plan { sources, log: None, look_only: true, until: None })
}

fn sources_of(disk: &dyn Disk, place: &LogPlace, manifest: &Manifest) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for (part, base) in manifest.base.iter().map(|part| (part, true)).chain(manifest.parts.iter().map(|p| (p, false))) {
        let path = place.dir.join(&part.name);
        let bytes = length(disk, &path)?.ok_or_else(|| missing(&path, part))?;
        sources.push(Source { path, kind: LoadKind::Log, bytes, last: false, seq: part.seq, base });
    }
    if let Some(last) = sources.last_mut() {
        last.last = true;
    }
    Ok(sources)
}

/// Removes unfinished snapshots of processes that are no more.
fn remove_leftovers(disk: &dyn Disk) {
    let dir = current_dir();
    for name in disk.names(&dir).unwrap_or_default() {
        let Some(name) = name.to_str() else { continue };
        let middle = |start, end| name.strip_prefix(start).and_then(|rest: &str| rest.strip_suffix(end));
        let Some(pid) = middle("temp-rewriteaof-bg-", ".aof").or_else(|| middle("temp-", ".rdb")) else { continue };
        if pid.parse().is_ok_and(|pid| !process::is_running(pid)) && disk.remove(&dir.join(name)).is_ok() {
            log::notice(&format!("Removed {name}, which a process left unfinished"));
        }
    }
}

fn missing(path: &Path, part: &Part) -> String {
    format!(
        "The manifest of the log names {} (number {}), which is not there: No such file or directory. Put it back from a backup; the log cannot be \
         loaded without it.",
        path.display(),
        part.seq
    )
}

fn length(disk: &dyn Disk, path: &Path) -> Result<Option<u64>, String> {
    disk.length(path).map_err(|error| format!("Can't read {}: {}", path.display(), in_words(&error)))
}

fn snapshot_source(disk: &dyn Disk, path: PathBuf) -> Result<Option<Source>, String> {
    let bytes = length(disk, &path)?;
    Ok(bytes.map(|bytes| Source { path, kind: LoadKind::Snapshot, bytes, last: true, seq: 0, base: true }))
}

/// A new log: from an old one of one file, from the last snapshot, or from nothing.
fn begin(disk: &dyn Disk, place: &LogPlace, config: &Config, rdb: &Path) -> Result<Manifest, String> {
    let mut manifest = Manifest::default();
    manifest.reserve_base();
    let old = length(disk, &current_dir().join(&place.prefix))?.is_some();
    let made = || -> io::Result<Manifest> {
        if old {
            // The manifest first: a crash in between is put right by the next start.
            manifest.adopt_base(&place.prefix);
            manifest.store(disk, &place.dir, &place.prefix)?;
            return Ok(manifest);
        }
        let base = place.dir.join(manifest.next_base(&place.prefix, false));
        let bytes = if disk.length(rdb)?.is_some() {
            let from = rdb.display();
            log::warning(&format!("appendonly is on, but there is no log yet: it begins with the data of {from}"));
            disk.read(rdb)?
        } else {
            log::notice(&format!("Creating AOF base file {} on server start", base.display()));
            empty_snapshot(config)
        };
        let file = disk.create(&base)?;
        file.write_all(&bytes, 0)?;
        file.sync()?;
        disk.create(&place.dir.join(manifest.next_part(&place.prefix)))?;
        disk.sync_folder(&place.dir)?;
        manifest.store(disk, &place.dir, &place.prefix)?;
        Ok(manifest)
    };
    let manifest =
        made().map_err(|error| format!("Can't begin a log in {}: {}", place.dir.display(), in_words(&error)))?;
    finish_upgrade(disk, place, &manifest)?;
    Ok(manifest)
}

/// Moves an old log of one file to where its manifest expects it.
fn finish_upgrade(disk: &dyn Disk, place: &LogPlace, manifest: &Manifest) -> Result<(), String> {
    let (old, new) = (current_dir().join(&place.prefix), place.dir.join(&place.prefix));
    let expected = manifest.base.as_ref().is_some_and(|base| base.name == place.prefix) && manifest.parts.is_empty();
    if !expected || length(disk, &new)?.is_some() || length(disk, &old)?.is_none() {
        return Ok(());
    }
    let moved = disk.rename(&old, &new).and_then(|()| disk.sync_folder(&place.dir));
    let moved = moved.and_then(|()| disk.sync_folder(&current_dir()));
    moved.map_err(|error| format!("Can't move {} to {}: {}", old.display(), new.display(), in_words(&error)))?;
    log::notice(&format!("Successfully migrated an old-style AOF into the folder {}", place.dir.display()));
    Ok(())
}

fn empty_snapshot(config: &Config) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Format::for_field_expiries(false), config.rdbcompression);
    let head = Aux {
        redis_version: std::str::from_utf8(&config.haversack_server_version).unwrap_or_default(),
        created_seconds: Clock::start().now().wall.seconds(),
        used_bytes: 0,
        replication: None,
        aof_base: true,
    };
    writer.head(&head, &mut bytes);
    writer.finish(&mut bytes);
    Sum::new(config.rdbchecksum).seal(&mut bytes);
    bytes
}

/// Says early that the data folder cannot be written to.
fn check_folder(disk: &dyn Disk, config: &Config) -> Result<(), String> {
    let dir = current_dir();
    let probe = dir.join(format!("temp-{}.probe", std::process::id()));
    let written = disk.create(&probe).and_then(|_| disk.remove(&probe));
    let Err(error) = written else { return Ok(()) };
    let text = format!(
        "The data folder {} is not writable: {}. Give this user the right to write there, or name another folder \
         with --dir.",
        dir.display(),
        in_words(&error)
    );
    if config.appendonly {
        return Err(text);
    }
    if !config.save.0.is_empty() {
        log::warning(&format!("{text} Until then no snapshot can be saved."));
    }
    Ok(())
}

/// A load under way.
pub struct Loader {
    disk: SharedDisk,
    pieces: Pieces,
    sources: VecDeque<Source>,
    /// What the file being loaded passes.
    checker: Option<Checker>,
    begun: bool,
    from_log: bool,
    log: Option<Ours>,
    look_only: bool,
    until: Option<i64>,
    /// Something later than wanted has been met.
    later: bool,
    /// The rest of the files is not read: it is later, or cut off.
    stopped: bool,
    /// The times noted in the log.
    stamps: Option<(i64, i64)>,
    /// How the file before this one ended, if it was a part.
    before: Option<End>,
    /// What the last file turned out to be.
    found: Option<Found>,
    checked: Vec<u8>,
    started: Instant,
    said: Instant,
    loaded: u64,
    total: u64,
    /// What `key-load-delay` leaves of a piece, from an offset on.
    rest: Option<(Vec<u8>, usize)>,
    /// Keys that have been delayed.
    delayed: u64,
}

/// How a slice of loading ended.
pub enum Progress {
    /// More is there.
    More,
    /// The thread has not read on yet; the flag will be raised.
    Wait,
    /// Everything is loaded.
    Done(Option<Box<OpenLog>>),
}

impl Loader {
    /// Starts to load, into an engine that is new; or `again`, while it is running.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn start(
        plan: Plan,
        again: Option<bool>,
        engine: &mut Engine,
        now: Now,
        flag: Arc<Flag>,
        disk: &SharedDisk,
    ) -> Result<Loader, String> {
        let total = plan.sources.iter().map(|source| source.bytes).sum();
        match again {
            Some(flush) => engine.begin_reload(now, total, flush),
            None => engine.begin_load(now, total),
        }
        let paths = plan.sources.iter().map(|source| source.path.clone()).collect();
        let pieces = Pieces::of(paths, disk.clone(), flag);
        let pieces = pieces.map_err(|error| format!("Cannot start the loading thread: {error}"))?;
        let now = Instant::now();
        Ok(Loader {
            disk: disk.clone(),
            pieces,
            from_log: plan.sources.iter().any(|source| source.kind == LoadKind::Log),
            sources: plan.sources.into(),
            checker: None,
            begun: false,
            log: plan.log,
            look_only: plan.look_only,
            until: plan.until,
            later: false,
            stopped: false,
            stamps: None,
            before: None,
            found: None,
            checked: Vec::new(),
            started: now,
            said: now,
            loaded: 0,
            total,
            rest: None,
            delayed: 0,
        })
    }

    /// Loads for some milliseconds.
    ///
    /// # Errors
    /// In words for the log: what is wrong where, and what to do. The process is to end.
    pub fn slice(&mut self, engine: &mut Engine, now: Now) -> Result<Progress, String> {
        let began = Instant::now();
        while let Some(source) = self.sources.front() {
            if !self.begun {
                engine.begin_file(source.kind);
                self.checker = (source.kind == LoadKind::Log).then(|| Checker::new(self.until));
                self.begun = true;
            }
            let (piece, at) = match self.rest.take() {
                Some((bytes, at)) => (Ok(Piece::Bytes(bytes, Ahead::default())), at),
                None => (self.pieces.next(), 0),
            };
            match piece {
                Err(TryRecvError::Empty) => return Ok(Progress::Wait),
                Err(TryRecvError::Disconnected) => return Err("The loading thread has ended too early".to_owned()),
                Ok(Piece::Failed(error)) => {
                    return Err(format!("Can't read {}: {}", source.path.display(), in_words(&error)));
                }
                Ok(Piece::Bytes(bytes, ahead)) => {
                    engine.expect(ahead);
                    let slow = engine.config().key_load_delay > 0;
                    let step = if slow { engine.config().loading_process_events_interval_bytes } else { u32::MAX };
                    let end = bytes.len().min(at.saturating_add(step as usize));
                    self.loaded += (end - at) as u64;
                    self.load(engine, now, &bytes[at..end])?;
                    if self.stopped {
                        break;
                    }
                    if end < bytes.len() {
                        self.rest = Some((bytes, end));
                    }
                    if slow {
                        self.delay(engine);
                        return Ok(Progress::More);
                    }
                    self.say_progress();
                }
                Ok(Piece::End) => {
                    self.end_file(engine, now)?;
                    self.sources.pop_front();
                    self.begun = false;
                }
            }
            if began.elapsed() >= SLICE {
                return Ok(Progress::More);
            }
        }
        self.finish(engine, now)
    }

    /// Passes bytes through the checker to the engine.
    fn load(&mut self, engine: &mut Engine, now: Now, bytes: &[u8]) -> Result<(), String> {
        let Some(source) = self.sources.front() else { return Ok(()) };
        let Some(checker) = &mut self.checker else {
            return engine.load(now, bytes).map_err(|error| mend::refusal(source, &error));
        };
        self.checked.clear();
        let taken = checker.take(bytes, &mut self.checked);
        mend::check_head(source, checker.head(), self.before)?;
        if !self.checked.is_empty() {
            engine.load(now, &self.checked).map_err(|error| mend::refusal(source, &error))?;
        }
        match taken {
            Ok(()) => Ok(()),
            Err(Stop::Until(_)) if source.base => Err(mend::too_early(self.until, checker)),
            Err(Stop::Until(time)) => {
                let (path, until) = (source.path.display(), self.until.unwrap_or_default());
                log::notice(&format!("{path} goes on with the unix time {time}: not loaded (aof-load-until {until})"));
                (self.later, self.stopped) = (true, true);
                Ok(())
            }
            Err(Stop::Damage(damage)) => {
                let may_cut = !self.look_only;
                let mended = mend::damaged(&*self.disk, source, &damage, engine.config(), may_cut)?;
                self.go_on_behind(mended)
            }
        }
    }

    /// The file is cut to what is whole: it was the last one.
    fn go_on_behind(&mut self, mended: Mended) -> Result<(), String> {
        let Some(source) = self.sources.front() else { return Ok(()) };
        self.found = Some(mend::look_again(&*self.disk, source, mended)?);
        self.stopped = true;
        Ok(())
    }

    fn end_file(&mut self, engine: &mut Engine, now: Now) -> Result<(), String> {
        let Some(source) = self.sources.front() else { return Ok(()) };
        let Some(mut checker) = self.checker.take() else {
            return engine.end_file().map_err(|error| mend::refusal(source, &error));
        };
        if let (Some(until), Some(time)) = (self.until, checker.base_time())
            && time > until
        {
            return Err(mend::too_early(self.until, &checker));
        }
        self.stamps = checker.stamps.or(self.stamps);
        self.checked.clear();
        let ended = checker.end(&mut self.checked);
        mend::check_head(source, checker.head(), self.before)?;
        if !self.checked.is_empty() {
            engine.load(now, &self.checked).map_err(|error| mend::refusal(source, &error))?;
        }
        let may_cut = !self.look_only;
        let found = match ended {
            Ok(found) => found,
            Err(Stop::Damage(damage)) => {
                let mended = mend::damaged(&*self.disk, source, &damage, engine.config(), may_cut)?;
                return self.go_on_behind(mended);
            }
            Err(Stop::Until(_)) => return Ok(()),
        };
        if let Err(error) = engine.end_file() {
            let mended = mend::truncated(&*self.disk, source, &error, engine.config(), may_cut, &found)?;
            return self.go_on_behind(mended);
        }
        mend::check_end(source, &found)?;
        mend::check_lost(&*self.disk, source, &found, engine.config())?;
        if found.bare > 0 && !found.snapshot {
            let (path, bytes) = (source.path.display(), found.bare);
            log::notice(&format!(
                "{bytes} of {} bytes of {path} have no checksums: another server wrote them, or an earlier version",
                source.bytes
            ));
        }
        self.before = (!source.base && found.is_followed()).then(|| check::end_of(source.seq, &found));
        self.found = Some(found);
        Ok(())
    }

    /// Makes the keys loaded since the last time take as long as `key-load-delay` says.
    fn delay(&mut self, engine: &Engine) {
        let keys = engine.steps_loaded();
        let micros = engine.config().key_load_delay.max(0) as u64;
        std::thread::sleep(Duration::from_micros(micros.saturating_mul(keys.saturating_sub(self.delayed))));
        self.delayed = keys;
    }

    fn say_progress(&mut self) {
        if self.said.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.said = Instant::now();
        let percent = self.loaded * 100 / self.total.max(1);
        log::notice(&format!("Loading: {percent}% ({} of {} MB)", self.loaded >> 20, self.total >> 20));
    }

    fn finish(&mut self, engine: &mut Engine, now: Now) -> Result<Progress, String> {
        let stats = engine.end_load(now);
        for note in &stats.notes {
            log::warning(&format!("While loading: {note}"));
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let what = if self.from_log { "append only file" } else { "disk" };
        if self.total > 0 {
            log::notice(&format!(
                "Done loading: keys loaded: {}, keys expired: {}, commands run: {}.",
                stats.keys, stats.expired, stats.commands
            ));
            log::notice(&format!("DB loaded from {what}: {seconds:.3} seconds"));
        }
        if let Some(until) = self.until.filter(|_| !self.later) {
            let (_, last) = self.stamps.ok_or_else(|| mend::no_stamps(until))?;
            log::notice(&format!("The log ends before the unix time {until}, about {last}: all of it is loaded."));
        }
        let Some(Ours { place, manifest, claim }) = self.log.take() else { return Ok(Progress::Done(None)) };
        let disk = &*self.disk;
        if self.later {
            let manifest = mend::keep_for_later(disk, &place, manifest)?;
            return Ok(Progress::Done(Some(Box::new(OpenLog { place, manifest, part: None, bytes: 0 }))));
        }
        let found = self.found.filter(Found::is_followed);
        let ours = Ours { place, manifest, claim };
        open_last(disk, ours, self.total, found, self.before).map(|log| Progress::Done(Some(Box::new(log))))
    }
}

/// Opens the last part for appending; makes one if there is none.
fn open_last(
    disk: &dyn Disk,
    ours: Ours,
    bytes: u64,
    found: Option<Found>,
    before: Option<End>,
) -> Result<OpenLog, String> {
    let Ours { place, mut manifest, claim } = ours;
    let known = manifest.parts.last().filter(|_| found.is_some()).cloned();
    let room = found.map_or(0, |found| found.room);
    let part = known.clone().unwrap_or_else(|| {
        let name = manifest.next_part(&place.prefix);
        Part { name, seq: manifest.last_part() }
    });
    let mut open = || -> io::Result<OpenPart> {
        let path = place.dir.join(&part.name);
        let file = disk.edit(&path)?;
        let claim = match claim.clone().filter(|_| known.is_some()) {
            Some(claim) => claim,
            None => disk.claim(&path)?,
        };
        let mut chain = found.filter(|_| known.is_some()).map_or(Chain::default(), |found| found.chain);
        let mut line = Vec::new();
        if chain.length() == 0 {
            let before = before.filter(|end| end.seq != part.seq).unwrap_or_default();
            chain = Chain::begin(part.seq, false, before, &mut line);
        } else if chain.open > 0 {
            // What was written without checksums gets one now.
            chain.seal(&mut line, 0);
        }
        let length = chain.length() - line.len() as u64;
        if room > 0 && known.is_some() {
            file.cut(length)?;
        }
        if !line.is_empty() {
            file.write_all(&line, length)?;
        }
        // A process that was killed may have written what is not on the disk yet, under names that are not, either. From
        // here on all of that counts as durable.
        file.sync()?;
        for part in manifest.parts.iter().rev().skip(1) {
            disk.edit(&place.dir.join(&part.name))?.sync()?;
        }
        disk.sync_folder(&place.dir)?;
        if known.is_none() || !manifest.history.is_empty() {
            for part in manifest.history.drain(..) {
                let _ = disk.remove(&place.dir.join(part.name));
            }
            manifest.store(disk, &place.dir, &place.prefix)?;
        }
        Ok(OpenPart::new(file, part.seq, chain, claim))
    };
    let part = open().map_err(|error| {
        format!(
            "Can't open the log in {} for writing: {}. Give this user the right to write there (the folder and its \
             files), make room if the disk is full, or start with --appendonly no.",
            place.dir.display(),
            in_words(&error)
        )
    })?;
    Ok(OpenLog { place, manifest, part: Some(part), bytes: bytes - room })
}
