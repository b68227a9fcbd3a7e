//! `io-threads`: threads that read, parse and write for connections, beside the one that owns the engine.
//!
//! `io-threads N` counts the main thread, as in Redis: N - 1 are started here, and each connection belongs to the one
//! that had the fewest when it came. [`io`]: such a thread. [`mail`]: what goes back and forth. [`room`]: who runs the
//! engine. With `io-threads 1` none of this exists, and the main thread does everything ([`pump`](super::pump)).
//! Redis' counterpart: `iothread.c`; Valkey's: `io_threads.c`.
//!
//! # How it goes
//!
//! An io thread reads what its ready connections have sent into one buffer, cuts it into requests, finds their rows in
//! the command table and hashes their keys, which needs no engine ([`Reader`]). All of that is one [`Delivery`]:
//! one pointer to hand over, one wake at most, however many clients and requests are in it. The engine runs all
//! deliveries there are, is drained once, the log is stored, and each thread gets its replies in one
//! [`Parcel`]; its delivery comes back in it to be filled again, and only then is more read of those clients.
//! Replies that wait for `appendfsync always` are held here and not on the threads.
//!
//! # What the stages cost
//!
//! GET of 100 thousand keys, 50 connections, of one thread's processor time per request (`perf record -g` of a release
//! build, samples sorted by system call and by module; two cores shared with the generator and with others, so read
//! the columns as shares; as a whole it is 0.49 µs at 16 requests in a pipeline and 7 µs at one without a profiler):
//!
//! | nanoseconds | pipeline 1 | 16 | 64 |
//! |---|---|---|---|
//! | read: `recv` and its way into the kernel | 750 | 65 | 15 |
//! | parse: cut, command row, hash | 107 | 27 | 16 |
//! | run: lookup, command, reply encoded | 695 | 230 | 148 |
//! | write: `send`, which on loopback is also the other side's receiving | 5293 | 318 | 82 |
//! | wait: `epoll`, going to sleep and waking | 1483 | 94 | 21 |
//! | the loop: tokio, lists, counting, what is left | 740 | 53 | 13 |
//! | **all** | **9068** | **787** | **295** |
//! | of it only the engine can do | 8 % | 29 % | 50 % |
//!
//! A hop costs more than any of these stages: two threads wake each other, 4 to 5 µs of processor time for one piece of
//! input and its replies (measured with a version that always hopped: 134 → 79 thousand requests per CPU-second at
//! pipeline 1, 1.82 → 1.26 million at 16). That is a dozen small commands. Hence the room: an io thread with little in
//! its hands goes to the engine itself, for the price of a free lock, and is then what `io-threads 1` is; a hop is made
//! from [`io::WORTH_A_WAKE`] requests on, or when two threads want the engine at once, which is when there is something
//! to gain; with one or two cores only in the latter case (with clients on the same two cores, hopping lost 5 % at 64
//! requests in a pipeline). Then its cost is spread over hundreds of requests, and while the main thread is busy nobody
//! makes a system call to wake it at all. With it the table's sums are 8.6 µs and 775 ns with `io-threads 2`: nothing
//! is lost.
//!
//! # How far it goes
//!
//! The engine's work is done by one thread at a time (Amdahl's law). With `e` its time per request and `i` the rest,
//! T io threads give min(1/e, T/i): beyond T = i/e more threads do nothing.
//!
//! | | i/e: io threads that keep the engine busy | limit over one thread |
//! |---|---|---|
//! | pipeline 1 | 12 | 13 times |
//! | pipeline 16 | 2 to 3 | 3.4 times |
//! | pipeline 64 | 1 | 2 times |
//!
//! Hops take something off that. The version that always hopped spent 0.5 to 0.7 µs on each wake, and its engine ran
//! 1065 ns instead of 695 at pipeline 1, since what it works on was last touched by another core (at 16: 233 instead of
//! 230). So without pipelines the limit is nearer to 8 times than 13, on about as many io threads. On 16 cores, then:
//! without pipelines `io-threads 9` or 10 is where it stops, near a million requests a second; with pipelines of 16
//! `io-threads 4`; what comes after is the engine's own speed. Values of many KiB move the balance to the io
//! threads, as copying them to and from the kernel is theirs; commands that work long (ranges, unions, sorts) move it
//! to the engine, where threads do not help. *Not* measured: more than two cores. These limits are reckoned from the
//! figures above; the network of a real machine writes cheaper than loopback, where `send` does the receiver's work
//! too, so they are rather too high than too low at pipeline 1.
//!
//! # When not to use it
//!
//! With one or two cores, or while the main thread has time to spare (`used_cpu_*_main_thread` of INFO): nothing is
//! gained that one thread does not give, and memory that one thread has allocated may be freed by another.
//! With deep pipelines of heavy commands. And never more threads than cores less one: the engine's thread waits for
//! none of them, but shares the cores with all.

pub mod io;
pub mod mail;
pub mod room;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::engine::batch::{Reader, Receipt};
use crate::engine::client::{ClientId, Peer};
use crate::engine::host::Report;
use crate::engine::time::Now;
use crate::engine::{Engine, Outbox};

use super::connection::Stream;
use super::log::in_words;
use super::ready::Flag;
use io::IoThread;
use mail::{Delivery, Event, Parcel, Pigeonhole, Socket};
use room::Room;

/// Requests whose memory is asked for together: more push each other out of the cache.
const FETCHED_TOGETHER: u32 = 16;

/// An io thread as the engine's thread knows it.
struct Worker {
    handle: Option<JoinHandle<()>>,
    pigeonhole: Arc<Pigeonhole>,
    mail: Arc<Flag>,
    /// What is for it since this turn began.
    parcel: Parcel,
    /// Connections it has.
    connections: usize,
}

/// A connection of an io thread.
struct Remote {
    /// The index of its thread.
    worker: usize,
    /// Its client, until the engine has forgotten it.
    client: Option<ClientId>,
    /// Replies that wait until the stream is stored up to an offset.
    held: VecDeque<(u64, Vec<u8>)>,
    /// Its thread has been told to close it: that is done once.
    leaving: bool,
}

/// The io threads, and the connections they have.
pub struct Threads {
    workers: Vec<Worker>,
    room: Arc<Room>,
    /// What io threads read requests with.
    reader: Reader,
    remotes: Vec<Option<Remote>>,
    free: Vec<u32>,
    /// Where the connection of a client is, by [`ClientId::index`].
    slots: Vec<u32>,
    /// Connections with replies that wait for the log, by the offset they wait for.
    held: VecDeque<(u64, u32)>,
    deliveries: Vec<Delivery>,
    /// Those of a delivery that are run together.
    receipts: Vec<Receipt>,
    /// Clients that let others go first, and their connections: of those nothing more is read meanwhile.
    yielding: Vec<(ClientId, u32)>,
}

/// A thread that panics leaves its clients without a server: better none for all.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

fn start(number: usize, reader: Reader, room: Arc<Room>) -> Result<Worker, String> {
    let fail = |error: std::io::Error| format!("Cannot start io thread {number}: {}", in_words(&error));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(fail)?;
    let pigeonhole = Arc::new(Pigeonhole::default());
    let mut thread = IoThread::new(number, reader, pigeonhole.clone(), room);
    let mail = thread.mail();
    let work = move || {
        let _guard = AbortOnPanic;
        runtime.block_on(tokio::task::unconstrained(std::future::poll_fn(|cx| thread.turn(cx))));
    };
    let handle = std::thread::Builder::new().name(format!("io_thd_{number}")).spawn(work).map_err(fail)?;
    Ok(Worker { handle: Some(handle), pigeonhole, mail, parcel: Parcel::default(), connections: 0 })
}

impl Threads {
    /// Starts as many threads as `io-threads` says, less the one that owns the engine; `None` for none. They
    /// raise `flag`.
    ///
    /// # Errors
    /// In words: the system has no more threads.
    pub fn start(engine: &Engine, flag: &Arc<Flag>) -> Result<Option<Threads>, String> {
        let (count, reader) = (engine.config().io_threads as usize, engine.reader());
        if count == 1 {
            return Ok(None);
        }
        let room = Arc::new(Room::new(flag.clone()));
        let workers: Result<Vec<Worker>, String> =
            (1..count).map(|number| start(number, reader, room.clone())).collect();
        Ok(Some(Threads {
            workers: workers?,
            room,
            reader,
            remotes: Vec::new(),
            free: Vec::new(),
            slots: Vec::new(),
            held: VecDeque::new(),
            deliveries: Vec::new(),
            receipts: Vec::new(),
            yielding: Vec::new(),
        }))
    }

    /// Where the engine is to be.
    pub fn room(&self) -> Arc<Room> {
        self.room.clone()
    }

    // ---- Inputs ----

    /// Somebody has connected: the thread with the fewest connections gets this one.
    pub fn welcome(&mut self, engine: &mut Engine, now: Now, stream: Stream, mut peer: Peer) -> std::io::Result<()> {
        let socket = Socket::detach(stream)?;
        let fewest = self.workers.iter().enumerate().min_by_key(|(_, worker)| worker.connections);
        let worker = fewest.map_or(0, |(index, _)| index);
        peer.io_thread = worker as u32 + 1;
        let client = engine.connect(now, peer);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.remotes.push(None);
            self.remotes.len() as u32 - 1
        });
        self.remotes[slot as usize] =
            Some(Remote { worker, client: Some(client), held: VecDeque::new(), leaving: false });
        self.workers[worker].connections += 1;
        self.workers[worker].parcel.adopted.push((slot, socket));
        let index = client.index();
        if index >= self.slots.len() {
            self.slots.resize(index + 1, u32::MAX);
        }
        self.slots[index] = slot;
        Ok(())
    }

    /// Takes everything that io threads have delivered and feeds it to the engine.
    pub fn feed(&mut self, engine: &mut Engine, now: Now, outbox: &mut Outbox) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        self.room.counter.take(&mut deliveries);
        for mut delivery in deliveries.drain(..) {
            for (slot, bytes) in delivery.sent.drain(..) {
                if let Some(client) = self.remotes[slot as usize].as_ref().and_then(|remote| remote.client) {
                    engine.report(now, Report::Sent { client, bytes });
                }
            }
            outbox.spare.append(&mut delivery.spare);
            self.run(engine, now, &mut delivery);
            if !self.yielding.is_empty() {
                let yields = |slot: &u32| self.yielding.iter().any(|(_, yielding)| yielding == slot);
                delivery.events.retain(|(slot, event)| !matches!(event, Event::Bytes { .. }) || !yields(slot));
            }
            let worker = delivery.thread - 1;
            self.workers[worker].parcel.returned.push(delivery);
        }
        self.deliveries = deliveries;
    }

    /// Has the engine run what a delivery brings, in its order; the memory that some requests will look at is asked
    /// for before the first of them runs.
    fn run(&mut self, engine: &mut Engine, now: Now, delivery: &mut Delivery) {
        let Delivery { events, bytes, parsed, .. } = delivery;
        let mut events = events.iter().peekable();
        while events.peek().is_some() {
            let mut receipts = std::mem::take(&mut self.receipts);
            let enough = |receipts: &[Receipt]| match receipts {
                [first, .., last] => last.requests.end - first.requests.start >= FETCHED_TOGETHER,
                _ => false,
            };
            while let Some((slot, Event::Bytes { bytes, requests })) = events.peek()
                && !enough(&receipts)
            {
                if let Some(client) = self.remotes[*slot as usize].as_ref().and_then(|remote| remote.client) {
                    receipts.push(Receipt { client, bytes: bytes.clone(), requests: requests.clone() });
                }
                events.next();
            }
            if receipts.len() > 1 {
                engine.fetch(bytes, &receipts, parsed);
            }
            for Receipt { client, bytes: range, requests } in receipts.drain(..) {
                engine.receive_parsed(now, client, &bytes[range], parsed, requests);
                if engine.is_yielding(client)
                    && let Some(slot) = self.slot_of(client)
                {
                    self.yielding.push((client, slot));
                }
            }
            self.receipts = receipts;
            match events.next_if(|(_, event)| !matches!(event, Event::Bytes { .. })) {
                Some((slot, Event::End)) => self.end(engine, now, *slot),
                Some((slot, Event::Gone)) => self.hang_up(engine, now, *slot),
                Some((slot, Event::Closed)) => self.closed(*slot),
                _ => {}
            }
        }
    }

    fn end_client(&mut self, engine: &mut Engine, now: Now, slot: u32) {
        if let Some(remote) = &mut self.remotes[slot as usize]
            && let Some(client) = remote.client.take()
        {
            engine.disconnect(now, client);
        }
    }

    /// The other side sends nothing any more: its client goes, what is to be written stays.
    fn end(&mut self, engine: &mut Engine, now: Now, slot: u32) {
        self.end_client(engine, now, slot);
        self.close_if_released(slot);
    }

    /// The other side has gone.
    fn hang_up(&mut self, engine: &mut Engine, now: Now, slot: u32) {
        self.end_client(engine, now, slot);
        self.drop_slot(slot);
    }

    fn closed(&mut self, slot: u32) {
        if let Some(remote) = self.remotes[slot as usize].take() {
            self.workers[remote.worker].connections -= 1;
            self.free.push(slot);
        }
    }

    // ---- Outputs ----

    fn slot_of(&self, client: ClientId) -> Option<u32> {
        let slot = *self.slots.get(client.index())?;
        let remote = self.remotes.get(slot as usize)?.as_ref()?;
        (remote.client == Some(client)).then_some(slot)
    }

    /// Has `bytes` written, when the stream is stored up to `hold`.
    pub fn send(&mut self, client: ClientId, bytes: Vec<u8>, hold: Option<u64>) {
        let Some(slot) = self.slot_of(client) else { return };
        let Some(remote) = &mut self.remotes[slot as usize] else { return };
        match hold {
            Some(offset) => {
                remote.held.push_back((offset, bytes));
                self.held.push_back((offset, slot));
            }
            None => self.workers[remote.worker].parcel.sends.push((slot, bytes)),
        }
    }

    /// Lets go of the replies that waited for what is stored now.
    pub fn release(&mut self, safe: u64) {
        while let Some((_, slot)) = self.held.pop_front_if(|(offset, _)| *offset <= safe) {
            let Some(remote) = &mut self.remotes[slot as usize] else { continue };
            let sends = &mut self.workers[remote.worker].parcel.sends;
            while let Some((_, bytes)) = remote.held.pop_front_if(|(offset, _)| *offset <= safe) {
                sends.push((slot, bytes));
            }
            if remote.client.is_none() {
                self.close_if_released(slot);
            }
        }
    }

    /// Closes all connections with replies that wait. How many replies.
    pub fn send_away(&mut self, engine: &mut Engine, now: Now) -> usize {
        let held = std::mem::take(&mut self.held);
        for (_, slot) in &held {
            // Another connection may be there by now.
            if self.remotes[*slot as usize].as_ref().is_some_and(|remote| !remote.held.is_empty()) {
                self.hang_up(engine, now, *slot);
            }
        }
        held.len()
    }

    /// Closes a client that the engine has forgotten, once what it was sent is out.
    pub fn close(&mut self, client: ClientId) {
        let Some(slot) = self.slot_of(client) else { return };
        if let Some(remote) = &mut self.remotes[slot as usize] {
            remote.client = None;
        }
        self.close_if_released(slot);
    }

    /// Closes a client that the engine has forgotten at once.
    pub fn cut_off(&mut self, client: ClientId) {
        let Some(slot) = self.slot_of(client) else { return };
        if let Some(remote) = &mut self.remotes[slot as usize] {
            remote.client = None;
        }
        self.drop_slot(slot);
    }

    fn close_if_released(&mut self, slot: u32) {
        if let Some(remote) = &mut self.remotes[slot as usize]
            && remote.held.is_empty()
            && !std::mem::replace(&mut remote.leaving, true)
        {
            self.workers[remote.worker].parcel.closes.push(slot);
        }
    }

    fn drop_slot(&mut self, slot: u32) {
        if let Some(remote) = &mut self.remotes[slot as usize]
            && !std::mem::replace(&mut remote.leaving, true)
        {
            remote.held.clear();
            self.workers[remote.worker].parcel.drops.push(slot);
        }
    }

    /// Has more read of clients that let others go first and have had their turn since.
    fn resume(&mut self, engine: &Engine) {
        self.yielding.retain(|&(client, slot)| {
            let still = engine.is_yielding(client);
            if !still && let Some(remote) = self.remotes[slot as usize].as_ref().filter(|it| it.client == Some(client))
            {
                let event = (slot, Event::Bytes { bytes: 0..0, requests: 0..0 });
                let worker = &mut self.workers[remote.worker];
                worker.parcel.returned.push(Delivery { events: vec![event], ..Delivery::default() });
            }
            still
        });
    }

    /// Hands each thread what this turn has brought for it. One without anything sleeps on; `own` is at work here,
    /// and looks by itself.
    pub fn hand_out(&mut self, engine: &Engine, own: Option<usize>) {
        self.resume(engine);
        let reader = engine.reader();
        let reader = (reader != std::mem::replace(&mut self.reader, reader)).then_some(reader);
        for (index, worker) in self.workers.iter_mut().enumerate() {
            worker.parcel.reader = reader.or(worker.parcel.reader);
            if worker.parcel.is_urgent() {
                worker.pigeonhole.put(&mut worker.parcel);
                if own != Some(index + 1) {
                    worker.mail.raise();
                }
            }
        }
    }

    /// Has every thread free what it only keeps to be used again.
    pub fn rest(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.parcel.rest = true);
    }

    /// Waits until every thread has written what its sockets take, and has ended.
    pub fn leave(&mut self) {
        for worker in &mut self.workers {
            worker.parcel.leave = true;
            worker.pigeonhole.put(&mut worker.parcel);
            worker.mail.raise();
        }
        for handle in self.workers.iter_mut().filter_map(|worker| worker.handle.take()) {
            let _ = handle.join();
        }
    }
}
