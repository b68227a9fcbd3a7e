//! Writing a snapshot piece by piece.
//!
//! A [`Writer`] appends to whatever buffer it is given and keeps only the checksum: the caller empties the
//! buffer as it likes. Order: head, then for each db that has keys its number and sizes, then its entries,
//! then the end. Redis' counterpart: `rdbSaveRio`.

use super::crc64::Crc64;
use super::encode::{Encoder, length};
use super::head::Aux;
use super::load::Attributes;
use super::opcode::{Format, op};
use crate::types::value::ValueRef;
use crate::types::walk::Piece;

/// A snapshot on its way out.
#[derive(Clone, Debug)]
pub struct Writer {
    encoder: Encoder,
    /// `None` if no checksum is wanted.
    sum: Option<Crc64>,
}

impl Writer {
    /// A writer before its first byte. `compress` (rdbcompression) makes long strings shorter, `checksum`
    /// (rdbchecksum) puts a sum at the end, otherwise zero.
    pub fn new(format: Format, compress: bool, checksum: bool) -> Writer {
        Writer { encoder: Encoder::new(format, compress), sum: checksum.then(Crc64::new) }
    }

    /// Appends signature, version and what the snapshot tells about itself.
    pub fn head(&mut self, aux: &Aux, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(format!("REDIS{:04}", self.encoder.format.version()).as_bytes());
        self.text("redis-ver", aux.redis_version, out);
        self.number("redis-bits", i64::from(usize::BITS), out);
        self.number("ctime", aux.created_seconds, out);
        self.number("used-mem", i64::try_from(aux.used_bytes).unwrap_or(i64::MAX), out);
        if let Some(replication) = &aux.replication {
            self.number("repl-stream-db", replication.stream_db, out);
            self.text("repl-id", replication.id, out);
            self.number("repl-offset", replication.offset, out);
        }
        self.number("aof-base", i64::from(aux.aof_base), out);
        self.add(&out[start..]);
    }

    /// Appends the beginning of a db: how many keys it has, and how many of those expire.
    pub fn select_db(&mut self, db: usize, keys: usize, expires: usize, out: &mut Vec<u8>) {
        let start = out.len();
        self.select_db_aside(db, keys, expires, out);
        self.add(&out[start..]);
    }

    /// Appends a key with its value and attributes.
    pub fn entry(&mut self, key: &[u8], value: ValueRef, attributes: &Attributes, out: &mut Vec<u8>) {
        let start = out.len();
        self.entry_aside(key, value, attributes, out);
        self.add(&out[start..]);
    }

    /// Begins a collection that is written in pieces. Nothing else may come before its last piece.
    pub fn begin_value(&mut self, head: &ValueHead, out: &mut Vec<u8>) {
        self.append(&head.bytes, out);
    }

    /// Appends a piece of the collection with this head.
    pub fn piece(&mut self, head: &ValueHead, piece: Piece, out: &mut Vec<u8>) {
        let start = out.len();
        self.encoder.piece(piece, head.first_expiry, out);
        self.add(&out[start..]);
    }

    /// Appends what was written aside.
    pub fn append(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
        self.add(bytes);
    }

    /// Appends the end. Nothing may follow.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.push(op::EOF);
        self.add(&[op::EOF]);
        let sum = self.sum.map_or(0, Crc64::value);
        out.extend_from_slice(&sum.to_le_bytes());
    }
}

/// What comes before the pieces of a collection.
#[derive(Clone, Debug)]
pub struct ValueHead {
    bytes: Vec<u8>,
    first_expiry: Option<i64>,
}

/// Bytes that are not yet part of the snapshot: they become so with [`Writer::append`], in any order.
impl Writer {
    /// What comes before the pieces of this value as it is now.
    pub fn value_head(&mut self, key: &[u8], value: ValueRef, attributes: &Attributes) -> ValueHead {
        let mut bytes = Vec::new();
        self.entry_head(key, value, attributes, &mut bytes);
        let first_expiry = self.encoder.start(value, &mut bytes);
        ValueHead { bytes, first_expiry }
    }

    /// As [`Writer::select_db`].
    pub fn select_db_aside(&mut self, db: usize, keys: usize, expires: usize, out: &mut Vec<u8>) {
        out.push(op::SELECT_DB);
        length(db as u64, out);
        out.push(op::RESIZE_DB);
        length(keys as u64, out);
        length(expires as u64, out);
    }

    /// As [`Writer::entry`].
    pub fn entry_aside(&mut self, key: &[u8], value: ValueRef, attributes: &Attributes, out: &mut Vec<u8>) {
        self.entry_head(key, value, attributes, out);
        self.encoder.value(value, out);
    }

    fn entry_head(&mut self, key: &[u8], value: ValueRef, attributes: &Attributes, out: &mut Vec<u8>) {
        if let Some(expire_at_ms) = attributes.expire_at_ms {
            out.push(op::EXPIRE_MS);
            out.extend_from_slice(&expire_at_ms.to_le_bytes());
        }
        if let Some(idle_seconds) = attributes.idle_seconds {
            out.push(op::IDLE);
            length(idle_seconds, out);
        }
        if let Some(frequency) = attributes.frequency {
            out.extend_from_slice(&[op::FREQ, frequency]);
        }
        out.push(self.encoder.kind(value));
        self.encoder.string(key, out);
    }

    fn add(&mut self, bytes: &[u8]) {
        if let Some(sum) = &mut self.sum {
            sum.update(bytes);
        }
    }

    fn text(&mut self, field: &str, value: &str, out: &mut Vec<u8>) {
        out.push(op::AUX);
        self.encoder.string(field.as_bytes(), out);
        self.encoder.string(value.as_bytes(), out);
    }

    fn number(&mut self, field: &str, value: i64, out: &mut Vec<u8>) {
        out.push(op::AUX);
        self.encoder.string(field.as_bytes(), out);
        self.encoder.int(value, out);
    }
}
