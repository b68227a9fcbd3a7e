//! What is in a server, by asking it: comparable between servers of any kind.

use std::collections::BTreeMap;

use haversack::rdb::Crc64;
use haversack::resp::Value;

use super::Client;

/// A key with its db.
pub type Place = (u32, Vec<u8>);

/// What a server says of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// TYPE.
    pub kind: String,
    /// OBJECT ENCODING.
    pub encoding: String,
    /// PEXPIRETIME.
    pub expiry_ms: i64,
    /// The elements in order; those of sets and hashes are sorted. Of hashes: field, value, HPEXPIRETIME.
    pub items: Vec<Vec<u8>>,
}

impl Contents {
    /// CRC-64 of the elements, as `tests/golden/make.py` computes it.
    pub fn checksum(&self) -> u64 {
        let mut crc = Crc64::new();
        for item in &self.items {
            crc.update(&(item.len() as u64).to_le_bytes());
            crc.update(item);
        }
        crc.value()
    }

    /// The same without what differs between servers that hold the same data.
    pub fn data(&self) -> (&str, i64, usize, u64) {
        (&self.kind, self.expiry_ms, self.items.len(), self.checksum())
    }
}

/// Everything in a server.
pub fn all(client: &mut Client) -> BTreeMap<Place, Contents> {
    let mut found = BTreeMap::new();
    for db in 0..16 {
        assert_eq!(client.ask(&format!("SELECT {db}")), "+OK");
        for key in strings(call(client, &[b"KEYS", b"*"])) {
            let contents = of(client, &key);
            found.insert((db, key), contents);
        }
    }
    client.ask("SELECT 0");
    found
}

/// What is stored at a key of the selected db.
pub fn of(client: &mut Client, key: &[u8]) -> Contents {
    let kind = text(&call(client, &[b"TYPE", key]));
    let items = match &kind[..] {
        "string" => vec![bytes(&call(client, &[b"GET", key]))],
        "list" => strings(call(client, &[b"LRANGE", key, b"0", b"-1"])),
        "set" => {
            let mut members = strings(call(client, &[b"SMEMBERS", key]));
            members.sort();
            members
        }
        "zset" => scored(strings(call(client, &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]))),
        "hash" => fields(client, key),
        other => panic!("the tests cannot read a value of type {other}"),
    };
    let encoding = text(&call(client, &[b"OBJECT", b"ENCODING", key]));
    let Value::Int(expiry_ms) = call(client, &[b"PEXPIRETIME", key]) else { panic!("PEXPIRETIME says no number") };
    Contents { kind, encoding, expiry_ms, items }
}

/// The scores as eight bytes: servers print them differently.
fn scored(pairs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let to_bytes = |score: &[u8]| {
        let score: f64 = std::str::from_utf8(score).expect("a score").parse().expect("a score");
        score.to_le_bytes().to_vec()
    };
    pairs.chunks(2).flat_map(|pair| [pair[0].clone(), to_bytes(&pair[1])]).collect()
}

fn fields(client: &mut Client, key: &[u8]) -> Vec<Vec<u8>> {
    let flat = strings(call(client, &[b"HGETALL", key]));
    let mut pairs: Vec<(&[u8], &[u8])> = flat.chunks(2).map(|pair| (&pair[0][..], &pair[1][..])).collect();
    pairs.sort();
    let count = pairs.len().to_string();
    let mut ask: Vec<&[u8]> = vec![b"HPEXPIRETIME", key, b"FIELDS", count.as_bytes()];
    ask.extend(pairs.iter().map(|(field, _)| *field));
    // Servers before 7.4 know no such command, and no such times.
    let expiries: Vec<i64> = match call(client, &ask) {
        Value::Array(Some(times)) => times.iter().map(int).collect(),
        _ => vec![-1; pairs.len()],
    };
    let triples = pairs.iter().zip(expiries);
    triples.flat_map(|((field, value), ms)| [field.to_vec(), value.to_vec(), ms.to_le_bytes().to_vec()]).collect()
}

/// A command that must be answered.
pub fn call(client: &mut Client, args: &[&[u8]]) -> Value {
    client.call(args).unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(args[0])))
}

/// The bytes of a string reply.
pub fn bytes(value: &Value) -> Vec<u8> {
    value.as_bytes().unwrap_or_else(|| panic!("no string: {value}")).to_vec()
}

/// A string reply as text.
pub fn text(value: &Value) -> String {
    String::from_utf8(bytes(value)).expect("text")
}

/// The number of an integer reply.
pub fn int(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        other => panic!("no number: {other}"),
    }
}

/// An array of strings.
pub fn strings(value: Value) -> Vec<Vec<u8>> {
    match value {
        Value::Array(Some(items)) => items.iter().map(bytes).collect(),
        other => panic!("no array: {other}"),
    }
}
