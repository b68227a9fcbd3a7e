//! Fixed workloads on an engine alone: no socket, no clock, no chance.
//!
//! What `instructions.rs` has counted by callgrind, and what `wasm.rs` times natively and as WebAssembly. Not a
//! program: those that use it bring the allocator of their side, since what a command allocates is part of what it
//! costs. Redis' counterpart: none.

use haversack::engine::client::{ClientId, Peer};
use haversack::engine::config::Config;
use haversack::engine::host::{Host, Report};
use haversack::engine::rng::Rng;
use haversack::engine::time::{MonoTime, Now, WallTime};
use haversack::engine::{Engine, Outbox};
use haversack::resp::encode_command;

/// Keys, members and fields are numbered below this.
const SPACE: u64 = 100_000;

/// Commands that come in one piece, as from a client with this pipeline.
const DEPTH: usize = 16;

/// Commands of one workload; a multiple of [`DEPTH`].
pub const COMMANDS: usize = 8_000;

const NOW: Now = Now { wall: WallTime::from_ms(1_790_000_000_000), mono: MonoTime::from_ms(10_000) };

/// A command as its words, from random numbers.
pub type Command = fn(&mut Rng) -> Vec<String>;

/// The words that a filling command has for the item of this number.
type Item = fn(&mut Rng, u64) -> Vec<String>;

/// The workloads, in the order they run on one engine.
pub const WORKLOADS: &[(&str, Command)] = &[
    ("PING", |_| words("PING", [])),
    ("GET", |rng| words("GET", [key(rng)])),
    ("SET", |rng| words("SET", [key(rng), value(rng)])),
    ("SET EX", |rng| words("SET", [key(rng), value(rng), "EX".into(), "1000".into()])),
    ("EXPIRE", |rng| words("EXPIRE", [key(rng), "2000".into()])),
    ("MGET 10", |rng| words("MGET", std::array::from_fn::<_, 10, _>(|_| key(rng)))),
    ("MSET 10", |rng| {
        words("MSET", std::array::from_fn::<_, 20, _>(|i| if i % 2 == 0 { key(rng) } else { value(rng) }))
    }),
    ("DEL", |rng| words("DEL", [key(rng)])),
    ("INCR", |rng| words("INCR", [format!("count:{:010}", rng.below(SPACE))])),
    ("HSET", |rng| words("HSET", ["hash".into(), member(rng), value(rng)])),
    ("HGET", |rng| words("HGET", ["hash".into(), member(rng)])),
    ("HSET small", |rng| words("HSET", [format!("h:{}", rng.below(10_000)), format!("f{}", rng.below(5)), value(rng)])),
    ("SADD", |rng| words("SADD", ["set".into(), member(rng)])),
    ("SISMEMBER", |rng| words("SISMEMBER", ["set".into(), member(rng)])),
    ("ZADD", |rng| words("ZADD", ["zset".into(), rng.below(SPACE).to_string(), member(rng)])),
    ("ZRANK", |rng| words("ZRANK", ["zset".into(), member(rng)])),
    ("ZSCORE", |rng| words("ZSCORE", ["zset".into(), member(rng)])),
    ("ZRANGEBYSCORE", |rng| {
        let from = rng.below(SPACE);
        words("ZRANGEBYSCORE", ["zset".into(), from.to_string(), (from + 10).to_string()])
    }),
    ("LPUSH", |rng| words("LPUSH", ["list".into(), value(rng)])),
    ("LRANGE 100", |_| words("LRANGE", ["list".into(), "0".into(), "99".into()])),
    ("RPOP", |_| words("RPOP", ["list".into()])),
    ("RPUSH", |rng| words("RPUSH", ["list".into(), value(rng)])),
    ("LPOP", |_| words("LPOP", ["list".into()])),
    ("SETEX", |rng| words("SETEX", [session(rng), "1000".into(), value(rng)])),
    ("GET with TTL", |rng| words("GET", [session(rng)])),
    ("SET KEEPTTL", |rng| words("SET", [session(rng), value(rng), "KEEPTTL".into()])),
];

fn words<const N: usize>(name: &str, arguments: [String; N]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(arguments).collect()
}

fn key(rng: &mut Rng) -> String {
    format!("key:{:012}", rng.below(SPACE))
}

/// One of so few keys that a workload has set all of them.
fn session(rng: &mut Rng) -> String {
    format!("session:{:08}", rng.below(SPACE / 100))
}

fn member(rng: &mut Rng) -> String {
    format!("member:{:09}", rng.below(SPACE))
}

/// Sixteen characters that no encoding makes shorter.
fn value(rng: &mut Rng) -> String {
    format!("{:016x}", rng.next())
}

/// An engine with one client.
pub struct World {
    engine: Engine,
    client: ClientId,
    outbox: Outbox,
    /// Bytes answered since it was last set to zero.
    pub replies: usize,
}

impl World {
    /// An empty engine.
    pub fn new() -> World {
        let mut config = Config::default();
        config.save.0.clear();
        let mut engine = Engine::new(config, Host::default(), 1, NOW);
        let client = engine.connect(NOW, Peer { local: true, ..Peer::default() });
        World { engine, client, outbox: Outbox::default(), replies: 0 }
    }

    /// One turn of a host: a piece of input, then everything that is to leave.
    pub fn turn(&mut self, piece: &[u8]) {
        self.engine.receive(NOW, self.client, piece);
        self.engine.drain(&mut self.outbox);
        self.outbox.append.clear();
        while let Some((client, bytes)) = self.outbox.sends.pop() {
            assert!(bytes[0] != b'-', "{}: {}", piece.escape_ascii(), bytes.escape_ascii());
            self.replies += bytes.len();
            self.engine.report(NOW, Report::Sent { client, bytes: bytes.len() });
            self.outbox.spare.push(bytes);
        }
    }

    /// Half of every collection is there before, so that workloads both add and change.
    pub fn fill(&mut self) {
        let mut rng = Rng::new(2);
        let fills: [(&str, Item); 5] = [
            ("MSET", |rng, i| vec![format!("key:{i:012}"), value(rng)]),
            ("MSET", |rng, i| vec![format!("count:{i:010}"), rng.below(1_000_000).to_string()]),
            ("HSET hash", |rng, i| vec![format!("member:{i:09}"), value(rng)]),
            ("SADD set", |_, i| vec![format!("member:{i:09}")]),
            ("ZADD zset", |rng, i| vec![rng.below(SPACE).to_string(), format!("member:{i:09}")]),
        ];
        for (name, items) in fills {
            for start in (0..SPACE).step_by(1000) {
                let mut command: Vec<String> = name.split(' ').map(str::to_owned).collect();
                let all = name.starts_with("MSET");
                for i in start..start + 1000 {
                    if all || rng.below(2) == 0 {
                        command.extend(items(&mut rng, i));
                    }
                }
                self.turn(&encoded(&command));
            }
        }
    }
}

fn encoded(words: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(words.iter().map(String::as_bytes), &mut bytes);
    bytes
}

/// The pieces of one run of a workload, by its number. Of a seed of its own each: to add a workload changes no
/// other one. `round` makes further runs differ from the first, which has 0.
pub fn pieces(number: usize, round: u64) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(100 + number as u64 + 1000 * round);
    let commands: Vec<Vec<u8>> = (0..COMMANDS).map(|_| encoded(&WORKLOADS[number].1(&mut rng))).collect();
    commands.chunks(DEPTH).map(<[_]>::concat).collect()
}
