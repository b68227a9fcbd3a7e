//! Entries as the commands that make them: the base of a log without a snapshot in front
//! (`aof-use-rdb-preamble no`).
//!
//! Collections come in commands of [`ITEMS`] elements, large strings in pieces, so that no command of the log is as
//! large as the largest value. Redis' counterpart: `rewriteObject` and its like in `aof.c`.

use crate::resp::encode_command;
use crate::types::hash::Field;
use crate::types::list::NodeRef;
use crate::types::listpack::Item;
use crate::types::number::{FloatBuf, IntBuf, format_f64};
use crate::types::value::ValueRef;
use crate::types::walk::Piece;

use super::entry::{Entry, Kind};

/// Elements in one command at most.
const ITEMS: usize = 64;

/// A large value on its way: a command that grows until it is full, then the next.
pub(super) struct Commands {
    name: &'static [u8],
    /// What the command is called from the second on.
    then: &'static [u8],
    key: Box<[u8]>,
    /// Arguments that one element takes.
    stride: usize,
    /// The elements' bytes one after another, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Commands that may come only when the elements are there.
    later: Vec<u8>,
}

impl Commands {
    /// The commands for a value at `key` that comes in pieces.
    pub fn new(key: &[u8], value: ValueRef) -> Commands {
        let (name, then, stride): (&[u8], &[u8], usize) = match value {
            ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_) => (b"SET", b"APPEND", 1),
            ValueRef::List(_) => (b"RPUSH", b"RPUSH", 1),
            ValueRef::Set(_) => (b"SADD", b"SADD", 1),
            ValueRef::Zset(_) => (b"ZADD", b"ZADD", 2),
            ValueRef::Hash(_) => (b"HMSET", b"HMSET", 2),
        };
        Commands { name, then, key: key.into(), stride, bytes: Vec::new(), ends: Vec::new(), later: Vec::new() }
    }

    /// Adds a piece.
    pub fn piece(&mut self, piece: Piece, out: &mut Vec<u8>) {
        match piece {
            Piece::Node(NodeRef::Plain(element)) => self.push(element, out),
            Piece::Node(NodeRef::Packed(pack)) => pack.iter().for_each(|(_, item)| self.push_item(item, out)),
            Piece::Member(member) => self.push_item(member, out),
            Piece::Text(bytes) => {
                encode_command([self.name, &self.key, bytes], out);
                self.name = self.then;
            }
            Piece::Scored(member, score) => {
                self.push(format_f64(score, &mut FloatBuf::new()).as_bytes(), out);
                self.push_item(member, out);
            }
            Piece::Field(Field { name, value, expiry_ms }) => {
                if let Some(at) = expiry_ms {
                    let (mut digits, mut text) = (IntBuf::new(), IntBuf::new());
                    let (at, name) = (digits.format(at).as_bytes(), name.bytes(&mut text));
                    let args = [b"HPEXPIREAT", &self.key[..], at, b"FIELDS", b"1", name];
                    encode_command(args, &mut self.later);
                }
                self.push_item(name, out);
                self.push_item(value, out);
            }
        }
    }

    fn push(&mut self, arg: &[u8], out: &mut Vec<u8>) {
        self.bytes.extend_from_slice(arg);
        self.ends.push(self.bytes.len());
        if self.ends.len() == ITEMS * self.stride {
            self.flush(out);
        }
    }

    fn push_item(&mut self, item: Item, out: &mut Vec<u8>) {
        self.push(item.bytes(&mut IntBuf::new()), out);
    }

    /// Writes what has come so far.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if self.ends.is_empty() {
            return;
        }
        let mut args: Vec<&[u8]> = vec![self.name, &self.key];
        let mut start = 0;
        for end in &self.ends {
            args.push(&self.bytes[start..*end]);
            start = *end;
        }
        encode_command(args, out);
        self.bytes.clear();
        self.ends.clear();
        out.append(&mut self.later);
    }
}

/// Selects the db of what comes next.
pub(super) fn select_db(db: usize, out: &mut Vec<u8>) {
    encode_command([&b"SELECT"[..], IntBuf::new().format(db as i64).as_bytes()], out);
}

/// Writes the commands that make `entry`. What is no text as it is becomes text in `room`, a buffer for all entries.
pub(super) fn entry(entry: &Entry, room: &mut Vec<u8>, out: &mut Vec<u8>) {
    let key = entry.key();
    match entry.value() {
        value if value.kind() == Kind::String => {
            room.clear();
            encode_command([b"SET", key, value.text(room)], out);
        }
        value => {
            let mut commands = Commands::new(key, value);
            value.pieces(|piece| commands.piece(piece, out));
            commands.flush(out);
        }
    }
    expire(key, entry.expire_at(), out);
}

/// Writes the command for an expire time, if there is one.
pub(super) fn expire(key: &[u8], at: Option<i64>, out: &mut Vec<u8>) {
    if let Some(at) = at {
        encode_command([b"PEXPIREAT", key, IntBuf::new().format(at).as_bytes()], out);
    }
}
