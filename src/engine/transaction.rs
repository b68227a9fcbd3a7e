//! MULTI, EXEC and WATCH: the state behind the commands of the same names.

use super::client::{Client, ClientId};
use super::commands;
use super::keyspace::Keyspace;
use super::server::Server;
use super::spec;

impl Server {
    /// Ends a client's transaction without running it. Watched keys are forgotten by the caller.
    pub fn abandon_transaction(&mut self, id: ClientId) {
        self.clients[id].multi = None;
    }

    /// Whether a client's queued commands may change data.
    pub fn queued_writes(&self, id: ClientId) -> bool {
        self.queued_any(id, spec::WRITE)
    }

    /// Whether a client's queued commands may need memory.
    pub fn queued_denyoom(&self, id: ClientId) -> bool {
        self.queued_any(id, spec::DENYOOM)
    }

    /// Whether a client's queued commands have any of these flags.
    pub fn queued_any(&self, id: ClientId, flags: spec::Flags) -> bool {
        let Some(multi) = &self.clients[id].multi else { return false };
        multi.queue.iter().any(|(command, _)| commands::table().row(*command).flags & flags != 0)
    }
}

/// Makes a client watch a key of the selected db.
pub fn watch(keys: &mut Keyspace, client: &mut Client, key: &[u8]) {
    // The key knows its watchers: there are fewer of them than keys that a client may watch.
    if !client.watch_failed && keys.watch(key, client.handle) {
        client.watched.push((keys.db, key.into()));
    }
}

/// Makes a client forget all it watches, and that anything has happened to it.
pub fn unwatch(keys: &mut Keyspace, client: &mut Client) {
    forget(keys, client);
    client.watch_failed = false;
}

/// Something has happened to what a client watches: it need not watch any more until its transaction is over.
pub fn fail(keys: &mut Keyspace, client: &mut Client) {
    forget(keys, client);
    client.watch_failed = true;
}

fn forget(keys: &mut Keyspace, client: &mut Client) {
    for (db, key) in client.watched.drain(..) {
        if let Some(watchers) = keys.dbs[db].watched.get_mut(&key) {
            watchers.retain(|it| it.client != client.handle);
            if watchers.is_empty() {
                keys.dbs[db].watched.remove(&key);
            }
        }
    }
}
