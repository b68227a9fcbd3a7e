//! Reading the parts that everything in the format is made of: lengths, strings, numbers.
//!
//! A [`Reader`] walks over bytes that are all there; what is not there is an error. Nothing is allocated
//! for a length before the bytes that it announces have been seen. Redis' counterpart: `rdbLoadLen` and
//! `rdbGenericLoadStringObject` in `rdb.c`.

use std::borrow::Cow;

use super::ahead::Known;
use super::error::RdbErrorKind;
use super::lzf;
use super::opcode::encoding;
use crate::types::listpack::canonical_int;
use crate::types::number;

pub(super) type Result<T> = std::result::Result<T, RdbErrorKind>;

/// What the first bytes of a string or a count say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// That many bytes or things.
    Plain(u64),
    /// A string in this encoding.
    Encoded(u8),
}

/// A string as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text<'a> {
    Int(i64),
    Bytes(Cow<'a, [u8]>),
}

impl<'a> Text<'a> {
    /// The string as bytes.
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Text::Int(value) => Cow::Owned(value.to_string().into_bytes()),
            Text::Bytes(bytes) => bytes,
        }
    }

    /// As an integer, if this is the canonical decimal form of one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Text::Int(value) => Some(*value),
            Text::Bytes(bytes) => canonical_int(bytes),
        }
    }
}

/// What stands before a string, or before anything else that has a length.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextHead {
    /// Bytes that follow.
    pub len: usize,
    /// Bytes that these stand for, if they are compressed; otherwise 0.
    pub unpacked: usize,
}

impl TextHead {
    /// So many bytes that stand for themselves.
    pub fn plain(len: usize) -> TextHead {
        TextHead { len, unpacked: 0 }
    }
}

/// Bytes of a snapshot, and what is known of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch<'a> {
    pub bytes: &'a [u8],
    /// Where they stand in the snapshot.
    pub place: u64,
    pub known: &'a Known,
}

impl<'a> Stretch<'a> {
    /// What is left behind so many bytes.
    pub fn behind(self, at: usize) -> Stretch<'a> {
        Stretch { bytes: &self.bytes[at..], place: self.place + at as u64, ..self }
    }

    /// A reader of what is left behind so many bytes.
    pub fn reader(self, at: usize) -> Reader<'a> {
        let Stretch { bytes, place, known } = self.behind(at);
        Reader { known: Some((known, place)), ..Reader::new(bytes) }
    }
}

/// A place in bytes.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    missing: usize,
    /// Strings that are decompressed already, and where the bytes stand that they are looked for by.
    known: Option<(&'a Known, u64)>,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, missing: 0, known: None }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// How many bytes more it takes, at least, to read what was cut off.
    pub fn missing(&self) -> usize {
        self.missing
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..len) else {
            self.missing = len - rest.len();
            return Err(RdbErrorKind::Truncated);
        };
        self.at += len;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("as many bytes as asked for"))
    }

    pub fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub fn length(&mut self) -> Result<Length> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3F);
        Ok(Length::Plain(match (first >> 6, first) {
            (0, _) => low,
            (1, _) => low << 8 | u64::from(self.byte()?),
            (_, 0x80) => u64::from(u32::from_be_bytes(self.array()?)),
            (_, 0x81) => u64::from_be_bytes(self.array()?),
            (2, _) => return Err(RdbErrorKind::Malformed("unknown length encoding")),
            _ => return Ok(Length::Encoded(first & 0x3F)),
        }))
    }

    /// A number that is stored as a length.
    pub fn number(&mut self) -> Result<u64> {
        match self.length()? {
            Length::Plain(number) => Ok(number),
            Length::Encoded(_) => Err(RdbErrorKind::Malformed("a string stands where a number belongs")),
        }
    }

    fn byte_len(&mut self) -> Result<usize> {
        let len = self.number()?;
        size(len)
    }

    /// A string in any encoding. The place stays at its first byte if it is wrong.
    #[inline]
    pub fn text(&mut self) -> Result<Text<'a>> {
        let start = self.at;
        let text = self.text_here();
        if text.is_err() {
            self.at = start;
        }
        text
    }

    #[inline]
    fn text_here(&mut self) -> Result<Text<'a>> {
        let encoding = match self.length()? {
            Length::Plain(len) => {
                let len = size(len)?;
                return self.take(len).map(|bytes| Text::Bytes(Cow::Borrowed(bytes)));
            }
            Length::Encoded(encoding) => encoding,
        };
        Ok(match encoding {
            encoding::INT8 => Text::Int(i64::from(i8::from_le_bytes(self.array()?))),
            encoding::INT16 => Text::Int(i64::from(i16::from_le_bytes(self.array()?))),
            encoding::INT32 => Text::Int(i64::from(i32::from_le_bytes(self.array()?))),
            encoding::LZF => {
                let packed_len = self.byte_len()?;
                let len = self.byte_len()?;
                let place = self.at as u64;
                let packed = self.take(packed_len)?;
                if let Some((known, start)) = self.known
                    && let Some(bytes) = known.string(start + place).filter(|bytes| bytes.len() == len)
                {
                    return Ok(Text::Bytes(Cow::Borrowed(bytes)));
                }
                let bytes = lzf::decompress(packed, len).ok_or(RdbErrorKind::Malformed("invalid LZF string"))?;
                Text::Bytes(Cow::Owned(bytes))
            }
            _ => return Err(RdbErrorKind::Malformed("unknown string encoding")),
        })
    }

    /// A string in any encoding, as bytes.
    pub fn string(&mut self) -> Result<Cow<'a, [u8]>> {
        self.text().map(Text::into_bytes)
    }

    /// Reads what stands before a string in any encoding.
    pub fn text_head(&mut self) -> Result<TextHead> {
        Ok(TextHead::plain(match self.length()? {
            Length::Plain(len) => size(len)?,
            Length::Encoded(encoding::INT8) => 1,
            Length::Encoded(encoding::INT16) => 2,
            Length::Encoded(encoding::INT32) => 4,
            Length::Encoded(encoding::LZF) => {
                return Ok(TextHead { len: self.byte_len()?, unpacked: self.byte_len()? });
            }
            Length::Encoded(_) => return Err(RdbErrorKind::Malformed("unknown string encoding")),
        }))
    }

    /// Passes over a string in any encoding.
    pub fn skip_text(&mut self) -> Result<()> {
        let len = self.text_head()?.len;
        self.take(len).map(drop)
    }

    /// Milliseconds since the Unix epoch.
    pub fn millis(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A score as eight bytes.
    pub fn score(&mut self) -> Result<f64> {
        not_nan(f64::from_le_bytes(self.array()?))
    }

    /// A score as the text that old versions wrote.
    pub fn text_score(&mut self) -> Result<f64> {
        match self.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => not_nan(f64::NAN),
            len => {
                let text = self.take(usize::from(len))?;
                number::parse_f64(text).ok_or(RdbErrorKind::Malformed("a score is not a number"))
            }
        }
    }
}

/// No allocation is larger, so nothing longer can ever be loaded.
fn size(len: u64) -> Result<usize> {
    isize::try_from(len).map(|len| len as usize).map_err(|_| RdbErrorKind::TooLong(len))
}

fn not_nan(score: f64) -> Result<f64> {
    if score.is_nan() {
        return Err(RdbErrorKind::Malformed("a score is not a number"));
    }
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let cases: [(&[u8], Result<Length>); 8] = [
            (&[0x0A], Ok(Length::Plain(10))),
            (&[0x41, 0x02], Ok(Length::Plain(258))),
            (&[0x80, 0, 1, 0, 0], Ok(Length::Plain(65536))),
            (&[0x81, 0, 0, 0, 1, 0, 0, 0, 0], Ok(Length::Plain(1 << 32))),
            (&[0xC3], Ok(Length::Encoded(3))),
            (&[0x82], Err(RdbErrorKind::Malformed("unknown length encoding"))),
            (&[0x80, 0, 1, 0], Err(RdbErrorKind::Truncated)),
            (&[], Err(RdbErrorKind::Truncated)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Reader::new(bytes).length(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn strings() {
        let read = |bytes: &[u8]| Reader::new(bytes).string().map(|text| text.into_owned());
        assert_eq!(read(b"\x03abc").unwrap(), b"abc");
        assert_eq!(read(&[0xC0, 0xFB]).unwrap(), b"-5");
        assert_eq!(read(&[0xC1, 0x2C, 0x01]).unwrap(), b"300");
        assert_eq!(read(&[0xC2, 0x70, 0x11, 0x01, 0x00]).unwrap(), b"70000");
        assert_eq!(read(&[0xC3, 6, 10, 0, b'a', 0xE0, 0x00]), Err(RdbErrorKind::Truncated));
        assert!(read(&[0xC3, 4, 10, 0, b'a', 0xE0, 0x00]).is_err());
        assert_eq!(read(&[0xC3, 5, 10, 0, b'a', 0xE0, 0x00, 0x00]).unwrap(), b"aaaaaaaaaa");
        assert_eq!(read(&[0xC4]), Err(RdbErrorKind::Malformed("unknown string encoding")));
        // Length 2^63: nothing is allocated for it.
        assert!(read(&[0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 1]).is_err());
    }

    #[test]
    fn old_scores() {
        let read = |bytes: &[u8]| Reader::new(bytes).text_score();
        assert_eq!(read(b"\x031.5"), Ok(1.5));
        assert_eq!(read(&[254]), Ok(f64::INFINITY));
        assert_eq!(read(&[255]), Ok(f64::NEG_INFINITY));
        assert!(read(&[253]).is_err() && read(b"\x02xy").is_err() && read(b"\x09").is_err());
        assert!(Reader::new(&f64::NAN.to_le_bytes()).score().is_err());
    }
}
