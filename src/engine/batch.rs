//! Requests that stand complete one behind the other in what a client has sent.
//!
//! They are read together before the first of them runs, so that the keys they name are on their way from
//! memory to the cache meanwhile: a lookup in a keyspace larger than the cache waits twice for memory, once
//! for the bucket and once for the entry, and with 16 requests in a pipeline these waits overlap. With 100 thousand
//! keys GET went from about the speed of Valkey's to twice that at 64 requests in a pipeline, MGET of 10 as well.
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

/// Keys of one request that are fetched ahead at most.
const KEYS_AHEAD: usize = 16;

/// One request.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// Where its arguments are in `spans`.
    spans: (u32, u32),
    /// Where the next request begins.
    end: usize,
    /// Its row, if it is the name of one without sub-commands.
    command: Option<u16>,
    /// Where the hashes of its keys are in `hashed`.
    hashed: (u32, u32),
}

/// Requests that have been read and not run.
#[derive(Debug, Default)]
pub(super) struct Batch {
    spans: Vec<Span>,
    requests: Vec<Request>,
    /// Keys as numbers of spans, with their hashes.
    hashed: Vec<(u32, u64)>,
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
    spans: &'a [Span],
    hashed: &'a [(u32, u64)],
}

impl<'a> Next<'a> {
    /// Keys whose hashes are known already, in the order they stand in the request.
    pub fn hashed(&self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], u64)> {
        self.hashed.iter().map(move |(span, hash)| {
            let span = self.spans[*span as usize];
            (&bytes[span.start..span.end], *hash)
        })
    }
}

impl Batch {
    /// Forgets what has not run.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.requests.clear();
        self.hashed.clear();
        self.next = 0;
    }

    /// Reads the requests from `at` on, if none are left. `renamed`: names do not mean what they mean to
    /// everybody. How many keys it asked memory for.
    pub fn read(&mut self, bytes: &[u8], mut at: usize, keys: &Keyspace, db: usize, renamed: bool) -> usize {
        if self.next < self.requests.len() {
            return 0;
        }
        self.clear();
        while self.requests.len() < MOST {
            let first = self.spans.len();
            let Some(end) = usual_command(bytes, at, &mut self.spans) else { break };
            let args = Args::new(bytes, &self.spans[first..]);
            let command = if renamed { None } else { commands::table().find(args.at(0)) };
            let spans = (first as u32, self.spans.len() as u32);
            self.requests.push(Request { spans, end, command, hashed: (0, 0) });
            at = end;
        }
        if self.requests.len() > 1 {
            self.fetch(bytes, keys, db);
        }
        self.hashed.len()
    }

    /// Asks for the memory that the requests will look at.
    fn fetch(&mut self, bytes: &[u8], keys: &Keyspace, db: usize) {
        for request in &mut self.requests {
            let first = self.hashed.len() as u32;
            let Some((key, step)) = request.command.and_then(|command| commands::table().row(command).key_steps())
            else {
                continue;
            };
            // Of a request of many keys the first are enough to have something to go on with.
            let keys_at = (request.spans.0 + key..request.spans.1).step_by(step.max(1) as usize);
            for span in keys_at.take(if step == 0 { 1 } else { KEYS_AHEAD }) {
                let Span { start, end } = self.spans[span as usize];
                let hash = keys.hash(&bytes[start..end]);
                keys.dbs[db].table.prefetch(hash);
                self.hashed.push((span, hash));
            }
            request.hashed = (first, self.hashed.len() as u32);
        }
        for (_, hash) in &self.hashed {
            if let Some(entry) = keys.dbs[db].table.candidate(*hash) {
                entry.prefetch();
            }
        }
        self.fetch_elements(bytes, keys, db);
    }

    /// The same within large collections, for the first element that each request names.
    fn fetch_elements(&self, bytes: &[u8], keys: &Keyspace, db: usize) {
        let mut found = [const { None }; MOST];
        for (request, found) in self.requests.iter().zip(&mut found) {
            let Some(element_at) = request.command.and_then(|command| commands::table().row(command).element_at())
            else {
                continue;
            };
            let spans = &self.spans[request.spans.0 as usize..request.spans.1 as usize];
            let keys_of = &self.hashed[request.hashed.0 as usize..request.hashed.1 as usize];
            if let Some((_, hash)) = keys_of.first()
                && let Some(Span { start, end }) = spans.get(element_at)
                && let Some(entry) = keys.dbs[db].table.candidate(*hash)
            {
                *found = entry.fetch_place(&bytes[*start..*end]).map(|hash| (entry, hash));
            }
        }
        for (entry, hash) in found.iter().flatten() {
            entry.fetch_found(*hash);
        }
    }

    /// The next request; `bytes` are those it was read from.
    #[inline]
    pub fn next<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Next<'a>> {
        let request = self.requests.get(self.next)?;
        self.next += 1;
        let args = Args::new(bytes, &self.spans[request.spans.0 as usize..request.spans.1 as usize]);
        let hashed = &self.hashed[request.hashed.0 as usize..request.hashed.1 as usize];
        Some(Next { args, end: request.end, command: request.command, spans: &self.spans, hashed })
    }
}
