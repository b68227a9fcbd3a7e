//! The loop: everything that is ready is fed to the engine, then everything that is to leave is dealt with.
//!
//! One turn is one batch: inputs of all sources that the system reported at once, then one drain. What
//! leaves is stored before it is sent. Replies are written directly; what a socket does not take
//! stays with its connection, so a slow reader holds up nobody else. Redis' counterpart: `ae.c`,
//! `networking.c`, `beforeSleep`.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::net::{TcpStream, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::engine::client::{ClientId, Peer};
use crate::engine::config::ShutdownOptions;
use crate::engine::host::{Report, SnapshotKind, Ticket};
use crate::engine::time::{MonoTime, Now};
use crate::engine::{Engine, Outbox};

use super::alarm::Alarm;
use super::clock::{self, Clock};
use super::connection::{Connection, Read, Stream};
use super::inbox::{Inbox, READ_BYTES};
use super::listen::{self, Listener};
use super::log::{self, in_words};
use super::process;
use super::ready::{Flag, Ready, Token};
use super::storage::Storage;
use super::storage::load::{self, Loader, Plan, Progress};
use super::threads::Threads;
use super::threads::room::Room;

/// Replies that are sent before the turn is over: they are to be still in the cache then. With buffers kept for reuse
/// that made GET of 4 KiB 1.1 times as fast.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Connections accepted in one turn by one listener.
const ACCEPTS: usize = 1000;

/// Sources of events other than connections.
pub(super) struct Source {
    flag: Arc<Flag>,
    waker: Waker,
}

impl Source {
    fn new(ready: &Ready, token: Token) -> Source {
        let flag = ready.flag(token);
        let waker = Waker::from(flag.clone());
        waker.wake_by_ref();
        Source { flag, waker }
    }
}

/// Files of the process.
pub struct Files {
    /// The configuration file, or nothing.
    pub config: String,
    /// The file with the process id, or nothing.
    pub pid: Vec<u8>,
}

/// The signals that ask for an end in good order. To be had before anybody can know that there is a server: a signal
/// that nobody listens to ends the process at once.
pub struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    /// Listens to them from now on. Call it within the runtime.
    ///
    /// # Errors
    /// In words: signals cannot be received.
    pub fn listen() -> Result<Ends, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("Cannot listen to signals: {error}"));
        Ok(Ends { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }
}

/// The loop's state.
pub struct Pump {
    pub(super) engine: Engine,
    pub(super) storage: Storage,
    pub(super) loader: Option<Loader>,
    /// Who waits for something to be loaded again, and for what.
    pub(super) reloading: Option<(Ticket, SnapshotKind)>,
    pub(super) files: Files,
    /// Those that have the connections, if there are any.
    pub(super) threads: Option<Threads>,
    threads_source: Source,
    /// Connections with replies that wait for the log, by the offset they wait for.
    held: VecDeque<(u64, u32)>,
    storage_source: Source,
    clock: Clock,
    ready: Ready,
    tokens: Vec<Token>,
    pub(super) listeners: Vec<(Listener, Source)>,
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<u32>,
    /// Where the connection of a client is, by [`ClientId::index`].
    slots: Vec<u32>,
    pub(super) inbox: Inbox,
    /// There but while it is dealt with.
    outbox: Option<Box<Outbox>>,
    alarm: Alarm,
    /// When the alarm comes, unless that has passed.
    armed: MonoTime,
    timer_source: Source,
    signals: Source,
    ends: Ends,
    interrupted: bool,
    /// Accepting failed for want of something: try again with the next tick.
    starved: bool,
    pub(super) exit: Option<ExitCode>,
}

impl Pump {
    /// The loop around an engine. Call it within the runtime.
    ///
    /// # Errors
    /// Signals cannot be received, or threads cannot be started.
    pub fn new(
        mut engine: Engine,
        mut clock: Clock,
        listeners: Vec<Listener>,
        ends: Ends,
        plan: Plan,
        files: Files,
    ) -> Result<Pump, String> {
        let ready = Ready::default();
        let storage_source = Source::new(&ready, Token::Storage);
        let storage = Storage::start(storage_source.flag.clone())?;
        let loader = Loader::start(plan, None, &mut engine, clock.now(), storage_source.flag.clone(), storage.disk())?;
        let threads_source = Source::new(&ready, Token::Mail);
        let threads = Threads::start(&engine, &threads_source.flag)?;
        let timer_source = Source::new(&ready, Token::Timer);
        let alarm = Alarm::start(timer_source.flag.clone())?;
        let mut pump = Pump {
            engine,
            storage,
            loader: Some(loader),
            reloading: None,
            files,
            threads,
            threads_source,
            held: VecDeque::new(),
            storage_source,
            clock,
            tokens: Vec::new(),
            listeners: Vec::new(),
            connections: Vec::new(),
            free: Vec::new(),
            slots: Vec::new(),
            inbox: Inbox::default(),
            outbox: None,
            alarm,
            armed: MonoTime::default(),
            timer_source,
            signals: Source::new(&ready, Token::Signals),
            ends,
            interrupted: false,
            starved: false,
            exit: None,
            ready,
        };
        pump.set_listeners(listeners);
        Ok(pump)
    }

    /// Loads the log again, while clients are told -LOADING.
    pub(super) fn reload(&mut self, now: Now, ticket: Ticket, kind: SnapshotKind, flush: bool) {
        let plan = match kind {
            SnapshotKind::LogBase => self.storage.plan_again(&mut self.engine, now),
            SnapshotKind::Rdb => load::plan_snapshot_again(&**self.storage.disk(), self.engine.config()),
        };
        let started = plan.and_then(|plan| {
            let flag = self.storage_source.flag.clone();
            Loader::start(plan, Some(flush), &mut self.engine, now, flag, self.storage.disk())
        });
        match started {
            Ok(loader) => (self.loader, self.reloading) = (Some(loader), Some((ticket, kind))),
            Err(reason) => self.engine.report(now, Report::Done { ticket, result: Err(reason.into()) }),
        }
        self.storage_source.flag.raise();
    }

    /// Listens here from now on.
    pub(super) fn set_listeners(&mut self, listeners: Vec<Listener>) {
        let source = |at: usize| Source::new(&self.ready, Token::Listener(at as u32));
        self.listeners = listeners.into_iter().enumerate().map(|(at, listener)| (listener, source(at))).collect();
    }

    /// Says that the server is ready.
    fn announce(&mut self) {
        let config = self.engine.config();
        if self.listeners.iter().any(|(listener, _)| matches!(listener, Listener::Tcp(_))) {
            log::notice("Ready to accept connections tcp");
        }
        if self.listeners.iter().any(|(listener, _)| matches!(listener, Listener::Unix(..))) {
            log::notice("Ready to accept connections unix");
        }
        process::tell_ready(config.supervised);
        if log::is_terminal() {
            let (port, dir) = (config.port, String::from_utf8_lossy(&config.dir));
            let connect = match port {
                0 => format!("redis-cli -s {}", String::from_utf8_lossy(&config.unixsocket)),
                _ => format!("redis-cli -p {port}"),
            };
            println!();
            println!("  Haversack {}, at home on port {port}", env!("CARGO_PKG_VERSION"));
            println!("  Data folder:  {dir}");
            println!("  To connect:   {connect}");
            println!("  To stop:      Ctrl-C, or SHUTDOWN from a client");
            println!();
        }
    }

    /// One turn: everything that is ready. Ends with the exit code of the process.
    pub fn turn(&mut self, cx: &mut Context) -> Poll<ExitCode> {
        let mut tokens = std::mem::take(&mut self.tokens);
        self.ready.take(cx.waker(), &mut tokens);
        // An io thread has run the last command.
        if let Some(code) = self.exit {
            let now = self.clock.now();
            self.leave(now);
            return Poll::Ready(code);
        }
        let now = self.clock.now();
        let served = tokens.iter().any(|token| matches!(token, Token::Connection(_)));
        if served {
            self.storage.note_clients();
        }
        let mut told = false;
        for token in tokens.drain(..) {
            match token {
                Token::Connection(slot) => {
                    self.serve(now, slot);
                    if self.inbox.is_full() {
                        self.inbox.empty(&mut self.engine, now);
                        while self.engine.output_bytes() > OUTPUT_BYTES && self.dispatch(now) {}
                    }
                }
                Token::Listener(at) => self.accept(now, at as usize),
                Token::Signals => self.hear_signals(now),
                Token::Timer => {
                    self.timer_source.flag.rearm();
                    self.armed = MonoTime::default();
                }
                Token::Storage => {
                    self.storage_source.flag.rearm();
                    told = true;
                }
                Token::Mail => self.threads_source.flag.rearm(),
            }
        }
        self.tokens = tokens;
        self.inbox.empty(&mut self.engine, now);
        if let Some(threads) = &mut self.threads {
            threads.feed(&mut self.engine, now, self.outbox.get_or_insert_default());
        }
        if told {
            self.storage.hear(&mut self.engine, now);
        }
        let mut again = self.load(now);
        if self.engine.next_deadline().is_some_and(|deadline| deadline <= now.mono) {
            self.engine.tick(now);
            self.feed_starved();
        }
        while self.dispatch(now) {}
        if let Some(threads) = &mut self.threads {
            threads.hand_out(&self.engine, None);
        }
        if let Some(code) = self.exit {
            self.leave(now);
            return Poll::Ready(code);
        }
        // Those who have their replies are busy with them for a moment.
        let pulling = self.storage.pull_slice(&mut self.engine, now);
        again |= pulling;
        let ended = self.clock.now().mono;
        self.engine.end_turn(now.mono, ended);
        if pulling && !served {
            // Nobody waits for the engine, but somebody may wait for its core, which the system takes from one that never
            // rests only after milliseconds: some 30 of 3000 PINGs during a save took 3 ms or more, with this none to 4.
            std::thread::yield_now();
        }
        match again {
            true => cx.waker().wake_by_ref(),
            false => self.set_alarm(cx, ended),
        }
        if self.ready.rest() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// A turn on the io thread with this number, in the context of the main thread's runtime: what io threads have
    /// brought. Whatever else there is to do is the main thread's.
    pub(super) fn turn_aside(&mut self, number: usize) {
        let Some(threads) = &mut self.threads else { return };
        if self.exit.is_some() {
            return;
        }
        let now = self.clock.now();
        self.storage.note_clients();
        threads.feed(&mut self.engine, now, self.outbox.get_or_insert_default());
        while self.dispatch(now) {}
        if let Some(threads) = &mut self.threads {
            threads.hand_out(&self.engine, Some(number));
        }
        let ended = self.clock.now().mono;
        self.engine.end_turn(now.mono, ended);
        let due = self.deadline() < self.armed;
        if due || self.exit.is_some() || self.loader.is_some() {
            self.timer_source.flag.raise();
        }
    }

    /// The room that it is to be in, if there are io threads.
    pub fn room(&self) -> Option<Arc<Room>> {
        self.threads.as_ref().map(Threads::room)
    }

    /// A slice of loading, while there is something to load. True if there is more at hand.
    fn load(&mut self, now: Now) -> bool {
        let Some(loader) = &mut self.loader else { return false };
        match loader.slice(&mut self.engine, now) {
            Ok(Progress::More) => return true,
            Ok(Progress::Wait) => return false,
            Ok(Progress::Done(None)) => {}
            Ok(Progress::Done(Some(opened))) => {
                let (policy, bytes) = (self.engine.config().appendfsync, opened.bytes);
                let (offset, anew) = (self.engine.offset(), opened.part.is_none());
                self.engine.set_log_enabled(true);
                self.storage.open_log(*opened, offset, policy, now);
                if anew {
                    self.engine.start_log(now);
                } else {
                    // What the files bring is stored: a shutdown has nothing to wait for.
                    self.engine.report(now, Report::Stored { offset });
                    self.engine.report(now, Report::LogSize { bytes });
                }
            }
            Err(reason) => {
                log::warning(&reason);
                self.exit = Some(ExitCode::FAILURE);
            }
        }
        self.loader = None;
        match self.reloading.take() {
            Some((ticket, kind)) => {
                self.engine.report(now, Report::Done { ticket, result: Ok(()) });
                // The log says nothing of a snapshot that was loaded.
                if kind == SnapshotKind::Rdb && self.engine.is_logging() {
                    self.engine.rewrite_log(now);
                }
            }
            None if self.exit.is_none() => self.announce(),
            None => {}
        }
        if self.exit.is_none() {
            self.follow_appendonly(now);
        }
        false
    }

    /// When there is something to do even if nothing comes.
    fn deadline(&self) -> MonoTime {
        let deadlines = [self.engine.next_deadline(), self.storage.deadline()];
        deadlines.into_iter().flatten().min().unwrap_or(MonoTime::NEVER)
    }

    /// Sets the alarm for the next deadline. One that comes too early only costs a turn.
    fn set_alarm(&mut self, cx: &mut Context, now: MonoTime) {
        let deadline = self.deadline();
        if deadline <= now {
            return cx.waker().wake_by_ref();
        }
        if self.armed <= now || deadline < self.armed {
            self.armed = deadline;
            self.alarm.set(self.clock.instant(deadline));
        }
    }

    // ---- Inputs ----

    fn serve(&mut self, now: Now, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_deref_mut) else { return };
        connection.flag.rearm();
        match connection.flush() {
            Ok(0) => {}
            Ok(bytes) => {
                if let Some(client) = connection.client {
                    self.engine.report(now, Report::Sent { client, bytes });
                }
            }
            Err(_) => return self.hang_up(now, slot),
        }
        if connection.client.is_some_and(|client| self.engine.is_yielding(client)) {
            // What it sends on stays in its socket.
            return connection.flag.raise();
        }
        match connection.read(self.inbox.room()) {
            Read::Nothing => {}
            Read::Bytes(read, more) => {
                if let Some(client) = connection.client {
                    self.inbox.receive(client, read, self.engine.reader());
                }
                // After the others; an end after the replies to what came before it.
                if more {
                    connection.flag.raise();
                }
            }
            Read::End => {
                self.end_client(now, slot);
                return self.close_if_flushed(slot);
            }
        }
        if self.connections[slot as usize].as_ref().is_some_and(|connection| connection.client.is_none()) {
            self.close_if_flushed(slot);
        }
    }

    /// The other side sends nothing any more: its client goes, what is to be written stays.
    fn end_client(&mut self, now: Now, slot: u32) {
        if let Some(connection) = &mut self.connections[slot as usize]
            && let Some(client) = connection.client.take()
        {
            self.engine.disconnect(now, client);
        }
    }

    /// The other side has gone.
    fn hang_up(&mut self, now: Now, slot: u32) {
        self.end_client(now, slot);
        self.close(slot);
    }

    fn close_if_flushed(&mut self, slot: u32) {
        if self.connections[slot as usize].as_ref().is_some_and(|connection| connection.is_flushed()) {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: u32) {
        if self.connections[slot as usize].take().is_some() {
            self.free.push(slot);
        }
    }

    fn accept(&mut self, now: Now, at: usize) {
        if let Some((_, source)) = self.listeners.get(at) {
            source.flag.rearm();
        }
        for _ in 0..ACCEPTS {
            let Some((listener, source)) = self.listeners.get(at) else { return };
            let mut cx = Context::from_waker(&source.waker);
            let keepalive = self.engine.config().tcp_keepalive;
            let accepted = match listener {
                Listener::Tcp(listener) => listener.poll_accept(&mut cx).map_ok(|(stream, addr)| {
                    listen::tune(&stream, keepalive);
                    let peer = tcp_peer(&stream, addr);
                    (Stream::Tcp(stream), peer)
                }),
                Listener::Unix(listener, path) => listener.poll_accept(&mut cx).map_ok(|(stream, _)| {
                    let peer = unix_peer(&stream, &path.to_string_lossy());
                    (Stream::Unix(stream), peer)
                }),
            };
            match accepted {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, peer))) => self.welcome(now, stream, peer),
                Poll::Ready(Err(error)) => {
                    log::warning(&format!("Accepting client connection: {}", in_words(&error)));
                    self.starved = true;
                    return;
                }
            }
        }
        if let Some((_, source)) = self.listeners.get(at) {
            source.waker.wake_by_ref();
        }
    }

    /// Listeners that could not accept try again.
    fn feed_starved(&mut self) {
        if std::mem::take(&mut self.starved) {
            for (_, source) in &self.listeners {
                source.waker.wake_by_ref();
            }
        }
    }

    fn welcome(&mut self, now: Now, stream: Stream, peer: Peer) {
        if let Some(threads) = &mut self.threads {
            if let Err(error) = threads.welcome(&mut self.engine, now, stream, peer) {
                log::warning(&format!("Handing a client to an io thread: {}", in_words(&error)));
            }
            return;
        }
        let client = self.engine.connect(now, peer);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() as u32 - 1
        });
        let flag = self.ready.flag(Token::Connection(slot));
        flag.raise();
        self.connections[slot as usize] = Some(Box::new(Connection::new(stream, Some(client), flag)));
        let index = client.index();
        if index >= self.slots.len() {
            self.slots.resize(index + 1, u32::MAX);
        }
        self.slots[index] = slot;
    }

    fn hear_signals(&mut self, now: Now) {
        self.signals.flag.rearm();
        let waker = self.signals.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(Some(())) = self.ends.interrupt.poll_recv(&mut cx) {
            if self.interrupted {
                log::warning("You insist... exiting now.");
                self.exit = Some(ExitCode::FAILURE);
                return;
            }
            self.interrupted = true;
            let options = self.engine.config().shutdown_on_sigint;
            self.terminate(now, "SIGINT", options);
        }
        while let Poll::Ready(Some(())) = self.ends.terminate.poll_recv(&mut cx) {
            let options = self.engine.config().shutdown_on_sigterm;
            self.terminate(now, "SIGTERM", options);
        }
    }

    fn terminate(&mut self, now: Now, name: &str, options: ShutdownOptions) {
        log::warning(&format!("Received {name} scheduling shutdown..."));
        if self.loader.is_some() {
            log::warning("Received while loading: exiting now, nothing is saved.");
            self.exit = Some(ExitCode::SUCCESS);
            return;
        }
        let save = match (options.save, options.nosave) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        self.engine.report(now, Report::Terminate { save, force: options.force });
    }

    // ---- Outputs ----

    /// Deals with everything that is to leave the engine. True if the engine has heard something since.
    fn dispatch(&mut self, now: Now) -> bool {
        let mut outbox = self.outbox.take().unwrap_or_default();
        self.engine.drain(&mut outbox);
        self.store(now, &mut outbox);
        let asked = !outbox.asks.is_empty();
        for ask in outbox.asks.drain(..) {
            self.answer(now, ask);
        }
        self.release(now);
        let hold = self.storage.holds();
        for (client, bytes) in outbox.sends.drain(..) {
            if let Some(buffer) = self.send(now, client, bytes, hold) {
                outbox.spare.push(buffer);
            }
        }
        self.engine.take_back(&mut outbox);
        for client in outbox.closes.drain(..) {
            if let Some(threads) = &mut self.threads {
                threads.close(client);
            } else if let Some(slot) = self.slot_of(client) {
                self.forget(slot);
                self.close_if_flushed(slot);
            }
        }
        for client in outbox.drops.drain(..) {
            if let Some(threads) = &mut self.threads {
                threads.cut_off(client);
            } else if let Some(slot) = self.slot_of(client) {
                self.close(slot);
            }
        }
        self.outbox = Some(outbox);
        asked && self.exit.is_none()
    }

    /// Hands the next bytes of the stream to the log. A new base of the log cuts them.
    fn store(&mut self, now: Now, outbox: &mut Outbox) {
        let began = (!outbox.append.is_empty()).then(clock::stopwatch_ns);
        let end = self.engine.offset();
        let replies = outbox.sends.len();
        self.storage.store(&mut self.engine, now, &outbox.append, &outbox.asks, end, replies);
        outbox.append.clear();
        outbox.append.shrink_to(READ_BYTES * 16);
        if let Some(began) = began {
            self.engine.note_storing(clock::stopwatch_ns().saturating_sub(began));
        }
    }

    /// Lets go of the replies that waited for what is stored now.
    fn release(&mut self, now: Now) {
        let safe = self.storage.safe();
        if let Some(threads) = &mut self.threads {
            threads.release(safe);
        }
        while let Some((_, slot)) = self.held.pop_front_if(|(offset, _)| *offset <= safe) {
            let Some(connection) = self.connections[slot as usize].as_deref_mut() else { continue };
            match connection.release(safe) {
                Ok(bytes) => {
                    if let Some(client) = connection.client {
                        self.engine.report(now, Report::Sent { client, bytes });
                    } else {
                        self.close_if_flushed(slot);
                    }
                }
                Err(_) => self.hang_up(now, slot),
            }
        }
        if self.storage.sends_away(now) {
            let held = std::mem::take(&mut self.held);
            for (_, slot) in &held {
                // Another connection may be there by now.
                if self.connections[*slot as usize].as_ref().is_some_and(|connection| connection.holds()) {
                    self.hang_up(now, *slot);
                }
            }
            let threaded = self.threads.as_mut().map_or(0, |threads| threads.send_away(&mut self.engine, now));
            let count = held.len() + threaded;
            if count > 0 {
                log::warning(&format!("Closing connections: {count} replies wait for a log that cannot be stored"));
            }
        }
    }

    fn slot_of(&self, client: ClientId) -> Option<u32> {
        let slot = *self.slots.get(client.index())?;
        let connection = self.connections.get(slot as usize)?.as_ref()?;
        (connection.client == Some(client)).then_some(slot)
    }

    fn forget(&mut self, slot: u32) {
        if let Some(connection) = &mut self.connections[slot as usize] {
            connection.client = None;
        }
    }

    fn send(&mut self, now: Now, client: ClientId, bytes: Vec<u8>, hold: Option<u64>) -> Option<Vec<u8>> {
        if let Some(threads) = &mut self.threads {
            threads.send(client, bytes, hold);
            return None;
        }
        let slot = self.slot_of(client)?;
        let connection = self.connections[slot as usize].as_deref_mut()?;
        if let Some(offset) = hold {
            connection.hold(offset, bytes);
            self.held.push_back((offset, slot));
            return None;
        }
        match connection.send(bytes) {
            Ok((bytes, spare)) => {
                if bytes > 0 {
                    self.engine.report(now, Report::Sent { client, bytes });
                }
                spare
            }
            Err(_) => {
                self.hang_up(now, slot);
                None
            }
        }
    }
}

fn tcp_peer(stream: &TcpStream, addr: std::net::SocketAddr) -> Peer {
    use std::os::fd::AsRawFd;
    Peer {
        addr: addr.to_string(),
        laddr: stream.local_addr().map(|addr| addr.to_string()).unwrap_or_default(),
        fd: stream.as_raw_fd(),
        unix_socket: false,
        local: addr.ip().is_loopback(),
        ..Peer::default()
    }
}

fn unix_peer(stream: &UnixStream, path: &str) -> Peer {
    use std::os::fd::AsRawFd;
    let addr = format!("{path}:0");
    Peer { laddr: addr.clone(), addr, fd: stream.as_raw_fd(), unix_socket: true, local: true, ..Peer::default() }
}
