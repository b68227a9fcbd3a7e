//! The log's way into IndexedDB: what the engine appends waits in a tail, is sealed into chunks, and each
//! chunk is kept until a transaction with it has completed.
//!
//! This is the state and its decisions; the transactions themselves are at the end of the file. Invariants:
//! chunks are sealed in the order of the stream; `stored` only passes a chunk once all before it are
//! stored; a chunk that failed is put again, under the same key, so doing it twice does no harm; every
//! transaction is complete when the task that begins it ends, so it does not need the page any more.
//! Redis' counterpart: `flushAppendOnlyFile`.

use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::{Array, Function, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{IdbDatabase, IdbObjectStore, IdbTransaction};

use crate::engine::config::AppendFsync;
use crate::engine::time::{MonoTime, Now};

use super::compact::Compaction;
use super::failure::{Failure, FailureKind};
use super::home::{Home, State};
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
/// Under `everysec` a transaction begins this long after the one before began, even if the log is not idle;
/// so the first write after a pause is stored at once, and nothing waits longer than this.
const PATIENCE_MS: u64 = 100;
/// The first and the last pause before storing is tried again.
const RETRY_MS: (u64, u64) = (100, 30_000);

/// A sealed chunk that is not known to be stored.
struct Chunk {
    generation: u64,
    sequence: u64,
    record: Uint8Array,
    /// Offset behind its last byte.
    end: u64,
    stored: bool,
}

/// A promise of `flush`, kept until the log is stored up to an offset.
struct Waiter {
    offset: u64,
    resolve: Function,
    reject: Function,
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
    /// Since when.
    pub failing_since: Option<MonoTime>,
    /// No further tries: the database belongs to someone else, or is gone.
    pub lost: bool,
    /// Who we are, among all who opened it.
    pub epoch: u64,
    chain: Chain,
    /// Stored offset of the stream's byte 0 of this run.
    origin: u64,
    tail: Vec<u8>,
    last_append: MonoTime,
    last_begun: MonoTime,
    chunks: VecDeque<Chunk>,
    in_flight: usize,
    stored: u64,
    /// What is stored says that nothing is on its way: see [`RESTED`].
    resting: bool,
    /// What is stored is not what the log builds upon: nothing of it is stored before the next base is.
    rebasing: bool,
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
            failing_since: None,
            lost: false,
            origin: chain.offset,
            stored: chain.offset,
            chain,
            tail: Vec::new(),
            last_append: MonoTime::default(),
            last_begun: MonoTime::default(),
            chunks: VecDeque::new(),
            in_flight: 0,
            resting: false,
            rebasing: false,
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
        self.pending_bytes() == 0 && self.is_open() && !self.rebasing
    }

    /// The log waits for a base that is not stored yet.
    pub fn is_rebasing(&self) -> bool {
        self.rebasing
    }

    fn appended(&self) -> u64 {
        self.chain.offset + self.tail.len() as u64
    }

    // ---- Inputs ----

    /// Takes the next bytes of the stream.
    pub fn append(&mut self, now: Now, bytes: &[u8]) {
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
        self.rebasing = false;
        self.recovered();
        self.advance();
    }

    /// A strict transaction is wanted: SAVE, or the end.
    pub fn want_sync(&mut self) {
        self.sync_wanted = true;
    }

    /// Settles a promise once everything appended so far is stored.
    pub fn wait(&mut self, now: Now, resolve: Function, reject: Function) {
        // Whoever asks does not want to wait out a pause.
        self.retry_at = self.retry_at.map(|at| at.min(now.mono));
        self.waiters.push(Waiter { offset: self.appended(), resolve, reject });
        self.answer_waiters();
    }

    fn answer_waiters(&mut self) {
        let stored = self.stored;
        let lost = self.lost.then(|| self.error.clone().unwrap_or_default());
        self.waiters.retain(|waiter| {
            if waiter.offset <= stored && !self.rebasing {
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
        if self.tail.is_empty()
            || self.in_flight > 0
            || self.policy == AppendFsync::No
            || !self.is_open()
            || self.rebasing
        {
            return None;
        }
        Some(self.last_append.plus_ms(IDLE_MS).min(self.last_begun.plus_ms(PATIENCE_MS)))
    }

    fn is_open(&self) -> bool {
        self.database.is_some() && !self.lost
    }

    /// Whether it is time to store what waits.
    pub fn due(&self, now: Now) -> bool {
        if !self.is_open() || self.in_flight > 0 {
            return false;
        }
        if self.rebasing {
            return self.compaction.is_none() && self.retry_at.is_none_or(|at| at <= now.mono);
        }
        if let Some(at) = self.retry_at {
            return at <= now.mono;
        }
        if self.sync_wanted || self.waiters.iter().any(|waiter| waiter.offset > self.stored) {
            return true;
        }
        let has_sealed = self.chunks.iter().any(|chunk| !chunk.stored);
        match self.policy {
            AppendFsync::Always => has_sealed || !self.tail.is_empty(),
            AppendFsync::EverySec => {
                has_sealed
                    || self.tail.len() >= FLUSH_BYTES
                    || self.next_deadline().is_some_and(|deadline| deadline <= now.mono)
            }
            AppendFsync::No => self.tail.len() >= FLUSH_BYTES_UNASKED,
        }
    }

    /// What is stored and what the log builds upon are not the same any more: the next base makes it good.
    /// Until it is stored nothing else is, so what is stored stays one whole state.
    pub fn rebase(&mut self) {
        self.rebasing = true;
    }

    // ---- Chunks ----

    /// Makes chunks of the tail.
    fn seal(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        for payload in tail.chunks(CHUNK_BYTES) {
            let Chain { generation, sequence, .. } = self.chain;
            let record = self.chain.seal(payload);
            self.chunks.push_back(Chunk {
                generation,
                sequence,
                record: Uint8Array::new_from_slice(&record),
                end: self.chain.offset,
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

    /// A transaction with the chunks `sequences` has completed.
    fn settle(&mut self, sequences: &[u64]) {
        for chunk in self.chunks.iter_mut().filter(|chunk| sequences.contains(&chunk.sequence)) {
            chunk.stored = true;
        }
        self.advance();
    }

    /// Storing works.
    fn recovered(&mut self) {
        (self.retry_at, self.retry_ms) = (None, RETRY_MS.0);
        self.compacted_for_room = false;
        (self.error, self.failing_since) = (None, None);
    }

    /// Storing fails.
    fn fail(&mut self, now: Now, reason: &str) {
        self.error = Some(reason.to_owned());
        self.failing_since.get_or_insert(now.mono);
    }

    /// Storing failed: when to try again.
    pub fn back_off(&mut self, now: Now) {
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

    /// The manifest of a database that was emptied behind our back. It is that of an empty one, until the base
    /// with the data in memory is stored.
    fn restart(&mut self, now: Now) -> Manifest {
        self.rebasing = true;
        self.resting = false;
        self.compaction = None;
        self.manifest =
            Manifest { generation: self.chain.generation, epoch: self.epoch, ..Manifest::fresh(now.wall.ms()) };
        self.manifest.clone()
    }
}

// ---- Transactions ----

impl Home {
    /// Stores what is due.
    pub fn flush_due(self: &Rc<Home>, state: &mut State, now: Now) {
        let Some(mut store) = state.store.take() else { return };
        let due = store.due(now);
        if due && !store.rebasing {
            self.flush(&mut store, now, false);
        }
        let rebase = due && store.rebasing;
        if rebase {
            store.retry_at = None;
        }
        state.store = Some(store);
        if rebase {
            state.engine.rewrite_log(now);
        }
    }

    /// Stores what waits; the transaction needs nothing of the page any more when this returns. `hiding`: the page
    /// may go without another word, so the transaction also says that nothing is on its way after it.
    pub fn flush(self: &Rc<Home>, store: &mut Store, now: Now, hiding: bool) {
        let Some(database) = store.database.clone().filter(|_| !store.lost && !store.rebasing) else { return };
        store.seal();
        store.retry_at = None;
        store.last_begun = now.mono;
        let strict = store.sync_wanted || store.policy == AppendFsync::Always;
        let mut sequences = Vec::new();
        let mut puts = Vec::new();
        // What is on its way in another transaction goes with this one again: should that one fail and the page be gone,
        // there is no gap.
        for chunk in store.chunks.iter().filter(|chunk| !chunk.stored) {
            sequences.push(chunk.sequence);
            puts.push((idb::key(chunk.generation, chunk.sequence), chunk.record.clone()));
        }
        let rests = hiding && store.compaction.is_none();
        if puts.is_empty() && !store.sync_wanted && (!rests || store.resting) {
            return;
        }
        let was_resting = std::mem::replace(&mut store.resting, rests);
        let synced = std::mem::take(&mut store.sync_wanted);
        store.in_flight += 1;
        let durability = if strict { Durability::Strict } else { Durability::Relaxed };
        let epoch = store.epoch;
        let log_end = JsValue::from(store.chain.sequence as f64);
        let begun = idb::write(&database, &[idb::META, idb::INCR], durability).and_then(|transaction| {
            let end = idb::end(&transaction);
            let meta = guard(&transaction, epoch)?;
            let incr = idb::store(&transaction, idb::INCR)?;
            for (key, record) in &puts {
                incr.put_with_key(record, key)?;
            }
            if !puts.is_empty() {
                meta.put_with_key(&log_end, &END.into())?;
            }
            match (rests, was_resting) {
                (true, _) => drop(meta.put_with_key(&(epoch as f64).into(), &RESTED.into())?),
                (false, true) => drop(meta.delete(&RESTED.into())?),
                (false, false) => {}
            }
            idb::commit(&transaction)?;
            Ok(end)
        });
        let home = self.clone();
        spawn_local(async move {
            let result = match begun {
                Ok(end) => end.await,
                Err(failure) => Err(failure),
            };
            home.flushed(&sequences, synced, result);
        });
    }

    /// A flush has ended.
    fn flushed(self: &Rc<Home>, sequences: &[u64], synced: bool, result: Result<(), Failure>) {
        self.enter(|state, now| {
            let Some(store) = &mut state.store else { return };
            store.in_flight -= 1;
            match result {
                Ok(()) => {
                    store.settle(sequences);
                    store.recovered();
                    let offset = store.stored_offset();
                    let saved = synced && !store.sync_wanted;
                    state.stored(now, offset, saved);
                }
                Err(failure) => {
                    store.resting = false;
                    if synced {
                        state.snapshot_failed(now, &failure.reason);
                    }
                    self.store_failed(state, now, failure);
                }
            }
        });
    }

    /// Decides what is done about a failure to store.
    pub fn store_failed(self: &Rc<Home>, state: &mut State, now: Now, failure: Failure) {
        let Some(store) = &mut state.store else { return };
        match failure.kind {
            FailureKind::Lost => store.lose(&failure.reason),
            FailureKind::Closed => return self.database_closed(state, now),
            FailureKind::Quota if store.compaction.is_some() => return store.back_off(now),
            FailureKind::Quota if !store.compacted_for_room && !store.rebasing => {
                store.compacted_for_room = true;
                store.back_off(now);
                return state.engine.rewrite_log(now);
            }
            _ => store.back_off(now),
        }
        store.fail(now, &failure.reason);
        store.reject_waiters(&failure.reason);
        state.store_failed(now, failure.reason);
    }

    /// The browser has closed the connection to the database: writes are refused until it is open again.
    fn database_closed(self: &Rc<Home>, state: &mut State, now: Now) {
        let Some(store) = &mut state.store else { return };
        store.database = None;
        if store.reopening || store.lost {
            return;
        }
        store.reopening = true;
        let reason = "the browser has closed the database; it is being opened again".to_owned();
        store.fail(now, &reason);
        spawn_local(reopen(self.clone()));
        state.store_failed(now, reason);
    }

    /// Listens to what ends the connection to the database.
    pub fn watch_database(self: &Rc<Home>, database: &IdbDatabase) {
        let weak = Rc::downgrade(self);
        let closed = Closure::<dyn FnMut()>::new(move || {
            let Some(home) = weak.upgrade() else { return };
            home.enter(|state, now| home.database_closed(state, now));
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
        self.keep(database, closed, yielded);
    }
}

/// The key of the owner's epoch.
pub const OWNER: &str = "owner";
/// The key of the manifest.
pub const MANIFEST: &str = "manifest";

/// The key of the number that the log's next record will have: tells when the last ones are missing.
pub const END: &str = "end";

/// The key of the mark that nothing is being stored: the page was hidden or closed in good order.
///
/// Without it, whoever was here last may have been killed within a transaction: see `open::settle_after_crash`.
pub const RESTED: &str = "rested";

/// The key that ends an owner: its successor puts it.
pub fn ended(epoch: u64) -> JsValue {
    Array::of2(&"ended".into(), &(epoch as f64).into()).into()
}

/// Makes a transaction fail if the owner has a successor, without asking and waiting; gives the store it looked at.
///
/// # Errors
/// The transaction has ended.
pub fn guard(transaction: &IdbTransaction, epoch: u64) -> Result<IdbObjectStore, Failure> {
    let meta = idb::store(transaction, idb::META)?;
    meta.add_with_key(&JsValue::TRUE, &ended(epoch))?;
    meta.delete(&ended(epoch))?;
    Ok(meta)
}

/// Someone else's number stands where ours should.
fn usurped(owner: &JsValue) -> Failure {
    Failure::new(FailureKind::Lost, format!("another page has taken the database over (owner {:?})", owner.as_f64()))
}

/// Opens a database again that the browser has closed, however long it takes.
async fn reopen(home: Rc<Home>) {
    let named = home.look(|state| state.store.as_ref().map(|store| (store.name.clone(), store.epoch))).flatten();
    let Some((name, epoch)) = named else { return };
    let mut pause_ms = RETRY_MS.0;
    loop {
        super::clock::sleep(pause_ms as u32).await;
        let result = reclaim(&home, &name, epoch).await;
        let again = home.enter(|state, now| {
            let store = state.store.as_mut()?;
            match result {
                Ok(database) => {
                    store.reopening = false;
                    home.watch_database(&database);
                    store.database = Some(database);
                    // Once something is stored, writes are accepted again.
                    store.want_sync();
                    store.retry_at = Some(now.mono);
                    None
                }
                Err(failure) => {
                    if failure.kind == FailureKind::Lost {
                        store.lose(&failure.reason);
                    }
                    store.fail(now, &failure.reason);
                    state.store_failed(now, failure.reason.clone());
                    (failure.kind != FailureKind::Lost).then_some(())
                }
            }
        });
        if again.flatten().is_none() {
            return;
        }
        pause_ms = (pause_ms * 2).min(RETRY_MS.1);
    }
}

/// Opens the database and sees whose it is. If it was emptied, it is begun anew: the data in memory are its next base.
async fn reclaim(home: &Rc<Home>, name: &str, epoch: u64) -> Result<IdbDatabase, Failure> {
    let (database, _) = idb::open(&super::open::database_name(name)).await?;
    let transaction = idb::write(&database, &[idb::META], Durability::Strict)?;
    let end = idb::end(&transaction);
    let meta = idb::store(&transaction, idb::META)?;
    let owner = idb::result(&meta.get(&OWNER.into())?).await?;
    let manifest = idb::result(&meta.get(&MANIFEST.into())?).await?;
    if owner.is_undefined() && manifest.is_undefined() {
        let manifest = home.enter(|state, now| state.store.as_mut().map(|store| store.restart(now))).flatten();
        let Some(manifest) = manifest else { return Err(Failure::new(FailureKind::Lost, "the database was closed")) };
        meta.put_with_key(&(epoch as f64).into(), &OWNER.into())?;
        meta.put_with_key(&Uint8Array::new_from_slice(&manifest.to_bytes()), &MANIFEST.into())?;
    } else if owner.is_undefined() {
        meta.put_with_key(&(epoch as f64).into(), &OWNER.into())?;
    } else if owner.as_f64() != Some(epoch as f64) {
        return Err(usurped(&owner));
    }
    end.await?;
    Ok(database)
}
