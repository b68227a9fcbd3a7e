//! No key is evicted for memory that is free, or as good as free.
//!
//! A test binary of its own, because the engine measures its memory by the count of all allocations. It has one test:
//! the count is global.

use std::collections::HashMap;

use haversack::engine::client::{ClientId, Peer};
use haversack::engine::config::Config;
use haversack::engine::host::Host;
use haversack::engine::time::{MonoTime, Now, WallTime};
use haversack::engine::{Engine, Outbox};
use haversack::native::memory::{self, Counting};
use haversack::resp::encode_command;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Now = Now { wall: WallTime::from_ms(1_790_000_000_000), mono: MonoTime::from_ms(10_000) };
const KEYS: usize = 50;
const VALUE_BYTES: usize = 100_000;
const CLIENTS: usize = 20;

/// An engine full of keys, and a front end whose clients are away or read at once.
struct World {
    engine: Engine,
    outbox: Outbox,
    /// Who is told everything, and is never evicted.
    admin: ClientId,
    /// What the others have not read.
    unsent: HashMap<ClientId, Vec<Vec<u8>>>,
    clients_read: bool,
    replies: Vec<u8>,
}

impl World {
    /// With room for so much more than the keys take.
    fn new(room: usize, clients_read: bool) -> World {
        let mut config = Config::default();
        config.save.0.clear();
        let host = Host { used_memory: memory::used_bytes, ..Host::default() };
        let mut engine = Engine::new(config, host, 1, NOW);
        let admin = engine.connect(NOW, Peer { local: true, ..Peer::default() });
        let (outbox, unsent, replies) = (Outbox::default(), HashMap::new(), Vec::new());
        let mut world = World { engine, outbox, admin, unsent, clients_read, replies };
        for key in 0..KEYS {
            world.ask(&format!("SETRANGE {key} {} x", VALUE_BYTES - 1));
        }
        world.ask("CLIENT NO-EVICT ON");
        world.ask("CONFIG SET maxmemory-policy allkeys-lru");
        world.ask(&format!("CONFIG SET maxmemory {}", memory::used_bytes() + room));
        world
    }

    fn connect(&mut self) -> Vec<ClientId> {
        (0..CLIENTS).map(|_| self.engine.connect(NOW, Peer { local: true, ..Peer::default() })).collect()
    }

    /// Gives a client's bytes to the engine, without what follows.
    fn receive(&mut self, client: ClientId, command: &str) {
        let mut bytes = Vec::new();
        encode_command(command.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut bytes);
        self.engine.receive(NOW, client, &bytes);
    }

    /// The end of a turn: what is to leave leaves, or is kept for those who do not read.
    fn end_turn(&mut self) {
        self.engine.drain(&mut self.outbox);
        for (client, bytes) in self.outbox.sends.drain(..) {
            if client == self.admin {
                self.replies.extend_from_slice(&bytes);
            }
            match client == self.admin || self.clients_read {
                true => self.outbox.spare.push(bytes),
                false => self.unsent.entry(client).or_default().push(bytes),
            }
        }
        for client in self.outbox.closes.drain(..).chain(self.outbox.drops.drain(..)) {
            self.unsent.remove(&client);
        }
        self.outbox.asks.clear();
        self.outbox.append.clear();
    }

    fn ask(&mut self, command: &str) -> String {
        self.replies.clear();
        self.receive(self.admin, command);
        self.end_turn();
        String::from_utf8_lossy(&self.replies).into_owned()
    }

    /// The number of this name in INFO.
    fn figure(&mut self, name: &str) -> u64 {
        let info = self.ask("INFO");
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect("INFO tells it").parse().expect("a number")
    }
}

/// Output buffers are kept to be used again: up to four megabytes of them.
fn buffers_kept_for_later_go_before_keys() {
    let mut world = World::new(3_500_000, true);
    for client in world.connect() {
        world.receive(client, "SUBSCRIBE news");
    }
    let news = format!("PUBLISH news {}", "x".repeat(VALUE_BYTES));
    for _ in 0..20 {
        assert_eq!(world.ask(&news), format!(":{CLIENTS}\r\n"));
    }
    assert_eq!((world.figure("evicted_keys"), world.ask("DBSIZE")), (0, format!(":{KEYS}\r\n")));
}

/// What the front end still holds for clients that were evicted goes at the end of the turn.
fn clients_that_are_evicted_take_no_keys_with_them() {
    let mut world = World::new(3_800_000, false);
    world.ask("CONFIG SET maxmemory-clients 3000000");
    // Twenty times a hundred kilobytes in each turn, that nobody reads.
    let clients = world.connect();
    for _ in 0..10 {
        for client in &clients {
            world.receive(*client, "MGET 1");
        }
        world.end_turn();
    }
    let evicted = world.figure("evicted_clients");
    assert!(evicted > 0, "no client was evicted");
    assert_eq!((world.figure("evicted_keys"), world.ask("DBSIZE")), (0, format!(":{KEYS}\r\n")));
}

/// So does what they have sent of a request that is not whole.
fn requests_of_evicted_clients_go_before_keys() {
    let mut world = World::new(3_800_000, true);
    world.ask("CONFIG SET maxmemory-clients 3000000");
    let argument = format!("$1000\r\n{}\r\n", "x".repeat(1000));
    for client in world.connect() {
        world.engine.receive(NOW, client, b"*250\r\n");
        for _ in 0..249 {
            world.engine.receive(NOW, client, argument.as_bytes());
        }
    }
    assert!(world.figure("evicted_clients") > 5);
    assert_eq!((world.figure("evicted_keys"), world.ask("DBSIZE")), (0, format!(":{KEYS}\r\n")));
}

#[test]
fn keys_are_not_evicted_for_memory_that_is_as_good_as_free() {
    buffers_kept_for_later_go_before_keys();
    clients_that_are_evicted_take_no_keys_with_them();
    requests_of_evicted_clients_go_before_keys();
}
