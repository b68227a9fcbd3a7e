//! Everything the engine holds besides the keys: clients, channels, statistics, and what waits to leave.

use std::collections::VecDeque;

use crate::resp::{Protocol, Reply};

use super::batch::Batch;
use super::blocking::Blocking;
use super::client::{ClientId, Clients, ReplyMode};
use super::commands::Renames;
use super::config::{Config, OutputLimit};
use super::error::Error;
use super::host::{Ask, Host, LogLevel, Ticket};
use super::info::Census;
use super::keyspace::Keyspace;
use super::latency::LatencyMonitor;
use super::persistence::{Awaited, Persistence, Shutdown};
use super::pubsub::{self, PubSub};
use super::slowlog::{CommandLogs, Usual};
use super::spec::Spec;
use super::stats::Stats;
use super::tick::Clockwork;
use super::time::{MonoTime, Now};
use super::transaction;

/// A pause that CLIENT PAUSE ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it ends.
    pub until: MonoTime,
    /// Whether only commands that may change data wait.
    pub writes_only: bool,
}

/// Output buffers larger than this are not kept for reuse, and no more than so many of them.
const SPARE_BYTES: usize = 256 * 1024;
const SPARES: usize = 1024;
/// All of them together take no more than this.
const SPARES_BYTES: usize = 4 << 20;

/// The log tells of requests of HTTP once in so long.
const HTTP_REPORT_MS: u64 = 60_000;

/// What a client that has not said the password yet may leave unread, in bytes.
const UNAUTHENTICATED_REPLY_BYTES: u64 = 1024;

/// The engine's state besides the keyspace.
pub struct Server {
    /// The configuration.
    pub config: Config,
    /// The world around.
    pub host: Host,
    /// Who is connected.
    pub clients: Clients,
    /// Who waits.
    pub blocking: Blocking,
    /// Bytes that clients take, as far as they have been weighed.
    pub client_bytes: u64,
    /// Length of the input whose commands are being run.
    pub running_bytes: usize,
    /// What the stopwatch said when the last command ended.
    pub lap_ended: u64,
    /// The same, if the next command follows so closely that it need not be looked at again: it is a fiftieth of
    /// the time of a small command.
    pub lap_began: Option<u64>,
    /// What `rename-command` has made of names.
    pub renames: Renames,
    /// Who listens to which channel.
    pub pubsub: PubSub,
    /// What has been counted.
    pub stats: Stats,
    /// Snapshots and the log, as the engine sees them.
    pub persistence: Persistence,
    /// A shutdown that waits for storage.
    pub shutdown: Option<Shutdown>,
    /// A shutdown was given up just now: those who wait for it are to be told.
    pub shutdown_aborted: bool,
    /// Empty output buffers, to be used again by whoever has something to say.
    pub spare: Vec<Vec<u8>>,
    /// What they take.
    spare_bytes: usize,
    /// Bytes that the front end holds for clients which are closed in this turn: they are as good as free.
    pub doomed_bytes: usize,
    /// What most commands stay below: follows the configuration.
    pub usual: Usual,
    /// How large the keys are, while somebody wants to know.
    pub census: Census,
    /// Room for the requests read ahead.
    pub(super) batch: Batch,
    /// A signal that is to end the process, and has not been followed yet: see
    /// [`Report::Terminate`](super::host::Report::Terminate).
    pub termination: Option<(Option<bool>, bool)>,
    /// Clients that wait until no more than so much garbage is left, which is when what they have flushed is freed: what
    /// came last goes first.
    pub flushing: Vec<(ClientId, usize)>,
    /// What clients wait for the host to do.
    pub awaited: Vec<(Ticket, Awaited)>,
    /// Commands that were slow or large.
    pub command_logs: CommandLogs,
    /// What took long.
    pub latency: LatencyMonitor,
    /// When periodic work was done.
    pub clock: Clockwork,
    /// How long the unit under way has stood still (DEBUG SLEEP inside a transaction): it ends later by that.
    pub stalled_micros: u64,
    /// Clients that MONITOR.
    pub monitors: Vec<ClientId>,
    /// The pause in force.
    pub pause: Option<Pause>,
    /// A pause has been ended by a command: what it held back is to be run.
    pub pause_ended: bool,
    /// This run's id: 40 hexadecimal digits.
    pub run_id: String,
    /// The replication id: 40 hexadecimal digits.
    pub replication_id: String,
    /// When the engine was made.
    pub started: Now,
    /// Bytes of memory allocated when the engine was made.
    pub startup_memory: usize,
    /// The time of the current input.
    pub now: Now,
    /// The next bytes of the stream, not yet handed out.
    pub stream: Vec<u8>,
    /// Bytes of the stream so far, handed out or not.
    pub offset: u64,
    /// What the host is to do.
    pub asks: Vec<Ask>,
    /// Clients to close.
    pub closes: Vec<ClientId>,
    /// Bytes of replies that commands have written since something was handed out last.
    pub output_bytes: usize,
    /// Clients with something to hand out.
    pub pending: Vec<ClientId>,
    /// Clients that do not wait any more and whose kept bytes are to be run.
    pub resumed: VecDeque<ClientId>,
    /// Clients that let others go first, in the order in which it is their turn again.
    pub yielding: VecDeque<ClientId>,
    /// The client whose command is being run; pushes to it wait for its reply.
    pub current: Option<ClientId>,
    /// Pushes to the current client.
    pub deferred: Reply,
    last_ticket: Ticket,
    /// When the log has last told of a request of HTTP.
    http_seen: Option<MonoTime>,
}

impl Server {
    /// A server without clients.
    pub fn new(config: Config, host: Host, run_id: String, replication_id: String) -> Server {
        Server {
            startup_memory: (host.used_memory)(),
            client_bytes: 0,
            running_bytes: 0,
            lap_ended: 0,
            lap_began: None,
            renames: Renames::default(),
            config,
            host,
            clients: Clients::default(),
            blocking: Blocking::default(),
            pubsub: PubSub::default(),
            stats: Stats::default(),
            persistence: Persistence::default(),
            shutdown: None,
            shutdown_aborted: false,
            spare: Vec::new(),
            spare_bytes: 0,
            doomed_bytes: 0,
            usual: Usual::default(),
            census: Census::default(),
            batch: Batch::default(),
            termination: None,
            flushing: Vec::new(),
            awaited: Vec::new(),
            command_logs: CommandLogs::default(),
            latency: LatencyMonitor::default(),
            clock: Clockwork::default(),
            stalled_micros: 0,
            monitors: Vec::new(),
            pause: None,
            pause_ended: false,
            run_id,
            replication_id,
            started: Now::default(),
            now: Now::default(),
            stream: Vec::new(),
            offset: 0,
            asks: Vec::new(),
            closes: Vec::new(),
            output_bytes: 0,
            pending: Vec::new(),
            resumed: VecDeque::new(),
            yielding: VecDeque::new(),
            current: None,
            deferred: Reply::new(Protocol::Resp2),
            last_ticket: 0,
            http_seen: None,
        }
    }

    /// A request that a browser may have been talked into sending: the connection is closed, and nothing behind it is
    /// run.
    pub fn cut_off_http(&mut self, id: ClientId) {
        let (now, addr) = (self.now.mono, &self.clients[id].peer.addr);
        if self.http_seen.is_none_or(|seen| now.ms_since(seen) > HTTP_REPORT_MS) {
            let text = format!(
                "Possible SECURITY ATTACK: {addr} has sent a request of HTTP (POST or Host:), as a web page does that \
                 wants to reach this server through the browser of somebody who may. Its connection is closed."
            );
            self.http_seen = Some(now);
            self.log(LogLevel::Warning, text);
        }
        self.close_now(id);
    }

    /// A number for an ask that is answered by a report.
    pub fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Writes a line to the host's log.
    pub fn log(&mut self, level: LogLevel, text: impl Into<String>) {
        self.asks.push(Ask::Log { level, text: text.into() });
    }

    /// Keeps an output buffer for whoever has something to say next.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        let bytes = self.spare_bytes + buffer.capacity();
        if (1..=SPARE_BYTES).contains(&buffer.capacity()) && self.spare.len() < SPARES && bytes <= SPARES_BYTES {
            self.spare_bytes = bytes;
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// A buffer that was kept, or an empty one.
    #[inline]
    pub fn spare_buffer(&mut self) -> Vec<u8> {
        let buffer = self.spare.pop().unwrap_or_default();
        self.spare_bytes -= buffer.capacity();
        buffer
    }

    /// Frees the output buffers that are only there to be used again.
    pub fn drop_spare_buffers(&mut self) {
        self.spare.clear();
        self.spare_bytes = 0;
    }

    /// Keeps none of what is only there to be used again.
    pub fn drop_spares(&mut self) {
        (self.spare, self.spare_bytes) = (Vec::new(), 0);
        self.batch = Batch::default();
    }

    /// Leaves the rest of what a client has sent to the next tick.
    pub fn let_others_first(&mut self, id: ClientId) {
        if let Some(client) = self.clients.find_mut(id).filter(|client| !client.yielding) {
            client.yielding = true;
            self.yielding.push_back(id);
        }
    }

    /// Notes that a client has something to hand out.
    pub fn mark_pending(&mut self, id: ClientId) {
        let client = &mut self.clients[id];
        if !client.pending {
            client.pending = true;
            self.pending.push(id);
        }
    }

    /// Sends a client something that it did not ask for just now. To the client whose command is being
    /// run it goes after the reply.
    pub fn push_to(&mut self, id: ClientId, write: impl FnOnce(&mut Reply)) {
        let Some(client) = self.clients.find_mut(id) else { return };
        if client.doomed || client.closing || (client.reply_mode == ReplyMode::Off && !client.is_subscriber()) {
            return;
        }
        if self.current == Some(id) {
            self.deferred.protocol = client.reply.protocol;
            return write(&mut self.deferred);
        }
        write(&mut client.reply);
        self.mark_pending(id);
        self.check_output_limit(id);
        self.weigh(id);
    }

    /// Counts the memory of a client anew, and makes room if all clients take more than they may.
    pub fn weigh(&mut self, id: ClientId) {
        let limit = self.config.maxmemory_clients.bytes(self.config.maxmemory);
        if limit == 0 {
            return;
        }
        let Some(client) = self.clients.find_mut(id) else { return };
        let bytes = if client.no_evict || client.doomed { 0 } else { client.memory_bytes() };
        let before = std::mem::replace(&mut client.weighed, bytes);
        self.client_bytes = (self.client_bytes + bytes as u64).saturating_sub(before as u64);
        if self.client_bytes > limit {
            self.evict_clients();
        }
    }

    /// Closes the largest clients while all of them together are over `maxmemory-clients`.
    pub fn evict_clients(&mut self) {
        let limit = self.config.maxmemory_clients.bytes(self.config.maxmemory);
        if limit == 0 {
            return;
        }
        let mut sizes: Vec<(usize, ClientId)> = Vec::new();
        for client in self.clients.iter_mut() {
            client.weighed = if client.no_evict || client.doomed { 0 } else { client.memory_bytes() };
            if client.weighed > 0 {
                sizes.push((client.weighed, client.handle));
            }
        }
        self.client_bytes = sizes.iter().map(|(bytes, _)| *bytes as u64).sum();
        if self.client_bytes <= limit {
            return;
        }
        sizes.sort_unstable();
        while self.client_bytes > limit
            && let Some((bytes, id)) = sizes.pop()
        {
            self.client_bytes -= bytes as u64;
            self.clients[id].weighed = 0;
            self.stats.evicted_clients += 1;
            let text = format!("Evicting client: id={} tot-mem={bytes}", self.clients[id].id);
            self.close_now(id);
            self.log(LogLevel::Notice, text);
        }
    }

    /// How many are connected. The loader is a client to the engine, but nobody is connected.
    pub fn connected_clients(&self) -> usize {
        self.clients.len() - usize::from(self.persistence.loading.is_some())
    }

    /// The pause in force, if its time has not run out.
    pub fn active_pause(&self) -> Option<Pause> {
        self.pause.filter(|pause| pause.until > self.now.mono)
    }

    /// Takes a client out of everything that knows it: waits, watched keys, channels, monitors.
    pub fn detach(&mut self, keys: &mut Keyspace, id: ClientId) {
        let Some(client) = self.clients.find_mut(id) else { return };
        if let Some(blocked) = client.blocked.take() {
            self.blocking.leave(keys, id, &blocked);
        }
        transaction::unwatch(keys, client);
        pubsub::forget(&mut self.pubsub, client);
        self.monitors.retain(|monitor| *monitor != id);
    }

    /// Closes a client after what it has been sent so far is out.
    pub fn close_after_reply(&mut self, id: ClientId) {
        if let Some(client) = self.clients.find_mut(id) {
            client.closing = true;
            self.mark_pending(id);
        }
    }

    /// Closes a client at once; what it has not been sent yet is dropped.
    pub fn close_now(&mut self, id: ClientId) {
        if let Some(client) = self.clients.find_mut(id) {
            if !std::mem::replace(&mut client.doomed, true) {
                self.doomed_bytes += client.unsent;
            }
            // The memory is wanted at once, not when the socket is closed.
            (client.reply.buf, client.query) = (Vec::new(), Vec::new());
            self.mark_pending(id);
        }
    }

    /// What a client's class may leave unsent.
    pub fn output_limit(&self, id: ClientId) -> OutputLimit {
        let limits = &self.config.client_output_buffer_limit;
        let pubsub = self.clients.find(id).is_some_and(|client| client.is_subscriber() && !client.is_monitor);
        if pubsub { limits.pubsub } else { limits.normal }
    }

    /// Closes a client whose unsent replies are more than its class may have.
    pub fn check_output_limit(&mut self, id: ClientId) {
        let (now, limit) = (self.now.mono, self.output_limit(id));
        let password = !self.config.requirepass.is_empty();
        let Some(client) = self.clients.find_mut(id) else { return };
        let bytes = client.output_bytes() as u64;
        let soft = limit.soft_bytes > 0 && bytes >= limit.soft_bytes;
        let since = match (soft, client.over_soft_limit) {
            (true, None) => {
                client.over_soft_limit = Some(now);
                now
            }
            (true, Some(since)) => since,
            (false, _) => {
                client.over_soft_limit = None;
                now
            }
        };
        let stranger = password && !client.authenticated && bytes > UNAUTHENTICATED_REPLY_BYTES;
        let too_long = soft && now.ms_since(since) >= limit.soft_seconds.saturating_mul(1000);
        if !client.doomed && ((limit.hard_bytes > 0 && bytes >= limit.hard_bytes) || too_long || stranger) {
            self.stats.output_limit_disconnections += 1;
            let text =
                format!("Client id={} scheduled to be closed ASAP for overcoming of output buffer limits.", client.id);
            self.close_now(id);
            self.log(LogLevel::Warning, text);
        }
    }

    /// Refuses a dangerous command (DEBUG) to those whom `enable-debug-command` does not let.
    pub fn check_protected(&self, id: ClientId, spec: &Spec) -> Result<(), Error> {
        if self.config.enable_debug_command.permits(self.clients[id].peer.local) {
            return Ok(());
        }
        Err(Error::new(format!(
            "ERR {} command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a \
             local connection, otherwise you need to set this option in the configuration file, and then restart the \
             server.",
            spec.name.to_uppercase()
        )))
    }
}
