//! Snapshots and the log as the engine sees them: what is under way, what failed, when to start.
//!
//! The engine decides; the front end stores and reports. Redis' counterparts are the fields of INFO
//! persistence.

use super::Engine;
use super::blocking::Cause;
use super::client::ClientId;
use super::config::{Changes, Config, ConfigError};
use super::error::Error;
use super::host::{Ask, LogLevel, Refusal, Report, SnapshotKind, Ticket};
use super::keyspace::Keyspace;
use super::server::Server;
use super::time::{MonoTime, Now};

/// A load in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loading {
    /// Unix time it began, in seconds.
    pub since: i64,
    /// Bytes to load in all, 0 if unknown.
    pub total_bytes: u64,
    /// Bytes loaded.
    pub loaded_bytes: u64,
    /// Keys loaded.
    pub keys: u64,
}

/// What is known of snapshots and the log.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Persistence {
    /// Changes since the last snapshot.
    pub dirty: u64,
    /// Changes at the cut of the snapshot under way.
    pub dirty_at_cut: u64,
    /// Offset of the stream at that cut.
    pub offset_at_cut: u64,
    /// The snapshot under way.
    pub snapshot: Option<SnapshotKind>,
    /// The snapshot to start when the unit has ended, and whether it is to be stored before anything else
    /// is served.
    pub wanted: Option<(SnapshotKind, bool)>,
    /// Size of the last snapshot in bytes.
    pub snapshot_bytes: u64,
    /// A log rewrite waits for the snapshot under way to end.
    pub rewrite_scheduled: bool,
    /// An RDB snapshot waits for the log rewrite under way to end.
    pub save_scheduled: bool,
    /// The load in progress.
    pub loading: Option<Loading>,
    /// Whether changes go to a log.
    pub log_enabled: bool,
    /// Whether the log has a base to be loaded with.
    pub log_has_base: bool,
    /// Unix time of the last good snapshot, in seconds.
    pub last_save: i64,
    /// Unix time of the last try, in seconds.
    pub last_save_try: i64,
    pub last_save_ok: bool,
    pub last_save_seconds: i64,
    pub last_rewrite_ok: bool,
    /// The most bytes that the last snapshot of either kind has put aside at one time.
    pub last_save_aside: u64,
    pub last_rewrite_aside: u64,
    pub failed_rewrites_in_a_row: u64,
    /// When the last rewrite ended, unix seconds.
    pub last_rewrite_end: i64,
    pub last_rewrite_seconds: i64,
    /// When the snapshot under way began, unix seconds.
    pub snapshot_since: i64,
    /// Why the log could not be stored, while it can't.
    pub log_error: Option<String>,
    /// The stream is stored up to this offset.
    pub stored_offset: u64,
    /// The log is being flushed, and how often a write went on although that took long.
    pub flushing: bool,
    pub delayed_flushes: u64,
    /// Since when something of the log has not been durable.
    pub unsynced_since: Option<MonoTime>,
    /// Bytes of the log's base, and of everything.
    pub log_base_bytes: u64,
    pub log_current_bytes: u64,
    /// Keys that the last load brought, and keys that it left out because their time had come.
    pub loaded_keys: u64,
    pub loaded_expired: u64,
    /// Snapshots begun, for whatever purpose.
    pub snapshots_begun: u64,
    pub saves: u64,
    pub rewrites: u64,
}

impl Default for Persistence {
    fn default() -> Persistence {
        Persistence {
            dirty: 0,
            dirty_at_cut: 0,
            offset_at_cut: 0,
            wanted: None,
            snapshot_bytes: 0,
            snapshot: None,
            rewrite_scheduled: false,
            save_scheduled: false,
            loading: None,
            log_enabled: false,
            log_has_base: false,
            last_save: 0,
            last_save_try: 0,
            last_save_ok: true,
            last_save_seconds: -1,
            last_rewrite_ok: true,
            last_save_aside: 0,
            last_rewrite_aside: 0,
            failed_rewrites_in_a_row: 0,
            last_rewrite_end: 0,
            last_rewrite_seconds: -1,
            snapshot_since: -1,
            log_error: None,
            stored_offset: 0,
            flushing: false,
            delayed_flushes: 0,
            unsynced_since: None,
            log_base_bytes: 0,
            log_current_bytes: 0,
            loaded_keys: 0,
            loaded_expired: 0,
            snapshots_begun: 0,
            saves: 0,
            rewrites: 0,
        }
    }
}

impl Persistence {
    /// Whether the log has everything up to this offset.
    pub fn has_stored(&self, offset: u64) -> bool {
        self.log_enabled && self.stored_offset >= offset
    }

    /// Refuses writes while they could not be made safe.
    pub fn check_writable(&self, config: &Config) -> Result<(), Error> {
        if let Some(reason) = &self.log_error {
            return Err(Error::new(format!("MISCONF Errors writing to the AOF file: {reason}")));
        }
        let guarded = config.stop_writes_on_bgsave_error && !config.save.0.is_empty();
        if guarded && !self.last_save_ok {
            return Err("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                Commands that may modify the data set are disabled, because this instance is configured to report errors \
                during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs \
                for details about the RDB error."
                .into());
        }
        // No replicas follow this server yet.
        if config.min_replicas_to_write > 0 && config.min_replicas_max_lag > 0 {
            return Err("NOREPLICAS Not enough good replicas to write.".into());
        }
        Ok(())
    }
}

/// A shutdown that waits for storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Leave even if saving fails.
    pub force: bool,
    /// What is being waited for.
    pub step: ShutdownStep,
}

/// How far a shutdown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownStep {
    /// A snapshot has to be stored first.
    Saving,
    /// The log has to be durable up to this offset.
    Syncing(u64),
    /// The front end has been asked to leave.
    Leaving,
}

/// Something that the host was asked to do and that a client waits for.
#[derive(Debug)]
pub enum Awaited {
    /// CONFIG SET of host parameters: undone if the host refuses.
    Configure(Box<Changes>),
    /// Anything that is just done or not.
    Plain,
}

impl Server {
    /// Asks for a snapshot. It begins when the current unit has settled.
    pub fn want_snapshot(&mut self, kind: SnapshotKind, at_once: bool) {
        self.persistence.wanted = Some((kind, at_once));
    }

    /// Gives up the snapshot under way.
    pub fn cancel_snapshot(&mut self, keys: &mut Keyspace) {
        if let Some(walk) = &mut keys.walk {
            walk.cancel();
        }
        self.persistence.snapshot = None;
        self.persistence.snapshot_since = -1;
        self.asks.push(Ask::CancelSnapshot);
    }

    /// Asks the host for something that a client waits for; the answer comes as `Report::Done`.
    pub fn ask_host(&mut self, awaited: Awaited, ask: impl FnOnce(Ticket) -> Ask) -> Ticket {
        let ticket = self.ticket();
        self.awaited.push((ticket, awaited));
        self.asks.push(ask(ticket));
        ticket
    }

    /// Starts to leave; false if that is refused. `save`: take a snapshot first, or `None` for what the save points
    /// say.
    pub fn begin_shutdown(&mut self, save: Option<bool>, force: bool) -> bool {
        self.log(LogLevel::Warning, "User requested shutdown...");
        // Without its base the log is nothing that could be loaded.
        if self.persistence.log_enabled && !self.persistence.log_has_base && !force {
            self.log(LogLevel::Warning, "Writing initial AOF, can't exit. SHUTDOWN FORCE leaves without it.");
            return false;
        }
        // Half a dataset is never saved over a whole one.
        let save = save.unwrap_or(!self.config.save.0.is_empty()) && self.persistence.loading.is_none();
        let step = if save { ShutdownStep::Saving } else { ShutdownStep::Syncing(self.offset) };
        self.shutdown = Some(Shutdown { force, step });
        if save {
            self.log(LogLevel::Notice, "Saving the final RDB snapshot before exiting.");
            self.want_snapshot(SnapshotKind::Rdb, true);
        } else {
            self.sync_before_leaving();
        }
        true
    }

    /// Gives up a shutdown that waits; false if there is none.
    pub fn abort_shutdown(&mut self) -> bool {
        let signalled = self.termination.take().is_some();
        let waiting = signalled || self.shutdown.as_ref().is_some_and(|it| it.step != ShutdownStep::Leaving);
        if waiting {
            self.shutdown = None;
            self.shutdown_aborted = true;
            self.log(LogLevel::Notice, "Shutdown manually aborted.");
        }
        waiting
    }

    /// The last step of a shutdown: the log first, then the door.
    fn sync_before_leaving(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        let target = self.offset;
        if self.persistence.log_enabled
            && self.persistence.log_error.is_none()
            && self.persistence.stored_offset < target
        {
            shutdown.step = ShutdownStep::Syncing(target);
            self.asks.push(Ask::Sync);
        } else {
            shutdown.step = ShutdownStep::Leaving;
            self.asks.push(Ask::Exit);
        }
    }
}

impl Engine {
    /// Switches the log on while the server runs: changes go to the stream from here on, and the base that
    /// they build upon is cut as soon as no other snapshot is under way.
    pub fn start_log(&mut self, now: Now) {
        self.begin(now);
        self.set_log_enabled(true);
        self.server.persistence.log_has_base = false;
        if self.server.persistence.snapshot == Some(SnapshotKind::LogBase) {
            // It was cut before the changes that the log begins with.
            self.server.cancel_snapshot(&mut self.keyspace);
        }
        if self.server.persistence.snapshot.is_some() {
            self.server.persistence.rewrite_scheduled = true;
        } else {
            self.server.want_snapshot(SnapshotKind::LogBase, false);
            self.start_wanted_snapshot();
        }
    }

    /// Switches the log off while the server runs: a base that is being written is not wanted any more.
    pub fn stop_log(&mut self, now: Now) {
        self.begin(now);
        self.set_log_enabled(false);
        let persistence = &mut self.server.persistence;
        persistence.rewrite_scheduled = false;
        persistence.log_error = None;
        persistence.wanted.take_if(|(kind, _)| *kind == SnapshotKind::LogBase);
        if persistence.snapshot == Some(SnapshotKind::LogBase) {
            self.server.log(LogLevel::Notice, "Killing AOF child: the log is off, nobody waits for its new base.");
            self.server.cancel_snapshot(&mut self.keyspace);
            if std::mem::take(&mut self.server.persistence.save_scheduled) {
                self.server.want_snapshot(SnapshotKind::Rdb, false);
            }
        }
    }

    /// Says of the log that checksums made it longer by so many bytes, and since when a part of it has not been
    /// durable.
    pub fn note_log(&mut self, bytes: u64, unsynced_since: Option<MonoTime>) {
        let persistence = &mut self.server.persistence;
        persistence.log_current_bytes += bytes;
        persistence.unsynced_since = unsynced_since;
    }

    /// Starts a rewrite of the log if none is under way or wanted: the front end needs room.
    pub fn rewrite_log(&mut self, now: Now) {
        self.begin(now);
        let persistence = &mut self.server.persistence;
        match persistence.snapshot {
            None if persistence.wanted.is_none() => {
                self.server.want_snapshot(SnapshotKind::LogBase, false);
                self.start_wanted_snapshot();
            }
            Some(SnapshotKind::Rdb) => persistence.rewrite_scheduled = true,
            _ => {}
        }
    }

    /// What the front end says of storage.
    pub(super) fn report_storage(&mut self, report: Report) {
        match report {
            Report::Stored { offset } => self.stored(offset),
            Report::StoreFailed { reason } => self.store_failed(reason),
            Report::Flushing { under_way, delayed } => {
                let persistence = &mut self.server.persistence;
                (persistence.flushing, persistence.delayed_flushes) = (under_way, delayed);
            }
            Report::LogSize { bytes } => {
                let persistence = &mut self.server.persistence;
                (persistence.log_base_bytes, persistence.log_current_bytes) = (bytes, bytes);
            }
            Report::SnapshotStored => self.snapshot_ended(Ok(())),
            Report::SnapshotFailed { reason } => self.snapshot_ended(Err(reason)),
            Report::Done { ticket, result } => self.host_done(ticket, result),
            Report::Terminate { save, force } => {
                // It is periodic work that follows a signal.
                self.server.termination = Some((save, force));
                if !self.server.clock.stopped {
                    self.follow_termination();
                }
            }
            Report::Sent { .. } => {}
        }
    }

    fn stored(&mut self, offset: u64) {
        let persistence = &mut self.server.persistence;
        persistence.stored_offset = persistence.stored_offset.max(offset);
        if persistence.log_error.take().is_some() {
            self.server.log(LogLevel::Notice, "The log can be stored again: writes are accepted.");
        }
        self.answer_offset_waits();
        if let Some(Shutdown { step: ShutdownStep::Syncing(target), .. }) = self.server.shutdown
            && offset >= target
        {
            self.server.sync_before_leaving();
        }
    }

    fn store_failed(&mut self, reason: String) {
        self.server
            .log(LogLevel::Warning, format!("The log could not be stored: {reason}. Writes are refused until it can."));
        self.server.persistence.log_error = Some(reason);
        if let Some(Shutdown { step: ShutdownStep::Syncing(_), force }) = self.server.shutdown.clone() {
            if force {
                self.server.sync_before_leaving();
            } else {
                self.shutdown_failed();
            }
        }
    }

    /// Answers clients that wait for an offset (WAIT, WAITAOF) which has been reached.
    fn answer_offset_waits(&mut self) {
        if self.server.blocking.clients == 0 {
            return;
        }
        let stored = self.server.persistence.stored_offset;
        let reached = |cause: &Cause| matches!(cause, Cause::Offset { target, replicas: 0, .. } if *target <= stored);
        for id in self.blocked_clients(reached) {
            self.time_out(id);
        }
    }

    /// The waiting clients with such a cause, oldest first.
    fn blocked_clients(&self, wanted: impl Fn(&Cause) -> bool) -> Vec<ClientId> {
        let waits = |client: &&super::client::Client| client.blocked.as_ref().is_some_and(|b| wanted(&b.cause));
        self.server.clients.iter().filter(waits).map(|client| client.handle).collect()
    }

    /// The snapshot under way is stored, or it is not.
    fn snapshot_ended(&mut self, result: Result<(), String>) {
        let Some(kind) = self.server.persistence.snapshot.take() else { return };
        if let Some(walk) = &mut self.keyspace.walk {
            walk.cancel();
        }
        let now = self.server.now.wall.seconds();
        let persistence = &mut self.server.persistence;
        let took = now - persistence.snapshot_since;
        persistence.snapshot_since = -1;
        let ok = result.is_ok();
        match kind {
            SnapshotKind::Rdb => {
                persistence.last_save_ok = ok;
                persistence.last_save_seconds = took;
                if ok {
                    persistence.last_save = now;
                    persistence.saves += 1;
                    persistence.dirty = persistence.dirty.saturating_sub(persistence.dirty_at_cut);
                }
            }
            SnapshotKind::LogBase => {
                persistence.last_rewrite_ok = ok;
                persistence.failed_rewrites_in_a_row += 1;
                persistence.last_rewrite_end = now;
                persistence.last_rewrite_seconds = took;
                if ok {
                    persistence.rewrites += 1;
                    persistence.log_has_base = true;
                    persistence.failed_rewrites_in_a_row = 0;
                    let since_cut = self.server.offset - persistence.offset_at_cut;
                    persistence.log_base_bytes = persistence.snapshot_bytes + since_cut;
                    persistence.log_current_bytes = persistence.log_base_bytes;
                }
            }
        }
        if let Err(reason) = &result {
            let what = if kind == SnapshotKind::Rdb { "Saving the snapshot" } else { "Rewriting the log" };
            self.server.log(LogLevel::Warning, format!("{what} failed: {reason}"));
        }
        for id in self.blocked_clients(|cause| *cause == Cause::Snapshot) {
            match &result {
                Ok(()) => self.release(id, |reply| reply.ok()),
                Err(_) => self.release(id, |reply| reply.error("ERR")),
            }
        }
        self.go_on_after_snapshot(ok);
        self.start_wanted_snapshot();
    }

    /// Begins the shutdown that a signal has asked for.
    pub(super) fn follow_termination(&mut self) {
        let Some((save, force)) = self.server.termination.take() else { return };
        if self.server.shutdown.is_none() {
            match self.server.begin_shutdown(save, force) {
                true => self.start_wanted_snapshot(),
                false => self.shutdown_failed(),
            }
        }
    }

    /// What waited for a snapshot to end: a shutdown, a scheduled rewrite or save.
    fn go_on_after_snapshot(&mut self, ok: bool) {
        if let Some(shutdown) = self.server.shutdown.clone()
            && shutdown.step == ShutdownStep::Saving
            && self.server.persistence.wanted.is_none()
        {
            if !ok {
                self.server.log(LogLevel::Warning, "Error trying to save the DB, can't exit.");
            }
            return if ok || shutdown.force { self.server.sync_before_leaving() } else { self.shutdown_failed() };
        }
        let persistence = &mut self.server.persistence;
        if std::mem::take(&mut persistence.rewrite_scheduled) {
            self.server.want_snapshot(SnapshotKind::LogBase, false);
        } else if std::mem::take(&mut persistence.save_scheduled) {
            self.server.want_snapshot(SnapshotKind::Rdb, false);
        }
    }

    fn shutdown_failed(&mut self) {
        self.server.shutdown = None;
        self.server
            .log(LogLevel::Warning, "Errors trying to shut down the server. Check the lines above for the cause.");
        for id in self.blocked_clients(|cause| *cause == Cause::Shutdown) {
            self.release(id, |reply| reply.error("ERR Errors trying to SHUTDOWN. Check logs."));
        }
    }

    /// Gives up a waiting shutdown on behalf of SHUTDOWN ABORT.
    pub(super) fn release_shutdown_waits(&mut self) {
        if self.server.shutdown.is_none() {
            for id in self.blocked_clients(|cause| *cause == Cause::Shutdown) {
                self.release(id, |reply| reply.error("ERR Errors trying to SHUTDOWN. Check logs."));
            }
        }
    }

    /// The host has answered an ask.
    fn host_done(&mut self, ticket: Ticket, result: Result<(), Refusal>) {
        let Some(at) = self.server.awaited.iter().position(|(t, _)| *t == ticket) else { return };
        let (_, awaited) = self.server.awaited.remove(at);
        let error = match (awaited, result) {
            (_, Ok(())) => None,
            (Awaited::Configure(changes), Err(reason)) => {
                let text = ConfigError::refused(reason.about, reason.text).to_string();
                self.server.config.undo(*changes);
                self.server.refresh_usual();
                self.keyspace.settings.refresh(&self.server.config);
                Some(text)
            }
            (Awaited::Plain, Err(reason)) => Some(format!("ERR {}", reason.text)),
        };
        for id in self.blocked_clients(|cause| *cause == Cause::Host(ticket)) {
            match &error {
                None => self.release(id, |reply| reply.ok()),
                Some(text) => self.release(id, |reply| reply.error(text)),
            }
        }
    }

    /// Starts a snapshot or a rewrite if a save point or the log's growth says so.
    pub(super) fn check_save_points(&mut self) {
        let now = self.server.now.wall.seconds();
        let config = &self.server.config;
        let persistence = &self.server.persistence;
        if persistence.snapshot.is_some() || persistence.wanted.is_some() || persistence.loading.is_some() {
            return;
        }
        let due = config.save.0.iter().find(|point| {
            persistence.dirty >= point.changes.max(0) as u64
                && now - persistence.last_save > point.seconds as i64
                && (persistence.last_save_ok || now - persistence.last_save_try > RETRY_SECONDS)
        });
        if let Some(point) = due {
            let text = format!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
            self.server.log(LogLevel::Notice, text);
            self.server.want_snapshot(SnapshotKind::Rdb, false);
        } else if persistence.log_enabled && config.auto_aof_rewrite_percentage > 0 {
            let (base, size) = (persistence.log_base_bytes.max(1), persistence.log_current_bytes);
            let growth = (size as f64 / base as f64 - 1.0) * 100.0;
            let rested = now - persistence.last_rewrite_end >= rewrite_pause(persistence.failed_rewrites_in_a_row);
            if rested
                && size > config.auto_aof_rewrite_min_size
                && growth >= f64::from(config.auto_aof_rewrite_percentage)
            {
                let text = format!("Starting automatic rewriting of AOF on {growth:.0}% growth");
                self.server.log(LogLevel::Notice, text);
                self.server.want_snapshot(SnapshotKind::LogBase, false);
            }
        }
        self.start_wanted_snapshot();
    }
}

/// After a failed snapshot the next automatic try waits this long.
const RETRY_SECONDS: i64 = 5;

/// Seconds between the end of a rewrite and the next automatic one, after so many in a row that failed: as in Redis a
/// minute from the third on, twice as long with each, an hour at most.
fn rewrite_pause(failed: u64) -> i64 {
    match failed {
        0 => 0,
        1 | 2 => RETRY_SECONDS,
        _ => (60 << (failed - 3).min(6)).min(3600),
    }
}
