//! The client's errors: an enum whose `Display` is the exact wire text, without the leading `-`.
//!
//! The first word is the code that clients branch on and that INFO errorstats counts.

use std::borrow::Cow;
use std::fmt;

/// Why a command was refused. A handler that returns one has changed nothing and written nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The key holds another type.
    WrongType,
    /// Options that do not parse.
    Syntax,
    /// An argument that should be a 64-bit integer.
    NotInteger,
    /// An argument that should be a double.
    NotFloat,
    /// A key that must exist does not.
    NoSuchKey,
    /// An index outside the collection.
    OutOfRangeIndex,
    /// A timeout that is no number.
    BadTimeout,
    /// A timeout below zero.
    NegativeTimeout,
    /// An expire time outside the representable range, for the named command.
    InvalidExpire(&'static str),
    /// Wrong number of arguments for the named command.
    Arity(String),
    /// Any other text, code included.
    Text(Cow<'static, str>),
}

/// What a handler returns: the reply is written, or there is an error to send instead.
pub type Outcome = Result<(), Error>;

impl Error {
    /// An error whose text is made at run time, code included.
    pub fn new(text: impl Into<String>) -> Error {
        Error::Text(Cow::Owned(text.into()))
    }

    /// "ERR unknown subcommand …" as containers answer.
    pub fn unknown_subcommand(container: &str, given: &[u8]) -> Error {
        let shown = String::from_utf8_lossy(&given[..given.len().min(128)]).into_owned();
        Error::new(format!("ERR unknown subcommand '{shown}'. Try {} HELP.", container.to_uppercase()))
    }

    /// "ERR unknown subcommand or wrong number …": a sub-command that takes no such arguments. `full_name`
    /// is "container|name", `given` the name as it was sent.
    pub fn subcommand_syntax(full_name: &str, given: &[u8]) -> Error {
        let container = full_name.split('|').next().unwrap_or_default().to_uppercase();
        let shown = String::from_utf8_lossy(&given[..given.len().min(128)]).into_owned();
        Error::new(format!("ERR unknown subcommand or wrong number of arguments for '{shown}'. Try {container} HELP."))
    }
}

impl From<&'static str> for Error {
    fn from(text: &'static str) -> Error {
        Error::Text(Cow::Borrowed(text))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Error::Syntax => "ERR syntax error",
            Error::NotInteger => "ERR value is not an integer or out of range",
            Error::NotFloat => "ERR value is not a valid float",
            Error::NoSuchKey => "ERR no such key",
            Error::OutOfRangeIndex => "ERR index out of range",
            Error::BadTimeout => "ERR timeout is not a float or out of range",
            Error::NegativeTimeout => "ERR timeout is negative",
            Error::InvalidExpire(command) => return write!(f, "ERR invalid expire time in '{command}' command"),
            Error::Arity(command) => return write!(f, "ERR wrong number of arguments for '{command}' command"),
            Error::Text(text) => text,
        })
    }
}
