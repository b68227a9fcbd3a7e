//! Strings: everything whose value is one piece of bytes, or an integer that reads as one.
//!
//! Not here: bits of strings (`bitmap`), the table of LCS (`lcs`). Relative expire times become absolute
//! before anything is stored or propagated, so the stream means the same whenever it is read.
//!
//! Counterpart: `t_string.c` in Redis.

use crate::engine::call::{Call, Mode};
use crate::engine::config::NotifyFlags;
use crate::engine::effects::Propagate;
use crate::engine::entry::{Entry, Kind};
use crate::engine::error::{Error, Outcome};
use crate::engine::keyspace::{ExpiryMode, Keyspace, Ttl};
use crate::engine::spec::*;
use crate::resp::Reply;
use crate::types::long_double::LongDouble;
use crate::types::number::{self, IntBuf};
use crate::types::value::{Value, ValueRef};

use super::lcs::lcs;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("append", append, 3, WRITE | DENYOOM | FAST, Group::String)
        .keys(&[KeySpec::key("RW insert", 1)])
        .docs("2.0.0", "O(1) amortized.", "Appends to a string.")
        .args("key:key#0 value:string"),
    Spec::new("decr", decr, 2, WRITE | DENYOOM | FAST, Group::String)
        .keys(&[KeySpec::key("RW access update", 1)])
        .docs("1.0.0", "O(1)", "Subtracts one from an integer.")
        .args("key:key#0"),
    Spec::new("decrby", decrby, 3, WRITE | DENYOOM | FAST, Group::String)
        .keys(&[KeySpec::key("RW access update", 1)])
        .docs("1.0.0", "O(1)", "Subtracts from an integer.")
        .args("key:key#0 decrement:integer"),
    Spec::new("delifeq", delifeq, 3, WRITE | FAST, Group::String)
        .keys(&[KeySpec::key("RM delete", 1)])
        .docs("9.0.0", "O(1)", "Deletes a key if it has the given value.")
        .args("key:key#0 value:string"),
    Spec::new("get", get, 2, READONLY | FAST, Group::String)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("1.0.0", "O(1)", "The string value of a key.")
        .args("key:key#0"),
    Spec::new("getdel", getdel, 2, WRITE | FAST, Group::String)
        .keys(&[KeySpec::key("RW access delete", 1)])
        .docs("6.2.0", "O(1)", "The string value of a key, which is then deleted.")
        .args("key:key#0"),
    Spec::new("getex", getex, -2, WRITE | FAST, Group::String)
        .keys(&[KeySpec::key("RW access update", 1).notes("Reads and updates: it may change a time to live")])
        .docs("6.2.0", "O(1)", "The string value of a key, whose time to live may be changed.")
        .args(
            "key:key#0 expiration:oneof?(seconds:integer=EX milliseconds:integer=PX \
            unix-time-seconds:unix-time=EXAT unix-time-milliseconds:unix-time=PXAT PERSIST)",
        ),
    Spec::new("getrange", getrange, 4, READONLY, Group::String)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.4.0", "O(N) for N bytes replied.", "A part of a string.")
        .args("key:key#0 start:integer end:integer"),
    Spec::new("getset", getset, 3, WRITE | DENYOOM | FAST, Group::String)
        .keys(&[KeySpec::key("RW access update", 1)])
        .docs("1.0.0", "O(1)", "Sets a string and replies what it was.")
        .deprecated("6.2.0", "`SET` with the `!GET` argument")
        .args("key:key#0 value:string"),
    Spec::new("incr", incr, 2, WRITE | DENYOOM | FAST, Group::String)
        .keys(&[KeySpec::key("RW access update", 1)])
        .docs("1.0.0", "O(1)", "Adds one to an integer.")
        .args("key:key#0"),
    Spec::new("incrby", incrby, 3, WRITE | DENYOOM | FAST, Group::String)
        .keys(&[KeySpec::key("RW access update", 1)])
        .docs("1.0.0", "O(1)", "Adds to an integer.")
        .args("key:key#0 increment:integer"),
    Spec::new("incrbyfloat", incrbyfloat, 3, WRITE | DENYOOM | FAST, Group::String)
        .keys(&[KeySpec::key("RW access update", 1)])
        .docs("2.6.0", "O(1)", "Adds to a floating-point number.")
        .args("key:key#0 increment:double"),
    Spec::new("lcs", lcs, -3, READONLY, Group::String)
        .keys(&[KeySpec::range("RO access", 1, 1, 1, 0)])
        .docs(
            "7.0.0",
            "O(N*M) for strings of N and M bytes.",
            "The longest sequence of bytes two strings have in common, in order.",
        )
        .args("key1:key#0 key2:key#0 LEN? IDX? min-match-len:integer=MINMATCHLEN? WITHMATCHLEN?"),
    Spec::new("mget", mget, -2, READONLY | FAST, Group::String)
        .keys(&[KeySpec::range("RO access", 1, -1, 1, 0)])
        .docs("1.0.0", "O(N) for N keys.", "The string values of several keys.")
        .tips(&["request_policy:multi_shard"])
        .args("key:key#0*"),
    Spec::new("mset", mset, -3, WRITE | DENYOOM, Group::String)
        .keys(&[KeySpec::range("OW update", 1, -1, 2, 0)])
        .docs("1.0.1", "O(N) for N keys.", "Sets several strings at once.")
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .args("data:block*(key:key#0 value:string)"),
    Spec::new("msetex", msetex, -4, WRITE | DENYOOM | MOVABLEKEYS, Group::String)
        .keys(&[KeySpec::new("OW update", Begin::Index(1), Find::Keynum { count: 0, first: 1, step: 2 })])
        .docs("9.1.0", "O(N) for N keys.", "Sets several strings at once, with conditions and a time to live.")
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .args(
            "numkeys:integer data:block*(key:key#0 value:string) condition:oneof?(NX XX) \
            expiration:oneof?(seconds:integer=EX milliseconds:integer=PX \
            unix-time-seconds:unix-time=EXAT unix-time-milliseconds:unix-time=PXAT KEEPTTL)",
        ),
    Spec::new("msetnx", msetnx, -3, WRITE | DENYOOM, Group::String)
        .keys(&[KeySpec::range("OW insert", 1, -1, 2, 0)])
        .docs("1.0.1", "O(N) for N keys.", "Sets several strings at once if none of the keys exists.")
        .args("data:block*(key:key#0 value:string)"),
    Spec::new("psetex", psetex, 4, WRITE | DENYOOM, Group::String)
        .keys(&[KeySpec::key("OW update", 1)])
        .docs("2.6.0", "O(1)", "Sets a string with a time to live in milliseconds.")
        .deprecated("2.6.12", "`SET` with the `PX` argument")
        .args("key:key#0 milliseconds:integer value:string"),
    Spec::new("set", set, -3, WRITE | DENYOOM, Group::String)
        .keys(&[KeySpec::key("RW access update variable_flags", 1)
            .notes("Reads and accesses too: it may reply the old value")])
        .docs("1.0.0", "O(1)", "Sets a string, with conditions and a time to live if asked to.")
        .history(&[
            ("2.6.12", "Options `EX`, `PX`, `NX` and `XX`."),
            ("6.0.0", "Option `KEEPTTL`."),
            ("6.2.0", "Options `GET`, `EXAT` and `PXAT`."),
            ("7.0.0", "`NX` and `GET` go together."),
        ])
        .args(
            "key:key#0 value:string condition:oneof@2.6.12?(NX XX) GET@6.2.0? \
            expiration:oneof?(seconds:integer=EX@2.6.12 milliseconds:integer=PX@2.6.12 \
            unix-time-seconds:unix-time=EXAT@6.2.0 unix-time-milliseconds:unix-time=PXAT@6.2.0 \
            KEEPTTL@6.0.0)",
        ),
    Spec::new("setex", setex, 4, WRITE | DENYOOM, Group::String)
        .keys(&[KeySpec::key("OW update", 1)])
        .docs("2.0.0", "O(1)", "Sets a string with a time to live in seconds.")
        .deprecated("2.6.12", "`SET` with the `EX` argument")
        .args("key:key#0 seconds:integer value:string"),
    Spec::new("setnx", setnx, 3, WRITE | DENYOOM | FAST, Group::String)
        .keys(&[KeySpec::key("OW insert", 1)])
        .docs("1.0.0", "O(1)", "Sets a string if the key does not exist.")
        .deprecated("2.6.12", "`SET` with the `NX` argument")
        .args("key:key#0 value:string"),
    Spec::new("setrange", setrange, 4, WRITE | DENYOOM, Group::String)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs("2.2.0", "O(1) for short values, else O(M) for M bytes written.", "Overwrites a part of a string.")
        .args("key:key#0 offset:integer value:string"),
    Spec::new("strlen", strlen, 2, READONLY | FAST, Group::String)
        .keys(&[KeySpec::key("RO", 1)])
        .docs("2.2.0", "O(1)", "The length of a string.")
        .args("key:key#0"),
    Spec::new("substr", substr, 4, READONLY, Group::String)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("1.0.0", "O(N) for N bytes replied.", "A part of a string.")
        .deprecated("2.0.0", "`GETRANGE`")
        .args("key:key#0 start:integer end:integer"),
];

// ---- Reading ----

/// Replies the string at `key`, or null. False if there is none.
fn reply_string(keys: &mut Keyspace, reply: &mut Reply, key: &[u8]) -> Result<bool, Error> {
    match keys.string(key)? {
        Some(ValueRef::String(bytes)) => reply.bulk(bytes),
        Some(ValueRef::Int(n)) => reply.bulk_int(n),
        Some(ValueRef::Ascii(text)) => reply.bulk_ascii(text),
        _ => {
            reply.null();
            return Ok(false);
        }
    }
    Ok(true)
}

fn get(call: &mut Call) -> Outcome {
    reply_string(call.keys, call.reply, call.args.at(1))?;
    Ok(())
}

fn mget(call: &mut Call) -> Outcome {
    let names = call.args.from(1);
    call.reply.array(names.len());
    for key in names {
        match call.keys.read(key).map(Entry::value) {
            Some(ValueRef::String(bytes)) => call.reply.bulk(bytes),
            Some(ValueRef::Int(n)) => call.reply.bulk_int(n),
            Some(ValueRef::Ascii(text)) => call.reply.bulk_ascii(text),
            _ => call.reply.null(),
        }
    }
    Ok(())
}

fn strlen(call: &mut Call) -> Outcome {
    let value = call.keys.string(call.args.at(1))?;
    let len = value.map_or(0, ValueRef::text_len);
    call.reply.count(len);
    Ok(())
}

fn getrange(call: &mut Call) -> Outcome {
    let (start, end) = (call.int(2)?, call.int(3)?);
    let mut room = Vec::new();
    let value = call.keys.string(call.args.at(1))?;
    let bytes = value.map_or(&b""[..], |value| value.text(&mut room));
    call.reply.bulk(part(bytes, start, end));
    Ok(())
}

fn substr(call: &mut Call) -> Outcome {
    getrange(call)
}

/// The bytes from index `start` to `end`, both included; negative ones count from the end.
fn part(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    let len = bytes.len() as i64;
    // Both beyond the same end are an empty range, not the first byte.
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let from_front = |index: i64| if index < 0 { index.saturating_add(len).max(0) } else { index };
    let (start, end) = (from_front(start), from_front(end).min(len - 1));
    if start > end { &[] } else { &bytes[start as usize..=end as usize] }
}

// ---- Options of SET, GETEX and MSETEX ----

/// When a key is to expire, in the unit and reference of the option's word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Seconds from now (EX).
    Seconds,
    /// Milliseconds from now (PX).
    Millis,
    /// Seconds since the Unix epoch (EXAT).
    AtSeconds,
    /// Milliseconds since the Unix epoch (PXAT).
    AtMillis,
}

impl When {
    fn is_relative(self) -> bool {
        matches!(self, When::Seconds | When::Millis)
    }

    /// The moment that `amount` means, in milliseconds since the Unix epoch.
    fn moment(self, amount: i64, now_ms: i64) -> Option<i64> {
        let ms = match self {
            When::Seconds | When::AtSeconds => amount.checked_mul(1000)?,
            When::Millis | When::AtMillis => amount,
        };
        let base = if self.is_relative() { now_ms } else { 0 };
        ms.checked_add(base).filter(|_| amount > 0)
    }
}

/// What must hold for a value to be set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition<'a> {
    /// The key does not exist.
    Absent,
    /// The key exists.
    Present,
    /// The key holds this string.
    Equals(&'a [u8]),
}

/// Whose options are read: each command knows some of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Set,
    Getex,
    Msetex,
}

#[derive(Clone, Copy, Default)]
struct Options<'a> {
    condition: Option<Condition<'a>>,
    get: bool,
    keep_ttl: bool,
    persist: bool,
    /// The word and the argument behind it, not yet looked at.
    expire: Option<(When, &'a [u8])>,
}

impl<'a> Options<'a> {
    /// Reads the options from argument `first` on.
    fn parse(call: &Call<'a>, first: usize, form: Form) -> Result<Options<'a>, Error> {
        let mut options = Options::default();
        let sets = form != Form::Getex;
        let mut at = first;
        while let Some(word) = call.args.get(at) {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            let when = match () {
                _ if is("EX") => Some(When::Seconds),
                _ if is("PX") => Some(When::Millis),
                _ if is("EXAT") => Some(When::AtSeconds),
                _ if is("PXAT") => Some(When::AtMillis),
                _ => None,
            };
            if let Some(when) = when {
                let other = options.expire.is_some_and(|(earlier, _)| earlier != when);
                let Some(amount) = call.args.get(at + 1) else { return Err(Error::Syntax) };
                if other || options.keep_ttl || options.persist {
                    return Err(Error::Syntax);
                }
                options.expire = Some((when, amount));
                at += 2;
                continue;
            }
            if sets && is("NX") && matches!(options.condition, None | Some(Condition::Absent)) {
                options.condition = Some(Condition::Absent);
            } else if sets && is("XX") && matches!(options.condition, None | Some(Condition::Present)) {
                options.condition = Some(Condition::Present);
            } else if form == Form::Set && is("IFEQ") && options.condition.is_none() {
                at += 1;
                options.condition = Some(Condition::Equals(call.args.get(at).ok_or(Error::Syntax)?));
            } else if form == Form::Set && is("GET") {
                options.get = true;
            } else if sets && is("KEEPTTL") && options.expire.is_none() {
                options.keep_ttl = true;
            } else if form == Form::Getex && is("PERSIST") && options.expire.is_none() {
                options.persist = true;
            } else {
                return Err(Error::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }

    /// The expire time asked for, in milliseconds since the Unix epoch.
    fn expire_at(&self, call: &Call) -> Result<Option<i64>, Error> {
        let Some((when, amount)) = self.expire else { return Ok(None) };
        let amount = number::parse_i64(amount).ok_or(Error::NotInteger)?;
        let moment = when.moment(amount, call.keys.now_ms());
        moment.map(Some).ok_or(Error::InvalidExpire(call.spec.name))
    }

    /// What is to become of the key's expire time.
    fn ttl(&self, expire_at: Option<i64>) -> Ttl {
        match expire_at {
            Some(at) => Ttl::At(at),
            None if self.keep_ttl => Ttl::Keep,
            None => Ttl::Clear,
        }
    }

    /// Whether the condition, if there is one, holds for `key`.
    fn allow(&self, keys: &mut Keyspace, key: &[u8]) -> Result<bool, Error> {
        Ok(match self.condition {
            None => true,
            Some(Condition::Absent) => !keys.exists(key),
            Some(Condition::Present) => keys.exists(key),
            Some(Condition::Equals(wanted)) => match keys.peek(key).map(Entry::value) {
                None => false,
                Some(value) if value.kind() == Kind::String => value.text(&mut Vec::new()) == wanted,
                Some(_) => return Err(Error::WrongType),
            },
        })
    }
}

// ---- Setting ----

fn set(call: &mut Call) -> Outcome {
    let (key, value) = (call.args.at(1), call.args.at(2));
    if call.args.len() == 3 {
        store(call.keys, key, value, Ttl::Clear);
        call.reply.ok();
        return Ok(());
    }
    let options = Options::parse(call, 3, Form::Set)?;
    let expire_at = options.expire_at(call)?;
    if options.get {
        reply_string(call.keys, call.reply, key)?;
    }
    if !options.allow(call.keys, key)? {
        if !options.get {
            call.reply.null();
        }
        return Ok(());
    }
    store(call.keys, key, value, options.ttl(expire_at));
    match (options.expire, expire_at) {
        // A moment given as such stays as it was given.
        (Some((When::AtMillis, _)), _) => {}
        (_, Some(at)) => propagate_set_at(call.keys, key, value, at),
        _ if options.get => propagate_without_get(call),
        _ => {}
    }
    if !options.get {
        call.reply.ok();
    }
    Ok(())
}

/// Sets a string with its events, "expire" included.
fn store(keys: &mut Keyspace, key: &[u8], value: &[u8], ttl: Ttl) {
    keys.set_string(key, value, ttl);
    keys.changed(key, NotifyFlags::STRING, "set", 1);
    if let Ttl::At(_) = ttl {
        keys.notify(NotifyFlags::GENERIC, "expire", key);
    }
}

fn propagate_set_at(keys: &mut Keyspace, key: &[u8], value: &[u8], at: i64) {
    let mut digits = IntBuf::new();
    keys.effects.propagate(keys.db, &[b"SET", key, value, b"PXAT", digits.format(at).as_bytes()]);
}

/// Propagates a SET that replied the old value as one that does not: nobody reads that reply.
fn propagate_without_get(call: &mut Call) {
    call.keys.effects.propagate = Propagate::Replaced;
    if call.keys.effects.streaming {
        let mut args: Vec<&[u8]> = call.args.up_to(3).iter().collect();
        let mut rest = call.args.from(3).iter();
        while let Some(arg) = rest.next() {
            if arg.eq_ignore_ascii_case(b"IFEQ") {
                args.push(arg);
                args.extend(rest.next());
            } else if !arg.eq_ignore_ascii_case(b"GET") {
                args.push(arg);
            }
        }
        call.keys.effects.append(call.keys.db, args.into_iter());
    }
}

fn setnx(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    let absent = !call.keys.exists(key);
    if absent {
        store(call.keys, key, call.args.at(2), Ttl::Clear);
    }
    call.reply.int(i64::from(absent));
    Ok(())
}

fn setex(call: &mut Call) -> Outcome {
    set_with_expiry(call, When::Seconds)
}

fn psetex(call: &mut Call) -> Outcome {
    set_with_expiry(call, When::Millis)
}

fn set_with_expiry(call: &mut Call, when: When) -> Outcome {
    let (key, value) = (call.args.at(1), call.args.at(3));
    let at = when.moment(call.int(2)?, call.keys.now_ms()).ok_or(Error::InvalidExpire(call.spec.name))?;
    store(call.keys, key, value, Ttl::At(at));
    propagate_set_at(call.keys, key, value, at);
    call.reply.ok();
    Ok(())
}

fn getset(call: &mut Call) -> Outcome {
    let (key, value) = (call.args.at(1), call.args.at(2));
    reply_string(call.keys, call.reply, key)?;
    store(call.keys, key, value, Ttl::Clear);
    call.keys.effects.propagate(call.keys.db, &[b"SET", key, value]);
    Ok(())
}

fn mset(call: &mut Call) -> Outcome {
    if call.args.len().is_multiple_of(2) {
        return Err(Error::Arity(call.spec.name.to_owned()));
    }
    set_pairs(call, 1, call.args.len() / 2, Ttl::Clear);
    call.reply.ok();
    Ok(())
}

fn msetnx(call: &mut Call) -> Outcome {
    if call.args.len().is_multiple_of(2) {
        return Err(Error::Arity(call.spec.name.to_owned()));
    }
    let free = !call.args.from(1).iter().step_by(2).any(|key| call.keys.exists(key));
    if free {
        set_pairs(call, 1, call.args.len() / 2, Ttl::Clear);
    }
    call.reply.int(i64::from(free));
    Ok(())
}

/// Sets `count` pairs of key and value, which begin at argument `first`.
fn set_pairs(call: &mut Call, first: usize, count: usize, ttl: Ttl) {
    for pair in 0..count {
        let at = first + 2 * pair;
        store(call.keys, call.args.at(at), call.args.at(at + 1), ttl);
    }
}

fn msetex(call: &mut Call) -> Outcome {
    let count = call.int_in(1, 1, i64::from(i32::MAX), "ERR invalid numkeys value or out of range")? as usize;
    if count > (call.args.len() - 2) / 2 {
        return Err(Error::Syntax);
    }
    let behind = 2 + 2 * count;
    let options = Options::parse(call, behind, Form::Msetex)?;
    let expire_at = options.expire_at(call)?;
    for pair in 0..count {
        if !options.allow(call.keys, call.args.at(2 + 2 * pair))? {
            call.reply.int(0);
            return Ok(());
        }
    }
    set_pairs(call, 2, count, options.ttl(expire_at));
    if let (Some((when, _)), Some(at)) = (options.expire, expire_at)
        && when != When::AtMillis
    {
        call.keys.effects.propagate = Propagate::Replaced;
        let mut digits = IntBuf::new();
        let mut args: Vec<&[u8]> = call.args.up_to(behind).iter().collect();
        match options.condition {
            Some(Condition::Absent) => args.push(b"NX"),
            Some(Condition::Present) => args.push(b"XX"),
            _ => {}
        }
        args.extend([&b"PXAT"[..], digits.format(at).as_bytes()]);
        call.keys.effects.append(call.keys.db, args.into_iter());
    }
    call.reply.int(1);
    Ok(())
}

// ---- Reading and changing the key ----

fn getdel(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    if reply_string(call.keys, call.reply, key)? {
        let lazy = call.keys.settings.lazyfree_user_del;
        delete(call.keys, key, lazy, b"DEL");
    }
    Ok(())
}

/// Deletes a key with its event; the stream says so in this `word`.
fn delete(keys: &mut Keyspace, key: &[u8], lazy: bool, word: &[u8]) {
    keys.remove(key, lazy);
    keys.changed(key, NotifyFlags::GENERIC, "del", 1);
    keys.effects.propagate(keys.db, &[word, key]);
}

fn delifeq(call: &mut Call) -> Outcome {
    let (key, wanted) = (call.args.at(1), call.args.at(2));
    let equals = Options { condition: Some(Condition::Equals(wanted)), ..Options::default() };
    let equal = equals.allow(call.keys, key)?;
    if equal {
        let lazy = call.keys.settings.lazyfree_user_del;
        delete(call.keys, key, lazy, b"DEL");
    }
    call.reply.int(i64::from(equal));
    Ok(())
}

fn getex(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    let options = Options::parse(call, 2, Form::Getex)?;
    if !reply_string(call.keys, call.reply, key)? {
        return Ok(());
    }
    // Only a key that is there gets its expire time looked at.
    let expire_at = options.expire_at(call)?;
    match (options.expire, expire_at) {
        (Some((when, _)), Some(at)) => {
            let past = at <= call.keys.now_ms() && call.keys.expiry == ExpiryMode::Delete;
            if past && !when.is_relative() && call.mode != Mode::Replay {
                let lazy = call.keys.settings.lazyfree_expire;
                delete(call.keys, key, lazy, if lazy { b"UNLINK" } else { b"DEL" });
            } else {
                call.keys.set_expire(key, Some(at));
                call.keys.changed(key, NotifyFlags::GENERIC, "expire", 1);
                let mut digits = IntBuf::new();
                call.keys.effects.propagate(call.keys.db, &[b"PEXPIREAT", key, digits.format(at).as_bytes()]);
            }
        }
        _ if options.persist && call.keys.peek(key).is_some_and(|entry| entry.expire_at().is_some()) => {
            call.keys.set_expire(key, None);
            call.keys.changed(key, NotifyFlags::GENERIC, "persist", 1);
            call.keys.effects.propagate(call.keys.db, &[b"PERSIST", key]);
        }
        _ => {}
    }
    Ok(())
}

// ---- Numbers ----

fn incr(call: &mut Call) -> Outcome {
    add(call, 1)
}

fn decr(call: &mut Call) -> Outcome {
    add(call, -1)
}

fn incrby(call: &mut Call) -> Outcome {
    let by = call.int(2)?;
    add(call, by)
}

fn decrby(call: &mut Call) -> Outcome {
    let by = call.int(2)?.checked_neg().ok_or("ERR decrement would overflow")?;
    add(call, by)
}

/// Adds to the integer at the key; a missing one is 0.
fn add(call: &mut Call, by: i64) -> Outcome {
    let key = call.args.at(1);
    let sum = match call.keys.write(key) {
        None => {
            call.keys.add(key, Value::Int(by));
            by
        }
        Some(entry) => {
            let old = match entry.value() {
                ValueRef::Int(n) => n,
                ValueRef::String(bytes) => number::parse_i64(bytes).ok_or(Error::NotInteger)?,
                // Longer than any integer.
                ValueRef::Ascii(_) => return Err(Error::NotInteger),
                _ => return Err(Error::WrongType),
            };
            let sum = old.checked_add(by).ok_or("ERR increment or decrement would overflow")?;
            entry.write_int(sum);
            sum
        }
    };
    call.keys.changed(key, NotifyFlags::STRING, "incrby", 1);
    call.reply.int(sum);
    Ok(())
}

fn incrbyfloat(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    let by = LongDouble::parse(call.args.at(2)).ok_or(Error::NotFloat);
    let add = |old: LongDouble| -> Result<Vec<u8>, Error> {
        let sum = old + by?;
        if !sum.is_finite() {
            return Err("ERR increment would produce NaN or Infinity".into());
        }
        let mut text = Vec::new();
        sum.format(&mut text);
        Ok(text)
    };
    let text = match call.keys.write(key) {
        None => {
            let text = add(LongDouble::from(0))?;
            let mut entry = Entry::string(key, b"");
            entry.write_text(&text);
            call.keys.insert(entry);
            text
        }
        Some(entry) => {
            let old = match entry.value() {
                ValueRef::Int(n) => LongDouble::from(n),
                value if value.kind() == Kind::String => {
                    LongDouble::parse(value.text(&mut Vec::new())).ok_or(Error::NotFloat)?
                }
                _ => return Err(Error::WrongType),
            };
            let text = add(old)?;
            entry.write_text(&text);
            text
        }
    };
    call.keys.changed(key, NotifyFlags::STRING, "incrbyfloat", 1);
    call.reply.bulk(&text);
    call.keys.effects.propagate(call.keys.db, &[b"SET", key, &text, b"KEEPTTL"]);
    Ok(())
}

// ---- Changing in place ----

/// Refuses a string of `len` bytes if that is more than proto-max-bulk-len. What a log holds was allowed
/// when it was written.
fn check_len(call: &Call, len: u64) -> Outcome {
    if call.mode != Mode::Replay && len > call.keys.settings.max_string_bytes as u64 {
        return Err("ERR string exceeds maximum allowed size (proto-max-bulk-len)".into());
    }
    Ok(())
}

/// Makes room for `more` bytes, so that what follows cannot run out of memory.
fn reserve(buffer: &mut Vec<u8>, more: usize) -> Outcome {
    buffer.try_reserve(more).map_err(|_| Error::from("OOM not enough memory for a string of this size"))
}

/// Length of the string at `key` that is about to change, `None` if there is none.
fn length_before_change(call: &mut Call, key: &[u8]) -> Result<Option<usize>, Error> {
    match call.keys.peek(key).map(Entry::value) {
        None => Ok(None),
        Some(value) if value.kind() == Kind::String => Ok(Some(value.text_len())),
        Some(_) => Err(Error::WrongType),
    }
}

fn append(call: &mut Call) -> Outcome {
    let (key, tail) = (call.args.at(1), call.args.at(2));
    let len = match length_before_change(call, key)? {
        None => {
            call.keys.insert(Entry::string(key, tail));
            tail.len()
        }
        Some(len) => {
            check_len(call, len as u64 + tail.len() as u64)?;
            let Some(buffer) = call.keys.write(key).and_then(|entry| entry.string_mut(0..0)) else {
                return Err(Error::WrongType);
            };
            reserve(buffer, tail.len())?;
            buffer.extend_from_slice(tail);
            buffer.len()
        }
    };
    call.keys.changed(key, NotifyFlags::STRING, "append", 1);
    call.reply.count(len);
    Ok(())
}

fn setrange(call: &mut Call) -> Outcome {
    let (key, piece) = (call.args.at(1), call.args.at(3));
    let offset = u64::try_from(call.int(2)?).map_err(|_| Error::from("ERR offset is out of range"))?;
    let before = length_before_change(call, key)?;
    if piece.is_empty() {
        call.reply.count(before.unwrap_or(0));
        return Ok(());
    }
    let end = offset.saturating_add(piece.len() as u64);
    check_len(call, end)?;
    let Ok(end) = usize::try_from(end) else { return Err("ERR offset is out of range".into()) };
    let mut fresh = Vec::new();
    if before.is_none() {
        reserve(&mut fresh, end)?;
        call.keys.insert(Entry::string(key, b""));
    }
    let Some(buffer) = call.keys.write(key).and_then(|entry| entry.string_mut(end - piece.len()..end)) else {
        return Err(Error::WrongType);
    };
    if before.is_none() {
        *buffer = fresh;
    }
    if end > buffer.len() {
        reserve(buffer, end - buffer.len())?;
        buffer.resize(end, 0);
    }
    buffer[end - piece.len()..end].copy_from_slice(piece);
    let len = buffer.len();
    call.keys.changed(key, NotifyFlags::STRING, "setrange", 1);
    call.reply.count(len);
    Ok(())
}
