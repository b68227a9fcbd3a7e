//! What sockets have brought in this turn and the engine has not got yet.
//!
//! A client that sends one request at a time makes the engine wait for memory with each of them: for the bucket of
//! the key, then for the key. So requests of several clients are read first, the memory they will look at is asked
//! for, and then they run: SET without a pipeline waited for memory for 7 % of its time. A client with a pipeline
//! fills the box alone. Redis' counterpart: `memory_prefetch.c` of Valkey, there for io threads only.
//!
//! Invariant: receipts lie one behind the other in the buffer, up to `end`.

use crate::engine::Engine;
use crate::engine::batch::{Parsed, Reader, Receipt};
use crate::engine::client::ClientId;
use crate::engine::time::Now;

/// One read takes at most so many bytes.
pub const READ_BYTES: usize = 64 * 1024;

/// Requests that are enough to be run.
const ENOUGH: u32 = 16;

/// What has been read and not run.
pub struct Inbox {
    buffer: Box<[u8]>,
    end: usize,
    parsed: Parsed,
    receipts: Vec<Receipt>,
}

impl Default for Inbox {
    fn default() -> Inbox {
        let buffer = vec![0; 2 * READ_BYTES].into();
        Inbox { buffer, end: 0, parsed: Parsed::default(), receipts: Vec::new() }
    }
}

impl Inbox {
    /// Where the next read goes.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.end..][..READ_BYTES]
    }

    /// Whether it is to be emptied before anything else is read.
    pub fn is_full(&self) -> bool {
        let requests = self.receipts.last().map_or(0, |last| last.requests.end);
        requests >= ENOUGH || self.end > READ_BYTES
    }

    /// A client has sent the first `bytes` of the room.
    pub fn receive(&mut self, client: ClientId, bytes: usize, reader: Reader) {
        let bytes = self.end..self.end + bytes;
        let requests = reader.read(&self.buffer[bytes.clone()], &mut self.parsed);
        self.end = bytes.end;
        self.receipts.push(Receipt { client, bytes, requests });
    }

    /// Hands everything to the engine.
    pub fn empty(&mut self, engine: &mut Engine, now: Now) {
        if self.receipts.len() > 1 {
            engine.fetch(&self.buffer, &self.receipts, &mut self.parsed);
        }
        for Receipt { client, bytes, requests } in self.receipts.drain(..) {
            engine.receive_parsed(now, client, &self.buffer[bytes], &mut self.parsed, requests);
        }
        self.parsed.clear();
        self.end = 0;
    }
}
