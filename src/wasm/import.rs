//! Taking over a `dump.rdb`: it is loaded by an engine of its own, and only a whole and good one replaces the data.
//!
//! Meanwhile the database is served as ever. Then the keys change hands in one step, and a new base is
//! stored; until that is done storage keeps the state before the import, all of it. Redis' counterpart:
//! the diskless load of a replica, `repl-diskless-load swapdb`.

use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use std::rc::Rc;

use crate::engine::Engine;
use crate::engine::load::{LoadError, LoadKind};

use super::clock;
use super::failure::{Failure, FailureKind};
use super::home::{Home, State};
use super::open;
use super::server;

/// How long to wait before looking again whether a rewrite has ended.
const PAUSE_MS: u32 = 10;

/// An import under way.
#[wasm_bindgen]
pub struct Import {
    home: Rc<Home>,
    engine: Engine,
}

impl Import {
    /// One that will replace the data of this database.
    pub fn new(home: Rc<Home>, state: &State) -> Import {
        let mut engine = open::spare_engine(state.engine.config().clone());
        engine.begin_load(clock::now(), 0);
        engine.begin_file(LoadKind::Snapshot);
        Import { home, engine }
    }
}

#[wasm_bindgen]
impl Import {
    /// Takes the next bytes of the file; gives the number of keys so far.
    ///
    /// # Errors
    /// An `InvalidDumpError`. The database is as it was.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<f64, JsValue> {
        self.engine.load(clock::now(), bytes).map_err(|error| invalid(&error))?;
        Ok(self.engine.steps_loaded() as f64)
    }

    /// The file has ended: its keys replace those of the database. Gives their number once they are stored.
    ///
    /// # Errors
    /// An `InvalidDumpError`, with the database as it was, or a `StorageError`: the keys are in memory but not stored.
    pub async fn finish(self) -> Result<f64, JsValue> {
        let Import { home, mut engine } = self;
        engine.end_file().map_err(|error| invalid(&error))?;
        let keys = engine.end_load(clock::now()).keys;
        // What was written before is stored first; a rewrite under way ends first.
        JsFuture::from(server::flushed(&home)).await?;
        let mut loaded = Some(engine);
        loop {
            let waits = home.enter(|state, now| {
                if state.engine.is_walking() || state.store.as_ref().is_some_and(|store| store.compaction.is_some()) {
                    return true;
                }
                if let Some(engine) = loaded.take() {
                    if let Some(store) = &mut state.store {
                        store.rebase();
                    }
                    state.engine.adopt(now, engine);
                }
                false
            });
            match waits {
                Some(true) => clock::sleep(PAUSE_MS).await,
                Some(false) => break,
                None => return Err(Failure::new(FailureKind::Other, "the database is closed").into_error()),
            }
        }
        JsFuture::from(server::flushed(&home)).await?;
        Ok(keys as f64)
    }
}

fn invalid(error: &LoadError) -> JsValue {
    Failure::new(FailureKind::File, format!("this dump cannot be imported: {error}; nothing was changed")).into_error()
}
