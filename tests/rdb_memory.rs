//! Loading hostile snapshots and payloads takes little memory, whatever they claim.
//!
//! A test binary of its own, because it counts every allocation. It has one test: the count is global.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use haversack::rdb::{Crc64, Entry, Limits, Loader, Sink, restore};
use haversack::types::PackLimits;
use haversack::types::hash::HashLimits;
use haversack::types::list::ListLimits;
use haversack::types::set::SetLimits;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Most bytes held at once during `work`, beyond those before.
fn peak(work: impl FnOnce()) -> usize {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed) - before
}

const LIMITS: Limits = Limits {
    list: ListLimits { fill: -2, compress_depth: 0, packed_threshold: 0 },
    set: SetLimits { intset_entries: 512, pack: PackLimits { entries: 128, value: 64 }, seed: 7 },
    hash: HashLimits { pack: PackLimits { entries: 512, value: 64 }, seed: 8 },
    zset: PackLimits { entries: 128, value: 64 },
};

struct Drop;

impl Sink for Drop {
    fn seed(&mut self) -> u64 {
        1
    }

    fn select_db(&mut self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn entry(&mut self, _: Entry<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// A compressed listpack of about `blocks * 264` bytes, the same element over and over.
fn bomb(blocks: usize) -> Vec<u8> {
    let len = 6 + 2 + 264 * blocks + 1;
    let mut packed = vec![7];
    packed.extend_from_slice(&(len as u32).to_le_bytes());
    packed.extend_from_slice(&[0xFF, 0xFF, 0x05, 0x01]);
    packed.extend([0xE0, 0xFF, 0x01].repeat(blocks));
    packed.extend([0x00, 0xFF]);
    let mut string = vec![0xC3, 0x80];
    string.extend_from_slice(&(packed.len() as u32).to_be_bytes());
    string.push(0x80);
    string.extend_from_slice(&(len as u32).to_be_bytes());
    string.extend(packed);
    string
}

fn payload(body: &[u8]) -> Vec<u8> {
    let mut out = [body, &12u16.to_le_bytes()].concat();
    let sum = Crc64::of(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

#[test]
fn memory_follows_the_input() {
    // Compression makes three bytes 264, that is 88 each. A list is kept; the others have duplicates.
    let bomb = bomb(4000);
    for kind in [16, 17, 20] {
        let body = payload(&[&[kind][..], &bomb].concat());
        let used = peak(|| assert!(restore(&body, &LIMITS, 1, true).is_err()));
        assert!(used < 100 * body.len(), "type {kind}: {used} for {}", body.len());
    }
    let list = payload(&[&[18, 1, 2][..], &bomb].concat());
    let used = peak(|| assert!(restore(&list, &LIMITS, 1, true).is_ok()));
    assert!(used < 200 * list.len(), "list: {used} for {}", list.len());

    // Lengths and counts that no bytes follow.
    for kind in 0..26 {
        for claim in [&b"\x80\x7f\xff\xff\xff"[..], b"\x81\0\0\0\x7f\xff\xff\xff\xff", b"\xc3\x01\x80\x7f\xff\xff\xff"]
        {
            let body = [&[kind][..], claim, &[1; 100]].concat();
            let used = peak(|| drop(restore(&payload(&body), &LIMITS, 1, true)));
            assert!(used < 10_000, "type {kind}: {used}");
            let file = [b"REDIS0012", &[kind, 1, b'k'][..], claim, &[1; 100]].concat();
            let mut loader = Loader::new(LIMITS, true);
            let used = peak(|| drop(loader.feed(&file, &mut Drop)));
            assert!(used < 10_000, "type {kind}: {used}");
        }
    }

    // Damage of every kind.
    let dump = include_bytes!("golden/redis-8.2/dump.rdb");
    let mut random = 1u64;
    let mut below = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % bound
    };
    for _ in 0..2000 {
        let mut bytes = dump.to_vec();
        for _ in 0..3 {
            let at = below(bytes.len());
            bytes[at] = below(256) as u8;
        }
        let mut loader = Loader::new(LIMITS, false);
        let used = peak(|| drop(loader.feed(&bytes, &mut Drop)));
        assert!(used < 50 * bytes.len(), "{used} for {}", bytes.len());
    }

    // A snapshot of any size goes through in little memory: nothing is kept but the item in the middle.
    let mut file = b"REDIS0012".to_vec();
    for n in 0..200_000u32 {
        file.extend_from_slice(&[0, 4]);
        file.extend_from_slice(&n.to_be_bytes());
        file.extend_from_slice(&[50; 51]);
    }
    file.extend([0xFF, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut loader = Loader::new(LIMITS, true);
    let used = peak(|| assert_eq!(loader.feed(&file, &mut Drop), Ok(file.len())));
    assert!(loader.is_done() && used < 1 << 20, "{used}");
}
