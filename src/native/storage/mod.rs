//! Files: snapshots (RDB) and the log (multi-part AOF), in Redis 7's layout.
//!
//! The engine says what is to be stored and is told how it went; nothing here decides when. Snapshots are
//! pulled from the engine in pieces between batches and written by the storage thread ([`worker`]); the
//! log is written here ([`append`]) and flushed there. [`manifest`]: the log's list of files. [`load`]:
//! what is read at start.

pub mod append;
pub mod load;
pub mod manifest;
pub mod worker;

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::config::{AppendFsync, Config};
use crate::engine::host::{Refusal, Report, SnapshotKind, Ticket};
use crate::engine::snapshot::SnapshotProgress;
use crate::engine::time::Now;

use super::log::{self, in_words};
use super::ready::Flag;
use append::{Appender, Trouble};
use manifest::Manifest;
use worker::{Destination, Event, Job, LogPlace, Worker};

/// Bytes of a snapshot that are written at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes of a snapshot pulled between two batches: about a tenth of a millisecond.
const SLICE_BYTES: usize = 16 * 1024;

/// While clients keep the engine busy, a pull is followed by this many times its duration without one.
const REST: u32 = 3;

/// Clients that have said nothing for so long do not keep the engine busy.
const QUIET: Duration = Duration::from_micros(500);

/// Pieces of a snapshot that may wait to be written.
const CHUNKS_AHEAD: usize = 16;

/// The log while it is on.
struct Log {
    place: LogPlace,
    manifest: Manifest,
    appender: Appender,
    /// The next part is being opened.
    opening: bool,
    /// The part left behind meanwhile, if there was one.
    left: Option<Arc<File>>,
    /// The manifest has no base yet: the log has just been switched on, and is of no use before that.
    fresh: bool,
}

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
    /// Until when the clients have the engine for themselves.
    rest_until: Instant,
}

/// Everything about files.
pub struct Storage {
    worker: Worker,
    log: Option<Log>,
    pull: Option<Pull>,
    /// Number of the last snapshot: events of others are passed over.
    last_id: u64,
    /// The engine wants to hear when everything is durable.
    sync_asked: bool,
    /// When clients last asked for something while a snapshot was being pulled.
    clients_seen: Instant,
    /// How long to wait before each write to the log: a tool for tests.
    pub log_delay: Duration,
    /// The process must not go on: a promise of durability cannot be kept.
    pub fatal: bool,
}

impl Storage {
    /// Starts the storage thread; `flag` is raised when it has news.
    ///
    /// # Errors
    /// In words for the log.
    pub fn start(flag: Arc<Flag>) -> Result<Storage, String> {
        let worker = Worker::start(flag).map_err(|error| format!("Cannot start the storage thread: {error}"))?;
        let log_delay = Duration::ZERO;
        Ok(Storage {
            worker,
            log: None,
            pull: None,
            last_id: 0,
            sync_asked: false,
            clients_seen: Instant::now(),
            log_delay,
            fatal: false,
        })
    }

    /// Hands a job with a result to the storage thread.
    pub fn run(&self, ticket: Ticket, job: impl FnOnce() -> Result<(), String> + Send + 'static) {
        self.worker.submit(Job::Run(ticket, Box::new(job)));
    }

    // ---- The log ----

    /// Goes on with a log that is on the disk and loaded.
    pub fn open_log(&mut self, opened: load::OpenLog, offset: u64, policy: AppendFsync, now: Now) {
        let appender = Appender::new(Some(Arc::new(opened.file)), offset, policy, now.mono);
        let (place, manifest) = (opened.place, opened.manifest);
        self.log = Some(Log { place, manifest, appender, opening: false, left: None, fresh: false });
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
        let offset = log.appender.end();
        if let Some(file) = log.appender.leave() {
            self.worker.submit(Job::Sync { file, offset });
        }
    }

    /// Follows a changed `appendfsync`.
    pub fn set_policy(&mut self, policy: AppendFsync) {
        if let Some(log) = &mut self.log {
            log.appender.policy = policy;
        }
    }

    /// Takes the next bytes of the stream.
    pub fn append(&mut self, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.appender.append(bytes);
        }
    }

    /// The offset that replies have to wait for, if they have to wait.
    pub fn holds(&self) -> Option<u64> {
        let appender = &self.log.as_ref()?.appender;
        (appender.safe() < appender.end()).then(|| appender.end())
    }

    /// Offset up to which replies may be sent.
    pub fn safe(&self) -> u64 {
        self.log.as_ref().map_or(u64::MAX, |log| log.appender.safe())
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
    pub fn write_log(&mut self, engine: &mut Engine, now: Now) {
        let Some(log) = &mut self.log else { return };
        if !self.log_delay.is_zero() && log.appender.has_pending() {
            std::thread::sleep(self.log_delay);
        }
        match log.appender.flush(now.mono, false) {
            Ok(false) => {}
            Ok(true) => {
                let offset = log.appender.safe();
                engine.report(now, Report::Stored { offset });
            }
            Err(trouble) => self.complain(engine, now, trouble),
        }
        let skip = engine.config().no_appendfsync_on_rewrite && self.pull.is_some();
        let Some(log) = &mut self.log else { return };
        if skip && log.appender.policy != AppendFsync::Always {
            return;
        }
        if let Some((file, offset)) = log.appender.due_sync(now.mono, self.sync_asked) {
            self.worker.submit(Job::Sync { file, offset });
            engine.report(now, Report::Flushing { under_way: true, delayed: log.appender.delayed });
        }
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
        load::plan_again(&place)
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
        if self.log.as_ref().is_some_and(|log| log.appender.policy == AppendFsync::Always) {
            log::warning(
                "appendfsync is 'always', and a write that was to be confirmed cannot be made durable. Exiting: the data \
                 on the disk are whole up to the last confirmed write.",
            );
            self.fatal = true;
        }
        let reason = match trouble {
            Trouble::Write(error) => in_words(&error),
            Trouble::Sync(error) => format!("flushing: {}", in_words(&error)),
        };
        engine.report(now, Report::StoreFailed { reason });
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
        if kind == SnapshotKind::LogBase {
            self.switch_part(engine, now, at);
        }
        self.last_id += 1;
        let id = self.last_id;
        self.worker.submit(Job::BeginSnapshot { id, path, flush });
        let key_delay = Duration::from_micros(engine.config().rdb_key_save_delay.max(0) as u64);
        let began = Instant::now();
        let (complete, at_once, spare) = (false, false, Vec::new());
        let as_commands = kind == SnapshotKind::LogBase && !engine.config().aof_use_rdb_preamble;
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
            rest_until: began,
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
            let manifest = load::read_manifest(&place).ok().flatten().unwrap_or_default();
            let appender = Appender::new(None, at, policy, now.mono);
            Log { place, manifest, appender, opening: false, left: None, fresh: true }
        });
        let flushed = log.appender.flush(now.mono, true);
        log.left = log.appender.leave();
        log.opening = true;
        let name = log.manifest.next_part(&log.place.prefix);
        let listed = (!log.fresh).then(|| log.manifest.clone());
        let (old, place) = (log.left.clone(), log.place.clone());
        self.worker.submit(Job::Switch { old, place, name, listed });
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
            self.clients_seen = Instant::now();
        }
    }

    /// Pulls the next piece of the snapshot. True if there is more and it may be pulled soon.
    pub fn pull_slice(&mut self, engine: &mut Engine) -> bool {
        let Some(pull) = &mut self.pull else { return false };
        if pull.complete || pull.ahead >= CHUNKS_AHEAD {
            return false;
        }
        let began = Instant::now();
        if !pull.at_once && began < pull.rest_until && began.duration_since(self.clients_seen) < QUIET {
            return true;
        }
        let next = u32::try_from(engine.snapshot_keys_done() + 1).unwrap_or(u32::MAX);
        let slow = !pull.key_delay.is_zero() && !pull.at_once;
        if slow && pull.began + pull.key_delay.saturating_mul(next) > Instant::now() {
            return false;
        }
        let bytes = if slow { 1 } else { SLICE_BYTES };
        let progress = engine.snapshot_chunk(bytes, &mut pull.piece);
        if pull.piece.len() >= CHUNK_BYTES || (progress == SnapshotProgress::Done && !pull.piece.is_empty()) {
            pull.ahead += 1;
            let spare = pull.spare.pop().unwrap_or_default();
            self.worker.submit(Job::Chunk(std::mem::replace(&mut pull.piece, spare)));
        }
        let ended = Instant::now();
        pull.rest_until = ended + (ended - began) * REST;
        match progress {
            SnapshotProgress::More => {}
            SnapshotProgress::Done => {
                pull.complete = true;
                let (kind, as_commands) = (pull.kind, pull.as_commands);
                let destination = self.destination(engine.config(), kind, as_commands);
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
            while self.pull_slice(engine) {}
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
            Event::Synced(offset, result) => self.end_sync(engine, now, offset, result),
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
                if let (SnapshotKind::LogBase, Some(log)) = (pull.kind, &mut self.log) {
                    log.manifest.next_base(&log.place.prefix, pull.as_commands);
                    log.manifest.retire_parts(1);
                    log.fresh = false;
                    if !engine.config().aof_disable_auto_gc {
                        log.manifest.history.clear();
                    }
                }
                match pull.at_once {
                    true => log::notice("DB saved on disk"),
                    false => log::notice(&format!("{what} terminated with success")),
                }
                engine.report(now, Report::SnapshotStored);
            }
            Err(reason) => engine.report(now, Report::SnapshotFailed { reason }),
        }
        // A rewrite while the log is off only leaves files.
        if pull.kind == SnapshotKind::LogBase && !engine.is_logging() {
            self.stop_log(engine, now);
        }
    }

    fn end_sync(&mut self, engine: &mut Engine, now: Now, offset: u64, result: std::io::Result<()>) {
        let Some(log) = &mut self.log else { return };
        engine.report(now, Report::Flushing { under_way: false, delayed: log.appender.delayed });
        if let Err(trouble) = log.appender.synced(offset, result) {
            return self.complain(engine, now, trouble);
        }
        self.sync_asked &= !log.appender.is_synced();
        engine.report(now, Report::Stored { offset });
    }

    fn end_switch(&mut self, engine: &mut Engine, now: Now, result: std::io::Result<Arc<File>>) {
        let Some(log) = &mut self.log else { return };
        let left = log.left.take();
        log.opening = false;
        match result {
            Ok(file) => log.appender.enter(file),
            Err(error) => {
                let reason = format!("can't open the next part of the log: {}", in_words(&error));
                match left {
                    Some(file) => {
                        log.appender.enter_again(file);
                        log.manifest.parts.pop();
                    }
                    None => self.log = None,
                }
                if self.pull.as_ref().is_some_and(|pull| pull.kind == SnapshotKind::LogBase) {
                    self.cancel_snapshot();
                    engine.report(now, Report::SnapshotFailed { reason });
                }
            }
        }
    }

    /// Makes everything durable before the process ends.
    pub fn finish(&mut self, now: Now) {
        self.cancel_snapshot();
        if let Some(log) = &mut self.log {
            while log.opening {
                match self.worker.wait() {
                    Ok(Event::Switched(Ok(file))) => log.appender.enter(file),
                    Ok(Event::Switched(Err(_))) => {
                        if let Some(file) = log.left.take() {
                            log.appender.enter_again(file);
                        }
                    }
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

/// The data folder.
pub fn current_dir() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}
