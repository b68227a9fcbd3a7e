//! What is measured: the commands with their data, and the items whose memory is weighed.

use haversack::engine::rng::Rng;
use haversack::resp::encode_command;

use crate::servers::Client;

/// Keys, members and fields are numbered below this, if not said otherwise.
pub const SPACE: u64 = 100_000;

/// A command under load.
pub struct Shape {
    /// What it is called.
    pub name: &'static str,
    /// Requests that are sent without waiting for a reply.
    pub depth: usize,
    /// What there must be before; after FLUSHALL.
    pub fill: fn(&mut Client, &mut Rng) -> Result<(), String>,
    /// Writes a request; the number counts from 0.
    pub request: fn(&mut Vec<u8>, &mut Rng, u64),
    /// Requests made ready.
    pub requests: usize,
    /// Each request may be sent only once, and every round needs new data.
    pub once: bool,
}

impl Shape {
    /// With its pipeline.
    pub fn label(&self) -> String {
        format!("{} P{}", self.name, self.depth)
    }

    /// Whether the canned server is measured beside.
    pub fn has_limit(&self) -> bool {
        matches!(self.name, "GET" | "SET")
    }
}

/// A kind of item whose memory is weighed.
pub struct Item {
    /// What it is called.
    pub name: &'static str,
    /// Writes so many.
    pub fill: fn(&mut Client, &mut Rng, u64) -> Result<(), String>,
}

type Filled = Result<(), String>;

/// Writes a request of these words.
macro_rules! request {
    ($into:expr, $($word:expr),+) => { encode_command([$(AsRef::<[u8]>::as_ref(&$word)),+], $into) };
}

/// Sends a command of these words.
macro_rules! pipe {
    ($client:expr, $($word:expr),+) => { $client.pipe(&[$(AsRef::<[u8]>::as_ref(&$word)),+])? };
}

/// A key of sixteen bytes.
pub fn key(number: u64) -> String {
    format!("key:{number:012}")
}

fn member(number: u64) -> String {
    format!("member:{number:09}")
}

/// Sixteen characters that no encoding makes shorter.
pub fn value(rng: &mut Rng) -> String {
    format!("{:016x}", rng.next())
}

/// So many characters, hardly to be compressed.
pub fn long_value(rng: &mut Rng, bytes: usize) -> String {
    (0..bytes.div_ceil(16)).map(|_| value(rng)).collect::<String>()[..bytes].to_owned()
}

fn nothing(_: &mut Client, _: &mut Rng) -> Filled {
    Ok(())
}

/// All keys of a space, in random order as far as a hash table sees.
pub fn strings(client: &mut Client, rng: &mut Rng, count: u64) -> Filled {
    (0..count).try_for_each(|i| client.pipe(&[b"SET", key(i).as_bytes(), value(rng).as_bytes()]))?;
    client.finish()
}

fn all_strings(client: &mut Client, rng: &mut Rng) -> Filled {
    strings(client, rng, SPACE)
}

fn short_strings(client: &mut Client, rng: &mut Rng) -> Filled {
    for i in 0..SPACE {
        pipe!(client, "SET", key(i), long_value(rng, 100));
    }
    client.finish()
}

fn long_strings(client: &mut Client, rng: &mut Rng) -> Filled {
    for i in 0..SPACE / 10 {
        pipe!(client, "SET", key(i), long_value(rng, 4096));
    }
    client.finish()
}

fn counters(client: &mut Client, rng: &mut Rng) -> Filled {
    for i in 0..SPACE {
        pipe!(client, "SET", key(i), rng.below(1_000_000).to_string());
    }
    client.finish()
}

fn big_hash(client: &mut Client, rng: &mut Rng) -> Filled {
    hash_of(client, rng, SPACE)
}

fn hash_of(client: &mut Client, rng: &mut Rng, count: u64) -> Filled {
    for i in 0..count {
        pipe!(client, "HSET", "hash", member(i), value(rng));
    }
    client.finish()
}

fn big_set(client: &mut Client, rng: &mut Rng) -> Filled {
    set_of(client, rng, SPACE)
}

fn set_of(client: &mut Client, _: &mut Rng, count: u64) -> Filled {
    for i in 0..count {
        pipe!(client, "SADD", "set", member(i));
    }
    client.finish()
}

fn big_zset(client: &mut Client, rng: &mut Rng) -> Filled {
    zset_of(client, rng, SPACE)
}

fn zset_of(client: &mut Client, rng: &mut Rng, count: u64) -> Filled {
    for i in 0..count {
        pipe!(client, "ZADD", "zset", rng.below(count).to_string(), member(i));
    }
    client.finish()
}

fn small_hashes(client: &mut Client, rng: &mut Rng) -> Filled {
    small_hashes_of(client, rng, SPACE)
}

/// Five fields of two letters with values of eight.
fn small_hashes_of(client: &mut Client, rng: &mut Rng, count: u64) -> Filled {
    for i in 0..count {
        let values: [String; 5] = std::array::from_fn(|_| value(rng)[..8].to_owned());
        let [a, b, c, d, e] = &values;
        pipe!(client, "HSET", key(i), "f1", a, "f2", b, "f3", c, "f4", d, "f5", e);
    }
    client.finish()
}

fn list_of(client: &mut Client, rng: &mut Rng, count: u64) -> Filled {
    for _ in 0..count {
        pipe!(client, "RPUSH", "list", value(rng));
    }
    client.finish()
}

fn short_list(client: &mut Client, rng: &mut Rng) -> Filled {
    list_of(client, rng, 1_000)
}

/// More than a round of RPOP takes away.
fn long_list(client: &mut Client, rng: &mut Rng) -> Filled {
    for _ in 0..ONCE / 10 + 1 {
        let v: [String; 10] = std::array::from_fn(|_| value(rng));
        pipe!(client, "RPUSH", "list", v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9]);
    }
    client.finish()
}

fn keys_to_delete(client: &mut Client, rng: &mut Rng) -> Filled {
    strings(client, rng, ONCE as u64)
}

fn any(rng: &mut Rng) -> String {
    key(rng.below(SPACE))
}

fn any_member(rng: &mut Rng) -> String {
    member(rng.below(SPACE))
}

/// Requests made ready for most shapes, for those with long requests or replies, and for those sent once.
const MANY: usize = 192_000;
const FEW: usize = 4_800;
const ONCE: usize = 320_000;

fn get(into: &mut Vec<u8>, rng: &mut Rng, _: u64) {
    request!(into, "GET", any(rng))
}

fn set(into: &mut Vec<u8>, rng: &mut Rng, _: u64) {
    request!(into, "SET", any(rng), value(rng))
}

/// Every command that is measured.
pub fn shapes() -> Vec<Shape> {
    let base = Shape { name: "", depth: 16, fill: all_strings, request: get, requests: MANY, once: false };
    macro_rules! shape {
        ($name:literal, $fill:expr, $into:ident, $rng:ident, $($word:expr),+ $(; $($field:ident: $value:expr),+)?) => {
            Shape {
                name: $name,
                fill: $fill,
                request: |$into, $rng, _| request!($into, $($word),+),
                $($($field: $value,)+)?
                ..base
            }
        };
    }
    vec![
        Shape { name: "GET", depth: 1, ..base },
        Shape { name: "SET", depth: 1, request: set, ..base },
        Shape { name: "GET", ..base },
        Shape { name: "SET", request: set, ..base },
        Shape { name: "GET", depth: 64, ..base },
        Shape { name: "SET", depth: 64, request: set, ..base },
        shape!("PING", nothing, into, _rng, "PING"),
        shape!("INCR", counters, into, rng, "INCR", any(rng)),
        shape!("HSET", big_hash, into, rng, "HSET", "hash", any_member(rng), value(rng)),
        shape!("HGET", big_hash, into, rng, "HGET", "hash", any_member(rng)),
        shape!("HSET small", small_hashes, into, rng, "HSET", any(rng), "f3", &value(rng)[..8]),
        shape!("HGETALL small", small_hashes, into, rng, "HGETALL", any(rng)),
        shape!("SADD", big_set, into, rng, "SADD", "set", any_member(rng)),
        shape!("SISMEMBER", big_set, into, rng, "SISMEMBER", "set", any_member(rng)),
        shape!("LPUSH", nothing, into, rng, "LPUSH", "list", value(rng); requests: ONCE, once: true),
        shape!("RPOP", long_list, into, _rng, "RPOP", "list"; requests: ONCE, once: true),
        shape!("LRANGE 100", short_list, into, _rng, "LRANGE", "list", "0", "99"; requests: FEW),
        shape!("LRANGE 600", short_list, into, _rng, "LRANGE", "list", "0", "599"; requests: FEW),
        shape!("ZADD", big_zset, into, rng, "ZADD", "zset", rng.below(SPACE).to_string(), any_member(rng)),
        shape!("ZRANK", big_zset, into, rng, "ZRANK", "zset", any_member(rng)),
        shape!("ZSCORE", big_zset, into, rng, "ZSCORE", "zset", any_member(rng)),
        Shape {
            name: "ZRANGEBYSCORE 10",
            fill: big_zset,
            request: |into, rng, _| {
                let from = rng.below(SPACE);
                request!(into, "ZRANGEBYSCORE", "zset", from.to_string(), (from + 10).to_string());
            },
            ..base
        },
        shape!("GET 100 B", short_strings, into, rng, "GET", any(rng)),
        shape!("SET 100 B", short_strings, into, rng, "SET", any(rng), long_value(rng, 100)),
        Shape {
            name: "GET 4 KiB",
            fill: long_strings,
            request: |into, rng, _| request!(into, "GET", key(rng.below(SPACE / 10))),
            requests: FEW,
            ..base
        },
        Shape {
            name: "SET 4 KiB",
            fill: long_strings,
            request: |into, rng, _| request!(into, "SET", key(rng.below(SPACE / 10)), long_value(rng, 4096)),
            requests: FEW,
            ..base
        },
        Shape {
            name: "MGET 10",
            request: |into, rng, _| {
                let k: [String; 10] = std::array::from_fn(|_| any(rng));
                request!(into, "MGET", k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7], k[8], k[9]);
            },
            requests: MANY / 8,
            ..base
        },
        Shape {
            name: "MSET 10",
            request: |into, rng, _| {
                let mut words = vec!["MSET".to_owned()];
                (0..10).for_each(|_| words.extend([any(rng), value(rng)]));
                encode_command(words.iter().map(String::as_bytes), into);
            },
            requests: MANY / 8,
            ..base
        },
        shape!("SET EX", all_strings, into, rng, "SET", any(rng), value(rng), "EX", "1000"),
        shape!("EXPIRE", all_strings, into, rng, "EXPIRE", any(rng), "1000"),
        shape!("TTL", all_strings, into, rng, "TTL", any(rng)),
        shape!("EXISTS", all_strings, into, rng, "EXISTS", any(rng)),
        Shape {
            name: "DEL",
            fill: keys_to_delete,
            // A step that shares no factor with the number of keys meets each of them once.
            request: |into, _, i| request!(into, "DEL", key(i * 7_919 % ONCE as u64)),
            requests: ONCE,
            once: true,
            ..base
        },
    ]
}

/// Everything that is weighed.
pub const ITEMS: &[Item] = &[
    Item { name: "string 16 + 16", fill: strings },
    Item {
        name: "string 16 + 16 with TTL",
        fill: |client, rng, count| {
            for i in 0..count {
                pipe!(client, "SET", key(i), value(rng), "EX", (10_000 + rng.below(10_000)).to_string());
            }
            client.finish()
        },
    },
    Item {
        name: "string 16 + 100, text",
        fill: |client, rng, count| {
            for i in 0..count {
                pipe!(client, "SET", key(i), long_value(rng, 100));
            }
            client.finish()
        },
    },
    Item {
        name: "string 16 + 100 bytes of any kind",
        fill: |client, rng, count| {
            for i in 0..count {
                let bytes: Vec<u8> = (0..13).flat_map(|_| rng.next().to_ne_bytes()).take(100).collect();
                pipe!(client, "SET", key(i), bytes);
            }
            client.finish()
        },
    },
    Item {
        name: "integer value",
        fill: |client, rng, count| {
            for i in 0..count {
                pipe!(client, "SET", key(i), (1_000_000 + rng.below(1 << 40)).to_string());
            }
            client.finish()
        },
    },
    Item { name: "hash of 5 small fields", fill: small_hashes_of },
    Item { name: "member of a big set", fill: set_of },
    Item { name: "member of a big zset", fill: zset_of },
    Item { name: "field of a big hash", fill: hash_of },
    Item { name: "element of a big list", fill: list_of },
];
