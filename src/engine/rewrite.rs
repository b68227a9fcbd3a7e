//! Entries as the commands that make them: the base of a log without a snapshot in front
//! (`aof-use-rdb-preamble no`).
//!
//! Collections come in commands of [`ITEMS`] elements, so that no command of the log is as large as the
//! largest value. Redis' counterpart: `rewriteObject` and its like in `aof.c`.

use crate::resp::encode_command;
use crate::types::hash::Field;
use crate::types::listpack::Item;
use crate::types::number::{FloatBuf, IntBuf, format_f64};
use crate::types::value::ValueRef;

use super::entry::Entry;

/// Elements in one command at most.
const ITEMS: usize = 64;

/// A command that grows until it is full.
struct Batch<'a> {
    head: [&'a [u8]; 2],
    /// The elements' bytes one after another, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Arguments that one element takes.
    stride: usize,
}

impl<'a> Batch<'a> {
    fn new(name: &'a [u8], key: &'a [u8], stride: usize) -> Batch<'a> {
        Batch { head: [name, key], bytes: Vec::new(), ends: Vec::new(), stride }
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

    fn flush(&mut self, out: &mut Vec<u8>) {
        if self.ends.is_empty() {
            return;
        }
        let mut args: Vec<&[u8]> = self.head.to_vec();
        let mut start = 0;
        for end in &self.ends {
            args.push(&self.bytes[start..*end]);
            start = *end;
        }
        encode_command(args, out);
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Selects the db of what comes next.
pub(super) fn select_db(db: usize, out: &mut Vec<u8>) {
    encode_command([&b"SELECT"[..], IntBuf::new().format(db as i64).as_bytes()], out);
}

/// Writes the commands that make `entry`.
pub(super) fn entry(entry: &Entry, out: &mut Vec<u8>) {
    let key = entry.key();
    match entry.value() {
        ValueRef::Int(value) => encode_command([b"SET", key, IntBuf::new().format(value).as_bytes()], out),
        ValueRef::String(value) => encode_command([b"SET", key, value], out),
        ValueRef::List(list) => {
            let mut batch = Batch::new(b"RPUSH", key, 1);
            list.iter().for_each(|item| batch.push_item(item, out));
            batch.flush(out);
        }
        ValueRef::Set(set) => {
            let mut batch = Batch::new(b"SADD", key, 1);
            set.iter().for_each(|item| batch.push_item(item, out));
            batch.flush(out);
        }
        ValueRef::Zset(zset) => {
            let mut batch = Batch::new(b"ZADD", key, 2);
            for (member, score) in zset.iter() {
                batch.push(format_f64(score, &mut FloatBuf::new()).as_bytes(), out);
                batch.push_item(member, out);
            }
            batch.flush(out);
        }
        ValueRef::Hash(hash) => {
            let mut batch = Batch::new(b"HMSET", key, 2);
            for Field { name, value, .. } in hash.iter() {
                batch.push_item(name, out);
                batch.push_item(value, out);
            }
            batch.flush(out);
            for Field { name, expiry_ms, .. } in hash.iter() {
                let Some(at) = expiry_ms else { continue };
                let (mut digits, mut text) = (IntBuf::new(), IntBuf::new());
                let (at, name) = (digits.format(at).as_bytes(), name.bytes(&mut text));
                encode_command([b"HPEXPIREAT", key, at, b"FIELDS", b"1", name], out);
            }
        }
    }
    if let Some(at) = entry.expire_at() {
        encode_command([b"PEXPIREAT", key, IntBuf::new().format(at).as_bytes()], out);
    }
}
