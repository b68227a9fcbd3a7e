//! The arguments of one command, as slices of a buffer that somebody else owns.
//!
//! [`Args`] is what the engine passes around: two pointers, no copy. [`OwnedArgs`] keeps them when the
//! command outlives the read buffer (queued, blocked). Not here: how they were framed (`decode`).
//!
//! Invariant: every span of an [`OwnedArgs`] lies within its buffer; [`Args`] promises it of its own,
//! and a span outside reads as empty rather than panic.
//!
//! Counterpart: `argc`/`argv` of a client in Redis.

use std::iter::FusedIterator;
use std::ops::Index;

/// A range of bytes in a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Position of the first byte.
    pub start: usize,
    /// Position after the last byte.
    pub end: usize,
}

/// The arguments of a command, the command's name first.
#[derive(Clone, Copy, Default)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// A view of `spans` in `buf`.
    #[inline]
    pub fn new(buf: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args { buf, spans }
    }

    /// Number of arguments.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no argument.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    #[inline]
    fn slice(&self, span: Span) -> &'a [u8] {
        self.buf.get(span.start..span.end).unwrap_or_default()
    }

    /// The argument at `index`. Unlike `args[index]`, its lifetime is that of the buffer.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| self.slice(*span))
    }

    /// The argument at `index`, which must exist. Its lifetime is that of the buffer.
    ///
    /// # Panics
    /// If `index` is out of bounds: the arity check is the caller's.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.slice(self.spans[index])
    }

    /// The first argument.
    #[inline]
    pub fn first(&self) -> Option<&'a [u8]> {
        self.get(0)
    }

    /// The last argument.
    #[inline]
    pub fn last(&self) -> Option<&'a [u8]> {
        self.spans.last().map(|span| self.slice(*span))
    }

    /// All arguments in order.
    #[inline]
    pub fn iter(&self) -> Iter<'a> {
        Iter {
            buf: self.buf,
            spans: self.spans.iter(),
        }
    }

    /// Without the first `count` arguments; nothing if there are fewer.
    #[inline]
    pub fn from(&self, count: usize) -> Args<'a> {
        Args {
            buf: self.buf,
            spans: self.spans.get(count..).unwrap_or_default(),
        }
    }

    /// Only the first `count` arguments; all if there are fewer.
    #[inline]
    pub fn up_to(&self, count: usize) -> Args<'a> {
        Args {
            buf: self.buf,
            spans: &self.spans[..count.min(self.spans.len())],
        }
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> OwnedArgs {
        self.iter().collect()
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

impl<'a> IntoIterator for Args<'a> {
    type Item = &'a [u8];
    type IntoIter = Iter<'a>;

    #[inline]
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl PartialEq for Args<'_> {
    fn eq(&self, other: &Args<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|arg| arg.escape_ascii().to_string()))
            .finish()
    }
}

/// Iterator over [`Args`].
#[derive(Clone)]
pub struct Iter<'a> {
    buf: &'a [u8],
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let span = self.spans.next()?;
        Some(self.buf.get(span.start..span.end).unwrap_or_default())
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let span = self.spans.next_back()?;
        Some(self.buf.get(span.start..span.end).unwrap_or_default())
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

/// The arguments of a command with their bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OwnedArgs {
    buf: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// No arguments yet.
    pub fn new() -> OwnedArgs {
        OwnedArgs::default()
    }

    /// The view that commands take.
    #[inline]
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.buf, &self.spans)
    }

    /// Appends an argument.
    pub fn push(&mut self, arg: &[u8]) {
        let start = self.buf.len();
        self.buf.extend_from_slice(arg);
        self.spans.push(Span {
            start,
            end: self.buf.len(),
        });
    }

    /// Removes all arguments and keeps the memory.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.spans.clear();
    }

    /// Heap bytes in use.
    pub fn bytes(&self) -> usize {
        self.buf.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    /// Starts an argument that grows byte by byte; [`OwnedArgs::end`] completes it.
    pub(super) fn begin(&mut self) -> usize {
        self.buf.len()
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.buf.push(byte);
    }

    pub(super) fn end(&mut self, start: usize) {
        self.spans.push(Span {
            start,
            end: self.buf.len(),
        });
    }
}

impl From<Args<'_>> for OwnedArgs {
    fn from(args: Args<'_>) -> OwnedArgs {
        args.iter().collect()
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for OwnedArgs {
    fn from_iter<I: IntoIterator<Item = T>>(args: I) -> OwnedArgs {
        let mut owned = OwnedArgs::new();
        owned.extend(args);
        owned.buf.shrink_to_fit();
        owned.spans.shrink_to_fit();
        owned
    }
}

impl<T: AsRef<[u8]>> Extend<T> for OwnedArgs {
    fn extend<I: IntoIterator<Item = T>>(&mut self, args: I) {
        let args = args.into_iter();
        self.spans.reserve(args.size_hint().0);
        for arg in args {
            self.push(arg.as_ref());
        }
    }
}

impl std::fmt::Debug for OwnedArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_args().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_consistent() {
        let owned: OwnedArgs = ["set", "", "value"].into_iter().collect();
        let args = owned.as_args();
        assert_eq!(args.len(), 3);
        assert_eq!(&args[0], b"set");
        assert_eq!(args.get(1), Some(&b""[..]));
        assert_eq!(args.get(3), None);
        assert_eq!(args.last(), Some(&b"value"[..]));
        assert_eq!(args.from(2).at(0), b"value");
        assert!(args.from(3).is_empty() && args.from(9).is_empty());
        assert_eq!(args.up_to(1).len(), 1);
        assert_eq!(
            args.iter().rev().map(<[u8]>::len).collect::<Vec<_>>(),
            [5, 0, 3]
        );
        assert_eq!(args.iter().len(), 3);
        assert_eq!(OwnedArgs::from(args), owned);
        assert!(owned.bytes() >= 8 + 3 * size_of::<Span>());
    }
}
