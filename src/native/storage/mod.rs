//! Files: snapshots (RDB) and the log (multi-part AOF), in Redis 7's layout.
//!
//! The engine says what is to be stored and is told how it went; nothing here decides when. Snapshots are
//! pulled from the engine in pieces between batches and written by the storage thread ([`worker`]); the
//! log is written here ([`append`]), where there is room for it ([`room`]), and flushed there, when all have come whom a
//! flush waits for ([`crowd`]); a disk that is quick is not worth the way there. [`manifest`]: the log's list of files.
//! [`seal`]: its checksums. [`load`]: what is read at start, past [`check`]. [`disk`]: the system's files, or a test's.
//!
//! When the disk fails, writes are refused and reads go on. A failed write is tried again each second. A part that
//! cannot be trusted any more is followed by a new part and a new base, which has all that was not known to be on
//! the disk; until that is stored, the files before are the ones in force. Then writes are accepted again.

pub mod append;
pub mod check;
pub mod crowd;
pub mod disk;
pub mod load;
pub mod manifest;
pub mod mend;
mod pieces;
pub mod room;
pub mod seal;
pub mod worker;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::config::{AppendFsync, Config};
use crate::engine::host::{Ask, Refusal, Report, SnapshotKind, Ticket};
use crate::engine::snapshot::SnapshotProgress;
use crate::engine::time::{MonoTime, Now};

use super::log::{self, in_words};
use super::ready::Flag;
use append::{Appender, OpenPart, Trouble};
use crowd::Crowd;
use disk::SharedDisk;
use manifest::Manifest;
use worker::{Destination, Event, Job, LogPlace, SwitchError, Worker};

/// Bytes of a snapshot that are written at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes of a snapshot pulled in one go where no client waits.
const SLICE_BYTES: usize = 16 * 1024;

/// The same while clients keep the engine busy: no more than what it takes them to read a reply and to ask for something
/// else, which is when it is done.
const SHORT_SLICE_BYTES: usize = 4 * 1024;

/// While clients keep the engine busy, this many times as long is for them as for the snapshot.
const REST: u32 = 4;

/// However long they have had, the snapshot does not go on for longer in one go while they wait.
const LONGEST_PULL: Duration = Duration::from_micros(500);

/// Clients that have said nothing for so long do not keep the engine busy.
const QUIET: Duration = Duration::from_micros(500);

/// How long a snapshot may go on in one go for each time that the limit of memory put aside is reached, and how long
/// at most.
const HASTE: Duration = Duration::from_millis(1);
const MOST_HASTE: Duration = Duration::from_millis(8);

/// Pieces of a snapshot that may wait to be written.
const CHUNKS_AHEAD: usize = 16;

/// The log while it is on.
struct Log {
    place: LogPlace,
    manifest: Manifest,
    appender: Appender,
    /// Those whose replies wait for it.
    crowd: Crowd,
    /// A flush is due, and waits for more of them.
    patient: bool,
    /// The next part is being opened.
    opening: bool,
    /// The part left behind meanwhile, if there was one.
    left: Option<OpenPart>,
    /// No manifest names the part yet, and none does before the base that it builds upon is stored: the log has
    /// just been switched on, or it begins anew behind a part that cannot be trusted.
    fresh: bool,
    /// What is on the disk is not of this run, where the log was just switched on: another server may be writing to it.
    found: bool,
    /// Nothing can be stored now, and the engine knows.
    failing: bool,
    /// Since when.
    failing_since: MonoTime,
    /// It has just been told: replies that are at hand may confirm what is not stored.
    just_failed: bool,
    /// When to try a new base again, and how long to wait the time after that.
    retry_at: MonoTime,
    retry_wait_ms: u64,
}

impl Log {
    fn new(place: LogPlace, manifest: Manifest, appender: Appender, fresh: bool) -> Log {
        Log {
            place,
            manifest,
            appender,
            crowd: Crowd::default(),
            patient: false,
            opening: false,
            left: None,
            fresh,
            found: false,
            failing: false,
            failing_since: MonoTime::default(),
            just_failed: false,
            retry_at: MonoTime::default(),
            retry_wait_ms: append::RETRY_MS,
        }
    }

    fn wait_longer(&mut self, now: Now) {
        self.retry_at = now.mono.plus_ms(self.retry_wait_ms);
        self.retry_wait_ms = (self.retry_wait_ms * 2).min(LONGEST_WAIT_MS);
    }
}

/// How long a reply waits for a log that cannot be stored before its connection is closed.
const PATIENCE_MS: u64 = 2000;

/// The longest time between two tries to begin a new base.
const LONGEST_WAIT_MS: u64 = 16_000;

/// A snapshot under way.
struct Pull {
    id: u64,
    kind: SnapshotKind,
    /// It comes as commands, not as a snapshot.
    as_commands: bool,
    /// Pieces handed to the storage thread and not yet written.
    ahead: usize,
    /// Nothing is left to be pulled.
    complete: bool,
    /// Nothing else is served meanwhile.
    at_once: bool,
    /// When it began, and how long `rdb-key-save-delay` makes each key take.
    began: Instant,
    key_delay: Duration,
    spare: Vec<Vec<u8>>,
    /// What has been pulled and not handed over yet.
    piece: Vec<u8>,
    /// When it was pulled last, and until when the clients have the engine for themselves.
    ended: Instant,
    rest_until: Instant,
    /// Offset of the stream at the cut.
    at: u64,
    /// The manifest once this is stored.
    manifest: Option<Manifest>,
}

/// Everything about files.
pub struct Storage {
    disk: SharedDisk,
    worker: Worker,
    log: Option<Log>,
    pull: Option<Pull>,
    /// Number of the last snapshot: events of others are passed over.
    last_id: u64,
    /// The engine wants to hear when everything is durable.
    sync_asked: bool,
    /// When clients last asked for something while a snapshot was being pulled.
    clients_seen: Instant,
    /// They have, since the snapshot was pulled last.
    clients_served: bool,
    /// How long to wait before each write to the log: a tool for tests.
    pub log_delay: Duration,
}

impl Storage {
    /// Starts the storage thread; `flag` is raised when it has news.
    ///
    /// # Errors
    /// In words for the log.
    pub fn start(flag: Arc<Flag>) -> Result<Storage, String> {
        let disk = disk::system();
        let worker = Worker::start(flag, disk.clone());
        let worker = worker.map_err(|error| format!("Cannot start the storage thread: {error}"))?;
        Ok(Storage::new(disk, worker))
    }

    /// Storage on this disk.
    pub fn new(disk: SharedDisk, worker: Worker) -> Storage {
        let log_delay = Duration::ZERO;
        Storage {
            disk,
            worker,
            log: None,
            pull: None,
            last_id: 0,
            sync_asked: false,
            clients_seen: Instant::now(),
            clients_served: false,
            log_delay,
        }
    }

    /// Does one job of the storage thread, where there is none. False if there is nothing to do.
    pub fn work_one(&mut self) -> bool {
        self.worker.work_one()
    }

    /// The disk.
    pub fn disk(&self) -> &SharedDisk {
        &self.disk
    }

    /// Hands a job with a result to the storage thread.
    pub fn run(&mut self, ticket: Ticket, job: impl FnOnce() -> Result<(), String> + Send + 'static) {
        self.worker.submit(Job::Run(ticket, Box::new(job)));
    }

    /// As [`run`](Self::run), for what stores nothing: what is to be stored does not wait for it.
    pub fn run_aside(&mut self, ticket: Ticket, job: impl FnOnce() -> Result<(), String> + Send + 'static) {
        self.worker.run_aside(ticket, Box::new(job));
    }

    // ---- The log ----

    /// Goes on with a log that is on the disk and loaded.
    pub fn open_log(&mut self, opened: load::OpenLog, offset: u64, policy: AppendFsync, now: Now) {
        let fresh = opened.part.is_none();
        let mut appender = Appender::new(opened.part, offset, policy, now.mono);
        if fresh {
            appender.build_upon_base();
        }
        let (place, manifest) = (opened.place, opened.manifest);
        self.log = Some(Log::new(place, manifest, appender, fresh));
    }

    /// Switches the log off while the server runs.
    pub fn stop_log(&mut self, engine: &mut Engine, now: Now) {
        self.finish_opening(engine, now);
        self.close_log(now);
    }

    /// Lets go of the log; what is appended is made durable.
    fn close_log(&mut self, now: Now) {
        let Some(mut log) = self.log.take() else { return };
        let _ = log.appender.flush(now.mono, true);
        let seal = log.appender.closing_seal();
        if let Some(part) = log.appender.leave(false) {
            // The replies that wait for it are let go of now; a failure changes nothing for them.
            let _ = part.file.sync();
            self.worker.submit(Job::Close { file: part.file, length: part.chain.length(), seal });
        }
    }

    /// Follows a changed `appendfsync`.
    pub fn set_policy(&mut self, policy: AppendFsync) {
        if let Some(log) = &mut self.log {
            log.appender.set_policy(policy);
        }
    }

    /// Takes what is appended to the stream, which ends at offset `end`, and writes it. A new base of the log cuts it.
    /// So many `replies` come with it, which may have to wait.
    pub fn store(&mut self, engine: &mut Engine, now: Now, append: &[u8], asks: &[Ask], end: u64, replies: usize) {
        let start = end - append.len() as u64;
        let mut rest = append;
        for ask in asks {
            if let Ask::StartSnapshot { kind: SnapshotKind::LogBase, at, .. } = ask {
                let cut = (at.saturating_sub(start) as usize + rest.len()).saturating_sub(append.len());
                let (before, behind) = rest.split_at(cut.min(rest.len()));
                self.append(before, now);
                rest = behind;
                self.begin_snapshot(engine, now, SnapshotKind::LogBase, *at);
            }
        }
        self.append(rest, now);
        if let Some(log) = &mut self.log
            && log.appender.safe() < log.appender.end()
        {
            log.crowd.come(replies);
        }
        self.write_log(engine, now);
    }

    fn append(&mut self, bytes: &[u8], now: Now) {
        if let Some(log) = &mut self.log {
            log.appender.append(bytes, now.mono);
        }
    }

    /// The offset that the replies at hand have to wait for, if they have to wait. To be asked once for each time
    /// that something is drained from the engine.
    pub fn holds(&mut self) -> Option<u64> {
        let log = self.log.as_mut()?;
        if log.failing {
            // Writes are refused since the engine knows, so later replies confirm nothing, and reads go on.
            return std::mem::take(&mut log.just_failed).then(|| log.appender.end());
        }
        (log.appender.safe() < log.appender.end()).then(|| log.appender.end())
    }

    /// Offset up to which replies may be sent.
    pub fn safe(&self) -> u64 {
        self.log.as_ref().map_or(u64::MAX, |log| log.appender.safe())
    }

    /// Whether the log has not been stored for so long that those who wait for it are to be sent away: what became of
    /// their writes cannot be told, and nobody is to wait for a disk without end.
    pub fn sends_away(&self, now: Now) -> bool {
        let too_long = |log: &Log| log.failing && now.mono.ms_since(log.failing_since) >= PATIENCE_MS;
        self.log.as_ref().is_some_and(too_long)
    }

    /// Offset up to which the stream is durable.
    pub fn durable(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.appender.synced())
    }

    /// Reports when everything so far is durable.
    pub fn ask_sync(&mut self, engine: &mut Engine, now: Now) {
        match &self.log {
            Some(log) if !log.appender.is_synced() => self.sync_asked = true,
            // Nothing is left to be written, so no flush would come to report.
            _ => {
                let offset = engine.offset();
                engine.report(now, Report::Stored { offset });
            }
        }
    }

    /// Writes and flushes what is due.
    fn write_log(&mut self, engine: &mut Engine, now: Now) {
        let Some(log) = &mut self.log else { return };
        if !self.log_delay.is_zero() && log.appender.has_pending() {
            std::thread::sleep(self.log_delay);
        }
        match log.appender.flush(now.mono, false) {
            Ok(false) => {}
            // A part whose base is not stored yet is no reason to accept writes again.
            Ok(true) if log.appender.is_unproven() => {}
            Ok(true) => {
                log.failing = false;
                let offset = log.appender.synced();
                engine.report(now, Report::Stored { offset });
            }
            Err(trouble) => self.complain(engine, now, trouble),
        }
        self.begin_anew(engine, now);
        let skip = engine.config().no_appendfsync_on_rewrite && self.pull.is_some();
        let Some(log) = &mut self.log else { return };
        engine.note_log(log.appender.take_overhead(), log.appender.loose_since());
        if skip && log.appender.policy() != AppendFsync::Always {
            return;
        }
        let for_each = log.appender.policy() == AppendFsync::Always;
        log.patient = for_each
            && !self.sync_asked
            && !log.crowd.is_complete(now.mono)
            && log.appender.is_due(now.mono, self.sync_asked);
        if log.patient {
            return;
        }
        if let Some((file, offset)) = log.appender.begin_sync(now.mono, self.sync_asked) {
            log.crowd.begin();
            if for_each
                && log.crowd.is_quick()
                && let Some((done, took)) = self.worker.sync_here(&*file)
            {
                return self.end_sync(engine, now, offset, done, took);
            }
            self.worker.submit(Job::Sync { file, offset });
            engine.report(now, Report::Flushing { under_way: true, delayed: log.appender.delayed });
        }
    }

    /// When [`store`](Self::store) wants to be called, if not before: a flush waits.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.log.as_ref().filter(|log| log.patient).map(|log| log.crowd.deadline())
    }

    /// Where the last part cannot be trusted, or has no base: a new part and a new base, if it is time.
    fn begin_anew(&mut self, engine: &mut Engine, now: Now) {
        let Some(log) = &mut self.log else { return };
        let wanted = (log.appender.is_broken() || log.fresh) && engine.is_logging();
        if !wanted || log.opening || self.pull.is_some() || now.mono < log.retry_at || engine.is_walking() {
            return;
        }
        log.wait_longer(now);
        engine.rewrite_log(now);
    }

    /// Brings everything appended to the disk's files, and finds them.
    ///
    /// # Errors
    /// In words: they cannot be written, or there are none.
    pub fn plan_again(&mut self, engine: &mut Engine, now: Now) -> Result<load::Plan, String> {
        self.finish_opening(engine, now);
        let place = match &mut self.log {
            None => log_place(engine.config()),
            Some(log) => {
                log.appender.flush(now.mono, true).map_err(|_| "the log could not be written")?;
                log.place.clone()
            }
        };
        load::plan_again(&*self.disk, &place)
    }

    /// Waits until the next part of the log is open, if it is being opened.
    fn finish_opening(&mut self, engine: &mut Engine, now: Now) {
        while self.log.as_ref().is_some_and(|log| log.opening) {
            match self.worker.wait() {
                Ok(event) => self.handle(engine, now, event),
                Err(_) => return,
            }
        }
    }

    fn complain(&mut self, engine: &mut Engine, now: Now, trouble: Trouble) {
        let Some(log) = &mut self.log else { return };
        let reason = in_words(trouble.error());
        if matches!(trouble, Trouble::Broken(_)) {
            log::warning(&format!(
                "The log could not be flushed ({reason}): what its last part holds on the disk is not known any more. As soon \
                 as the disk allows, it goes on in a new part, with a new base that has everything that was not known to be \
                 on the disk."
            ));
            log.fresh = true;
        }
        self.refuse_writes(engine, now, reason);
    }

    /// Nothing can be stored for now.
    fn refuse_writes(&mut self, engine: &mut Engine, now: Now, reason: String) {
        let Some(log) = &mut self.log else { return };
        if !std::mem::replace(&mut log.failing, true) {
            log.just_failed = true;
            log.failing_since = now.mono;
            log.retry_wait_ms = append::RETRY_MS;
            log.wait_longer(now);
            engine.report(now, Report::StoreFailed { reason });
        }
    }

    // ---- Snapshots ----

    /// Begins to store a snapshot that the engine has cut. Of a new base of the log, everything before the
    /// cut has been appended, and nothing behind it.
    pub fn begin_snapshot(&mut self, engine: &mut Engine, now: Now, kind: SnapshotKind, at: u64) {
        let config = engine.config();
        let (path, flush) = match kind {
            SnapshotKind::Rdb => (format!("temp-{}.rdb", std::process::id()), config.rdb_save_incremental_fsync),
            SnapshotKind::LogBase => {
                (format!("temp-rewriteaof-bg-{}.aof", std::process::id()), config.aof_rewrite_incremental_fsync)
            }
        };
        let path = current_dir().join(path);
        // The sum is made where the bytes are written; commands have none.
        let sum = engine.take_snapshot_sum();
        let as_commands = kind == SnapshotKind::LogBase && sum.is_none();
        let mut sealed = None;
        if kind == SnapshotKind::LogBase {
            self.switch_part(engine, now, at);
            if let Some(log) = &mut self.log {
                log.manifest.reserve_base();
                sealed = as_commands.then(|| log.manifest.last_base());
            }
        }
        self.last_id += 1;
        let id = self.last_id;
        self.worker.submit(Job::BeginSnapshot { id, path, flush, base: kind == SnapshotKind::LogBase, sealed, sum });
        let key_delay = Duration::from_micros(engine.config().rdb_key_save_delay.max(0) as u64);
        let began = Instant::now();
        let (complete, at_once, spare) = (false, false, Vec::new());
        let manifest = None;
        self.pull = Some(Pull {
            id,
            kind,
            as_commands,
            ahead: 0,
            complete,
            at_once,
            began,
            key_delay,
            spare,
            piece: Vec::new(),
            ended: began,
            rest_until: began,
            at,
            manifest,
        });
    }

    /// The log goes on in a new part.
    fn switch_part(&mut self, engine: &mut Engine, now: Now, at: u64) {
        // A part still being opened belongs to the time before this cut.
        self.finish_opening(engine, now);
        let config = engine.config();
        let policy = config.appendfsync;
        let place = log_place(config);
        let log = self.log.get_or_insert_with(|| {
            let appender = Appender::new(None, at, policy, now.mono);
            Log { found: true, ..Log::new(place, Manifest::default(), appender, true) }
        });
        let mut there = None;
        if log.found {
            log.manifest = load::read_manifest(&*self.disk, &log.place).ok().flatten().unwrap_or_default();
            there = log.manifest.parts.last().map(|part| log.place.dir.join(&part.name));
        }
        let flushed = log.appender.flush(now.mono, true);
        if flushed.is_err() {
            // What could not be written will be in the base; behind it, it would be done twice.
            log.appender.give_up();
            log.fresh = true;
        }
        let end = log.appender.part_end();
        let anew = log.appender.is_broken() || log.failing;
        log.fresh |= anew;
        log.left = log.appender.leave(anew);
        log.opening = true;
        let name = log.manifest.next_part(&log.place.prefix);
        let seq = log.manifest.last_part();
        let listed = (!log.fresh).then(|| log.manifest.clone());
        let (old, place) = (log.left.as_ref().map(|part| part.file.clone()), log.place.clone());
        self.worker.submit(Job::Switch { old, end, place, name, seq, listed, there });
        if let Err(trouble) = flushed {
            self.complain(engine, now, trouble);
        }
    }

    /// Gives the snapshot under way up.
    pub fn cancel_snapshot(&mut self) {
        if self.pull.take().is_some() {
            self.worker.submit(Job::DropSnapshot);
        }
    }

    /// Whether clients have asked for something in this turn.
    pub fn note_clients(&mut self) {
        if self.pull.is_some() {
            (self.clients_seen, self.clients_served) = (Instant::now(), true);
        }
    }

    /// Pulls the next piece of the snapshot. True if there is more and it may be pulled soon.
    pub fn pull_slice(&mut self, engine: &mut Engine, now: Now) -> bool {
        let Some(pull) = self.pull.as_mut().filter(|pull| !pull.complete) else { return false };
        let excess = if pull.at_once { 0 } else { engine.snapshot_excess() };
        let haste = MOST_HASTE.min(HASTE.saturating_mul(u32::try_from(excess).unwrap_or(u32::MAX)));
        if pull.ahead >= CHUNKS_AHEAD {
            // Clients are faster than the disk: what is put aside would only become more.
            let event = (excess > 0).then(|| self.worker.wait_for(haste)).flatten();
            return event.is_some_and(|event| {
                self.handle(engine, now, event);
                true
            });
        }
        let began = Instant::now();
        // While they are about to ask for something, they hardly wait longer for what is done in small pieces.
        let about = excess == 0 && !pull.at_once && began.duration_since(self.clients_seen) < QUIET;
        let busy = std::mem::take(&mut self.clients_served) && about;
        let slow = !pull.key_delay.is_zero() && !pull.at_once && excess == 0;
        if busy && began < pull.rest_until {
            return true;
        }
        let next = u32::try_from(engine.snapshot_keys_done() + 1).unwrap_or(u32::MAX);
        if slow && pull.began + pull.key_delay.saturating_mul(next) > began {
            return false;
        }
        let (bytes, most) = match (slow, about, busy) {
            (true, ..) => (1, Duration::ZERO),
            (_, true, true) => (SHORT_SLICE_BYTES, LONGEST_PULL.min(began.duration_since(pull.ended) / REST)),
            (_, true, false) => (SHORT_SLICE_BYTES, Duration::ZERO),
            (_, false, _) => (SLICE_BYTES, haste),
        };
        let (progress, slice_began, ended) = loop {
            let slice_began = Instant::now();
            let progress = engine.snapshot_chunk(bytes, &mut pull.piece);
            if pull.piece.len() >= CHUNK_BYTES || (progress == SnapshotProgress::Done && !pull.piece.is_empty()) {
                pull.ahead += 1;
                let spare = pull.spare.pop().unwrap_or_default();
                self.worker.submit(Job::Chunk(std::mem::replace(&mut pull.piece, spare)));
            }
            let ended = Instant::now();
            let relieved = excess > 0 && engine.snapshot_excess() == 0;
            let enough = ended - began >= most || pull.ahead >= CHUNKS_AHEAD || relieved;
            if progress != SnapshotProgress::More || enough {
                break (progress, slice_began, ended);
            }
        };
        // As soon as there is time for another slice; who takes longer to come again gives time for more of them.
        (pull.ended, pull.rest_until) = (ended, ended + (ended - slice_began) * REST);
        match progress {
            SnapshotProgress::More => {}
            SnapshotProgress::Done => {
                pull.complete = true;
                let (kind, as_commands) = (pull.kind, pull.as_commands);
                let destination = self.destination(engine.config(), kind, as_commands);
                if let (Destination::LogBase { manifest, .. }, Some(pull)) = (&destination, &mut self.pull) {
                    pull.manifest = Some(manifest.clone());
                }
                self.worker.submit(Job::FinishSnapshot(destination));
            }
            SnapshotProgress::Idle => self.cancel_snapshot(),
        }
        self.pull.as_ref().is_some_and(|pull| !pull.complete && pull.ahead < CHUNKS_AHEAD)
    }

    fn destination(&mut self, config: &Config, kind: SnapshotKind, as_commands: bool) -> Destination {
        match (&mut self.log, kind) {
            (Some(log), SnapshotKind::LogBase) => {
                let mut manifest = log.manifest.clone();
                let name = manifest.next_base(&log.place.prefix, as_commands);
                manifest.retire_parts(1);
                Destination::LogBase {
                    place: log.place.clone(),
                    manifest,
                    name,
                    keep_history: config.aof_disable_auto_gc,
                }
            }
            _ => Destination::Rdb(current_dir().join(OsStr::from_bytes(&config.dbfilename))),
        }
    }

    /// Pulls the snapshot to its end and waits until it is stored.
    pub fn store_at_once(&mut self, engine: &mut Engine, now: Now) {
        while let Some(pull) = &mut self.pull {
            pull.at_once = true;
            while self.pull_slice(engine, now) {}
            if self.pull.is_none() {
                return;
            }
            match self.worker.wait() {
                Ok(event) => self.handle(engine, now, event),
                Err(_) => return,
            }
        }
    }

    // ---- Events ----

    /// Deals with what the storage thread says.
    pub fn hear(&mut self, engine: &mut Engine, now: Now) {
        while let Ok(event) = self.worker.event() {
            self.handle(engine, now, event);
        }
    }

    fn handle(&mut self, engine: &mut Engine, now: Now, event: Event) {
        match event {
            Event::Chunk(id, buffer) => {
                if let Some(pull) = self.pull.as_mut().filter(|pull| pull.id == id) {
                    pull.ahead -= 1;
                    pull.spare.push(buffer);
                }
            }
            Event::Snapshot(id, result) if self.pull.as_ref().is_some_and(|pull| pull.id == id) => {
                self.end_snapshot(engine, now, result);
            }
            Event::Snapshot(..) => {}
            Event::Synced(offset, result, took) => self.end_sync(engine, now, offset, result, took),
            Event::Switched(result) => self.end_switch(engine, now, result),
            Event::Done(ticket, result) => {
                let result = result.map_err(Refusal::from);
                engine.report(now, Report::Done { ticket, result });
            }
        }
    }

    fn end_snapshot(&mut self, engine: &mut Engine, now: Now, result: Result<(), String>) {
        let Some(pull) = self.pull.take() else { return };
        let what = match pull.kind {
            SnapshotKind::Rdb => "Background saving",
            SnapshotKind::LogBase => "Background AOF rewrite",
        };
        match result {
            Ok(()) => {
                if let (SnapshotKind::LogBase, Some(log), Some(manifest)) = (pull.kind, &mut self.log, pull.manifest) {
                    log.manifest = manifest;
                    if !engine.config().aof_disable_auto_gc {
                        log.manifest.history.clear();
                    }
                    // A part that broke meanwhile needs another base.
                    if !log.appender.is_broken() {
                        log.fresh = false;
                        log.appender.prove(pull.at, now.mono);
                        log.failing = false;
                        self.tell_synced(engine, now);
                    }
                }
                match pull.at_once {
                    true => log::notice("DB saved on disk"),
                    false => log::notice(&format!("{what} terminated with success")),
                }
                engine.report(now, Report::SnapshotStored);
            }
            Err(reason) => {
                if let Some(log) = self.log.as_mut().filter(|_| pull.kind == SnapshotKind::LogBase) {
                    log.wait_longer(now);
                    if log.appender.is_unproven() {
                        self.refuse_writes(engine, now, reason.clone());
                    }
                }
                engine.report(now, Report::SnapshotFailed { reason });
            }
        }
        // A rewrite while the log is off only leaves files.
        if pull.kind == SnapshotKind::LogBase && !engine.is_logging() {
            self.stop_log(engine, now);
        }
    }

    fn end_sync(&mut self, engine: &mut Engine, now: Now, offset: u64, result: io::Result<()>, took: Duration) {
        let Some(log) = &mut self.log else { return };
        log.crowd.end(now.mono, took);
        engine.report(now, Report::Flushing { under_way: false, delayed: log.appender.delayed });
        if let Err(trouble) = log.appender.end_sync(offset, result) {
            return self.complain(engine, now, trouble);
        }
        self.tell_synced(engine, now);
    }

    /// Says how far the log is durable: somebody may wait for that, and no other flush need come.
    fn tell_synced(&mut self, engine: &mut Engine, now: Now) {
        let Some(log) = &mut self.log else { return };
        self.sync_asked &= !log.appender.is_synced();
        engine.note_log(0, log.appender.loose_since());
        if !log.failing {
            engine.report(now, Report::Stored { offset: log.appender.synced() });
        }
    }

    fn end_switch(&mut self, engine: &mut Engine, now: Now, result: Result<OpenPart, SwitchError>) {
        let Some(log) = &mut self.log else { return };
        let left = log.left.take();
        log.opening = false;
        let SwitchError { error, go_back } = match result {
            Ok(part) => {
                log.found = false;
                log.appender.enter(part);
                return self.tell_synced(engine, now);
            }
            Err(error) => error,
        };
        let reason = format!("can't open the next part of the log: {}", in_words(&error));
        log.wait_longer(now);
        match left {
            Some(part) if go_back && !log.fresh => {
                log.appender.enter_again(part);
                log.manifest.parts.pop();
            }
            None if !engine.is_logging() => self.log = None,
            _ => {
                log.appender.give_up();
                self.complain(engine, now, Trouble::Broken(error));
            }
        }
        if self.pull.as_ref().is_some_and(|pull| pull.kind == SnapshotKind::LogBase) {
            self.cancel_snapshot();
            engine.report(now, Report::SnapshotFailed { reason });
        }
    }

    /// Makes everything durable before the process ends.
    pub fn finish(&mut self, now: Now) {
        self.cancel_snapshot();
        if let Some(log) = &mut self.log {
            while log.opening {
                match self.worker.wait() {
                    Ok(Event::Switched(Ok(part))) => log.appender.enter(part),
                    Ok(Event::Switched(Err(failed))) => match log.left.take() {
                        Some(part) if failed.go_back => log.appender.enter_again(part),
                        _ => log.appender.give_up(),
                    },
                    Ok(_) => continue,
                    Err(_) => {}
                }
                log.opening = false;
            }
        }
        self.close_log(now);
        self.worker.stop();
    }
}

/// Where the configuration puts the log.
pub fn log_place(config: &Config) -> LogPlace {
    LogPlace {
        dir: current_dir().join(OsStr::from_bytes(&config.appenddirname)),
        prefix: String::from_utf8_lossy(&config.appendfilename).into_owned(),
    }
}

/// The data folder. One that has been removed keeps its name, and is the data folder again when it is made again.
pub fn current_dir() -> PathBuf {
    static LAST: Mutex<PathBuf> = Mutex::new(PathBuf::new());
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match std::env::current_dir() {
        Ok(dir) => last.clone_from(&dir),
        Err(_) => drop(std::env::set_current_dir(&*last)),
    }
    last.clone()
}
