//! What SCAN, SSCAN, HSCAN and ZSCAN have in common: cursors and options.
//!
//! Not here: walking, which each type does itself, and the replies, but for the one of a missing key.
//! A command reads its cursor, then looks its key up (a missing one is an empty scan whatever the
//! options say), then reads the options.
//!
//! Redis' counterpart: `scanGenericCommand`.

use crate::engine::call::Call;
use crate::engine::error::Error;
use crate::resp::Reply;
use crate::types::glob;
use crate::types::number;
use crate::types::value::Kind;

/// How many elements a call visits if it does not say.
const DEFAULT_COUNT: usize = 10;

/// The options of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOptions<'a> {
    /// About how many elements to visit, at least 1.
    pub count: usize,
    /// `MATCH`: which elements to show; `None` shows all.
    pub pattern: Option<&'a [u8]>,
    /// `TYPE`: the name of the type of keys to show, as given.
    pub type_name: Option<&'a [u8]>,
    /// `NOVALUES`: fields without their values.
    pub no_values: bool,
    /// `NOSCORES`: members without their scores.
    pub no_scores: bool,
}

impl<'a> ScanOptions<'a> {
    /// Reads the options from argument `from` on. `scanned` is the type being scanned, `None` the keyspace
    /// itself: it decides on the options there are.
    pub fn parse(call: &Call<'a>, from: usize, scanned: Option<Kind>) -> Result<ScanOptions<'a>, Error> {
        let mut options =
            ScanOptions { count: DEFAULT_COUNT, pattern: None, type_name: None, no_values: false, no_scores: false };
        let mut at = from;
        while at < call.args.len() {
            match call.args.get(at + 1) {
                Some(_) if call.word(at, "COUNT") => {
                    let count = call.int(at + 1)?;
                    if count < 1 {
                        return Err(Error::Syntax);
                    }
                    options.count = usize::try_from(count).unwrap_or(usize::MAX);
                }
                Some(pattern) if call.word(at, "MATCH") => options.pattern = Some(pattern).filter(|p| *p != b"*"),
                Some(name) if call.word(at, "TYPE") && scanned.is_none() => options.type_name = Some(name),
                _ => {
                    options.flag(call, at, scanned)?;
                    at += 1;
                    continue;
                }
            }
            at += 2;
        }
        Ok(options)
    }

    /// Reads an option that is one word.
    fn flag(&mut self, call: &Call, at: usize, scanned: Option<Kind>) -> Result<(), Error> {
        if call.word(at, "NOVALUES") {
            if scanned != Some(Kind::Hash) {
                return Err("ERR NOVALUES option can only be used in HSCAN".into());
            }
            self.no_values = true;
        } else if call.word(at, "NOSCORES") {
            if scanned != Some(Kind::Zset) {
                return Err("ERR NOSCORES option can only be used in ZSCAN".into());
            }
            self.no_scores = true;
        } else {
            return Err(Error::Syntax);
        }
        Ok(())
    }

    /// Whether an element of this name is shown.
    pub fn shows(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
    }
}

/// Argument `index` as a cursor.
pub fn cursor(call: &Call, index: usize) -> Result<u64, Error> {
    parse_cursor(call.args.at(index)).ok_or_else(|| "ERR invalid cursor".into())
}

/// Reads a cursor: an integer that is not negative, or anything else that C's `strtoull` takes.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    if let Some(int) = number::parse_i64(text) {
        return u64::try_from(int).ok();
    }
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Answers the scan of a missing key: it has ended, and there was nothing.
pub fn empty(reply: &mut Reply) {
    reply.array(2);
    reply.bulk(b"0");
    reply.array(0);
}

/// Writes the reply of a scan. `walk` writes what it visits, and returns the cursor to go on with and how
/// many values it wrote.
pub fn reply(reply: &mut Reply, walk: impl FnOnce(&mut Reply) -> (u64, usize)) {
    let mut elements = Reply::new(reply.protocol);
    let (cursor, count) = walk(&mut elements);
    reply.array(2);
    reply.bulk(number::IntBuf::new().format_u64(cursor).as_bytes());
    reply.array(count);
    reply.raw(&elements.buf);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors() {
        for (text, value) in [
            ("0", Some(0)),
            ("00", Some(0)),
            ("+1", Some(1)),
            (" 1", Some(1)),
            ("-0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("1a", None),
            ("1 ", None),
            ("", None),
            ("+", None),
        ] {
            assert_eq!(parse_cursor(text.as_bytes()), value, "{text}");
        }
    }
}
