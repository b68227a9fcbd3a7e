//! Keys whatever they hold: DEL, EXISTS, TYPE, KEYS, SCAN, RENAME, COPY, MOVE and their like.
//!
//! Not here: times to live (`expire`), payloads (`dump`), SORT, OBJECT, WAIT.
//! Redis' counterpart: `db.c`.

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::entry::{Entry, Kind};
use crate::engine::error::{Error, Outcome};
use crate::engine::keyspace::{ExpiryMode, Keyspace};
use crate::engine::spec::*;
use crate::types::glob;
use crate::types::number;
use crate::types::table::hash_bytes;

use super::scan::{self, ScanOptions};

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("copy", copy, -3, WRITE | DENYOOM, Group::Generic)
        .keys(&[KeySpec::key("RO access", 1), KeySpec::key("OW update", 2)])
        .acl(ACL_KEYSPACE)
        .docs("6.2.0", "O(N) for N elements of a collection, O(1) for strings", "Copies a value to another key.")
        .args("source:key#0 destination:key#1 destination-db:integer=DB? REPLACE?"),
    Spec::new("del", del, -2, WRITE, Group::Generic)
        .keys(&[KeySpec::range("RM delete", 1, -1, 1, 0)])
        .acl(ACL_KEYSPACE)
        .docs("1.0.0", "O(N) for N keys, plus the elements of collections among them", "Deletes keys.")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .args("key:key#0*"),
    Spec::new("exists", exists, -2, READONLY | FAST, Group::Generic)
        .keys(&[KeySpec::range("RO", 1, -1, 1, 0)])
        .acl(ACL_KEYSPACE)
        .docs("1.0.0", "O(N) for N keys", "Counts how many of the keys exist.")
        .history(&[("3.0.3", "Takes several keys.")])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .args("key:key#0*"),
    Spec::new("keys", keys, 2, READONLY | TOUCHES_ARBITRARY_KEYS, Group::Generic)
        .acl(ACL_KEYSPACE | ACL_DANGEROUS)
        .docs("1.0.0", "O(N) for N keys in the database", "All keys that match a pattern.")
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .args("pattern:pattern"),
    Spec::new("move", move_, 3, WRITE | FAST, Group::Generic)
        .keys(&[KeySpec::key("RW access update", 1)])
        .acl(ACL_KEYSPACE)
        .docs("1.0.0", "O(1)", "Moves a key to another database.")
        .args("key:key#0 db:integer"),
    Spec::new("randomkey", randomkey, 1, READONLY | TOUCHES_ARBITRARY_KEYS, Group::Generic)
        .acl(ACL_KEYSPACE)
        .docs("1.0.0", "O(1)", "Picks any key of the database.")
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"]),
    Spec::new("rename", rename, 3, WRITE, Group::Generic)
        .keys(&[KeySpec::key("RW access delete", 1), KeySpec::key("OW update", 2)])
        .acl(ACL_KEYSPACE)
        .docs("1.0.0", "O(1)", "Gives a key another name, over whatever had it.")
        .args("key:key#0 newkey:key#1"),
    Spec::new("renamenx", renamenx, 3, WRITE | FAST, Group::Generic)
        .keys(&[KeySpec::key("RW access delete", 1), KeySpec::key("OW insert", 2)])
        .acl(ACL_KEYSPACE)
        .docs("1.0.0", "O(1)", "Gives a key another name that nothing has yet.")
        .history(&[("3.2.0", "The same name twice is no error any more.")])
        .args("key:key#0 newkey:key#1"),
    Spec::new("scan", scan, -2, READONLY | TOUCHES_ARBITRARY_KEYS, Group::Generic)
        .acl(ACL_KEYSPACE)
        .docs(
            "2.8.0",
            "O(1) for a call, O(N) for a whole walk over N keys",
            "Walks over the keys of the database, some at a time.",
        )
        .history(&[("6.0.0", "Option `TYPE`.")])
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .args("cursor:integer pattern:pattern=MATCH? count:integer=COUNT? type:string=TYPE@6.0.0?"),
    Spec::new("touch", touch, -2, READONLY | FAST, Group::Generic)
        .keys(&[KeySpec::range("RO", 1, -1, 1, 0)])
        .acl(ACL_KEYSPACE)
        .docs("3.2.1", "O(N) for N keys", "Counts how many of the keys exist and marks them as used just now.")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .args("key:key#0*"),
    Spec::new("type", type_, 2, READONLY | FAST, Group::Generic)
        .keys(&[KeySpec::key("RO", 1)])
        .acl(ACL_KEYSPACE)
        .docs("1.0.0", "O(1)", "The type of a key's value.")
        .args("key:key#0"),
    Spec::new("unlink", unlink, -2, WRITE | FAST, Group::Generic)
        .keys(&[KeySpec::range("RM delete", 1, -1, 1, 0)])
        .acl(ACL_KEYSPACE)
        .docs("4.0.0", "O(N) for N keys; freeing is done later in slices", "Deletes keys; their memory is freed later.")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .args("key:key#0*"),
];

// ---- Presence ----

fn del(call: &mut Call) -> Outcome {
    let lazy = call.keys.settings.lazyfree_user_del;
    delete(call, lazy)
}

fn unlink(call: &mut Call) -> Outcome {
    delete(call, true)
}

fn delete(call: &mut Call, lazy: bool) -> Outcome {
    let mut deleted = 0;
    for key in call.args.from(1).iter() {
        if call.keys.remove(key, lazy) {
            call.keys.changed(key, NotifyFlags::GENERIC, "del", 1);
            deleted += 1;
        }
    }
    call.reply.int(deleted);
    Ok(())
}

fn exists(call: &mut Call) -> Outcome {
    let found = call.args.from(1).iter().filter(|key| call.keys.inspect(key).is_some()).count();
    call.reply.count(found);
    Ok(())
}

fn touch(call: &mut Call) -> Outcome {
    // To touch is what the command is for, whatever CLIENT NO-TOUCH says.
    let no_touch = std::mem::take(&mut call.keys.no_touch);
    let found = call.args.from(1).iter().filter(|key| call.keys.read(key).is_some()).count();
    call.keys.no_touch = no_touch;
    call.reply.count(found);
    Ok(())
}

fn type_(call: &mut Call) -> Outcome {
    let kind = call.keys.inspect(call.args.at(1)).map(Entry::kind);
    call.reply.simple(kind.map_or("none", Kind::name));
    Ok(())
}

// ---- Names ----

/// Whether an entry's time has come, so that nobody may see it.
fn is_hidden(entry: &Entry, keys: &Keyspace) -> bool {
    keys.expiry != ExpiryMode::Ignore && entry.expire_at().is_some_and(|at| at < keys.now_ms())
}

fn keys(call: &mut Call) -> Outcome {
    let pattern = call.args.at(1);
    let all = pattern == b"*";
    let mark = call.reply.deferred();
    let mut count = 0;
    for entry in call.keys.dbs[call.keys.db].table.iter() {
        if (all || glob::matches(pattern, entry.key(), false)) && !is_hidden(entry, call.keys) {
            call.reply.bulk(entry.key());
            count += 1;
        }
    }
    call.reply.finish_array(mark, count);
    Ok(())
}

fn scan(call: &mut Call) -> Outcome {
    let cursor = scan::cursor(call, 1)?;
    let options = ScanOptions::parse(call, 2, None)?;
    let keys = &*call.keys;
    let seed = keys.seed();
    let mut due: Vec<Box<[u8]>> = Vec::new();
    // A scan for a type that does not exist looks at nothing.
    let known = options.type_name.is_none_or(|name| Kind::named(name).is_some());
    scan::reply(call.reply, |reply| {
        let mut shown = 0;
        let visit = |entry: &Entry| {
            // Whose time has come goes, whether it would have been shown or not.
            if is_hidden(entry, keys) {
                if known {
                    due.push(entry.key().into());
                }
                return;
            }
            let wanted = options.type_name.is_none_or(|name| entry.kind().name().as_bytes().eq_ignore_ascii_case(name));
            if !wanted || !options.shows(entry.key()) {
                return;
            }
            reply.bulk(entry.key());
            shown += 1;
        };
        let table = &keys.dbs[keys.db].table;
        let next = table.scan_some(cursor, options.count, |entry| hash_bytes(seed, entry.key()), visit);
        (next, shown)
    });
    // To look at them is enough to make them go.
    for key in &due {
        call.keys.exists(key);
    }
    Ok(())
}

fn randomkey(call: &mut Call) -> Outcome {
    // Where keys whose time has come are hidden but stay, there may be nothing else.
    const TRIES: usize = 100;
    let mut tries = 0;
    loop {
        let random = call.keys.rng.next();
        let Some(entry) = call.keys.dbs[call.keys.db].table.random(random) else { break };
        tries += 1;
        if !is_hidden(entry, call.keys) || (call.keys.expiry == ExpiryMode::Hide && tries > TRIES) {
            call.reply.bulk(entry.key());
            return Ok(());
        }
        if call.keys.expiry == ExpiryMode::Delete {
            let key: Box<[u8]> = entry.key().into();
            call.keys.exists(&key);
        }
    }
    call.reply.null();
    Ok(())
}

// ---- From one key to another ----

/// Runs `f` with another db selected.
fn in_db<R>(keys: &mut Keyspace, db: usize, f: impl FnOnce(&mut Keyspace) -> R) -> R {
    let selected = std::mem::replace(&mut keys.db, db);
    let result = f(keys);
    keys.db = selected;
    result
}

/// Argument `index` as the number of a db.
fn db_index(call: &Call, index: usize) -> Result<usize, Error> {
    let number = number::parse_i64(call.args.at(index)).ok_or(Error::NotInteger)?;
    if i32::try_from(number).is_err() {
        return Err("ERR value is out of range, value must between -2147483648 and 2147483647".into());
    }
    let db = usize::try_from(number).ok().filter(|db| *db < call.keys.dbs.len());
    db.ok_or_else(|| "ERR DB index is out of range".into())
}

const SAME_OBJECT: &str = "ERR source and destination objects are the same";

/// The events of a key that got a value over another one; they come last.
pub(super) fn announce_overwrite(keys: &mut Keyspace, key: &[u8], old: Option<Kind>, new: Kind) {
    let Some(old) = old else { return };
    keys.notify(NotifyFlags::OVERWRITTEN, "overwritten", key);
    if old != new {
        keys.notify(NotifyFlags::TYPE_CHANGED, "type_changed", key);
    }
}

fn rename(call: &mut Call) -> Outcome {
    if give_name(call, false)? {
        call.reply.ok();
    }
    Ok(())
}

fn renamenx(call: &mut Call) -> Outcome {
    let renamed = give_name(call, true)?;
    call.reply.int(renamed.into());
    Ok(())
}

/// Renames argument 1 to argument 2. `fresh`: only to a name that nothing has; false if it has.
fn give_name(call: &mut Call, fresh: bool) -> Result<bool, Error> {
    let (source, destination) = (call.args.at(1), call.args.at(2));
    if call.keys.write(source).is_none() {
        return Err(Error::NoSuchKey);
    }
    if source == destination {
        return Ok(!fresh);
    }
    let overwritten = call.keys.peek(destination).map(Entry::kind);
    if fresh && overwritten.is_some() {
        return Ok(false);
    }
    let lazy = call.keys.settings.lazyfree_server_del;
    call.keys.remove(destination, lazy);
    let Some(entry) = call.keys.take(source) else { return Err(Error::NoSuchKey) };
    let (kind, expire) = (entry.kind(), entry.expire_at());
    let mut entry = entry.rename(destination);
    entry.set_expire_at(expire);
    call.keys.insert(entry);
    call.keys.changed(source, NotifyFlags::GENERIC, "rename_from", 1);
    call.keys.changed(destination, NotifyFlags::GENERIC, "rename_to", 0);
    announce_overwrite(call.keys, destination, overwritten, kind);
    Ok(true)
}

fn move_(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    let (from, to) = (call.keys.db, db_index(call, 2)?);
    if from == to {
        return Err(SAME_OBJECT.into());
    }
    let found = call.keys.write(key).is_some() && !in_db(call.keys, to, |keys| keys.exists(key));
    let entry = if found { call.keys.take(key) } else { None };
    let Some(entry) = entry else {
        call.reply.int(0);
        return Ok(());
    };
    let expire = entry.expire_at();
    // It is new in its db, and a walk may have to leave it alone there.
    let mut entry = entry.rename(key);
    entry.set_expire_at(expire);
    in_db(call.keys, to, |keys| keys.insert(entry));
    call.keys.changed(key, NotifyFlags::GENERIC, "move_from", 1);
    in_db(call.keys, to, |keys| keys.changed(key, NotifyFlags::GENERIC, "move_to", 0));
    call.reply.int(1);
    Ok(())
}

fn copy(call: &mut Call) -> Outcome {
    let (source, destination) = (call.args.at(1), call.args.at(2));
    let (mut db, mut replace, mut at) = (call.keys.db, false, 3);
    while at < call.args.len() {
        if call.word(at, "REPLACE") {
            replace = true;
        } else if call.word(at, "DB") && at + 1 < call.args.len() {
            db = db_index(call, at + 1)?;
            at += 1;
        } else {
            return Err(Error::Syntax);
        }
        at += 1;
    }
    if db == call.keys.db && source == destination {
        return Err(SAME_OBJECT.into());
    }
    let Some(entry) = call.keys.read(source) else {
        call.reply.int(0);
        return Ok(());
    };
    let kind = entry.kind();
    let overwritten = in_db(call.keys, db, |keys| keys.peek(destination).map(Entry::kind));
    if overwritten.is_some() && !replace {
        call.reply.int(0);
        return Ok(());
    }
    let Some(entry) = call.keys.peek(source) else { return Err(Error::NoSuchKey) };
    let mut copy = entry.copy_to(destination);
    copy.set_expire_at(entry.expire_at());
    if entry.is_modified() {
        copy.string_mut(0..0);
    }
    in_db(call.keys, db, |keys| {
        let lazy = keys.settings.lazyfree_server_del;
        keys.remove(destination, lazy);
        keys.insert(copy);
        keys.changed(destination, NotifyFlags::GENERIC, "copy_to", 1);
        announce_overwrite(keys, destination, overwritten, kind);
    });
    call.reply.int(1);
    Ok(())
}
