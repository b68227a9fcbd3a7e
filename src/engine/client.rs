//! The clients: one record each, in a table with stable handles.
//!
//! A client is what a connection is to the engine: bytes come in, bytes go out. What waits is always
//! a record here, never a function. Sockets are the front ends' business.

use hashbrown::HashSet;

use crate::resp::{Decoder, OwnedArgs, Protocol, Reply};

use super::blocking::Blocked;
use super::keyspace::Map;
use super::time::{MonoTime, Now};

/// The handle of a client. Never reused for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    slot: u32,
    serial: u32,
}

impl ClientId {
    /// A small number that no other connected client has: for tables beside the engine's.
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}

/// Who is at the other end, as CLIENT LIST shows it.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Remote address, e.g. "127.0.0.1:50312" or "/tmp/redis.sock:0".
    pub addr: String,
    /// Local address.
    pub laddr: String,
    /// File descriptor number, or -1 where there is none.
    pub fd: i32,
    /// Whether it came over a unix socket.
    pub unix_socket: bool,
    /// Whether it came over loopback or a unix socket (protected mode lets it in).
    pub local: bool,
    /// The number of the thread that has its socket; 0 is the engine's.
    pub io_thread: u32,
}

/// A set of names with the engine's deterministic hasher.
pub type Names = HashSet<Box<[u8]>, foldhash::fast::FixedState>;

/// Which replies a client wants (CLIENT REPLY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// All of them.
    #[default]
    On,
    /// None.
    Off,
    /// All but that of the next command.
    SkipNext,
    /// All but that of the command now running.
    Skipping,
}

/// A transaction being queued.
#[derive(Clone, Debug, Default)]
pub struct Multi {
    /// The queued commands: index in the command table, and arguments.
    pub queue: Vec<(u16, OwnedArgs)>,
    /// A command was refused while queueing: EXEC will abort.
    pub aborted: bool,
    /// Bytes of all queued arguments.
    pub bytes: usize,
}

/// How long a peak of output is remembered.
const REPLY_PEAK_MS: u64 = 5000;

/// Everything the engine knows about a client.
pub struct Client {
    /// The number users see (CLIENT ID): ascending, never reused.
    pub id: u64,
    /// Its handle.
    pub handle: ClientId,
    /// Who is at the other end.
    pub peer: Peer,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO lib-name.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO lib-ver.
    pub lib_ver: Vec<u8>,
    /// Whether it may run commands that need authentication.
    pub authenticated: bool,
    /// The selected db.
    pub db: usize,
    /// Replies not yet handed out, and the protocol version they are in.
    pub reply: Reply,
    /// Bytes handed out to the front end and not yet confirmed as sent.
    pub unsent: usize,
    /// Pieces of output handed out since nothing was unsent.
    pub unsent_pieces: usize,
    /// The largest piece of output of late, and since when.
    pub reply_peak: (usize, MonoTime),
    /// Since when the output buffer is over its soft limit.
    pub over_soft_limit: Option<MonoTime>,
    /// Received bytes that are not yet run: part of a command, or everything while it waits.
    pub query: Vec<u8>,
    /// Bytes the argument under way still lacks, 0 if unknown.
    pub wanted: usize,
    /// What [`Server::weigh`](super::server::Server::weigh) found last.
    pub weighed: usize,
    /// The decoder's state between two receipts.
    pub decoder: Decoder,
    /// Which replies it wants.
    pub reply_mode: ReplyMode,
    /// The transaction being queued.
    pub multi: Option<Box<Multi>>,
    /// Watched keys: db and key.
    pub watched: Vec<(usize, Box<[u8]>)>,
    /// A watched key has changed: EXEC will answer nil.
    pub watch_failed: bool,
    /// Why it waits, if it does.
    pub blocked: Option<Box<Blocked>>,
    /// Subscribed channels.
    pub channels: Names,
    /// Subscribed patterns.
    pub patterns: Names,
    /// Subscribed shard channels.
    pub shard_channels: Names,
    /// Whether MONITOR shows it every command.
    pub is_monitor: bool,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// CLIENT CAPA redirect (accepted and shown; redirection comes with replication).
    pub capa_redirect: bool,
    /// CLIENT IMPORT-SOURCE: it imports data with their expire times.
    pub import_source: bool,
    /// It is no connection: the loader of a log.
    pub is_internal: bool,
    /// It has been given so many replies that the rest of what it has sent waits for the next tick.
    pub yielding: bool,
    /// It is closed as soon as its replies are out.
    pub closing: bool,
    /// Nothing more is to be sent to it: closed at once.
    pub doomed: bool,
    /// When it came.
    pub connected_at: MonoTime,
    /// When it last sent something.
    pub last_seen: MonoTime,
    /// Index in the command table of its last command.
    pub last_command: Option<u16>,
    /// Bytes received.
    pub net_in: u64,
    /// Bytes sent.
    pub net_out: u64,
    /// Commands run.
    pub commands: u64,
    /// Offset of the stream after its last write.
    pub write_offset: u64,
    /// Whether it stands in the list of clients with something to hand out.
    pub(super) pending: bool,
}

impl Client {
    fn new(id: u64, handle: ClientId, peer: Peer, now: Now) -> Client {
        Client {
            id,
            handle,
            peer,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            authenticated: false,
            db: 0,
            reply: Reply::new(Protocol::Resp2),
            unsent: 0,
            unsent_pieces: 0,
            reply_peak: (0, now.mono),
            over_soft_limit: None,
            query: Vec::new(),
            wanted: 0,
            weighed: 0,
            decoder: Decoder::default(),
            reply_mode: ReplyMode::On,
            multi: None,
            watched: Vec::new(),
            watch_failed: false,
            blocked: None,
            channels: Names::default(),
            patterns: Names::default(),
            shard_channels: Names::default(),
            is_monitor: false,
            no_evict: false,
            no_touch: false,
            capa_redirect: false,
            import_source: false,
            is_internal: false,
            yielding: false,
            closing: false,
            doomed: false,
            connected_at: now.mono,
            last_seen: now.mono,
            last_command: None,
            net_in: 0,
            net_out: 0,
            commands: 0,
            write_offset: 0,
            pending: false,
        }
    }

    /// Takes the reply buffer while commands are run; the protocol version stays known.
    pub fn take_reply(&mut self) -> Reply {
        let protocol = self.reply.protocol;
        std::mem::replace(&mut self.reply, Reply::new(protocol))
    }

    /// Number of channels and patterns; shard channels count apart.
    pub fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Whether it is subscribed to anything: in RESP2 that limits what it may run.
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions() + self.shard_channels.len() > 0
    }

    /// Whether its bytes must wait.
    pub fn is_waiting(&self) -> bool {
        self.blocked.is_some() || self.yielding || self.closing || self.doomed
    }

    /// Notes that a piece of output is handed out.
    pub fn hand_out(&mut self, bytes: usize, now: MonoTime) {
        self.unsent += bytes;
        self.unsent_pieces += 1;
        if bytes >= self.reply_peak.0 || now.ms_since(self.reply_peak.1) > REPLY_PEAK_MS {
            self.reply_peak = (bytes, now);
        }
    }

    /// Notes that bytes handed out have left.
    pub fn sent(&mut self, bytes: usize) {
        self.unsent = self.unsent.saturating_sub(bytes);
        self.net_out += bytes as u64;
        if self.unsent == 0 {
            self.unsent_pieces = 0;
        }
    }

    /// Bytes of replies not yet sent.
    pub fn output_bytes(&self) -> usize {
        self.reply.buf.len() + self.unsent
    }

    /// Bytes of memory the client takes: buffers, queued commands, subscriptions, the record.
    pub fn memory_bytes(&self) -> usize {
        let names = self.channels.iter().chain(&self.patterns).chain(&self.shard_channels);
        size_of::<Client>()
            + self.query.capacity()
            + self.decoder.bytes()
            + self.reply.buf.capacity()
            + self.unsent
            + self.multi.as_ref().map_or(0, |multi| multi.bytes)
            + self.watched.iter().map(|(_, key)| key.len() + 80).sum::<usize>()
            + names.map(|name| name.len() + 40).sum::<usize>()
    }

    /// Keeps bytes that cannot be run yet. A large argument gets the room it announced, so that it is not copied while
    /// it grows; of what is said to be very large a sixteenth must have come before the rest is believed.
    pub fn keep(&mut self, bytes: &[u8]) {
        const FIRST_ROOM: usize = 16 << 10;
        const LARGE: usize = 32 << 10;
        const BELIEVED: usize = 4 << 20;
        let missing = self.query.capacity() - self.query.len() < bytes.len().max(self.wanted);
        if missing && (LARGE..=BELIEVED.max(16 * self.query.len())).contains(&self.wanted) {
            self.query.reserve_exact(bytes.len().max(self.wanted));
        } else if self.query.capacity() == 0 {
            self.query.reserve_exact(bytes.len().max(FIRST_ROOM));
        }
        self.query.extend_from_slice(bytes);
        self.wanted = self.wanted.saturating_sub(bytes.len());
    }

    /// Gives back room that the query buffer does not need any more.
    pub fn trim_query(&mut self, now: MonoTime) {
        const IDLE_MS: u64 = 2000;
        const LARGE: usize = 32 << 10;
        const KEPT: usize = 16 << 10;
        if self.query.capacity() > 0 && now.ms_since(self.last_seen) > IDLE_MS {
            self.query.shrink_to_fit();
        } else if self.query.is_empty() && self.query.capacity() > LARGE {
            self.query.shrink_to(KEPT);
        }
    }
}

/// The table of clients.
#[derive(Default)]
pub struct Clients {
    slots: Vec<Option<Box<Client>>>,
    serials: Vec<u32>,
    free: Vec<u32>,
    by_id: Map<u64, ClientId>,
    last_id: u64,
}

impl Clients {
    /// Adds a client.
    pub fn add(&mut self, peer: Peer, now: Now) -> ClientId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.serials.push(0);
            self.slots.len() as u32 - 1
        });
        let index = slot as usize;
        self.serials[index] = self.serials[index].wrapping_add(1);
        let handle = ClientId { slot, serial: self.serials[index] };
        self.last_id += 1;
        self.slots[index] = Some(Box::new(Client::new(self.last_id, handle, peer, now)));
        self.by_id.insert(self.last_id, handle);
        handle
    }

    /// Removes a client.
    pub fn remove(&mut self, id: ClientId) -> Option<Box<Client>> {
        self.find(id)?;
        let client = self.slots[id.slot as usize].take()?;
        self.free.push(id.slot);
        self.by_id.remove(&client.id);
        Some(client)
    }

    /// The client with this handle, if it is still there.
    #[inline]
    pub fn find(&self, id: ClientId) -> Option<&Client> {
        let client = self.slots.get(id.slot as usize)?.as_deref()?;
        (client.handle == id).then_some(client)
    }

    /// The client with this handle for changing, if it is still there.
    #[inline]
    pub fn find_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        let client = self.slots.get_mut(id.slot as usize)?.as_deref_mut()?;
        (client.handle == id).then_some(client)
    }

    /// The handle of the client with this visible number.
    pub fn by_id(&self, id: u64) -> Option<ClientId> {
        self.by_id.get(&id).copied()
    }

    /// All clients, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        let mut all: Vec<&Client> = self.slots.iter().flatten().map(Box::as_ref).collect();
        all.sort_unstable_by_key(|client| client.id);
        all.into_iter()
    }

    /// All clients, to be changed, in no order that means anything.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.slots.iter_mut().flatten().map(Box::as_mut)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl std::ops::Index<ClientId> for Clients {
    type Output = Client;

    fn index(&self, id: ClientId) -> &Client {
        self.find(id).expect("a handle of a connected client")
    }
}

impl std::ops::IndexMut<ClientId> for Clients {
    fn index_mut(&mut self, id: ClientId) -> &mut Client {
        self.find_mut(id).expect("a handle of a connected client")
    }
}
