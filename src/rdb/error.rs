//! Why bytes are not a snapshot that can be loaded: what, where, and at which key.

use std::borrow::Cow;
use std::fmt;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RdbErrorKind {
    /// The bytes end in the middle of something.
    Truncated,
    /// The file does not begin as RDB files do.
    Magic,
    /// A version that is not read here.
    Version(String),
    /// The bytes do not have the checksum that they claim.
    Checksum {
        /// What the snapshot says.
        stored: u64,
        /// What its bytes give.
        computed: u64,
    },
    /// A byte that is neither an opcode nor a type.
    UnknownType(u8),
    /// A type that exists and cannot be loaded: its number and its name.
    Unsupported(u8, Cow<'static, str>),
    /// Bytes that break the rules of what they claim to be.
    Malformed(&'static str),
    /// A length that no memory of this machine can hold.
    TooLong(u64),
    /// The receiver does not want it, for this reason.
    Refused(String),
}

/// Why a snapshot or a payload cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RdbError {
    /// What is wrong.
    pub kind: RdbErrorKind,
    /// Bytes before the place that is wrong.
    pub offset: u64,
    /// The key whose value is wrong, if it is one.
    pub key: Option<Box<[u8]>>,
}

impl fmt::Display for RdbErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RdbErrorKind::Truncated => f.write_str("unexpected end of data"),
            RdbErrorKind::Magic => f.write_str("wrong signature, this is no RDB file"),
            RdbErrorKind::Version(version) => write!(f, "can't handle RDB format version {version}"),
            RdbErrorKind::Checksum { stored, computed } => {
                write!(f, "RDB CRC error: wrong checksum: expected {stored:016x}, the data has {computed:016x}")
            }
            RdbErrorKind::UnknownType(byte) => write!(f, "unknown opcode or type {byte}"),
            RdbErrorKind::Unsupported(kind, name) => {
                write!(f, "stored with type {kind} ({name}), which this version cannot load")
            }
            RdbErrorKind::Malformed(what) => f.write_str(what),
            RdbErrorKind::TooLong(len) => write!(f, "length {len} is too large"),
            RdbErrorKind::Refused(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            // Keys may be long: their beginning is enough to find them.
            let shown = &key[..key.len().min(128)];
            write!(f, "key '{}': ", shown.escape_ascii())?;
        }
        write!(f, "{} at offset {}", self.kind, self.offset)
    }
}

impl std::error::Error for RdbErrorKind {}
impl std::error::Error for RdbError {}
