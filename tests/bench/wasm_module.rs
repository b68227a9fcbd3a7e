//! The workloads of `workloads.rs` as a WebAssembly module that imports nothing; `wasm.mjs` runs it for `wasm.rs`.
//!
//! Built by `pkg-scripts/bench wasm` exactly as `pkg-scripts/build-wasm` builds the engine, with the allocator of
//! the browser build, but without the surface for JavaScript. Redis' counterpart: none.

#[path = "../../src/wasm/memory.rs"]
mod memory;
mod workloads;

use std::cell::RefCell;

use workloads::{COMMANDS, WORKLOADS, World};

/// A filled engine, and the pieces of the run that comes next.
struct Bench {
    world: World,
    pieces: Vec<Vec<u8>>,
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new({
        let mut world = World::new();
        world.fill();
        Bench { world, pieces: Vec::new() }
    });
}

/// Makes the input of a run, before the clock is looked at.
#[unsafe(no_mangle)]
extern "C" fn prepare(number: u32, round: u32) {
    BENCH.with_borrow_mut(|bench| {
        bench.pieces = workloads::pieces(number as usize % WORKLOADS.len(), round.into());
        bench.world.replies = 0;
    });
}

/// What is timed. Says whether every command was answered.
#[unsafe(no_mangle)]
extern "C" fn measured() -> u32 {
    BENCH.with_borrow_mut(|Bench { world, pieces }| {
        pieces.iter().for_each(|piece| world.turn(piece));
        u32::from(world.replies > COMMANDS)
    })
}

/// Bytes that the engine holds now.
#[unsafe(no_mangle)]
extern "C" fn used_bytes() -> u32 {
    memory::used_bytes() as u32
}
