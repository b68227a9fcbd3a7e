//! The log's way into IndexedDB: what the engine appends waits in a tail, is sealed into chunks, and each
//! chunk is kept until a transaction with it has completed.
//!
//! This is the state and its decisions; the transactions themselves are at the end of the file. Invariants:
//! chunks are sealed in the order of the stream; `stored` only passes a chunk once all before it are
//! stored; a chunk that failed is put again, under the same key, so doing it twice does no harm.
//! Redis' counterpart: `flushAppendOnlyFile`.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::{Function, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{IdbDatabase, IdbTransaction};

use crate::engine::config::AppendFsync;
use crate::engine::time::{MonoTime, Now};

use super::compact::Compaction;
use super::failure::{Failure, FailureKind};
use super::home::Home;
use super::idb::{self, Durability};
use super::record::{Chain, Manifest};

/// A tail of so many bytes is stored at once.
const FLUSH_BYTES: usize = 256 << 10;
/// The same where nothing is stored without being asked for: it bounds the memory that waits.
const FLUSH_BYTES_UNASKED: usize = 16 << 20;
/// Payloads are at most this large.
const CHUNK_BYTES: usize = 1 << 20;
/// The log is idle when nothing has been appended for so long.
const IDLE_MS: u64 = 20;
/// Nothing waits longer than this.
const PATIENCE_MS: u64 = 1000;
/// The first and the last pause before storing is tried again.
const RETRY_MS: (u64, u64) = (100, 30_000);

/// A sealed chunk that is not known to be stored.
struct Chunk {
    generation: u64,
    sequence: u64,
    /// Offset of its first byte, and what it names as its predecessor.
    first_offset: u64,
    previous: u32,
    record: Uint8Array,
    /// Offset behind its last byte.
    end: u64,
    /// A transaction with it is under way.
    sent: bool,
    stored: bool,
}

/// A promise of `flush`, kept until the log is stored up to an offset.
struct Waiter {
    offset: u64,
    resolve: Function,
    reject: Function,
}

/// Who may put into a transaction: one that looks first whether the database is still ours, or, while the
/// page is being hidden and no callback may come any more, one that is complete when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Look, then put.
    Checked,
    /// Put everything that is not known to be stored, at once.
    Blind,
}

/// The stored database of one engine.
pub struct Store {
    /// The database's name, as its user knows it.
    pub name: String,
    /// `None` while it is closed.
    pub database: Option<IdbDatabase>,
    /// When writes are stored.
    pub policy: AppendFsync,
    /// What is stored as the manifest.
    pub manifest: Manifest,
    /// The rewrite under way.
    pub compaction: Option<Compaction>,
    /// Why storing failed last, while it does.
    pub error: Option<String>,
    /// No further tries: the database belongs to someone else, or is gone.
    pub lost: bool,
    /// Who we are, among all who opened it.
    pub epoch: u64,
    chain: Chain,
    /// Stored offset of the stream's byte 0 of this run.
    origin: u64,
    tail: Vec<u8>,
    tail_since: MonoTime,
    last_append: MonoTime,
    chunks: VecDeque<Chunk>,
    in_flight: usize,
    /// The transaction that waits to hear who owns the database, and whether another one has taken its place.
    looking: Option<(IdbTransaction, Rc<Cell<bool>>)>,
    stored: u64,
    waiters: Vec<Waiter>,
    /// A strict transaction is wanted, even if there is nothing to put.
    sync_wanted: bool,
    /// A rewrite has been tried to make room.
    compacted_for_room: bool,
    retry_at: Option<MonoTime>,
    retry_ms: u64,
    reopening: bool,
}

impl Store {
    /// A database that has been loaded: `chain` is where its log goes on.
    pub fn new(name: String, database: IdbDatabase, policy: AppendFsync, manifest: Manifest, chain: Chain) -> Store {
        Store {
            name,
            database: Some(database),
            policy,
            epoch: manifest.epoch,
            manifest,
            compaction: None,
            error: None,
            lost: false,
            origin: chain.offset,
            stored: chain.offset,
            chain,
            tail: Vec::new(),
            tail_since: MonoTime::default(),
            last_append: MonoTime::default(),
            chunks: VecDeque::new(),
            in_flight: 0,
            looking: None,
            waiters: Vec::new(),
            sync_wanted: false,
            compacted_for_room: false,
            retry_at: None,
            retry_ms: RETRY_MS.0,
            reopening: false,
        }
    }

    // ---- What it knows ----

    /// The stream is stored up to this offset of this run.
    pub fn stored_offset(&self) -> u64 {
        self.stored - self.origin
    }

    /// Bytes of the stream that are not known to be stored.
    pub fn pending_bytes(&self) -> u64 {
        self.appended() - self.stored
    }

    /// Bytes of the log since the base, stored or not.
    pub fn incr_bytes(&self) -> u64 {
        self.appended() - self.manifest.first_offset
    }

    /// Everything acknowledged is stored.
    pub fn is_durable(&self) -> bool {
        self.pending_bytes() == 0 && !self.lost
    }

    fn appended(&self) -> u64 {
        self.chain.offset + self.tail.len() as u64
    }

    // ---- Inputs ----

    /// Takes the next bytes of the stream.
    pub fn append(&mut self, now: Now, bytes: &[u8]) {
        if self.tail.is_empty() {
            self.tail_since = now.mono;
        }
        self.last_append = now.mono;
        self.tail.extend_from_slice(bytes);
    }

    /// What is appended from now on belongs to the next generation, whose base is being cut here.
    pub fn begin_generation(&mut self) -> Chain {
        self.seal();
        self.chain.generation += 1;
        self.chain.clone()
    }

    /// A new base is stored: what it contains needs no chunks any more.
    pub fn flip(&mut self, manifest: Manifest) {
        self.chunks.retain(|chunk| chunk.generation >= manifest.generation);
        self.stored = self.stored.max(manifest.first_offset);
        self.manifest = manifest;
        self.advance();
    }

    /// A strict transaction is wanted: SAVE, or the end.
    pub fn want_sync(&mut self) {
        self.sync_wanted = true;
    }

    /// Settles a promise once everything appended so far is stored.
    pub fn wait(&mut self, resolve: Function, reject: Function) {
        self.waiters.push(Waiter { offset: self.appended(), resolve, reject });
        self.answer_waiters();
    }

    fn answer_waiters(&mut self) {
        let stored = self.stored;
        let lost = self.lost.then(|| self.error.clone().unwrap_or_default());
        self.waiters.retain(|waiter| {
            if waiter.offset <= stored {
                let _ = waiter.resolve.call0(&JsValue::NULL);
            } else if let Some(reason) = &lost {
                let error = Failure::new(FailureKind::Lost, reason.clone()).into_error();
                let _ = waiter.reject.call1(&JsValue::NULL, &error);
            } else {
                return true;
            }
            false
        });
    }

    /// Tells those who wait that it will not be stored.
    pub fn reject_waiters(&mut self, reason: &str) {
        for waiter in self.waiters.drain(..) {
            let error = Failure::new(FailureKind::Other, reason).into_error();
            let _ = waiter.reject.call1(&JsValue::NULL, &error);
        }
    }

    // ---- Decisions ----

    /// When [`due`](Self::due) wants to be asked again.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        if self.retry_at.is_some() {
            return self.retry_at;
        }
        if self.tail.is_empty() || self.in_flight > 0 || self.policy == AppendFsync::No || !self.is_open() {
            return None;
        }
        Some(self.last_append.plus_ms(IDLE_MS).min(self.tail_since.plus_ms(PATIENCE_MS)))
    }

    fn is_open(&self) -> bool {
        self.database.is_some() && !self.lost
    }

    /// Whether it is time to store what waits.
    pub fn due(&mut self, now: Now) -> bool {
        if !self.is_open() {
            return false;
        }
        if let Some(at) = self.retry_at {
            if now.mono < at {
                return false;
            }
            self.retry_at = None;
            return true;
        }
        if self.in_flight > 0 {
            return false;
        }
        if self.sync_wanted || self.waiters.iter().any(|waiter| waiter.offset > self.stored) {
            return true;
        }
        match self.policy {
            AppendFsync::Always => !self.tail.is_empty(),
            AppendFsync::EverySec => {
                self.tail.len() >= FLUSH_BYTES || self.next_deadline().is_some_and(|deadline| deadline <= now.mono)
            }
            AppendFsync::No => self.tail.len() >= FLUSH_BYTES_UNASKED,
        }
    }

    // ---- Chunks ----

    /// Makes chunks of the tail.
    fn seal(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        for payload in tail.chunks(CHUNK_BYTES) {
            let Chain { generation, sequence, offset, previous, .. } = self.chain;
            let record = self.chain.seal(payload);
            self.chunks.push_back(Chunk {
                generation,
                sequence,
                first_offset: offset,
                previous,
                record: Uint8Array::new_from_slice(&record),
                end: self.chain.offset,
                sent: false,
                stored: false,
            });
        }
        // Its buffer serves the next tail, unless it is large.
        self.tail = if tail.capacity() <= FLUSH_BYTES { tail } else { Vec::new() };
        self.tail.clear();
    }

    /// Passes over the chunks in front that are stored.
    fn advance(&mut self) {
        while let Some(chunk) = self.chunks.front().filter(|chunk| chunk.stored) {
            self.stored = self.stored.max(chunk.end);
            self.chunks.pop_front();
        }
        self.answer_waiters();
    }

    /// How a transaction with the chunks `sequences` ended.
    fn settle(&mut self, sequences: &[u64], stored: bool) {
        for chunk in self.chunks.iter_mut().filter(|chunk| sequences.contains(&chunk.sequence)) {
            chunk.sent = false;
            chunk.stored |= stored;
        }
        self.advance();
    }

    /// Storing works.
    fn recovered(&mut self) {
        (self.retry_at, self.retry_ms) = (None, RETRY_MS.0);
        self.compacted_for_room = false;
        self.error = None;
    }

    /// Storing failed: when to try again.
    fn back_off(&mut self, now: Now) {
        self.retry_at = Some(now.mono.plus_ms(self.retry_ms));
        self.retry_ms = (self.retry_ms * 2).min(RETRY_MS.1);
    }

    /// No further tries.
    pub fn lose(&mut self, reason: &str) {
        self.lost = true;
        self.error = Some(reason.to_owned());
        self.retry_at = None;
        self.compaction = None;
        self.answer_waiters();
    }

    /// The manifest of a database that was emptied behind our back: its log begins with what is not stored.
    fn restart(&mut self, now: Now) -> Manifest {
        self.seal();
        let Chain { sequence, offset, previous, generation, .. } = self.chain;
        let (first_sequence, first_offset, first_previous, first) = match self.chunks.front() {
            Some(chunk) => (chunk.sequence, chunk.first_offset, chunk.previous, chunk.generation),
            None => (sequence, offset, previous, generation),
        };
        let fresh = Manifest::fresh(now.wall.ms());
        self.manifest =
            Manifest { generation: first, first_sequence, first_offset, first_previous, epoch: self.epoch, ..fresh };
        self.manifest.clone()
    }
}

// ---- Transactions ----

impl Home {
    /// Begins to store what waits; the transaction has begun when this returns.
    pub fn flush(self: &Rc<Home>, store: &mut Store, how: Flush) {
        let Some(database) = store.database.clone().filter(|_| !store.lost) else { return };
        store.seal();
        let strict = store.sync_wanted || store.policy == AppendFsync::Always;
        let wanted = |chunk: &&mut Chunk| !chunk.stored && (how == Flush::Blind || !chunk.sent);
        let mut sequences = Vec::new();
        let mut puts = Vec::new();
        for chunk in store.chunks.iter_mut().filter(wanted) {
            chunk.sent = true;
            sequences.push(chunk.sequence);
            puts.push((idb::key(chunk.generation, chunk.sequence), chunk.record.clone()));
        }
        if puts.is_empty() && !store.sync_wanted {
            return;
        }
        // One that waits for a callback would hold up what must be complete now, and go with the page.
        if let Some((transaction, replaced)) = store.looking.take() {
            replaced.set(true);
            let _ = transaction.abort();
        }
        let synced = std::mem::take(&mut store.sync_wanted);
        store.in_flight += 1;
        let durability = if strict { Durability::Strict } else { Durability::Relaxed };
        let home = self.clone();
        let epoch = store.epoch;
        let begun = idb::write(&database, &[idb::META, idb::INCR], durability).and_then(|transaction| {
            let end = idb::end(&transaction);
            let owner = idb::store(&transaction, idb::META)?.get(&OWNER.into())?;
            if how == Flush::Blind {
                put(&transaction, &puts, epoch)?;
                idb::commit(&transaction)?;
            }
            Ok((transaction, owner, end))
        });
        let replaced = Rc::new(Cell::new(false));
        if let (Ok((transaction, ..)), Flush::Checked) = (&begun, how) {
            store.looking = Some((transaction.clone(), replaced.clone()));
        }
        spawn_local(async move {
            let result = match begun {
                Err(failure) => Err(failure),
                Ok((_, _, end)) if how == Flush::Blind => end.await,
                Ok((transaction, owner, end)) => match idb::result(&owner).await {
                    Ok(owner) if owner.as_f64() == Some(epoch as f64) => {
                        home.looked();
                        match put(&transaction, &puts, epoch).and_then(|()| idb::commit(&transaction)) {
                            Ok(()) => end.await,
                            Err(failure) => Err(failure),
                        }
                    }
                    Ok(owner) => {
                        let _ = transaction.abort();
                        Err(usurped(&owner))
                    }
                    Err(failure) => Err(failure),
                },
            };
            match replaced.get() {
                true => home.replaced(synced),
                false => home.flushed(&sequences, synced, result),
            }
        });
    }

    /// The owner is known: the transaction completes on its own from here on.
    fn looked(self: &Rc<Home>) {
        self.enter(|state, _| state.store.as_mut().map(|store| store.looking = None));
    }

    /// A flush has given way to one that puts the same and more.
    fn replaced(self: &Rc<Home>, synced: bool) {
        self.enter(|state, _| {
            if let Some(store) = &mut state.store {
                store.in_flight -= 1;
                store.sync_wanted |= synced;
            }
        });
    }

    /// A flush has ended.
    fn flushed(self: &Rc<Home>, sequences: &[u64], synced: bool, result: Result<(), Failure>) {
        self.enter(|state, now| {
            let Some(store) = &mut state.store else { return };
            store.in_flight -= 1;
            store.looking = None;
            store.settle(sequences, result.is_ok());
            match result {
                Ok(()) => {
                    store.recovered();
                    let offset = store.stored_offset();
                    let saved = synced && !store.sync_wanted;
                    state.stored(now, offset, saved);
                }
                Err(failure) => {
                    if synced {
                        state.snapshot_failed(now, &failure.reason);
                    }
                    self.store_failed(state, now, failure);
                }
            }
        });
    }

    /// Decides what is done about a failure to store.
    fn store_failed(self: &Rc<Home>, state: &mut super::home::State, now: Now, failure: Failure) {
        let Some(store) = &mut state.store else { return };
        match failure.kind {
            FailureKind::Lost => store.lose(&failure.reason),
            FailureKind::Closed if store.database.is_none() || store.reopening => return,
            FailureKind::Closed => {
                store.database = None;
                spawn_local(reopen(self.clone()));
                return;
            }
            FailureKind::Quota if store.compaction.is_some() => return store.back_off(now),
            FailureKind::Quota if !store.compacted_for_room => {
                store.compacted_for_room = true;
                store.back_off(now);
                return state.engine.rewrite_log(now);
            }
            _ => store.back_off(now),
        }
        store.error = Some(failure.reason.clone());
        store.reject_waiters(&failure.reason);
        state.store_failed(now, failure.reason);
    }

    /// Listens to what ends the connection to the database.
    pub fn watch_database(self: &Rc<Home>, database: &IdbDatabase) {
        let weak = Rc::downgrade(self);
        let closed = Closure::<dyn FnMut()>::new(move || {
            let Some(home) = weak.upgrade() else { return };
            let home_again = home.clone();
            home.enter(|state, _| {
                let Some(store) = &mut state.store else { return };
                store.database = None;
                spawn_local(reopen(home_again));
            });
        });
        let weak = Rc::downgrade(self);
        let yielded = Closure::<dyn FnMut()>::new(move || {
            let Some(home) = weak.upgrade() else { return };
            home.enter(|state, now| {
                let Some(store) = &mut state.store else { return };
                let reason = "another page deletes or upgrades the database: it was closed here";
                if let Some(database) = store.database.take() {
                    database.close();
                }
                store.lose(reason);
                state.store_failed(now, reason.to_owned());
            });
        });
        database.set_onclose(Some(closed.as_ref().unchecked_ref()));
        database.set_onversionchange(Some(yielded.as_ref().unchecked_ref()));
        self.keep(closed, yielded);
    }
}

/// The key of the owner's epoch.
pub const OWNER: &str = "owner";
/// The key of the manifest.
pub const MANIFEST: &str = "manifest";

/// Someone else's number stands where ours should.
pub fn usurped(owner: &JsValue) -> Failure {
    Failure::new(FailureKind::Lost, format!("another page has taken the database over (owner {:?})", owner.as_f64()))
}

/// Puts chunks, and the owner's number again, so that a transaction for its own sake has something to store.
fn put(transaction: &IdbTransaction, puts: &[(JsValue, Uint8Array)], epoch: u64) -> Result<(), Failure> {
    if puts.is_empty() {
        idb::store(transaction, idb::META)?.put_with_key(&(epoch as f64).into(), &OWNER.into())?;
    }
    let incr = idb::store(transaction, idb::INCR)?;
    for (key, record) in puts {
        incr.put_with_key(record, key)?;
    }
    Ok(())
}

/// Opens a database again that the browser has closed, however long it takes.
async fn reopen(home: Rc<Home>) {
    let begun = home.enter(|state, now| {
        let store = state.store.as_mut()?;
        if store.reopening || store.lost || store.database.is_some() {
            return None;
        }
        store.reopening = true;
        store.back_off(now);
        Some((store.name.clone(), store.epoch))
    });
    let Some(Some((name, epoch))) = begun else { return };
    let mut pause_ms = RETRY_MS.0;
    loop {
        super::clock::sleep(pause_ms as u32).await;
        let result = reclaim(&home, &name, epoch).await;
        let Some(failed) = home.enter(|state, now| {
            let store = state.store.as_mut()?;
            match result {
                Ok((database, is_empty)) => {
                    store.reopening = false;
                    home.watch_database(&database);
                    store.database = Some(database);
                    store.retry_at = Some(now.mono);
                    store.chunks.iter_mut().for_each(|chunk| chunk.sent = false);
                    if is_empty {
                        state.engine.rewrite_log(now);
                    }
                    None
                }
                Err(failure) => {
                    if failure.kind == FailureKind::Lost {
                        store.lose(&failure.reason);
                    }
                    store.error = Some(failure.reason.clone());
                    state.store_failed(now, failure.reason.clone());
                    (failure.kind != FailureKind::Lost).then_some(())
                }
            }
        }) else {
            return;
        };
        if failed.is_none() {
            return;
        }
        pause_ms = (pause_ms * 2).min(RETRY_MS.1);
    }
}

/// Opens the database and sees whose it is. If it was emptied, it is begun anew, and that is said.
async fn reclaim(home: &Rc<Home>, name: &str, epoch: u64) -> Result<(IdbDatabase, bool), Failure> {
    let database = idb::open(&super::open::database_name(name)).await?;
    let transaction = idb::write(&database, &[idb::META], Durability::Strict)?;
    let end = idb::end(&transaction);
    let meta = idb::store(&transaction, idb::META)?;
    let owner = idb::result(&meta.get(&OWNER.into())?).await?;
    let is_empty = owner.is_undefined();
    if is_empty {
        let manifest = home.enter(|state, now| state.store.as_mut().map(|store| store.restart(now))).flatten();
        let Some(manifest) = manifest else { return Err(Failure::new(FailureKind::Lost, "the database was closed")) };
        meta.put_with_key(&(epoch as f64).into(), &OWNER.into())?;
        meta.put_with_key(&Uint8Array::new_from_slice(&manifest.to_bytes()), &MANIFEST.into())?;
    } else if owner.as_f64() != Some(epoch as f64) {
        return Err(usurped(&owner));
    }
    end.await?;
    Ok((database, is_empty))
}
