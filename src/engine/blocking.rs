//! Clients that wait: records with a cause and a deadline, never a suspended function.
//!
//! A change marks waited-for keys as ready; when the unit has settled, the clients waiting for them run
//! their arguments again, in the order they came, each as a unit of its own. Ticks answer timeouts.

use std::collections::{BTreeSet, VecDeque};

use crate::resp::{OwnedArgs, Reply};
use crate::types::value::Kind;

use super::client::{ClientId, ReplyMode};
use super::host::Ticket;
use super::keyspace::{Keyspace, Map};
use super::server::Server;
use super::time::MonoTime;

/// Why a client waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// For one of these keys to hold a `kind`.
    Keys {
        /// The type it waits for.
        kind: Kind,
        /// The db of the keys.
        db: usize,
        /// The keys.
        keys: Vec<Box<[u8]>>,
    },
    /// For its deadline only, while the whole server stands still (DEBUG SLEEP).
    Stall,
    /// For the end of CLIENT PAUSE; then the command runs.
    Pause,
    /// For replicas, or for the log, to have everything up to an offset (WAIT, WAITAOF).
    Offset {
        /// The offset of the stream.
        target: u64,
        /// How many local logs must have it (0 or 1).
        local: i64,
        /// How many replicas must have it.
        replicas: i64,
        /// WAITAOF answers an array, WAIT a number.
        aof: bool,
    },
    /// For what it has flushed to be freed.
    Freeing,
    /// For the front end's answer.
    Host(Ticket),
    /// For the snapshot under way to end (SAVE).
    Snapshot,
    /// For the server to leave; only a failure is answered (SHUTDOWN).
    Shutdown,
}

impl Cause {
    /// Whether a command with a timeout of its own waits.
    pub const fn has_timeout(&self) -> bool {
        matches!(self, Cause::Keys { .. } | Cause::Offset { .. })
    }
}

/// A waiting client's record.
#[derive(Clone, Debug)]
pub struct Blocked {
    /// Why.
    pub cause: Cause,
    /// When it gives up.
    pub deadline: MonoTime,
    /// Since when.
    pub since: MonoTime,
    /// The command, as index in the table.
    pub command: u16,
    /// Its arguments.
    pub args: OwnedArgs,
}

/// Who waits for what, and until when.
#[derive(Default)]
pub struct Blocking {
    deadlines: BTreeSet<(MonoTime, ClientId)>,
    waiting: Map<(usize, Box<[u8]>), VecDeque<ClientId>>,
    /// How many clients wait for keys, as INFO shows it.
    pub clients: usize,
}

impl Blocking {
    /// Enters a record: the client is now waiting.
    pub fn enter(&mut self, keys: &mut Keyspace, id: ClientId, blocked: &Blocked) {
        if blocked.deadline != MonoTime::NEVER {
            self.deadlines.insert((blocked.deadline, id));
        }
        self.clients += 1;
        if let Cause::Keys { db, keys: names, .. } = &blocked.cause {
            for name in names {
                let queue = self.waiting.entry((*db, name.clone())).or_default();
                if !queue.contains(&id) {
                    queue.push_back(id);
                    *keys.dbs[*db].awaited.entry(name.clone()).or_default() += 1;
                }
            }
        }
    }

    /// Removes a record: the client does not wait any more.
    pub fn leave(&mut self, keys: &mut Keyspace, id: ClientId, blocked: &Blocked) {
        self.deadlines.remove(&(blocked.deadline, id));
        self.clients -= 1;
        if let Cause::Keys { db, keys: names, .. } = &blocked.cause {
            for name in names {
                let place = (*db, name.clone());
                let Some(queue) = self.waiting.get_mut(&place) else { continue };
                let before = queue.len();
                queue.retain(|waiting| *waiting != id);
                if queue.len() < before
                    && let Some(count) = keys.dbs[*db].awaited.get_mut(name)
                {
                    *count -= 1;
                    if *count == 0 {
                        keys.dbs[*db].awaited.remove(name);
                    }
                }
                if queue.is_empty() {
                    self.waiting.remove(&place);
                }
            }
        }
    }

    /// The clients that wait for a key, first come first.
    pub fn waiting_for(&self, db: usize, key: &[u8]) -> Vec<ClientId> {
        self.waiting.get(&(db, key.into())).map(|queue| queue.iter().copied().collect()).unwrap_or_default()
    }

    /// All keys of a db that somebody waits for.
    pub fn keys_awaited(&self, keys: &Keyspace, db: usize) -> Vec<Box<[u8]>> {
        let mut names: Vec<Box<[u8]>> = keys.dbs[db].awaited.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// How many keys somebody waits for.
    pub fn key_count(&self) -> usize {
        self.waiting.len()
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// A client whose deadline has passed.
    pub fn overdue(&self, now: MonoTime) -> Option<ClientId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }
}

/// Ends a wait without running the command again: `write` gives the reply. The command counts as called.
pub fn release(keys: &mut Keyspace, server: &mut Server, id: ClientId, write: impl FnOnce(&mut Reply)) {
    let Some(client) = server.clients.find_mut(id) else { return };
    let Some(blocked) = client.blocked.take() else { return };
    let start = client.reply.buf.len();
    write(&mut client.reply);
    let failed = client.reply.buf.get(start) == Some(&b'-');
    client.commands += 1;
    match client.reply_mode {
        ReplyMode::On | ReplyMode::SkipNext => {}
        ReplyMode::Off => client.reply.buf.truncate(start),
        ReplyMode::Skipping => {
            client.reply.buf.truncate(start);
            client.reply_mode = ReplyMode::On;
        }
    }
    // Waiting is no work, but for commands whose work is done while they wait.
    let nanos = match blocked.cause {
        Cause::Stall | Cause::Freeing => server.now.mono.nanos.saturating_sub(blocked.since.nanos),
        _ => 0,
    };
    server.stats.count_command(blocked.command, nanos, failed);
    server.blocking.leave(keys, id, &blocked);
    server.resumed.push_back(id);
    server.mark_pending(id);
}

/// Ends the wait of a command that has a timeout as if that had passed. False if there is no such wait.
pub fn time_out(keys: &mut Keyspace, server: &mut Server, id: ClientId) -> bool {
    let Some(blocked) = server.clients.find(id).and_then(|client| client.blocked.as_deref()) else { return false };
    match blocked.cause {
        Cause::Keys { .. } => release(keys, server, id, |reply| reply.null_array()),
        Cause::Offset { target, aof, .. } => {
            let local = i64::from(server.persistence.has_stored(target));
            release(keys, server, id, |reply| {
                if aof {
                    reply.array(2);
                    reply.int(local);
                }
                reply.int(0);
            });
        }
        _ => return false,
    }
    true
}
