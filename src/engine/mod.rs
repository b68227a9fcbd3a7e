//! The engine: a Redis-compatible server as a value. No I/O, no clock, no threads, no entropy.
//!
//! Bytes and times go in; bytes come out. All data are in memory, so a command never waits: what waits
//! is a client (a record in a table), never a function. Inputs say what happened, and when; each does
//! bounded work, never waits and cannot fail. [`Engine::drain`] hands out what is to leave.
//!
//! - [`client`]: who is connected. [`spec`], [`commands`]: what they may ask. [`call`]: one command run.
//! - `dispatch`: checks, runs, settles. [`effects`]: what a unit changed. [`blocking`]: who waits.
//! - [`batch`]: requests read ahead, here or on another thread. [`keyspec`]: which arguments are keys.
//! - [`keyspace`]: the only door to keys, made of [`entry`]s. [`eviction`], [`expiry`]: how they go.
//! - [`persistence`], [`snapshot`]: what is to be stored. [`host`]: what is asked of the world.

pub mod batch;
pub mod blocking;
pub mod call;
pub mod client;
pub mod commands;
pub mod config;
pub mod digest;
mod dispatch;
pub mod effects;
pub mod entry;
pub mod error;
pub mod eviction;
pub mod expiry;
pub mod host;
pub mod info;
pub mod keyspace;
pub mod keyspec;
pub mod latency;
pub mod load;
mod monitor;
pub mod persistence;
pub mod pubsub;
mod rewrite;
pub mod rng;
mod secret;
pub mod server;
pub mod settings;
pub mod slices;
pub mod slowlog;
pub mod snapshot;
pub mod spec;
pub mod stats;
mod tick;
pub mod time;
mod transaction;

use std::ops::Range;

use crate::resp::{Decoder, Limits, Reply, Step};

use batch::{Batch, Parsed, Reader, Receipt};
use client::{Client, ClientId, Peer};
use commands::Renames;
use config::Config;
use host::{Ask, Host, LogLevel, Report};
use keyspace::Keyspace;
use rng::Rng;
use server::Server;
use settings::Settings;
use time::{MonoTime, Now};

/// A Redis-compatible server as a value.
pub struct Engine {
    keyspace: Keyspace,
    server: Server,
    load: Option<load::Load>,
}

/// What is to leave the engine. Deal with it in field order, and a reply is never seen before the write
/// it confirms is stored.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The next bytes of the replication stream, which is also the log.
    pub append: Vec<u8>,
    /// What the host is to do.
    pub asks: Vec<Ask>,
    /// Replies and pushes, one piece per client. Tell [`Report::Sent`] when bytes have left.
    pub sends: Vec<(ClientId, Vec<u8>)>,
    /// Clients to close once what they were sent before is out.
    pub closes: Vec<ClientId>,
    /// Clients to close at once: what they were sent before may be dropped.
    pub drops: Vec<ClientId>,
    /// Emptied buffers to be used again: give back those of `sends`.
    pub spare: Vec<Vec<u8>>,
}

impl Engine {
    /// An engine without data. The seed feeds sampling, hashing and the run id.
    pub fn new(config: Config, host: Host, seed: u64, now: Now) -> Engine {
        let mut rng = Rng::new(seed);
        let (run_id, replication_id) = (rng.hex(40), rng.hex(40));
        let settings = Settings::new(&config, rng.next(), 0);
        let databases = config.databases as usize;
        let mut server = Server::new(config, host, run_id, replication_id);
        (server.started, server.now) = (now, now);
        server.persistence.last_save = now.wall.seconds();
        server.stats.track_latency = server.config.latency_tracking;
        server.refresh_usual();
        // A front end that reads a file has refused what is wrong in it.
        server.renames = Renames::new(&server.config.directives.rename_command).unwrap_or_default();
        let mut keyspace = Keyspace::new(databases, settings, rng);
        keyspace.now = now;
        Engine { keyspace, server, load: None }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.server.config
    }

    /// The offset of the stream: bytes appended so far, handed out or not.
    pub fn offset(&self) -> u64 {
        self.server.offset
    }

    /// The offset of the stream after what this client has written last; `None` if it has gone.
    pub fn write_offset(&self, client: ClientId) -> Option<u64> {
        self.server.clients.find(client).map(|client| client.write_offset)
    }

    /// Starts or stops the stream: whether anybody stores what [`Outbox::append`] brings.
    pub fn set_log_enabled(&mut self, enabled: bool) {
        self.server.persistence.log_enabled = enabled;
        self.server.persistence.log_has_base = enabled;
        self.keyspace.effects.streaming = enabled;
        self.keyspace.effects.forget_selected();
    }

    /// Whether changes go to the stream.
    pub fn is_logging(&self) -> bool {
        self.server.persistence.log_enabled
    }

    fn begin(&mut self, now: Now) {
        self.keyspace.now = now;
        self.server.now = now;
    }

    // ---- Inputs ----

    /// Somebody has connected.
    pub fn connect(&mut self, now: Now, peer: Peer) -> ClientId {
        self.begin(now);
        self.server.stats.connections_received += 1;
        let open = self.server.config.requirepass.is_empty();
        let full = self.server.clients.len() >= self.server.config.maxclients as usize;
        let local = peer.local;
        let id = self.server.clients.add(peer, now);
        self.server.clients[id].authenticated = open;
        let refusal = if full {
            Some("ERR max number of clients reached")
        } else if !local && open && self.server.config.protected_mode {
            Some(PROTECTED)
        } else {
            None
        };
        if let Some(text) = refusal {
            self.server.stats.rejected_connections += 1;
            self.server.clients[id].reply.error(text);
            self.server.close_after_reply(id);
        }
        id
    }

    /// Bytes have come from a client, in any chunking. A waiting client's bytes are kept.
    pub fn receive(&mut self, now: Now, id: ClientId, bytes: &[u8]) {
        self.take_in(now, id, bytes, None);
    }

    /// Like [`receive`](Self::receive) for bytes that a [`Reader`] has read: these requests they begin with.
    pub fn receive_parsed(&mut self, now: Now, id: ClientId, bytes: &[u8], parsed: &mut Parsed, requests: Range<u32>) {
        let batch = parsed.select(requests, self.keyspace.seed());
        self.take_in(now, id, bytes, Some(batch));
    }

    /// Asks for the memory that these requests of several clients will look at, before the first of them is run: so
    /// clients that send one request at a time do not wait for memory one after the other either. More than some
    /// dozens push each other out of the cache again.
    pub fn fetch(&mut self, bytes: &[u8], receipts: &[Receipt], parsed: &mut Parsed) {
        let clients = &self.server.clients;
        let keys = parsed.fetch(bytes, receipts, &self.keyspace, |id| clients.find(id).map(|client| client.db));
        self.server.stats.prefetch_batches += u64::from(keys > 0);
        self.server.stats.prefetch_keys += keys as u64;
    }

    /// What reads requests for [`receive_parsed`](Self::receive_parsed), on any thread. What an old one has read is
    /// read again.
    pub fn reader(&self) -> Reader {
        Reader { seed: self.keyspace.seed(), renamed: !self.server.renames.is_empty() }
    }

    fn take_in(&mut self, now: Now, id: ClientId, bytes: &[u8], parsed: Option<&mut Batch>) {
        self.begin(now);
        let Some(client) = self.server.clients.find_mut(id) else { return };
        client.last_seen = now.mono;
        client.net_in += bytes.len() as u64;
        self.server.stats.net_input += bytes.len() as u64;
        self.server.stats.reads += 1;
        self.server.stats.of_thread(client.peer.io_thread).0 += 1;
        if client.query.is_empty() && !client.is_waiting() {
            let consumed = self.run_bytes(id, bytes, parsed);
            if consumed < bytes.len()
                && let Some(client) = self.server.clients.find_mut(id)
            {
                client.wanted += if client.wanted > 0 { bytes.len() - consumed } else { 0 };
                client.keep(&bytes[consumed..]);
            }
        } else {
            client.keep(bytes);
            self.server.weigh(id);
            self.check_query_limit(id);
            if self.server.clients.find(id).is_some_and(|client| !client.doomed) {
                self.run_kept(id);
            }
        }
        self.check_query_limit(id);
        self.server.weigh(id);
        self.run_resumed();
    }

    /// A client has gone.
    pub fn disconnect(&mut self, now: Now, id: ClientId) {
        self.begin(now);
        self.forget_client(id);
        self.run_resumed();
    }

    /// The world answers.
    pub fn report(&mut self, now: Now, report: Report) {
        self.begin(now);
        match report {
            Report::Sent { client, bytes } => {
                if let Some(client) = self.server.clients.find_mut(client) {
                    client.sent(bytes);
                    self.server.stats.net_output += bytes as u64;
                    self.server.stats.writes += 1;
                    self.server.stats.of_thread(client.peer.io_thread).1 += 1;
                }
            }
            other => self.report_storage(other),
        }
        self.run_resumed();
    }

    // ---- Outputs ----

    /// Bytes of replies to commands that [`drain`](Self::drain) will bring.
    pub fn output_bytes(&self) -> usize {
        self.server.output_bytes
    }

    /// Moves everything that is to leave into `outbox`. Its vectors are reused; it must be empty.
    pub fn drain(&mut self, outbox: &mut Outbox) {
        std::mem::swap(&mut self.server.stream, &mut outbox.append);
        std::mem::swap(&mut self.server.asks, &mut outbox.asks);
        self.server.output_bytes = 0;
        let mut pending = std::mem::take(&mut self.server.pending);
        for id in pending.drain(..) {
            let Some(client) = self.server.clients.find_mut(id) else { continue };
            client.pending = false;
            if !client.reply.buf.is_empty() {
                let bytes = std::mem::take(&mut client.reply.buf);
                client.hand_out(bytes.len(), self.server.now.mono);
                outbox.sends.push((id, bytes));
            }
            if client.doomed {
                outbox.drops.push(id);
            } else if client.closing {
                outbox.closes.push(id);
            }
        }
        self.server.pending = pending;
        self.server.doomed_bytes = 0;
        for id in outbox.closes.iter().chain(&outbox.drops) {
            self.forget_client(*id);
        }
        self.take_back(outbox);
    }

    /// Takes back the buffers of what has been sent: few and small ones are used again, the others are freed.
    pub fn take_back(&mut self, outbox: &mut Outbox) {
        outbox.spare.drain(..).for_each(|buffer| self.server.recycle(buffer));
    }

    /// Says that the front end's loop has been round once: from when to when it worked, without its sleep.
    pub fn end_turn(&mut self, began: MonoTime, ended: MonoTime) {
        let stats = &mut self.server.stats;
        let nanos = ended.nanos.saturating_sub(began.nanos);
        let turns = &mut stats.turns;
        turns.count += 1;
        turns.nanos += nanos;
        turns.longest_nanos = turns.longest_nanos.max(nanos);
        turns.most_commands = turns.most_commands.max(stats.commands_processed.saturating_sub(turns.commands_before));
        turns.commands_before = stats.commands_processed;
    }

    /// Says how long the front end's loop was busy with handing on what [`Outbox::append`] brought.
    pub fn note_storing(&mut self, nanos: u64) {
        self.server.stats.turns.storing_nanos += nanos;
    }

    /// Whether a client lets others go first, because it has been given many replies at once: until a
    /// [`tick`](Self::tick) has run the rest of what it has sent, nothing more is to be read of it.
    pub fn is_yielding(&self, id: ClientId) -> bool {
        self.has_yielding() && self.server.clients.find(id).is_some_and(|client| client.yielding)
    }

    /// Whether there is such a client.
    pub fn has_yielding(&self) -> bool {
        !self.server.yielding.is_empty()
    }

    /// When [`tick`](Self::tick) wants to be called next; "now" while background work remains.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        if self.has_yielding() {
            return Some(self.server.now.mono);
        }
        let mut periodic = self.next_periodic();
        if let Some(pause) = self.server.pause {
            periodic = periodic.min(pause.until);
        }
        Some(self.server.blocking.next_deadline().map_or(periodic, |deadline| deadline.min(periodic)))
    }

    // ---- Bytes to commands ----

    /// Runs as many commands as `bytes` hold and the client may run; says how many bytes they took. `parsed`: the
    /// requests they begin with, if those have been read.
    fn run_bytes(&mut self, id: ClientId, bytes: &[u8], parsed: Option<&mut Batch>) -> usize {
        if let Some(batch) = parsed {
            return self.run_batch(id, bytes, batch);
        }
        let mut batch = std::mem::take(&mut self.server.batch);
        batch.clear();
        let consumed = self.run_batch(id, bytes, &mut batch);
        self.server.batch = batch;
        consumed
    }

    fn run_batch(&mut self, id: ClientId, bytes: &[u8], batch: &mut Batch) -> usize {
        let max_bulk_len = self.server.config.proto_max_bulk_len as usize;
        let Some(client) = self.server.clients.find_mut(id) else { return bytes.len() };
        let mut decoder = std::mem::take(&mut client.decoder);
        let mut reply = client.take_reply();
        if reply.buf.capacity() == 0 {
            reply.buf = self.server.spare_buffer();
        }
        let before = reply.buf.len();
        let queued = self.server.resumed.len();
        let (mut at, mut wanted) = (0, 0);
        self.server.running_bytes = bytes.len();
        // Found out when it matters first, and again after whatever may change it.
        let mut unhindered = None;
        while at < bytes.len() {
            let Some(client) = self.server.clients.find(id).filter(|client| !client.is_waiting()) else { break };
            let unauthenticated = self.server.auth_required(id);
            if unauthenticated {
                batch.skip();
            } else if !decoder.is_midway() {
                let fetched = batch.read(bytes, at, &self.keyspace, client.db, !self.server.renames.is_empty());
                self.server.stats.prefetch_batches += u64::from(fetched > 0);
                self.server.stats.prefetch_keys += fetched as u64;
            }
            if batch.is_plain() && *unhindered.get_or_insert_with(|| self.is_unhindered(id)) {
                at = self.execute_plain(id, bytes, batch, &mut reply);
                self.keyspace.forget_hashed();
            } else if let Some(next) = batch.next(bytes) {
                at = next.end;
                self.keyspace.set_hashed(next.hashed(bytes));
                self.execute(id, next.args, next.row.map(|(_, command)| command), &mut reply);
                self.keyspace.forget_hashed();
                unhindered = None;
            } else {
                match decoder.decode(&bytes[at..], &Limits { max_bulk_len, unauthenticated }) {
                    Ok(Step::Command { consumed }) => {
                        self.execute(id, decoder.args(&bytes[at..]), None, &mut reply);
                        // The next one may not come to the decoder.
                        decoder.forget();
                        unhindered = None;
                        at += consumed;
                    }
                    Ok(Step::Empty { consumed }) => {
                        at += consumed;
                        continue;
                    }
                    Ok(Step::Incomplete { wanted: missing }) => {
                        wanted = missing;
                        break;
                    }
                    Err(error) => {
                        self.protocol_error(id, &error, &mut reply);
                        at = bytes.len();
                        continue;
                    }
                }
            }
            if !self.keyspace.effects.ready.is_empty() {
                self.put_back(id, &mut reply);
                self.serve_ready();
                reply = self.server.clients.find_mut(id).map(Client::take_reply).unwrap_or_default();
            }
            if reply.buf.len() > before + TURN_BYTES && at < bytes.len() {
                self.server.let_others_first(id);
            }
            let woken = self.server.resumed.len().saturating_sub(queued);
            if woken > 0 {
                // Those just woken go first, then the rest of these bytes, then those who queued
                // before: so the order does not depend on how bytes are cut.
                self.server.resumed.rotate_left(queued);
                self.server.resumed.insert(woken, id);
                break;
            }
        }
        if let Some(client) = self.server.clients.find_mut(id) {
            client.decoder = decoder;
            client.wanted = wanted;
            let wrote = reply.buf.len() > before;
            self.server.output_bytes += reply.buf.len().saturating_sub(before);
            self.put_back(id, &mut reply);
            if wrote {
                self.server.mark_pending(id);
                self.server.check_output_limit(id);
            }
            self.server.weigh(id);
        }
        at
    }

    /// Gives a client its reply buffer back. What was pushed to it meanwhile goes behind.
    fn put_back(&mut self, id: ClientId, reply: &mut Reply) {
        let Some(client) = self.server.clients.find_mut(id) else { return };
        if client.doomed {
            reply.buf = Vec::new();
        }
        std::mem::swap(&mut client.reply, reply);
        client.reply.buf.append(&mut reply.buf);
        if client.reply.buf.is_empty() {
            // A client that has nothing to say keeps no buffer.
            let buffer = std::mem::take(&mut client.reply.buf);
            self.server.recycle(buffer);
        }
    }

    /// Runs what a client has sent before and what was kept.
    fn run_kept(&mut self, id: ClientId) {
        let Some(client) = self.server.clients.find_mut(id) else { return };
        if client.is_waiting() || client.query.is_empty() {
            return;
        }
        let mut query = std::mem::take(&mut client.query);
        let consumed = self.run_bytes(id, &query, None);
        if let Some(client) = self.server.clients.find_mut(id) {
            query.drain(..consumed);
            client.query = query;
        }
    }

    /// Runs the kept bytes of clients that do not wait any more.
    fn run_resumed(&mut self) {
        loop {
            if !self.keyspace.effects.ready.is_empty() {
                self.serve_ready();
            }
            if std::mem::take(&mut self.server.pause_ended) {
                self.resume_paused();
            }
            let Some(id) = self.server.resumed.pop_front() else { break };
            self.run_kept(id);
        }
    }

    fn protocol_error(&mut self, id: ClientId, error: &crate::resp::ProtocolError, reply: &mut Reply) {
        error.reply(reply);
        self.server.stats.count_error("ERR");
        let client = &mut self.server.clients[id];
        client.closing = true;
        client.decoder = Decoder::default();
        self.server.mark_pending(id);
        let text = format!("Protocol error ({error}) from client: id={}", self.server.clients[id].id);
        self.server.log(LogLevel::Verbose, text);
    }

    /// Closes a client that sends more than it may keep waiting. The whole arguments of an unfinished request are beside
    /// that, but not without end.
    fn check_query_limit(&mut self, id: ClientId) {
        let limit = self.server.config.client_query_buffer_limit as usize;
        let Some(client) = self.server.clients.find_mut(id) else { return };
        self.server.stats.peak_input_buffer = self.server.stats.peak_input_buffer.max(client.query.len());
        let whole = client.decoder.parsed();
        if client.query.len().saturating_sub(whole) > limit
            || client.query.len() as u64 > MOST_QUERY_BYTES.max(limit as u64)
        {
            self.server.stats.query_limit_disconnections += 1;
            let text = format!("Closing client that reached max query buffer length: id={}", client.id);
            client.query = Vec::new();
            self.server.close_now(id);
            self.server.log(LogLevel::Warning, text);
        }
    }

    /// Takes a client out of everything that knows it.
    fn forget_client(&mut self, id: ClientId) {
        self.server.detach(&mut self.keyspace, id);
        self.server.clients.remove(id);
    }
}

/// Bytes of one request, at most.
const MOST_QUERY_BYTES: u64 = 4 << 30;

/// Replies that a client is given before it is the others' turn: half a millisecond's work. One that asked for 2000
/// values of 1 MB at once and read none of them held everybody up for four seconds.
const TURN_BYTES: usize = 1 << 20;

/// What a stranger is told in protected mode.
const PROTECTED: &str = "DENIED Haversack is in protected mode: no password is set, so it answers only on this machine. \
    To let others in, set a password (CONFIG SET requirepass <password>), or bind to an address that only trusted \
    machines reach and turn the protection off (CONFIG SET protected-mode no).";

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out when these requests come in pieces of `size` bytes, read beforehand or not.
    fn replies(requests: &[u8], size: usize, reader: Option<Reader>) -> Vec<u8> {
        let mut config = Config::default();
        config.requirepass = b"secret".to_vec();
        let mut engine = Engine::new(config, Host::default(), 1, Now::default());
        let now = Now::default();
        let id = engine.connect(now, Peer { local: true, ..Peer::default() });
        let (mut outbox, mut sent) = (Outbox::default(), Vec::new());
        for piece in requests.chunks(size) {
            if let Some(reader) = reader {
                let mut parsed = Parsed::default();
                // Somebody else's stand before them.
                reader.read(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n", &mut parsed);
                let range = reader.read(piece, &mut parsed);
                engine.receive_parsed(now, id, piece, &mut parsed, range);
            } else {
                engine.receive(now, id, piece);
            }
            engine.drain(&mut outbox);
            outbox.sends.drain(..).for_each(|(_, bytes)| sent.extend(bytes));
            outbox.asks.clear();
        }
        sent
    }

    #[test]
    fn requests_read_ahead_answer_as_single_ones_do() {
        let lines = "GET a|AUTH secret|SET a 1|set b 2|MGET a b c|SELECT 1|GET a|MSET a 3 b 4 a 5|SWAPDB 0 1|MGET a b|NOSUCH x|GET|\
            MULTI|INCR a|SELECT 1|GET a|EXEC|DEL a b|WATCH a|RENAME a b|LPUSH l 1 2 3|BLPOP l 0|LMOVE l m LEFT LEFT|\
            OBJECT ENCODING m|CONFIG SET maxmemory-samples 7|RESET|GET a|AUTH secret|MGET a b c d e f g h i j k l m n o p q r s t u v|\
            GET a|QUIT|GET never";
        let mut requests = Vec::new();
        for line in lines.split('|') {
            let words = line.split(' ').map(str::as_bytes).collect::<Vec<_>>();
            crate::resp::encode_command(words, &mut requests);
        }
        let at_once = replies(&requests, requests.len(), None);
        assert!(at_once.starts_with(
            b"-NOAUTH Authentication required.\r\n+OK\r\n+OK\r\n+OK\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n"
        ));
        let right = Engine::new(Config::default(), Host::default(), 1, Now::default()).reader();
        let old = Reader { seed: right.seed ^ 1, ..right };
        for size in [1, 7, 64, 300, requests.len()] {
            for reader in [None, Some(right), Some(old)] {
                let replies = replies(&requests, size, reader);
                assert_eq!(String::from_utf8_lossy(&replies), String::from_utf8_lossy(&at_once), "{size} {reader:?}");
            }
        }
    }

    #[test]
    fn many_large_replies_let_others_go_first() {
        let now = Now::default();
        let mut engine = Engine::new(Config::default(), Host::default(), 1, now);
        let [greedy, other] = [(); 2].map(|()| engine.connect(now, Peer { local: true, ..Peer::default() }));
        let mut requests = Vec::new();
        crate::resp::encode_command([b"SET", &b"large"[..], &[b'x'; 300_000]], &mut requests);
        // Plain ones, others, and one that wakes a client.
        for n in 0..30 {
            let line = format!("INCR n\r\nGET large\r\nGETRANGE large 0 {}\r\nLPUSH l {n}\r\n", 100_000 + n);
            requests.extend_from_slice(line.as_bytes());
            crate::resp::encode_command(["GET", "large"].map(str::as_bytes), &mut requests);
        }
        engine.receive(now, other, b"BLPOP l 0\r\n");
        let (mut outbox, mut sent, mut turns) = (Outbox::default(), Vec::new(), 0);
        engine.receive(now, greedy, &requests);
        loop {
            let yielding = engine.is_yielding(greedy);
            if yielding {
                assert_eq!(engine.next_deadline(), Some(now.mono));
                // It may send on, and waits its turn.
                engine.receive(now, greedy, b"GET n\r\n");
            }
            engine.receive(now, other, b"GET n\r\n");
            engine.drain(&mut outbox);
            for (id, bytes) in outbox.sends.drain(..) {
                assert!(bytes.len() < 2 * TURN_BYTES, "{}", bytes.len());
                if id == greedy {
                    sent.extend(bytes);
                } else {
                    turns += 1;
                }
            }
            if !yielding {
                break;
            }
            engine.tick(now);
        }
        assert!(!engine.has_yielding() && turns > 15, "{turns}");
        assert!(sent.starts_with(b"+OK\r\n:1\r\n$300000\r\n"));
        assert_eq!(sent.iter().filter(|byte| **byte == b'x').count(), 30 * 700_001 + 29 * 30 / 2);
        assert!(sent.ends_with(b"$2\r\n30\r\n"), "the last it sent comes last");
    }

    #[test]
    fn a_flushed_db_with_one_large_value_is_freed_in_slices() {
        let mut engine = Engine::new(Config::default(), Host::default(), 1, Now::default());
        let id = engine.connect(Now::default(), Peer { local: true, ..Peer::default() });
        let mut words = vec!["SADD".to_owned(), "s".to_owned()];
        words.extend((0..20_000).map(|n| format!("member:{n}")));
        let mut request = Vec::new();
        crate::resp::encode_command(words.iter().map(String::as_bytes), &mut request);
        request.extend_from_slice(b"SET k v\r\nFLUSHALL ASYNC\r\n");
        engine.receive(Now::default(), id, &request);
        assert!(engine.server.clients[id].memory_bytes() < 40_000, "nothing is kept of so many arguments");
        assert_eq!(engine.keyspace.garbage_len(), 2);
        let mut slices = 1;
        while engine.keyspace.free_slice() {
            slices += 1;
        }
        assert!(slices > 9, "{slices}");
        assert_eq!(engine.keyspace.garbage_len(), 0);
    }

    /// What a client is sent, and whether it is closed at once.
    fn hear(engine: &mut Engine, id: ClientId) -> (String, bool) {
        let mut outbox = Outbox::default();
        engine.drain(&mut outbox);
        let sent: Vec<u8> =
            outbox.sends.iter().filter(|(to, _)| *to == id).flat_map(|(_, bytes)| bytes.clone()).collect();
        (String::from_utf8_lossy(&sent).into_owned(), outbox.drops.contains(&id))
    }

    #[test]
    fn a_flush_is_answered_when_all_is_freed_and_holds_nobody_up() {
        let mut engine = Engine::new(Config::default(), Host::default(), 1, Now::default());
        let [flusher, other] =
            [(); 2].map(|()| engine.connect(Now::default(), Peer { local: true, ..Peer::default() }));
        for n in 0..20_000 {
            engine.keyspace.add(format!("key:{n}").as_bytes(), entry::Value::String(vec![b'x'; 50]));
        }
        engine.receive(Now::default(), flusher, b"FLUSHALL\r\nDBSIZE\r\n");
        assert_eq!(hear(&mut engine, flusher), (String::new(), false));
        let requests = b"SET new 1\r\nFLUSHDB\r\nDBSIZE\r\nMULTI\r\nSET a 1\r\nFLUSHALL\r\nEXEC\r\nFLUSHALL ASYNC\r\n";
        engine.receive(Now::default(), other, requests);
        let replies = "+OK\r\n+OK\r\n:0\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n+OK\r\n";
        assert_eq!(hear(&mut engine, other).0, replies);
        let (mut rounds, mut answer) = (0, String::new());
        while answer.is_empty() {
            assert_eq!(engine.next_deadline(), Some(Now::default().mono), "it goes on at once");
            engine.tick(Now::default());
            answer = hear(&mut engine, flusher).0;
            rounds += 1;
        }
        assert_eq!((answer.as_str(), engine.keyspace.garbage_len()), ("+OK\r\n:0\r\n", 0));
        assert!(rounds > 5, "{rounds}");
    }

    #[test]
    fn a_great_value_goes_in_slices_and_is_room_for_others() {
        thread_local!(static USED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
        let mut config = Config::default();
        config.maxmemory = 1000;
        let host = Host { used_memory: || USED.replace(USED.get().saturating_sub(500)), ..Host::default() };
        let mut engine = Engine::new(config, host, 1, Now::default());
        let id = engine.connect(Now::default(), Peer { local: true, ..Peer::default() });
        let mut words = vec!["SADD".to_owned(), "s".to_owned()];
        words.extend((0..20_000).map(|n| format!("member:{n}")));
        let mut request = Vec::new();
        crate::resp::encode_command(words.iter().map(String::as_bytes), &mut request);
        engine.receive(Now::default(), id, &request);
        engine.receive(Now::default(), id, b"DEL s\r\n");
        assert_eq!(engine.keyspace.garbage_len(), 1);
        // Without eviction, it is freed before a write is refused.
        USED.set(3_000);
        engine.receive(Now::default(), id, b"SET k v\r\n");
        assert_eq!(hear(&mut engine, id).0, ":20000\r\n:1\r\n+OK\r\n");
        USED.set(usize::MAX);
        engine.receive(Now::default(), id, b"SET k v\r\n");
        assert_eq!((hear(&mut engine, id).0.get(..4), engine.keyspace.garbage_len()), (Some("-OOM"), 0));
        assert_eq!(engine.keyspace.stats.lazyfreed, 0, "nobody asked for that");
    }

    #[test]
    fn requests_of_http_are_cut_off() {
        for request in [&b"POST / HTTP/1.1\r\nSET evil 1\r\n"[..], b"host: here\r\nSET evil 1\r\n"] {
            let mut engine = Engine::new(Config::default(), Host::default(), 1, Now::default());
            let id = engine.connect(Now::default(), Peer { local: true, ..Peer::default() });
            engine.receive(Now::default(), id, b"SET good 1\r\nGET / HTTP/1.1\r\n");
            engine.receive(Now::default(), id, request);
            assert_eq!(hear(&mut engine, id), (String::new(), true));
            assert_eq!(engine.keyspace.dbs[0].table.len(), 1);
        }
    }

    #[test]
    fn who_has_itself_killed_in_a_transaction_hears_no_more() {
        let mut engine = Engine::new(Config::default(), Host::default(), 1, Now::default());
        let id = engine.connect(Now::default(), Peer { local: true, ..Peer::default() });
        engine.receive(Now::default(), id, b"MULTI\r\nCLIENT KILL ID 1 SKIPME no\r\nSET k v\r\nEXEC\r\nPING\r\n");
        assert_eq!(hear(&mut engine, id).0, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n");
        assert_eq!(engine.keyspace.dbs[0].table.len(), 1, "it is run all the same");
    }

    #[test]
    fn the_query_limit_is_for_what_is_not_a_whole_argument_yet() {
        let mut config = Config::default();
        config.client_query_buffer_limit = 1 << 20;
        let mut engine = Engine::new(config, Host::default(), 1, Now::default());
        let [many, large] = [(); 2].map(|()| engine.connect(Now::default(), Peer { local: true, ..Peer::default() }));
        let mut request = b"*2001\r\n$3\r\nDEL\r\n".to_vec();
        for _ in 0..2000 {
            request.extend_from_slice(b"$1000\r\n");
            request.extend_from_slice(&[b'k'; 1000]);
            request.extend_from_slice(b"\r\n");
        }
        request.chunks(10_000).for_each(|piece| engine.receive(Now::default(), many, piece));
        assert_eq!(hear(&mut engine, many), (":0\r\n".into(), false));
        engine.receive(Now::default(), large, b"*2\r\n$3\r\nDEL\r\n$3000000\r\n");
        (0..120).for_each(|_| engine.receive(Now::default(), large, &[b'k'; 10_000]));
        assert_eq!(hear(&mut engine, large), (String::new(), true));
    }

    #[test]
    fn an_engine_at_rest_gives_memory_back_once() {
        let at = |ms| Now { mono: MonoTime::from_ms(ms), ..Now::default() };
        let mut engine = Engine::new(Config::default(), Host::default(), 1, at(0));
        let id = engine.connect(at(0), Peer { local: true, ..Peer::default() });
        let mut given_back = Vec::new();
        for ms in (0..6_000).step_by(50) {
            if ms == 2_500 || ms == 3_000 {
                engine.receive(at(ms), id, b"PING\r\n");
            }
            engine.tick(at(ms));
            let mut outbox = Outbox::default();
            engine.drain(&mut outbox);
            given_back.extend(outbox.asks.iter().filter(|ask| matches!(ask, Ask::GiveBack { .. })).map(|_| ms));
        }
        assert!(matches!(given_back[..], [1_000, 4_000..4_200]), "{given_back:?}");
    }

    #[test]
    fn free_memory_goes_back_when_no_more_is_becoming_free() {
        thread_local!(static USED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
        let at = |ms| Now { mono: MonoTime::from_ms(ms), ..Now::default() };
        let host = Host { used_memory: || USED.get(), ..Host::default() };
        let mut engine = Engine::new(Config::default(), host, 1, at(0));
        let id = engine.connect(at(0), Peer { local: true, ..Peer::default() });
        // It falls for two seconds, and much later for longer than anyone should wait.
        let used = |ms: usize| match ms {
            ..1_000 => 2000 << 20,
            1_000..3_000 => (2000 << 20) - ((ms - 1_000) << 19),
            3_000..6_000 => 1000 << 20,
            _ => (1000 << 20) - ((ms - 6_000) << 15),
        };
        let mut given_back = Vec::new();
        for ms in (0..20_000).step_by(50) {
            USED.set(used(ms));
            let now = at(ms as u64);
            engine.receive(now, id, b"PING\r\n");
            engine.tick(now);
            let mut outbox = Outbox::default();
            engine.drain(&mut outbox);
            given_back.extend(outbox.asks.iter().filter(|ask| matches!(ask, Ask::GiveBack { .. })).map(|_| ms));
        }
        assert!(matches!(given_back[..], [3_000..3_300, 16_000..20_000]), "{given_back:?}");
    }

    #[test]
    fn a_command_goes_in_and_a_reply_comes_out() {
        let mut engine = Engine::new(Config::default(), Host::default(), 1, Now::default());
        let now = Now::default();
        let id = engine.connect(now, Peer { local: true, ..Peer::default() });
        engine.receive(now, id, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n7\r\nGET k\r\nMULTI\r\nGET k\r\nEXEC\r\nFOO\r\n");
        let mut outbox = Outbox::default();
        engine.drain(&mut outbox);
        let text = String::from_utf8_lossy(&outbox.sends[0].1).into_owned();
        let expected = "+OK\r\n$1\r\n7\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n7\r\n-ERR unknown command 'FOO', with args beginning with: \r\n";
        assert_eq!(text, expected);
    }
}
