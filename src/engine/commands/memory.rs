//! MEMORY: where the memory goes.
//!
//! Figures of the whole process come from the front end's probes, figures of keys from the values
//! themselves, which know their size: nothing is sampled.

use crate::engine::blocking::Cause;
use crate::engine::call::Call;
use crate::engine::error::{Error, Outcome};
use crate::engine::host::Ask;
use crate::engine::info::{MemoryUse, human};
use crate::engine::persistence::Awaited;
use crate::engine::spec::*;
use crate::engine::time::MonoTime;

use super::help::help;

/// The commands of this family.
pub const SPECS: &[Spec] = &[Spec::container("memory", Group::Server, MEMORY_SUBCOMMANDS).docs(
    "4.0.0",
    "Depends on subcommand.",
    "Commands about memory.",
)];

/// Sub-commands of MEMORY.
const MEMORY_SUBCOMMANDS: &[Spec] = &[
    Spec::sub("memory|doctor", memory_doctor, 2, 0, Group::Server)
        .docs("4.0.0", "O(1)", "Explains what is unusual about the memory in use.")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    Spec::sub("memory|help", memory_help, 2, LOADING | STALE, Group::Server).docs(
        "4.0.0",
        "O(1)",
        "Lists the sub-commands with a line on each.",
    ),
    Spec::sub("memory|malloc-stats", memory_malloc_stats, 2, 0, Group::Server)
        .docs("4.0.0", "Depends on the allocator.", "What the allocator says about itself.")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    Spec::sub("memory|purge", memory_purge, 2, 0, Group::Server)
        .docs("4.0.0", "Depends on the allocator.", "Asks the allocator to give memory back.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Spec::sub("memory|stats", memory_stats, 2, 0, Group::Server)
        .docs("4.0.0", "O(1)", "Where the memory goes.")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    Spec::sub("memory|usage", memory_usage, -3, READONLY, Group::Server)
        .keys(&[KeySpec::key("RO", 2)])
        .docs("4.0.0", "O(N), N samples", "Estimates how many bytes a key takes.")
        .args("key:key#0 count:integer=SAMPLES?"),
];

/// What an entry takes in its table: the lines of 64 bytes hold six entries each on average.
const SLOT_BYTES: usize = 64usize.div_ceil(6);

fn memory_usage(call: &mut Call) -> Outcome {
    let mut index = 3;
    while index < call.args.len() {
        // A value knows its size, so that there is nothing to sample; the count is checked all the same.
        if !call.word(index, "SAMPLES") || index + 1 == call.args.len() {
            return Err(Error::Syntax);
        }
        if call.int(index + 1)? < 0 {
            return Err(Error::Syntax);
        }
        index += 2;
    }
    match call.keys.peek(call.args.at(2)) {
        None => call.reply.null(),
        Some(entry) => call.reply.count(entry.heap_bytes() + SLOT_BYTES),
    }
    Ok(())
}

fn memory_stats(call: &mut Call) -> Outcome {
    let memory = MemoryUse::now(call.server, call.keys);
    let mark = call.reply.deferred();
    let mut fields = 0;
    let mut count = |name: &str, value: u64| {
        call.reply.bulk(name.as_bytes());
        call.reply.int(value as i64);
        fields += 1;
    };
    count("peak.allocated", memory.peak);
    count("total.allocated", memory.used);
    count("startup.allocated", memory.startup);
    count("replication.backlog", 0);
    count("replica.fullsync.buffer", 0);
    count("clients.slaves", 0);
    count("clients.normal", memory.clients);
    count("cluster.links", 0);
    count("aof.buffer", memory.log_buffer);
    count("lua.caches", 0);
    count("functions.caches", 0);
    count("script.VMs", 0);
    for (number, db) in call.keys.dbs.iter().enumerate().filter(|(_, db)| !db.table.is_empty()) {
        call.reply.bulk(format!("db.{number}").as_bytes());
        call.reply.map(2);
        call.reply.bulk(b"overhead.hashtable.main");
        call.reply.count(db.table.table_bytes());
        call.reply.bulk(b"overhead.hashtable.expires");
        call.reply.count(db.expires.table_bytes() + db.field_expires.table_bytes());
        fields += 1;
    }
    let mut count = |name: &str, value: u64| {
        call.reply.bulk(name.as_bytes());
        call.reply.int(value as i64);
        fields += 1;
    };
    count("overhead.db.hashtable.lut", memory.tables);
    count("overhead.db.hashtable.rehashing", 0);
    count("overhead.total", memory.overhead());
    count("db.dict.rehashing.count", 0);
    count("keys.count", memory.keys);
    count("keys.bytes-per-key", memory.used.saturating_sub(memory.startup).checked_div(memory.keys).unwrap_or(0));
    count("dataset.bytes", memory.dataset());
    let mut share = |name: &str, value: f64| {
        call.reply.bulk(name.as_bytes());
        call.reply.double(value);
        fields += 1;
    };
    share("dataset.percentage", memory.dataset_percent());
    share("peak.percentage", memory.peak_percent());
    share("fragmentation", memory.fragmentation());
    call.reply.bulk(b"fragmentation.bytes");
    call.reply.int(memory.rss as i64 - memory.used as i64);
    call.reply.bulk(b"allocator.allocated");
    call.reply.int(memory.used as i64);
    call.reply.finish_map(mark, fields + 2);
    Ok(())
}

/// Below this much memory in use the figures say nothing.
const TOO_LITTLE: u64 = 5 << 20;

fn memory_doctor(call: &mut Call) -> Outcome {
    let memory = MemoryUse::now(call.server, call.keys);
    let findings = findings(&memory, call.server.clients.len() as u64);
    let text = if memory.used < TOO_LITTLE {
        format!("Only {} are in use: too little for the figures to mean anything.", human(memory.used))
    } else if findings.is_empty() {
        "Nothing unusual about the memory.".to_owned()
    } else {
        format!("Things to look at:\n\n{}", findings.join("\n"))
    };
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// What is unusual, one line each.
fn findings(memory: &MemoryUse, clients: u64) -> Vec<String> {
    const BIG_GAP: u64 = 10 << 20;
    const BIG_CLIENT: u64 = 200 << 10;
    let mut found = Vec::new();
    if memory.peak > memory.used / 2 * 3 {
        found.push(format!(
            "* Peak: {} were in use at some time, {} are now. The process may keep the difference for later.",
            human(memory.peak),
            human(memory.used)
        ));
    }
    if memory.fragmentation() > 1.4 && memory.rss.saturating_sub(memory.used) > BIG_GAP {
        found.push(format!(
            "* Fragmentation: the process holds {} for {} of data and buffers. Freed memory has not been given back; \
             MEMORY PURGE or a restart may help.",
            human(memory.rss),
            human(memory.used)
        ));
    }
    if memory.rss > 0 && memory.rss < memory.used / 10 * 9 {
        found.push(format!(
            "* Swapping: only {} of {} in use are in main memory. The machine is short of it, and answers will be slow.",
            human(memory.rss),
            human(memory.used)
        ));
    }
    if clients > 0 && memory.clients / clients > BIG_CLIENT {
        found.push(format!(
            "* Clients: each takes {} on average. Some read their replies slowly, or send or ask for very much at once; \
             CLIENT LIST shows which.",
            human(memory.clients / clients)
        ));
    }
    found
}

fn memory_malloc_stats(call: &mut Call) -> Outcome {
    let memory = MemoryUse::now(call.server, call.keys);
    let text = format!(
        "allocator: {}\nallocated: {} bytes\nresident: {} bytes\npeak allocated: {} bytes\n",
        call.server.host.allocator, memory.used, memory.rss, memory.peak
    );
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Gives back what the engine keeps for later: emptied buffers of clients. The allocator returns pages by
/// itself.
fn memory_purge(call: &mut Call) -> Outcome {
    let everybody: Vec<_> = call.server.clients.iter().map(|client| client.handle).collect();
    for id in everybody {
        let client = &mut call.server.clients[id];
        client.query.shrink_to_fit();
        client.reply.buf.shrink_to_fit();
    }
    call.keys.garbage.shrink_to_fit();
    call.server.drop_spare_buffers();
    let ticket = call.server.ask_host(Awaited::Plain, |ticket| Ask::GiveBack { ticket, at_rest: false });
    if call.may_block() {
        call.block_on(Cause::Host(ticket), MonoTime::NEVER);
    } else {
        call.reply.ok();
    }
    Ok(())
}

fn memory_help(call: &mut Call) -> Outcome {
    help(
        call,
        &[
            "DOCTOR",
            "    Says what is unusual about the memory in use.",
            "MALLOC-STATS",
            "    Shows what is known of the allocator.",
            "PURGE",
            "    Gives back memory that is kept for later.",
            "STATS",
            "    Shows where the memory goes.",
            "USAGE <key> [SAMPLES <count>]",
            "    Shows how many bytes a key takes with its value. The whole value is counted, whatever <count> is.",
        ],
    );
    Ok(())
}
