//! What Redis 8.2 was seen to do, as data: every row of `tests/data/errors.tsv` is asked of the engine and
//! must be answered in the same words; every row of `tests/data/propagation-events.tsv` must put the same
//! commands on the stream and raise the same keyspace events.
//!
//! Rows of commands that the table does not have are left out; rows where we differ on purpose stand in the
//! lists below with the reason, and must differ: a row that has come to agree has to leave its list.

mod common;

use common::fits;
use haversack::engine::client::{ClientId, Peer};
use haversack::engine::commands;
use haversack::engine::config::{Allowed, Config};
use haversack::engine::host::{Host, Report};
use haversack::engine::time::{MonoTime, Now, WallTime};
use haversack::engine::{Engine, Outbox};
use haversack::resp::decode::split_args;
use haversack::resp::{OwnedArgs, Value, encode_command};

/// The data before each row.
const DATA: &[&str] = &[
    "SET s hello",
    "SET i 10",
    "RPUSH l a b c",
    "SADD st a b c",
    "SADD st2 b c d",
    "ZADD z 1 a 2 b 3 c",
    "ZADD z2 2 b 3 c 4 d",
    "HSET h f1 v1 f2 v2 n 5",
    "SET e 1 EX 100",
    "XADD x 1-1 a b",
    "XADD x 2-1 a b",
    "XGROUP CREATE x g 0",
    "XREADGROUP GROUP g c COUNT 1 STREAMS x >",
    "XGROUP CREATE xe g $ MKSTREAM",
    "PFADD p a b c",
    "GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
];

/// Replies that differ on purpose, and why.
const DIFFERENT_REPLIES: &[(&str, &str)] = &[
    ("SET l v IFEQ a", "an option of Valkey that Redis 8.2 does not have"),
    ("CONFIG SET dir /nosuch", "only a host with files can tell"),
];

/// Streams and events that differ on purpose, and why.
const DIFFERENT_EFFECTS: &[(&str, &str)] = &[
    ("SET s v IFEQ hello", "an option of Valkey that Redis 8.2 does not have"),
    ("HINCRBYFLOAT h n 1.5", "HSETEX KEEPTTL only where there is a time to keep: others know no HSETEX"),
    ("PUBLISH ch m", "messages go to replicas, not into the log"),
    ("SPUBLISH ch m", "messages go to replicas, not into the log"),
    ("HPEXPIRE h 1 FIELDS 1 f1 ;; DEBUG SLEEP 0.5", "the timer of expiry runs earlier"),
    ("HPEXPIRE h 1 FIELDS 3 f1 f2 n ;; DEBUG SLEEP 0.5", "the timer of expiry runs earlier"),
    (
        "CONFIG SET maxmemory 1 ;; CONFIG SET maxmemory-policy allkeys-random ;; GET s ;; SET zz 1",
        "which keys are evicted, and when, is chance",
    ),
];

/// An engine with a client that asks and one that hears of keyspace events.
struct World {
    engine: Engine,
    now_ms: u64,
    main: ClientId,
    replies: Vec<u8>,
    heard: Vec<u8>,
    stream: Vec<u8>,
}

impl World {
    fn new() -> World {
        let mut config = Config::default();
        config.enable_debug_command = Allowed::Yes;
        config.enable_protected_configs = Allowed::Yes;
        config.save.0.clear();
        config.set_many(&[(b"notify-keyspace-events", b"KEAmn")], Default::default()).expect("a parameter");
        let now = World::at(0);
        // Memory in use, for maxmemory.
        let host = Host { used_memory: || 1 << 20, ..Host::default() };
        let mut engine = Engine::new(config, host, 3, now);
        engine.set_log_enabled(true);
        let peer = Peer { addr: "127.0.0.1:1".into(), laddr: "127.0.0.1:2".into(), local: true, ..Peer::default() };
        let (main, listener) = (engine.connect(now, peer.clone()), engine.connect(now, peer));
        let mut world = World { engine, now_ms: 0, main, replies: Vec::new(), heard: Vec::new(), stream: Vec::new() };
        for line in DATA {
            world.send(main, line);
        }
        world.send(listener, "PSUBSCRIBE __keyevent*");
        world.forget();
        world
    }

    fn at(ms: u64) -> Now {
        Now { wall: WallTime::from_ms(1_790_000_000_000 + ms as i64), mono: MonoTime::from_ms(10_000 + ms) }
    }

    fn forget(&mut self) {
        self.replies.clear();
        self.heard.clear();
        self.stream.clear();
    }

    fn send(&mut self, client: ClientId, line: &str) {
        let mut args = OwnedArgs::new();
        assert!(split_args(line.as_bytes(), &mut args), "bad quotes: {line}");
        // A payload that RESTORE takes.
        let dump = if line.contains("_DUMP_") { self.dump_of_s() } else { Vec::new() };
        let words = args.as_args().iter().map(|word| if word == b"_DUMP_" { dump.as_slice() } else { word });
        let mut bytes = Vec::new();
        encode_command(words, &mut bytes);
        self.engine.receive(World::at(self.now_ms), client, &bytes);
        self.pump();
        // Time stands still while a command runs; who asks for a sleep means what comes after it.
        if let Some(seconds) = line.strip_prefix("DEBUG SLEEP ").and_then(|text| text.parse::<f64>().ok()) {
            self.sleep((seconds * 1000.0) as u64);
        }
    }

    fn dump_of_s(&mut self) -> Vec<u8> {
        self.send(self.main, "DUMP s");
        let value = values(&std::mem::take(&mut self.replies)).pop().expect("a reply");
        value.as_bytes().expect("a payload").to_vec()
    }

    fn sleep(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ms += 1;
            let now = World::at(self.now_ms);
            if self.engine.next_deadline().is_some_and(|deadline| deadline <= now.mono) {
                self.engine.tick(now);
                self.pump();
            }
        }
    }

    /// Takes out what the engine has to say, for a host that does all it is asked at once.
    fn pump(&mut self) {
        let now = World::at(self.now_ms);
        let mut outbox = Outbox::default();
        loop {
            self.engine.drain(&mut outbox);
            self.stream.append(&mut outbox.append);
            for (id, bytes) in outbox.sends.drain(..) {
                self.engine.report(now, Report::Sent { client: id, bytes: bytes.len() });
                if id == self.main {
                    self.replies.extend_from_slice(&bytes);
                } else {
                    self.heard.extend_from_slice(&bytes);
                }
            }
            if outbox.asks.is_empty() {
                return;
            }
            for ask in outbox.asks.drain(..) {
                common::answer(&mut self.engine, now, ask);
            }
        }
    }
}

/// All values in some bytes.
fn values(bytes: &[u8]) -> Vec<Value> {
    let (mut values, mut at) = (Vec::new(), 0);
    while let Some((value, used)) = Value::parse(&bytes[at..]).expect("well-formed") {
        values.push(value);
        at += used;
    }
    assert_eq!(at, bytes.len(), "half a value");
    values
}

/// The stream as text: commands without SELECT, separated as in the data.
fn stream_text(bytes: &[u8]) -> String {
    let mut commands = Vec::new();
    for value in values(bytes) {
        let Value::Array(Some(words)) = value else { panic!("no command: {value}") };
        let words: Vec<String> =
            words.iter().map(|word| String::from_utf8_lossy(word.as_bytes().expect("a word")).into_owned()).collect();
        if words[0] != "SELECT" {
            commands.push(words.join(" "));
        }
    }
    commands.join(" ; ")
}

/// Keyspace events as text: `event:key`, and the db if it is another one.
fn events_text(bytes: &[u8]) -> String {
    let mut events = Vec::new();
    for value in values(bytes) {
        let Value::Array(Some(words)) = value else { panic!("no message: {value}") };
        let word = |at: usize| String::from_utf8_lossy(words[at].as_bytes().expect("a word")).into_owned();
        let (channel, key) = (word(2), word(3));
        let (db, event) =
            channel.strip_prefix("__keyevent@").and_then(|rest| rest.split_once("__:")).expect("an event");
        events.push(if db == "0" { format!("{event}:{key}") } else { format!("{event}:{key}@db{db}") });
    }
    events.join(" ")
}

/// The words that stand for values of one run, as the mark for any text.
fn pattern(text: &str) -> String {
    let marks = ["<sha1>", "<port>", "<id>", "<ms-now>", "<ms-abs>", "<dump>"];
    marks.iter().fold(text.to_owned(), |text, mark| text.replace(mark, "…"))
}

/// The rows of a file whose commands the table has.
fn rows(text: &'static str) -> Vec<Vec<&'static str>> {
    let has = |name: &str| commands::Renames::default().find_full(name.as_bytes()).is_some();
    let known = |command: &str| {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            // What it says of a command depends on that command.
            [first, second, third, ..] if first.eq_ignore_ascii_case("COMMAND") && *second == "GETKEYS" => has(third),
            [first, second, ..] => {
                let container = commands::table()
                    .iter()
                    .any(|(_, spec)| !spec.subcommands.is_empty() && spec.full_name.eq_ignore_ascii_case(first));
                has(first) && (!container || has(&format!("{first}|{second}")))
            }
            [first] => has(first),
            [] => false,
        }
    };
    let all = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    all.map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|row| {
            // What is unknown there is unknown here.
            let first = row[0].split_whitespace().next().unwrap_or_default();
            row[0].split(" ;; ").all(known)
                || row[1].contains("unknown command")
                || row[1].contains("Invalid command")
                || (row[1].contains("unknown subcommand") && has(first))
        })
        .collect()
}

/// Compares what a row says with what was found, unless the row is to differ.
fn judge(row: &str, expected: &str, found: &str, differences: &[(&str, &str)], faults: &mut Vec<String>) {
    let agrees = fits(&pattern(expected), found);
    let listed = differences.iter().any(|(listed, _)| *listed == row);
    if !agrees && !listed {
        faults.push(format!("{row}\n  redis {expected}\n  ours  {found}"));
    }
    if agrees && listed {
        faults.push(format!("{row}\n  agrees now: take it off the list of differences"));
    }
}

#[test]
fn replies() {
    let mut faults = Vec::new();
    let rows = rows(include_str!("data/errors.tsv"));
    for row in &rows {
        let mut world = World::new();
        for line in row[0].split(" ;; ") {
            world.replies.clear();
            world.send(world.main, line);
        }
        // Arrays have commas there and none here.
        let found = values(&world.replies).last().map_or_else(|| "(nothing)".to_owned(), Value::to_string);
        let expected = if row[1].starts_with('[') { row[1].replace(", ", " ") } else { row[1].to_owned() };
        judge(row[0], &expected, &found, DIFFERENT_REPLIES, &mut faults);
    }
    assert!(rows.len() > 300, "only {} rows", rows.len());
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

#[test]
fn propagation_and_events() {
    let mut faults = Vec::new();
    let rows = rows(include_str!("data/propagation-events.tsv"));
    for row in &rows {
        let mut world = World::new();
        let commands: Vec<&str> = row[0].split(" ;; ").collect();
        for (index, line) in commands.iter().enumerate() {
            let is_last = index + 1 == commands.len();
            if is_last && commands[0] != "MULTI" {
                world.forget();
            }
            world.send(world.main, line);
        }
        let found = format!("{}\t{}", stream_text(&world.stream), events_text(&world.heard));
        let expected = format!("{}\t{}", row[1], row.get(2).copied().unwrap_or_default());
        judge(row[0], &expected, &found, DIFFERENT_EFFECTS, &mut faults);
    }
    assert!(rows.len() > 150, "only {} rows", rows.len());
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
}
