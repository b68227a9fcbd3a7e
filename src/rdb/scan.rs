//! Finding out whether an item is complete, without reading any part of it twice.
//!
//! An item (an opcode with its arguments, or a type with key and value) is a head and perhaps a counted row
//! of repetitions, both made of [`Unit`]s. A [`Scan`] walks over them as bytes come in and remembers where it
//! stopped, so feeding a huge value in small chunks takes linear time. It measures; it decodes nothing and
//! judges little. Redis has no counterpart: it blocks on its file.

use super::error::RdbErrorKind;
use super::opcode::{Dialect, kind, module, op};
use super::read::{Reader, Result, TextHead};

/// A part whose extent its own first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// A length.
    Len,
    /// A string in any encoding.
    Str,
    /// That many bytes.
    Bytes(usize),
    /// A score as text.
    Score,
    /// An opcode of a module and its data, until the closing one.
    Module,
}

use Unit::{Bytes, Len, Module, Score, Str};

/// How far an item has been walked.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// End of what has been walked, from the item's first byte.
    at: usize,
    /// Units that come once, and how many of them are done.
    head: &'static [Unit],
    head_done: usize,
    /// Units that repeat, if any; `left` once their count has been read.
    each: &'static [Unit],
    each_done: usize,
    left: Option<u64>,
    /// Where the repetition begins that is being walked over, unless that has been forgotten.
    each_at: Option<usize>,
}

impl Scan {
    /// Begins an item with its first byte.
    pub fn new(first: u8, dialect: Dialect) -> Result<Scan> {
        let (head, each) = shape(first, dialect)?;
        Ok(Scan { at: 1, head, head_done: 0, each, each_done: 0, left: None, each_at: None })
    }

    /// How far the item has been walked.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Forgets bytes that have been walked over, of the `there` ones that there are or beyond them; how many. They need
    /// not come again. A repetition that is cut off does, from its beginning, if fewer bytes than `keep` have been
    /// walked over in it.
    pub fn forget(&mut self, there: usize, keep: usize) -> usize {
        if let Some(begun) = self.each_at.filter(|begun| self.at <= there && self.at - begun < keep) {
            (self.at, self.each_done) = (begun, 0);
        }
        self.each_at = (self.left.is_some() && self.each_done == 0).then_some(0);
        std::mem::take(&mut self.at)
    }

    /// Walks on; `bytes` begin with the item's first byte. The item's length, once all of it is there.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        self.advance_over(bytes, |text, at| text.len <= bytes.len() - at)
    }

    /// As [`Scan::advance`]; of each string that follows its head at a place in `bytes`, `pass` says whether to walk
    /// on behind it, even if not all of it is there.
    pub fn advance_over(
        &mut self,
        bytes: &[u8],
        mut pass: impl FnMut(TextHead, usize) -> bool,
    ) -> Result<Option<usize>> {
        while let Some(unit) = self.head.get(self.head_done) {
            match self.step(*unit, bytes, &mut pass)? {
                Step::Stop => return Ok(None),
                Step::Again => {}
                Step::Next => self.head_done += 1,
            }
        }
        if self.each.is_empty() {
            return Ok(Some(self.at));
        }
        if self.left.is_none() {
            let mut reader = Reader::new(bytes.get(self.at..).unwrap_or_default());
            let Some(count) = complete(reader.number())? else { return Ok(None) };
            self.left = Some(count);
            self.at += reader.at();
            self.each_at = Some(self.at);
        }
        while self.left.is_some_and(|left| left > 0) {
            match self.step(self.each[self.each_done], bytes, &mut pass)? {
                Step::Stop => return Ok(None),
                Step::Again => continue,
                Step::Next => self.each_done += 1,
            }
            if self.each_done == self.each.len() {
                (self.each_done, self.each_at) = (0, Some(self.at));
                self.left = self.left.map(|left| left - 1);
            }
        }
        Ok(Some(self.at))
    }

    #[inline]
    fn step(&mut self, unit: Unit, bytes: &[u8], pass: &mut impl FnMut(TextHead, usize) -> bool) -> Result<Step> {
        if let Some(end) = short_end(unit, bytes, self.at) {
            self.at = end;
            return Ok(Step::Next);
        }
        let mut reader = Reader::new(bytes.get(self.at..).unwrap_or_default());
        let Some((body, step)) = complete(measure(unit, &mut reader))? else { return Ok(Step::Stop) };
        if !pass(body, self.at + reader.at()) {
            return Ok(Step::Stop);
        }
        self.at += reader.at() + body.len;
        Ok(step)
    }
}

/// Where a unit ends, if it is one of those that there are millions of, and is all there: a short string as it is, or
/// some bytes.
#[inline]
fn short_end(unit: Unit, bytes: &[u8], at: usize) -> Option<usize> {
    let end = match unit {
        Str => match *bytes.get(at..)? {
            [len @ ..0x40, ..] => at + 1 + usize::from(len),
            [high @ 0x40..0x80, low, ..] => at + 2 + (usize::from(high & 0x3F) << 8 | usize::from(low)),
            _ => return None,
        },
        Bytes(len) => at + len,
        Len | Score | Module => return None,
    };
    (end <= bytes.len()).then_some(end)
}

enum Step {
    /// More bytes are needed.
    Stop,
    /// The same unit goes on.
    Again,
    /// The unit is complete.
    Next,
}

/// Turns "cut off" into "not yet".
fn complete<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(RdbErrorKind::Truncated) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the beginning of a unit; returns how many bytes follow, and what comes then.
fn measure(unit: Unit, reader: &mut Reader) -> Result<(TextHead, Step)> {
    let len = match unit {
        Bytes(len) => len,
        Len => {
            reader.number()?;
            0
        }
        Str => return Ok((reader.text_head()?, Step::Next)),
        Score => match reader.byte()? {
            253..=255 => 0,
            len => usize::from(len),
        },
        Module => return module_part(reader),
    };
    Ok((TextHead::plain(len), Step::Next))
}

fn module_part(reader: &mut Reader) -> Result<(TextHead, Step)> {
    let len = match reader.number()? {
        module::EOF => return Ok((TextHead::plain(0), Step::Next)),
        module::SINT | module::UINT => {
            reader.number()?;
            0
        }
        module::FLOAT => 4,
        module::DOUBLE => 8,
        module::STRING => reader.text_head()?.len,
        _ => return Err(RdbErrorKind::Malformed("unknown opcode in data of a module")),
    };
    Ok((TextHead::plain(len), Step::Again))
}

/// Head and repeated part of what begins with this byte.
fn shape(first: u8, dialect: Dialect) -> Result<(&'static [Unit], &'static [Unit])> {
    let valkey = dialect == Dialect::Valkey;
    Ok(match first {
        op::AUX => (&[Str, Str], &[]),
        op::SELECT_DB | op::IDLE => (&[Len], &[]),
        op::RESIZE_DB => (&[Len, Len], &[]),
        op::SLOT_INFO => (&[Len, Len, Len], &[]),
        op::SLOT_IMPORT if valkey => (&[Str], &[Len, Len]),
        op::FUNCTION => (&[Str], &[]),
        op::MODULE_AUX => (&[Len, Len, Len, Module], &[]),
        op::FREQ => (&[Bytes(1)], &[]),
        op::EXPIRE_MS => (&[Bytes(8)], &[]),
        op::EXPIRE_SECONDS => (&[Bytes(4)], &[]),
        op::EOF => (&[], &[]),
        kind::STRING => (&[Str, Str], &[]),
        kind::LIST | kind::SET | kind::LIST_QUICKLIST => (&[Str], &[Str]),
        kind::ZSET => (&[Str], &[Str, Score]),
        kind::ZSET_2 => (&[Str], &[Str, Bytes(8)]),
        kind::HASH => (&[Str], &[Str, Str]),
        kind::HASH_ZIPMAP..=kind::HASH_ZIPLIST | kind::HASH_LISTPACK | kind::ZSET_LISTPACK | kind::SET_LISTPACK => {
            (&[Str, Str], &[])
        }
        kind::LIST_QUICKLIST_2 => (&[Str], &[Len, Str]),
        kind::VALKEY_HASH if valkey => (&[Str], &[Str, Str, Bytes(8)]),
        kind::HASH_TTL_PRE_GA if !valkey => (&[Str], &[Len, Str, Str]),
        kind::HASH_LISTPACK_TTL_PRE_GA if !valkey => (&[Str, Str], &[]),
        kind::HASH_TTL if !valkey => (&[Str, Bytes(8)], &[Len, Str, Str]),
        kind::HASH_LISTPACK_TTL if !valkey => (&[Str, Bytes(8), Str], &[]),
        op::FUNCTION_PRE_GA => {
            return Err(RdbErrorKind::Unsupported(first, "function of a 7.0 release candidate".into()));
        }
        // The key, so that it can be named; of a module also its id.
        kind::MODULE | kind::MODULE_2 => (&[Str, Len], &[]),
        _ if kind::unsupported(first).is_some() => (&[Str], &[]),
        _ => return Err(RdbErrorKind::UnknownType(first)),
    })
}
