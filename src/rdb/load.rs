//! Loading a snapshot that comes in chunks.
//!
//! A [`Loader`] keeps no more than the item it is in the middle of, plus a piece of the chunk; each complete
//! item goes to the [`Sink`] at once. How it is cut into chunks changes nothing. It knows no time: expired
//! keys and fields are handed over as they stand. Redis' counterpart: `rdbLoadRio`.

use super::ahead::{Ahead, Known};
use super::build::{Builder, Growing, Limits, kept};
use super::crc64::Crc64;
use super::error::{RdbError, RdbErrorKind};
use super::long::LongText;
use super::opcode::{Dialect, HEAD_LEN, kind, op};
use super::read::{Reader, Result, Stretch, Text};
use super::scan::Scan;
use crate::types::listpack::canonical_int;
use crate::types::value::Value;

/// What stands beside a key and its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// When the key expires, in milliseconds since the Unix epoch.
    pub expire_at_ms: Option<i64>,
    /// Seconds since the key was last used (kept under an LRU policy).
    pub idle_seconds: Option<u64>,
    /// Logarithmic access count (kept under an LFU policy).
    pub frequency: Option<u8>,
}

/// A key with all that belongs to it.
#[derive(Clone)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value, never an empty collection.
    pub value: Value,
    /// What stands beside them.
    pub attributes: Attributes,
}

/// Something that was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// The key of a collection without elements.
    EmptyKey(&'a [u8]),
    /// The source of a function library.
    Function(&'a [u8]),
    /// Data that the module with this id keeps beside the keys.
    ModuleAux(u64),
    /// An unfinished import of cluster slots.
    SlotImport,
}

/// Who receives what a snapshot holds, in the order in which it stands there.
///
/// A method that returns a reason stops the load.
pub trait Sink {
    /// A random number for the hash table of the next value.
    fn seed(&mut self) -> u64;

    /// About how many bytes of the snapshot are to come: no table is laid out for more than they can hold. Where
    /// this is not known, 0, tables grow as they fill.
    fn room(&self) -> u64 {
        0
    }

    /// The version of the format: 1 to 12, or 80.
    fn version(&mut self, version: u32) {
        let _ = version;
    }

    /// A field of the head, as it stands.
    fn aux(&mut self, field: &[u8], value: &[u8]) {
        let _ = (field, value);
    }

    /// The entries that follow belong to this db; without this call, to db 0.
    ///
    /// # Errors
    /// There is no such db.
    fn select_db(&mut self, db: u64) -> std::result::Result<(), String>;

    /// About so many keys, and so many with an expire time, follow. A hint, which may be a lie.
    fn resize(&mut self, keys: u64, expires: u64) {
        let _ = (keys, expires);
    }

    /// A key and its value.
    ///
    /// # Errors
    /// It cannot be kept, for instance because the key was there already.
    fn entry(&mut self, entry: Entry<'_>) -> std::result::Result<(), String>;

    /// A key and its value, a string, which may be an integer as text.
    ///
    /// # Errors
    /// As [`Sink::entry`].
    fn string(&mut self, key: &[u8], bytes: &[u8], attributes: Attributes) -> std::result::Result<(), String> {
        let value = canonical_int(bytes).map_or_else(|| Value::String(bytes.to_vec()), Value::Int);
        self.entry(Entry { key, value, attributes })
    }

    /// Something was passed over.
    fn note(&mut self, note: Note<'_>) {
        let _ = note;
    }
}

/// A snapshot on its way in.
pub struct Loader {
    limits: Limits,
    verify: bool,
    stage: Stage,
    version: u32,
    dialect: Dialect,
    /// Bytes that are not used up yet: the beginning of an item.
    held: Vec<u8>,
    /// How many bytes `held` must have before it is worth looking at again. Otherwise a compressed key, say, would
    /// be decompressed again for each piece of a huge value behind it.
    wanted: usize,
    /// What the last look found missing behind its bytes.
    missing: usize,
    /// How far the item has been walked.
    scan: Option<Scan>,
    /// A value whose pieces are coming in.
    growing: Option<Growth>,
    /// A long string that is coming in.
    long: Option<Long>,
    /// Strings to come that are decompressed already.
    known: Known,
    /// Bytes used up before `held`.
    offset: u64,
    sum: Crc64,
    /// What is already known of the next key.
    attributes: Attributes,
}

/// A value on its way in, piece by piece.
struct Growth {
    key: Vec<u8>,
    seed: u64,
    value: Growing,
}

/// A key whose value is a long string.
struct Long {
    key: Vec<u8>,
    text: LongText,
    /// Where the string begins in the snapshot.
    place: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Items,
    Checksum,
    Done,
}

/// Versions before have no checksum.
const CHECKSUM_SINCE: u32 = 5;
/// Bytes looked at in one go.
const PIECE: usize = 1 << 16;

impl Loader {
    /// A loader before the first byte. `verify` says whether the checksum must be right.
    pub fn new(limits: Limits, verify: bool) -> Loader {
        Loader {
            limits,
            verify,
            stage: Stage::Head,
            version: 0,
            dialect: Dialect::Redis,
            held: Vec::new(),
            wanted: 0,
            missing: 0,
            scan: None,
            growing: None,
            long: None,
            known: Known::default(),
            offset: 0,
            sum: Crc64::new(),
            attributes: Attributes::default(),
        }
    }

    /// Takes what a [`Scout`](super::Scout) has found in bytes to come.
    pub fn expect(&mut self, ahead: Ahead) {
        self.known.add(ahead);
    }

    /// Takes the next bytes; returns how many. Those are all, unless the snapshot ended among them: the
    /// rest then belongs to what comes after it.
    ///
    /// # Errors
    /// What is wrong first. The loader is then of no use any more.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) -> std::result::Result<usize, RdbError> {
        let mut taken = 0;
        for piece in bytes.chunks(PIECE) {
            if self.is_done() {
                break;
            }
            let mut held = std::mem::take(&mut self.held);
            // A whole piece is looked at where it lies.
            let aside = !held.is_empty();
            if aside {
                self.hold(&mut held, piece);
                if held.len() < self.wanted {
                    taken += piece.len();
                    self.held = held;
                    continue;
                }
            }
            let looked_at = if aside { &held[..] } else { piece };
            self.missing = 0;
            let known = std::mem::take(&mut self.known);
            let used = self.run(Stretch { bytes: looked_at, place: self.offset, known: &known }, sink)?;
            self.known = known;
            self.known.pass(self.offset);
            self.wanted = (looked_at.len() - used).saturating_add(self.missing);
            taken += piece.len();
            if self.is_done() {
                taken -= looked_at.len() - used;
                break;
            }
            if aside {
                held.drain(..used);
            } else {
                held.extend_from_slice(&piece[used..]);
            }
            if used > 0 && held.capacity() > 2 * PIECE {
                held.shrink_to(2 * PIECE);
            }
            self.held = held;
        }
        Ok(taken)
    }

    /// Keeps a piece: with hardly more room than is wanted, once so much is there that this is no empty claim.
    fn hold(&self, held: &mut Vec<u8>, piece: &[u8]) {
        let least = held.len() + piece.len();
        if held.capacity() < least && (least..2 * held.capacity()).contains(&self.wanted) {
            held.reserve_exact(self.wanted - held.len() + PIECE);
        }
        held.extend_from_slice(piece);
    }

    /// Whether the snapshot is complete.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Bytes of the snapshot that have been used up.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Says that no more bytes will come.
    ///
    /// # Errors
    /// The snapshot is not complete.
    pub fn finish(&self) -> std::result::Result<(), RdbError> {
        if self.is_done() {
            return Ok(());
        }
        Err(RdbError { kind: RdbErrorKind::Truncated, offset: self.offset + self.held.len() as u64, key: None })
    }

    /// The error for something that could not be kept after all.
    pub fn refusal(&self, reason: String) -> RdbError {
        self.error(RdbErrorKind::Refused(reason), 0)
    }

    /// Uses up all that is complete; returns how many bytes.
    fn run(&mut self, here: Stretch, sink: &mut impl Sink) -> std::result::Result<usize, RdbError> {
        let (mut at, mut summed) = (0, 0);
        let bytes = here.bytes;
        while !self.is_done() {
            let rest = &bytes[at..];
            let stage = self.stage;
            let used = match stage {
                Stage::Head => self.head(rest, sink).map_err(|kind| self.error(kind, 0))?,
                Stage::Items => self.item(here.behind(at), sink)?,
                Stage::Checksum | Stage::Done => self.checksum(rest).map_err(|kind| self.error(kind, 0))?,
            };
            if used == 0 {
                break;
            }
            self.offset += used as u64;
            at += used;
            if self.stage == Stage::Checksum && stage != Stage::Checksum {
                self.add(&bytes[summed..at]);
                summed = bytes.len();
            }
        }
        self.add(bytes.get(summed..at).unwrap_or_default());
        Ok(at)
    }

    /// Sums what has been used up: in long runs, which is faster.
    fn add(&mut self, bytes: &[u8]) {
        if self.verify {
            self.sum.update(bytes);
        }
    }

    fn error(&self, kind: RdbErrorKind, at: usize) -> RdbError {
        RdbError { kind, offset: self.offset + at as u64, key: None }
    }

    fn head(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<usize> {
        let Some(head) = bytes.first_chunk() else { return Ok(0) };
        let (dialect, digits) = Dialect::of_head(head).ok_or(RdbErrorKind::Magic)?;
        let shown = || RdbErrorKind::Version(digits.escape_ascii().to_string().trim_start_matches('0').into());
        let text = std::str::from_utf8(digits).map_err(|_| shown())?;
        if !text.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(shown());
        }
        let version = text.parse().map_err(|_| shown())?;
        // Valkey 9 alone writes its own name; version 11 was still written under the old one.
        let known = Dialect::of_version(version);
        if known != Some(dialect) && !(dialect == Dialect::Valkey && version == 11) {
            return Err(shown());
        }
        (self.version, self.dialect, self.stage) = (version, dialect, Stage::Items);
        sink.version(version);
        Ok(HEAD_LEN)
    }

    fn item(&mut self, here: Stretch, sink: &mut impl Sink) -> std::result::Result<usize, RdbError> {
        let bytes = here.bytes;
        if let Some(growth) = self.growing.take() {
            return self.grow(growth, here, 0, sink);
        }
        if let Some(long) = self.long.take() {
            return self.lengthen(long, bytes, sink);
        }
        let Some(&first) = bytes.first() else { return Ok(0) };
        if first == kind::STRING {
            return self.string(here, sink);
        }
        if Growing::is_for(first) && Scan::new(first, self.dialect).is_ok() {
            return self.begin_growing(first, here, sink);
        }
        let mut scan = match self.scan.take() {
            Some(scan) => scan,
            None => Scan::new(first, self.dialect).map_err(|kind| self.error(kind, 0))?,
        };
        let Some(len) = scan.advance(bytes).map_err(|kind| self.error(kind, scan.at()))? else {
            self.scan = Some(scan);
            return Ok(0);
        };
        let mut reader = Stretch { bytes: &bytes[..len], ..here }.reader(1);
        if first <= kind::LAST {
            self.entry(first, &mut reader, sink)?;
        } else {
            self.opcode(first, &mut reader, sink).map_err(|kind| self.error(kind, 1 + reader.at()))?;
        }
        Ok(len)
    }

    /// A key with a string.
    fn string(&mut self, here: Stretch, sink: &mut impl Sink) -> std::result::Result<usize, RdbError> {
        let mut reader = here.reader(1);
        let key = match reader.string() {
            Ok(key) => key,
            Err(RdbErrorKind::Truncated) => return self.wait(&reader, 0),
            Err(kind) => return Err(self.error(kind, 1 + reader.at())),
        };
        let done = match reader.text() {
            Ok(text) => {
                let attributes = std::mem::take(&mut self.attributes);
                let done = match text {
                    Text::Int(value) => sink.entry(Entry { key: &key, value: Value::Int(value), attributes }),
                    Text::Bytes(bytes) => sink.string(&key, &bytes, attributes),
                };
                done.map_err(RdbErrorKind::Refused)
            }
            Err(RdbErrorKind::Truncated) => {
                let place = here.place + 1 + reader.at() as u64;
                let Some(text) = LongText::begin(&mut reader, sink.room()) else { return self.wait(&reader, 0) };
                self.long = Some(Long { key: key.to_vec(), text, place });
                Ok(())
            }
            Err(error) => Err(error),
        };
        done.map_err(|kind| RdbError { key: Some(key[..].into()), ..self.error(kind, 1 + reader.at()) })?;
        Ok(1 + reader.at())
    }

    /// Takes what has come of a long string.
    fn lengthen(&mut self, mut long: Long, bytes: &[u8], sink: &mut impl Sink) -> std::result::Result<usize, RdbError> {
        let error = |long: &Long, kind, offset| RdbError { kind, offset, key: Some(long.key[..].into()) };
        let used = long.text.take(bytes).map_err(|kind| error(&long, kind, long.place))?;
        if long.text.left() > 0 {
            self.long = Some(long);
            return Ok(used);
        }
        let value = long.text.end().map_err(|kind| error(&long, kind, long.place))?;
        let entry =
            Entry { key: &long.key, value: Value::String(value), attributes: std::mem::take(&mut self.attributes) };
        let taken = sink.entry(entry).map_err(RdbErrorKind::Refused);
        taken.map_err(|kind| error(&long, kind, self.offset + used as u64))?;
        Ok(used)
    }

    /// Leaves it at so many bytes until what was cut off is there.
    fn wait(&mut self, reader: &Reader, used: usize) -> std::result::Result<usize, RdbError> {
        self.missing = reader.missing();
        Ok(used)
    }

    /// Begins a value that is stored in pieces.
    fn begin_growing(&mut self, kind: u8, here: Stretch, sink: &mut impl Sink) -> std::result::Result<usize, RdbError> {
        let mut reader = here.reader(1);
        let builder = |seed, room| Builder { limits: &self.limits, dialect: self.dialect, seed, room };
        let mut begin = |reader: &mut Reader| {
            let key = reader.string()?.into_owned();
            // The seed is drawn once, however the bytes are cut.
            builder(0, 0).begin(kind, &mut reader.clone())?;
            let seed = sink.seed();
            Ok(Growth { key, seed, value: builder(seed, sink.room()).begin(kind, reader)? })
        };
        match begin(&mut reader) {
            Ok(growth) => self.grow(growth, here, 1 + reader.at(), sink),
            Err(RdbErrorKind::Truncated) => self.wait(&reader, 0),
            Err(kind) => Err(self.error(kind, 1 + reader.at())),
        }
    }

    /// Takes the pieces that are there, from a place on; returns where it has come to.
    fn grow(
        &mut self,
        mut growth: Growth,
        here: Stretch,
        from: usize,
        sink: &mut impl Sink,
    ) -> std::result::Result<usize, RdbError> {
        let builder = Builder { limits: &self.limits, dialect: self.dialect, seed: growth.seed, room: sink.room() };
        let mut reader = here.reader(from);
        let mut used = from;
        let mut done = Ok(());
        while growth.value.left > 0 && done.is_ok() {
            match builder.element(&mut growth.value, &mut reader) {
                Ok(()) => used = from + reader.at(),
                Err(RdbErrorKind::Truncated) => {
                    self.growing = Some(growth);
                    return self.wait(&reader, used);
                }
                Err(error) => done = Err(error),
            }
        }
        let Growth { key, value, .. } = growth;
        if done.is_ok() {
            let attributes = std::mem::take(&mut self.attributes);
            done = match kept(builder.end(value)) {
                Some(value) => sink.entry(Entry { key: &key, value, attributes }).map_err(RdbErrorKind::Refused),
                None => {
                    sink.note(Note::EmptyKey(&key));
                    Ok(())
                }
            };
        }
        done.map_err(|kind| RdbError { key: Some(key.into()), ..self.error(kind, from + reader.at()) })?;
        Ok(used)
    }

    fn entry(&mut self, kind: u8, reader: &mut Reader, sink: &mut impl Sink) -> std::result::Result<(), RdbError> {
        let key = reader.string().map_err(|kind| self.error(kind, 1))?;
        let attributes = std::mem::take(&mut self.attributes);
        let builder =
            Builder { limits: &self.limits, dialect: self.dialect, seed: sink.seed(), room: reader.left() as u64 };
        let done = match builder.value(kind, reader) {
            Ok(Some(value)) => sink.entry(Entry { key: &key, value, attributes }).map_err(RdbErrorKind::Refused),
            Ok(None) => {
                sink.note(Note::EmptyKey(&key));
                Ok(())
            }
            Err(error) => Err(error),
        };
        done.map_err(|kind| RdbError { key: Some(key[..].into()), ..self.error(kind, 1 + reader.at()) })
    }

    fn opcode(&mut self, opcode: u8, reader: &mut Reader, sink: &mut impl Sink) -> Result<()> {
        match opcode {
            op::AUX => {
                let field = reader.string()?;
                sink.aux(&field, &reader.string()?);
            }
            op::SELECT_DB => sink.select_db(reader.number()?).map_err(RdbErrorKind::Refused)?,
            op::RESIZE_DB => sink.resize(reader.number()?, reader.number()?),
            op::EXPIRE_MS => self.attributes.expire_at_ms = Some(reader.millis()?),
            op::EXPIRE_SECONDS => {
                let seconds = i32::from_le_bytes(reader.array()?);
                self.attributes.expire_at_ms = Some(i64::from(seconds) * 1000);
            }
            op::IDLE => self.attributes.idle_seconds = Some(reader.number()?),
            op::FREQ => self.attributes.frequency = Some(reader.byte()?),
            op::FUNCTION => sink.note(Note::Function(&reader.string()?)),
            op::MODULE_AUX => sink.note(Note::ModuleAux(reader.number()?)),
            op::SLOT_IMPORT => sink.note(Note::SlotImport),
            op::EOF if self.version < CHECKSUM_SINCE => self.stage = Stage::Done,
            op::EOF => self.stage = Stage::Checksum,
            // Sizes of cluster slots: a hint without use here.
            _ => {}
        }
        Ok(())
    }

    /// A stored sum of 0 says that none was made.
    fn checksum(&mut self, bytes: &[u8]) -> Result<usize> {
        let Some(stored) = bytes.first_chunk() else { return Ok(0) };
        let (stored, computed) = (u64::from_le_bytes(*stored), self.sum.value());
        if self.verify && stored != 0 && stored != computed {
            return Err(RdbErrorKind::Checksum { stored, computed });
        }
        self.stage = Stage::Done;
        Ok(size_of::<u64>())
    }
}
