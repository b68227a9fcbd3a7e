//! RESP2 and RESP3: the decoder of requests, the encoder of replies, and a reader of replies.
//!
//! Total functions between bytes and values: any input gives a value, "not yet" or a named error, and
//! every length read from the wire has a limit. Nothing here knows a command, a key or a client.
//!
//! - [`decode`]: requests. Arguments are slices of the caller's read buffer ([`Args`]).
//! - [`encode`]: replies, written straight into an output buffer ([`Reply`]).
//! - [`value`]: replies as values ([`Value`]), for those who read them.
//!
//! Counterpart: networking.c and resp_parser.c in Redis.

pub mod args;
pub mod decode;
pub mod encode;
pub mod value;

pub use args::{Args, OwnedArgs, Span};
pub use decode::{Decoder, Limits, ProtocolError, Step};
pub use encode::{Mark, Reply, encode_command};
pub use value::Value;

/// The version of the protocol a client speaks (HELLO).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// The version every connection starts with.
    #[default]
    Resp2,
    /// Typed replies and pushes.
    Resp3,
}
