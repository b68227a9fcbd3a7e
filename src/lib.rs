//! Haversack: a Redis-compatible server as a value, and two homes for it.
//!
//! Layers point one way only: `native | wasm → engine → resp, rdb → types`.
//!
//! - [`types`]: data structures that know no reply, no key and no client.
//! - [`resp`]: the wire protocol, total functions between bytes and values.
//! - [`rdb`]: the snapshot format, total functions between bytes and values.
//! - [`engine`]: all of Redis that does no I/O. Bytes and times go in; bytes come out.
//! - `native`: the tokio server. `wasm`: the browser. Both are shovels around the engine.

pub mod engine;
#[cfg(feature = "native")]
pub mod native;
pub mod rdb;
pub mod resp;
pub mod types;
#[cfg(any(feature = "wasm", test))]
pub mod wasm;
