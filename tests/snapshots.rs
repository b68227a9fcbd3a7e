//! Snapshots of what is larger than a slice, and memory put aside while they are taken: the engine alone, and the
//! server. What a snapshot holds after random changes is the business of `simulation.rs`; what survives that of
//! `recovery.rs`.

mod common;

use common::{Client, Server, fresh_folder, haversack};
use haversack::engine::client::{ClientId, Peer};
use haversack::engine::config::Config;
use haversack::engine::host::Host;
use haversack::engine::load::LoadKind;
use haversack::engine::rng::Rng;
use haversack::engine::snapshot::SnapshotProgress;
use haversack::engine::time::{MonoTime, Now, WallTime};
use haversack::engine::{Engine, Outbox};
use haversack::resp::{Value, encode_command};

const NOW: Now = Now { wall: WallTime::from_ms(1_790_000_000_000), mono: MonoTime::from_ms(10_000) };

struct World {
    engine: Engine,
    client: ClientId,
}

impl World {
    fn new(settings: &[(&[u8], &[u8])]) -> World {
        let mut config = Config::default();
        config.save.0.clear();
        config.set_many(settings, Default::default()).expect("these are parameters");
        let mut engine = Engine::new(config, Host::default(), 7, NOW);
        let client = engine.connect(NOW, Peer { local: true, ..Peer::default() });
        World { engine, client }
    }

    fn ask(&mut self, args: &[&[u8]]) -> Value {
        let (mut bytes, mut outbox) = (Vec::new(), Outbox::default());
        encode_command(args.iter().copied(), &mut bytes);
        self.engine.receive(NOW, self.client, &bytes);
        self.engine.drain(&mut outbox);
        let reply: Vec<u8> = outbox.sends.into_iter().flat_map(|(_, bytes)| bytes).collect();
        Value::parse(&reply).expect("well-formed").expect("whole").0
    }

    /// The rest of the snapshot under way, and the longest piece of it.
    fn pull(&mut self, mut between: impl FnMut(&mut World, usize)) -> (Vec<u8>, usize) {
        let (mut snapshot, mut longest) = (Vec::new(), 0);
        for step in 0.. {
            let mut piece = Vec::new();
            let progress = self.engine.snapshot_chunk(4096, &mut piece);
            longest = longest.max(piece.len());
            snapshot.append(&mut piece);
            if progress != SnapshotProgress::More {
                break;
            }
            between(self, step);
        }
        (snapshot, longest)
    }

    fn load(&mut self, snapshot: &[u8]) {
        self.engine.begin_load(NOW, snapshot.len() as u64);
        self.engine.begin_file(LoadKind::Snapshot);
        for chunk in snapshot.chunks(100_000) {
            self.engine.load(NOW, chunk).expect("our own snapshot");
        }
        self.engine.end_file().expect("whole");
        self.engine.end_load(NOW);
    }
}

fn noise(rng: &mut Rng, len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.next().to_le_bytes()).flatten().take(len).collect()
}

fn prose(rng: &mut Rng, len: usize) -> Vec<u8> {
    const WORDS: [&[u8]; 8] = [b"what ", b"is ", b"packed ", b"well ", b"travels ", b"far", b", ", b"and light\n"];
    std::iter::repeat_with(|| WORDS[rng.below(8) as usize]).flatten().copied().take(len).collect()
}

#[test]
fn huge_strings_come_in_slices_as_they_were_at_the_cut() {
    for compression in [&b"yes"[..], b"no"] {
        let mut rng = Rng::new(3);
        let mut world = World::new(&[(b"rdbcompression", compression)]);
        // The last is too long for what is kept of a compressed form.
        let strings = [noise(&mut rng, 3 << 20), prose(&mut rng, 5_000_001), prose(&mut rng, 17 << 20)];
        let keys: [&[u8]; 3] = [b"noise", b"prose", b"volume"];
        for (key, string) in keys.iter().zip(&strings) {
            world.ask(&[b"SET", key, string]);
        }
        assert!(world.engine.begin_export(NOW));
        let (snapshot, longest) = world.pull(|world, step| match step % 40 {
            1 => drop(world.ask(&[b"SETRANGE", b"noise", b"2000000", &[b'x'; 200_000]])),
            7 => drop(world.ask(&[b"APPEND", b"prose", b"more of it"])),
            13 => drop(world.ask(&[b"SETRANGE", b"prose", b"4999990", b"a change at the very end, and beyond"])),
            20 if step > 200 => drop(world.ask(&[b"SET", b"noise", b"another"])),
            30 => drop(world.ask(&[b"RENAME", b"volume", b"volume"])),
            _ => {}
        });
        assert!(longest < 100_000, "{longest} bytes in one slice");
        let all: usize = strings.iter().map(Vec::len).sum();
        match compression == b"yes" {
            true => assert!(snapshot.len() < all - 3_000_000, "{} of {all} bytes", snapshot.len()),
            false => assert!(snapshot.len() > all, "{} of {all} bytes", snapshot.len()),
        }
        let mut copy = World::new(&[]);
        copy.load(&snapshot);
        for (key, string) in keys.iter().zip(&strings) {
            assert!(copy.ask(&[b"GET", key]) == Value::Bulk(Some(string.clone())), "{}", key.escape_ascii());
        }
    }
}

/// What nobody pulls stays aside; the snapshot says how far beyond the limit that is.
#[test]
fn what_is_put_aside_is_counted() {
    let mut rng = Rng::new(4);
    let mut world = World::new(&[(b"snapshot-memory-limit", b"1mb")]);
    let key = |n: usize| format!("key{n}").into_bytes();
    for n in 0..400 {
        world.ask(&[b"SET", &key(n), &noise(&mut rng, 10_000)]);
    }
    world.ask(&[b"SET", b"large", &noise(&mut rng, 2 << 20)]);
    for n in 0..20_000 {
        world.ask(&[b"HSET", b"hash", &key(n), b"a value of some length, so that it is worth to be kept"]);
    }
    assert!(world.engine.begin_export(NOW));
    assert_eq!(world.engine.snapshot_excess(), 0);
    let mut last = 0;
    // Strings, a string in slices, fields of a hash in slices, and a value that is gone.
    for n in 0..400 {
        world.ask(&[b"SET", &key(n), b"short"]);
    }
    let mut grown = |world: &mut World, by: u64| {
        let excess = world.engine.snapshot_excess();
        assert!(excess >= last + by, "{last} {excess}");
        last = excess;
    };
    grown(&mut world, 3);
    world.ask(&[b"SETRANGE", b"large", b"0", &[b'x'; 2 << 20]]);
    grown(&mut world, 1);
    for n in 0..20_000 {
        world.ask(&[b"HSET", b"hash", &key(n), b"another"]);
    }
    grown(&mut world, 1);
    world.ask(&[b"DEL", b"large"]);
    grown(&mut world, 1);
    world.ask(&[b"CONFIG", b"SET", b"snapshot-memory-limit", b"0"]);
    assert_eq!(world.engine.snapshot_excess(), 0);
    world.ask(&[b"CONFIG", b"SET", b"snapshot-memory-limit", b"1mb"]);
    let (snapshot, _) = world.pull(|_, _| {});
    assert_eq!(world.engine.snapshot_excess(), 0);
    let mut copy = World::new(&[]);
    copy.load(&snapshot);
    assert_eq!(copy.ask(&[b"STRLEN", b"key399"]), Value::Int(10_000));
    assert_eq!(copy.ask(&[b"STRLEN", b"large"]), Value::Int(2 << 20));
    assert_eq!(copy.ask(&[b"HSTRLEN", b"hash", b"key19999"]), Value::Int(54));
}

fn info(client: &mut Client, field: &str) -> u64 {
    let text = client.ask("INFO persistence");
    let found = text.split("\\r\\n").find_map(|line| line.strip_prefix(&format!("{field}:")));
    found.unwrap_or_else(|| panic!("{field} in {text}")).parse().expect("a number")
}

/// A snapshot that is slowed down beyond all patience: writers push it on once the limit is reached.
#[test]
fn writers_wait_rather_than_take_memory_beyond_the_limit() {
    let options = ["--save", "", "--rdb-key-save-delay", "100000000", "--snapshot-memory-limit", "0"];
    let server = Server::start(haversack(), fresh_folder("snapshots"), &options);
    let (mut client, mut rng) = (server.client(), Rng::new(5));
    let mut fill = |client: &mut Client, count: usize| {
        for n in 0..count {
            let (key, value) = (format!("key{n}").into_bytes(), noise(&mut rng, 20_000));
            assert_eq!(client.call(&[&b"SET"[..], &key, &value]).expect("a reply").to_string(), "+OK");
        }
    };
    fill(&mut client, 1000);
    client.ask("BGSAVE");
    fill(&mut client, 400);
    let aside = info(&mut client, "current_cow_size");
    assert!(aside > 7_000_000, "{aside} bytes");
    assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), 1);
    client.ask("CONFIG SET snapshot-memory-limit 1mb");
    fill(&mut client, 1000);
    let (aside, peak) = (info(&mut client, "current_cow_size"), info(&mut client, "current_cow_peak"));
    assert!(aside < 1_200_000 && peak < 9_000_000, "{aside} bytes, {peak} at most");
}
