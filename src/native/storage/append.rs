//! The end of the log: what is appended, sealed, written and flushed.
//!
//! Bytes are written on the engine's thread, before the replies they belong to are sent: into the system's
//! cache, which survives the process. A reply that confirms a write never leaves before that write is in a file,
//! whatever `appendfsync` says. Flushing waits for the disk and is the storage thread's: once a second, or for each
//! batch, whose replies wait (`appendfsync always`). While the next part is being opened, bytes are kept and
//! replies wait.
//!
//! Where each batch is flushed, room is laid out ahead ([`super::room`]), which the next batches take. Once nothing has
//! come for a second, a seal alone says that everything before it is durable: what is wrong there later is no cut write.
//!
//! A failed write that could be taken back is tried again: nothing is lost by that. After a failed flush nobody
//! knows what the disk has, and asking again would not tell; so the part is broken for good: nothing is written to
//! it any more, and what is not known to be durable comes with the next base. Redis' counterpart:
//! `flushAppendOnlyFile`.

use std::io;
use std::sync::Arc;

use crate::engine::config::AppendFsync;
use crate::engine::time::MonoTime;

use super::disk::{Claim, DiskFile};
use super::room;
use super::seal::{BEGIN, Chain, End};

/// A write during a flush that lasts as long as this is counted as delayed.
const SLOW_FLUSH_MS: u64 = 2000;

/// How long after a flush without another write its end is vouched for.
const QUIET_MS: u64 = 1000;

/// How long after a failed write it is tried again.
pub const RETRY_MS: u64 = 1000;

/// What a try to write or flush led to.
#[derive(Debug)]
pub enum Trouble {
    /// The log could not be written; it is whole, and the write will be tried again.
    Write(io::Error),
    /// The part is of no use any more.
    Broken(io::Error),
}

impl Trouble {
    /// What the system said.
    pub fn error(&self) -> &io::Error {
        match self {
            Trouble::Write(error) | Trouble::Broken(error) => error,
        }
    }
}

/// A part of the log that is open for writing.
#[derive(Clone)]
pub struct OpenPart {
    /// The file.
    pub file: Arc<dyn DiskFile>,
    /// Its number in the manifest.
    pub seq: u64,
    /// Its length and checksums.
    pub chain: Chain,
    /// Where the room ends that is laid out behind them, if there is any; nothing if there is to be none any more.
    pub room: Option<u64>,
    /// No other server is to write to it.
    _claim: Claim,
}

impl OpenPart {
    /// A part that ends where its checksums do.
    pub fn new(file: Arc<dyn DiskFile>, seq: u64, chain: Chain, claim: Claim) -> OpenPart {
        OpenPart { file, seq, chain, room: Some(chain.length()), _claim: claim }
    }

    /// Writes a sealed batch. `lasting`: room is wanted for those that follow.
    fn write(&mut self, at: u64, batch: &mut Vec<u8>, lasting: bool) -> io::Result<()> {
        let end = at + batch.len() as u64;
        let room = self.room.unwrap_or(0);
        if room::fits(end, room) {
            if !end.is_multiple_of(2) {
                batch.push(b'#');
            }
            return self.file.write_all(batch, at);
        }
        self.file.write_all(batch, at)?;
        if (lasting && self.room.is_some()) || room > end {
            let lines = room::lay_out(end);
            self.room = Some(end + lines.len() as u64);
            // The batch is written, and needs none; but half a room is none, either.
            if self.file.write_all(&lines, end).is_err() {
                self.room = None;
                return self.file.cut(end);
            }
        }
        Ok(())
    }

    /// Cuts off the room behind what is written.
    ///
    /// # Errors
    /// It is still there.
    fn give_room_back(&mut self) -> io::Result<()> {
        let length = self.chain.length();
        if self.room.is_some_and(|room| room > length) {
            self.file.cut(length)?;
            self.room = Some(length);
        }
        Ok(())
    }
}

/// Where bytes go.
enum Target {
    /// To this part.
    Open(OpenPart),
    /// The next part is being opened.
    Opening,
    /// Nowhere: the next base will have what they say.
    Broken,
}

/// A flush under way.
struct Flush {
    /// The part, by its number, and its length when the flush began.
    seq: u64,
    length: u64,
    began: MonoTime,
}

/// The end of the log.
pub struct Appender {
    target: Target,
    /// When it is flushed.
    policy: AppendFsync,
    /// Bytes not yet written.
    pending: Vec<u8>,
    /// Offset of the stream at the end of everything appended.
    end: u64,
    /// Offset up to which the stream is written.
    written: u64,
    /// Offset up to which the stream is durable.
    synced: u64,
    /// Bytes of the part that are durable.
    durable: u64,
    /// The base is not stored yet that the part builds upon: nothing of it counts, and replies may be sent up to
    /// this offset only.
    unproven: Option<u64>,
    flushing: Option<Flush>,
    last_sync: MonoTime,
    failed_at: Option<MonoTime>,
    /// No seal says yet that the last batch is durable.
    unvouched: bool,
    /// When the oldest byte was written that is not durable.
    loose_since: Option<MonoTime>,
    /// How often a write came while a flush took long.
    pub delayed: u64,
    /// Bytes of checksums written since this was last asked.
    overhead: u64,
}

impl Appender {
    /// Goes on at the end of `part`, which is at this offset of the stream.
    pub fn new(part: Option<OpenPart>, offset: u64, policy: AppendFsync, now: MonoTime) -> Appender {
        let durable = part.as_ref().map_or(0, |part| part.chain.length());
        Appender {
            target: part.map_or(Target::Opening, Target::Open),
            policy,
            pending: Vec::new(),
            end: offset,
            written: offset,
            synced: offset,
            durable,
            unproven: None,
            flushing: None,
            last_sync: now,
            failed_at: None,
            unvouched: false,
            loose_since: None,
            delayed: 0,
            overhead: 0,
        }
    }

    /// When the log is flushed.
    pub fn policy(&self) -> AppendFsync {
        self.policy
    }

    /// Follows a changed `appendfsync`.
    pub fn set_policy(&mut self, policy: AppendFsync) {
        self.policy = policy;
        if let Target::Open(part) = &mut self.target
            && policy != AppendFsync::Always
        {
            // Room that is still there is used up.
            let _ = part.give_room_back();
        }
    }

    /// Offset of everything appended.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Offset up to which replies may be sent.
    pub fn safe(&self) -> u64 {
        match (self.unproven, self.policy) {
            (Some(offset), _) => offset,
            (_, AppendFsync::Always) => self.synced,
            _ => self.written,
        }
    }

    /// Offset up to which the stream is durable.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Since when something written is not durable.
    pub fn loose_since(&self) -> Option<MonoTime> {
        self.loose_since
    }

    /// Whether anything waits to be written.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether a base is missing that the part builds upon: nothing of it counts as stored.
    pub fn is_unproven(&self) -> bool {
        self.unproven.is_some()
    }

    /// Whether the part is broken.
    pub fn is_broken(&self) -> bool {
        matches!(self.target, Target::Broken)
    }

    /// Bytes of checksums written since this was last asked.
    pub fn take_overhead(&mut self) -> u64 {
        std::mem::take(&mut self.overhead)
    }

    /// Appends bytes; they are written by [`flush`](Self::flush).
    pub fn append(&mut self, bytes: &[u8], now: MonoTime) {
        if bytes.is_empty() {
            return;
        }
        self.end += bytes.len() as u64;
        self.loose_since.get_or_insert(now);
        if matches!(self.target, Target::Broken) {
            return;
        }
        if self.pending.is_empty() {
            self.pending.extend_from_slice(BEGIN);
            self.overhead += BEGIN.len() as u64;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// Writes what is appended. True if a failure was overcome.
    ///
    /// # Errors
    /// The disk is full, or the like; what could not be written is kept, or the part is broken.
    pub fn flush(&mut self, now: MonoTime, force: bool) -> Result<bool, Trouble> {
        if self.pending.is_empty() {
            return self.vouch(now).map(|()| false);
        }
        let Target::Open(part) = &mut self.target else { return Ok(false) };
        if !force && self.failed_at.is_some_and(|at| now.ms_since(at) < RETRY_MS) {
            return Ok(false);
        }
        if self.flushing.as_ref().is_some_and(|flush| now.ms_since(flush.began) >= SLOW_FLUSH_MS) {
            self.delayed += 1;
        }
        let (bytes, before) = (self.pending.len(), part.chain);
        part.chain.seal(&mut self.pending, self.durable);
        let sealed = self.pending.len();
        if let Err(error) = part.write(before.length(), &mut self.pending, self.policy == AppendFsync::Always) {
            self.failed_at = Some(now);
            self.pending.truncate(bytes);
            return Err(self.take_back(before, error));
        }
        self.overhead += (sealed - bytes) as u64;
        self.pending.clear();
        self.pending.shrink_to(1 << 20);
        self.written = self.end;
        self.unvouched = true;
        Ok(self.failed_at.take().is_some())
    }

    /// Vouches for what is durable, if that is everything and nothing has come for a while.
    fn vouch(&mut self, now: MonoTime) -> Result<(), Trouble> {
        let Target::Open(part) = &mut self.target else { return Ok(()) };
        let before = part.chain;
        let durable = self.durable == before.length() && self.flushing.is_none() && self.unproven.is_none();
        if !self.unvouched || !durable || now.ms_since(self.last_sync) < QUIET_MS {
            return Ok(());
        }
        self.unvouched = false;
        let mut line = Vec::new();
        part.chain.seal(&mut line, self.durable);
        let bytes = line.len() as u64;
        match part.write(before.length(), &mut line, self.policy == AppendFsync::Always) {
            Ok(()) => self.overhead += bytes,
            Err(error) => {
                // Nothing is lost without it.
                if let broken @ Trouble::Broken(_) = self.take_back(before, error) {
                    return Err(broken);
                }
            }
        }
        Ok(())
    }

    /// Takes a failed write back: what it left behind would be a torn command in the middle of the log.
    fn take_back(&mut self, before: Chain, error: io::Error) -> Trouble {
        if let Target::Open(part) = &mut self.target {
            part.chain = before;
            if part.file.cut(before.length()).is_ok() {
                part.room = None;
                return Trouble::Write(error);
            }
        }
        self.give_up();
        Trouble::Broken(error)
    }

    /// Whether the policy wants a flush now, and one can be done.
    pub fn is_due(&self, now: MonoTime, asked: bool) -> bool {
        let due = match self.policy {
            AppendFsync::Always => true,
            AppendFsync::EverySec => now.ms_since(self.last_sync) >= 1000,
            AppendFsync::No => false,
        };
        (due || asked) && self.flushing.is_none() && self.unproven.is_none() && self.written > self.synced
    }

    /// Begins the flush that is due, if there is one: file and offset. Tell [`end_sync`](Self::end_sync) later.
    pub fn begin_sync(&mut self, now: MonoTime, asked: bool) -> Option<(Arc<dyn DiskFile>, u64)> {
        if !self.is_due(now, asked) {
            return None;
        }
        let Target::Open(part) = &self.target else { return None };
        self.flushing = Some(Flush { seq: part.seq, length: part.chain.length(), began: now });
        self.last_sync = now;
        Some((part.file.clone(), self.written))
    }

    /// The log is durable up to `offset`, or it is not.
    ///
    /// # Errors
    /// It is not: the part is broken.
    pub fn end_sync(&mut self, offset: u64, result: io::Result<()>) -> Result<(), Trouble> {
        let flush = self.flushing.take();
        if let Err(error) = result {
            self.give_up();
            return Err(Trouble::Broken(error));
        }
        self.synced = self.synced.max(offset);
        if let (Some(flush), Target::Open(part)) = (flush, &self.target)
            && flush.seq == part.seq
        {
            self.durable = flush.length;
            self.loose_since = (self.synced < self.end).then_some(flush.began);
        }
        Ok(())
    }

    /// Whether everything is durable.
    pub fn is_synced(&self) -> bool {
        self.synced >= self.end
    }

    /// Nothing can be written to the part any more.
    pub fn give_up(&mut self) {
        self.target = Target::Broken;
        self.failed_at = None;
        self.pending = Vec::new();
    }

    /// Gives up the part written to: everything from here on belongs to the next one. Call
    /// [`flush`](Self::flush) before. `anew`: everything up to here will be in the base that comes with it.
    pub fn leave(&mut self, anew: bool) -> Option<OpenPart> {
        if anew {
            self.build_upon_base();
            self.pending.clear();
        }
        match std::mem::replace(&mut self.target, Target::Opening) {
            Target::Open(part) => Some(part),
            _ => None,
        }
    }

    /// What is written from here on counts once the base is stored that it builds upon.
    pub fn build_upon_base(&mut self) {
        self.unproven = Some(self.safe());
    }

    /// Takes the part back that was left, because the next one could not be opened. Its room is cut off.
    pub fn enter_again(&mut self, part: OpenPart) {
        self.target = Target::Open(OpenPart { room: Some(part.chain.length()), ..part });
    }

    /// Goes on with this part. What the last one held was made durable before it was opened.
    pub fn enter(&mut self, part: OpenPart) {
        self.durable = part.chain.length();
        self.target = Target::Open(part);
        self.unvouched = false;
        if self.unproven.is_none() {
            // What is pending was appended since.
            self.synced = self.synced.max(self.written);
            self.loose_since = self.loose_since.filter(|_| self.synced < self.end);
        }
    }

    /// The base is stored that has everything up to `offset`: what builds upon it counts from here on.
    pub fn prove(&mut self, offset: u64, now: MonoTime) {
        if self.unproven.take().is_none() {
            return;
        }
        self.synced = self.synced.max(offset);
        self.written = self.written.max(offset);
        self.loose_since = (self.synced < self.end).then_some(now);
    }

    /// How the part ends that is written to.
    pub fn part_end(&self) -> End {
        match &self.target {
            Target::Open(part) => End { seq: part.seq, length: part.chain.length(), chain: part.chain.chain },
            _ => End::default(),
        }
    }

    /// A last seal for a part that is closed when all of it is durable.
    pub fn closing_seal(&self) -> Vec<u8> {
        let mut line = Vec::new();
        if let Target::Open(part) = &self.target {
            let mut chain = part.chain;
            let length = chain.length();
            chain.seal(&mut line, length);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;

    use super::*;

    fn part(name: &str) -> (PathBuf, OpenPart) {
        let path = std::env::temp_dir().join(format!("haversack-append-{}-{name}", std::process::id()));
        let file = File::create(&path).unwrap();
        (path, OpenPart::new(Arc::new(file), 1, Chain::default(), Arc::new(())))
    }

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_ms(10_000 + ms)
    }

    #[test]
    fn replies_wait_for_the_disk_only_if_always() {
        let (path, part) = part("always");
        let mut log = Appender::new(Some(part), 100, AppendFsync::Always, at(0));
        log.append(b"abcd", at(0));
        log.flush(at(0), false).unwrap();
        assert_eq!((log.safe(), log.end()), (100, 104));
        let (_, offset) = log.begin_sync(at(0), false).unwrap();
        log.append(b"ef", at(1));
        log.flush(at(1), false).unwrap();
        assert!(log.begin_sync(at(1), false).is_none(), "one flush at a time");
        log.end_sync(offset, Ok(())).unwrap();
        assert_eq!(log.safe(), 104);
        assert_eq!(log.begin_sync(at(1), false).unwrap().1, 106);
        assert!(std::fs::metadata(&path).unwrap().len() > log.part_end().length, "room is laid out");
        log.set_policy(AppendFsync::EverySec);
        assert_eq!(log.safe(), 106);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), log.part_end().length);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn once_it_is_quiet_a_seal_says_that_the_last_batch_is_durable() {
        for policy in [AppendFsync::Always, AppendFsync::EverySec] {
            let (path, part) = part(&format!("quiet-{policy:?}"));
            let mut log = Appender::new(Some(part), 0, policy, at(0));
            let mut turn = |ms, bytes: &[u8]| {
                log.append(bytes, at(ms));
                log.flush(at(ms), false).unwrap();
                if let Some((_, offset)) = log.begin_sync(at(ms), false) {
                    log.end_sync(offset, Ok(())).unwrap();
                }
                log.part_end().length
            };
            turn(1000, b"abcd");
            let length = turn(1900, b"");
            let vouched = turn(2000, b"");
            let file = std::fs::read(&path).unwrap();
            let line = &file[length as usize..vouched as usize];
            let seal = crate::native::storage::seal::read_seal(line).expect("a seal");
            assert_eq!((seal.from, seal.loose), (length, 0));
            assert_eq!(turn(9000, b""), vouched, "once");
            let next = turn(10_000, b"ef");
            assert!(next > vouched && turn(10_500, b"") == next && turn(11_000, b"") > next, "and for the next");
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_write_does_not_wait_for_a_flush_but_is_counted_if_that_is_slow() {
        let (path, part) = part("slow");
        let mut log = Appender::new(Some(part), 0, AppendFsync::EverySec, at(0));
        log.append(b"a", at(0));
        log.flush(at(0), false).unwrap();
        assert!(log.begin_sync(at(999), false).is_none());
        assert!(log.begin_sync(at(1000), false).is_some());
        for (ms, delayed) in [(1500, 0), (2999, 0), (3000, 1)] {
            log.append(b"b", at(ms));
            log.flush(at(ms), false).unwrap();
            assert_eq!((log.safe(), log.delayed), (log.end(), delayed), "after {ms} ms");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_failed_write_is_kept_and_a_failed_flush_is_final() {
        let full = Arc::new(File::options().write(true).open("/dev/full").unwrap());
        let full = OpenPart::new(full, 1, Chain::default(), Arc::new(()));
        let (path, part) = part("full");
        let mut log = Appender::new(Some(full), 0, AppendFsync::EverySec, at(0));
        log.append(b"abc", at(0));
        // A device cannot be cut back: what it holds is unknown.
        assert!(matches!(log.flush(at(0), false), Err(Trouble::Broken(_))));
        assert!(log.is_broken() && log.safe() == 0);
        log.leave(true);
        log.enter(part);
        log.append(b"d", at(5));
        log.flush(at(5), false).unwrap();
        assert_eq!((log.safe(), log.end()), (0, 4), "the base is not stored yet");
        log.prove(3, at(6));
        assert_eq!(log.safe(), 4);
        let (_, offset) = log.begin_sync(at(2000), false).unwrap();
        assert!(log.end_sync(offset, Err(io::Error::other("lost"))).is_err());
        assert!(log.is_broken());
        std::fs::remove_file(path).unwrap();
    }
}
