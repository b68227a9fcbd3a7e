//! Replies as values, for those who read them: tests, the browser client, a replica's handshake.
//!
//! Not for the hot path: the server writes replies without building them. Parsing is total: depth,
//! lengths and counts have limits, and memory grows with the bytes received.
//!
//! `Display` is the notation of the transcripts, one line a value:
//! `+simple -error :int "bulk" (nil) (nil array) [a b] %{k v} ~[a] >[a] ,1.5 #t (verbatim txt "…") (big 1) _`.
//!
//! Counterpart: resp_parser.c in Redis, and hiredis.

use std::fmt;

use super::Protocol;
use super::encode::Reply;
use crate::types::number::parse_i64;

/// Deepest nesting that [`Value::parse`] follows.
pub const DEPTH_MAX: usize = 128;
/// Longest string.
pub const BULK_MAX: i64 = 1 << 30;
/// Longest line (simple strings, numbers, headers).
pub const LINE_MAX: usize = 1 << 20;

/// Elements reserved for on the word of a header; beyond, a table grows as they arrive.
const RESERVE_MAX: usize = 64;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `+`
    Simple(Vec<u8>),
    /// `-`, and `!` of RESP3.
    Error(Vec<u8>),
    /// `:`
    Int(i64),
    /// `$`; `None` is the null bulk of RESP2.
    Bulk(Option<Vec<u8>>),
    /// `*`; `None` is the null array of RESP2.
    Array(Option<Vec<Value>>),
    /// `_`
    Null,
    /// `,`, as its text.
    Double(String),
    /// `#`
    Bool(bool),
    /// `%`
    Map(Vec<(Value, Value)>),
    /// `~`
    Set(Vec<Value>),
    /// `>`
    Push(Vec<Value>),
    /// `=`: the three-letter format and the text.
    Verbatim(String, Vec<u8>),
    /// `(`, as its text.
    BigNumber(String),
}

/// Bytes that are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// A value starts with this byte.
    Prefix(u8),
    /// A length is no number, negative or too large.
    Length,
    /// An integer, double or boolean does not read as one.
    Number,
    /// A string is not followed by CRLF, or a line has a lone CR.
    LineEnd,
    /// Too deeply nested.
    Depth,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::Prefix(byte) => {
                write!(f, "a reply cannot start with '{}'", byte.escape_ascii())
            }
            ValueError::Length => f.write_str("invalid length in a reply"),
            ValueError::Number => f.write_str("invalid number in a reply"),
            ValueError::LineEnd => f.write_str("missing line end in a reply"),
            ValueError::Depth => f.write_str("reply nested too deeply"),
        }
    }
}

impl std::error::Error for ValueError {}

/// Why parsing stopped.
enum Stop {
    Incomplete,
    Invalid(ValueError),
}

impl From<ValueError> for Stop {
    fn from(error: ValueError) -> Stop {
        Stop::Invalid(error)
    }
}

struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.buf[self.pos..];
        let window = &rest[..rest.len().min(LINE_MAX)];
        let Some(end) = memchr::memchr(b'\r', window) else {
            return Err(if rest.len() > LINE_MAX {
                ValueError::Length.into()
            } else {
                Stop::Incomplete
            });
        };
        match rest.get(end + 1) {
            None => Err(Stop::Incomplete),
            Some(b'\n') => {
                self.pos += end + 2;
                Ok(&rest[..end])
            }
            Some(_) => Err(ValueError::LineEnd.into()),
        }
    }

    fn text(&mut self) -> Result<String, Stop> {
        let line = self.line()?;
        Ok(std::str::from_utf8(line)
            .map_err(|_| ValueError::Number)?
            .to_string())
    }

    /// A length; `None` is -1.
    fn length(&mut self) -> Result<Option<usize>, Stop> {
        match parse_i64(self.line()?) {
            Some(-1) => Ok(None),
            Some(len @ 0..=BULK_MAX) => Ok(Some(len as usize)),
            _ => Err(ValueError::Length.into()),
        }
    }

    fn string(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        let Some(len) = self.length()? else {
            return Ok(None);
        };
        let rest = &self.buf[self.pos..];
        if rest.len() < len + 2 {
            return Err(Stop::Incomplete);
        }
        if &rest[len..len + 2] != b"\r\n" {
            return Err(ValueError::LineEnd.into());
        }
        self.pos += len + 2;
        Ok(Some(rest[..len].to_vec()))
    }

    fn values(&mut self, count: usize, depth: usize) -> Result<Vec<Value>, Stop> {
        let mut values = Vec::with_capacity(count.min(RESERVE_MAX));
        for _ in 0..count {
            values.push(self.value(depth + 1)?);
        }
        Ok(values)
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Value>, Stop> {
        let count = self.length()?.ok_or(ValueError::Length)?;
        self.values(count, depth)
    }

    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        if depth > DEPTH_MAX {
            return Err(ValueError::Depth.into());
        }
        let prefix = *self.buf.get(self.pos).ok_or(Stop::Incomplete)?;
        self.pos += 1;
        Ok(match prefix {
            b'+' => Value::Simple(self.line()?.to_vec()),
            b'-' => Value::Error(self.line()?.to_vec()),
            b'!' => Value::Error(self.string()?.ok_or(ValueError::Length)?),
            b':' => Value::Int(parse_i64(self.line()?).ok_or(ValueError::Number)?),
            b'$' => Value::Bulk(self.string()?),
            b'*' => Value::Array(match self.length()? {
                Some(count) => Some(self.values(count, depth)?),
                None => None,
            }),
            b'_' => match self.line()? {
                [] => Value::Null,
                _ => return Err(ValueError::LineEnd.into()),
            },
            b',' => Value::Double(self.text()?),
            b'#' => match self.line()? {
                b"t" => Value::Bool(true),
                b"f" => Value::Bool(false),
                _ => return Err(ValueError::Number.into()),
            },
            b'%' => self.map(depth)?,
            b'~' => Value::Set(self.items(depth)?),
            b'>' => Value::Push(self.items(depth)?),
            b'=' => self.verbatim()?,
            b'(' => Value::BigNumber(self.text()?),
            other => return Err(ValueError::Prefix(other).into()),
        })
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let count = self.length()?.ok_or(ValueError::Length)?;
        let mut pairs = Vec::with_capacity(count.min(RESERVE_MAX));
        for _ in 0..count {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(Value::Map(pairs))
    }

    fn verbatim(&mut self) -> Result<Value, Stop> {
        let text = self.string()?.ok_or(ValueError::Length)?;
        let Some((format, rest)) = text.split_first_chunk::<4>().filter(|(f, _)| f[3] == b':')
        else {
            return Err(ValueError::Length.into());
        };
        Ok(Value::Verbatim(
            String::from_utf8_lossy(&format[..3]).into_owned(),
            rest.to_vec(),
        ))
    }
}

impl Value {
    /// Reads one value from the start of `buf`, with the bytes it took; `None` if it is not complete.
    /// Parsing starts over at each call.
    pub fn parse(buf: &[u8]) -> Result<Option<(Value, usize)>, ValueError> {
        let mut reader = Reader { buf, pos: 0 };
        match reader.value(0) {
            Ok(value) => Ok(Some((value, reader.pos))),
            Err(Stop::Incomplete) => Ok(None),
            Err(Stop::Invalid(error)) => Err(error),
        }
    }

    /// A bulk string.
    pub fn bulk(bytes: impl Into<Vec<u8>>) -> Value {
        Value::Bulk(Some(bytes.into()))
    }

    /// An array.
    pub fn array(values: impl Into<Vec<Value>>) -> Value {
        Value::Array(Some(values.into()))
    }

    /// The bytes of a bulk, simple or verbatim string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(text) | Value::Bulk(Some(text)) | Value::Verbatim(_, text) => Some(text),
            _ => None,
        }
    }

    /// Whether this is any of the three nulls.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null | Value::Bulk(None) | Value::Array(None))
    }

    /// Appends the encoding of the value; types that RESP2 lacks are only written as such in RESP3.
    pub fn encode(&self, reply: &mut Reply) {
        let all = |values: &[Value], reply: &mut Reply| values.iter().for_each(|v| v.encode(reply));
        match self {
            Value::Simple(text) => reply.simple(text),
            Value::Error(text) => reply.error(text),
            Value::Int(value) => reply.int(*value),
            Value::Bulk(Some(bytes)) => reply.bulk(bytes),
            Value::Bulk(None) => reply.null(),
            Value::Array(None) => reply.null_array(),
            Value::Array(Some(values)) => {
                reply.array(values.len());
                all(values, reply);
            }
            Value::Null => reply.null(),
            Value::Double(text) if reply.protocol == Protocol::Resp3 => {
                reply.raw(format!(",{text}\r\n").as_bytes());
            }
            Value::Double(text) => reply.bulk(text.as_bytes()),
            Value::Bool(value) => reply.bool(*value),
            Value::Map(pairs) => {
                reply.map(pairs.len());
                for (key, value) in pairs {
                    key.encode(reply);
                    value.encode(reply);
                }
            }
            Value::Set(values) => {
                reply.set(values.len());
                all(values, reply);
            }
            Value::Push(values) => {
                reply.push(values.len());
                all(values, reply);
            }
            Value::Verbatim(format, text) => reply.verbatim(format, text),
            Value::BigNumber(text) => reply.big_number(text),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Simple(text) => write!(f, "+{}", text.escape_ascii()),
            Value::Error(text) => {
                // Quotes are common in messages and need no escape here.
                write!(
                    f,
                    "-{}",
                    text.escape_ascii()
                        .to_string()
                        .replace("\\'", "'")
                        .replace("\\\"", "\"")
                )
            }
            Value::Int(value) => write!(f, ":{value}"),
            Value::Bulk(Some(bytes)) => quoted(f, bytes),
            Value::Bulk(None) => f.write_str("(nil)"),
            Value::Array(None) => f.write_str("(nil array)"),
            Value::Array(Some(values)) => list(f, "[", values),
            Value::Null => f.write_str("_"),
            Value::Double(text) => write!(f, ",{text}"),
            Value::Bool(value) => f.write_str(if *value { "#t" } else { "#f" }),
            Value::Map(pairs) => {
                f.write_str("%{")?;
                for (i, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key} {value}", if i == 0 { "" } else { " " })?;
                }
                f.write_str("}")
            }
            Value::Set(values) => list(f, "~[", values),
            Value::Push(values) => list(f, ">[", values),
            Value::Verbatim(format, text) => {
                write!(f, "(verbatim {format} ")?;
                quoted(f, text)?;
                f.write_str(")")
            }
            Value::BigNumber(text) => write!(f, "(big {text})"),
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("\"")?;
    for &byte in bytes {
        match byte {
            b'\'' => f.write_str("'")?,
            _ => write!(f, "{}", byte.escape_ascii())?,
        }
    }
    f.write_str("\"")
}

fn list(f: &mut fmt::Formatter<'_>, open: &str, values: &[Value]) -> fmt::Result {
    f.write_str(open)?;
    for (i, value) in values.iter().enumerate() {
        write!(f, "{}{value}", if i == 0 { "" } else { " " })?;
    }
    f.write_str("]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(input: &str) -> String {
        let (value, len) = Value::parse(input.as_bytes()).unwrap().unwrap();
        assert_eq!(len, input.len());
        value.to_string()
    }

    const SAMPLES: [(&str, &str); 16] = [
        ("+OK\r\n", "+OK"),
        ("-ERR it's\r\n", "-ERR it's"),
        ("!5\r\nERR x\r\n", "-ERR x"),
        (":-12\r\n", ":-12"),
        ("$3\r\na\"\n\r\n", "\"a\\\"\\n\""),
        ("$-1\r\n", "(nil)"),
        ("*-1\r\n", "(nil array)"),
        ("*2\r\n:1\r\n*0\r\n", "[:1 []]"),
        ("_\r\n", "_"),
        (",1.5\r\n", ",1.5"),
        ("#t\r\n", "#t"),
        ("%1\r\n+a\r\n$1\r\nb\r\n", "%{+a \"b\"}"),
        ("~1\r\n:1\r\n", "~[:1]"),
        (">2\r\n+a\r\n:1\r\n", ">[+a :1]"),
        ("=6\r\ntxt:hi\r\n", "(verbatim txt \"hi\")"),
        ("(123\r\n", "(big 123)"),
    ];

    #[test]
    fn every_type_reads_and_shows() {
        for (wire, text) in SAMPLES {
            assert_eq!(shown(wire), text);
            for cut in 0..wire.len() {
                assert_eq!(
                    Value::parse(&wire.as_bytes()[..cut]),
                    Ok(None),
                    "{wire:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn encoding_reads_back() {
        for (wire, _) in SAMPLES {
            let (value, _) = Value::parse(wire.as_bytes()).unwrap().unwrap();
            let mut reply = Reply::new(Protocol::Resp3);
            value.encode(&mut reply);
            let (again, len) = Value::parse(&reply.buf).unwrap().unwrap();
            assert_eq!(len, reply.buf.len());
            assert!(
                again == value || (again.is_null() && value.is_null()),
                "{wire:?}"
            );
        }
    }

    #[test]
    fn limits_hold() {
        assert_eq!(
            Value::parse("*1\r\n".repeat(DEPTH_MAX + 2).as_bytes()),
            Err(ValueError::Depth)
        );
        assert_eq!(Value::parse(b"*1073741824\r\n%1073741824\r\n"), Ok(None));
        assert_eq!(Value::parse(b"$1073741825\r\n"), Err(ValueError::Length));
        assert_eq!(Value::parse(b"$-2\r\n"), Err(ValueError::Length));
        assert_eq!(Value::parse(b"~-1\r\n"), Err(ValueError::Length));
        assert_eq!(Value::parse(b"$1\r\nabc"), Err(ValueError::LineEnd));
        assert_eq!(Value::parse(b"+a\rb"), Err(ValueError::LineEnd));
        assert_eq!(Value::parse(b"=3\r\ntxt\r\n"), Err(ValueError::Length));
        assert_eq!(Value::parse(b"?\r\n"), Err(ValueError::Prefix(b'?')));
        assert_eq!(
            Value::parse(&vec![b'+'; LINE_MAX + 2]),
            Err(ValueError::Length)
        );
    }
}
