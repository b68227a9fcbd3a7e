//! The numbers of the format: its versions, the opcodes between entries, the types of values.
//!
//! Redis' counterpart: `rdb.h`.

use crate::types::value::ValueRef;

/// The version to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Version 10: loads in Redis 7.0 and everything later, Valkey too. It has no listpacked sets and no
    /// expiring hash fields.
    V10,
    /// Version 12: loads in Redis 7.4 and later. Needed for expiring hash fields.
    V12,
}

impl Format {
    /// The number of this version.
    pub const fn version(self) -> u16 {
        match self {
            Format::V10 => 10,
            Format::V12 => 12,
        }
    }

    /// The version that can carry any hash, if `field_expiries` says that some field expires.
    pub const fn for_field_expiries(field_expiries: bool) -> Format {
        if field_expiries { Format::V12 } else { Format::V10 }
    }

    /// The lowest version that can carry this value.
    pub fn needed_by(value: ValueRef) -> Format {
        let ValueRef::Hash(hash) = value else { return Format::V10 };
        Format::for_field_expiries(hash.min_expiry().is_some())
    }
}

/// Whose numbers a payload uses: they differ from type 22 and version 80 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Redis, and what Valkey wrote before it went its own way.
    Redis,
    /// Valkey 9.
    Valkey,
}

impl Dialect {
    /// The dialect of a version number; `None` if the version is not one that is read here.
    pub const fn of_version(version: u32) -> Option<Dialect> {
        match version {
            1..=12 => Some(Dialect::Redis),
            80 => Some(Dialect::Valkey),
            _ => None,
        }
    }

    /// The dialect that the first bytes of a file name, and the digits of its version.
    pub fn of_head(head: &[u8; HEAD_LEN]) -> Option<(Dialect, &[u8])> {
        match head {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => Some((Dialect::Redis, digits)),
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => Some((Dialect::Valkey, digits)),
            _ => None,
        }
    }
}

/// Signature and version together.
pub const HEAD_LEN: usize = 9;

/// What may stand between entries.
pub mod op {
    #![allow(missing_docs)]
    /// Valkey 9: an unfinished import of cluster slots.
    pub const SLOT_IMPORT: u8 = 243;
    /// Redis 7.4 and later: sizes of a cluster slot.
    pub const SLOT_INFO: u8 = 244;
    pub const FUNCTION: u8 = 245;
    /// Function libraries of the 7.0 release candidates.
    pub const FUNCTION_PRE_GA: u8 = 246;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQ: u8 = 249;
    pub const AUX: u8 = 250;
    pub const RESIZE_DB: u8 = 251;
    pub const EXPIRE_MS: u8 = 252;
    pub const EXPIRE_SECONDS: u8 = 253;
    pub const SELECT_DB: u8 = 254;
    pub const EOF: u8 = 255;
}

/// The type byte before a key.
pub mod kind {
    #![allow(missing_docs)]
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    /// Scores as text.
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    /// Scores as doubles.
    pub const ZSET_2: u8 = 5;
    pub const MODULE: u8 = 6;
    pub const MODULE_2: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    /// A list of ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    /// A list of listpacks and plain elements.
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const STREAM_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_3: u8 = 21;
    /// Valkey 9: fields with expire times.
    pub const VALKEY_HASH: u8 = 22;
    /// Redis 7.4 release candidates: fields with expire times.
    pub const HASH_TTL_PRE_GA: u8 = 22;
    pub const HASH_LISTPACK_TTL_PRE_GA: u8 = 23;
    /// Fields with expire times relative to the first one.
    pub const HASH_TTL: u8 = 24;
    /// Field, value and expire time in a listpack.
    pub const HASH_LISTPACK_TTL: u8 = 25;
    /// No type has a higher number.
    pub const LAST: u8 = HASH_LISTPACK_TTL;

    /// Why values of this type cannot be loaded, if it is a type at all.
    pub fn unsupported(kind: u8) -> Option<&'static str> {
        match kind {
            STREAM | STREAM_2 | STREAM_3 => Some("stream"),
            MODULE | MODULE_2 => Some("module value"),
            _ => None,
        }
    }
}

/// How a string whose length byte begins with two one bits is encoded.
pub mod encoding {
    #![allow(missing_docs)]
    pub const INT8: u8 = 0;
    pub const INT16: u8 = 1;
    pub const INT32: u8 = 2;
    pub const LZF: u8 = 3;
}

/// What a node of a quicklist is.
pub mod container {
    #![allow(missing_docs)]
    pub const PLAIN: u64 = 1;
    pub const PACKED: u64 = 2;
}

/// What follows in data of a module.
pub mod module {
    #![allow(missing_docs)]
    /// The characters of a module's name, six bits each.
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    /// The name in a module's id: nine characters above ten bits of a version.
    pub fn name(id: u64) -> String {
        (0..9).map(|place| char::from(LETTERS[(id >> (58 - 6 * place) & 63) as usize])).collect()
    }

    pub const EOF: u64 = 0;
    pub const SINT: u64 = 1;
    pub const UINT: u64 = 2;
    pub const FLOAT: u64 = 3;
    pub const DOUBLE: u64 = 4;
    pub const STRING: u64 = 5;
}
