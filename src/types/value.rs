//! A value of any type: on its own, or borrowed from whatever holds it.

use super::ascii::Ascii;
use super::hash::Hash;
use super::list::List;
use super::number::IntBuf;
use super::set::Set;
use super::text::Text;
use super::zset::Zset;

/// The type of a value as users know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    String,
    List,
    Set,
    Hash,
    Zset,
}

impl Kind {
    /// All types.
    pub const ALL: [Kind; 5] = [Kind::String, Kind::List, Kind::Set, Kind::Hash, Kind::Zset];

    /// The type of a name, in any case.
    pub fn named(name: &[u8]) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// What TYPE answers.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::Hash => "hash",
            Kind::Zset => "zset",
        }
    }
}

/// A value on its own: what RENAME moves, what a loader makes.
#[derive(Clone)]
#[allow(missing_docs)]
pub enum Value {
    Int(i64),
    String(Vec<u8>),
    /// A string that is being walked, or was.
    Text(Box<Text>),
    List(Box<List>),
    Set(Box<Set>),
    Hash(Box<Hash>),
    Zset(Box<Zset>),
}

/// A value inside its holder, for reading.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub enum ValueRef<'a> {
    Int(i64),
    String(&'a [u8]),
    /// A string as well.
    Ascii(Ascii<'a>),
    List(&'a List),
    Set(&'a Set),
    Hash(&'a Hash),
    Zset(&'a Zset),
}

/// A value inside its holder, for writing. Strings are written by their holder.
#[allow(missing_docs)]
pub enum ValueMut<'a> {
    String,
    /// One that can be walked.
    Text(&'a mut Text),
    List(&'a mut List),
    Set(&'a mut Set),
    Hash(&'a mut Hash),
    Zset(&'a mut Zset),
}

impl Value {
    /// Borrows the value.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Int(n) => ValueRef::Int(*n),
            Value::String(bytes) => ValueRef::String(bytes),
            Value::Text(text) => ValueRef::String(text.bytes()),
            Value::List(list) => ValueRef::List(list),
            Value::Set(set) => ValueRef::Set(set),
            Value::Hash(hash) => ValueRef::Hash(hash),
            Value::Zset(zset) => ValueRef::Zset(zset),
        }
    }
}

impl<'a> ValueRef<'a> {
    /// The bytes of a string, which are written to `room` if they are nowhere as they are. Empty for other types.
    pub fn text<'b>(self, room: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            ValueRef::String(bytes) => return bytes,
            ValueRef::Int(n) => room.extend_from_slice(IntBuf::new().format(n).as_bytes()),
            ValueRef::Ascii(text) => text.write_to(room),
            _ => {}
        }
        room
    }

    /// Bytes of a string. Zero for other types.
    pub fn text_len(self) -> usize {
        match self {
            ValueRef::String(bytes) => bytes.len(),
            ValueRef::Int(n) => IntBuf::new().format(n).len(),
            ValueRef::Ascii(text) => text.len(),
            _ => 0,
        }
    }

    /// The type of the value.
    pub fn kind(&self) -> Kind {
        match self {
            ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_) => Kind::String,
            ValueRef::List(_) => Kind::List,
            ValueRef::Set(_) => Kind::Set,
            ValueRef::Hash(_) => Kind::Hash,
            ValueRef::Zset(_) => Kind::Zset,
        }
    }
}
