//! The engine under a seeded storm: random clients, commands, chunkings, time jumps, disconnects,
//! snapshots, and crashes between any two outputs. Everything follows from the seed, which is printed.
//!
//! Always true:
//! - the same seed gives the same bytes;
//! - how input is cut into chunks changes no output;
//! - an engine that is fed the stream has the same digest (it is what a replica or a restart sees);
//! - recovery from any prefix of the stream gives the digest of the last whole unit in it;
//! - a snapshot taken in slices under writes is the picture of its cut.
//!
//! `SIMULATION_SEEDS=n` runs n seeds instead of a few; `SIMULATION_SEED=s` runs that one.

use std::collections::BTreeMap;

use haversack::engine::client::{ClientId, Peer};
use haversack::engine::config::{Allowed, Config};
use haversack::engine::host::{Ask, Host, Report};
use haversack::engine::load::{LoadError, LoadKind};
use haversack::engine::rng::Rng;
use haversack::engine::snapshot::SnapshotProgress;
use haversack::engine::time::{MonoTime, Now, WallTime};
use haversack::engine::{Engine, Outbox};
use haversack::resp::{Value, encode_command};

/// Units of input per seed.
const STEPS: usize = 1500;
const CLIENTS: u64 = 5;

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("SIMULATION_SEED"), number("SIMULATION_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (1..=count.unwrap_or(12)).collect(),
    }
}

fn at(ms: u64) -> Now {
    Now { wall: WallTime::from_ms(1_790_000_000_000 + ms as i64), mono: MonoTime::from_ms(10_000 + ms) }
}

fn new_engine(seed: u64, now: Now) -> Engine {
    let mut config = Config::default();
    config.enable_debug_command = Allowed::Yes;
    config.save.0.clear();
    // Small limits, so that every form of every type occurs.
    let small: [(&[u8], &[u8]); 6] = [
        (b"hash-max-listpack-entries", b"6"),
        (b"zset-max-listpack-entries", b"6"),
        (b"set-max-listpack-entries", b"6"),
        (b"set-max-intset-entries", b"6"),
        (b"list-max-listpack-size", b"5"),
        (b"auto-aof-rewrite-percentage", b"0"),
    ];
    config.set_many(&small, Default::default()).expect("these are parameters");
    let mut engine = Engine::new(config, Host::default(), seed, now);
    engine.set_log_enabled(true);
    engine
}

/// An engine with a host that keeps everything it is given.
struct World {
    engine: Engine,
    now_ms: u64,
    clients: BTreeMap<u64, ClientId>,
    outbox: Outbox,
    /// Everything appended to the stream, and where its units end.
    log: Vec<u8>,
    unit_ends: Vec<usize>,
    /// Everything sent, by client number.
    sent: BTreeMap<u64, Vec<u8>>,
    /// The snapshot being pulled, and what it must be equal to.
    snapshot: Option<(Vec<u8>, String)>,
    /// It is one that was not asked for by a command.
    exports: bool,
    snapshots_checked: usize,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            engine: new_engine(seed, at(0)),
            now_ms: 0,
            clients: BTreeMap::new(),
            outbox: Outbox::default(),
            log: Vec::new(),
            unit_ends: vec![0],
            sent: BTreeMap::new(),
            snapshot: None,
            exports: false,
            snapshots_checked: 0,
        }
    }

    fn client(&mut self, number: u64) -> ClientId {
        let now = at(self.now_ms);
        let engine = &mut self.engine;
        *self.clients.entry(number).or_insert_with(|| engine.connect(now, Peer { local: true, ..Peer::default() }))
    }

    fn receive(&mut self, number: u64, bytes: &[u8]) {
        let id = self.client(number);
        self.engine.receive(at(self.now_ms), id, bytes);
    }

    fn disconnect(&mut self, number: u64) {
        if let Some(id) = self.clients.remove(&number) {
            self.engine.disconnect(at(self.now_ms), id);
        }
    }

    /// Takes everything out of the engine.
    fn pump(&mut self) {
        loop {
            self.engine.drain(&mut self.outbox);
            if !self.outbox.append.is_empty() {
                self.log.append(&mut self.outbox.append);
                self.unit_ends.push(self.log.len());
            }
            let sends = std::mem::take(&mut self.outbox.sends);
            let closes: Vec<ClientId> = self.outbox.closes.drain(..).chain(self.outbox.drops.drain(..)).collect();
            let asks = std::mem::take(&mut self.outbox.asks);
            for (id, bytes) in sends {
                let number = self.clients.iter().find(|(_, client)| **client == id).map(|(number, _)| *number);
                self.sent.entry(number.unwrap_or(u64::MAX)).or_default().extend_from_slice(&bytes);
                self.engine.report(at(self.now_ms), Report::Sent { client: id, bytes: bytes.len() });
            }
            self.clients.retain(|_, client| !closes.contains(client));
            if asks.is_empty() {
                return;
            }
            for ask in asks {
                match ask {
                    Ask::StartSnapshot { .. } => {
                        let digest = self.digest();
                        assert!(self.snapshot.is_none(), "a snapshot begins within another");
                        self.snapshot = Some((Vec::new(), digest));
                    }
                    Ask::CancelSnapshot => self.snapshot = None,
                    _ => {}
                }
            }
        }
    }

    /// Pulls a slice of the snapshot under way.
    fn pull(&mut self, seed: u64) {
        let Some((bytes, digest)) = &mut self.snapshot else { return };
        if self.engine.snapshot_chunk(64, bytes) == SnapshotProgress::More {
            return;
        }
        let mut copy = new_engine(seed ^ 0x5eed, at(self.now_ms));
        // Loaded as the base of a log: what expires is still there, as it was at the cut.
        load(&mut copy, self.now_ms, bytes).expect("our own snapshot");
        assert_eq!(digest_of(&mut copy, self.now_ms), *digest, "a snapshot is not the picture of its cut");
        self.snapshot = None;
        self.snapshots_checked += 1;
        if !std::mem::take(&mut self.exports) {
            self.engine.report(at(self.now_ms), Report::SnapshotStored);
        }
    }

    /// Begins a snapshot that no command asks for, or gives it up.
    fn export(&mut self) {
        self.pump();
        let now = at(self.now_ms);
        if self.exports {
            self.engine.cancel_export(now);
            (self.exports, self.snapshot) = (false, None);
        } else if self.engine.begin_export(now) {
            self.exports = true;
            let digest = self.digest();
            self.snapshot = Some((Vec::new(), digest));
        }
    }

    fn digest(&mut self) -> String {
        digest_of(&mut self.engine, self.now_ms)
    }
}

fn load(engine: &mut Engine, now_ms: u64, bytes: &[u8]) -> Result<(), LoadError> {
    let now = at(now_ms);
    engine.begin_load(now, bytes.len() as u64);
    engine.begin_file(LoadKind::Log);
    let mut done = Ok(());
    for chunk in bytes.chunks(1000) {
        done = done.and_then(|()| engine.load(now, chunk));
    }
    let done = done.and_then(|()| engine.end_file());
    engine.end_load(now);
    done
}

/// The digest of all data, asked by a client of its own, with nothing due deleted by the question: keys
/// whose time has come have gone before by the tick.
fn digest_of(engine: &mut Engine, now_ms: u64) -> String {
    let now = at(now_ms);
    let id = engine.connect(now, Peer { local: true, ..Peer::default() });
    let mut bytes = Vec::new();
    encode_command([&b"DEBUG"[..], b"DIGEST"], &mut bytes);
    let mut before = Outbox::default();
    engine.drain(&mut before);
    engine.receive(now, id, &bytes);
    let mut outbox = Outbox::default();
    engine.drain(&mut outbox);
    engine.disconnect(now, id);
    let reply = outbox.sends.iter().find(|(client, _)| *client == id).map(|(_, reply)| reply.clone());
    let (value, _) = Value::parse(&reply.expect("a reply")).expect("well-formed").expect("whole");
    assert!(before.sends.is_empty() && before.append.is_empty(), "pump before asking");
    let text = value.to_string();
    assert_eq!(text.len(), 41, "not a digest: {text}");
    text
}

/// A random command over a few keys; words of every family.
fn command(rng: &mut Rng) -> Vec<Vec<u8>> {
    let key = |rng: &mut Rng, kind: &str| format!("{kind}{}", rng.below(4));
    let (s, l, st, h, z) = (key(rng, "s"), key(rng, "l"), key(rng, "t"), key(rng, "h"), key(rng, "z"));
    let any = [&s, &l, &st, &h, &z][rng.below(5) as usize].clone();
    let (n, m) = (rng.below(10).to_string(), (rng.below(400) + 1).to_string());
    let line = match rng.below(72) {
        0 | 1 => format!("SET {s} {n}"),
        2 => format!("SET {s} {m} PX {m}"),
        3 => format!("APPEND {s} {n}"),
        4 => format!("INCR {s}"),
        5 => format!("INCRBYFLOAT {s} 1.5"),
        6 => format!("GETEX {s} PX {m}"),
        7 => format!("GETDEL {s}"),
        8 => format!("SETRANGE {s} {n} abc"),
        9 => format!("MSET {s} 1 {any} 2"),
        10..=13 => format!("RPUSH {l} {n} {m} w{n}"),
        14 => format!("LPUSH {l} {n}"),
        15 => format!("LPOP {l}"),
        16 => format!("RPOP {l} 2"),
        17 => format!("LMOVE {l} l{} LEFT RIGHT", rng.below(4)),
        18 => format!("LREM {l} 1 {n}"),
        19 => format!("LINSERT {l} BEFORE {n} new"),
        20 => format!("LTRIM {l} 0 12"),
        21 => format!("LSET {l} 0 {n}"),
        22 => format!("BLPOP {l} l3 {}", 0.05 * rng.below(4) as f64),
        23 => format!("BLMOVE {l} l2 LEFT LEFT 0.1"),
        24..=27 => format!("SADD {st} {n} {m} m{n}"),
        28 => format!("SREM {st} {n}"),
        29 => format!("SPOP {st}"),
        30 => format!("SPOP {st} 3"),
        31 => format!("SMOVE {st} t0 {n}"),
        32 => format!("SUNIONSTORE {st} t1 t2"),
        33 => format!("SDIFFSTORE {st} t1 t2"),
        34..=37 => format!("HSET {h} f{n} {m} g{m} 1"),
        38 => format!("HDEL {h} f{n}"),
        39 => format!("HINCRBY {h} n 3"),
        40 => format!("HINCRBYFLOAT {h} fl 0.5"),
        41 => format!("HPEXPIRE {h} {m} FIELDS 2 f{n} g{m}"),
        42 => format!("HPERSIST {h} FIELDS 1 f{n}"),
        43 => format!("HGETDEL {h} FIELDS 1 f{n}"),
        44 => format!("HSETEX {h} PX {m} FIELDS 1 f{n} x"),
        45..=48 => format!("ZADD {z} {n} a{m} {m} b{n}"),
        49 => format!("ZINCRBY {z} 1.25 b{n}"),
        50 => format!("ZREM {z} b{n}"),
        51 => format!("ZPOPMIN {z}"),
        52 => format!("ZPOPMAX {z} 2"),
        53 => format!("ZRANGESTORE {z} z1 0 4"),
        54 => format!("ZUNIONSTORE {z} 2 z1 z2"),
        55 => format!("BZPOPMIN {z} z3 0.1"),
        56 => format!("ZREMRANGEBYSCORE {z} 2 4"),
        57 => format!("PEXPIRE {any} {m}"),
        58 => format!("PERSIST {any}"),
        59 => format!("DEL {any}"),
        60 => format!("UNLINK {any} {s}"),
        61 => format!("RENAME {any} {any}x"),
        62 => format!("COPY {any} {s} REPLACE"),
        63 => format!("SORT {l} STORE l1 ALPHA"),
        64 => format!("MULTI\nSET {s} 5\nRPUSH {l} q\nINCR {s}\nEXEC"),
        65 => format!("WATCH {any}\nMULTI\nSADD {st} w\nEXEC"),
        66 => format!("SELECT {}", rng.below(2)),
        67 => format!("MOVE {any} {}", rng.below(2)),
        68 => ["SWAPDB 0 1", "FLUSHDB", "FLUSHALL ASYNC"][rng.below(3) as usize].to_owned(),
        69 => format!("GET {any}"),
        70 => format!("TYPE {any}"),
        _ => format!("SETNX {any} {n}"),
    };
    line.lines().map(|line| line.as_bytes().to_vec()).collect()
}

/// Bytes of one input: some commands, well-formed, as RESP or inline.
fn input(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=rng.below(3) {
        for line in command(rng) {
            if rng.below(10) == 0 {
                bytes.extend_from_slice(&line);
                bytes.extend_from_slice(b"\r\n");
            } else {
                let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
                encode_command(words, &mut bytes);
            }
        }
    }
    bytes
}

/// Runs a seed to its end. `chunk` cuts every input; the storm itself does not depend on it.
fn storm(seed: u64, chunk: usize) -> World {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        match rng.below(20) {
            0 => world.now_ms += rng.below(300),
            1 if rng.below(4) == 0 => {
                let number = rng.below(CLIENTS);
                world.disconnect(number);
            }
            2 if rng.below(4) == 0 => match rng.below(2) {
                0 => world.receive(100, b"BGREWRITEAOF\r\n"),
                _ => world.export(),
            },
            _ => {
                let number = rng.below(CLIENTS);
                let bytes = input(&mut rng);
                let size = if chunk == 0 { bytes.len() } else { chunk };
                for piece in bytes.chunks(size) {
                    world.receive(number, piece);
                }
            }
        }
        world.engine.tick(at(world.now_ms));
        world.pump();
        world.pull(seed);
        world.pump();
    }
    while world.snapshot.is_some() {
        world.pull(seed);
        world.pump();
    }
    world
}

/// A command that changes a large value, or does away with it.
fn large_command(rng: &mut Rng) -> String {
    let key = |rng: &mut Rng, kind: &str| format!("{kind}{}", rng.below(3));
    let (l, st, h, z, s) = (key(rng, "l"), key(rng, "t"), key(rng, "h"), key(rng, "z"), key(rng, "s"));
    let any = [&l, &st, &h, &z, &s][rng.below(5) as usize].clone();
    let (n, m) = (rng.below(500), rng.below(500));
    match rng.below(60) {
        0..=2 => format!("HSET {h} m{n} {m} m{m} {n}"),
        3..=5 => format!("HDEL {h} m{n} m{m} m7"),
        6 => format!("HPEXPIRE {h} {} FIELDS 2 m{n} m{m}", n + 1),
        7 => format!("HPERSIST {h} FIELDS 1 m{n}"),
        8..=10 => format!("SADD {st} m{n} m{m} x{n}"),
        11..=13 => format!("SREM {st} m{n} m{m}"),
        14 => format!("SPOP {st} 5"),
        15..=17 => format!("ZADD {z} {n} m{m} {m} m{n}"),
        18 => format!("ZINCRBY {z} -100 m{n}"),
        19 | 20 => format!("ZREM {z} m{n} m{m}"),
        21 => format!("ZPOPMIN {z} 3"),
        22 => format!("ZREMRANGEBYRANK {z} -3 -1"),
        23 => format!("LPUSH {l} a{n} b{m}"),
        24 => format!("RPUSH {l} a{n} b{m}"),
        25 => format!("LPOP {l} 7"),
        26 => format!("RPOP {l} 7"),
        27 => format!("LSET {l} {} changed", n % 90),
        28 => format!("LINSERT {l} AFTER m{n} inserted"),
        29 => format!("LREM {l} 2 m{n}"),
        30 => format!("LTRIM {l} 3 -3"),
        31 => format!("LMOVE {l} l1 LEFT RIGHT"),
        32 => format!("RENAME {any} {any}"),
        33 => format!("RENAME {any} {}", key(rng, "x")),
        34 => format!("RENAME {} {any}", key(rng, "x")),
        35 => format!("MOVE {any} {}", rng.below(2)),
        36 => format!("COPY {any} {} REPLACE", key(rng, "x")),
        37 => format!("SET {any} overwritten"),
        38 => format!("UNLINK {any}"),
        39 => format!("DEL {any}"),
        40 => format!("PEXPIRE {any} {}", n + 1),
        41 => "SWAPDB 0 1".to_owned(),
        42 if n < 60 => "FLUSHDB".to_owned(),
        43 if n < 30 => "FLUSHALL ASYNC".to_owned(),
        44 => format!("SELECT {}", rng.below(2)),
        45 => format!("SUNIONSTORE {st} t0 t1"),
        46 => format!("SPOP {st} 100000"),
        47 => format!("LTRIM {l} 1 0"),
        48 => format!("ZREMRANGEBYRANK {z} 0 -1"),
        49 => format!("SET {s} {}", "written anew ".repeat(n as usize * 8).trim_end().replace(' ', "_")),
        50..=52 => format!("SETRANGE {s} {} changed{n}", n * 130),
        53 => format!("SETRANGE {s} {} {}", n * 60, "longer".repeat(m as usize * 8 + 1)),
        54 | 55 => format!("APPEND {s} more{n}"),
        56 => format!("GETDEL {s}"),
        57 => format!("INCR {s}"),
        58 => format!("GETSET {s} {n}"),
        _ => format!("STRLEN {s}"),
    }
}

/// Fills a value that is missing.
fn fill(world: &mut World, rng: &mut Rng) {
    let mut bytes = Vec::new();
    let which = rng.below(3);
    for (command, kind) in [("RPUSH", "l"), ("SADD", "t"), ("HSET", "h"), ("ZADD", "z")] {
        let key = format!("{kind}{which}");
        let mut args = vec![command.to_owned(), key];
        for n in 0..250 {
            match kind {
                "h" | "z" => args.extend([format!("{}{n}", if kind == "h" { "m" } else { "" }), format!("m{n}")]),
                _ => args.push(format!("m{n}")),
            }
        }
        encode_command(args.iter().map(String::as_bytes), &mut bytes);
    }
    // A string of a few pieces in a buffer of its own, with and without repetitions.
    let (key, len) = (format!("s{which}"), 9_000 + rng.below(80_000) as usize);
    let text: Vec<u8> = match rng.below(2) {
        0 => std::iter::repeat_with(|| rng.next().to_le_bytes()).flatten().take(len).collect(),
        _ => (0..len).map(|n| (n / 7 % 31) as u8).collect(),
    };
    encode_command([b"SET", key.as_bytes(), &text], &mut bytes);
    encode_command([b"APPEND", key.as_bytes(), b"."], &mut bytes);
    world.receive(0, &bytes);
}

/// One snapshot after the other over large values that are changed, deleted, renamed, moved, flushed and
/// expired while they are walked.
#[test]
fn large_values_are_walked_as_they_were_at_the_cut() {
    let mut checked = 0;
    for seed in seeds() {
        println!("seed {seed}");
        let mut rng = Rng::new(seed ^ 0x1a26e);
        let mut world = World::new(seed);
        world.engine.slice_values_from(0);
        if seed % 3 == 0 {
            world.receive(0, b"CONFIG SET aof-use-rdb-preamble no\r\n");
        }
        for step in 0..4 * STEPS {
            if step % 50 == 0 {
                fill(&mut world, &mut rng);
            }
            if world.snapshot.is_none() && !world.engine.is_walking() {
                match rng.below(6) {
                    0 => world.receive(100, b"BGSAVE\r\n"),
                    1 | 2 => world.export(),
                    _ => world.receive(100, b"BGREWRITEAOF\r\n"),
                }
                world.pump();
            }
            if world.exports && rng.below(100) == 0 {
                match rng.below(2) {
                    0 => world.export(),
                    // It waits for the export.
                    _ => world.receive(100, b"BGREWRITEAOF\r\n"),
                }
            }
            if rng.below(30) == 0 {
                world.now_ms += rng.below(40);
            }
            let line = large_command(&mut rng);
            world.receive(rng.below(2), format!("{line}\r\n").as_bytes());
            world.engine.tick(at(world.now_ms));
            world.pump();
            for _ in 0..rng.below(20) {
                world.pull(seed);
            }
            world.pump();
        }
        while world.snapshot.is_some() {
            world.pull(seed);
            world.pump();
        }
        checked += world.snapshots_checked;
    }
    println!("{checked} snapshots");
    assert!(checked > seeds().len() * 10, "too few snapshots: {checked}");
}

#[test]
fn same_seed_same_bytes_in_any_chunks() {
    for seed in seeds() {
        println!("seed {seed}");
        let (a, b, c) = (storm(seed, 0), storm(seed, 0), storm(seed, 7));
        assert!(a.log == b.log && a.sent == b.sent, "seed {seed}: two runs differ");
        for (number, sent) in &a.sent {
            let other = &c.sent[number];
            let at = sent.iter().zip(other).position(|(a, b)| a != b).unwrap_or(sent.len().min(other.len()));
            let around =
                |bytes: &[u8]| bytes[at.saturating_sub(120)..(at + 60).min(bytes.len())].escape_ascii().to_string();
            assert!(
                sent == other,
                "seed {seed}: chunks change the replies of client {number}:\n{}\n{}",
                around(sent),
                around(other)
            );
        }
        assert!(a.log == c.log, "seed {seed}: chunks change the stream");
        assert!(a.log.len() > 10_000, "seed {seed}: a storm in a glass of water");
    }
}

#[test]
fn a_reader_of_the_stream_has_the_same_data() {
    for seed in seeds() {
        println!("seed {seed}");
        let mut world = storm(seed, 0);
        let mut reader = new_engine(seed + 1, at(world.now_ms));
        load(&mut reader, world.now_ms, &world.log).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(digest_of(&mut reader, world.now_ms), world.digest(), "seed {seed}: the reader has other data");
        assert!(world.snapshots_checked > 0, "seed {seed}: no snapshot was taken");
    }
}

#[test]
fn any_prefix_recovers_to_its_last_whole_unit() {
    for seed in seeds() {
        println!("seed {seed}");
        let world = storm(seed, 0);
        let mut rng = Rng::new(seed ^ 0xc4a5);
        for _ in 0..12 {
            let cut = rng.below(world.log.len() as u64 + 1) as usize;
            let mut torn = new_engine(1, at(world.now_ms));
            let whole = match load(&mut torn, world.now_ms, &world.log[..cut]) {
                Ok(()) => cut,
                Err(LoadError::Truncated { valid }) => valid as usize,
                Err(error) => panic!("seed {seed}, cut at {cut}: {error}"),
            };
            let mut clean = new_engine(2, at(world.now_ms));
            load(&mut clean, world.now_ms, &world.log[..whole]).unwrap_or_else(|e| panic!("seed {seed}, {whole}: {e}"));
            assert_eq!(
                digest_of(&mut torn, world.now_ms),
                digest_of(&mut clean, world.now_ms),
                "seed {seed}: cut at {cut}, whole up to {whole}"
            );
            let last_end = world.unit_ends.iter().rfind(|end| **end <= cut).expect("0 is an end");
            assert!(whole >= *last_end, "seed {seed}: a whole unit is lost: {whole} < {last_end}");
        }
    }
}
