//! Times to live of the fields of hashes: HEXPIRE, HTTL, HPERSIST in all units, HGETEX, HSETEX, HGETDEL.
//!
//! To the stream go absolute times (HPEXPIREAT, HSETEX PXAT), or HDEL for a field whose time is already
//! past. Not here: fields that expire by themselves (`hash`, `engine::expiry`).
//! Redis' counterpart: the second half of `t_hash.c`; HSETEX takes the conditions of Valkey, too.

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::error::{Error, Outcome};
use crate::engine::keyspace::{ExpiryMode, Keyspace};
use crate::engine::spec::*;
use crate::resp::Args;
use crate::types::hash::{FieldTtl, Hash, LATEST_FIELD_TTL_MS};
use crate::types::number::{self, IntBuf};
use crate::types::value::ValueRef;

use super::expire::Unit;
use super::hash::{announce_expired, bulk_item, drop_expired, field_clock, remove_or_index};

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("hexpire", hexpire, -6, WRITE | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs("7.4.0", "O(N) for N fields", "Sets the time to live of fields, in seconds.")
        .args(
            "key:key#0 seconds:integer condition:oneof?(NX XX GT LT) \
            fields:block=FIELDS(numfields:integer field:string*)",
        ),
    Spec::new("hexpireat", hexpireat, -6, WRITE | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs("7.4.0", "O(N) for N fields", "Sets the time fields expire, in Unix seconds.")
        .args(
            "key:key#0 unix-time-seconds:unix-time condition:oneof?(NX XX GT LT) \
            fields:block=FIELDS(numfields:integer field:string*)",
        ),
    Spec::new("hexpiretime", hexpiretime, -5, READONLY | FAST, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("7.4.0", "O(N) for N fields", "The times fields expire, in Unix seconds.")
        .args("key:key#0 fields:block=FIELDS(numfields:integer field:string*)"),
    Spec::new("hgetdel", hgetdel, -5, WRITE | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW access delete", 1)])
        .docs("8.0.0", "O(N) for N fields", "The values of fields, which are then deleted.")
        .args("key:key#0 fields:block=FIELDS(numfields:integer field:string*)"),
    Spec::new("hgetex", hgetex, -5, WRITE | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW access update", 1).notes("Reads and updates: it may change a time to live")])
        .docs("8.0.0", "O(N) for N fields", "The values of fields, whose time to live may be changed.")
        .args(
            "key:key#0 expiration:oneof?(seconds:integer=EX milliseconds:integer=PX \
            unix-time-seconds:unix-time=EXAT unix-time-milliseconds:unix-time=PXAT PERSIST) \
            fields:block=FIELDS(numfields:integer field:string*)",
        ),
    Spec::new("hpersist", hpersist, -5, WRITE | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs("7.4.0", "O(N) for N fields", "Removes the time to live of fields.")
        .args("key:key#0 fields:block=FIELDS(numfields:integer field:string*)"),
    Spec::new("hpexpire", hpexpire, -6, WRITE | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs("7.4.0", "O(N) for N fields", "Sets the time to live of fields, in milliseconds.")
        .args(
            "key:key#0 milliseconds:integer condition:oneof?(NX XX GT LT) \
            fields:block=FIELDS(numfields:integer field:string*)",
        ),
    Spec::new("hpexpireat", hpexpireat, -6, WRITE | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs("7.4.0", "O(N) for N fields", "Sets the time fields expire, in Unix milliseconds.")
        .args(
            "key:key#0 unix-time-milliseconds:unix-time condition:oneof?(NX XX GT LT) \
            fields:block=FIELDS(numfields:integer field:string*)",
        ),
    Spec::new("hpexpiretime", hpexpiretime, -5, READONLY | FAST, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("7.4.0", "O(N) for N fields", "The times fields expire, in Unix milliseconds.")
        .args("key:key#0 fields:block=FIELDS(numfields:integer field:string*)"),
    Spec::new("hpttl", hpttl, -5, READONLY | FAST, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("7.4.0", "O(N) for N fields", "The time to live of fields, in milliseconds.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0 fields:block=FIELDS(numfields:integer field:string*)"),
    Spec::new("hsetex", hsetex, -6, WRITE | DENYOOM | FAST, Group::Hash)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs("8.0.0", "O(N) for N fields", "Sets fields together with a time to live.")
        .args(
            "key:key#0 condition:oneof?(FNX FXX) expiration:oneof?(seconds:integer=EX \
            milliseconds:integer=PX unix-time-seconds:unix-time=EXAT \
            unix-time-milliseconds:unix-time=PXAT KEEPTTL) fields:block=FIELDS(numfields:integer \
            data:block*(field:string value:string))",
        ),
    Spec::new("httl", httl, -5, READONLY | FAST, Group::Hash)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("7.4.0", "O(N) for N fields", "The time to live of fields, in seconds.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0 fields:block=FIELDS(numfields:integer field:string*)"),
];

// ---- Arguments ----

/// The fields behind `FIELDS numfields`, the word being argument `at`. `not_positive` is the complaint
/// about a number below 1.
fn fields<'a>(call: &Call<'a>, at: usize, not_positive: &'static str) -> Result<Args<'a>, Error> {
    if !call.word(at, "FIELDS") || at + 1 >= call.args.len() {
        return Err("ERR Mandatory argument FIELDS is missing or not at the right position".into());
    }
    let count = call.int_in(at + 1, 1, i64::MAX, not_positive)?;
    let fields = call.args.from(at + 2);
    if usize::try_from(count) != Ok(fields.len()) {
        return Err("ERR The `numfields` parameter must match the number of arguments".into());
    }
    Ok(fields)
}

const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// Argument `index` as the moment a field is to expire.
fn moment(call: &Call, index: usize, unit: Unit) -> Result<i64, Error> {
    let count = call.int(index)?;
    if count < 0 {
        return Err("ERR invalid expire time, must be >= 0".into());
    }
    let at = unit.moment(count, call.keys.now_ms()).filter(|at| *at <= LATEST_FIELD_TTL_MS);
    // The epoch itself stands for no time.
    at.map(|at| at.max(1)).ok_or(Error::InvalidExpire(call.spec.name))
}

/// The unit that an option of HGETEX or HSETEX names.
fn unit_option(call: &Call, at: usize) -> Option<Unit> {
    const OPTIONS: [(&str, Unit); 4] =
        [("EX", Unit::SECONDS), ("PX", Unit::MS), ("EXAT", Unit::UNIX_SECONDS), ("PXAT", Unit::UNIX_MS)];
    OPTIONS.iter().find(|(word, _)| call.word(at, word)).map(|(_, unit)| *unit)
}

/// Whether a field with this time goes at once.
fn is_past(keys: &Keyspace, at: i64) -> bool {
    at <= keys.now_ms() && keys.expiry == ExpiryMode::Delete
}

/// Propagates `head`, then the number of `fields`, then the fields.
fn propagate_fields(keys: &mut Keyspace, head: &[&[u8]], fields: &[&[u8]]) {
    let mut count = IntBuf::new();
    let mut args = head.to_vec();
    args.extend([&b"FIELDS"[..], count.format(fields.len() as i64).as_bytes()]);
    args.extend_from_slice(fields);
    keys.effects.propagate(keys.db, &args);
}

/// Propagates one HDEL for each of `fields`.
fn propagate_deletions(keys: &mut Keyspace, key: &[u8], fields: &[&[u8]]) {
    for name in fields {
        keys.effects.propagate(keys.db, &[b"HDEL", key, name]);
    }
}

// ---- HEXPIRE and its units ----

/// On which condition the time of a field is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    Nx,
    Xx,
    Gt,
    Lt,
}

impl Condition {
    fn parse(call: &Call, at: usize) -> Condition {
        const WORDS: [(&str, Condition); 4] =
            [("NX", Condition::Nx), ("XX", Condition::Xx), ("GT", Condition::Gt), ("LT", Condition::Lt)];
        WORDS.iter().find(|(word, _)| call.word(at, word)).map_or(Condition::Always, |(_, condition)| *condition)
    }

    /// Whether a field that expires at `current` may expire at `new`. No expire time counts as infinite.
    fn allows(self, current: Option<i64>, new: i64) -> bool {
        match (self, current) {
            (Condition::Always, _) | (Condition::Nx | Condition::Lt, None) | (Condition::Xx, Some(_)) => true,
            (Condition::Nx, Some(_)) | (Condition::Xx | Condition::Gt, None) => false,
            (Condition::Gt, Some(current)) => new > current,
            (Condition::Lt, Some(current)) => new < current,
        }
    }
}

fn hexpire(call: &mut Call) -> Outcome {
    expire(call, Unit::SECONDS)
}

fn hpexpire(call: &mut Call) -> Outcome {
    expire(call, Unit::MS)
}

fn hexpireat(call: &mut Call) -> Outcome {
    expire(call, Unit::UNIX_SECONDS)
}

fn hpexpireat(call: &mut Call) -> Outcome {
    expire(call, Unit::UNIX_MS)
}

/// Answers for each field -2 (no such field), 0 (condition not met), 1 (set) or 2 (deleted at once). Fields
/// whose time has come but that are still there count as there.
fn expire(call: &mut Call, unit: Unit) -> Outcome {
    let key = call.args.at(1);
    call.keys.hash_mut(key)?;
    let at = moment(call, 2, unit)?;
    let condition = Condition::parse(call, 3);
    let fields_at = if condition == Condition::Always { 3 } else { 4 };
    let fields = fields(call, fields_at, "ERR Parameter `numFields` should be greater than 0")?;
    let past = is_past(call.keys, at);
    call.reply.array(fields.len());
    let Some(hash) = call.keys.hash_mut(key)? else {
        fields.iter().for_each(|_| call.reply.int(-2));
        return Ok(());
    };
    let mut done: Vec<&[u8]> = Vec::new();
    for name in fields {
        let answer = match hash.expiry(name) {
            None => -2,
            Some(current) if !condition.allows(current, at) => 0,
            Some(_) => {
                done.push(name);
                set_time(hash, name, at, past)
            }
        };
        call.reply.int(answer);
    }
    if done.is_empty() {
        return Ok(());
    }
    finish_times(call, &done, at, past, &done, fields_at);
    Ok(())
}

/// Sets the time of a field, or deletes it if that is past; what HEXPIRE answers.
fn set_time(hash: &mut Hash, name: &[u8], at: i64, past: bool) -> i64 {
    if past {
        hash.remove(name);
        return 2;
    }
    hash.set_expiry(name, at);
    1
}

/// Effects of a new time for the fields `done`: event, stream, index. In the stream HPEXPIREAT names
/// `fields`, and keeps the arguments between the time and `fields_at` (a condition).
fn finish_times(call: &mut Call, done: &[&[u8]], at: i64, past: bool, fields: &[&[u8]], fields_at: usize) {
    let key = call.args.at(1);
    let event = if past { "hdel" } else { "hexpire" };
    call.keys.changed(key, NotifyFlags::HASH, event, done.len() as u64);
    if past {
        call.keys.stats.expired_fields += done.len() as u64;
        propagate_deletions(call.keys, key, done);
    } else {
        let mut digits = IntBuf::new();
        let mut head: Vec<&[u8]> = vec![b"HPEXPIREAT", key, digits.format(at).as_bytes()];
        head.extend(call.args.up_to(fields_at).from(3).iter());
        propagate_fields(call.keys, &head, fields);
    }
    remove_or_index(call.keys, key);
}

// ---- HTTL and its units, HPERSIST ----

fn httl(call: &mut Call) -> Outcome {
    tell(call, Unit::SECONDS)
}

fn hpttl(call: &mut Call) -> Outcome {
    tell(call, Unit::MS)
}

fn hexpiretime(call: &mut Call) -> Outcome {
    tell(call, Unit::UNIX_SECONDS)
}

fn hpexpiretime(call: &mut Call) -> Outcome {
    tell(call, Unit::UNIX_MS)
}

/// Answers for each field -2 (no such field), -1 (does not expire) or the time; seconds are rounded up.
fn tell(call: &mut Call, unit: Unit) -> Outcome {
    let now = field_clock(call.keys);
    let origin = if unit.relative { call.keys.now_ms() } else { 0 };
    // A key of another type is a complaint before bad arguments are.
    call.keys.hash_value(call.args.at(1))?;
    let fields = fields(call, 2, NOT_POSITIVE)?;
    let found = call.keys.peek(call.args.at(1)).and_then(|entry| match entry.value() {
        ValueRef::Hash(hash) => Some(hash),
        _ => None,
    });
    call.reply.array(fields.len());
    for name in fields {
        let field = found.and_then(|hash| hash.field(name)).filter(|field| field.is_live(now));
        let answer = match field.map(|field| field.expiry_ms) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => (at - origin + unit.ms - 1) / unit.ms,
        };
        call.reply.int(answer);
    }
    Ok(())
}

/// Answers for each field -2 (no such field), -1 (did not expire anyway) or 1.
fn hpersist(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    call.keys.hash_mut(key)?;
    let fields = fields(call, 2, NOT_POSITIVE)?;
    let now = field_clock(call.keys);
    call.reply.array(fields.len());
    let Some(hash) = call.keys.hash_mut(key)? else {
        fields.iter().for_each(|_| call.reply.int(-2));
        return Ok(());
    };
    let mut persisted = 0;
    for name in fields {
        let live = hash.field(name).filter(|field| field.is_live(now)).map(|field| field.expiry_ms);
        call.reply.int(match live {
            None => -2,
            Some(None) => -1,
            Some(Some(_)) => {
                hash.persist(name);
                persisted += 1;
                1
            }
        });
    }
    if persisted > 0 {
        call.keys.index_fields(key);
        call.keys.changed(key, NotifyFlags::HASH, "hpersist", persisted);
    }
    Ok(())
}

// ---- Reading with a change ----

fn hgetdel(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    call.keys.hash_mut(key)?;
    let fields = fields(call, 2, NOT_POSITIVE)?;
    let expired = drop_expired(call.keys, key, fields.iter());
    call.reply.array(fields.len());
    let mut deleted = 0;
    let mut hash = call.keys.hash_mut(key)?;
    for name in fields {
        // One after the other: a field asked for twice is gone the second time.
        match hash.as_deref().and_then(|hash| hash.get(name)) {
            Some(value) => bulk_item(call.reply, value),
            None => call.reply.null(),
        }
        deleted += u64::from(hash.as_deref_mut().is_some_and(|hash| hash.remove(name)));
    }
    if expired {
        call.keys.touched(key);
        call.keys.notify(NotifyFlags::HASH, "hexpired", key);
    }
    if deleted > 0 {
        call.keys.changed(key, NotifyFlags::HASH, "hdel", deleted);
        let mut args: Vec<&[u8]> = vec![b"HDEL", key];
        args.extend(fields.iter());
        call.keys.effects.propagate(call.keys.db, &args);
    }
    if expired || deleted > 0 {
        remove_or_index(call.keys, key);
    }
    Ok(())
}

fn hgetex(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    call.keys.hash_mut(key)?;
    let persist = call.word(2, "PERSIST");
    let (at, fields_at) = match unit_option(call, 2) {
        Some(unit) => (Some(moment(call, 3, unit)?), 4),
        None => (None, 2 + usize::from(persist)),
    };
    if fields_at + 1 >= call.args.len() {
        return Err(Error::Arity(call.spec.full_name.to_owned()));
    }
    let fields = fields(call, fields_at, NOT_POSITIVE)?;
    let past = at.is_some_and(|at| is_past(call.keys, at));
    let now = field_clock(call.keys);
    let expired = drop_expired(call.keys, key, fields.iter());
    let mut changed: Vec<&[u8]> = Vec::new();
    call.reply.array(fields.len());
    let mut hash = call.keys.hash_mut(key)?;
    for name in fields {
        match hash.as_deref().and_then(|hash| hash.get_live(name, now)) {
            Some(value) => bulk_item(call.reply, value),
            None => {
                call.reply.null();
                continue;
            }
        }
        let Some(hash) = hash.as_deref_mut() else { continue };
        // One after the other: a field deleted at once is gone if it is asked for again.
        let change = match at {
            Some(at) => set_time(hash, name, at, past) > 0,
            None => persist && hash.persist(name) == Some(true),
        };
        if change {
            changed.push(name);
        }
    }
    if expired {
        announce_expired(call.keys, key);
    }
    if changed.is_empty() {
        return Ok(());
    }
    // Deletions name what is deleted; everything else names all that was asked for.
    let all: Vec<&[u8]> = fields.iter().collect();
    match at {
        Some(at) => finish_times(call, &changed, at, past, &all, 3),
        None => {
            call.keys.index_fields(key);
            call.keys.changed(key, NotifyFlags::HASH, "hpersist", changed.len() as u64);
            propagate_fields(call.keys, &[b"HPERSIST", key], &all);
        }
    }
    Ok(())
}

// ---- HSETEX ----

/// What HSETEX is asked for.
struct SetEx<'a> {
    /// `NX` is false, `XX` is true: whether the key has to be there.
    key_exists: Option<bool>,
    /// `FNX` is false, `FXX` is true: whether all the fields have to be there.
    fields_exist: Option<bool>,
    ttl: FieldTtl,
    /// Where the option with the time stands.
    time_at: Option<usize>,
    /// Fields and values.
    pairs: Args<'a>,
}

impl<'a> SetEx<'a> {
    fn parse(call: &Call<'a>) -> Result<SetEx<'a>, Error> {
        let mut parsed =
            SetEx { key_exists: None, fields_exist: None, ttl: FieldTtl::Clear, time_at: None, pairs: Args::default() };
        let mut at = 2;
        while at < call.args.len() {
            let unit = unit_option(call, at);
            if call.word(at, "FIELDS") {
                parsed.pairs = parse_pairs(call, at)?;
                return Ok(parsed);
            } else if call.word(at, "FNX") || call.word(at, "FXX") {
                if parsed.fields_exist.replace(call.word(at, "FXX")).is_some() {
                    return Err("ERR Only one of FXX or FNX arguments can be specified".into());
                }
            } else if call.word(at, "NX") || call.word(at, "XX") {
                if parsed.key_exists.replace(call.word(at, "XX")).is_some() {
                    return Err("ERR Only one of XX or NX arguments can be specified".into());
                }
            } else if unit.is_some() || call.word(at, "KEEPTTL") {
                if parsed.ttl != FieldTtl::Clear {
                    return Err("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified".into());
                }
                parsed.ttl = FieldTtl::Keep;
                if let Some(unit) = unit {
                    parsed.time_at = Some(at);
                    at += 1;
                    if at == call.args.len() {
                        return Err("ERR missing expire time".into());
                    }
                    parsed.ttl = FieldTtl::At(moment(call, at, unit)?);
                }
            } else {
                let argument = String::from_utf8_lossy(call.args.at(at));
                return Err(Error::new(format!("ERR unknown argument: {argument}")));
            }
            at += 1;
        }
        Err("ERR missing FIELDS argument".into())
    }

    /// Whether `hash` is as the conditions want it.
    fn allows(&self, hash: Option<&Hash>) -> bool {
        let exists = |name| hash.is_some_and(|hash| hash.contains(name));
        self.key_exists.is_none_or(|wanted| wanted == hash.is_some())
            && self.fields_exist.is_none_or(|wanted| self.names().all(|name| exists(name) == wanted))
    }

    fn names(&self) -> impl Iterator<Item = &'a [u8]> {
        self.pairs.iter().step_by(2)
    }
}

/// The pairs behind `FIELDS numfields`, the word being argument `at`; they end the command.
fn parse_pairs<'a>(call: &Call<'a>, at: usize) -> Result<Args<'a>, Error> {
    let arity = || Error::Arity(call.spec.full_name.to_owned());
    if call.args.len() < at + 4 {
        return Err(arity());
    }
    let count = number::parse_i64(call.args.at(at + 1)).filter(|count| (1..=i64::from(i32::MAX)).contains(count));
    let count = count.ok_or("ERR invalid number of fields")?;
    let pairs = call.args.from(at + 2);
    if pairs.len() as u64 != count as u64 * 2 {
        return Err(arity());
    }
    Ok(pairs)
}

fn hsetex(call: &mut Call) -> Outcome {
    let request = SetEx::parse(call)?;
    let key = call.args.at(1);
    call.keys.hash_mut(key)?;
    if request.fields_exist.is_some() && drop_expired(call.keys, key, request.names()) {
        call.keys.touched(key);
        call.keys.notify(NotifyFlags::HASH, "hexpired", key);
    }
    if !request.allows(call.keys.hash_mut(key)?.as_deref()) {
        // The last fields may have gone with their time.
        remove_or_index(call.keys, key);
        call.reply.int(0);
        return Ok(());
    }
    let limits = call.keys.settings.hash;
    let past = matches!(request.ttl, FieldTtl::At(at) if is_past(call.keys, at));
    let ttl = if past { FieldTtl::Clear } else { request.ttl };
    let names: Vec<&[u8]> = request.names().collect();
    let hash = call.keys.hash_or_new(key)?;
    hash.expect(names.len(), &limits);
    for (name, value) in names.iter().zip(request.pairs.iter().skip(1).step_by(2)) {
        hash.set(name, value, ttl, &limits);
    }
    let mut deleted = Vec::new();
    if past {
        deleted.extend(names.iter().copied().filter(|name| hash.remove(name)));
    }
    call.keys.changed(key, NotifyFlags::HASH, "hset", names.len() as u64);
    if let FieldTtl::At(at) = request.ttl {
        call.keys.notify(NotifyFlags::HASH, if past { "hdel" } else { "hexpire" }, key);
        if past {
            call.keys.stats.expired_fields += deleted.len() as u64;
            propagate_deletions(call.keys, key, &deleted);
        } else if let Some(time_at) = request.time_at {
            let mut digits = IntBuf::new();
            let mut args: Vec<&[u8]> = call.args.iter().collect();
            (args[time_at], args[time_at + 1]) = (b"PXAT", digits.format(at).as_bytes());
            call.keys.effects.propagate(call.keys.db, &args);
        }
    }
    remove_or_index(call.keys, key);
    call.reply.int(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_take_no_expire_time_for_infinite() {
        let allowed = |condition: Condition| [None, Some(4), Some(5), Some(6)].map(|at| condition.allows(at, 5));
        assert_eq!(allowed(Condition::Always), [true, true, true, true]);
        assert_eq!(allowed(Condition::Nx), [true, false, false, false]);
        assert_eq!(allowed(Condition::Xx), [false, true, true, true]);
        assert_eq!(allowed(Condition::Gt), [false, true, false, false]);
        assert_eq!(allowed(Condition::Lt), [true, false, false, true]);
    }
}
