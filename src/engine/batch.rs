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

use std::ops::Range;

use crate::resp::Args;
use crate::resp::args::Span;
use crate::resp::decode::usual_command;
use crate::types::table::{Table, hash_bytes};

use super::commands;
use super::entry::Entry;
use super::keyspace::{KEYS_AHEAD, Keyspace};
use super::spec::Spec;

/// Requests read ahead at most.
const MOST: usize = 16;

/// Requests that another thread reads at most of what a client has sent at once.
const MOST_READ: usize = 1024;

/// One request.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// Where its arguments are in `spans`.
    spans: (u32, u32),
    /// Where the next request begins.
    end: usize,
    /// Its row and that row's number, if it has the name of one.
    row: Option<(&'static Spec, u16)>,
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
    /// Where those end that are to run now.
    until: usize,
    /// Where those end whose keys are on their way.
    fetched: usize,
    /// How many requests, spans and hashes somebody else has put here: see [`Parsed`].
    given: (usize, usize, usize),
}

/// Reads requests where there is no engine: what another thread needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    pub(super) seed: u64,
    /// Names do not mean what they mean to everybody.
    pub(super) renamed: bool,
}

/// Requests of any number of clients that a [`Reader`] has read.
#[derive(Debug, Default)]
pub struct Parsed {
    pub(super) batch: Batch,
    /// Keys have been hashed with it.
    seed: u64,
}

impl Reader {
    /// Reads the requests that `bytes` begin with, and says which numbers they have in `parsed`. What it does
    /// not read stays for the engine to read. All that `parsed` holds must come from the same reader.
    pub fn read(&self, bytes: &[u8], parsed: &mut Parsed) -> Range<u32> {
        parsed.seed = self.seed;
        let batch = &mut parsed.batch;
        let first = batch.requests.len();
        batch.parse(bytes, 0, MOST_READ, self.renamed);
        batch.hash(bytes, first, self.seed);
        batch.given = (batch.requests.len(), batch.spans.len(), batch.hashed.len());
        first as u32..batch.requests.len() as u32
    }
}

impl Parsed {
    /// Forgets all requests and keeps the memory, unless it is a lot.
    pub fn clear(&mut self) {
        self.batch.given = (0, 0, 0);
        self.batch.clear();
        self.batch.spans.shrink_to(16 * MOST_READ);
        self.batch.requests.shrink_to(4 * MOST_READ);
        self.batch.hashed.shrink_to(4 * MOST_READ);
    }

    /// Those that are to run now; none if the keyspace has been replaced by one with another seed.
    pub(super) fn select(&mut self, requests: Range<u32>, seed: u64) -> &mut Batch {
        let first = if self.seed == seed { requests.start } else { requests.end };
        self.batch.select(first as usize..requests.end as usize);
        &mut self.batch
    }
}

/// A request that is to run now.
pub(super) struct Next<'a> {
    /// Its arguments.
    pub args: Args<'a>,
    /// Where the next request begins.
    pub end: usize,
    /// Its row and that row's number, where they are known already.
    pub row: Option<(&'static Spec, u16)>,
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
    /// Forgets what it has read itself.
    pub fn clear(&mut self) {
        let (requests, spans, hashed) = self.given;
        self.requests.truncate(requests);
        self.spans.truncate(spans);
        self.hashed.truncate(hashed);
        self.select(requests..requests);
    }

    /// Only these requests are to run now.
    pub fn select(&mut self, requests: Range<usize>) {
        (self.next, self.until, self.fetched) = (requests.start, requests.end, requests.start);
    }

    /// Those not run are to be read again, by whoever comes to them.
    pub fn skip(&mut self) {
        self.select(self.until..self.until);
    }

    /// Reads the requests from `at` on, if none are left. `renamed`: names do not mean what they mean to
    /// everybody. How many keys it asked memory for.
    pub fn read(&mut self, bytes: &[u8], at: usize, keys: &Keyspace, db: usize, renamed: bool) -> usize {
        if self.next < self.fetched {
            return 0;
        }
        if self.next == self.until {
            self.clear();
            self.parse(bytes, at, MOST, renamed);
            self.until = self.requests.len();
            if self.until - self.next > 1 {
                self.hash(bytes, self.next, keys.seed());
            }
        }
        self.fetched = self.until.min(self.next + MOST);
        if self.fetched - self.next > 1 { self.fetch(bytes, keys, db) } else { 0 }
    }

    fn parse(&mut self, bytes: &[u8], mut at: usize, most: usize, renamed: bool) {
        let (table, most) = (commands::table(), self.requests.len() + most);
        while self.requests.len() < most {
            let first = self.spans.len();
            let Some(end) = usual_command(bytes, at, &mut self.spans) else { break };
            let args = Args::new(bytes, &self.spans[first..]);
            let command = if renamed { None } else { table.find(args.at(0)) };
            let row = command.map(|command| (table.row(command), command));
            let spans = (first as u32, self.spans.len() as u32);
            self.requests.push(Request { spans, end, row, hashed: (0, 0) });
            at = end;
        }
    }

    /// Finds the keys of the requests from `first` on.
    fn hash(&mut self, bytes: &[u8], first: usize, seed: u64) {
        for request in &mut self.requests[first..] {
            let first = self.hashed.len() as u32;
            let Some((key, step)) = request.row.and_then(|(spec, _)| spec.key_steps()) else { continue };
            // Of a request of many keys the first are enough to have something to go on with.
            let keys_at = (request.spans.0 + key..request.spans.1).step_by(step.max(1) as usize);
            for span in keys_at.take(if step == 0 { 1 } else { KEYS_AHEAD }) {
                let Span { start, end } = self.spans[span as usize];
                self.hashed.push((span, hash_bytes(seed, &bytes[start..end])));
            }
            request.hashed = (first, self.hashed.len() as u32);
        }
    }

    /// Asks for the memory that the requests will look at: places, keys, and within large collections the place
    /// and the element. How many keys.
    fn fetch(&mut self, bytes: &[u8], keys: &Keyspace, db: usize) -> usize {
        let requests = &self.requests[self.next..self.fetched];
        let hashed = || requests.iter().flat_map(|it| &self.hashed[it.hashed.0 as usize..it.hashed.1 as usize]);
        let table = &keys.dbs[db].table;
        hashed().for_each(|(_, hash)| table.prefetch(*hash));
        let entries = hashed().filter_map(|(_, hash)| table.candidate(*hash));
        entries.for_each(|entry| entry.prefetch());
        self.fetch_elements(bytes, table);
        hashed().count()
    }

    /// Only the first element that each request names.
    fn fetch_elements(&self, bytes: &[u8], table: &Table<Entry>) {
        let mut found = [const { None }; MOST];
        for (request, found) in self.requests[self.next..self.fetched].iter().zip(&mut found) {
            let Some(element_at) = request.row.and_then(|(spec, _)| spec.element_at()) else { continue };
            let spans = &self.spans[request.spans.0 as usize..request.spans.1 as usize];
            let keys_of = &self.hashed[request.hashed.0 as usize..request.hashed.1 as usize];
            if let Some((_, hash)) = keys_of.first()
                && let Some(Span { start, end }) = spans.get(element_at)
                && let Some(entry) = table.candidate(*hash)
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
        let request = self.requests[..self.until].get(self.next)?;
        self.next += 1;
        Some(self.stretch(request, bytes))
    }

    /// The next request, if its keys are on their way and its command is a plain one.
    #[inline]
    pub fn next_plain<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Next<'a>> {
        let request = self.requests[..self.fetched].get(self.next)?;
        request.row.filter(|(spec, _)| spec.is_plain())?;
        self.next += 1;
        Some(self.stretch(request, bytes))
    }

    #[inline]
    fn stretch<'a>(&'a self, request: &'a Request, bytes: &'a [u8]) -> Next<'a> {
        let args = Args::new(bytes, &self.spans[request.spans.0 as usize..request.spans.1 as usize]);
        let hashed = &self.hashed[request.hashed.0 as usize..request.hashed.1 as usize];
        Next { args, end: request.end, row: request.row, spans: &self.spans, hashed }
    }
}
