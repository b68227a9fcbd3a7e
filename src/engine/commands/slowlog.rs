//! SLOWLOG and COMMANDLOG: what is in the command logs. SLOWLOG is COMMANDLOG with the type left out.
//!
//! Not here: what gets into the logs, which is in [`slowlog`](crate::engine::slowlog).

use crate::engine::call::Call;
use crate::engine::error::{Error, Outcome};
use crate::engine::slowlog::LogType;
use crate::engine::spec::*;

use super::help::help;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::container("commandlog", Group::Server, COMMANDLOG_SUBCOMMANDS).docs(
        "8.1.0",
        "See the sub-commands.",
        "The logs of slow commands and of large requests and replies.",
    ),
    Spec::container("slowlog", Group::Server, SLOWLOG_SUBCOMMANDS).docs(
        "2.2.12",
        "See the sub-commands.",
        "The log of slow commands.",
    ),
];

/// Sub-commands of COMMANDLOG.
const COMMANDLOG_SUBCOMMANDS: &[Spec] = &[
    Spec::sub("commandlog|get", commandlog_get, 4, ADMIN | LOADING | STALE, Group::Server)
        .docs("8.1.0", "O(N), N: entries replied", "The newest entries of one log.")
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .args("count:integer type:oneof(SLOW LARGE-REQUEST LARGE-REPLY)"),
    Spec::sub("commandlog|help", commandlog_help, 2, LOADING | STALE, Group::Server).docs(
        "8.1.0",
        "O(1)",
        "Lists the sub-commands with a line on each.",
    ),
    Spec::sub("commandlog|len", commandlog_len, 3, ADMIN | LOADING | STALE, Group::Server)
        .docs("8.1.0", "O(1)", "How many entries one log has.")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
        .args("type:oneof(SLOW LARGE-REQUEST LARGE-REPLY)"),
    Spec::sub("commandlog|reset", commandlog_reset, 3, ADMIN | LOADING | STALE, Group::Server)
        .docs("8.1.0", "O(N), N: entries", "Empties one log.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .args("type:oneof(SLOW LARGE-REQUEST LARGE-REPLY)"),
];

/// Sub-commands of SLOWLOG.
const SLOWLOG_SUBCOMMANDS: &[Spec] = &[
    Spec::sub("slowlog|get", slowlog_get, -2, ADMIN | LOADING | STALE, Group::Server)
        .docs("2.2.12", "O(N), N: entries replied", "The newest entries of the slow log.")
        .history(&[("4.0.0", "Entries tell the client's address and name.")])
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .args("count:integer?"),
    Spec::sub("slowlog|help", slowlog_help, 2, LOADING | STALE, Group::Server).docs(
        "6.2.0",
        "O(1)",
        "Lists the sub-commands with a line on each.",
    ),
    Spec::sub("slowlog|len", slowlog_len, 2, ADMIN | LOADING | STALE, Group::Server)
        .docs("2.2.12", "O(1)", "How many entries the slow log has.")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]),
    Spec::sub("slowlog|reset", slowlog_reset, 2, ADMIN | LOADING | STALE, Group::Server)
        .docs("2.2.12", "O(N), N: entries", "Empties the slow log.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
];

fn slowlog_help(call: &mut Call) -> Outcome {
    help(
        call,
        &[
            "GET [<count>]",
            "    The newest entries: 10 unless a number is given, all for -1. Each has its",
            "    number, its Unix time, its duration in microseconds, the arguments, and the",
            "    address and the name of the client.",
            "LEN",
            "    How many entries there are.",
            "RESET",
            "    Forget all entries.",
        ],
    );
    Ok(())
}

fn commandlog_help(call: &mut Call) -> Outcome {
    help(
        call,
        &[
            "GET <count> <type>",
            "    The newest entries of a log, all for -1. Each has its number, its Unix time,",
            "    its duration in microseconds or its size in bytes, the arguments, and the",
            "    address and the name of the client.",
            "LEN <type>",
            "    How many entries a log has.",
            "RESET <type>",
            "    Forget all entries of a log.",
            "Types are: slow, large-request, large-reply.",
        ],
    );
    Ok(())
}

fn slowlog_get(call: &mut Call) -> Outcome {
    if call.args.len() > 3 {
        return Err(Error::subcommand_syntax(call.spec.full_name, call.args.at(1)));
    }
    let count = if call.args.len() == 3 { count(call)? } else { 10 };
    show(call, LogType::Slow, count);
    Ok(())
}

fn commandlog_get(call: &mut Call) -> Outcome {
    let count = count(call)?;
    let log = log_type(call, 3)?;
    show(call, log, count);
    Ok(())
}

fn slowlog_len(call: &mut Call) -> Outcome {
    len(call, LogType::Slow)
}

fn commandlog_len(call: &mut Call) -> Outcome {
    let log = log_type(call, 2)?;
    len(call, log)
}

fn slowlog_reset(call: &mut Call) -> Outcome {
    clear(call, LogType::Slow)
}

fn commandlog_reset(call: &mut Call) -> Outcome {
    let log = log_type(call, 2)?;
    clear(call, log)
}

/// Argument 2 as a number of entries; -1 is all.
fn count(call: &Call) -> Result<usize, Error> {
    let count = call.int_in(2, -1, i64::MAX, "ERR count should be greater than or equal to -1")?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn log_type(call: &Call, index: usize) -> Result<LogType, Error> {
    let types =
        [("slow", LogType::Slow), ("large-request", LogType::LargeRequest), ("large-reply", LogType::LargeReply)];
    let found = types.iter().find(|(word, _)| call.word(index, word));
    found
        .map(|(_, log)| *log)
        .ok_or_else(|| "ERR type should be one of the following: slow, large-request, large-reply".into())
}

fn show(call: &mut Call, log: LogType, count: usize) {
    let entries = &call.server.command_logs.of(log).entries;
    let count = count.min(entries.len());
    call.reply.array(count);
    for entry in entries.iter().take(count) {
        call.reply.array(6);
        call.reply.int(entry.id as i64);
        call.reply.int(entry.time);
        call.reply.int(entry.value as i64);
        call.reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| call.reply.bulk(arg));
        call.reply.bulk(entry.addr.as_bytes());
        call.reply.bulk(&entry.name);
    }
}

fn len(call: &mut Call, log: LogType) -> Outcome {
    call.reply.count(call.server.command_logs.of(log).entries.len());
    Ok(())
}

fn clear(call: &mut Call, log: LogType) -> Outcome {
    call.server.command_logs.of(log).entries.clear();
    call.reply.ok();
    Ok(())
}
