//! Requests that stand complete one behind the other in what a client has sent.
//!
//! They are read together before the first of them runs, so that the keys they name are on their way from
//! memory to the cache meanwhile: a lookup in a keyspace larger than the cache waits twice for memory, once
//! for the bucket and once for the entry, and with 16 requests in a pipeline these waits overlap. Measured
//! with 10 million keys; see `tests/bench/results.md`.
//!
//! Only requests in their usual form ([`usual_command`]); whatever else comes is the decoder's. Nothing here
//! decides anything: a request that is not in a batch runs just the same. Redis' counterpart:
//! `memory_prefetch.c` of Valkey.

use crate::resp::Args;
use crate::resp::args::Span;
use crate::resp::decode::usual_command;

use super::commands;
use super::keyspace::Keyspace;

/// Requests read ahead at most.
const MOST: usize = 16;

/// One request.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// Where its arguments are in `spans`.
    spans: (u32, u32),
    /// Where the next request begins.
    end: usize,
    /// Its row, if it is the name of one without sub-commands.
    command: Option<u16>,
    /// The hash of its first key.
    hash: Option<u64>,
}

/// Requests that have been read and not run.
#[derive(Debug, Default)]
pub(super) struct Batch {
    spans: Vec<Span>,
    requests: Vec<Request>,
    next: usize,
}

/// A request that is to run now.
pub(super) struct Next<'a> {
    /// Its arguments.
    pub args: Args<'a>,
    /// Where the next request begins.
    pub end: usize,
    /// Its row, where that is known already.
    pub command: Option<u16>,
    /// The hash of its first key, where that is known already.
    pub hash: Option<u64>,
}

impl Batch {
    /// Forgets what has not run.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.requests.clear();
        self.next = 0;
    }

    /// Reads the requests from `at` on, if none are left. `renamed`: names do not mean what they mean to
    /// everybody.
    pub fn read(&mut self, bytes: &[u8], mut at: usize, keys: &Keyspace, db: usize, renamed: bool) {
        if self.next < self.requests.len() {
            return;
        }
        self.clear();
        while self.requests.len() < MOST {
            let first = self.spans.len();
            let Some(end) = usual_command(bytes, at, &mut self.spans) else { break };
            let args = Args::new(bytes, &self.spans[first..]);
            let command = if renamed { None } else { commands::table().find(args.at(0)) };
            let spans = (first as u32, self.spans.len() as u32);
            self.requests.push(Request { spans, end, command, hash: None });
            at = end;
        }
        if self.requests.len() > 1 {
            self.fetch(bytes, keys, db);
        }
    }

    /// Asks for the memory that the requests will look at.
    fn fetch(&mut self, bytes: &[u8], keys: &Keyspace, db: usize) {
        for request in &mut self.requests {
            let spans = &self.spans[request.spans.0 as usize..request.spans.1 as usize];
            let Some(command) = request.command else { continue };
            if commands::table().row(command).first_key() == Some(1)
                && let Some(key) = Args::new(bytes, spans).get(1)
            {
                let hash = keys.hash(key);
                keys.dbs[db].table.prefetch(hash);
                request.hash = Some(hash);
            }
        }
        for hash in self.requests.iter().filter_map(|request| request.hash) {
            if let Some(entry) = keys.dbs[db].table.candidate(hash) {
                entry.prefetch();
            }
        }
    }

    /// The next request; `bytes` are those it was read from.
    #[inline]
    pub fn next<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Next<'a>> {
        let request = self.requests.get(self.next)?;
        self.next += 1;
        let args = Args::new(bytes, &self.spans[request.spans.0 as usize..request.spans.1 as usize]);
        Some(Next { args, end: request.end, command: request.command, hash: request.hash })
    }
}
