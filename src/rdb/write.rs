//! Writing a snapshot piece by piece.
//!
//! A [`Writer`] appends to whatever buffer it is given: the caller empties the buffer as it likes. Order: head, then
//! for each db that has keys its number and sizes, then its entries, then the end; last the [`Sum`] of it all, which
//! is made apart, from what is really stored: in longer runs, and in another thread if there is one. Redis'
//! counterpart: `rdbSaveRio`.

use super::crc64::Crc64;
use super::encode::{Encoder, length};
use super::head::Aux;
use super::load::Attributes;
use super::opcode::{Format, op};
use super::text::TextBody;
use crate::types::value::ValueRef;
use crate::types::walk::Piece;

/// A snapshot on its way out.
#[derive(Clone, Debug)]
pub struct Writer {
    encoder: Encoder,
}

/// The checksum in the making that a snapshot ends with.
#[derive(Clone, Copy, Debug)]
pub struct Sum(Option<Crc64>);

impl Sum {
    /// The sum of no bytes. It stays zero unless `wanted` (rdbchecksum), which says that there is none.
    pub fn new(wanted: bool) -> Sum {
        Sum(wanted.then(Crc64::new))
    }

    /// Adds the next bytes of the snapshot.
    pub fn add(&mut self, bytes: &[u8]) {
        if let Some(sum) = &mut self.0 {
            sum.update(bytes);
        }
    }

    /// What the snapshot ends with.
    pub fn trailer(&self) -> [u8; 8] {
        self.0.map_or(0, Crc64::value).to_le_bytes()
    }

    /// Appends the trailer to a snapshot that is there as a whole.
    pub fn seal(mut self, snapshot: &mut Vec<u8>) {
        self.add(snapshot);
        snapshot.extend_from_slice(&self.trailer());
    }
}

/// What comes before and behind the pieces of a value.
#[derive(Clone, Debug)]
pub struct ValueHead {
    bytes: Vec<u8>,
    first_expiry: Option<i64>,
    /// Of a string: how it is written.
    text: Option<TextBody>,
}

impl ValueHead {
    /// Bytes of the value that are kept until its end.
    pub fn kept_bytes(&self) -> usize {
        self.text.as_ref().map_or(0, TextBody::kept_bytes)
    }
}

impl Writer {
    /// A writer before its first byte. `compress` (rdbcompression) makes long strings shorter.
    pub fn new(format: Format, compress: bool) -> Writer {
        Writer { encoder: Encoder::new(format, compress) }
    }

    /// Appends signature, version and what the snapshot tells about itself.
    pub fn head(&mut self, aux: &Aux, out: &mut Vec<u8>) {
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
    }

    /// Appends the beginning of a db: how many keys it has, and how many of those expire.
    pub fn select_db(&mut self, db: usize, keys: usize, expires: usize, out: &mut Vec<u8>) {
        out.push(op::SELECT_DB);
        length(db as u64, out);
        out.push(op::RESIZE_DB);
        length(keys as u64, out);
        length(expires as u64, out);
    }

    /// Appends a key with its value and attributes.
    pub fn entry(&mut self, key: &[u8], value: ValueRef, attributes: &Attributes, out: &mut Vec<u8>) {
        self.entry_head(key, value, attributes, out);
        self.encoder.value(value, out);
    }

    /// What comes before the pieces of this value as it is now.
    pub fn value_head(&mut self, key: &[u8], value: ValueRef, attributes: &Attributes) -> ValueHead {
        let mut bytes = Vec::new();
        self.entry_head(key, value, attributes, &mut bytes);
        match value {
            ValueRef::String(text) => ValueHead { bytes, first_expiry: None, text: Some(TextBody::new(text.len())) },
            _ => {
                let first_expiry = self.encoder.start(value, &mut bytes);
                ValueHead { bytes, first_expiry, text: None }
            }
        }
    }

    /// Begins a value that is written in pieces. Nothing else may come before its end.
    pub fn begin_value(&mut self, head: &ValueHead, out: &mut Vec<u8>) {
        out.extend_from_slice(&head.bytes);
    }

    /// Appends a piece of the value with this head.
    pub fn piece(&mut self, head: &mut ValueHead, piece: Piece, out: &mut Vec<u8>) {
        match (&mut head.text, piece) {
            (Some(text), Piece::Text(bytes)) => text.piece(bytes, &mut self.encoder, out),
            (_, piece) => self.encoder.piece(piece, head.first_expiry, out),
        }
    }

    /// Appends what comes behind the pieces, or some of it. True if that was all.
    pub fn end_value(&mut self, head: &mut ValueHead, out: &mut Vec<u8>) -> bool {
        head.text.as_mut().is_none_or(|text| text.end(out))
    }

    /// Appends the end, without the sum. Nothing else may follow.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.push(op::EOF);
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
