//! The encoder of replies, and of commands in the replication stream.
//!
//! [`Reply`] appends to one buffer and allocates nothing else; there is no reply tree. What differs
//! between RESP2 and RESP3 is decided here, so a handler names what it means once. Not here: which shape
//! a command replies with.
//!
//! Invariant: each method writes one complete value or the header of an aggregate, and no line of it
//! holds a CR or LF that came from the caller.
//!
//! Counterpart: the `addReply…` family in Redis.

use super::Protocol;
use crate::types::ascii::Ascii;
use crate::types::number::{FloatBuf, IntBuf};

/// Where a header is to be inserted once the length is known, see [`Reply::deferred`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an aggregate without its header is a broken reply"]
pub struct Mark(usize);

/// A writer of replies in one client's protocol version.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The bytes so far.
    pub buf: Vec<u8>,
    /// The version to write.
    pub protocol: Protocol,
}

impl Reply {
    /// An empty writer.
    pub fn new(protocol: Protocol) -> Reply {
        Reply { buf: Vec::new(), protocol }
    }

    #[inline]
    fn resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; CR and LF become spaces.
    #[inline]
    pub fn simple(&mut self, text: impl AsRef<[u8]>) {
        self.line(b'+', text.as_ref());
    }

    /// An error: code and message, without the leading `-`; CR and LF become spaces.
    #[inline]
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.line(b'-', text.as_ref());
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        match value {
            0 => self.buf.extend_from_slice(b":0\r\n"),
            1 => self.buf.extend_from_slice(b":1\r\n"),
            _ => {
                self.buf.reserve(24);
                self.buf.push(b':');
                self.buf.extend_from_slice(IntBuf::new().format(value).as_bytes());
                self.crlf();
            }
        }
    }

    /// A count or length as an integer.
    #[inline]
    pub fn count(&mut self, value: usize) {
        self.int(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        write_bulk(bytes, &mut self.buf);
    }

    /// A bulk string, or null.
    #[inline]
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// A packed text as a bulk string.
    pub fn bulk_ascii(&mut self, text: Ascii) {
        self.buf.reserve(text.len() + 32);
        write_header(b'$', text.len(), &mut self.buf);
        text.write_to(&mut self.buf);
        self.buf.extend_from_slice(b"\r\n");
    }

    /// An integer as a bulk string.
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(IntBuf::new().format(value).as_bytes());
    }

    /// A double as a bulk string in both versions.
    #[inline]
    pub fn bulk_double(&mut self, value: f64) {
        self.bulk(FloatBuf::new().format(value));
    }

    /// A double; in RESP2 a bulk string.
    #[inline]
    pub fn double(&mut self, value: f64) {
        if self.resp3() {
            self.line(b',', FloatBuf::new().format(value));
        } else {
            self.bulk_double(value);
        }
    }

    /// Null; in RESP2 the null bulk string.
    #[inline]
    pub fn null(&mut self) {
        self.buf.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Null; in RESP2 the null array.
    #[inline]
    pub fn null_array(&mut self) {
        self.buf.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// A boolean; in RESP2 an integer.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        let text: &[u8; 4] = match (self.resp3(), value) {
            (true, true) => b"#t\r\n",
            (true, false) => b"#f\r\n",
            (false, true) => b":1\r\n",
            (false, false) => b":0\r\n",
        };
        self.buf.extend_from_slice(text);
    }

    /// Header of an array of `len` values.
    #[inline]
    pub fn array(&mut self, len: usize) {
        write_header(b'*', len, &mut self.buf);
    }

    /// Header of a map of `pairs` keys and values; in RESP2 an array of twice as many.
    #[inline]
    pub fn map(&mut self, pairs: usize) {
        let (prefix, len) = self.map_header(pairs);
        write_header(prefix, len, &mut self.buf);
    }

    /// Header of a set of `len` values; in RESP2 an array.
    #[inline]
    pub fn set(&mut self, len: usize) {
        write_header(self.set_prefix(), len, &mut self.buf);
    }

    /// Header of a push of `len` values; in RESP2 an array.
    #[inline]
    pub fn push(&mut self, len: usize) {
        write_header(if self.resp3() { b'>' } else { b'*' }, len, &mut self.buf);
    }

    /// Text for people, `ext` being its three-letter format; in RESP2 a bulk string.
    pub fn verbatim(&mut self, ext: &str, text: &[u8]) {
        if !self.resp3() {
            return self.bulk(text);
        }
        // Exactly three bytes, whatever the caller has.
        let mut format = [b' '; 3];
        for (to, from) in format.iter_mut().zip(ext.bytes()) {
            *to = from;
        }
        write_header(b'=', text.len() + 4, &mut self.buf);
        self.buf.reserve(text.len() + 6);
        self.buf.extend_from_slice(&format);
        self.buf.push(b':');
        self.buf.extend_from_slice(text);
        self.crlf();
    }

    /// An integer of any size, given as text; in RESP2 a bulk string.
    pub fn big_number(&mut self, digits: impl AsRef<[u8]>) {
        if self.resp3() {
            self.line(b'(', digits.as_ref());
        } else {
            self.bulk(digits.as_ref());
        }
    }

    /// Remembers the place of a header whose length is known only at the end.
    #[inline]
    pub fn deferred(&mut self) -> Mark {
        Mark(self.buf.len())
    }

    /// Inserts the header of an array of `len` values at the mark; what follows is moved.
    #[inline]
    pub fn finish_array(&mut self, mark: Mark, len: usize) {
        self.insert_header(mark, b'*', len);
    }

    /// Inserts the header of a map of `pairs` at the mark.
    #[inline]
    pub fn finish_map(&mut self, mark: Mark, pairs: usize) {
        let (prefix, len) = self.map_header(pairs);
        self.insert_header(mark, prefix, len);
    }

    /// Inserts the header of a set of `len` values at the mark.
    #[inline]
    pub fn finish_set(&mut self, mark: Mark, len: usize) {
        self.insert_header(mark, self.set_prefix(), len);
    }

    /// Drops everything written since the mark.
    #[inline]
    pub fn rewind(&mut self, mark: Mark) {
        self.buf.truncate(mark.0);
    }

    /// Appends bytes that are already encoded.
    #[inline]
    pub fn raw(&mut self, encoded: &[u8]) {
        self.buf.extend_from_slice(encoded);
    }

    #[inline]
    fn map_header(&self, pairs: usize) -> (u8, usize) {
        if self.resp3() { (b'%', pairs) } else { (b'*', pairs * 2) }
    }

    #[inline]
    fn set_prefix(&self) -> u8 {
        if self.resp3() { b'~' } else { b'*' }
    }

    #[inline]
    fn crlf(&mut self) {
        self.buf.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, prefix: u8, text: &[u8]) {
        self.buf.reserve(text.len() + 3);
        self.buf.push(prefix);
        let start = self.buf.len();
        self.buf.extend_from_slice(text);
        if memchr::memchr2(b'\r', b'\n', text).is_some() {
            for byte in &mut self.buf[start..] {
                if matches!(byte, b'\r' | b'\n') {
                    *byte = b' ';
                }
            }
        }
        self.crlf();
    }

    fn insert_header(&mut self, mark: Mark, prefix: u8, len: usize) {
        let end = self.buf.len();
        write_header(prefix, len, &mut self.buf);
        let header = self.buf.len() - end;
        // The header now stands at the end: turn it to the front of the tail.
        self.buf[mark.0..].rotate_right(header);
    }
}

/// `prefix`, a length and CRLF.
#[inline]
fn write_header(prefix: u8, len: usize, out: &mut Vec<u8>) {
    if len < 10 {
        out.extend_from_slice(&[prefix, b'0' + len as u8, b'\r', b'\n']);
    } else if len < 100 {
        out.extend_from_slice(&[prefix, b'0' + (len / 10) as u8, b'0' + (len % 10) as u8, b'\r', b'\n']);
    } else {
        out.push(prefix);
        out.extend_from_slice(IntBuf::new().format_u64(len as u64).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[inline]
fn write_bulk(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 32);
    write_header(b'$', bytes.len(), out);
    append(bytes, out);
    out.extend_from_slice(b"\r\n");
}

/// Appends bytes. Copying a number of them that is not known is a call, in WebAssembly even one out of the module:
/// LRANGE of elements of 16 bytes is 1.3 times as fast there without it.
#[inline]
fn append(bytes: &[u8], out: &mut Vec<u8>) {
    if !append_ends::<8>(bytes, out) && !append_ends::<16>(bytes, out) {
        out.extend_from_slice(bytes);
    }
}

/// Appends `N` to twice `N` bytes as their first and their last `N`. False if they are more or fewer.
#[inline]
fn append_ends<const N: usize>(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let (Some(first), Some(last)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) else { return false };
    let overlap = (2 * N).checked_sub(bytes.len());
    if let Some(overlap) = overlap {
        out.extend_from_slice(first);
        out.truncate(out.len() - overlap);
        out.extend_from_slice(last);
    }
    overlap.is_some()
}

/// Appends a command as the replication stream and the log hold it: an array of bulk strings.
pub fn encode_command<'a, I>(args: I, out: &mut Vec<u8>)
where
    I: IntoIterator<Item = &'a [u8]>,
    I::IntoIter: ExactSizeIterator,
{
    let args = args.into_iter();
    write_header(b'*', args.len(), out);
    for arg in args {
        write_bulk(arg, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut Reply)) -> (String, String) {
        let text = |protocol| {
            let mut reply = Reply::new(protocol);
            write(&mut reply);
            String::from_utf8(reply.buf).unwrap()
        };
        (text(Protocol::Resp2), text(Protocol::Resp3))
    }

    #[track_caller]
    fn check(write: impl Fn(&mut Reply), resp2: &str, resp3: &str) {
        assert_eq!(both(write), (resp2.to_string(), resp3.to_string()));
    }

    #[test]
    fn each_type_in_both_versions() {
        check(|r| r.ok(), "+OK\r\n", "+OK\r\n");
        check(|r| r.simple("a\r\nb"), "+a  b\r\n", "+a  b\r\n");
        check(|r| r.error(b"ERR \n"), "-ERR  \r\n", "-ERR  \r\n");
        check(|r| r.int(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n");
        check(|r| r.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n");
        check(|r| r.bulk(b"0123456789"), "$10\r\n0123456789\r\n", "$10\r\n0123456789\r\n");
        for len in 0..70 {
            let text: String = ('0'..'z').take(len).collect();
            let bulk = format!("${len}\r\n{text}\r\n");
            check(|r| r.bulk(text.as_bytes()), &bulk, &bulk);
        }
        check(|r| r.bulk_int(-7), "$2\r\n-7\r\n", "$2\r\n-7\r\n");
        check(|r| r.double(0.1), "$3\r\n0.1\r\n", ",0.1\r\n");
        check(|r| r.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
        check(|r| r.double(f64::NAN), "$3\r\nnan\r\n", ",nan\r\n");
        check(|r| r.bulk_double(1.5), "$3\r\n1.5\r\n", "$3\r\n1.5\r\n");
        check(|r| r.null(), "$-1\r\n", "_\r\n");
        check(|r| r.null_array(), "*-1\r\n", "_\r\n");
        check(|r| r.bool(true), ":1\r\n", "#t\r\n");
        check(|r| r.map(6), "*12\r\n", "%6\r\n");
        check(|r| r.set(2), "*2\r\n", "~2\r\n");
        check(|r| r.push(3), "*3\r\n", ">3\r\n");
        check(|r| r.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
        check(|r| r.big_number("12"), "$2\r\n12\r\n", "(12\r\n");
    }

    #[test]
    fn deferred_headers_nest() {
        let write = |r: &mut Reply| {
            r.ok();
            let outer = r.deferred();
            let inner = r.deferred();
            for i in 0..12 {
                r.int(i % 2);
            }
            r.finish_set(inner, 12);
            r.finish_map(outer, 1);
        };
        let items = ":0\r\n:1\r\n".repeat(6);
        check(write, &format!("+OK\r\n*2\r\n*12\r\n{items}"), &format!("+OK\r\n%1\r\n~12\r\n{items}"));
    }

    #[test]
    fn commands_are_arrays_of_bulks() {
        let mut out = Vec::new();
        encode_command([&b"SET"[..], b"k", b""], &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }
}
