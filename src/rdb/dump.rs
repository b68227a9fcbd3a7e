//! One value as a payload: what DUMP gives and RESTORE takes.
//!
//! `type | value | version u16 LE | CRC-64 of all before`. The lowest version that can carry the value is
//! written, so that Redis 7.0, Redis 8 and Valkey take each other's keys from us. Redis' counterpart:
//! `createDumpPayload`, `verifyDumpPayload`.

use std::fmt;

use super::build::{Builder, Limits};
use super::crc64::Crc64;
use super::encode::Encoder;
use super::error::{RdbError, RdbErrorKind};
use super::opcode::{Dialect, Format, kind};
use super::read::{Reader, Result};
use super::scan::Scan;
use crate::types::value::{Value, ValueRef};

/// Bytes of version and sum.
const FOOTER_LEN: usize = 10;

/// Why a payload cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// The footer: too short, a version that is not read here, or a wrong sum.
    Footer,
    /// The value itself.
    Value(RdbError),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::Footer => f.write_str("wrong version or checksum"),
            RestoreError::Value(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {}

/// The payload of a value. `compress` (rdbcompression) makes long strings shorter.
pub fn dump(value: ValueRef, compress: bool) -> Vec<u8> {
    let format = Format::needed_by(value);
    let mut encoder = Encoder::new(format, compress);
    let mut out = vec![encoder.kind(value)];
    encoder.value(value, &mut out);
    out.extend_from_slice(&format.version().to_le_bytes());
    let sum = Crc64::of(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// The value of a payload; `seed` is for its hash table, if it gets one. `verify`: the sum must be right.
///
/// # Errors
/// The footer or the value is wrong; a collection without elements is wrong, too.
pub fn restore(payload: &[u8], limits: &Limits, seed: u64, verify: bool) -> std::result::Result<Value, RestoreError> {
    let body_len = payload.len().checked_sub(FOOTER_LEN).ok_or(RestoreError::Footer)?;
    let (body, footer) = payload.split_at(body_len);
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    // No server ever wrote version 0, but Redis takes it.
    let dialect = Dialect::of_version(u32::from(version.max(1))).ok_or(RestoreError::Footer)?;
    let stored = footer.last_chunk().map_or(0, |sum| u64::from_le_bytes(*sum));
    if verify && stored != Crc64::of(&payload[..payload.len() - size_of::<u64>()]) {
        return Err(RestoreError::Footer);
    }
    let mut reader = Reader::new(body);
    value(&mut reader, &Builder { limits, dialect, seed, room: body.len() as u64 })
        .map_err(|kind| RestoreError::Value(RdbError { kind, offset: reader.at() as u64, key: None }))
}

fn value(reader: &mut Reader, builder: &Builder) -> Result<Value> {
    let kind = reader.byte()?;
    // Which types there are is written down in one place only.
    if kind > kind::LAST {
        return Err(RdbErrorKind::UnknownType(kind));
    }
    Scan::new(kind, builder.dialect)?;
    builder.value(kind, reader)?.ok_or(RdbErrorKind::Malformed("collection without elements"))
}
