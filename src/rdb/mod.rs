//! The RDB snapshot format and the payloads of DUMP: total functions between bytes and values, no files.
//!
//! - [`Writer`] turns values into the bytes of a snapshot, piece by piece.
//! - [`Loader`] takes a snapshot in chunks of any size and hands what it finds to a [`Sink`].
//! - [`dump`] and [`restore`] do the same for one value.
//!
//! Written are versions 10 and 12 ([`Format`]); read are versions 1 to 12 of Redis and 11 and 80 of Valkey,
//! every encoding of strings, lists, sets, sorted sets and hashes that those ever wrote. Everything that is
//! read is checked in full: no input panics, and memory stays within a small multiple of the input. Streams
//! and values of modules are refused by name.
//!
//! It knows no clock, no keyspace and no configuration. Redis' counterpart: `rdb.c`.

mod ahead;
mod build;
mod crc64;
mod dump;
mod encode;
mod error;
mod head;
mod load;
mod long;
mod lzf;
mod opcode;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod text;
mod write;
mod ziplist;

pub use ahead::{Ahead, Scout};
pub use build::Limits;
pub use crc64::Crc64;
pub use dump::{RestoreError, dump, restore};
pub use error::{RdbError, RdbErrorKind};
pub use head::{Aux, ReplicationAux};
pub use load::{Attributes, Entry, Loader, Note, Sink};
pub use opcode::Format;
pub use opcode::module::name as module_name;
pub use write::{Sum, ValueHead, Writer};
