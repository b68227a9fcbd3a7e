//! The loop around one engine: inputs go in, what comes out is stored, then sent.
//!
//! Everything enters through [`Home::enter`]: it lends the state out once, never twice at a time; deals
//! with what is to leave; sets the one timer; and only then writes to the console or wakes the page, when
//! nothing is lent any more. Redis' counterpart: `ae.c`, `beforeSleep`.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use js_sys::Function;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::IdbDatabase;

use crate::engine::client::{ClientId, Peer};
use crate::engine::config::AppendFsync;
use crate::engine::host::{Ask, LogLevel, Refusal, Report, SnapshotKind};
use crate::engine::time::{MonoTime, Now};
use crate::engine::{Engine, Outbox};

use super::held::{self, Held, Waiting};
use super::store::Store;
use super::{clock, compact, failure};

/// A connection: what it is to take, and the client it is to the engine.
#[derive(Default)]
struct Connection {
    /// `None` once the engine has closed it.
    client: Option<ClientId>,
    /// Bytes to take.
    out: Vec<u8>,
    /// Bytes that came while the engine was stalled.
    kept: Vec<u8>,
}

/// How safe the data are, as far as somebody may want to be told of it.
#[derive(PartialEq)]
struct Standing {
    durable: bool,
    error: Option<String>,
    generation: u64,
    policy: AppendFsync,
}

/// Everything about one open database.
pub struct State {
    /// The engine.
    pub engine: Engine,
    /// Where its log goes; `None` for a database in memory.
    pub store: Option<Store>,
    /// What loading had to report.
    pub recovered: Option<String>,
    /// Why the database is in memory although it was to be stored.
    pub unavailable: Option<String>,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    /// The connection of a client, by [`ClientId::index`].
    slots: Vec<u32>,
    outbox: Outbox,
    held: Waiting,
    /// Replies wait for the snapshot under way to have less put aside: for so many turns of the page at most, and when
    /// the next of them has passed.
    gives_way: Option<(u32, MonoTime)>,
    logs: Vec<(LogLevel, String)>,
    wake: Option<Function>,
    /// Who is told that the status is another, and which one it was told of last.
    watcher: Option<Function>,
    told: Option<Standing>,
    /// There is something to take that the page has not been told of.
    ready: bool,
    /// Answers were given to the engine that may have made it say more.
    again: bool,
    /// No commands before then (DEBUG SLEEP).
    stalled_until: Option<MonoTime>,
    /// SHUTDOWN: nothing is taken any more.
    exited: bool,
    timer: Option<(JsValue, MonoTime)>,
}

/// The callbacks that the browser holds while the database is open.
struct Callbacks {
    timer: Closure<dyn FnMut()>,
    wake: Closure<dyn FnMut()>,
    flush: Closure<dyn FnMut()>,
}

/// An open database: the state, and the way into it.
pub struct Home {
    state: RefCell<Option<State>>,
    callbacks: Callbacks,
    database: RefCell<Vec<Closure<dyn FnMut()>>>,
    waking: Cell<bool>,
    flushing: Cell<bool>,
    /// What the browser holds for us, outside of the state, so that a panic can let go of it.
    armed: RefCell<Option<JsValue>>,
    opened: RefCell<Option<IdbDatabase>>,
}

thread_local! {
    static HOMES: RefCell<Vec<Weak<Home>>> = const { RefCell::new(Vec::new()) };
}

/// The module has panicked: no timer shall call it any more, and the databases are closed, so that they can be
/// opened again or deleted. Transactions under way complete.
pub fn let_go() {
    HOMES.with(|homes| {
        let Ok(homes) = homes.try_borrow() else { return };
        for home in homes.iter().filter_map(Weak::upgrade) {
            if let Ok(Some(timer)) = home.armed.try_borrow().as_deref() {
                clock::clear_timeout(timer);
            }
            if let Ok(Some(database)) = home.opened.try_borrow().as_deref() {
                database.set_onclose(None);
                database.set_onversionchange(None);
                database.close();
            }
        }
    });
}

impl Home {
    /// The loop around an engine that has been loaded.
    pub fn new(engine: Engine, store: Option<Store>) -> Rc<Home> {
        let state = State {
            engine,
            store,
            recovered: None,
            unavailable: None,
            connections: Vec::new(),
            free: Vec::new(),
            slots: Vec::new(),
            outbox: Outbox::default(),
            held: Waiting::default(),
            gives_way: None,
            logs: Vec::new(),
            wake: None,
            watcher: None,
            told: None,
            ready: false,
            again: false,
            stalled_until: None,
            exited: false,
            timer: None,
        };
        let home = Rc::new_cyclic(|weak: &Weak<Home>| {
            let callback = |call: fn(&Rc<Home>)| -> Closure<dyn FnMut()> {
                let weak = weak.clone();
                Closure::new(move || {
                    if let Some(home) = weak.upgrade().filter(|_| !failure::is_stopped()) {
                        call(&home);
                    }
                })
            };
            Home {
                state: RefCell::new(Some(state)),
                callbacks: Callbacks {
                    timer: callback(Home::on_timer),
                    wake: callback(Home::on_wake),
                    flush: callback(Home::on_flush),
                },
                database: RefCell::new(Vec::new()),
                waking: Cell::new(false),
                flushing: Cell::new(false),
                armed: RefCell::new(None),
                opened: RefCell::new(None),
            }
        });
        HOMES.with(|homes| {
            let mut homes = homes.borrow_mut();
            homes.retain(|home| home.strong_count() > 0);
            homes.push(Rc::downgrade(&home));
        });
        home
    }

    /// Does something to the state and deals with what comes of it. `None` if the database is closed.
    pub fn enter<T>(self: &Rc<Home>, act: impl FnOnce(&mut State, Now) -> T) -> Option<T> {
        if let Some(reason) = failure::stopped() {
            wasm_bindgen::throw_str(&format!("the engine stopped: {reason}"));
        }
        let mut lent = self.state.borrow_mut();
        let state = lent.as_mut()?;
        let now = clock::now();
        let result = act(state, now);
        self.deal(state, now);
        state.engine.end_turn(now.mono, clock::now().mono);
        let logs = std::mem::take(&mut state.logs);
        let wake = std::mem::take(&mut state.ready) && state.wake.is_some() && !self.waking.replace(true);
        let watcher = state.changed_standing();
        drop(lent);
        if let Some(watcher) = watcher {
            clock::queue_microtask(&watcher);
        }
        if wake {
            clock::queue_microtask(self.callbacks.wake.as_ref().unchecked_ref());
        }
        logs.into_iter().for_each(|(level, text)| log(level, &text));
        Some(result)
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> Option<T> {
        self.state.try_borrow().ok().and_then(|state| state.as_ref().map(look))
    }

    /// Ends it: the engine and all it holds are freed.
    pub fn end(&self) {
        let state = self.state.borrow_mut().take();
        if let Some(state) = state {
            if let Some((timer, _)) = &state.timer {
                clock::clear_timeout(timer);
            }
            if let Some(database) = state.store.as_ref().and_then(|store| store.database.as_ref()) {
                database.set_onclose(None);
                database.set_onversionchange(None);
                database.close();
            }
        }
    }

    /// Keeps the listeners of the database, in place of those of an earlier one.
    pub fn keep(&self, database: &IdbDatabase, closed: Closure<dyn FnMut()>, yielded: Closure<dyn FnMut()>) {
        self.opened.replace(Some(database.clone()));
        // Earlier ones may be what is running now: they go with the next.
        let mut kept = self.database.borrow_mut();
        if kept.len() > 2 {
            kept.drain(..2);
        }
        kept.extend([closed, yielded]);
    }

    fn on_timer(self: &Rc<Home>) {
        self.enter(|state, now| {
            state.timer = None;
            if state.stalled_until.is_some_and(|until| until <= now.mono) {
                state.stalled_until = None;
                state.ready = true;
                state.feed_kept(now);
            }
            state.give_way(now);
            if state.stalled_until.is_none() && state.engine.next_deadline().is_some_and(|at| at <= now.mono) {
                state.engine.tick(now);
            }
        });
    }

    fn on_wake(self: &Rc<Home>) {
        self.waking.set(false);
        let wake = self.look(|state| state.wake.clone()).flatten();
        if let Some(wake) = wake {
            let _ = wake.call0(&JsValue::UNDEFINED);
        }
    }

    fn on_flush(self: &Rc<Home>) {
        self.flushing.set(false);
        self.enter(|state, now| self.flush_due(state, now));
    }

    // ---- What leaves ----

    /// Deals with everything that is to leave: stored first, then sent.
    fn deal(self: &Rc<Home>, state: &mut State, now: Now) {
        loop {
            state.again = false;
            let mut outbox = std::mem::take(&mut state.outbox);
            state.engine.drain(&mut outbox);
            let since = state.engine.offset() - outbox.append.len() as u64;
            self.append(state, now, &mut outbox);
            for ask in outbox.asks.drain(..) {
                self.answer(state, now, ask);
            }
            state.send(now, &mut outbox, since);
            state.outbox = outbox;
            if state.stalled_until.is_none() && state.engine.has_yielding() {
                // Nobody else can come before all of this has run, and a timer of a page in the background comes late.
                state.engine.tick(now);
            } else if !state.again {
                break;
            }
        }
        if state.gives_way.is_some() && state.engine.snapshot_excess() == 0 {
            state.stop_giving_way();
        }
        if state.patience_ends().is_some_and(|at| at <= now.mono) {
            state.answer_held(now);
        }
        // Not here but at the end of the running task: everything that the page writes in one go is stored in one go.
        if state.store.as_ref().is_some_and(|store| store.due(now)) && !self.flushing.replace(true) {
            clock::queue_microtask(self.callbacks.flush.as_ref().unchecked_ref());
        }
        self.set_timer(state, now);
    }

    /// Gives the stream to the store; where a new base is cut, the new generation begins.
    fn append(self: &Rc<Home>, state: &mut State, now: Now, outbox: &mut Outbox) {
        let Some(store) = &mut state.store else { return outbox.append.clear() };
        let begin = state.engine.offset() - outbox.append.len() as u64;
        let mut done = 0;
        for ask in &outbox.asks {
            if let Ask::StartSnapshot { kind: SnapshotKind::LogBase, at, .. } = ask {
                let cut = usize::try_from(at.saturating_sub(begin)).unwrap_or(0).min(outbox.append.len());
                if cut > done {
                    store.append(now, &outbox.append[done..cut]);
                    done = cut;
                }
                let chain = store.begin_generation();
                store.compaction = Some(compact::Compaction::new(chain));
                spawn_local(compact::run(self.clone()));
            }
        }
        if outbox.append.len() > done {
            store.append(now, &outbox.append[done..]);
        }
        outbox.append.clear();
    }

    fn answer(self: &Rc<Home>, state: &mut State, now: Now, ask: Ask) {
        match ask {
            Ask::Log { level, text } => state.logs.push((level, text)),
            Ask::StartSnapshot { kind: SnapshotKind::LogBase, .. } => {
                if state.store.is_none() {
                    state.report(now, Report::SnapshotFailed { reason: IN_MEMORY.to_owned() });
                }
            }
            // A snapshot on its own has no place here: base and log are the data, and are made durable.
            Ask::StartSnapshot { kind: SnapshotKind::Rdb, .. } => match &mut state.store {
                Some(store) => store.want_sync(),
                None => state.report(now, Report::SnapshotFailed { reason: IN_MEMORY.to_owned() }),
            },
            Ask::CancelSnapshot => {
                if let Some(store) = &mut state.store {
                    store.compaction = None;
                }
            }
            Ask::Configure { ticket, changes } => {
                let result = changes.iter().try_for_each(|(name, value)| {
                    state.configure(name, value).map_err(|text| Refusal { about: name, text })
                });
                state.report(now, Report::Done { ticket, result });
            }
            Ask::RewriteConfig { ticket, .. } => {
                let result = Err("The server is running without a config file".to_owned().into());
                state.report(now, Report::Done { ticket, result });
            }
            Ask::Sync => match &mut state.store {
                Some(store) => store.want_sync(),
                None => {
                    let offset = state.engine.offset();
                    state.report(now, Report::Stored { offset });
                }
            },
            // A module's memory never shrinks.
            Ask::GiveBack { ticket, .. } => state.report(now, Report::Done { ticket, result: Ok(()) }),
            Ask::Reload { ticket, .. } => {
                let result = Err("what is stored cannot be loaded again while the page is open".to_owned().into());
                state.report(now, Report::Done { ticket, result });
            }
            // Flushes are not waited for here.
            Ask::DelayLog { .. } => {}
            Ask::Stall { micros } => state.stalled_until = Some(now.mono.plus_ms(micros.div_ceil(1000))),
            Ask::Exit => state.exit(),
        }
    }

    /// Sets the timer for whatever is due first. One that is set too early only costs a turn.
    fn set_timer(&self, state: &mut State, now: Now) {
        if state.exited {
            return;
        }
        let engine = match state.stalled_until {
            Some(until) => Some(until),
            None => state.engine.next_deadline(),
        };
        let store = state.store.as_ref().and_then(Store::next_deadline);
        let Some(deadline) =
            engine.into_iter().chain(store).chain(state.patience_ends()).chain(state.gives_way.map(|(_, at)| at)).min()
        else {
            return;
        };
        match &state.timer {
            Some((_, armed)) if *armed <= deadline => return,
            Some((timer, _)) => clock::clear_timeout(timer),
            None => {}
        }
        let wait_ms = deadline.nanos.saturating_sub(now.mono.nanos).div_ceil(1_000_000).min(i32::MAX as u64);
        let timer = clock::set_timeout(self.callbacks.timer.as_ref().unchecked_ref(), wait_ms as f64);
        self.armed.replace(Some(timer.clone()));
        state.timer = Some((timer, deadline));
    }
}

/// Why SAVE and BGREWRITEAOF fail in memory.
const IN_MEMORY: &str = "this database is in memory only";

impl State {
    // ---- What the page does ----

    /// Somebody connects; `None` after SHUTDOWN.
    pub fn connect(&mut self, now: Now) -> Option<u32> {
        if self.exited {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() as u32 - 1
        });
        let addr = format!("127.0.0.1:{}", u64::from(slot) + 1);
        let peer =
            Peer { addr, laddr: "127.0.0.1:0".into(), fd: slot as i32, unix_socket: false, local: true, io_thread: 0 };
        let client = self.engine.connect(now, peer);
        self.connections[slot as usize] = Some(Connection { client: Some(client), ..Connection::default() });
        if client.index() >= self.slots.len() {
            self.slots.resize(client.index() + 1, u32::MAX);
        }
        self.slots[client.index()] = slot;
        Some(slot)
    }

    /// Bytes come from a connection.
    pub fn receive(&mut self, now: Now, slot: u32, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Some(client) = connection.client else { return };
        match self.stalled_until {
            Some(_) => connection.kept.extend_from_slice(bytes),
            None => self.engine.receive(now, client, bytes),
        }
    }

    /// What there is to take; `None` once the connection has ended, which frees its number.
    pub fn take<T>(&mut self, now: Now, slot: u32, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let place = self.connections.get_mut(slot as usize)?;
        let connection = place.as_mut()?;
        if connection.out.is_empty() && connection.client.is_none() {
            *place = None;
            self.free.push(slot);
            return None;
        }
        if self.stalled_until.is_some() {
            return Some(take(&[]));
        }
        let taken = take(&connection.out);
        let bytes = connection.out.len();
        if connection.out.capacity() > KEPT_BYTES {
            connection.out = Vec::new();
        }
        connection.out.clear();
        match connection.client {
            Some(client) if bytes > 0 => self.engine.report(now, Report::Sent { client, bytes }),
            Some(_) => {}
            // Its last bytes are taken: the end is still to be told.
            None => self.ready = true,
        }
        Some(taken)
    }

    /// The page ends a connection.
    pub fn disconnect(&mut self, now: Now, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot as usize).and_then(Option::take) else { return };
        self.free.push(slot);
        if let Some(client) = connection.client {
            self.engine.disconnect(now, client);
        }
    }

    /// Who is told that there is something to take.
    pub fn set_wake(&mut self, wake: Function) {
        self.wake = Some(wake);
        self.ready = true;
    }

    /// Who is told, on a later microtask, when the status is another.
    pub fn set_watcher(&mut self, watcher: Function) {
        self.watcher = Some(watcher);
        self.changed_standing();
    }

    /// Who is to be told that the status is another, if it is.
    fn changed_standing(&mut self) -> Option<Function> {
        let (watcher, store) = (self.watcher.as_ref()?, self.store.as_ref()?);
        let standing = Some(Standing {
            durable: store.is_durable(),
            error: store.error.clone(),
            generation: store.manifest.generation,
            policy: store.policy,
        });
        let watcher = watcher.clone();
        (std::mem::replace(&mut self.told, standing) != self.told).then_some(watcher)
    }

    fn feed_kept(&mut self, now: Now) {
        for slot in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[slot] else { continue };
            if let (Some(client), false) = (connection.client, connection.kept.is_empty()) {
                let kept = std::mem::take(&mut connection.kept);
                self.engine.receive(now, client, &kept);
            }
        }
    }

    // ---- Replies ----

    /// Sends what is at hand, or lets it wait; the stream has grown from the offset `since` with it.
    fn send(&mut self, now: Now, outbox: &mut Outbox, since: u64) {
        let end = self.engine.offset();
        // With `always`, what a reply may tell has to be stored before.
        let unstored = self.store.as_ref().is_some_and(|store| {
            store.policy == AppendFsync::Always
                && store.error.is_none()
                && (store.stored_offset() < end || store.is_rebasing())
        });
        let is_failing = self.store.as_ref().is_some_and(|store| store.error.is_some());
        let gives_way = !is_failing && self.engine.snapshot_excess() > 0;
        if gives_way && !outbox.sends.is_empty() {
            self.gives_way.get_or_insert((held::TURNS_GIVEN, now.mono.plus_ms(held::TURN_MS)));
        }
        let offset = if unstored { end } else { 0 };
        let hold = unstored || gives_way;
        for (client, bytes) in outbox.sends.drain(..) {
            if hold || self.held.has(client) {
                // One that has gone may have written.
                let confirms = end > since && self.engine.write_offset(client).is_none_or(|wrote| wrote > since);
                self.held.push(Held { offset, client, bytes, confirms, closes: false });
            } else {
                self.deliver(client, &bytes);
                outbox.spare.push(bytes);
            }
        }
        for client in outbox.closes.drain(..) {
            if hold || self.held.has(client) {
                self.held.push(Held { offset, client, bytes: Vec::new(), confirms: false, closes: true });
            } else {
                self.close(client);
            }
        }
        for client in outbox.drops.drain(..) {
            self.held.forget(client);
            self.close(client);
        }
    }

    /// Counts the turns for which replies wait for a snapshot.
    fn give_way(&mut self, now: Now) {
        match self.gives_way {
            Some((0, at)) if at <= now.mono => self.stop_giving_way(),
            Some((turns, at)) if at <= now.mono => {
                self.gives_way = Some((turns - 1, now.mono.plus_ms(held::TURN_MS)));
            }
            _ => {}
        }
    }

    /// Lets them go.
    pub fn stop_giving_way(&mut self) {
        self.gives_way = None;
        self.release_held();
    }

    /// Sends what has waited for what is stored now.
    fn release_held(&mut self) {
        if self.gives_way.is_some() {
            return;
        }
        let stored = self.store.as_ref().map_or(u64::MAX, |store| match store.is_rebasing() {
            true => 0,
            false => store.stored_offset(),
        });
        while let Some(held) = self.held.next_stored(stored) {
            self.release(held);
        }
    }

    fn release(&mut self, held: Held) {
        self.deliver(held.client, &held.bytes);
        if held.closes {
            self.close(held.client);
        }
    }

    /// When those who wait for a log that cannot be stored are told so.
    fn patience_ends(&self) -> Option<MonoTime> {
        let since = self.store.as_ref()?.failing_since.filter(|_| !self.held.is_empty())?;
        Some(since.plus_ms(held::PATIENCE_MS))
    }

    /// Tells those who wait that what they have written is not known to be stored.
    fn answer_held(&mut self, now: Now) {
        let reason = self.store.as_ref().and_then(|store| store.error.clone()).unwrap_or_default();
        while let Some(mut held) = self.held.pop() {
            if held.confirms {
                let told = held::unconfirmed(&held.bytes, &reason);
                // What the engine has given and nobody gets is not on its way any more.
                let bytes = held.bytes.len().saturating_sub(told.len());
                self.engine.report(now, Report::Sent { client: held.client, bytes });
                held.bytes = told;
            }
            self.release(held);
        }
    }

    fn connection_of(&mut self, client: ClientId) -> Option<&mut Connection> {
        let slot = *self.slots.get(client.index())?;
        self.connections.get_mut(slot as usize)?.as_mut().filter(|connection| connection.client == Some(client))
    }

    fn deliver(&mut self, client: ClientId, bytes: &[u8]) {
        if let Some(connection) = self.connection_of(client) {
            connection.out.extend_from_slice(bytes);
            self.ready = true;
        }
    }

    fn close(&mut self, client: ClientId) {
        if let Some(connection) = self.connection_of(client) {
            connection.client = None;
            self.ready = true;
        }
    }

    /// SHUTDOWN: all connections end, the database stays as it is.
    fn exit(&mut self) {
        self.exited = true;
        for connection in self.connections.iter_mut().flatten() {
            connection.client = None;
        }
        self.held.clear();
        self.ready = true;
    }

    // ---- What storage tells ----

    /// Tells the engine something; it may have more to say then.
    pub fn report(&mut self, now: Now, report: Report) {
        self.again = true;
        self.engine.report(now, report);
    }

    /// The log is stored up to an offset; `saved`: everything of it, on the device.
    pub fn stored(&mut self, now: Now, offset: u64, saved: bool) {
        self.report(now, Report::Stored { offset });
        if saved && self.store.as_ref().is_some_and(|store| store.compaction.is_none()) {
            self.report(now, Report::SnapshotStored);
        }
        self.release_held();
    }

    /// SAVE has failed, if there was one.
    pub fn snapshot_failed(&mut self, now: Now, reason: &str) {
        if self.store.as_ref().is_some_and(|store| store.compaction.is_none()) {
            self.report(now, Report::SnapshotFailed { reason: reason.to_owned() });
        }
    }

    /// The log could not be stored.
    pub fn store_failed(&mut self, now: Now, reason: String) {
        self.report(now, Report::StoreFailed { reason });
        if self.store.as_ref().is_some_and(|store| store.lost) {
            self.answer_held(now);
        }
    }

    /// One changed setting of the host.
    fn configure(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "appendfsync" => {
                let policy = self.engine.config().appendfsync;
                match &mut self.store {
                    Some(store) => store.policy = policy,
                    None => return Err(IN_MEMORY.to_owned()),
                }
                Ok(())
            }
            "appendonly" => match (value, &self.store) {
                ("yes", None) => Err(IN_MEMORY.to_owned()),
                ("no", Some(_)) => Err("in a browser the log is where the data are".to_owned()),
                _ => Ok(()),
            },
            "port" | "bind" | "dir" | "dbfilename" => Err("there are no sockets and files in a browser".to_owned()),
            // Settings that only the engine reads, or that a browser has no use for: they are kept.
            _ => Ok(()),
        }
    }
}

/// Buffers larger than this are not kept for reuse.
const KEPT_BYTES: usize = 64 << 10;

fn log(level: LogLevel, text: &str) {
    let line = JsValue::from_str(&format!("Haversack: {text}"));
    match level {
        LogLevel::Debug | LogLevel::Verbose => web_sys::console::debug_1(&line),
        LogLevel::Notice => web_sys::console::info_1(&line),
        LogLevel::Warning => web_sys::console::warn_1(&line),
    }
}
