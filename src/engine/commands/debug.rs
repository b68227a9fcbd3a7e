//! DEBUG: tools for tests of this server and of its clients. Only for those whom `enable-debug-command`
//! lets.
//!
//! Sub-commands that crash the server or that turn something which does not exist here are refused. One
//! row, as in Redis: the sub-commands are no rows of their own.

mod show;

use crate::engine::blocking::Cause;
use crate::engine::call::{Call, Mode};
use crate::engine::digest::{Digest, value_digest};
use crate::engine::effects::Propagate;
use crate::engine::error::{Error, Outcome};
use crate::engine::host::{Ask, LogLevel, SnapshotKind};
use crate::engine::persistence::Awaited;
use crate::engine::spec::*;
use crate::engine::time::MonoTime;
use crate::types::glob;
use crate::types::number;
use crate::types::value::Value;

use super::help::help;

/// The commands of this family.
pub const SPECS: &[Spec] =
    &[Spec::new("debug", debug, -2, ADMIN | NOSCRIPT | LOADING | STALE | PROTECTED | SYSCMD, Group::Server).docs(
        "1.0.0",
        "Depends on subcommand.",
        "Tools for debugging and testing the server.",
    )];

/// A sub-command: its name, how many arguments it takes at least and at most (DEBUG and its own name
/// included), and what it does.
type Tool = (&'static str, usize, usize, fn(&mut Call) -> Outcome);

const MANY: usize = usize::MAX;

const TOOLS: &[Tool] = &[
    ("aof-flush-sleep", 3, 3, aof_flush_sleep),
    ("change-repl-id", 2, 2, change_repl_id),
    ("client-enforce-reply-list", 3, 3, nothing_to_switch),
    ("client-eviction", 2, 2, client_eviction),
    ("config-rewrite-force-all", 2, 2, |call| super::config::write_back(call, true)),
    ("dict-resizing", 3, 3, nothing_to_switch),
    ("digest", 2, 2, digest),
    ("digest-value", 2, MANY, digest_value),
    ("error", 3, 3, error),
    ("hashtable-can-abort-shrink", 3, 3, nothing_to_switch),
    ("help", 2, 2, debug_help),
    ("htstats", 3, 4, show::htstats),
    ("htstats-key", 3, 4, show::htstats_key),
    ("keysizes-hist-assert", 3, 3, nothing_to_switch),
    ("listpack", 3, 3, show::listpack),
    ("loadaof", 2, 2, loadaof),
    ("log", 3, 3, log),
    ("object", 3, 4, show::object),
    ("pause-cron", 3, 3, pause_cron),
    ("populate", 3, 5, populate),
    ("protocol", 3, 3, show::protocol),
    ("quicklist", 3, 4, show::quicklist),
    ("quicklist-packed-threshold", 3, 3, quicklist_packed_threshold),
    ("reload", 2, MANY, reload),
    ("replicate", 3, MANY, replicate),
    ("replybuffer", 3, 4, nothing_to_switch),
    ("sdslen", 3, 3, show::sdslen),
    ("set-active-expire", 3, 3, set_active_expire),
    ("set-disable-deny-scripts", 3, 3, nothing_to_switch),
    ("set-skip-checksum-validation", 3, 3, set_skip_checksum_validation),
    ("sleep", 3, 3, sleep),
    ("stringmatch-len", 4, 4, stringmatch_len),
    ("stringmatch-test", 2, 2, stringmatch_test),
    ("structsize", 2, 2, show::structsize),
];

/// What Redis has and this server refuses, for whatever argument.
const REFUSED: &[&str] =
    &["assert", "crash-and-recover", "leak", "mallctl", "mallctl-str", "oom", "panic", "restart", "segfault"];

fn debug(call: &mut Call) -> Outcome {
    let (word, count) = (call.args.at(1), call.args.len());
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    if let Some((.., run)) = TOOLS.iter().find(|(name, min, max, _)| is(name) && (*min..=*max).contains(&count)) {
        return run(call);
    }
    if let Some(name) = REFUSED.iter().find(|name| is(name)) {
        let name = name.to_uppercase();
        return Err(Error::new(format!("ERR DEBUG {name} is not supported: this server does not harm itself")));
    }
    Err(Error::subcommand_syntax(call.spec.full_name, word))
}

// ---- Data ----

fn digest(call: &mut Call) -> Outcome {
    let digest = call.keys.digest();
    call.reply.simple(digest.to_string());
    Ok(())
}

fn digest_value(call: &mut Call) -> Outcome {
    call.reply.array(call.args.len() - 2);
    for key in call.args.from(2).iter() {
        let digest = call.keys.peek(key).map_or_else(Digest::default, value_digest);
        call.reply.simple(digest.to_string());
    }
    Ok(())
}

/// Keys that one POPULATE may make.
const MOST_KEYS: i64 = 1 << 32;

fn populate(call: &mut Call) -> Outcome {
    let positive = "ERR value is out of range, must be positive";
    let count = call.int_in(2, 0, MOST_KEYS, positive)?;
    let prefix = call.args.get(3).unwrap_or(b"key");
    let size = match call.args.len() {
        5 => Some(call.int_in(4, 0, call.server.config.proto_max_bulk_len as i64, positive)?),
        _ => None,
    };
    for number in 0..count {
        let key = [prefix, b":", number.to_string().as_bytes()].concat();
        if call.keys.exists(&key) {
            continue;
        }
        let mut value = format!("value:{number}").into_bytes();
        if let Some(size) = size {
            value.resize(size as usize, 0);
        }
        call.keys.add(&key, Value::String(value));
        call.keys.touched(&key);
    }
    call.reply.ok();
    Ok(())
}

/// Saves and loads: what cannot be stored and read again shows.
fn reload(call: &mut Call) -> Outcome {
    let (mut flush, mut merge, mut save) = (true, false, true);
    for index in 2..call.args.len() {
        if call.word(index, "MERGE") {
            merge = true;
        } else if call.word(index, "NOFLUSH") {
            flush = false;
        } else if call.word(index, "NOSAVE") {
            save = false;
        } else {
            return Err("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.".into());
        }
    }
    if !flush && !merge && call.keys.dbs.iter().any(|db| !db.table.is_empty()) {
        return Err("ERR Error trying to load the RDB dump, check server logs.".into());
    }
    if !save {
        return load_again(call, SnapshotKind::Rdb, flush);
    }
    let snapshot = call.keys.whole_snapshot(call.server);
    // Nobody's watched keys change by this.
    let watchers = call.keys.effects.watchers.len();
    let loaded = call.keys.load_whole(&snapshot);
    call.keys.effects.watchers.truncate(watchers);
    call.keys.effects.propagate = Propagate::Replaced;
    let persistence = &mut call.server.persistence;
    persistence.dirty = 0;
    match loaded {
        Ok(stats) => (persistence.loaded_keys, persistence.loaded_expired) = (stats.keys, stats.expired),
        Err(error) => {
            call.server.log(LogLevel::Warning, format!("DEBUG RELOAD: {error}"));
            return Err("ERR Error trying to load the RDB dump, check server logs.".into());
        }
    }
    // The file on disk is to hold the same.
    if persistence.snapshot.is_none() && persistence.wanted.is_none() && call.may_block() {
        call.server.want_snapshot(SnapshotKind::Rdb, true);
        call.block_on(Cause::Snapshot, MonoTime::NEVER);
    } else {
        call.reply.ok();
    }
    Ok(())
}

fn loadaof(call: &mut Call) -> Outcome {
    load_again(call, SnapshotKind::LogBase, true)
}

/// Loads what is stored.
fn load_again(call: &mut Call, kind: SnapshotKind, flush: bool) -> Outcome {
    if !call.may_block() {
        return Err("ERR Loading is not possible inside a transaction".into());
    }
    call.keys.effects.propagate = Propagate::Replaced;
    let ticket = call.server.ask_host(Awaited::Plain, |ticket| Ask::Reload { ticket, kind, flush });
    call.block_on(Cause::Host(ticket), MonoTime::NEVER);
    Ok(())
}

// ---- Behaviour ----

fn sleep(call: &mut Call) -> Outcome {
    let seconds = number::strtod(call.args.at(2)).value;
    let micros = (seconds * 1e6) as u64;
    if micros == 0 {
        call.reply.ok();
        return Ok(());
    }
    call.server.asks.push(Ask::Stall { micros });
    if call.mode == Mode::Direct {
        let until = MonoTime { nanos: call.keys.now.mono.nanos.saturating_add(micros.saturating_mul(1000)) };
        call.block_on(Cause::Stall, until);
    } else {
        call.server.clock.stalled_nanos = micros.saturating_mul(1000);
        call.reply.ok();
    }
    Ok(())
}

/// Argument 2 as C's `atoi` reads it, as a switch.
fn switch(call: &Call) -> bool {
    number::strtod(call.args.at(2)).value as i64 != 0
}

fn set_active_expire(call: &mut Call) -> Outcome {
    call.server.clock.lazy_expire_only = !switch(call);
    call.reply.ok();
    Ok(())
}

fn set_skip_checksum_validation(call: &mut Call) -> Outcome {
    call.keys.settings.skip_checksums = switch(call);
    call.reply.ok();
    Ok(())
}

/// Matches a pattern against a text of so many letters "a": long patterns must not take forever.
fn stringmatch_len(call: &mut Call) -> Outcome {
    const MOST: i64 = 1 << 20;
    let len = call.int_in(2, 0, MOST, "ERR the length must be between 0 and 1048576")?;
    let text = vec![b'a'; len as usize];
    call.reply.int(i64::from(glob::matches(call.args.at(3), &text, false)));
    Ok(())
}

/// Matches random patterns against random texts: whatever the result, it has to come.
fn stringmatch_test(call: &mut Call) -> Outcome {
    const ROUNDS: usize = 20_000;
    let mut random = || -> Vec<u8> {
        let len = call.keys.rng.below(32) as usize;
        (0..len).map(|_| b"ab*?[]^-\\\x00\xff"[call.keys.rng.below(12) as usize]).collect()
    };
    let matched = (0..ROUNDS).filter(|_| glob::matches(&random(), &random(), false)).count();
    call.reply.simple(format!("{matched} of {ROUNDS} random texts matched their random pattern"));
    Ok(())
}

fn pause_cron(call: &mut Call) -> Outcome {
    call.server.clock.stopped = switch(call);
    call.reply.ok();
    Ok(())
}

/// Test suites turn these before a test and back after it; here they have nothing to turn.
fn nothing_to_switch(call: &mut Call) -> Outcome {
    call.reply.ok();
    Ok(())
}

fn quicklist_packed_threshold(call: &mut Call) -> Outcome {
    /// A little less than 4 GiB, as in Redis.
    const MOST: u64 = (1 << 32) - (1 << 20);
    let bytes = number::parse_memory(call.args.at(2))
        .filter(|bytes| *bytes <= MOST)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or("ERR argument must be a memory value bigger than 1 and smaller than 4gb")?;
    call.keys.settings.list.packed_threshold = bytes;
    call.reply.ok();
    Ok(())
}

/// Makes the front end wait before each write to the log.
fn aof_flush_sleep(call: &mut Call) -> Outcome {
    let micros = call.int_in(2, 0, i64::from(u32::MAX), "ERR value is out of range")? as u64;
    call.server.asks.push(Ask::DelayLog { micros });
    call.reply.ok();
    Ok(())
}

/// Sends a command to the stream that this server does not run.
fn replicate(call: &mut Call) -> Outcome {
    let args: Vec<&[u8]> = call.args.from(2).iter().collect();
    call.keys.effects.propagate(call.keys.db, &args);
    call.reply.ok();
    Ok(())
}

/// What `maxmemory-clients` goes by: the clients, the largest first.
fn client_eviction(call: &mut Call) -> Outcome {
    const MOST: usize = 100;
    let limit = call.server.config.maxmemory_clients.bytes(call.server.config.maxmemory);
    let exempt = call.server.clients.iter().filter(|client| client.no_evict).count();
    let mut sizes: Vec<(usize, u64)> = call
        .server
        .clients
        .iter()
        .filter(|client| !client.no_evict)
        .map(|client| (client.memory_bytes(), client.id))
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let total: usize = sizes.iter().map(|(bytes, _)| bytes).sum();
    let mut text = format!("limit:{limit}\r\ntotal:{total}\r\nclients:{}\r\nexempt:{exempt}\r\n", sizes.len());
    for (bytes, id) in sizes.iter().take(MOST) {
        text += &format!("id={id} bytes={bytes}\r\n");
    }
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn change_repl_id(call: &mut Call) -> Outcome {
    call.server.replication_id = call.keys.rng.hex(40);
    call.reply.ok();
    Ok(())
}

fn error(call: &mut Call) -> Outcome {
    let text: Vec<u8> = call.args.at(2).iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }).collect();
    call.reply.error(text);
    Ok(())
}

fn log(call: &mut Call) -> Outcome {
    let text = String::from_utf8_lossy(call.args.at(2)).into_owned();
    call.server.log(LogLevel::Warning, format!("DEBUG LOG: {text}"));
    call.reply.ok();
    Ok(())
}

fn debug_help(call: &mut Call) -> Outcome {
    help(
        call,
        &[
            "AOF-FLUSH-SLEEP <microseconds>",
            "    Waits so long before each write to the log.",
            "CHANGE-REPL-ID",
            "    Takes a new replication id.",
            "CLIENT-EVICTION",
            "    Shows how much memory the clients take that maxmemory-clients goes by, the largest first.",
            "CLIENT-ENFORCE-REPLY-LIST|DICT-RESIZING|HASHTABLE-CAN-ABORT-SHRINK|KEYSIZES-HIST-ASSERT|REPLYBUFFER|SET-DISABLE-DENY-SCRIPTS",
            "        <value> ...",
            "    Accepted for the sake of test suites; there is nothing to turn here.",
            "DIGEST",
            "    Shows 40 hexadecimal digits that stand for all data.",
            "DIGEST-VALUE [<key> ...]",
            "    Shows such digits for each of these values.",
            "ERROR <text>",
            "    Replies with an error.",
            "HTSTATS <db> [FULL]",
            "    Shows how full the tables of a database are.",
            "HTSTATS-KEY <key> [FULL]",
            "    Shows the same of the table that a key holds.",
            "LISTPACK <key>",
            "    Writes the size of a listpack to the log.",
            "LOADAOF",
            "    Stores and loads the append-only file.",
            "LOG <text>",
            "    Writes a line to the log.",
            "OBJECT <key>",
            "    Shows how a value is kept.",
            "PAUSE-CRON <0|1>",
            "    Stops periodic work, or lets it go on.",
            "POPULATE <count> [<prefix>] [<size>]",
            "    Makes string keys that are not there yet. They are not propagated.",
            "PROTOCOL <type>",
            "    Replies with a value of a type: string, integer, double, bignum, null, array, set, map, attrib, push,",
            "    verbatim, true or false.",
            "QUICKLIST <key> [<0|1>]",
            "    Writes the nodes of a quicklist to the log.",
            "QUICKLIST-PACKED-THRESHOLD <size>",
            "    Elements from this size on have a node of their own; 0 means the default.",
            "REPLICATE <command> [<arg> ...]",
            "    Sends a command to the log and to replicas that this server does not run.",
            "RELOAD [NOFLUSH] [MERGE] [NOSAVE]",
            "    Saves all data and loads them again.",
            "SDSLEN <key>",
            "    Shows the lengths of a key and of its string value.",
            "SET-ACTIVE-EXPIRE <0|1>",
            "    With 0, keys and fields expire only when somebody asks for them.",
            "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
            "    With 1, RESTORE takes payloads whatever their checksum.",
            "SLEEP <seconds>",
            "    Stops the server for a while.",
            "STRINGMATCH-LEN <len> <pattern>",
            "    Matches a pattern against a text of so many letters a.",
            "STRINGMATCH-TEST",
            "    Matches random patterns against random texts.",
            "STRUCTSIZE",
            "    Shows the sizes of the most important structures.",
        ],
    );
    Ok(())
}
