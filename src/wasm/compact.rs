//! A new base: the keyspace is walked in slices of a few milliseconds, the parts are stored as they come,
//! and one strict transaction makes the new generation count and deletes the old one.
//!
//! Until that transaction completes, the old base and the log runs of both generations are all there;
//! nothing is cleared first. If it fails, the parts are deleted and the log goes on as it is.
//! Redis' counterpart: `rewriteAppendOnlyFileBackground`, without the fork.

use std::rc::Rc;

use js_sys::Uint8Array;

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
                end.await?;
            }
            Slice::Done(manifest) => {
                flip(&database(home)?, &manifest).await?;
                return Ok(Some(manifest));
            }
        }
    }
}

fn database(home: &Rc<Home>) -> Result<IdbDatabase, Failure> {
    let database = home.look(|state| state.store.as_ref().and_then(|store| store.database.clone())).flatten();
    database.ok_or_else(|| Failure::new(FailureKind::Closed, "the database is closed"))
}

/// Pulls as much of the snapshot as fits into the time.
fn slice(home: &Rc<Home>, generation: u64, part: &mut Vec<u8>) -> Slice {
    let slice = home.enter(|state, now| {
        let until = clock::stopwatch_ns() + clock::SLICE_NS;
        let Some(store) = &mut state.store else { return Slice::Cancelled };
        let Some(compaction) = store.compaction.as_mut().filter(|it| it.incr.generation == generation) else {
            return Slice::Cancelled;
        };
        while !compaction.is_walked && part.len() < PART_BYTES && clock::stopwatch_ns() < until {
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
