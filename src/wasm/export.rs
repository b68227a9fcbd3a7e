//! Giving all data away as a `dump.rdb`, in slices: the picture of one moment, while commands go on.
//!
//! The engine walks for one at a time: an export waits for the end of a rewrite, and rewrites and saves that are asked
//! for meanwhile wait for its end. Redis' counterpart: the snapshot that a replica gets without a disk.

use std::rc::Rc;

use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;

use crate::engine::snapshot::SnapshotProgress;

use super::clock;
use super::compact::is_over;
use super::failure;
use super::home::Home;

/// The engine looks at the clock after so many bytes.
const STEP_BYTES: usize = 16 << 10;
/// No slice gives much more than this.
const SLICE_BYTES: usize = 1 << 20;

/// An export under way. One that is freed before its end is given up.
#[wasm_bindgen]
pub struct Export {
    home: Rc<Home>,
    begun: bool,
    done: bool,
    keys: u64,
    total_keys: u64,
}

impl Export {
    /// One that begins with its first slice.
    pub fn new(home: Rc<Home>) -> Export {
        Export { home, begun: false, done: false, keys: 0, total_keys: 0 }
    }
}

#[wasm_bindgen]
impl Export {
    /// The next bytes of the file, after a few milliseconds of work; none while another snapshot is under way.
    /// `undefined` if the database is closed.
    pub fn next(&mut self) -> Option<Uint8Array> {
        let home = self.home.clone();
        home.enter(|state, now| {
            let began_ns = clock::stopwatch_ns();
            let mut bytes = Vec::new();
            if !self.begun {
                self.begun = state.engine.begin_export(now);
                self.total_keys = if self.begun { state.engine.snapshot_keys_total() } else { 0 };
            }
            while self.begun && !self.done && bytes.len() < SLICE_BYTES && !is_over(began_ns, &state.engine) {
                self.keys = state.engine.snapshot_keys_done();
                self.done = state.engine.snapshot_chunk(STEP_BYTES, &mut bytes) != SnapshotProgress::More;
            }
            if self.done {
                self.keys = self.total_keys;
            }
            Uint8Array::new_from_slice(&bytes)
        })
    }

    /// That was all of it.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> bool {
        self.done
    }

    /// Keys given so far.
    #[wasm_bindgen(getter)]
    pub fn keys(&self) -> f64 {
        self.keys as f64
    }

    /// Keys that there are to give; 0 until it has begun.
    #[wasm_bindgen(getter, js_name = totalKeys)]
    pub fn total_keys(&self) -> f64 {
        self.total_keys as f64
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if self.begun && !self.done && !failure::is_stopped() {
            self.home.enter(|state, now| state.engine.cancel_export(now));
        }
    }
}
