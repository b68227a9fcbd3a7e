//! Building a value from its type byte and the bytes after its key.
//!
//! Everything is checked: packed forms in full, duplicates, scores, expire times. The limits decide on the
//! form in memory, not the form in the file. Redis' counterpart: `rdbLoadObject`.

use super::error::RdbErrorKind;
use super::opcode::{Dialect, container, kind};
use super::read::{Reader, Result, Text};
use super::ziplist::{ziplist, zipmap};
use crate::types::PackLimits;
use crate::types::hash::{FieldTtl, Hash, HashLimits, LATEST_FIELD_TTL_MS};
use crate::types::intset::Intset;
use crate::types::list::{List, ListLimits};
use crate::types::listpack::{IntBuf, Item, Listpack};
use crate::types::set::{Set, SetLimits, has_duplicates};
use crate::types::value::Value;
use crate::types::zset::{Change, Zset};

/// The limits that decide on the forms of loaded collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Limits {
    pub list: ListLimits,
    pub set: SetLimits,
    pub hash: HashLimits,
    pub zset: PackLimits,
}

/// What Valkey writes for a field that does not expire.
const VALKEY_NO_EXPIRY: i64 = -1;

/// What it takes to build a value beside its bytes.
pub(super) struct Builder<'a> {
    pub limits: &'a Limits,
    pub dialect: Dialect,
    /// For the hash table of the value.
    pub seed: u64,
}

fn malformed<T>(what: &'static str) -> Result<T> {
    Err(RdbErrorKind::Malformed(what))
}

fn listpack(bytes: impl Into<Vec<u8>>) -> Result<Listpack> {
    Listpack::from_bytes(bytes.into()).map_err(|_| RdbErrorKind::Malformed("invalid listpack"))
}

impl Builder<'_> {
    /// The value; `None` if it is a collection without elements, which Redis does not keep.
    pub fn value(&self, kind: u8, reader: &mut Reader) -> Result<Option<Value>> {
        match kind {
            kind::STRING => string(reader).map(Some),
            kind::LIST | kind::LIST_ZIPLIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => {
                let list = self.list(kind, reader)?;
                Ok((!list.is_empty()).then(|| Value::List(Box::new(list))))
            }
            kind::SET | kind::SET_INTSET | kind::SET_LISTPACK => {
                let set = self.set(kind, reader)?;
                Ok((!set.is_empty()).then(|| Value::Set(Box::new(set))))
            }
            kind::ZSET | kind::ZSET_2 | kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => {
                let zset = self.zset(kind, reader)?;
                Ok((!zset.is_empty()).then(|| Value::Zset(Box::new(zset))))
            }
            _ => match kind::unsupported(kind) {
                Some(name) => Err(RdbErrorKind::Unsupported(kind, name)),
                None => {
                    let hash = self.hash(kind, reader)?;
                    Ok((!hash.is_empty()).then(|| Value::Hash(Box::new(hash))))
                }
            },
        }
    }

    fn list(&self, kind: u8, reader: &mut Reader) -> Result<List> {
        let limits = &self.limits.list;
        let mut list = List::new();
        if kind == kind::LIST_ZIPLIST {
            list.append_listpack(ziplist(&reader.string()?)?);
        } else {
            for _ in 0..reader.count()? {
                match kind {
                    kind::LIST => list.push_back(&reader.string()?, limits),
                    kind::LIST_QUICKLIST => list.append_listpack(ziplist(&reader.string()?)?),
                    _ => match reader.number()? {
                        container::PLAIN => match reader.string()? {
                            empty if empty.is_empty() => return malformed("empty plain node of a quicklist"),
                            element => list.append_plain(element.into()),
                        },
                        container::PACKED => list.append_listpack(listpack(reader.string()?)?),
                        _ => return malformed("unknown container of a quicklist node"),
                    },
                }
            }
        }
        list.try_convert(limits);
        Ok(list)
    }

    fn set(&self, kind: u8, reader: &mut Reader) -> Result<Set> {
        let limits = &self.limits.set;
        match kind {
            kind::SET_INTSET => {
                let bytes = reader.string()?.into_owned();
                let ints = Intset::from_bytes(bytes).map_err(|_| RdbErrorKind::Malformed("invalid intset"))?;
                Ok(Set::from_intset(ints, limits))
            }
            kind::SET_LISTPACK => {
                let members = listpack(reader.string()?)?;
                if members.count() > limits.pack.entries {
                    return self.unpacked_set(&members);
                }
                if has_duplicates(&members, 1) {
                    return malformed("duplicate set member");
                }
                Ok(Set::from_listpack(members, limits))
            }
            _ => {
                let count = reader.count()?;
                let mut set = Set::new();
                for n in 0..count {
                    let member = reader.string()?;
                    if n == 0 {
                        set = Set::with_hint(&member, count, limits);
                    }
                    if !set.add(&member, limits) {
                        return malformed("duplicate set member");
                    }
                }
                Ok(set)
            }
        }
    }

    fn zset(&self, kind: u8, reader: &mut Reader) -> Result<Zset> {
        let limits = self.limits.zset;
        if matches!(kind, kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK) {
            let bytes = reader.string()?;
            let pairs = if kind == kind::ZSET_ZIPLIST { ziplist(&bytes)? } else { listpack(bytes)? };
            if pairs.count() / 2 > limits.entries {
                return self.unpacked_zset(&pairs);
            }
            let zset = Zset::from_listpack(self.seed, pairs, limits);
            return zset.ok_or(RdbErrorKind::Malformed("invalid packed sorted set"));
        }
        let count = reader.count()?;
        let mut zset = Zset::with_hint(self.seed, count, 0, limits);
        for _ in 0..count {
            let member = reader.string()?;
            let score = if kind == kind::ZSET { reader.text_score()? } else { reader.score()? };
            if zset.insert(&member, score, limits) != Change::Added {
                return malformed("duplicate sorted set member");
            }
        }
        Ok(zset)
    }
}

fn string(reader: &mut Reader) -> Result<Value> {
    let text = reader.text()?;
    Ok(match (text.as_int(), text) {
        (Some(value), _) | (None, Text::Int(value)) => Value::Int(value),
        (None, Text::Bytes(bytes)) => Value::String(bytes.into_owned()),
    })
}

/// Hashes.
impl Builder<'_> {
    fn hash(&self, kind: u8, reader: &mut Reader) -> Result<Hash> {
        match kind {
            kind::HASH_ZIPMAP => self.packed_hash(zipmap(&reader.string()?)?, false),
            kind::HASH_ZIPLIST => self.packed_hash(ziplist(&reader.string()?)?, false),
            kind::HASH_LISTPACK => self.packed_hash(listpack(reader.string()?)?, false),
            kind::HASH_LISTPACK_TTL_PRE_GA => self.packed_hash(listpack(reader.string()?)?, true),
            kind::HASH_LISTPACK_TTL => {
                // When the first field expires: a hint.
                reader.millis()?;
                self.packed_hash(listpack(reader.string()?)?, true)
            }
            _ => self.field_by_field(kind, reader),
        }
    }

    fn packed_hash(&self, pack: Listpack, timed: bool) -> Result<Hash> {
        let limits = &self.limits.hash;
        let stride = if timed { 3 } else { 2 };
        let mut times = pack.iter().skip(2).step_by(3);
        if timed && times.any(|(_, time)| matches!(time, Item::Int(at) if at > LATEST_FIELD_TTL_MS)) {
            return malformed("field expire time out of range");
        }
        if pack.count() / stride > limits.pack.entries {
            return self.unpacked_hash(&pack, timed);
        }
        if has_duplicates(&pack, stride) {
            return malformed("duplicate hash field");
        }
        let hash = if timed { Hash::from_triples(pack, limits) } else { Hash::from_pairs(&pack, limits) };
        hash.map_err(|_| RdbErrorKind::Malformed("invalid packed hash"))
    }

    fn field_by_field(&self, kind: u8, reader: &mut Reader) -> Result<Hash> {
        let valkey = self.dialect == Dialect::Valkey;
        // Expire times are counted from one before the first of them, so that 0 can mean none.
        let base = if kind == kind::HASH_TTL { reader.millis()?.checked_sub(1) } else { Some(0) };
        let count = reader.count()?;
        let mut hash = Hash::new();
        hash.expect(count, &self.limits.hash);
        for _ in 0..count {
            let since_base = if kind == kind::HASH || valkey { 0 } else { reader.number()? };
            let (field, value) = (reader.string()?, reader.string()?);
            let expiry_ms = match since_base {
                0 if kind != kind::HASH && valkey => {
                    Some(reader.millis()?).filter(|millis| *millis != VALKEY_NO_EXPIRY)
                }
                0 => None,
                since => Some(base.and_then(|base| base.checked_add_unsigned(since)).unwrap_or(-1)),
            };
            let latest_ms = if valkey { i64::MAX } else { LATEST_FIELD_TTL_MS };
            if expiry_ms.is_some_and(|expiry_ms| !(0..=latest_ms).contains(&expiry_ms)) {
                return malformed("field expire time out of range");
            }
            let ttl = expiry_ms.map_or(FieldTtl::Clear, FieldTtl::At);
            if !hash.set(&field, &value, ttl, &self.limits.hash) {
                return malformed("duplicate hash field");
            }
        }
        Ok(hash)
    }
}

/// Packed forms of more elements than the limits allow. They may claim far more than they hold (a compressed
/// listpack of equal elements), so nothing is laid out for all elements at once: the first duplicate ends it.
impl Builder<'_> {
    fn unpacked_set(&self, members: &Listpack) -> Result<Set> {
        let limits = &self.limits.set;
        let mut set = Set::with_hint(b"", members.count(), limits);
        for (_, member) in members.iter() {
            if !set.add(member.bytes(&mut IntBuf::new()), limits) {
                return malformed("duplicate set member");
            }
        }
        Ok(set)
    }

    fn unpacked_zset(&self, pairs: &Listpack) -> Result<Zset> {
        let limits = self.limits.zset;
        let mut zset = Zset::with_hint(self.seed, pairs.count() / 2, 0, limits);
        let mut items = pairs.iter().map(|(_, item)| item);
        while let Some(member) = items.next() {
            let score = items.next().and_then(|item| item.as_f64()).filter(|score| !score.is_nan());
            let Some(score) = score else { return malformed("invalid packed sorted set") };
            if zset.insert(member.bytes(&mut IntBuf::new()), score, limits) != Change::Added {
                return malformed("duplicate sorted set member");
            }
        }
        Ok(zset)
    }

    fn unpacked_hash(&self, pack: &Listpack, timed: bool) -> Result<Hash> {
        let limits = &self.limits.hash;
        let mut hash = Hash::new();
        hash.expect(usize::MAX, limits);
        let (mut name, mut text) = (IntBuf::new(), IntBuf::new());
        let mut latest = 0;
        let mut items = pack.iter().map(|(_, item)| item);
        while let Some(field) = items.next() {
            let Some(value) = items.next() else { return malformed("invalid packed hash") };
            let ttl = match (timed, timed.then(|| items.next()).flatten()) {
                (false, _) | (true, Some(Item::Int(0))) => FieldTtl::Clear,
                (true, Some(Item::Int(expiry_ms @ 1..))) => FieldTtl::At(expiry_ms),
                _ => return malformed("invalid packed hash"),
            };
            // Fields come in the order of their times, those without one last.
            let time = if let FieldTtl::At(at) = ttl { at } else { i64::MAX };
            if time < std::mem::replace(&mut latest, time) {
                return malformed("fields of a packed hash are out of order");
            }
            if !hash.set(field.bytes(&mut name), value.bytes(&mut text), ttl, limits) {
                return malformed("duplicate hash field");
            }
        }
        Ok(hash)
    }
}
