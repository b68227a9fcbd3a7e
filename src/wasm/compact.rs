//! A new base: the keyspace is walked in slices of a few milliseconds, the parts are stored as they come,
//! and one strict transaction makes the new generation count and deletes the old one.
//!
//! Until that transaction completes, the old base and the log runs of both generations are all there;
//! nothing is cleared first. If it fails, the parts are deleted and the log goes on as it is.
//!
//! While more is put aside than `snapshot-memory-limit` says, slices take longer, the walk does not wait for storage, and
//! replies wait for the walk (see `held`).
//! Redis' counterpart: `rewriteAppendOnlyFileBackground`, without the fork.

use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::Uint8Array;

use crate::engine::Engine;
use crate::engine::host::Report;
use crate::engine::snapshot::SnapshotProgress;
use web_sys::IdbDatabase;

use super::clock;
use super::failure::{Failure, FailureKind};
use super::home::Home;
use super::idb::{self, Durability};
use super::record::{Chain, Manifest};
use super::store::{MANIFEST, RESTED, guard};

/// The engine looks at the clock after so many bytes.
const STEP_BYTES: usize = 16 << 10;
/// A part of the base is as large, but for the last.
const PART_BYTES: usize = 1 << 20;
/// So many parts may be on their way to storage while more is put aside than may be: the walk does not wait for them.
const PARTS_AHEAD: usize = 8;
/// For each time that the limit of memory put aside is reached, a slice is longer by so much; and how long at most.
const HASTE_NS: u64 = 1_000_000;
const LONGEST_SLICE_NS: u64 = 2 * clock::SLICE_NS;

/// A rewrite under way.
pub struct Compaction {
    /// Where the base's next part goes.
    base: Chain,
    /// Where the log of the new generation begins.
    incr: Chain,
    /// The walk has come to its end.
    is_walked: bool,
}

impl Compaction {
    /// One whose log begins at `incr`.
    pub fn new(incr: Chain) -> Compaction {
        Compaction { base: Chain::base(incr.generation), incr, is_walked: false }
    }
}

/// What a slice brought.
enum Slice {
    /// A part to store under this key.
    Part { sequence: u64, record: Vec<u8> },
    /// Not enough for a part yet.
    More,
    /// Everything is stored but the manifest.
    Done(Manifest),
    /// Nobody wants it any more.
    Cancelled,
}

/// Runs the rewrite that the store has noted.
pub async fn run(home: Rc<Home>) {
    let Some(Some((generation, epoch))) = home.look(|state| {
        let store = state.store.as_ref()?;
        store.compaction.as_ref().map(|compaction| (compaction.incr.generation, store.epoch))
    }) else {
        return;
    };
    let result = rewrite(&home, generation, epoch).await;
    let failed = home.enter(|state, now| {
        let store = state.store.as_mut()?;
        // A later one may have taken its place.
        let current = store.compaction.as_ref().is_some_and(|compaction| compaction.incr.generation == generation);
        if current {
            store.compaction = None;
        }
        match result {
            Ok(Some(manifest)) => {
                store.flip(manifest);
                let offset = store.stored_offset();
                state.report(now, Report::SnapshotStored);
                state.stored(now, offset, false);
                None
            }
            Ok(None) => store.database.clone(),
            Err(failure) => {
                let database = store.database.clone();
                let is_fatal = failure.kind == FailureKind::Lost || store.is_rebasing();
                state.report(now, Report::SnapshotFailed { reason: failure.reason.clone() });
                if is_fatal {
                    home.store_failed(state, now, failure);
                }
                database
            }
        }
    });
    if let Some(Some(database)) = failed {
        let _ = forget(&database, generation, epoch).await;
    }
}

/// Walks, stores, flips. `None` if it was cancelled.
async fn rewrite(home: &Rc<Home>, generation: u64, epoch: u64) -> Result<Option<Manifest>, Failure> {
    let mut part = Vec::new();
    let mut under_way = VecDeque::new();
    loop {
        match slice(home, generation, &mut part) {
            Slice::More => clock::turn().await,
            Slice::Cancelled => return Ok(None),
            Slice::Part { sequence, record } => {
                let database = database(home)?;
                let transaction = idb::write(&database, &[idb::META, idb::BASE], Durability::Relaxed)?;
                let end = idb::end(&transaction);
                guard(&transaction, epoch)?.delete(&RESTED.into())?;
                let record = Uint8Array::new_from_slice(&record);
                idb::store(&transaction, idb::BASE)?.put_with_key(&record, &idb::key(generation, sequence))?;
                idb::commit(&transaction)?;
                under_way.push_back(end);
                // What is put aside would only become more while the walk waits.
                if under_way.len() <= PARTS_AHEAD && is_hasty(home) {
                    clock::turn().await;
                    continue;
                }
                while let Some(end) = under_way.pop_front() {
                    end.await?;
                }
            }
            Slice::Done(manifest) => {
                for end in under_way {
                    end.await?;
                }
                flip(&database(home)?, &manifest).await?;
                return Ok(Some(manifest));
            }
        }
    }
}

/// Whether more is put aside than may be.
fn is_hasty(home: &Rc<Home>) -> bool {
    home.look(|state| state.engine.snapshot_excess() > 0).unwrap_or_default()
}

/// Whether a slice of a snapshot that has begun then is to end. The more it has put aside beyond the limit, the longer it
/// may take, but no longer than the page can do without a turn.
pub fn is_over(began_ns: u64, engine: &Engine) -> bool {
    let took_ns = clock::stopwatch_ns().saturating_sub(began_ns);
    let haste = || HASTE_NS.saturating_mul(engine.snapshot_excess());
    took_ns >= clock::SLICE_NS && took_ns >= clock::SLICE_NS.saturating_add(haste()).min(LONGEST_SLICE_NS)
}

fn database(home: &Rc<Home>) -> Result<IdbDatabase, Failure> {
    let database = home.look(|state| state.store.as_ref().and_then(|store| store.database.clone())).flatten();
    database.ok_or_else(|| Failure::new(FailureKind::Closed, "the database is closed"))
}

/// Pulls as much of the snapshot as fits into the time.
fn slice(home: &Rc<Home>, generation: u64, part: &mut Vec<u8>) -> Slice {
    let slice = home.enter(|state, now| {
        let began_ns = clock::stopwatch_ns();
        let Some(store) = &mut state.store else { return Slice::Cancelled };
        let Some(compaction) = store.compaction.as_mut().filter(|it| it.incr.generation == generation) else {
            return Slice::Cancelled;
        };
        while !compaction.is_walked && part.len() < PART_BYTES && !is_over(began_ns, &state.engine) {
            match state.engine.snapshot_chunk(STEP_BYTES, part) {
                SnapshotProgress::More => {}
                SnapshotProgress::Done => compaction.is_walked = true,
                SnapshotProgress::Idle => return Slice::Cancelled,
            }
        }
        if part.len() >= PART_BYTES || (compaction.is_walked && !part.is_empty()) {
            let sequence = compaction.base.sequence;
            // A long string comes as a whole: it goes into several parts.
            let bytes = part.len().min(PART_BYTES);
            let record = compaction.base.seal(&part[..bytes]);
            part.drain(..bytes);
            return Slice::Part { sequence, record };
        }
        if !compaction.is_walked {
            return Slice::More;
        }
        let (base, incr) = (&compaction.base, &compaction.incr);
        Slice::Done(Manifest {
            generation,
            base_parts: base.sequence,
            base_bytes: base.offset,
            base_checksum: base.previous,
            first_sequence: incr.sequence,
            first_offset: incr.offset,
            first_previous: incr.previous,
            epoch: store.epoch,
            ..Manifest::fresh(now.wall.ms())
        })
    });
    slice.unwrap_or(Slice::Cancelled)
}

/// Makes the new generation the one that counts, and deletes what it replaces.
async fn flip(database: &IdbDatabase, manifest: &Manifest) -> Result<(), Failure> {
    let transaction = idb::write(database, &[idb::META, idb::BASE, idb::INCR], Durability::Strict)?;
    let end = idb::end(&transaction);
    let meta = guard(&transaction, manifest.epoch)?;
    meta.delete(&RESTED.into())?;
    meta.put_with_key(&Uint8Array::new_from_slice(&manifest.to_bytes()), &MANIFEST.into())?;
    let old = idb::before_generation(manifest.generation)?;
    idb::store(&transaction, idb::BASE)?.delete(&old)?;
    idb::store(&transaction, idb::INCR)?.delete(&old)?;
    idb::commit(&transaction)?;
    end.await
}

/// Deletes the parts of a base that nobody will read.
async fn forget(database: &IdbDatabase, generation: u64, epoch: u64) -> Result<(), Failure> {
    let transaction = idb::write(database, &[idb::META, idb::BASE], Durability::Relaxed)?;
    let end = idb::end(&transaction);
    guard(&transaction, epoch)?.delete(&RESTED.into())?;
    idb::store(&transaction, idb::BASE)?.delete(&idb::of_generation(generation)?)?;
    idb::commit(&transaction)?;
    end.await
}
