//! The end of the log: what is appended, written and flushed.
//!
//! Bytes are written on the engine's thread, before the replies they belong to are sent: into the system's
//! cache, which survives the process. Flushing waits for the disk and is the storage thread's: once a
//! second, or for each batch, whose replies wait (`appendfsync always`). While the next part is being
//! opened, bytes are kept and replies wait. Redis' counterpart: `flushAppendOnlyFile`.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use crate::engine::config::AppendFsync;
use crate::engine::time::MonoTime;

/// How long a write may wait for a flush under way.
const POSTPONE_MS: u64 = 2000;

/// How long after a failed write it is tried again.
const RETRY_MS: u64 = 1000;

/// What a try to write or flush led to.
#[derive(Debug)]
pub enum Trouble {
    /// The log could not be written.
    Write(io::Error),
    /// The log could not be flushed.
    Sync(io::Error),
}

/// The end of the log.
pub struct Appender {
    /// The part that is written to; `None` while the next one is being opened.
    file: Option<Arc<File>>,
    /// Its length.
    length: u64,
    /// When it is flushed.
    pub policy: AppendFsync,
    /// Bytes not yet written.
    pending: Vec<u8>,
    /// Offset of the stream at the end of `pending`.
    end: u64,
    /// Offset up to which the stream is durable.
    synced: u64,
    /// A flush is under way.
    syncing: bool,
    last_sync: MonoTime,
    postponed_since: Option<MonoTime>,
    failed_at: Option<MonoTime>,
    /// How often a write had to wait for a flush.
    pub delayed: u64,
}

impl Appender {
    /// Goes on at the end of `file`, which is at this offset of the stream.
    pub fn new(file: Option<Arc<File>>, offset: u64, policy: AppendFsync, now: MonoTime) -> Appender {
        let length = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |data| data.len());
        Appender {
            file,
            length,
            policy,
            pending: Vec::new(),
            end: offset,
            synced: offset,
            syncing: false,
            last_sync: now,
            postponed_since: None,
            failed_at: None,
            delayed: 0,
        }
    }

    /// Offset of everything appended.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Offset up to which replies may be sent.
    pub fn safe(&self) -> u64 {
        match (self.policy, &self.file) {
            (AppendFsync::Always, _) => self.synced,
            (_, None) => self.end - self.pending.len() as u64,
            _ => self.end,
        }
    }

    /// Appends bytes; they are written by [`flush`](Self::flush).
    pub fn append(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.end += bytes.len() as u64;
    }

    /// Writes what is appended. True if a failure was overcome.
    ///
    /// # Errors
    /// The disk is full, or the like; what could not be written is kept.
    pub fn flush(&mut self, now: MonoTime, force: bool) -> Result<bool, Trouble> {
        let Some(file) = &self.file else { return Ok(false) };
        if self.pending.is_empty() {
            return Ok(false);
        }
        if !force {
            if self.failed_at.is_some_and(|at| now.ms_since(at) < RETRY_MS) {
                return Ok(false);
            }
            if self.policy == AppendFsync::EverySec && self.syncing {
                let since = *self.postponed_since.get_or_insert(now);
                if now.ms_since(since) < POSTPONE_MS {
                    return Ok(false);
                }
                self.delayed += 1;
            }
        }
        self.postponed_since = None;
        if let Err(error) = (&mut &**file).write_all(&self.pending) {
            // What a short write left behind would be a torn command in the middle of the log.
            let _ = file.set_len(self.length);
            self.failed_at = Some(now);
            return Err(Trouble::Write(error));
        }
        self.length += self.pending.len() as u64;
        self.pending.clear();
        self.pending.shrink_to(1 << 20);
        Ok(self.failed_at.take().is_some())
    }

    /// The flush to be done now, if there is one: file and offset. Tell [`synced`](Self::synced) later.
    pub fn due_sync(&mut self, now: MonoTime, asked: bool) -> Option<(Arc<File>, u64)> {
        let file = self.file.as_ref()?;
        let written = self.end - self.pending.len() as u64;
        let due = match self.policy {
            AppendFsync::Always => true,
            AppendFsync::EverySec => now.ms_since(self.last_sync) >= 1000,
            AppendFsync::No => false,
        };
        if self.syncing || written <= self.synced || !(due || asked) {
            return None;
        }
        self.syncing = true;
        self.last_sync = now;
        Some((file.clone(), written))
    }

    /// The log is durable up to `offset`, or it is not.
    ///
    /// # Errors
    /// It is not.
    pub fn synced(&mut self, offset: u64, result: io::Result<()>) -> Result<(), Trouble> {
        self.syncing = false;
        result.map_err(Trouble::Sync)?;
        self.synced = self.synced.max(offset);
        Ok(())
    }

    /// Whether everything is durable.
    pub fn is_synced(&self) -> bool {
        self.synced >= self.end
    }

    /// Gives up the part written to: everything from here on belongs to the next one. Call
    /// [`flush`](Self::flush) before.
    pub fn leave(&mut self) -> Option<Arc<File>> {
        self.file.take()
    }

    /// Takes the part back that was left, because the next one could not be opened.
    pub fn enter_again(&mut self, file: Arc<File>) {
        self.file = Some(file);
    }

    /// Goes on with this part.
    pub fn enter(&mut self, file: Arc<File>) {
        self.length = file.metadata().map_or(0, |data| data.len());
        self.file = Some(file);
        // What the last part held was made durable before the next one was opened.
        self.synced = self.synced.max(self.end - self.pending.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> (std::path::PathBuf, Arc<File>) {
        let path = std::env::temp_dir().join(format!("haversack-append-{}-{name}", std::process::id()));
        let file = File::options().append(true).create(true).open(&path).unwrap();
        file.set_len(0).unwrap();
        (path, Arc::new(file))
    }

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_ms(10_000 + ms)
    }

    #[test]
    fn replies_wait_for_the_disk_only_if_always() {
        let (path, part) = file("always");
        let mut log = Appender::new(Some(part), 100, AppendFsync::Always, at(0));
        log.append(b"abcd");
        log.flush(at(0), false).unwrap();
        assert_eq!((log.safe(), log.end()), (100, 104));
        let (_, offset) = log.due_sync(at(0), false).unwrap();
        log.append(b"ef");
        log.flush(at(0), false).unwrap();
        assert!(log.due_sync(at(0), false).is_none(), "one flush at a time");
        log.synced(offset, Ok(())).unwrap();
        assert_eq!(log.safe(), 104);
        assert_eq!(log.due_sync(at(0), false).unwrap().1, 106);
        log.policy = AppendFsync::EverySec;
        assert_eq!(log.safe(), 106);
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_slow_flush_delays_writes_for_two_seconds_at_most() {
        let (path, part) = file("slow");
        let mut log = Appender::new(Some(part), 0, AppendFsync::EverySec, at(0));
        log.append(b"a");
        log.flush(at(0), false).unwrap();
        assert!(log.due_sync(at(999), false).is_none());
        assert!(log.due_sync(at(1000), false).is_some());
        log.append(b"b");
        for (ms, written) in [(1000, &b"a"[..]), (2999, b"a"), (3000, b"ab")] {
            log.flush(at(ms), false).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), written, "after {ms} ms");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn while_the_next_part_is_opened_bytes_and_replies_wait() {
        let (first, part) = file("first");
        let mut log = Appender::new(Some(part), 0, AppendFsync::No, at(0));
        log.append(b"a");
        log.flush(at(0), true).unwrap();
        assert!(log.leave().is_some());
        log.append(b"b");
        log.flush(at(0), true).unwrap();
        assert_eq!((log.safe(), log.end()), (1, 2));
        let (second, part) = file("second");
        log.enter(part);
        log.flush(at(0), false).unwrap();
        assert_eq!(log.safe(), 2);
        assert_eq!(std::fs::read(&first).unwrap(), b"a");
        assert_eq!(std::fs::read(&second).unwrap(), b"b");
        std::fs::remove_file(first).unwrap();
        std::fs::remove_file(second).unwrap();
    }

    #[test]
    fn a_failed_write_is_kept_and_tried_again() {
        let full = File::options().append(true).open("/dev/full").unwrap();
        let mut log = Appender::new(Some(Arc::new(full)), 0, AppendFsync::EverySec, at(0));
        log.append(b"abc");
        assert!(matches!(log.flush(at(0), false), Err(Trouble::Write(_))));
        assert!(!log.flush(at(999), false).unwrap(), "not before a second has passed");
        let (path, part) = file("full");
        log.enter(part);
        assert!(log.flush(at(1000), false).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        std::fs::remove_file(path).unwrap();
    }
}
