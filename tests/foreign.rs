//! Bytes from strangers: requests, logs, configuration files, manifests, all damaged at random. Snapshots and payloads
//! are the business of `rdb_memory.rs`.
//!
//! Whatever they claim, there is no panic, each takes little time, and no more memory than follows from its length.
//! A test binary of its own, because its allocator counts, for each test's thread by itself. Everything follows from
//! seeds; `PROPERTY_ROUNDS=n` takes n times as many, as `pkg-scripts/deep-test` does.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use haversack::engine::client::Peer;
use haversack::engine::config::{Config, Source, Step as FileStep};
use haversack::engine::host::Host;
use haversack::engine::load::LoadKind;
use haversack::engine::rng::Rng;
use haversack::engine::time::{MonoTime, Now, WallTime};
use haversack::engine::{Engine, Outbox};
use haversack::native::storage::manifest::Manifest;
use haversack::resp::decode::{Decoder, Limits as Lengths, Step, split_args};
use haversack::resp::{OwnedArgs, Value, encode_command};

struct Counting;

thread_local! {
    /// Bytes held, and the most since [`peak`] began.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: every call goes to the system allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Most bytes held at once during `work`, beyond those before.
fn peak(work: impl FnOnce()) -> usize {
    let before = HELD.get().0;
    HELD.set((before, before));
    work();
    (HELD.get().1 - before) as usize
}

/// How many inputs a test tries: `usual`, or many times that.
fn rounds(usual: usize) -> usize {
    usual * std::env::var("PROPERTY_ROUNDS").ok().map_or(1, |n| n.parse::<usize>().expect("a number"))
}

/// Damages an input: bytes changed, left out, doubled, put in; numbers replaced; an end cut off.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    const NUMBERS: [&[u8]; 8] = [
        b"0",
        b"-1",
        b"1",
        b"4294967296",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"18446744073709551615",
        b"nan",
    ];
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let end = (at + rng.below(20) as usize).min(bytes.len());
        match rng.below(8) {
            0..=2 if at < bytes.len() => bytes[at] = rng.next() as u8,
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            5 => bytes.insert(at, b"*$#:\r\n\"' \0\xff"[rng.below(11) as usize]),
            6 => match bytes[at..].iter().position(u8::is_ascii_digit) {
                Some(digit) => {
                    let digits = bytes[at + digit..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    let number = NUMBERS[rng.below(8) as usize].iter().copied();
                    bytes.splice(at + digit..at + digit + digits, number);
                }
                None => bytes.truncate(end),
            },
            _ if rng.below(8) == 0 => bytes.truncate(at),
            _ => bytes.extend_from_within(at..end),
        }
    }
}

/// Tries damaged inputs, made from those that `whole` gives; `most` tells what memory is allowed for one.
fn try_damaged(
    name: &str,
    usual: usize,
    whole: &[Vec<u8>],
    most: impl Fn(usize) -> usize,
    mut work: impl FnMut(&[u8]),
) {
    for seed in 0..rounds(usual) as u64 {
        let mut rng = Rng::new(seed);
        let mut bytes = whole[rng.below(whole.len() as u64) as usize].clone();
        damage(&mut rng, &mut bytes);
        let began = Instant::now();
        let used = peak(|| work(&bytes));
        assert!(began.elapsed() < Duration::from_secs(10), "{name}, seed {seed}: {:?}", began.elapsed());
        assert!(used <= most(bytes.len()), "{name}, seed {seed}: {used} for {}", bytes.len());
    }
}

const NOW: Now = Now { wall: WallTime::from_ms(1_790_000_000_000), mono: MonoTime::from_ms(10_000) };

fn engine() -> Engine {
    let mut config = Config::default();
    config.save.0.clear();
    // So that a request may ask for a megabyte at once, not for half a gigabyte.
    config.set_many(&[(b"proto-max-bulk-len", b"1mb")], Default::default()).expect("a parameter");
    Engine::new(config, Host::default(), 1, NOW)
}

/// The commands of every section of the transcripts, as they are sent.
fn requests() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut texts: Vec<_> =
        std::fs::read_dir(folder).expect("transcripts").map(|it| it.expect("a file").path()).collect();
    texts.sort();
    let mut sections = Vec::new();
    for text in texts {
        let text = std::fs::read_to_string(text).expect("text");
        for section in text.split("\n== ") {
            let mut bytes = Vec::new();
            for line in section.lines().filter_map(|line| line.strip_prefix("> ")) {
                let mut args = OwnedArgs::new();
                // What blocks, or ends the server, is no use here.
                if split_args(line.as_bytes(), &mut args) && !args.as_args().is_empty() && !line.starts_with("SHUTDOWN")
                {
                    encode_command(args.as_args().iter(), &mut bytes);
                }
            }
            sections.push(bytes);
        }
    }
    assert!(sections.len() > 100, "these are not all transcripts");
    sections.retain(|bytes| !bytes.is_empty());
    sections
}

#[test]
fn damaged_requests() {
    let whole = requests();
    try_damaged(
        "decoder",
        4000,
        &whole,
        |len| 64 * 1024 + 64 * len,
        |bytes| {
            let (mut decoder, mut at) = (Decoder::new(), 0);
            while let Ok(Step::Command { consumed } | Step::Empty { consumed }) =
                decoder.decode(&bytes[at..], &Lengths::default())
            {
                at += consumed;
            }
            let _ = Value::parse(bytes);
        },
    );
    try_damaged(
        "engine",
        1500,
        &whole,
        |len| (24 << 20) + 64 * len,
        |bytes| {
            let (mut engine, mut outbox) = (engine(), Outbox::default());
            let client = engine.connect(NOW, Peer { local: true, ..Peer::default() });
            for piece in bytes.chunks(1 + bytes.len() / 3) {
                engine.receive(NOW, client, piece);
                engine.drain(&mut outbox);
            }
            engine.tick(Now { wall: WallTime::from_ms(1_790_000_100_000), mono: MonoTime::from_ms(110_000) });
            engine.drain(&mut outbox);
        },
    );
}

/// Loads a file as at start, in pieces, and looks at what is there afterwards.
fn load(kind: LoadKind, bytes: &[u8]) {
    let mut engine = engine();
    engine.begin_load(NOW, bytes.len() as u64);
    engine.begin_file(kind);
    let whole = bytes.chunks(1 + bytes.len() / 3).all(|piece| engine.load(NOW, piece).is_ok());
    let _ = whole && engine.end_file().is_ok();
    engine.end_load(NOW);
    let client = engine.connect(NOW, Peer { local: true, ..Peer::default() });
    engine.receive(NOW, client, b"PING\r\n");
    let mut outbox = Outbox::default();
    engine.drain(&mut outbox);
    assert!(outbox.sends.iter().any(|(_, bytes)| bytes == b"+PONG\r\n"));
}

#[test]
fn damaged_logs() {
    let mut log = b"#TS:1790000000\r\n".to_vec();
    let lines = "SELECT 0|SET s v|SET n 10 PXAT 1790000500000|RPUSH l a b c|SADD t 1 2 3|ZADD z 1 a 2 b|HSET h f v g 2|MULTI|\
        INCR n|LPOP l|EXEC|PEXPIREAT h 1790000900000|HPEXPIREAT h 1790000900000 FIELDS 1 f|SELECT 1|RPUSHX l x|DEL s";
    for (number, line) in lines.split('|').enumerate() {
        encode_command(line.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut log);
        if number % 4 == 3 {
            log.extend_from_slice(b"#TS:1790000001\r\n");
        }
    }
    let snapshots: [&[u8]; 3] = [
        include_bytes!("golden/redis-7.0/dump.rdb"),
        include_bytes!("golden/redis-8.2/dump.rdb"),
        include_bytes!("golden/valkey-9.1/dump.rdb"),
    ];
    let most = |len| (4 << 20) + 200 * len;
    try_damaged("log of commands", 3000, &[log.clone()], most, |bytes| load(LoadKind::Log, bytes));
    let whole = snapshots.map(|snapshot| [snapshot, &log].concat());
    try_damaged("log with a snapshot", 300, &whole, most, |bytes| load(LoadKind::Log, bytes));
    let whole = snapshots.map(<[u8]>::to_vec);
    try_damaged("snapshot", 300, &whole, most, |bytes| load(LoadKind::Snapshot, bytes));
}

#[test]
fn damaged_configurations() {
    let table = include_str!("data/config-defaults.tsv");
    let rows = table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'));
    let lines: Vec<String> = rows
        .filter(|(_, value)| *value != "?")
        .map(|(name, value)| match value {
            "" => format!("{name} \"\"\n"),
            value if value.contains(' ') => format!("{name} \"{value}\"\n"),
            value => format!("{name} {value}\n"),
        })
        .chain(["include other.conf\n".to_owned(), "rename-command GET \"\"\n".to_owned()])
        .collect();
    let whole: Vec<Vec<u8>> = lines.chunks(5).map(|lines| lines.concat().into_bytes()).collect();
    try_damaged(
        "configuration",
        6000,
        &whole,
        |len| 128 * 1024 + 64 * len,
        |bytes| {
            let (mut config, mut source) = (Config::default(), Source::new(bytes));
            while let Ok(FileStep::Include(_)) = config.load(&mut source) {}
            let _ = config.check();
        },
    );
}

#[test]
fn damaged_manifests() {
    let whole = b"file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.1.incr.aof seq 1 type h\n\
        file \"append only.aof.3.incr.aof\" seq 3 type i startoffset 0\n";
    try_damaged(
        "manifest",
        6000,
        &[whole.to_vec()],
        |len| 16 * 1024 + 64 * len,
        |bytes| {
            let _ = Manifest::parse(&String::from_utf8_lossy(bytes));
        },
    );
}
