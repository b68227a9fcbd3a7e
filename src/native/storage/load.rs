//! What is read at start: the log by its manifest, or the last snapshot.
//!
//! A thread of its own reads the files; the engine takes them in pieces between batches, while clients are
//! served with -LOADING. Also the change from an old log of one file to Redis 7's layout. Redis'
//! counterparts: `loadDataFromDisk`, `loadAppendOnlyFiles`, `aofUpgradePrepare`.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::config::Config;
use crate::engine::load::{LoadError, LoadKind};
use crate::engine::time::Now;
use crate::native::clock::Clock;
use crate::native::log::{self, in_words};
use crate::native::process;
use crate::native::ready::Flag;
use crate::rdb::{Aux, Format, Writer};

use super::manifest::{self, Manifest, Part};
use super::worker::LogPlace;
use super::{current_dir, log_place};

/// Bytes read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Pieces read ahead.
const PIECES_AHEAD: usize = 32;

/// How long the engine loads before clients are looked after.
const SLICE: Duration = Duration::from_millis(1);

/// A log that is open for appending.
pub struct OpenLog {
    /// Where it is.
    pub place: LogPlace,
    /// Its files.
    pub manifest: Manifest,
    /// The last part.
    pub file: File,
    /// Bytes of all its files.
    pub bytes: u64,
}

/// A file to be loaded.
struct Source {
    path: PathBuf,
    kind: LoadKind,
    bytes: u64,
    /// Its end may be torn: it was being written when the process ended.
    last: bool,
}

/// What is to be loaded.
pub struct Plan {
    sources: Vec<Source>,
    /// The log to go on with, unless it is off.
    log: Option<(LogPlace, Manifest)>,
}

/// The manifest on the disk, if there is one.
///
/// # Errors
/// In words: it cannot be read, or is wrong.
pub fn read_manifest(place: &LogPlace) -> Result<Option<Manifest>, String> {
    let path = manifest::path(&place.dir, &place.prefix);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(format!("Can't read the manifest of the log, {}: {}", path.display(), in_words(&error)));
        }
    };
    let manifest = Manifest::parse(&text);
    manifest.map(Some).map_err(|what| format!("The manifest of the log is wrong. {}, {what}", path.display()))
}

/// Finds what is to be loaded, and makes the log ready to be appended to.
///
/// # Errors
/// In words for the log: what is wrong with which file, and what to do.
pub fn plan(config: &Config) -> Result<Plan, String> {
    check_folder(config)?;
    remove_leftovers();
    let rdb = current_dir().join(OsStr::from_bytes(&config.dbfilename));
    if !config.appendonly {
        let sources = source(rdb, LoadKind::Snapshot, true)?;
        return Ok(Plan { sources: sources.into_iter().collect(), log: None });
    }
    let place = log_place(config);
    std::fs::create_dir_all(&place.dir).map_err(|error| {
        format!(
            "Can't create the log's folder {}: {}. Is the data folder writable?",
            place.dir.display(),
            in_words(&error)
        )
    })?;
    let manifest = match read_manifest(&place)? {
        Some(manifest) => {
            finish_upgrade(&place, &manifest)?;
            manifest
        }
        None => begin(&place, config, &rdb)?,
    };
    let sources = sources_of(&place, &manifest)?;
    Ok(Plan { sources, log: Some((place, manifest)) })
}

/// The last snapshot as it is on the disk, to be loaded again.
///
/// # Errors
/// In words: there is none.
pub fn plan_snapshot_again(config: &Config) -> Result<Plan, String> {
    let path = current_dir().join(OsStr::from_bytes(&config.dbfilename));
    match source(path, LoadKind::Snapshot, true)? {
        Some(source) => Ok(Plan { sources: vec![source], log: None }),
        None => Err("Error trying to load the RDB dump, check server logs.".to_owned()),
    }
}

/// The log as it is on the disk, to be loaded again.
///
/// # Errors
/// In words: there is none, or it is not complete.
pub fn plan_again(place: &LogPlace) -> Result<Plan, String> {
    let manifest = read_manifest(place)?.ok_or("there is no log to be loaded")?;
    Ok(Plan { sources: sources_of(place, &manifest)?, log: None })
}

fn sources_of(place: &LogPlace, manifest: &Manifest) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for part in manifest.base.iter().chain(&manifest.parts) {
        let path = place.dir.join(&part.name);
        let found = source(path.clone(), LoadKind::Log, false)?;
        sources.push(found.ok_or_else(|| missing(&path, part))?);
    }
    if let Some(last) = sources.last_mut() {
        last.last = true;
    }
    Ok(sources)
}

/// Removes unfinished snapshots of processes that are no more.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(current_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let middle = |start, end| name.strip_prefix(start).and_then(|rest: &str| rest.strip_suffix(end));
        let Some(pid) = middle("temp-rewriteaof-bg-", ".aof").or_else(|| middle("temp-", ".rdb")) else { continue };
        if pid.parse().is_ok_and(|pid| !process::is_running(pid)) && std::fs::remove_file(entry.path()).is_ok() {
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

fn source(path: PathBuf, kind: LoadKind, last: bool) -> Result<Option<Source>, String> {
    match std::fs::metadata(&path) {
        Ok(data) => Ok(Some(Source { path, kind, bytes: data.len(), last })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("Can't read {}: {}", path.display(), in_words(&error))),
    }
}

/// A new log: from an old one of one file, from the last snapshot, or from nothing.
fn begin(place: &LogPlace, config: &Config, rdb: &Path) -> Result<Manifest, String> {
    let fail = |error: io::Error| format!("Can't begin a log in {}: {}", place.dir.display(), in_words(&error));
    let mut manifest = Manifest::default();
    let old = current_dir().join(&place.prefix);
    if old.is_file() {
        // The manifest first: a crash in between is put right by the next start.
        manifest.adopt_base(&place.prefix);
        manifest.store(&place.dir, &place.prefix).map_err(fail)?;
        finish_upgrade(place, &manifest)?;
        return Ok(manifest);
    }
    let base = place.dir.join(manifest.next_base(&place.prefix, false));
    if rdb.is_file() {
        log::warning(&format!(
            "appendonly is on, but there is no log yet: it begins with the data of {}",
            rdb.display()
        ));
        std::fs::copy(rdb, &base).map_err(fail)?;
    } else {
        std::fs::write(&base, empty_snapshot(config)).map_err(fail)?;
        log::notice(&format!("Creating AOF base file {} on server start", base.display()));
    }
    File::open(&base).and_then(|file| file.sync_all()).map_err(fail)?;
    let part = place.dir.join(manifest.next_part(&place.prefix));
    File::create(part).map_err(fail)?;
    manifest.store(&place.dir, &place.prefix).map_err(fail)?;
    Ok(manifest)
}

/// Moves an old log of one file to where its manifest expects it.
fn finish_upgrade(place: &LogPlace, manifest: &Manifest) -> Result<(), String> {
    let (old, new) = (current_dir().join(&place.prefix), place.dir.join(&place.prefix));
    let expected = manifest.base.as_ref().is_some_and(|base| base.name == place.prefix) && manifest.parts.is_empty();
    if !expected || new.exists() || !old.is_file() {
        return Ok(());
    }
    let moved = std::fs::rename(&old, &new).and_then(|()| manifest::sync_dir(&place.dir));
    moved.map_err(|error| format!("Can't move {} to {}: {}", old.display(), new.display(), in_words(&error)))?;
    log::notice(&format!("Successfully migrated an old-style AOF into the folder {}", place.dir.display()));
    Ok(())
}

fn empty_snapshot(config: &Config) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Format::for_field_expiries(false), config.rdbcompression, config.rdbchecksum);
    let head = Aux {
        redis_version: std::str::from_utf8(&config.haversack_server_version).unwrap_or_default(),
        created_seconds: Clock::start().now().wall.seconds(),
        used_bytes: 0,
        replication: None,
        aof_base: true,
    };
    writer.head(&head, &mut bytes);
    writer.finish(&mut bytes);
    bytes
}

/// Says early that the data folder cannot be written to.
fn check_folder(config: &Config) -> Result<(), String> {
    let dir = current_dir();
    let probe = dir.join(format!("temp-{}.probe", std::process::id()));
    let written = File::create(&probe).and_then(|_| std::fs::remove_file(&probe));
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

/// What the reading thread hands over.
enum Piece {
    Bytes(Vec<u8>),
    End,
    Failed(io::Error),
}

/// A load under way.
pub struct Loader {
    pieces: Receiver<Piece>,
    sources: VecDeque<Source>,
    begun: bool,
    from_log: bool,
    log: Option<(LogPlace, Manifest)>,
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
    Done(Option<OpenLog>),
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
    ) -> Result<Loader, String> {
        let total = plan.sources.iter().map(|source| source.bytes).sum();
        match again {
            Some(flush) => engine.begin_reload(now, total, flush),
            None => engine.begin_load(now, total),
        }
        let (outbox, pieces) = sync_channel(PIECES_AHEAD);
        let paths: Vec<PathBuf> = plan.sources.iter().map(|source| source.path.clone()).collect();
        std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || paths.iter().all(|path| read(path, &outbox, &flag)))
            .map_err(|error| format!("Cannot start the loading thread: {error}"))?;
        let now = Instant::now();
        Ok(Loader {
            pieces,
            from_log: plan.sources.iter().any(|source| source.kind == LoadKind::Log),
            sources: plan.sources.into(),
            begun: false,
            log: plan.log,
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
                self.begun = true;
            }
            let (piece, at) = match self.rest.take() {
                Some((bytes, at)) => (Ok(Piece::Bytes(bytes)), at),
                None => (self.pieces.try_recv(), 0),
            };
            match piece {
                Err(TryRecvError::Empty) => return Ok(Progress::Wait),
                Err(TryRecvError::Disconnected) => return Err("The loading thread has ended too early".to_owned()),
                Ok(Piece::Failed(error)) => {
                    return Err(format!("Can't read {}: {}", source.path.display(), in_words(&error)));
                }
                Ok(Piece::Bytes(bytes)) => {
                    let slow = engine.config().key_load_delay > 0;
                    let step = if slow { engine.config().loading_process_events_interval_bytes } else { u32::MAX };
                    let end = bytes.len().min(at.saturating_add(step as usize));
                    self.loaded += (end - at) as u64;
                    engine.load(now, &bytes[at..end]).map_err(|error| refusal(source, &error))?;
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
                    if let Err(error) = engine.end_file() {
                        mend(source, &error, engine.config())?;
                    }
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
        let Some((place, manifest)) = self.log.take() else { return Ok(Progress::Done(None)) };
        open_last(place, manifest, self.total).map(|log| Progress::Done(Some(log)))
    }
}

/// Opens the last part for appending; makes one if there is none.
fn open_last(place: LogPlace, mut manifest: Manifest, bytes: u64) -> Result<OpenLog, String> {
    let fail =
        |error: io::Error| format!("Can't open the log in {} for writing: {}", place.dir.display(), in_words(&error));
    let known = manifest.parts.last().map(|part| part.name.clone());
    let name = known.clone().unwrap_or_else(|| manifest.next_part(&place.prefix));
    let file = OpenOptions::new().append(true).create(true).open(place.dir.join(&name)).map_err(fail)?;
    if known.is_none() || !manifest.history.is_empty() {
        for part in manifest.history.drain(..) {
            let _ = std::fs::remove_file(place.dir.join(part.name));
        }
        manifest.store(&place.dir, &place.prefix).map_err(fail)?;
    }
    Ok(OpenLog { place, manifest, file, bytes })
}

/// Cuts a torn end off the file that was being written, if the configuration permits that.
fn mend(source: &Source, error: &LoadError, config: &Config) -> Result<(), String> {
    let path = source.path.display();
    let LoadError::Truncated { valid } = error else { return Err(refusal(source, error)) };
    if !source.last {
        return Err(format!(
            "{path} ends in the middle of a command, and it is not the last part of the log: data behind it would be \
             lost. Whole up to byte {valid} of {}. Put the file back from a backup.",
            source.bytes
        ));
    }
    if !config.aof_load_truncated {
        return Err(format!(
            "Unexpected end of file reading the append only file {path}, whole up to byte {valid} of {}. You can: 1) make \
             a backup of the file, then cut it with: redis-check-aof --fix <file>. 2) set 'aof-load-truncated yes' and \
             start again.",
            source.bytes
        ));
    }
    let cut = OpenOptions::new().write(true).open(&source.path).and_then(|file| {
        file.set_len(*valid)?;
        file.sync_all()
    });
    cut.map_err(|error| format!("Error truncating the AOF file {path}: {}", in_words(&error)))?;
    log::warning(&format!("The end of {path} is torn: a write was cut short when the server stopped."));
    log::warning(&format!(
        "AOF loaded anyway because aof-load-truncated is enabled: {} bytes cut off, {valid} kept",
        source.bytes.saturating_sub(*valid)
    ));
    Ok(())
}

/// Says what is wrong with a file, and what to do.
fn refusal(source: &Source, error: &LoadError) -> String {
    let path = source.path.display();
    // These words are looked for by those who watch logs.
    if let LoadError::Log { reason, .. } = error {
        let what = ["Unknown command", "Bad file format"].into_iter().find(|what| reason.starts_with(what));
        let what = what.map_or("Bad file format", |what| if what.starts_with('U') { reason } else { what });
        return format!(
            "{what} reading the append only file {path}: {error}. Make a backup of the file, then mend it with: \
             redis-check-aof --fix <file>. Exiting."
        );
    }
    let (kind, tool) = match error {
        LoadError::Snapshot(_) => ("snapshot", "redis-check-rdb"),
        _ => ("append only file", "redis-check-aof"),
    };
    format!(
        "Bad data in the {kind} {path}: {error}. Nothing was changed. Put the file back from a backup, look at it with \
         {tool}, or move it away to start without it. Exiting."
    )
}

/// Reads a file to its end. False if nobody wants more.
fn read(path: &Path, outbox: &SyncSender<Piece>, flag: &Arc<Flag>) -> bool {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            let sent = outbox.send(Piece::Failed(error)).is_ok();
            flag.raise();
            return sent;
        }
    };
    loop {
        let mut bytes = vec![0; PIECE_BYTES];
        let (piece, more) = match file.read(&mut bytes) {
            Ok(0) => (Piece::End, false),
            Ok(read) => {
                bytes.truncate(read);
                (Piece::Bytes(bytes), true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => (Piece::Failed(error), false),
        };
        if outbox.send(piece).is_err() {
            return false;
        }
        flag.raise();
        if !more {
            return true;
        }
    }
}
