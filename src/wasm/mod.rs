//! The browser front end: the engine in a tab or worker, its log in IndexedDB.
//!
//! A shovel around the engine, like `native`: bytes of connections and times go in; what comes out is
//! stored, then sent. There are no sockets: a connection is a number, and whoever holds it gives and
//! takes RESP bytes. There are no threads: everything runs between two turns of the page's event loop.
//!
//! - [`server`]: what JavaScript sees. [`home`]: the loop around one engine. [`held`]: replies that
//!   wait for storage. [`clock`]: times, timers.
//! - [`record`]: the records in IndexedDB and their chain, as pure functions. [`idb`]: promises over IndexedDB.
//! - [`store`]: the log's way to storage. [`compact`]: a new base. [`open`]: loading. [`import`]: a `dump.rdb` in place
//!   of all data. [`export`]: all data as one. [`status`]: how it is.
//! - [`memory`]: the counting allocator. [`failure`]: what the browser refuses, and what stopped the engine.

#[cfg(feature = "wasm")]
mod clock;
#[cfg(feature = "wasm")]
mod compact;
#[cfg(feature = "wasm")]
mod export;
#[cfg(feature = "wasm")]
mod failure;
pub mod held;
#[cfg(feature = "wasm")]
mod home;
#[cfg(feature = "wasm")]
mod idb;
#[cfg(feature = "wasm")]
mod import;
#[cfg(all(feature = "wasm", target_arch = "wasm32"))]
mod memory;
#[cfg(feature = "wasm")]
mod open;
pub mod record;
#[cfg(feature = "wasm")]
pub mod server;
#[cfg(feature = "wasm")]
mod status;
#[cfg(feature = "wasm")]
mod store;
