//! Loading hostile snapshots and payloads takes little memory, whatever they claim.
//!
//! A test binary of its own, because it counts every allocation. It has one test: the count is global.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use haversack::rdb::{Crc64, Entry, Limits, Loader, Sink, dump, restore};
use haversack::types::PackLimits;
use haversack::types::hash::HashLimits;
use haversack::types::list::ListLimits;
use haversack::types::set::SetLimits;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Bytes ever asked for.
static MADE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        MADE.fetch_add(layout.size(), Relaxed);
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

/// Knows how many bytes there are in all.
struct Drop(u64);

impl Sink for Drop {
    fn seed(&mut self) -> u64 {
        1
    }

    fn room(&self) -> u64 {
        self.0
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

fn payload(body: &[u8], version: u16) -> Vec<u8> {
    let mut out = [body, &version.to_le_bytes()].concat();
    let sum = Crc64::of(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// Feeds it in chunks of so many bytes until it is refused or taken.
fn feed(file: &[u8], chunk: usize) {
    let mut loader = Loader::new(LIMITS, false);
    for piece in file.chunks(chunk) {
        if loader.feed(piece, &mut Drop(file.len() as u64)).is_err() {
            return;
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    /// Changes three bytes.
    fn damage(&mut self, bytes: &mut [u8]) {
        for _ in 0..3 {
            let at = self.below(bytes.len());
            bytes[at] = self.below(256) as u8;
        }
    }
}

#[test]
fn memory_follows_the_input() {
    compressed_packs_take_what_they_stand_for();
    empty_claims_take_nothing();
    damaged_snapshots_take_little();
    damaged_payloads_take_little();
    huge_strings_are_read_once();
    a_snapshot_of_any_size_goes_through();
}

/// Compression makes three bytes 264, that is 88 each. A list is kept; the others have duplicates.
fn compressed_packs_take_what_they_stand_for() {
    let bomb = bomb(4000);
    for kind in [16, 17, 20] {
        let body = payload(&[&[kind][..], &bomb].concat(), 12);
        let used = peak(|| assert!(restore(&body, &LIMITS, 1, true).is_err()));
        assert!(used < 100 * body.len(), "type {kind}: {used} for {}", body.len());
    }
    let list = payload(&[&[18, 1, 2][..], &bomb].concat(), 12);
    let used = peak(|| assert!(restore(&list, &LIMITS, 1, true).is_ok()));
    assert!(used < 200 * list.len(), "list: {used} for {}", list.len());
    // The same node over and over, each in a piece of its own.
    let file = [&b"REDIS0012\x12\x01k\x05"[..], &[&[2][..], &bomb].concat().repeat(5), &[255; 9]].concat();
    let used = peak(|| feed(&file, 700));
    assert!(used < 200 * file.len(), "list in pieces: {used} for {}", file.len());
}

/// Lengths and counts that no bytes follow.
fn empty_claims_take_nothing() {
    for kind in 0..26 {
        for claim in [&b"\x80\x7f\xff\xff\xff"[..], b"\x81\0\0\0\x7f\xff\xff\xff\xff", b"\xc3\x01\x80\x7f\xff\xff\xff"]
        {
            // Types 22 to 25 have a time in front of the count, or are Valkey's.
            for time in [&b""[..], &[1; 8]] {
                let body = [&[kind][..], time, claim, &[1; 100]].concat();
                let file = [&[kind, 1, b'k'][..], time, claim, &[1; 100]].concat();
                for (version, head) in [(12, b"REDIS0012"), (80, b"VALKEY080")] {
                    let used = peak(|| drop(restore(&payload(&body, version), &LIMITS, 1, true)));
                    assert!(used < 10_000, "type {kind}: {used}");
                    for chunk in [1, 1000] {
                        let used = peak(|| feed(&[head, &file[..]].concat(), chunk));
                        assert!(used < 10_000, "type {kind}: {used}");
                    }
                }
            }
        }
    }
}

const SNAPSHOTS: [&[u8]; 5] = [
    include_bytes!("golden/redis-8.2/dump.rdb"),
    include_bytes!("golden/valkey-9.1/dump.rdb"),
    include_bytes!("golden/redis-5.0/dump.rdb"),
    include_bytes!("golden/redis-7.4-rc/dump.rdb"),
    include_bytes!("golden/versions/v11/dump.rdb"),
];

fn damaged_snapshots_take_little() {
    let mut random = Random(1);
    for n in 0..2500 {
        let mut bytes = SNAPSHOTS[n % SNAPSHOTS.len()].to_vec();
        random.damage(&mut bytes);
        let chunk = [1 + random.below(3000), usize::MAX][random.below(2)];
        let used = peak(|| feed(&bytes, chunk));
        assert!(used < 50 * bytes.len() + 10_000, "{used} for {}", bytes.len());
    }
}

/// The values of a snapshot as payloads.
struct Payloads(Vec<Vec<u8>>);

impl Sink for Payloads {
    fn seed(&mut self) -> u64 {
        1
    }

    fn select_db(&mut self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), String> {
        let mut payload = dump(entry.value.as_ref(), true);
        payload.truncate(payload.len() - 10);
        self.0.push(payload);
        Ok(())
    }
}

fn damaged_payloads_take_little() {
    let mut payloads = Payloads(Vec::new());
    Loader::new(LIMITS, true).feed(SNAPSHOTS[0], &mut payloads).expect("it is right");
    let mut random = Random(2);
    let mut taken = 0;
    for n in 0..6000 {
        let mut body = payloads.0[n % payloads.0.len()].clone();
        random.damage(&mut body);
        let whole = payload(&body, [12, 80][random.below(2)]);
        let used = peak(|| taken += usize::from(restore(&whole, &LIMITS, 1, true).is_ok()));
        assert!(used < 150 * whole.len() + 10_000, "{used} for {}", whole.len());
    }
    assert!(taken > 500, "{taken} payloads were still right: most damage should not end at the first byte");
}

/// What stands before a huge string is not decompressed again for each piece of it; and there is no room for more
/// than the string twice: as it came, and as it is kept.
fn huge_strings_are_read_once() {
    let len = 264 * 300 + 2;
    let mut name = vec![0xC3, 0x80];
    name.extend_from_slice(&(3 * 300 + 3u32).to_be_bytes());
    name.push(0x80);
    name.extend_from_slice(&(len as u32).to_be_bytes());
    name.extend_from_slice(&[0, b'x']);
    name.extend([0xE0, 0xFF, 0x00].repeat(300));
    name.extend([0, b'y']);
    name[5] += 1;
    let huge = 30 << 20;
    let value = [&[0x80][..], &(huge as u32).to_be_bytes(), &vec![b'v'; huge]].concat();
    for item in [&[&[0][..], &name].concat(), &[&[4, 1, b'k', 1][..], &name].concat()] {
        let file = [b"REDIS0012", &item[..], &value, &[255, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        let mut done = false;
        let before = MADE.load(Relaxed);
        let used = peak(|| {
            let mut loader = Loader::new(LIMITS, true);
            for piece in file.chunks(1 << 14) {
                assert_eq!(loader.feed(piece, &mut Drop(0)), Ok(piece.len()));
            }
            done = loader.is_done();
        });
        let made = MADE.load(Relaxed) - before;
        assert!(done && used < 3 * huge, "{used}");
        assert!(made < 6 * huge, "{made}");
    }
}

/// Nothing is kept but the item in the middle.
fn a_snapshot_of_any_size_goes_through() {
    let mut file = b"REDIS0012".to_vec();
    for n in 0..200_000u32 {
        file.extend_from_slice(&[0, 4]);
        file.extend_from_slice(&n.to_be_bytes());
        file.extend_from_slice(&[50; 51]);
    }
    file.extend([0xFF, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut loader = Loader::new(LIMITS, true);
    let used = peak(|| assert_eq!(loader.feed(&file, &mut Drop(0)), Ok(file.len())));
    assert!(loader.is_done() && used < 1 << 20, "{used}");
}
