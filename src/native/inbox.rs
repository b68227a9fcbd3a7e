//! What sockets have brought in this turn and the engine has not got yet.
//!
//! A client that sends one request at a time makes the engine wait for memory with each of them: for the bucket of
//! the key, then for the key. So requests of several clients are read first, the memory they will look at is asked
//! for, and then they run: SET without a pipeline waited for memory for 7 % of its time. A client with a pipeline
//! fills the box alone. Redis' counterpart: `memory_prefetch.c` of Valkey, there for io threads only.
//!
//! Invariant: receipts lie one behind the other in the buffer, up to `end`. The buffer is there when it is wanted.

use crate::engine::Engine;
use crate::engine::batch::{Parsed, Reader, Receipt};
use crate::engine::client::ClientId;
use crate::engine::time::Now;

/// Each read has room for so many bytes, the first in an empty box for twice as many. That is more than sixteen requests
/// with values of 4 KiB, which are a little more than 64 KiB: read in two pieces they were also answered in two, and SET
/// of them ran at 0.84 of the speed.
pub const READ_BYTES: usize = 64 * 1024;

/// And for so many, until a client has sent so much at once.
const FEW_BYTES: usize = 8 * 1024;

/// Requests that are enough to be run.
const ENOUGH: u32 = 16;

/// What has been read and not run.
#[derive(Default)]
pub struct Inbox {
    buffer: Box<[u8]>,
    end: usize,
    parsed: Parsed,
    receipts: Vec<Receipt>,
}

impl Inbox {
    /// Where the next read goes.
    pub fn room(&mut self) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = vec![0; 2 * FEW_BYTES].into();
        }
        &mut self.buffer[self.end..]
    }

    /// Whether it is to be emptied before anything else is read.
    pub fn is_full(&self) -> bool {
        let requests = self.receipts.last().map_or(0, |last| last.requests.end);
        requests >= ENOUGH || self.end > self.reach()
    }

    /// How much the next read is to have room for.
    fn reach(&self) -> usize {
        self.buffer.len() / 2
    }

    /// Keeps no memory for what may come, if nothing is there.
    pub fn rest(&mut self) {
        if self.receipts.is_empty() {
            *self = Inbox::default();
        }
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
        if self.end >= FEW_BYTES && self.reach() == FEW_BYTES {
            self.buffer = vec![0; 2 * READ_BYTES].into();
        }
        self.end = 0;
    }
}
