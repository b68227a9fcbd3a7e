//! OBJECT: a look inside a value.
//!
//! What it tells is told in Redis' words whatever is behind them here. Looking is no use: access
//! clocks stay, and a missing key raises no event.
//! Redis' counterpart: `object.c`.

use crate::engine::call::Call;
use crate::engine::entry::{Entry, ValueRef};
use crate::engine::error::Outcome;
use crate::engine::eviction::AccessPolicy;
use crate::engine::spec::*;
use crate::resp::Reply;

use super::help;

/// The commands of this family.
pub const SPECS: &[Spec] = &[Spec::container("object", Group::Generic, OBJECT_SUBCOMMANDS).docs(
    "2.2.3",
    "Depends on subcommand.",
    "Commands that look inside a value.",
)];

/// Sub-commands of OBJECT.
const OBJECT_SUBCOMMANDS: &[Spec] = &[
    Spec::sub("object|encoding", object_encoding, 3, READONLY, Group::Generic)
        .keys(&[KeySpec::key("RO", 2)])
        .acl(ACL_KEYSPACE)
        .docs("2.2.3", "O(1)", "How a value is represented inside.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0"),
    Spec::sub("object|freq", object_freq, 3, READONLY, Group::Generic)
        .keys(&[KeySpec::key("RO", 2)])
        .acl(ACL_KEYSPACE)
        .docs("4.0.0", "O(1)", "How often a key was used lately, on a logarithmic scale.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0"),
    Spec::sub("object|help", object_help, 2, LOADING | STALE, Group::Generic).acl(ACL_KEYSPACE).docs(
        "6.2.0",
        "O(1)",
        "Lists the sub-commands with a line on each.",
    ),
    Spec::sub("object|idletime", object_idletime, 3, READONLY, Group::Generic)
        .keys(&[KeySpec::key("RO", 2)])
        .acl(ACL_KEYSPACE)
        .docs("2.2.3", "O(1)", "How long a key was not used, in seconds.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0"),
    Spec::sub("object|refcount", object_refcount, 3, READONLY, Group::Generic)
        .keys(&[KeySpec::key("RO", 2)])
        .acl(ACL_KEYSPACE)
        .docs("2.2.3", "O(1)", "How many references a value has.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0"),
];

/// What a key and a short string may have together for one allocation of 64 bytes, as Redis 8.2 counts.
const EMBEDDED_MAX: usize = 41;

/// What an expire time takes of that.
const EXPIRE_BYTES: usize = 8;

/// Shows `tell` the entry of the key that argument 2 names; null if there is none.
fn with_entry(call: &mut Call, tell: impl FnOnce(&mut Reply, &Entry) -> Outcome) -> Outcome {
    match call.keys.peek(call.args.at(2)) {
        Some(entry) => {
            let outcome = tell(call.reply, entry);
            call.keys.stats.hits += 1;
            outcome
        }
        None => {
            call.reply.null();
            call.keys.stats.misses += 1;
            Ok(())
        }
    }
}

/// The name of the form that a value has.
pub fn encoding(entry: &Entry) -> &'static str {
    match entry.value() {
        ValueRef::Int(_) => "int",
        value @ (ValueRef::String(_) | ValueRef::Ascii(_)) => {
            let room = EMBEDDED_MAX - if entry.expire_at().is_some() { EXPIRE_BYTES } else { 0 };
            let embedded = !entry.is_modified() && entry.key().len().saturating_add(value.text_len()) <= room;
            if embedded { "embstr" } else { "raw" }
        }
        ValueRef::List(list) => list.encoding(),
        ValueRef::Set(set) => set.encoding(),
        ValueRef::Hash(hash) => hash.encoding(),
        ValueRef::Zset(zset) => zset.encoding(),
    }
}

fn object_encoding(call: &mut Call) -> Outcome {
    with_entry(call, |reply, entry| {
        reply.bulk(encoding(entry).as_bytes());
        Ok(())
    })
}

fn object_refcount(call: &mut Call) -> Outcome {
    with_entry(call, |reply, _| {
        reply.int(1);
        Ok(())
    })
}

fn object_idletime(call: &mut Call) -> Outcome {
    let policy = AccessPolicy::new(&call.keys.settings, call.keys.now, true);
    let lfu = call.keys.settings.eviction.is_lfu();
    with_entry(call, |reply, entry| {
        if lfu {
            return Err("ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
                switching between policies at runtime LRU and LFU data will take some time to adjust."
                .into());
        }
        reply.int(policy.idle_seconds(entry.access()).into());
        Ok(())
    })
}

fn object_freq(call: &mut Call) -> Outcome {
    let policy = AccessPolicy::new(&call.keys.settings, call.keys.now, true);
    let lfu = call.keys.settings.eviction.is_lfu();
    with_entry(call, |reply, entry| {
        if !lfu {
            return Err(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                switching between policies at runtime LRU and LFU data will take some time to adjust."
                    .into(),
            );
        }
        reply.int(policy.decayed(entry.access()).into());
        Ok(())
    })
}

fn object_help(call: &mut Call) -> Outcome {
    help::help(
        call,
        &[
            "ENCODING <key>",
            "    The kind of representation that the value of <key> has inside.",
            "FREQ <key>",
            "    How often <key> was used lately, as the logarithm that LFU policies keep.",
            "IDLETIME <key>",
            "    The seconds since <key> was last used, about.",
            "REFCOUNT <key>",
            "    How many references the value of <key> has: one.",
        ],
    );
    Ok(())
}
