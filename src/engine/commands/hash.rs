//! Hashes: fields with values.
//!
//! Not here: commands that set or tell the times to live of fields (`hash_ttl`). But every command that
//! meets a field whose time has come makes it go: the field is deleted, HDEL goes to the stream, and
//! the event is "hexpired". HGETALL, HKEYS, HVALS and HSCAN pass over such fields; HLEN counts them.
//! Redis' counterpart: `t_hash.c`.

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::error::{Error, Outcome};
use crate::engine::keyspace::{ExpiryMode, Keyspace};
use crate::engine::spec::*;
use crate::resp::{Protocol, Reply};
use crate::types::hash::{Field, FieldTtl, Hash};
use crate::types::listpack::Item;
use crate::types::long_double::LongDouble;
use crate::types::number::IntBuf;
use crate::types::value::{Kind, ValueRef};

use super::scan::{self, ScanOptions};

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("hdel", hdel, -3, WRITE | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW delete", 1)])
        .docs("2.0.0", "O(N) for N fields", "Deletes fields of a hash, and the hash with its last field.")
        .history(&[("2.4.0", "Takes several fields.")])
        .args("key:key#0 field:string*"),
    Spec::new("hexists", hexists, 3, READONLY | FAST, Group::Hash)
        .keys(&[KeySpec::key("RO", 1)])
        .docs("2.0.0", "O(1)", "Tells whether a hash has a field.")
        .args("key:key#0 field:string"),
    Spec::new("hget", hget, 3, READONLY | FAST, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.0.0", "O(1)", "The value of a field.")
        .args("key:key#0 field:string"),
    Spec::new("hgetall", hgetall, 2, READONLY, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.0.0", "O(N) for N fields in the hash", "All fields of a hash with their values.")
        .tips(&["nondeterministic_output_order"])
        .args("key:key#0"),
    Spec::new("hincrby", hincrby, 4, WRITE | DENYOOM | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW access update", 1)])
        .docs("2.0.0", "O(1)", "Adds an integer to the value of a field.")
        .args("key:key#0 field:string increment:integer"),
    Spec::new("hincrbyfloat", hincrbyfloat, 4, WRITE | DENYOOM | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW access update", 1)])
        .docs("2.6.0", "O(1)", "Adds a floating-point number to the value of a field.")
        .args("key:key#0 field:string increment:double"),
    Spec::new("hkeys", hkeys, 2, READONLY, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.0.0", "O(N) for N fields in the hash", "All fields of a hash, without values.")
        .tips(&["nondeterministic_output_order"])
        .args("key:key#0"),
    Spec::new("hlen", hlen, 2, READONLY | FAST, Group::Hash)
        .keys(&[KeySpec::key("RO", 1)])
        .docs("2.0.0", "O(1)", "How many fields a hash has.")
        .args("key:key#0"),
    Spec::new("hmget", hmget, -3, READONLY | FAST, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.0.0", "O(N) for N fields", "The values of several fields.")
        .args("key:key#0 field:string*"),
    Spec::new("hmset", hmset, -4, WRITE | DENYOOM | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs("2.0.0", "O(N) for N fields", "Sets several fields.")
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs")
        .args("key:key#0 data:block*(field:string value:string)"),
    Spec::new("hrandfield", hrandfield, -2, READONLY, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("6.2.0", "O(N) for N fields", "Picks any fields of a hash.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0 options:block?(count:integer WITHVALUES?)"),
    Spec::new("hscan", hscan, -3, READONLY, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs(
            "2.8.0",
            "O(1) for a call, O(N) for a whole walk over N fields",
            "Walks over the fields of a hash, some at a time.",
        )
        .tips(&["nondeterministic_output"])
        .args("key:key#0 cursor:integer pattern:pattern=MATCH? count:integer=COUNT? NOVALUES?"),
    Spec::new("hset", hset, -4, WRITE | DENYOOM | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs("2.0.0", "O(N) for N fields", "Sets fields.")
        .history(&[("4.0.0", "Takes several fields with their values.")])
        .args("key:key#0 data:block*(field:string value:string)"),
    Spec::new("hsetnx", hsetnx, 4, WRITE | DENYOOM | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW insert", 1)])
        .docs("2.0.0", "O(1)", "Sets a field that does not exist yet.")
        .args("key:key#0 field:string value:string"),
    Spec::new("hstrlen", hstrlen, 3, READONLY | FAST, Group::Hash)
        .keys(&[KeySpec::key("RO", 1)])
        .docs("3.2.0", "O(1)", "The length of a field's value.")
        .args("key:key#0 field:string"),
    Spec::new("hvals", hvals, 2, READONLY, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.0.0", "O(N) for N fields in the hash", "All values of a hash, without fields.")
        .tips(&["nondeterministic_output_order"])
        .args("key:key#0"),
];

/// Fields whose time has come that HRANDFIELD removes at most: it need not wait for all of them to go.
const EXPIRED_AT_ONCE: usize = 512;

/// How many fields HRANDFIELD picks at most with repetition: a reply has to end.
const MOST_PICKS: i64 = 1 << 24;

// ---- Fields whose time has come ----

/// The time that decides which fields are alive. A log that is replayed says itself when they go.
pub(super) fn field_clock(keys: &Keyspace) -> i64 {
    if keys.expiry == ExpiryMode::Ignore { i64::MIN } else { keys.now_ms() }
}

/// Deletes those of `fields` whose time has come; true if there were any. Say so afterwards:
/// [`announce_expired`], or more.
pub(super) fn drop_expired<'f>(keys: &mut Keyspace, key: &[u8], fields: impl Iterator<Item = &'f [u8]>) -> bool {
    let now = field_clock(keys);
    let mut gone = Vec::new();
    if keys.expiry != ExpiryMode::Delete {
        return false;
    }
    if let Ok(Some(hash)) = keys.hash_mut(key)
        && !hash.all_live(now)
    {
        for name in fields {
            if hash.field(name).is_some_and(|field| !field.is_live(now)) {
                hash.remove(name);
                gone.push(name);
            }
        }
    }
    keys.stats.expired_fields += gone.len() as u64;
    for name in &gone {
        keys.effects.append(keys.db, [&b"HDEL"[..], key, name].into_iter());
    }
    !gone.is_empty()
}

/// Tells that fields of `key` have expired, and lets it go if they were the last.
pub(super) fn announce_expired(keys: &mut Keyspace, key: &[u8]) {
    keys.touched(key);
    keys.notify(NotifyFlags::HASH, "hexpired", key);
    remove_or_index(keys, key);
}

/// After fields went or changed their times: an empty hash goes, with the event "del".
pub(super) fn remove_or_index(keys: &mut Keyspace, key: &[u8]) {
    if !keys.remove_if_empty(key) {
        keys.index_fields(key);
    }
}

/// Deletes and announces in one.
fn expire_fields<'f>(keys: &mut Keyspace, key: &[u8], fields: impl Iterator<Item = &'f [u8]>) {
    if drop_expired(keys, key, fields) {
        announce_expired(keys, key);
    }
}

// ---- Reading ----

/// Replies a value as a bulk string.
pub(super) fn bulk_item(reply: &mut Reply, item: Item) {
    match item {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(n) => reply.bulk_int(n),
    }
}

/// Shows `f` the field that argument 2 names, if there is one and its time has not come.
fn with_field(call: &mut Call, f: impl FnOnce(&mut Reply, Option<Field>)) -> Outcome {
    let (key, name) = (call.args.at(1), call.args.at(2));
    let now = field_clock(call.keys);
    let found = call.keys.hash_value(key)?.and_then(|hash| hash.field(name));
    let live = found.filter(|field| field.is_live(now));
    let expired = found.is_some() && live.is_none();
    f(call.reply, live);
    if expired {
        expire_fields(call.keys, key, std::iter::once(name));
    }
    Ok(())
}

fn hget(call: &mut Call) -> Outcome {
    with_field(call, |reply, field| match field {
        Some(field) => bulk_item(reply, field.value),
        None => reply.null(),
    })
}

fn hexists(call: &mut Call) -> Outcome {
    with_field(call, |reply, field| reply.int(field.is_some().into()))
}

fn hstrlen(call: &mut Call) -> Outcome {
    with_field(call, |reply, field| reply.count(field.map_or(0, |field| field.value.len())))
}

fn hmget(call: &mut Call) -> Outcome {
    let (key, names) = (call.args.at(1), call.args.from(2));
    let now = field_clock(call.keys);
    let hash = call.keys.hash_value(key)?;
    let any_expired = hash.is_some_and(|hash| !hash.all_live(now));
    call.reply.array(names.len());
    for name in names {
        match hash.and_then(|hash| hash.get_live(name, now)) {
            Some(value) => bulk_item(call.reply, value),
            None => call.reply.null(),
        }
    }
    if any_expired {
        expire_fields(call.keys, key, names.iter());
    }
    Ok(())
}

fn hlen(call: &mut Call) -> Outcome {
    let len = call.keys.hash_value(call.args.at(1))?.map_or(0, Hash::len);
    call.reply.count(len);
    Ok(())
}

fn hgetall(call: &mut Call) -> Outcome {
    let now = field_clock(call.keys);
    let Some(hash) = call.keys.hash_value(call.args.at(1))? else {
        call.reply.map(0);
        return Ok(());
    };
    call.reply.map(hash.live_len(now));
    for field in hash.live(now) {
        bulk_item(call.reply, field.name);
        bulk_item(call.reply, field.value);
    }
    Ok(())
}

fn hkeys(call: &mut Call) -> Outcome {
    each(call, |reply, field| bulk_item(reply, field.name))
}

fn hvals(call: &mut Call) -> Outcome {
    each(call, |reply, field| bulk_item(reply, field.value))
}

/// Replies one thing of every field.
fn each(call: &mut Call, show: impl Fn(&mut Reply, Field)) -> Outcome {
    let now = field_clock(call.keys);
    let Some(hash) = call.keys.hash_value(call.args.at(1))? else {
        call.reply.array(0);
        return Ok(());
    };
    call.reply.array(hash.live_len(now));
    hash.live(now).for_each(|field| show(call.reply, field));
    Ok(())
}

fn hscan(call: &mut Call) -> Outcome {
    let cursor = scan::cursor(call, 2)?;
    let now = field_clock(call.keys);
    // The options count only if there is something to scan.
    let options = ScanOptions::parse(call, 3, Some(Kind::Hash));
    let Some(hash) = call.keys.hash_value(call.args.at(1))? else {
        scan::empty(call.reply);
        return Ok(());
    };
    let options = options?;
    scan::reply(call.reply, |reply| {
        let mut shown = 0;
        let next = hash.scan(cursor, options.count, |field| {
            if field.is_live(now) && options.shows(field.name.bytes(&mut IntBuf::new())) {
                bulk_item(reply, field.name);
                shown += 1;
                if !options.no_values {
                    bulk_item(reply, field.value);
                    shown += 1;
                }
            }
        });
        (next, shown)
    });
    Ok(())
}

fn hrandfield(call: &mut Call) -> Outcome {
    let count = match call.args.len() {
        2 => None,
        _ => Some(pick_count(call)?),
    };
    let key = call.args.at(1);
    let now = field_clock(call.keys);
    if call.keys.hash_value(key)?.is_some_and(|hash| !hash.all_live(now)) && call.keys.expiry == ExpiryMode::Delete {
        call.keys.expire_hash_fields(key, now, EXPIRED_AT_ONCE);
    }
    // The hash is borrowed from where chance lives.
    let mut rng = call.keys.rng.clone();
    let found = call.keys.peek(key).and_then(|entry| match entry.value() {
        ValueRef::Hash(hash) => Some(hash),
        _ => None,
    });
    let mut random = || rng.next();
    let limit = call.server.output_limit(call.id).hard_bytes;
    match (found, count) {
        (None, None) => call.reply.null(),
        (None, Some(_)) => call.reply.array(0),
        (Some(hash), None) => match hash.random_live(now, &mut random) {
            Some(field) => bulk_item(call.reply, field.name),
            None => call.reply.null(),
        },
        (Some(_), Some((count, _))) if count < -MOST_PICKS && limit == 0 => {
            return Err("ERR value is out of range".into());
        }
        (Some(hash), Some((count, with_values))) => {
            // A client whose limit is reached is closed with the end of the command: nobody reads the rest.
            let most_bytes = if limit == 0 { usize::MAX } else { limit as usize };
            pick(hash, count, with_values, now, &mut random, call.reply, most_bytes)
        }
    }
    call.keys.rng = rng;
    Ok(())
}

/// How many fields to pick, and whether with their values.
fn pick_count(call: &Call) -> Result<(i64, bool), Error> {
    let count = call.int(2)?;
    if count == i64::MIN {
        return Err("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807".into());
    }
    let with_values = call.args.len() > 3;
    if call.args.len() > 4 || (with_values && !call.word(3, "WITHVALUES")) {
        return Err(Error::Syntax);
    }
    if with_values && count.abs() > i64::MAX / 2 {
        return Err("ERR value is out of range".into());
    }
    Ok((count, with_values))
}

/// Replies `count` different fields, or `-count` that may repeat.
fn pick(
    hash: &Hash,
    count: i64,
    with_values: bool,
    now: i64,
    random: &mut impl FnMut() -> u64,
    reply: &mut Reply,
    most_bytes: usize,
) {
    let live = hash.live_len(now);
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let picks = if count >= 0 || live == 0 { wanted.min(live) } else { wanted };
    let nested = with_values && reply.protocol == Protocol::Resp3;
    reply.array(if with_values && !nested { picks * 2 } else { picks });
    let mut show = |field: Field| {
        if nested {
            reply.array(2);
        }
        bulk_item(reply, field.name);
        if with_values {
            bulk_item(reply, field.value);
        }
        reply.buf.len() <= most_bytes
    };
    if count >= 0 {
        return hash.sample_live(picks, now, random, |field| {
            show(field);
        });
    }
    for _ in 0..picks {
        if hash.random_live(now, random).is_some_and(|field| !show(field)) {
            return;
        }
    }
}

// ---- Writing ----

fn hset(call: &mut Call) -> Outcome {
    let created = set_fields(call)?;
    call.reply.count(created);
    Ok(())
}

fn hmset(call: &mut Call) -> Outcome {
    set_fields(call)?;
    call.reply.ok();
    Ok(())
}

/// Sets the fields from argument 2 on; how many of them are new.
fn set_fields(call: &mut Call) -> Result<usize, Error> {
    let (key, pairs) = (call.args.at(1), call.args.from(2));
    if pairs.len() % 2 == 1 {
        return Err(Error::Arity(call.spec.full_name.to_owned()));
    }
    let limits = call.keys.settings.hash;
    let hash = call.keys.hash_or_new(key)?;
    hash.expect(pairs.len() / 2, &limits);
    let timed = hash.min_expiry().is_some();
    let mut created = 0;
    for at in (0..pairs.len()).step_by(2) {
        created += usize::from(hash.set(pairs.at(at), pairs.at(at + 1), FieldTtl::Clear, &limits));
    }
    if timed {
        call.keys.index_fields(key);
    }
    call.keys.changed(key, NotifyFlags::HASH, "hset", pairs.len() as u64 / 2);
    Ok(created)
}

fn hsetnx(call: &mut Call) -> Outcome {
    let (key, name) = (call.args.at(1), call.args.at(2));
    let there = current(call)?.is_some();
    if !there {
        let limits = call.keys.settings.hash;
        call.keys.hash_or_new(key)?.set(name, call.args.at(3), FieldTtl::Clear, &limits);
        call.keys.changed(key, NotifyFlags::HASH, "hset", 1);
    }
    call.reply.int((!there).into());
    Ok(())
}

/// The value of the field that argument 2 names, for a command that is going to change it.
fn current<'k>(call: &'k mut Call) -> Result<Option<Item<'k>>, Error> {
    let (key, name) = (call.args.at(1), call.args.at(2));
    let now = field_clock(call.keys);
    let expired = call.keys.hash_mut(key)?.and_then(|hash| hash.field(name)).is_some_and(|field| !field.is_live(now));
    if expired {
        expire_fields(call.keys, key, std::iter::once(name));
        return Ok(None);
    }
    Ok(call.keys.hash_mut(key)?.and_then(|hash| hash.get(name)))
}

/// Gives the field that argument 2 names another value; its time to live stays.
fn update(call: &mut Call, value: &[u8], event: &'static str) -> Outcome {
    let (key, name) = (call.args.at(1), call.args.at(2));
    let limits = call.keys.settings.hash;
    call.keys.hash_or_new(key)?.set(name, value, FieldTtl::Keep, &limits);
    call.keys.changed(key, NotifyFlags::HASH, event, 1);
    Ok(())
}

fn hincrby(call: &mut Call) -> Outcome {
    let increment = call.int(3)?;
    let value = match current(call)? {
        None => 0,
        Some(item) => item.as_int().ok_or("ERR hash value is not an integer")?,
    };
    let sum = value.checked_add(increment).ok_or("ERR increment or decrement would overflow")?;
    update(call, IntBuf::new().format(sum).as_bytes(), "hincrby")?;
    call.reply.int(sum);
    Ok(())
}

fn hincrbyfloat(call: &mut Call) -> Outcome {
    let increment = LongDouble::parse(call.args.at(3)).ok_or(Error::NotFloat)?;
    if !increment.is_finite() {
        return Err("ERR value is NaN or Infinity".into());
    }
    let value = match current(call)? {
        None => LongDouble::from(0),
        Some(Item::Int(n)) => LongDouble::from(n),
        Some(Item::Bytes(text)) => LongDouble::parse(text).ok_or("ERR hash value is not a float")?,
    };
    let sum = value + increment;
    if !sum.is_finite() {
        return Err("ERR increment would produce NaN or Infinity".into());
    }
    let mut text = Vec::new();
    sum.format(&mut text);
    update(call, &text, "hincrbyfloat")?;
    let (key, name) = (call.args.at(1), call.args.at(2));
    // HSET would end the field's time to live. Where there is none it says the same to servers that know no HSETEX.
    let expires = call.keys.hash_mut(key)?.is_some_and(|hash| hash.expiry(name).flatten().is_some());
    match expires {
        true => {
            call.keys.effects.propagate(call.keys.db, &[b"HSETEX", key, b"KEEPTTL", b"FIELDS", b"1", name, &text]);
        }
        false => call.keys.effects.propagate(call.keys.db, &[b"HSET", key, name, &text]),
    }
    call.reply.bulk(&text);
    Ok(())
}

fn hdel(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    let mut deleted = 0;
    let mut timed = false;
    if let Some(hash) = call.keys.hash_mut(key)? {
        timed = hash.min_expiry().is_some();
        deleted = call.args.from(2).iter().filter(|name| hash.remove(name)).count();
    }
    if deleted > 0 {
        call.keys.changed(key, NotifyFlags::HASH, "hdel", deleted as u64);
        if !call.keys.remove_if_empty(key) && timed {
            call.keys.index_fields(key);
        }
    }
    call.reply.count(deleted);
    Ok(())
}
