//! A server as a value: an engine, its storage on a disk of ours, and clients that write and remember.
//!
//! It does what the native loop does, in steps that a seed chooses. Each writer pushes rising numbers, to its own
//! list and to one that all share, in one transaction; so what a restart has tells whether it is a prefix in order,
//! whole, and as long as was promised.

use std::collections::VecDeque;
use std::sync::Arc;

use haversack::engine::client::{ClientId, Peer};
use haversack::engine::config::{Allowed, Config};
use haversack::engine::host::{Host, Report};
use haversack::engine::rng::Rng;
use haversack::engine::time::{MonoTime, Now, WallTime};
use haversack::engine::{Engine, Outbox};
use haversack::native::ready::{Ready, Token};
use haversack::native::storage::Storage;
use haversack::native::storage::disk::SharedDisk;
use haversack::native::storage::load::{self, Loader, Progress};
use haversack::native::storage::worker::Worker;
use haversack::resp::{Value, encode_command};

use super::disk::FakeDisk;

/// Clients that write.
pub const WRITERS: usize = 3;

/// A client that writes.
#[derive(Default)]
struct Writer {
    id: Option<ClientId>,
    next: u64,
    /// Replies not read yet, and how many transactions are not answered.
    replies: Vec<u8>,
    asked: u64,
}

/// What was known at some moment.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Operations of the disk so far.
    pub ops: usize,
    /// Entries of the shared list that were confirmed: the list was at least so long.
    pub confirmed: u64,
    /// Entries that were reported to be durable.
    pub durable: u64,
}

/// A server as a value.
pub struct Machine {
    /// Its disk.
    pub disk: FakeDisk,
    engine: Engine,
    storage: Storage,
    loader: Option<Loader>,
    now_ms: u64,
    writers: Vec<Writer>,
    outbox: Outbox,
    held: VecDeque<(u64, ClientId, Vec<u8>)>,
    /// The shared list's length by the offset of the stream behind it.
    lengths: Vec<(u64, u64)>,
    length: u64,
    confirmed: u64,
    /// What was known, in order.
    pub marks: Vec<Mark>,
    /// Replies that refused a write.
    pub refused: u64,
}

fn at(ms: u64) -> Now {
    Now { wall: WallTime::from_ms(1_790_000_000_000 + ms as i64), mono: MonoTime::from_ms(10_000 + ms) }
}

/// The configuration of a server with a log; `more`: further parameters.
pub fn config(more: &[(&str, &str)]) -> Config {
    let mut config = Config::default();
    config.enable_debug_command = Allowed::Yes;
    config.save.0.clear();
    let mut all: Vec<(&[u8], &[u8])> = vec![(b"auto-aof-rewrite-percentage", b"0")];
    all.extend(more.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    config.set_many(&all, Default::default()).expect("these are parameters");
    config.appendonly = true;
    config
}

impl Machine {
    /// Starts a server on what the disk holds.
    ///
    /// # Errors
    /// It refuses, in words.
    pub fn start(disk: &FakeDisk, config: Config, seed: u64) -> Result<Machine, String> {
        let shared: SharedDisk = Arc::new(disk.clone());
        let plan = load::plan(&*shared, &config)?;
        let mut engine = Engine::new(config, Host::default(), seed, at(0));
        let flag = Ready::default().flag(Token::Storage);
        let loader = Loader::start(plan, None, &mut engine, at(0), flag, &shared)?;
        let storage = Storage::new(shared.clone(), Worker::by_hand(shared));
        let mut machine = Machine {
            disk: disk.clone(),
            engine,
            storage,
            loader: Some(loader),
            now_ms: 0,
            writers: (0..WRITERS).map(|_| Writer::default()).collect(),
            outbox: Outbox::default(),
            held: VecDeque::new(),
            lengths: Vec::new(),
            length: 0,
            confirmed: 0,
            marks: Vec::new(),
            refused: 0,
        };
        machine.load()?;
        machine.take_up();
        Ok(machine)
    }

    fn load(&mut self) -> Result<(), String> {
        let now = at(self.now_ms);
        while let Some(loader) = &mut self.loader {
            match loader.slice(&mut self.engine, now)? {
                Progress::More => {}
                Progress::Wait => std::thread::yield_now(),
                Progress::Done(opened) => {
                    self.loader = None;
                    let Some(opened) = opened else { break };
                    let (policy, anew) = (self.engine.config().appendfsync, opened.part.is_none());
                    self.engine.set_log_enabled(true);
                    self.storage.open_log(*opened, self.engine.offset(), policy, now);
                    match anew {
                        true => self.engine.start_log(now),
                        false => {
                            let offset = self.engine.offset();
                            self.engine.report(now, Report::Stored { offset });
                        }
                    }
                }
            }
        }
        self.pump();
        Ok(())
    }

    /// Goes on where the log ends: what was loaded is promised from now on.
    fn take_up(&mut self) {
        self.length = self.list("all").len() as u64;
        self.confirmed = self.length;
        self.lengths.push((self.engine.offset(), self.length));
        for writer in 0..WRITERS {
            self.writers[writer].next = self.list(&format!("list:{writer}")).len() as u64;
        }
        self.note();
    }

    /// Lets time pass.
    pub fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        self.engine.tick(at(self.now_ms));
        self.pump();
    }

    /// A writer pushes its next number.
    pub fn push(&mut self, writer: usize) {
        let number = self.writers[writer].next + 1;
        let (name, text) = (format!("list:{writer}"), number.to_string());
        let shared = format!("{writer}:{number}");
        let mut bytes = Vec::new();
        for words in [&["MULTI"][..], &["RPUSH", "all", &shared], &["RPUSH", &name, &text], &["EXEC"]] {
            encode_command(words.iter().map(|word| word.as_bytes()), &mut bytes);
        }
        let id = self.client(writer);
        let one = &mut self.writers[writer];
        (one.next, one.asked) = (number, one.asked + 1);
        self.engine.receive(at(self.now_ms), id, &bytes);
    }

    fn client(&mut self, writer: usize) -> ClientId {
        let (engine, now) = (&mut self.engine, at(self.now_ms));
        *self.writers[writer].id.get_or_insert_with(|| engine.connect(now, Peer { local: true, ..Peer::default() }))
    }

    /// What one command answers, from a client of its own.
    pub fn ask(&mut self, words: &[&str]) -> Value {
        let now = at(self.now_ms);
        self.pump();
        let id = self.engine.connect(now, Peer { local: true, ..Peer::default() });
        let mut bytes = Vec::new();
        encode_command(words.iter().map(|word| word.as_bytes()), &mut bytes);
        self.engine.receive(now, id, &bytes);
        self.engine.drain(&mut self.outbox);
        let mut outbox = std::mem::take(&mut self.outbox);
        let reply = outbox.sends.iter().position(|(client, _)| *client == id).map(|at| outbox.sends.remove(at).1);
        self.deal_with(&mut outbox);
        self.outbox = outbox;
        self.engine.disconnect(now, id);
        self.pump();
        Value::parse(&reply.expect("a reply")).expect("well-formed").expect("whole").0
    }

    /// The elements of a list.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        match self.ask(&["LRANGE", name, "0", "-1"]) {
            Value::Array(Some(items)) => {
                items.iter().map(|item| item.to_string().trim_matches('"').to_owned()).collect()
            }
            other => panic!("not a list: {other}"),
        }
    }

    /// Deals with everything that leaves the engine.
    pub fn pump(&mut self) {
        for _ in 0..1000 {
            let mut outbox = std::mem::take(&mut self.outbox);
            self.engine.drain(&mut outbox);
            let asked = self.deal_with(&mut outbox);
            self.outbox = outbox;
            if !asked {
                return;
            }
        }
        panic!("the engine asks without end");
    }

    fn deal_with(&mut self, outbox: &mut Outbox) -> bool {
        let now = at(self.now_ms);
        let (end, asked) = (self.engine.offset(), !outbox.asks.is_empty());
        let replies = outbox.sends.len();
        self.storage.store(&mut self.engine, now, &outbox.append, &outbox.asks, end, replies);
        if !outbox.append.is_empty() {
            const PUSH: &[u8] = b"\r\nRPUSH\r\n$3\r\nall\r\n";
            self.length += outbox.append.windows(PUSH.len()).filter(|window| *window == PUSH).count() as u64;
            self.lengths.push((end, self.length));
        }
        outbox.append.clear();
        for ask in outbox.asks.drain(..) {
            if let Some(other) = self.storage.answer(&mut self.engine, now, ask) {
                super::answer(&mut self.engine, now, other);
            }
        }
        self.release();
        let hold = self.storage.holds();
        for (client, bytes) in outbox.sends.drain(..) {
            self.engine.report(now, Report::Sent { client, bytes: bytes.len() });
            let behind = self.held.iter().rfind(|(_, id, _)| *id == client).map(|(offset, ..)| *offset);
            match hold.or(behind) {
                Some(offset) => self.held.push_back((offset, client, bytes)),
                None => self.deliver(client, &bytes),
            }
        }
        outbox.closes.clear();
        outbox.drops.clear();
        self.note();
        asked
    }

    fn release(&mut self) {
        let safe = self.storage.safe();
        let (free, held): (VecDeque<_>, VecDeque<_>) = self.held.drain(..).partition(|(offset, ..)| *offset <= safe);
        self.held = held;
        for (_, client, bytes) in free {
            self.deliver(client, &bytes);
        }
    }

    fn deliver(&mut self, client: ClientId, bytes: &[u8]) {
        let Some(writer) = self.writers.iter_mut().find(|writer| writer.id == Some(client)) else { return };
        writer.replies.extend_from_slice(bytes);
        while let Some((value, used)) = Value::parse(&writer.replies).expect("well-formed") {
            writer.replies.drain(..used);
            match value {
                // EXEC: the lengths of the shared list and of its own.
                Value::Array(Some(items)) => {
                    let Value::Int(length) = items[0] else { panic!("{items:?}") };
                    self.confirmed = self.confirmed.max(length as u64);
                }
                other => {
                    let text = other.to_string();
                    let expected = ["+OK", "+QUEUED", "-MISCONF Errors writing to the AOF file: ", "-EXECABORT"];
                    assert!(expected.iter().any(|start| text.starts_with(start)), "{text}");
                    self.refused += u64::from(text.starts_with("-EXECABORT"));
                }
            }
        }
    }

    /// Notes what is promised from here on.
    fn note(&mut self) {
        let durable = self.storage.durable();
        let length = self.lengths.iter().rfind(|(offset, _)| *offset <= durable).map_or(0, |(_, length)| *length);
        self.marks.push(Mark { ops: self.disk.mark(), confirmed: self.confirmed, durable: length });
    }

    /// One step that the seed chooses.
    pub fn step(&mut self, rng: &mut Rng) {
        match rng.below(16) {
            0..=4 => {
                for _ in 0..=rng.below(3) {
                    self.push(rng.below(WRITERS as u64) as usize);
                }
            }
            5..=7 => self.work(),
            8 => self.wait(rng.below(1500)),
            9 if rng.below(4) == 0 => {
                self.ask(&["BGREWRITEAOF"]);
            }
            11 if rng.below(4) == 0 => self.settle(2500),
            10 => {
                self.storage.pull_slice(&mut self.engine, at(self.now_ms));
            }
            _ => self.wait(rng.below(20)),
        }
        self.pump();
    }

    /// The storage thread does a job.
    pub fn work(&mut self) {
        self.storage.work_one();
        self.storage.hear(&mut self.engine, at(self.now_ms));
        self.pump();
    }

    /// Goes on until nothing is left to be done, for so many milliseconds.
    pub fn settle(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.wait(100);
            while self.storage.pull_slice(&mut self.engine, at(self.now_ms)) {}
            while self.storage.work_one() {
                self.storage.hear(&mut self.engine, at(self.now_ms));
                while self.storage.pull_slice(&mut self.engine, at(self.now_ms)) {}
                self.pump();
            }
        }
    }

    /// Makes everything durable and ends.
    pub fn stop(&mut self) {
        self.storage.finish(at(self.now_ms));
    }
}
