//! The slow log: the commands that took longer than `slowlog-log-slower-than`.

use std::collections::VecDeque;

use crate::resp::Args;

use super::client::ClientId;
use super::server::Server;
use super::spec::{self, Spec};

/// Arguments kept of a command, and bytes kept of an argument.
const MAX_ARGS: usize = 32;
const MAX_ARG_BYTES: usize = 128;

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Ascending number.
    pub id: u64,
    /// Unix time in seconds.
    pub time: i64,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// Its arguments, cut.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub addr: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// The slow log, newest first.
#[derive(Clone, Debug, Default)]
pub struct SlowLog {
    /// The entries.
    pub entries: VecDeque<SlowEntry>,
    next_id: u64,
}

impl Server {
    /// Keeps a command in the slow log if it was slow.
    #[inline]
    pub fn record_slow(&mut self, id: ClientId, spec: &Spec, args: Args, nanos: u64) {
        let limit = self.config.slowlog_log_slower_than;
        if limit < 0 || spec.is(spec::SKIP_SLOWLOG) || nanos / 1000 < limit as u64 {
            return;
        }
        self.keep_slow(id, args, nanos / 1000);
    }

    fn keep_slow(&mut self, id: ClientId, args: Args, micros: u64) {
        let Some(client) = self.clients.find(id) else { return };
        let shown = if args.len() > MAX_ARGS { MAX_ARGS - 1 } else { args.len() };
        let mut kept: Vec<Vec<u8>> = args.iter().take(shown).map(cut).collect();
        if args.len() > MAX_ARGS {
            kept.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
        }
        let entry = SlowEntry {
            id: self.slowlog.next_id,
            time: self.now.wall.seconds(),
            micros,
            args: kept,
            addr: client.peer.addr.clone(),
            name: client.name.clone(),
        };
        self.slowlog.next_id += 1;
        self.slowlog.entries.push_front(entry);
        self.slowlog.entries.truncate(self.config.slowlog_max_len as usize);
    }
}

fn cut(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= MAX_ARG_BYTES {
        return arg.to_vec();
    }
    let mut kept = arg[..MAX_ARG_BYTES].to_vec();
    kept.extend_from_slice(format!("... ({} more bytes)", arg.len() - MAX_ARG_BYTES).as_bytes());
    kept
}
