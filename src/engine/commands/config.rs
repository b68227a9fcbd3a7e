//! CONFIG: the configuration of the running server.
//!
//! What parameters there are and what they take is the business of [`crate::engine::config`]. What a
//! change means for sockets and files is the front end's: the client waits for its answer, and a refusal
//! takes the change back.

use crate::engine::blocking::Cause;
use crate::engine::call::Call;
use crate::engine::config::{Acts, Changes, NotifyFlags, Setter};
use crate::engine::error::{Error, Outcome};
use crate::engine::eviction;
use crate::engine::host::Ask;
use crate::engine::keyspace::KeyspaceStats;
use crate::engine::persistence::Awaited;
use crate::engine::spec::*;
use crate::engine::stats::Stats;
use crate::engine::time::MonoTime;

use super::help::help;

/// The commands of this family.
pub const SPECS: &[Spec] = &[Spec::container("config", Group::Server, CONFIG_SUBCOMMANDS).docs(
    "2.0.0",
    "Depends on subcommand.",
    "Commands about the configuration.",
)];

/// Sub-commands of CONFIG.
const CONFIG_SUBCOMMANDS: &[Spec] = &[
    Spec::sub("config|get", config_get, -3, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server)
        .docs("2.0.0", "O(N), N parameters", "The values of parameters that match patterns.")
        .history(&[("7.0.0", "Takes several patterns.")])
        .args("parameter:string*"),
    Spec::sub("config|help", config_help, 2, LOADING | STALE, Group::Server).docs(
        "5.0.0",
        "O(1)",
        "Lists the sub-commands with a line on each.",
    ),
    Spec::sub("config|resetstat", config_resetstat, 2, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server)
        .docs("2.0.0", "O(1)", "Sets the counters of INFO back to zero.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    Spec::sub("config|rewrite", config_rewrite, 2, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server)
        .docs("2.8.0", "O(1)", "Writes the present values into the configuration file.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    Spec::sub("config|set", config_set, -4, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server)
        .docs("2.0.0", "O(N), N parameters", "Changes parameters of the running server.")
        .history(&[("7.0.0", "Takes several parameters, all or none.")])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .args("data:block*(parameter:string value:string)"),
];

fn config_get(call: &mut Call) -> Outcome {
    let patterns: Vec<&[u8]> = call.args.from(2).iter().collect();
    let found = call.server.config.get(&patterns);
    call.reply.map(found.len());
    for (name, value) in &found {
        call.reply.bulk(name);
        call.reply.bulk(value);
    }
    Ok(())
}

fn config_set(call: &mut Call) -> Outcome {
    let args: Vec<&[u8]> = call.args.from(2).iter().collect();
    if !args.len().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    let pairs: Vec<(&[u8], &[u8])> = args.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let local = call.server.clients[call.id].peer.local;
    let loading = call.server.persistence.loading.is_some();
    let set = call.server.config.set_many(&pairs, Setter { local, loading });
    let changes = set.map_err(|error| Error::new(error.to_string()))?;
    follow(call, &changes);
    let config = &call.server.config;
    let for_host: Vec<(&'static str, String)> = changes
        .changed
        .iter()
        .filter(|param| param.acts == Acts::Host)
        .map(|param| (param.name, String::from_utf8_lossy(&param.show(config)).into_owned()))
        .collect();
    if for_host.is_empty() {
        call.reply.ok();
        return Ok(());
    }
    let awaited = Awaited::Configure(Box::new(changes));
    let ticket = call.server.ask_host(awaited, |ticket| Ask::Configure { ticket, changes: for_host });
    if call.may_block() {
        call.block_on(Cause::Host(ticket), MonoTime::NEVER);
    } else {
        call.reply.ok();
    }
    Ok(())
}

/// Brings what is derived from the configuration in line with it.
fn follow(call: &mut Call, changes: &Changes) {
    call.keys.settings.refresh(&call.server.config);
    if call.server.persistence.loading.is_some() {
        call.keys.settings.notify = NotifyFlags::NONE;
    }
    let server = &mut *call.server;
    server.stats.track_latency = server.config.latency_tracking;
    server.trim_command_logs();
    server.refresh_usual();
    server.evict_clients();
    if changes.contains("maxmemory") && server.config.maxmemory > 0 {
        eviction::make_room(call.keys, server);
    }
}

fn config_rewrite(call: &mut Call) -> Outcome {
    write_back(call, false)
}

/// Asks the host to write the configuration to its file; with `all`, every parameter.
pub(super) fn write_back(call: &mut Call, all: bool) -> Outcome {
    if call.server.host.config_file.is_empty() {
        return Err("ERR The server is running without a config file".into());
    }
    let ticket = call.server.ask_host(Awaited::Plain, |ticket| Ask::RewriteConfig { ticket, all });
    if call.may_block() {
        call.block_on(Cause::Host(ticket), MonoTime::NEVER);
    } else {
        call.reply.ok();
    }
    Ok(())
}

fn config_resetstat(call: &mut Call) -> Outcome {
    let stats = &mut call.server.stats;
    // What a peak or a switch says stays true.
    *stats = Stats {
        peak_memory: stats.peak_memory,
        peak_memory_at: stats.peak_memory_at,
        peak_input_buffer: stats.peak_input_buffer,
        peak_output_buffer: stats.peak_output_buffer,
        track_latency: stats.track_latency,
        ..Stats::default()
    };
    call.keys.stats = KeyspaceStats::default();
    call.server.persistence.saves = 0;
    call.server.persistence.snapshots_begun = 0;
    call.server.persistence.rewrites = 0;
    call.reply.ok();
    Ok(())
}

fn config_help(call: &mut Call) -> Outcome {
    help(
        call,
        &[
            "GET <pattern> [<pattern> ...]",
            "    Shows the parameters whose names match, with their values.",
            "SET <parameter> <value> [<parameter> <value> ...]",
            "    Changes all of these parameters, or none if one is refused.",
            "RESETSTAT",
            "    Sets the counters that INFO shows back to zero.",
            "REWRITE",
            "    Writes the values in force into the configuration file.",
        ],
    );
    Ok(())
}
