//! The command logs: commands that were slow (the slow log), and those with large requests or replies.
//!
//! Not here: the commands SLOWLOG and COMMANDLOG. A log keeps its newest entries, with arguments cut to a
//! bounded length. Counterparts: Redis' `slowlog.c` and Valkey's `commandlog.c`.

use std::collections::VecDeque;

use crate::resp::Args;

use super::client::ClientId;
use super::secret;
use super::server::Server;
use super::spec::{self, Spec};

/// Arguments kept of a command, and bytes kept of an argument.
const MAX_ARGS: usize = 32;
const MAX_ARG_BYTES: usize = 128;

/// One logged command.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Ascending number.
    pub id: u64,
    /// Unix time in seconds.
    pub time: i64,
    /// How long it took in microseconds, or how many bytes it had.
    pub value: u64,
    /// Its arguments, cut.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub addr: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogType {
    /// Commands that took longer than `slowlog-log-slower-than`.
    Slow,
    /// Requests larger than `commandlog-request-larger-than`.
    LargeRequest,
    /// Replies larger than `commandlog-reply-larger-than`.
    LargeReply,
}

/// One log, newest first.
#[derive(Clone, Debug, Default)]
pub struct CommandLog {
    /// The entries.
    pub entries: VecDeque<LogEntry>,
    next_id: u64,
}

/// What a command stays below that no log has to hear of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usual {
    nanos: u64,
    reply: u64,
    request: u64,
}

/// All logs.
#[derive(Clone, Debug, Default)]
pub struct CommandLogs {
    logs: [CommandLog; 3],
}

impl CommandLogs {
    /// One log.
    pub fn of(&mut self, log: LogType) -> &mut CommandLog {
        &mut self.logs[log as usize]
    }
}

impl Server {
    /// Keeps a command in the logs that it belongs to, and tells the latency monitor of it.
    #[inline]
    pub fn record_command(&mut self, id: ClientId, spec: &'static Spec, args: Args, nanos: u64, reply_bytes: usize) {
        // No request is larger than all that has come with it.
        let usual = &self.usual;
        let usual =
            nanos < usual.nanos && (reply_bytes as u64) < usual.reply && (self.running_bytes as u64) < usual.request;
        if !usual {
            self.record_unusual(id, spec, args, nanos, reply_bytes);
        }
    }

    #[cold]
    fn record_unusual(&mut self, id: ClientId, spec: &'static Spec, args: Args, nanos: u64, reply_bytes: usize) {
        self.note_latency(if spec.is(spec::FAST) { "fast-command" } else { "command" }, nanos);
        if spec.is(spec::SKIP_SLOWLOG) {
            return;
        }
        let micros = nanos / 1000;
        if exceeds(micros, self.config.slowlog_log_slower_than) {
            self.keep(LogType::Slow, id, spec, args, micros);
        }
        let reply_bytes = reply_bytes as u64;
        if exceeds(reply_bytes, self.config.commandlog_reply_larger_than) {
            self.keep(LogType::LargeReply, id, spec, args, reply_bytes);
        }
        let limit = self.config.commandlog_request_larger_than;
        if limit >= 0 {
            let request_bytes = args.iter().map(|arg| arg.len() as u64).sum();
            if exceeds(request_bytes, limit) {
                self.keep(LogType::LargeRequest, id, spec, args, request_bytes);
            }
        }
    }

    fn keep(&mut self, log: LogType, id: ClientId, spec: &'static Spec, args: Args, value: u64) {
        if self.max_len(log) == 0 {
            return;
        }
        let Some(client) = self.clients.find(id) else { return };
        let shown = if args.len() > MAX_ARGS { MAX_ARGS - 1 } else { args.len() };
        let mut kept: Vec<Vec<u8>> = secret::shown(spec.full_name, args).take(shown).map(cut).collect();
        if args.len() > MAX_ARGS {
            kept.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
        }
        let (time, addr, name) = (self.now.wall.seconds(), client.peer.addr.clone(), client.name.clone());
        let max_len = self.max_len(log);
        let log = self.command_logs.of(log);
        log.entries.push_front(LogEntry { id: log.next_id, time, value, args: kept, addr, name });
        log.next_id += 1;
        log.entries.truncate(max_len);
    }

    /// Forgets the oldest entries of logs that may not be as long any more.
    pub fn trim_command_logs(&mut self) {
        for log in [LogType::Slow, LogType::LargeRequest, LogType::LargeReply] {
            let max_len = self.max_len(log);
            self.command_logs.of(log).entries.truncate(max_len);
        }
    }

    /// Brings [`Server::usual`] in line with the configuration.
    pub fn refresh_usual(&mut self) {
        let config = &self.config;
        let limit = |limit: i64, unit: u64| u64::try_from(limit).map_or(u64::MAX, |limit| limit.saturating_mul(unit));
        let latency = match config.latency_monitor_threshold {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        };
        self.usual = Usual {
            nanos: limit(config.slowlog_log_slower_than, 1000).min(latency),
            reply: limit(config.commandlog_reply_larger_than, 1),
            request: limit(config.commandlog_request_larger_than, 1),
        };
    }

    fn max_len(&self, log: LogType) -> usize {
        let max_len = match log {
            LogType::Slow => self.config.slowlog_max_len,
            LogType::LargeRequest => self.config.commandlog_large_request_max_len,
            LogType::LargeReply => self.config.commandlog_large_reply_max_len,
        };
        usize::try_from(max_len).unwrap_or(usize::MAX)
    }
}

/// Whether a value reaches a limit; a negative limit is never reached.
fn exceeds(value: u64, limit: i64) -> bool {
    u64::try_from(limit).is_ok_and(|limit| value >= limit)
}

fn cut(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= MAX_ARG_BYTES {
        return arg.to_vec();
    }
    let mut kept = arg[..MAX_ARG_BYTES].to_vec();
    kept.extend_from_slice(format!("... ({} more bytes)", arg.len() - MAX_ARG_BYTES).as_bytes());
    kept
}
