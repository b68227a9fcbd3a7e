//! The digest of a dataset: 20 bytes that are equal for equal data, on any server and in any encoding.
//!
//! The recipe is that of Redis' `DEBUG DIGEST`, so that digests of both can be compared: ordered things
//! are mixed in one after another, unordered things are combined by exclusive or.

use sha1_smol::Sha1;

use crate::types::listpack::Item;
use crate::types::number::{self, FloatBuf, IntBuf};

use super::entry::{Entry, Kind, ValueRef};
use super::keyspace::Keyspace;

/// A digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Adds something whose place does not matter.
    fn xor(&mut self, bytes: &[u8]) {
        let hashed = Sha1::from(bytes).digest().bytes();
        self.0.iter_mut().zip(hashed).for_each(|(mine, other)| *mine ^= other);
    }

    /// Adds something whose place matters.
    fn mix(&mut self, bytes: &[u8]) {
        self.xor(bytes);
        self.0 = Sha1::from(self.0).digest().bytes();
    }

    fn mix_item(&mut self, item: Item) {
        self.mix(item.bytes(&mut IntBuf::new()));
    }

    fn mix_number(&mut self, number: u32) {
        self.mix(&number.to_be_bytes());
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The number that stands for a type in digests.
fn number_of(kind: Kind) -> u32 {
    match kind {
        Kind::String => 0,
        Kind::List => 1,
        Kind::Set => 2,
        Kind::Zset => 3,
        Kind::Hash => 4,
    }
}

/// Adds an entry's value and the fact that it expires, if it does.
fn add_entry(digest: &mut Digest, entry: &Entry) {
    digest.mix_number(number_of(entry.kind()));
    match entry.value() {
        value @ (ValueRef::Int(_) | ValueRef::String(_) | ValueRef::Ascii(_)) => {
            digest.mix(value.text(&mut Vec::new()))
        }
        ValueRef::List(list) => list.iter().for_each(|element| element.with(|item| digest.mix_item(item))),
        ValueRef::Set(set) => set.iter().for_each(|item| digest.xor(item.bytes(&mut IntBuf::new()))),
        ValueRef::Zset(zset) => {
            for (member, score) in zset.iter() {
                let mut pair = Digest::default();
                pair.mix_item(member);
                pair.mix(number::format_grisu(score, &mut FloatBuf::new()).as_bytes());
                digest.xor(&pair.0);
            }
        }
        ValueRef::Hash(hash) => {
            for field in hash.iter() {
                let mut pair = Digest::default();
                pair.mix_item(field.name);
                pair.mix_item(field.value);
                if field.expiry_ms.is_some() {
                    pair.xor(b"!!hexpire!!");
                }
                digest.xor(&pair.0);
            }
        }
    }
    if entry.expire_at().is_some() {
        digest.xor(b"!!expire!!");
    }
}

/// The digest of one value.
pub fn value_digest(entry: &Entry) -> Digest {
    let mut digest = Digest::default();
    add_entry(&mut digest, entry);
    digest
}

impl Keyspace {
    /// The digest of all databases; all zeros if they are empty.
    pub fn digest(&self) -> Digest {
        let mut whole = Digest::default();
        for (number, db) in self.dbs.iter().enumerate().filter(|(_, db)| !db.table.is_empty()) {
            whole.mix_number(number as u32);
            for entry in db.table.iter() {
                let mut one = Digest::default();
                one.mix(entry.key());
                add_entry(&mut one, entry);
                whole.xor(&one.0);
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PackLimits;
    use crate::types::value::Value;
    use crate::types::zset::Zset;

    #[test]
    fn values_have_the_digests_that_redis_8_2_gives_them() {
        assert_eq!(value_digest(&Entry::string(b"a", b"b")).to_string(), "b78559cd22bce6e6df712eb99ce7f3b08e8f8f1f");
        let mut zset = Zset::new(1);
        for (member, score) in [("m", 0.1), ("n", f64::NEG_INFINITY), ("o", 1e17), ("p", 3.0), ("q", 1e300)] {
            zset.insert(member.as_bytes(), score, PackLimits { entries: 128, value: 64 });
        }
        let entry = Entry::new(b"z", Value::Zset(Box::new(zset)));
        assert_eq!(value_digest(&entry).to_string(), "5ef85c56c6db95d25b1537c5405af6a6abd9bf66");
    }
}
