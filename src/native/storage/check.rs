//! A file of the log as it is read: what a seal vouches for, and what none does.
//!
//! Bytes go in as they are read; those that may be given to the engine come out. A batch of ours is kept back until
//! its seal has been read, so nothing that is damaged, and nothing of a torn batch, is ever run. What other servers
//! wrote has no seals and passes through; a seal that comes later vouches for it afterwards. Framing is all that is
//! looked at: which bytes are the heads of commands, which are payload, which are `#` lines. See [`super::seal`].

use super::room;
use super::seal::{self, BEGIN, Chain, End, HEAD, Head, SEAL};

/// A line between commands, or the head of a command or of an argument, is no longer than this.
const LONGEST_LINE: usize = 1024;

/// Something in a file is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Everything before is whole.
    pub at: u64,
    /// Where it was noticed.
    pub seen: u64,
    /// What it is, in words.
    pub what: &'static str,
    /// It may be the end of a write that was cut short, if nothing speaks against it.
    pub torn: bool,
}

/// Why the reading stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The file is not as it was written.
    Damage(Damage),
    /// What comes next is later than wanted: the time that is noted there.
    Until(i64),
}

/// What a whole file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its first line, if it is ours.
    pub head: Option<Head>,
    /// Where its checksums stand.
    pub chain: Chain,
    /// Bytes that no seal vouches for.
    pub bare: u64,
    /// A seal stands alone at its end: it was closed.
    pub closed: bool,
    /// Bytes of room behind them.
    pub room: u64,
    /// It is a snapshot, which has a checksum of its own.
    pub snapshot: bool,
    /// From here on, framing could not be followed: nothing behind it was checked.
    pub lost: Option<u64>,
}

impl Found {
    /// Whether its checksums are known to the end, so that it can be gone on with.
    pub fn is_followed(&self) -> bool {
        !self.snapshot && self.lost.is_none()
    }
}

/// What the bytes at hand are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing has been read.
    Start,
    /// A snapshot, or something that the engine is to find the fault in.
    Raw,
    /// Between two batches.
    Between,
    /// In a batch of ours: kept back.
    Sealed,
    /// In the room behind the last one.
    Room,
    /// Written by another server: passes.
    Bare,
}

/// A file being read.
pub struct Checker {
    mode: Mode,
    chain: Chain,
    head: Option<Head>,
    /// What is kept back: a batch, or the beginning of a line.
    held: Vec<u8>,
    /// How much of `held` has been let go of: taken out when everything at hand is dealt with.
    start: usize,
    /// How much of the rest has been looked at.
    at: usize,
    /// Bytes of payload that come next, and arguments of the command that are left.
    payload: u64,
    args: u64,
    /// Times later than this are not wanted.
    until: i64,
    /// Where in `held` something later begins, and its time.
    later: Option<(usize, i64)>,
    /// The first and the last time noted.
    pub stamps: Option<(i64, i64)>,
    bare: u64,
    closed: bool,
    room: u64,
    snapshot: bool,
    lost: Option<u64>,
    base_time: Option<i64>,
}

/// One step of framing.
enum Framed {
    /// More bytes are needed.
    Need,
    /// A `#` line of so many bytes stands here.
    Note(usize),
    /// So many bytes of a command were passed.
    Command(usize),
    /// No command.
    Wrong,
}

impl Checker {
    /// Reads a file, up to the first time noted in it that is later than `until`.
    pub fn new(until: Option<i64>) -> Checker {
        Checker {
            mode: Mode::Start,
            chain: Chain::default(),
            head: None,
            held: Vec::new(),
            start: 0,
            at: 0,
            payload: 0,
            args: 0,
            until: until.unwrap_or(i64::MAX),
            later: None,
            stamps: None,
            bare: 0,
            closed: false,
            room: 0,
            snapshot: false,
            lost: None,
            base_time: None,
        }
    }

    /// The first line of the file, if it is ours and has been read.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// When the snapshot at the beginning was made, if it says so.
    pub fn base_time(&self) -> Option<i64> {
        self.base_time
    }

    /// Takes the next bytes; appends to `out` what may be loaded.
    ///
    /// # Errors
    /// The file is damaged, or what comes next is too late.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Stop> {
        if self.mode == Mode::Raw {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        self.held.extend_from_slice(bytes);
        loop {
            let more = match self.mode {
                Mode::Start => self.start(out)?,
                Mode::Between => self.between(out)?,
                Mode::Sealed => self.sealed(out)?,
                Mode::Room => self.room()?,
                Mode::Bare => self.bare(out)?,
                Mode::Raw => {
                    self.release(self.rest().len(), out);
                    false
                }
            };
            if !more {
                self.held.drain(..self.start);
                self.start = 0;
                return Ok(());
            }
        }
    }

    /// The file has ended: what it was.
    ///
    /// # Errors
    /// It has ended within a batch. `out` gets what may be loaded nevertheless.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<Found, Stop> {
        match self.mode {
            Mode::Raw => {}
            Mode::Start if self.held.first() == Some(&0) => {
                return Err(self.damage(0, "it has not even a first line", true));
            }
            Mode::Room => self.room = std::mem::take(&mut self.held).len() as u64,
            Mode::Between | Mode::Sealed if !self.held.is_empty() => {
                let what = "it ends within a batch of commands";
                return Err(self.damage(self.held.len(), what, true));
            }
            // The engine says what is missing.
            _ => {
                self.chain.pass(&self.held);
                self.bare += self.held.len() as u64;
                out.append(&mut self.held);
            }
        }
        let Checker { head, chain, bare, closed, room, snapshot, lost, .. } = *self;
        Ok(Found { head, chain, bare: bare + chain.open, closed, room, snapshot, lost })
    }

    fn damage(&self, seen: usize, what: &'static str, torn: bool) -> Stop {
        Stop::Damage(Damage { at: self.chain.from, seen: self.chain.length() + seen as u64, what, torn })
    }

    /// What is kept back.
    fn rest(&self) -> &[u8] {
        &self.held[self.start..]
    }

    /// Lets go of so many bytes of it.
    fn release(&mut self, bytes: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.held[self.start..self.start + bytes]);
        self.start += bytes;
    }

    /// The end of the line that begins at `at`, if it is there. An error is a line that is none.
    fn line(&self, at: usize) -> Result<Option<usize>, ()> {
        let rest = &self.rest()[at..];
        match memchr::memchr(b'\n', &rest[..rest.len().min(LONGEST_LINE)]) {
            Some(end) => Ok(Some(at + end + 1)),
            None if rest.len() >= LONGEST_LINE => Err(()),
            None => Ok(None),
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) -> Result<bool, Stop> {
        let seen = &self.rest()[..self.rest().len().min(SNAPSHOT_HEAD)];
        if seen.is_empty() {
            return Ok(false);
        }
        if [&b"REDIS"[..], b"VALKEY"].iter().any(|magic| seen.starts_with(magic)) {
            self.base_time = snapshot_time(seen);
            (self.mode, self.snapshot) = (Mode::Raw, true);
            return Ok(true);
        }
        if [&b"REDIS"[..], b"VALKEY"].iter().any(|magic| magic.starts_with(seen)) || HEAD.starts_with(seen) {
            return Ok(false);
        }
        if seen[0] == 0 && self.rest().iter().all(|byte| *byte == 0) {
            // One of them says it as well as all.
            self.held.truncate(1);
            return Ok(false);
        }
        if !seen.starts_with(HEAD) {
            self.mode = if seen[0] == 0 { Mode::Raw } else { Mode::Bare };
            return Ok(true);
        }
        let torn = |checker: &Checker, what| checker.damage(0, what, false);
        let Some(end) = self.line(0).map_err(|()| torn(self, "its first line is damaged"))? else { return Ok(false) };
        let head = seal::read_head(&self.rest()[..end]).map_err(|what| torn(self, what))?;
        self.head = Some(head);
        self.chain.restart(head.chain, end as u64);
        self.release(end, out);
        self.mode = Mode::Between;
        Ok(true)
    }

    fn between(&mut self, out: &mut Vec<u8>) -> Result<bool, Stop> {
        let Some(&first) = self.rest().first() else { return Ok(false) };
        self.closed = false;
        if first == 0 {
            return Err(self.damage(0, "zeros stand where a batch should begin", true));
        }
        if first == b'\n' {
            return Err(self.damage(0, "the end of a line stands where a batch should begin", true));
        }
        let rest = self.rest();
        let (begins, seals) = (BEGIN.starts_with(&rest[..rest.len().min(BEGIN.len())]), first == b'#');
        if begins && rest.len() < BEGIN.len() {
            return Ok(false);
        }
        if begins {
            (self.mode, self.at) = (Mode::Sealed, BEGIN.len());
            return Ok(true);
        }
        if seals && rest.starts_with(SEAL) {
            let lost = |checker: &Checker| checker.damage(0, "a checksum line is damaged", true);
            let Some(end) = self.line(0).map_err(|()| lost(self))? else { return Ok(false) };
            let fits = seal::read_seal(&self.rest()[..end]).is_some_and(|seal| self.chain.check(&seal, end as u64));
            if !fits {
                return Err(self.damage(0, "a checksum line is damaged, or stands in the wrong place", false));
            }
            self.release(end, out);
            self.closed = true;
            return Ok(true);
        }
        if room::begins(self.rest()) {
            (self.mode, self.at) = (Mode::Room, 0);
            return Ok(true);
        }
        if seals && self.rest().get(1).is_some_and(|next| [0, BEGIN[1]].contains(next)) {
            return Err(self.damage(1, "the line that begins a batch is torn or damaged", true));
        }
        if seals && self.rest().len() < 2 {
            return Ok(false);
        }
        self.mode = Mode::Bare;
        Ok(true)
    }

    /// A batch of ours: nothing of it comes out before its seal.
    fn sealed(&mut self, out: &mut Vec<u8>) -> Result<bool, Stop> {
        loop {
            match self.frame() {
                Framed::Need => return Ok(false),
                Framed::Command(bytes) => self.at += bytes,
                Framed::Wrong => {
                    let what = "something stands where a command should begin";
                    return Err(self.damage(self.at, what, false));
                }
                Framed::Note(bytes) => {
                    let line = &self.rest()[self.at..self.at + bytes];
                    if !line.starts_with(SEAL) {
                        if !line.starts_with(STAMP) {
                            return Err(self.damage(self.at, "an unknown note stands within a batch", false));
                        }
                        self.stamp(bytes);
                        self.at += bytes;
                        continue;
                    }
                    let seal = seal::read_seal(line);
                    let mut chain = self.chain;
                    chain.pass(&self.rest()[..self.at]);
                    if !seal.is_some_and(|seal| chain.check(&seal, bytes as u64)) {
                        return Err(self.damage(self.at, "a batch does not fit its checksum", false));
                    }
                    if let Some((at, time)) = self.later {
                        out.extend_from_slice(&self.rest()[..at]);
                        return Err(Stop::Until(time));
                    }
                    let end = self.at + bytes;
                    self.release(end, out);
                    (self.chain, self.at, self.mode) = (chain, 0, Mode::Between);
                    return Ok(true);
                }
            }
        }
    }

    /// Room behind the last batch. What stands behind it was appended by another server, or is a piece of a torn batch.
    fn room(&mut self) -> Result<bool, Stop> {
        let begins = self.chain.length();
        let length = room::measure(begins, self.rest());
        if length == self.rest().len() && length as u64 <= room::LONGEST {
            return Ok(false);
        }
        if self.rest().get(length) == Some(&b'*') && (begins + length as u64).is_multiple_of(room::SECTOR) {
            return Err(self.damage(length, "a piece of a batch stands without its beginning", true));
        }
        match self.rest().get(length) {
            Some(byte) if *byte != b'*' => Err(self.damage(length, "something stands where room was laid out", true)),
            _ => {
                (self.mode, self.at) = (Mode::Bare, 0);
                Ok(true)
            }
        }
    }

    /// What has no seal passes, a command at a time.
    fn bare(&mut self, out: &mut Vec<u8>) -> Result<bool, Stop> {
        let more = loop {
            match self.frame() {
                Framed::Need => break false,
                Framed::Command(bytes) => self.at += bytes,
                Framed::Wrong => {
                    self.mode = Mode::Raw;
                    self.lost = Some(self.chain.length() + self.at as u64);
                    self.bare += self.rest().len() as u64;
                    break true;
                }
                Framed::Note(bytes) => {
                    let line = &self.rest()[self.at..self.at + bytes];
                    if line == BEGIN || line.starts_with(SEAL) {
                        let seal = seal::read_seal(line);
                        self.chain.pass(&self.held[self.start..self.start + self.at]);
                        // Lines of ours behind something that was not ours are preceded by its seal.
                        if !seal.is_some_and(|seal| self.chain.check(&seal, bytes as u64)) {
                            let what = "what stands before a checksum line does not fit it";
                            return Err(self.damage(0, what, false));
                        }
                        self.release(self.at + bytes, out);
                        (self.at, self.mode) = (0, Mode::Between);
                        return Ok(true);
                    }
                    if line.starts_with(STAMP) {
                        self.stamp(bytes);
                        if let Some((at, time)) = self.later {
                            out.extend_from_slice(&self.rest()[..at]);
                            return Err(Stop::Until(time));
                        }
                    }
                    self.at += bytes;
                }
            }
        };
        let passed = std::mem::take(&mut self.at);
        self.chain.pass(&self.held[self.start..self.start + passed]);
        self.release(passed, out);
        Ok(more)
    }

    /// Looks at what stands at `at`.
    fn frame(&mut self) -> Framed {
        let room = (self.rest().len() - self.at) as u64;
        if self.payload > 0 {
            let bytes = self.payload.min(room);
            self.payload -= bytes;
            return if bytes == 0 { Framed::Need } else { Framed::Command(bytes as usize) };
        }
        let Some(&first) = self.rest().get(self.at) else { return Framed::Need };
        let expected: &[u8] = if self.args > 0 { b"$" } else { b"*#" };
        if !expected.contains(&first) {
            return Framed::Wrong;
        }
        let end = match self.line(self.at) {
            Ok(Some(end)) => end,
            Ok(None) => return Framed::Need,
            Err(()) => return Framed::Wrong,
        };
        let bytes = end - self.at;
        if first == b'#' {
            return Framed::Note(bytes);
        }
        let digits =
            self.rest()[self.at + 1..end].strip_suffix(b"\r\n").and_then(|text| std::str::from_utf8(text).ok());
        let Some(number) = digits.and_then(|digits| digits.parse::<u64>().ok()).filter(|n| *n < u64::MAX / 2) else {
            return Framed::Wrong;
        };
        if self.args > 0 {
            self.args -= 1;
            self.payload = number + 2;
        } else {
            self.args = number;
        }
        Framed::Command(bytes)
    }

    /// Takes note of a time.
    fn stamp(&mut self, bytes: usize) {
        let line = &self.rest()[self.at + STAMP.len()..self.at + bytes];
        let Some(time) = std::str::from_utf8(line).ok().and_then(|text| text.trim_end().parse::<i64>().ok()) else {
            return;
        };
        self.stamps = Some((self.stamps.map_or(time, |(first, _)| first), time));
        if time > self.until && self.later.is_none() {
            self.later = Some((self.at, time));
        }
    }
}

/// A note of the time.
const STAMP: &[u8] = b"#TS:";

/// Bytes at the beginning of a snapshot within which it says when it was made.
const SNAPSHOT_HEAD: usize = 128;

/// The unix time in the head of a snapshot: the field "ctime", a number in one of two forms.
fn snapshot_time(head: &[u8]) -> Option<i64> {
    const FIELD: &[u8] = b"\xfa\x05ctime";
    let at = head.windows(FIELD.len()).position(|window| window == FIELD)? + FIELD.len();
    match *head.get(at)? {
        0xc2 => Some(i64::from(i32::from_le_bytes(head.get(at + 1..at + 5)?.try_into().ok()?))),
        length @ 1..=20 => std::str::from_utf8(head.get(at + 1..at + 1 + length as usize)?).ok()?.parse().ok(),
        _ => None,
    }
}

/// What is behind a damaged place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Seals that stand behind it, damaged or not.
    pub seals: u64,
    /// Batches behind it that are whole by themselves.
    pub whole: u64,
    /// So many bytes of the file were known to be durable when one of these was written.
    pub durable: u64,
    /// One of them stands where it was not written: bytes before it are missing, or too many.
    pub moved: bool,
    /// Before the first of them there are zeros as blocks leave them that never reached the disk.
    pub lost_blocks: bool,
    /// There is room within a batch, as blocks leave it that never reached the disk.
    pub old_room: bool,
}

impl Evidence {
    /// Looks at everything from `at` on.
    pub fn gather(at: u64, rest: &[u8]) -> Evidence {
        let mut evidence = Evidence::default();
        // Lines that only look like seals cannot make this take long.
        let (mut last, mut budget, mut behind, mut first) = (0, rest.len() * 4, 0, rest.len());
        for start in memchr::memchr_iter(b'#', rest) {
            // What stood before it may be gone.
            let line_begins = start == 0 || matches!(rest[start - 1], b'\n' | 0);
            if !line_begins || !rest[start..].starts_with(SEAL) {
                continue;
            }
            let line = &rest[start..rest.len().min(start + LONGEST_LINE)];
            let Some(end) = memchr::memchr(b'\n', line) else { continue };
            let Some(seal) = seal::read_seal(&line[..=end]) else { continue };
            let (here, next) = (at + start as u64, start + end + 1);
            let before = std::mem::replace(&mut behind, next);
            if seal.from < at {
                continue;
            }
            evidence.seals += 1;
            let mut vouches = |from: usize| {
                let mut alone = Chain::default();
                alone.restart(0, seal.from);
                budget = budget.saturating_sub(start - from);
                alone.pass(&rest[from..start]);
                budget > 0 && alone.vouches(&seal)
            };
            let from = usize::try_from(seal.from - at).unwrap_or(usize::MAX);
            if seal.from <= here && from >= last && vouches(from) {
                evidence.whole += 1;
                evidence.durable = evidence.durable.max(seal.from - seal.loose);
                (first, last) = (first.min(from), next);
            } else if from != before && rest[before..].starts_with(BEGIN) && vouches(before) {
                evidence.whole += 1;
                evidence.moved = true;
                last = next;
            }
        }
        // What whole batches hold was meant to be there.
        (evidence.lost_blocks, evidence.old_room) =
            (has_lost_block(at, &rest[..first]), room::tears(at, &rest[..first]));
        evidence
    }

    /// Whether the damage can be what a cut write left: nothing was promised about it, and no cut moves bytes.
    pub fn explains(&self, damage: &Damage) -> bool {
        let cut_short = damage.torn && self.seals == 0;
        self.durable <= damage.at && !self.moved && (cut_short || self.lost_blocks || self.old_room)
    }
}

/// Whether there are zeros as long as a block that end where one does, or that end where the file does, or begin where the
/// damage does. A block that is lost in part was written before up to the end of some batch: the damage begins there.
fn has_lost_block(at: u64, rest: &[u8]) -> bool {
    if rest.first() == Some(&0) || rest.last() == Some(&0) {
        return true;
    }
    let mut run = 0;
    rest.iter().enumerate().any(|(index, byte)| {
        run = if *byte == 0 { run + 1 } else { 0 };
        run as u64 >= room::SECTOR && (at + index as u64 + 1).is_multiple_of(room::SECTOR)
    })
}

/// How a whole file ends, for the one that follows it.
pub fn end_of(seq: u64, found: &Found) -> End {
    End { seq, length: found.chain.length(), chain: found.chain.chain }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches none of which is known to be durable, with values that look like blocks that were lost.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut chain = Chain::begin(1, false, End::default(), &mut bytes);
        let (durable, mut ends) = (chain.length(), vec![bytes.len()]);
        for number in 0..12 {
            let value = match number % 3 {
                0 => vec![b'v'; 700],
                1 => vec![0; 1500],
                _ => b"#\n".repeat(800),
            };
            let mut batch = BEGIN.to_vec();
            batch.extend_from_slice(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()).as_bytes());
            batch.extend_from_slice(&value);
            batch.extend_from_slice(b"\r\n");
            chain.seal(&mut batch, durable);
            bytes.extend_from_slice(&batch);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    /// Whether a file is damaged, and if so, whether a cut write may have left it so.
    fn explained(bytes: &[u8]) -> Option<bool> {
        let (mut checker, mut out) = (Checker::new(None), Vec::new());
        match checker.take(bytes, &mut out).and_then(|()| checker.end(&mut out)) {
            Err(Stop::Damage(damage)) => {
                Some(Evidence::gather(damage.at, &bytes[damage.at as usize..]).explains(&damage))
            }
            // That is found by the engine, or by the one who looks for checksums where framing was lost.
            Ok(found) if found.bare > 0 => Some(false),
            _ => None,
        }
    }

    #[test]
    fn zeros_and_room_in_whole_batches_are_no_sign_of_a_cut() {
        let (bytes, ends) = file();
        assert_eq!(explained(&bytes), None);
        for batch in [0, 3, 6] {
            for at in (ends[batch]..ends[batch + 1]).step_by(7) {
                let mut wrong = bytes.clone();
                wrong[at] ^= 0x55;
                assert_eq!(explained(&wrong), Some(false), "a wrong byte at {at}");
                // A sector that never came is one.
                let sector = at / 512 * 512;
                if sector > ends[batch] && sector + 512 < ends[batch + 1] {
                    let mut torn = bytes.clone();
                    torn[sector..sector + 512].fill(0);
                    assert_eq!(explained(&torn), Some(true), "zeros at {sector}");
                }
            }
        }
    }

    #[test]
    fn no_cut_moves_bytes() {
        let (bytes, ends) = file();
        for at in (ends[0]..ends[9]).step_by(29) {
            for count in [1, 2, 7, 100, 512, 3000] {
                let mut missing = bytes.clone();
                missing.drain(at..(at + count).min(ends[10]));
                assert_eq!(explained(&missing), Some(false), "{count} bytes missing at {at}");
                let mut twice = bytes.clone();
                twice.splice(at..at, bytes[at..(at + count).min(ends[10])].to_vec());
                assert_eq!(explained(&twice), Some(false), "{count} bytes twice at {at}");
            }
        }
    }
}
