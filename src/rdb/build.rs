//! Building a value from its type byte and the bytes after its key.
//!
//! Everything is checked: packed forms in full, duplicates, scores, expire times. The limits decide on the
//! form in memory, not the form in the file. Redis' counterpart: `rdbLoadObject`.

use std::borrow::Cow;

use super::error::RdbErrorKind;
use super::opcode::{Dialect, container, kind, module};
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
    /// Bytes that the value may still have: what it claims to hold is believed as far as they go.
    pub room: u64,
}

/// Bytes that a piece takes, supposed where a table is laid out for all of them in advance. More of smaller ones
/// make it grow as it fills.
const LIKELY_BYTES: u64 = 8;

/// Pieces whose places in memory are asked for at once, before the first of them is put there. With 5 million fields
/// this and a table that is laid out in advance made loading a hash three times as fast.
const AHEAD: u64 = 16;

fn malformed<T>(what: &'static str) -> Result<T> {
    Err(RdbErrorKind::Malformed(what))
}

fn listpack(bytes: impl Into<Vec<u8>>) -> Result<Listpack> {
    Listpack::from_bytes(bytes.into()).map_err(|_| RdbErrorKind::Malformed("invalid listpack"))
}

impl Builder<'_> {
    /// The value; `None` if it is a collection without elements, which Redis does not keep.
    pub fn value(&self, kind: u8, reader: &mut Reader) -> Result<Option<Value>> {
        if kind == kind::STRING {
            return string(reader).map(Some);
        }
        self.collection(kind, reader).map(kept)
    }

    /// A packed collection, or one in pieces that are all there.
    fn collection(&self, kind: u8, reader: &mut Reader) -> Result<Value> {
        Ok(match kind {
            kind::LIST_ZIPLIST => {
                let mut list = List::new();
                // Redis leaves these quicklists, whatever their size.
                list.append_listpack(ziplist(&reader.string()?)?);
                Value::List(Box::new(list))
            }
            kind::SET_INTSET | kind::SET_LISTPACK => Value::Set(Box::new(self.packed_set(kind, reader)?)),
            kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => Value::Zset(Box::new(self.packed_zset(kind, reader)?)),
            _ if Growing::is_for(kind) => {
                let mut growing = self.begin(kind, reader)?;
                if growing.left > reader.left() as u64 {
                    return Err(RdbErrorKind::Truncated);
                }
                while growing.left > 0 {
                    self.element(&mut growing, reader)?;
                }
                self.end(growing)
            }
            _ => match kind::unsupported(kind) {
                Some(name) => return Err(RdbErrorKind::Unsupported(kind, full_name(kind, name, reader)?)),
                None => Value::Hash(Box::new(self.packed_hash_of(kind, reader)?)),
            },
        })
    }

    fn packed_set(&self, kind: u8, reader: &mut Reader) -> Result<Set> {
        let limits = &self.limits.set;
        if kind == kind::SET_INTSET {
            let bytes = reader.string()?.into_owned();
            let ints = Intset::from_bytes(bytes).map_err(|_| RdbErrorKind::Malformed("invalid intset"))?;
            return Ok(Set::from_intset(ints, limits));
        }
        let members = listpack(reader.string()?)?;
        if members.count() > limits.pack.entries {
            return self.unpacked_set(&members);
        }
        if has_duplicates(&members, 1) {
            return malformed("duplicate set member");
        }
        Ok(Set::from_listpack(members, limits))
    }

    fn packed_zset(&self, kind: u8, reader: &mut Reader) -> Result<Zset> {
        let limits = self.limits.zset;
        let bytes = reader.string()?;
        let pairs = if kind == kind::ZSET_ZIPLIST { ziplist(&bytes)? } else { listpack(bytes)? };
        if pairs.count() / 2 > limits.entries {
            return self.unpacked_zset(&pairs);
        }
        let zset = Zset::from_listpack(self.seed, pairs, limits);
        zset.ok_or(RdbErrorKind::Malformed("invalid packed sorted set"))
    }
}

/// A collection that is stored in pieces, on its way: a huge one is built as its pieces come in.
pub(super) struct Growing {
    kind: u8,
    /// What expire times of fields are counted from.
    base: Option<i64>,
    /// How many pieces there are.
    count: u64,
    /// How many are to come.
    pub left: u64,
    value: Value,
}

impl Growing {
    /// Whether values of this type are stored in pieces.
    pub fn is_for(kind: u8) -> bool {
        matches!(
            kind,
            kind::LIST
                | kind::SET
                | kind::ZSET
                | kind::HASH
                | kind::ZSET_2
                | kind::LIST_QUICKLIST
                | kind::LIST_QUICKLIST_2
                | kind::HASH_TTL_PRE_GA
                | kind::HASH_TTL
        )
    }
}

/// Pieces. A method that meets the end of the bytes may be called again with more of them.
impl Builder<'_> {
    /// Reads what stands before the pieces.
    pub fn begin(&self, kind: u8, reader: &mut Reader) -> Result<Growing> {
        // Expire times are counted from one before the first of them, so that 0 can mean none.
        let base = if kind == kind::HASH_TTL { reader.millis()?.checked_sub(1) } else { Some(0) };
        let count = reader.number()?;
        let likely = usize::try_from(count).unwrap_or(usize::MAX);
        let value = match kind {
            kind::LIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => Value::List(Box::default()),
            kind::SET => Value::Set(Box::default()),
            kind::ZSET | kind::ZSET_2 => {
                let mut zset = Zset::with_hint(self.seed, likely, 0, self.limits.zset);
                zset.reserve(self.believed(count));
                Value::Zset(Box::new(zset))
            }
            _ => {
                let mut hash = Hash::new();
                hash.expect(likely, &self.limits.hash);
                hash.reserve(self.believed(count));
                Value::Hash(Box::new(hash))
            }
        };
        Ok(Growing { kind, base, count, left: count, value })
    }

    /// How many pieces there will be, as far as it can be believed.
    fn believed(&self, count: u64) -> usize {
        usize::try_from(count.min(self.room / LIKELY_BYTES)).unwrap_or(usize::MAX)
    }

    /// Asks for the memory that the next pieces will go to.
    fn fetch_ahead(&self, growing: &Growing, mut reader: Reader) {
        for _ in 0..growing.left.min(AHEAD) {
            if !self.fetch(growing, &mut reader) {
                break;
            }
        }
    }

    /// The same for one piece. False if it does not matter: the bytes end, or the value is not large.
    fn fetch(&self, growing: &Growing, reader: &mut Reader) -> bool {
        let timed = matches!(growing.kind, kind::HASH_TTL_PRE_GA | kind::HASH_TTL);
        let valkey = self.dialect == Dialect::Valkey;
        if timed && !valkey && reader.number().is_err() {
            return false;
        }
        let Ok(name) = reader.string() else { return false };
        let (large, rest) = match &growing.value {
            Value::Set(set) => (set.seek(&name).is_some(), Ok(())),
            Value::Zset(zset) if growing.kind == kind::ZSET => {
                (zset.seek(&name).is_some(), reader.text_score().map(drop))
            }
            Value::Zset(zset) => (zset.seek(&name).is_some(), reader.score().map(drop)),
            Value::Hash(hash) if timed && valkey => {
                (hash.seek(&name).is_some(), reader.skip_text().and_then(|()| reader.millis().map(drop)))
            }
            Value::Hash(hash) => (hash.seek(&name).is_some(), reader.skip_text()),
            Value::Int(_) | Value::String(_) | Value::Text(_) | Value::List(_) => return false,
        };
        large && rest.is_ok()
    }

    /// Reads one piece.
    pub fn element(&self, growing: &mut Growing, reader: &mut Reader) -> Result<()> {
        let kind = growing.kind;
        if (growing.count - growing.left).is_multiple_of(AHEAD) {
            self.fetch_ahead(growing, reader.clone());
        }
        match &mut growing.value {
            Value::List(list) => self.list_element(kind, list, reader)?,
            Value::Set(set) => {
                let limits = &self.limits.set;
                let member = reader.string()?;
                if growing.left == growing.count {
                    let likely = usize::try_from(growing.count).unwrap_or(usize::MAX);
                    **set = Set::with_hint(&member, likely, limits);
                    set.reserve(self.believed(growing.count));
                }
                if !set.add(&member, limits) {
                    return malformed("duplicate set member");
                }
            }
            Value::Zset(zset) => {
                let member = reader.string()?;
                let score = if kind == kind::ZSET { reader.text_score()? } else { reader.score()? };
                if zset.insert(&member, score, self.limits.zset) != Change::Added {
                    return malformed("duplicate sorted set member");
                }
            }
            Value::Hash(hash) => self.field(kind, growing.base, hash, reader)?,
            Value::Int(_) | Value::String(_) | Value::Text(_) => {}
        }
        growing.left -= 1;
        Ok(())
    }

    fn list_element(&self, kind: u8, list: &mut List, reader: &mut Reader) -> Result<()> {
        match kind {
            kind::LIST => list.push_back(&reader.string()?, &self.limits.list),
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
        Ok(())
    }

    fn field(&self, kind: u8, base: Option<i64>, hash: &mut Hash, reader: &mut Reader) -> Result<()> {
        let valkey = self.dialect == Dialect::Valkey;
        let since_base = if kind == kind::HASH || valkey { 0 } else { reader.number()? };
        let (field, value) = (reader.string()?, reader.string()?);
        let expiry_ms = match since_base {
            0 if kind != kind::HASH && valkey => Some(reader.millis()?).filter(|millis| *millis != VALKEY_NO_EXPIRY),
            0 => None,
            since => Some(base.and_then(|base| base.checked_add_unsigned(since)).unwrap_or(-1)),
        };
        // Valkey has later times than can be stored in any other form: they are some two thousand years away.
        let expiry_ms = if valkey { expiry_ms.map(|at| at.min(LATEST_FIELD_TTL_MS)) } else { expiry_ms };
        if expiry_ms.is_some_and(|expiry_ms| !(0..=LATEST_FIELD_TTL_MS).contains(&expiry_ms)) {
            return malformed("field expire time out of range");
        }
        let ttl = expiry_ms.map_or(FieldTtl::Clear, FieldTtl::At);
        if !hash.set(&field, &value, ttl, &self.limits.hash) {
            return malformed("duplicate hash field");
        }
        Ok(())
    }

    /// The value, once all pieces are there.
    pub fn end(&self, growing: Growing) -> Value {
        let mut value = growing.value;
        match &mut value {
            Value::List(list) => list.try_convert(&self.limits.list),
            Value::Set(set) => set.settle(),
            Value::Hash(hash) => hash.settle(),
            Value::Zset(zset) => zset.settle(),
            Value::Int(_) | Value::String(_) | Value::Text(_) => {}
        }
        value
    }
}

/// The value, unless it is a collection without elements, which Redis does not keep.
pub(super) fn kept(value: Value) -> Option<Value> {
    let empty =
        !matches!(value, Value::Int(_) | Value::String(_) | Value::Text(_)) && value.as_ref().piece_count() == 0;
    (!empty).then_some(value)
}

/// What a value that cannot be loaded is; of a module, whose.
fn full_name(kind: u8, name: &'static str, reader: &mut Reader) -> Result<Cow<'static, str>> {
    if !matches!(kind, kind::MODULE | kind::MODULE_2) {
        return Ok(name.into());
    }
    Ok(format!("{name} of '{}'", module::name(reader.number()?)).into())
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
    fn packed_hash_of(&self, kind: u8, reader: &mut Reader) -> Result<Hash> {
        match kind {
            kind::HASH_ZIPMAP => self.packed_hash(zipmap(&reader.string()?)?, false),
            kind::HASH_ZIPLIST => self.packed_hash(ziplist(&reader.string()?)?, false),
            kind::HASH_LISTPACK => self.packed_hash(listpack(reader.string()?)?, false),
            kind::HASH_LISTPACK_TTL_PRE_GA => self.packed_hash(listpack(reader.string()?)?, true),
            _ => {
                // When the first field expires: a hint.
                reader.millis()?;
                self.packed_hash(listpack(reader.string()?)?, true)
            }
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
