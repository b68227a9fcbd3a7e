//! The workloads of `workloads.rs`, made to be counted by callgrind.
//!
//! Not a benchmark by itself: run without valgrind it only proves that the workloads are answered without an
//! error. `tests/instructions.rs` builds it, runs it under valgrind and compares what [`measured`] took with
//! `tests/bench/instructions.tsv`. The names of the workloads are printed in their order; callgrind writes one
//! profile for each, which `callgrind_annotate` shows by function.
//!
//! Redis' counterpart: none.

mod workloads;

use haversack::native::memory::Counting;

use workloads::{COMMANDS, WORKLOADS, World};

/// The server's allocator: what a command allocates is part of what it costs.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is counted: callgrind collects within this function only, and writes a profile each time it ends.
#[inline(never)]
fn measured(world: &mut World, pieces: &[Vec<u8>]) {
    for piece in pieces {
        world.turn(piece);
    }
}

fn main() {
    let mut world = World::new();
    world.fill();
    for (number, (name, _)) in WORKLOADS.iter().enumerate() {
        let pieces = workloads::pieces(number, 0);
        world.replies = 0;
        measured(&mut world, &pieces);
        assert!(world.replies > COMMANDS, "{name} is answered");
        println!("{name}\t{COMMANDS}");
    }
}
