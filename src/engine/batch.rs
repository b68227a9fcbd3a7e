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
use crate::types::sought::Sought;
use crate::types::table::{Table, hash_bytes};

use super::client::ClientId;
use super::commands;
use super::entry::Entry;
use super::keyspace::{KEYS_AHEAD, Keyspace};
use super::spec::Spec;

/// Requests read ahead at most.
const MOST: usize = 16;

/// Requests that another thread reads at most of what a client has sent at once.
const MOST_READ: usize = 256;

/// A keyspace of no more keys is in the cache anyway: LPUSH to one list runs 1.02 times as fast without asking for it.
const FEW_KEYS: usize = 1000;

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

impl Request {
    #[inline]
    fn is_plain(&self) -> bool {
        self.row.is_some_and(|(spec, _)| spec.is_plain())
    }
}

/// A key.
#[derive(Clone, Copy, Debug)]
struct Hashed {
    /// Which of the spans it is.
    span: u32,
    hash: u64,
}

/// Requests that have been read and not run.
#[derive(Debug, Default)]
pub(super) struct Batch {
    spans: Vec<Span>,
    requests: Vec<Request>,
    hashed: Vec<Hashed>,
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
    /// The memory that the requests before this one look at is on its way.
    fetched: usize,
}

/// What one client has sent: a part of the bytes that a [`Parsed`] was read from.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Who.
    pub client: ClientId,
    /// Where.
    pub bytes: Range<usize>,
    /// The requests that these bytes begin with.
    pub requests: Range<u32>,
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
        (self.batch.given, self.fetched) = ((0, 0, 0), 0);
        self.batch.clear();
        self.batch.spans.shrink_to(16 * MOST_READ);
        self.batch.requests.shrink_to(4 * MOST_READ);
        self.batch.hashed.shrink_to(4 * MOST_READ);
    }

    /// Those that are to run now; none if the keyspace has been replaced by one with another seed.
    pub(super) fn select(&mut self, requests: Range<u32>, seed: u64) -> &mut Batch {
        let first = if self.seed == seed { requests.start } else { requests.end };
        self.batch.select(first as usize..requests.end as usize);
        self.batch.fetched = self.batch.next.max(self.batch.until.min(self.fetched));
        &mut self.batch
    }

    /// Asks for the memory that the requests of several clients will look at, in the order of the requests'
    /// numbers; those before have been dealt with. How many keys. `db_of`: the selected db.
    pub(super) fn fetch(
        &mut self,
        bytes: &[u8],
        receipts: &[Receipt],
        keys: &Keyspace,
        db_of: impl Fn(ClientId) -> Option<usize>,
    ) -> usize {
        if self.seed != keys.seed() {
            return 0;
        }
        let all = || {
            let known = receipts.iter().filter_map(|it| Some((it, &keys.dbs[db_of(it.client)?].table)));
            known.map(|(it, table)| {
                (it.requests.start as usize..it.requests.end as usize, &bytes[it.bytes.clone()], table)
            })
        };
        let count = self.batch.fetch_all(all);
        self.fetched = receipts.last().map_or(self.fetched, |last| last.requests.end as usize);
        count
    }
}

/// Requests, the bytes they were read from and the keys they are about.
type Stretch<'a> = (Range<usize>, &'a [u8], &'a Table<Entry>);

/// Takes each of these a step further, then each of those that are not there yet another one, until all are: a step
/// waits for the memory that the one before has asked for.
#[inline]
fn in_steps<T>(mut all: Vec<T>, step: impl Fn(T) -> Option<T>) {
    while !all.is_empty() {
        // In place, without another allocation.
        all = all.into_iter().filter_map(&step).collect();
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
    hashed: &'a [Hashed],
}

impl<'a> Next<'a> {
    /// Keys whose hashes are known already, in the order they stand in the request.
    pub fn hashed(&self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], u64)> {
        self.hashed.iter().map(move |key| {
            let span = self.spans[key.span as usize];
            (&bytes[span.start..span.end], key.hash)
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
            request.hashed = (first, first);
            let Some((key, step)) = request.row.and_then(|(spec, _)| spec.key_steps()) else { continue };
            let mut hash = |span: u32| {
                let Span { start, end } = self.spans[span as usize];
                self.hashed.push(Hashed { span, hash: hash_bytes(seed, &bytes[start..end]) });
            };
            let (key_at, end) = (request.spans.0 + key, request.spans.1);
            // Of a request of many keys the first are enough to have something to go on with.
            match step {
                0 if key_at < end => hash(key_at),
                0 => {}
                _ => (key_at..end).step_by(step as usize).take(KEYS_AHEAD).for_each(hash),
            }
            request.hashed = (first, self.hashed.len() as u32);
        }
    }

    /// Asks for the memory that the next requests will look at. How many keys.
    fn fetch(&mut self, bytes: &[u8], keys: &Keyspace, db: usize) -> usize {
        let (requests, table) = (self.next..self.fetched, &keys.dbs[db].table);
        self.fetch_all(|| std::iter::once((requests.clone(), bytes, table)))
    }

    /// Asks for the memory that all these requests will look at. How many keys it has asked for.
    fn fetch_all<'a, I: Iterator<Item = Stretch<'a>>>(&self, all: impl Fn() -> I) -> usize {
        let count = all().map(|(requests, ..)| self.hashed_of(requests).len()).sum();
        if count == 0 {
            return 0;
        }
        let keys_too = all().any(|(.., table)| table.len() > FEW_KEYS);
        if keys_too {
            let mut keys = Vec::with_capacity(count);
            for (requests, _, table) in all() {
                keys.extend(self.hashed_of(requests).iter().filter_map(|key| table.spot(key.hash)));
            }
            in_steps(keys, |spot| spot.approach(Entry::prefetch));
        }
        let mut elements = Vec::with_capacity(count);
        for (requests, bytes, table) in all() {
            elements.extend(self.requests[requests].iter().filter_map(|request| self.element(request, bytes, table)));
        }
        in_steps(elements, Sought::approach);
        if keys_too { count } else { 0 }
    }

    /// All keys of these requests, which have been hashed one behind the other.
    fn hashed_of(&self, requests: Range<usize>) -> &[Hashed] {
        let hashed = match &self.requests[requests] {
            [first, .., last] => first.hashed.0..last.hashed.1,
            [only] => only.hashed.0..only.hashed.1,
            [] => 0..0,
        };
        &self.hashed[hashed.start as usize..hashed.end as usize]
    }

    /// The first element that a request names of a large collection.
    fn element<'a>(&self, request: &Request, bytes: &[u8], table: &'a Table<Entry>) -> Option<Sought<'a>> {
        let at = request.row.and_then(|(spec, _)| spec.element_at())?;
        let Span { start, end } = *self.spans[request.spans.0 as usize..request.spans.1 as usize].get(at)?;
        let key = self.hashed[request.hashed.0 as usize..request.hashed.1 as usize].first()?;
        table.candidate(key.hash)?.seek(&bytes[start..end])
    }

    /// The next request; `bytes` are those it was read from.
    #[inline]
    pub fn next<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Next<'a>> {
        let request = self.requests[..self.until].get(self.next)?;
        self.next += 1;
        Some(self.stretch(request, bytes))
    }

    /// Whether the next request has its keys on their way, and its command is a plain one ([`Spec::is_plain`]).
    pub fn is_plain(&self) -> bool {
        self.requests[..self.fetched].get(self.next).is_some_and(Request::is_plain)
    }

    /// The next request, if it is such a one.
    #[inline]
    pub fn next_plain<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Next<'a>> {
        let request = self.requests[..self.fetched].get(self.next).filter(|request| request.is_plain())?;
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
