//! Sets: commands about members of one set, and SMOVE.
//!
//! Not here: union, intersection and difference, which are in [`set_algebra`](super::set_algebra).
//!
//! Redis' counterpart: `t_set.c`.

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::effects::Propagate;
use crate::engine::error::{Error, Outcome};
use crate::engine::spec::*;
use crate::resp::{OwnedArgs, Reply};
use crate::types::listpack::{IntBuf, Item};
use crate::types::sample::splitmix;
use crate::types::set::Set;
use crate::types::value::{Kind, Value};

use super::scan::{self, ScanOptions};
use super::set_algebra::*;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("sadd", sadd, -3, WRITE | DENYOOM | FAST, Group::Set)
        .keys(&[KeySpec::key("RW insert", 1)])
        .docs("1.0.0", "O(N) for N members given", "Adds members to a set.")
        .history(&[("2.4.0", "Takes several members.")])
        .args("key:key#0 member:string*"),
    Spec::new("scard", scard, 2, READONLY | FAST, Group::Set)
        .keys(&[KeySpec::key("RO", 1)])
        .docs("1.0.0", "O(1)", "How many members a set has.")
        .args("key:key#0"),
    Spec::new("sdiff", sdiff, -2, READONLY, Group::Set)
        .keys(&[KeySpec::range("RO access", 1, -1, 1, 0)])
        .docs("1.0.0", "O(N) for N members in all sets", "The members of the first set that no other has.")
        .tips(&["nondeterministic_output_order"])
        .args("key:key#0*"),
    Spec::new("sdiffstore", sdiffstore, -3, WRITE | DENYOOM, Group::Set)
        .keys(&[KeySpec::key("OW update", 1), KeySpec::range("RO access", 2, -1, 1, 0)])
        .docs("1.0.0", "O(N) for N members in all sets", "Stores the members of the first set that no other has.")
        .args("destination:key#0 key:key#1*"),
    Spec::new("sinter", sinter, -2, READONLY, Group::Set)
        .keys(&[KeySpec::range("RO access", 1, -1, 1, 0)])
        .docs("1.0.0", "O(N*K) for N members in the smallest of K sets", "The members that all the sets have.")
        .tips(&["nondeterministic_output_order"])
        .args("key:key#0*"),
    Spec::new("sintercard", sintercard, -3, READONLY | MOVABLEKEYS, Group::Set)
        .keys(&[KeySpec::counted("RO access", 1)])
        .docs(
            "7.0.0",
            "O(N*K) for N members in the smallest of K sets",
            "How many members all the sets have in common.",
        )
        .args("numkeys:integer key:key#0* limit:integer=LIMIT?"),
    Spec::new("sinterstore", sinterstore, -3, WRITE | DENYOOM, Group::Set)
        .keys(&[KeySpec::key("OW update", 1), KeySpec::range("RO access", 2, -1, 1, 0)])
        .docs("1.0.0", "O(N*K) for N members in the smallest of K sets", "Stores the members that all the sets have.")
        .args("destination:key#0 key:key#1*"),
    Spec::new("sismember", sismember, 3, READONLY | FAST, Group::Set)
        .keys(&[KeySpec::key("RO", 1)])
        .docs("1.0.0", "O(1)", "Tells whether a set has a member.")
        .args("key:key#0 member:string"),
    Spec::new("smembers", smembers, 2, READONLY, Group::Set)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("1.0.0", "O(N) for N members", "All members of a set.")
        .tips(&["nondeterministic_output_order"])
        .args("key:key#0"),
    Spec::new("smismember", smismember, -3, READONLY | FAST, Group::Set)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("6.2.0", "O(N) for N members asked for", "Tells of each given member whether a set has it.")
        .args("key:key#0 member:string*"),
    Spec::new("smove", smove, 4, WRITE | FAST, Group::Set)
        .keys(&[KeySpec::key("RW access delete", 1), KeySpec::key("RW insert", 2)])
        .docs("1.0.0", "O(1)", "Moves a member from one set to another.")
        .args("source:key#0 destination:key#1 member:string"),
    Spec::new("spop", spop, -2, WRITE | FAST, Group::Set)
        .keys(&[KeySpec::key("RW access delete", 1)])
        .docs("1.0.0", "O(N) for N members taken", "Takes any members out of a set.")
        .history(&[("3.2.0", "Takes a count.")])
        .tips(&["nondeterministic_output"])
        .args("key:key#0 count:integer@3.2.0?"),
    Spec::new("srandmember", srandmember, -2, READONLY, Group::Set)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("1.0.0", "O(N) for N members picked", "Picks any members of a set.")
        .history(&[("2.6.0", "Takes a count.")])
        .tips(&["nondeterministic_output"])
        .args("key:key#0 count:integer@2.6.0?"),
    Spec::new("srem", srem, -3, WRITE | FAST, Group::Set)
        .keys(&[KeySpec::key("RW delete", 1)])
        .docs("1.0.0", "O(N) for N members given", "Removes members from a set.")
        .history(&[("2.4.0", "Takes several members.")])
        .args("key:key#0 member:string*"),
    Spec::new("sscan", sscan, -3, READONLY, Group::Set)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.8.0", "O(1) a call, O(N) for all N members", "Walks over the members of a set, some at a time.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0 cursor:integer pattern:pattern=MATCH? count:integer=COUNT?"),
    Spec::new("sunion", sunion, -2, READONLY, Group::Set)
        .keys(&[KeySpec::range("RO access", 1, -1, 1, 0)])
        .docs("1.0.0", "O(N) for N members in all sets", "The members that any of the sets has.")
        .tips(&["nondeterministic_output_order"])
        .args("key:key#0*"),
    Spec::new("sunionstore", sunionstore, -3, WRITE | DENYOOM, Group::Set)
        .keys(&[KeySpec::key("OW update", 1), KeySpec::range("RO access", 2, -1, 1, 0)])
        .docs("1.0.0", "O(N) for N members in all sets", "Stores the members that any of the sets has.")
        .args("destination:key#0 key:key#1*"),
];

/// Most members that one SREM in the stream names.
const STREAMED_MEMBERS: usize = 1024;

/// A member as a bulk string.
pub(super) fn reply_item(reply: &mut Reply, item: Item) {
    match item {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(int) => reply.bulk_int(int),
    }
}

fn sadd(call: &mut Call) -> Outcome {
    let (key, members) = (call.args.at(1), call.args.from(2));
    let limits = call.keys.settings.set;
    let add_all = |set: &mut Set| members.iter().filter(|member| set.add(member, &limits)).count();
    let added = match call.keys.set_mut(key)? {
        Some(set) => {
            set.expect(members.len(), &limits);
            add_all(set)
        }
        None => {
            let mut set = Set::with_hint(members.at(0), members.len(), &limits);
            let added = add_all(&mut set);
            call.keys.add(key, Value::Set(Box::new(set)));
            added
        }
    };
    if added > 0 {
        call.keys.changed(key, NotifyFlags::SET, "sadd", added as u64);
    }
    call.reply.count(added);
    Ok(())
}

fn srem(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    let mut removed = 0;
    if let Some(set) = call.keys.set_mut(key)? {
        for member in call.args.from(2) {
            removed += usize::from(set.remove(member));
            if set.is_empty() {
                break;
            }
        }
    }
    if removed > 0 {
        call.keys.changed(key, NotifyFlags::SET, "srem", removed as u64);
        call.keys.remove_if_empty(key);
    }
    call.reply.count(removed);
    Ok(())
}

fn smove(call: &mut Call) -> Outcome {
    let (source, destination, member) = (call.args.at(1), call.args.at(2), call.args.at(3));
    let Some(set) = call.keys.set_mut(source)? else {
        call.reply.int(0);
        return Ok(());
    };
    let moved = set.contains(member);
    call.keys.set_mut(destination)?;
    if moved && source != destination {
        move_member(call, source, destination, member)?;
    }
    call.reply.int(i64::from(moved));
    Ok(())
}

/// Moves a member that the set at `source` has. At `destination` is a set or nothing.
fn move_member(call: &mut Call, source: &[u8], destination: &[u8], member: &[u8]) -> Outcome {
    let limits = call.keys.settings.set;
    if let Some(set) = call.keys.set_mut(source)? {
        set.remove(member);
    }
    call.keys.changed(source, NotifyFlags::SET, "srem", 1);
    call.keys.remove_if_empty(source);
    if call.keys.set_or_new(destination)?.add(member, &limits) {
        call.keys.changed(destination, NotifyFlags::SET, "sadd", 1);
    }
    Ok(())
}

fn scard(call: &mut Call) -> Outcome {
    let len = call.keys.set_value(call.args.at(1))?.map_or(0, Set::len);
    call.reply.count(len);
    Ok(())
}

fn sismember(call: &mut Call) -> Outcome {
    let member = call.args.at(2);
    let found = call.keys.set_value(call.args.at(1))?.is_some_and(|set| set.contains(member));
    call.reply.int(i64::from(found));
    Ok(())
}

fn smismember(call: &mut Call) -> Outcome {
    let members = call.args.from(2);
    let set = call.keys.set_value(call.args.at(1))?;
    call.reply.array(members.len());
    for member in members {
        call.reply.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

fn smembers(call: &mut Call) -> Outcome {
    let set = call.keys.set_value(call.args.at(1))?;
    call.reply.set(set.map_or(0, Set::len));
    for member in set.into_iter().flat_map(Set::iter) {
        reply_item(call.reply, member);
    }
    Ok(())
}

fn spop(call: &mut Call) -> Outcome {
    match call.args.len() {
        2 => pop_one(call),
        3 => pop_many(call),
        _ => Err(Error::Syntax),
    }
}

fn pop_one(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    let random = call.keys.rng.next();
    let Some(member) = call.keys.set_mut(key)?.and_then(|set| set.pop(random, |member| member.to_vec())) else {
        call.reply.null();
        return Ok(());
    };
    call.reply.bulk(&member);
    call.keys.changed(key, NotifyFlags::SET, "spop", 1);
    call.keys.remove_if_empty(key);
    call.keys.effects.propagate(call.keys.db, &[b"SREM", key, &member]);
    Ok(())
}

fn pop_many(call: &mut Call) -> Outcome {
    let count = call.int_in(2, 0, i64::MAX, "ERR value is out of range, must be positive")?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let key = call.args.at(1);
    let mut random = sequence(call);
    let (db, streaming) = (call.keys.db, call.keys.effects.streaming);
    let Some(set) = call.keys.set_mut(key)?.filter(|_| count > 0) else {
        call.reply.set(0);
        return Ok(());
    };
    if count >= set.len() {
        return pop_all(call, key);
    }
    let mut popped = OwnedArgs::new();
    call.reply.set(count);
    set.pop_many(count, &mut random, |member| {
        reply_item(call.reply, member);
        if streaming {
            popped.push(member.bytes(&mut IntBuf::new()));
        }
    });
    call.keys.changed(key, NotifyFlags::SET, "spop", count as u64);
    call.keys.effects.propagate = Propagate::Replaced;
    let popped = popped.as_args();
    for from in (0..popped.len()).step_by(STREAMED_MEMBERS) {
        let mut command = OwnedArgs::new();
        command.extend([b"SREM", key]);
        command.extend(popped.from(from).up_to(STREAMED_MEMBERS));
        call.keys.effects.append(db, command.as_args().iter());
    }
    Ok(())
}

/// Answers all members of the set at `key`, which is there, and deletes it.
fn pop_all(call: &mut Call, key: &[u8]) -> Outcome {
    let Some(set) = call.keys.set_mut(key)? else { return Ok(()) };
    let len = set.len();
    call.reply.set(len);
    set.iter().for_each(|member| reply_item(call.reply, member));
    call.keys.changed(key, NotifyFlags::SET, "spop", len as u64);
    let lazy = call.keys.settings.lazyfree_server_del;
    call.keys.remove(key, lazy);
    call.keys.notify(NotifyFlags::GENERIC, "del", key);
    let word: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
    call.keys.effects.propagate(call.keys.db, &[word, key]);
    Ok(())
}

fn srandmember(call: &mut Call) -> Outcome {
    match call.args.len() {
        2 => {
            let random = call.keys.rng.next();
            match call.keys.set_value(call.args.at(1))?.and_then(|set| set.random(random)) {
                Some(member) => reply_item(call.reply, member),
                None => call.reply.null(),
            }
            Ok(())
        }
        3 => random_members(call),
        _ => Err(Error::Syntax),
    }
}

fn random_members(call: &mut Call) -> Outcome {
    let wanted = random_count(call, 2)?;
    let mut random = sequence(call);
    let most_bytes = call.keys.settings.max_string_bytes;
    let Some(set) = call.keys.set_value(call.args.at(1))?.filter(|_| wanted.count > 0) else {
        call.reply.array(0);
        return Ok(());
    };
    if !wanted.repeat {
        call.reply.array(wanted.count.min(set.len()));
        set.sample(wanted.count, &mut random, |member| reply_item(call.reply, member));
        return Ok(());
    }
    check_reply_bytes(wanted.count.saturating_mul(MIN_REPLY_BYTES), most_bytes)?;
    let start = call.reply.buf.len();
    call.reply.array(wanted.count);
    for _ in 0..wanted.count {
        if let Some(member) = set.random(random()) {
            reply_item(call.reply, member);
        }
        check_reply_bytes(call.reply.buf.len() - start, most_bytes)?;
    }
    Ok(())
}

/// How many random elements a command wants.
pub(super) struct RandomCount {
    /// How many.
    pub count: usize,
    /// Whether an element may come more than once: what a negative count asks for.
    pub repeat: bool,
}

/// Argument `index` as a count of random elements.
pub(super) fn random_count(call: &Call, index: usize) -> Result<RandomCount, Error> {
    let count = call.int(index)?;
    if count == i64::MIN {
        return Err(RANDOM_COUNT_RANGE.into());
    }
    Ok(RandomCount { count: usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX), repeat: count < 0 })
}

const RANDOM_COUNT_RANGE: &str =
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";

/// The shortest reply of one element.
pub(super) const MIN_REPLY_BYTES: usize = b"$0\r\n\r\n".len();

/// Refuses a reply of random elements, which can be any number of times as large as the data. What has been
/// written of it is dropped with the error.
pub(super) fn check_reply_bytes(bytes: usize, most_bytes: usize) -> Outcome {
    if bytes > most_bytes { Err("ERR value is out of range".into()) } else { Ok(()) }
}

/// A sequence of random numbers that does not borrow the keyspace.
pub(super) fn sequence(call: &mut Call) -> impl FnMut() -> u64 + use<> {
    let mut state = call.keys.rng.next();
    move || splitmix(&mut state)
}

fn sscan(call: &mut Call) -> Outcome {
    let cursor = scan::cursor(call, 2)?;
    let options = ScanOptions::parse(call, 3, Some(Kind::Set));
    let Some(set) = call.keys.set_value(call.args.at(1))? else {
        scan::empty(call.reply);
        return Ok(());
    };
    let options = options?;
    scan::reply(call.reply, |elements| {
        let mut shown = 0;
        let next = set.scan(cursor, options.count, |member| {
            if options.shows(member.bytes(&mut IntBuf::new())) {
                reply_item(elements, member);
                shown += 1;
            }
        });
        (next, shown)
    });
    Ok(())
}
