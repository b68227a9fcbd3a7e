//! Runs the transcripts in `tests/transcripts/*.txt` against several targets: the engine as a value, our
//! server over TCP, and a real Redis as the judge of the transcripts themselves.
//!
//! A transcript is a text of sections. Every section starts with empty data and fresh clients:
//!
//! ```text
//! == name of the section
//! # a comment
//! > SET k v                 the client "main" sends a command, quoted as in redis-cli
//! +OK                       the reply, in the notation of `resp::Value`
//! a> BLPOP k 0              another client; no reply line: nothing may have come yet
//! > DEL k
//! :1
//! a< ["k" "v"]              something comes to client a: a late reply or a push
//! @sleep 120                milliseconds pass (the engine's clock is set forward, real servers wait)
//! @config name value        CONFIG SET for this section, set back at its end
//! @only ours                this section is not for the judge (say why in a comment)
//! ```
//!
//! In an expected line `…` stands for any text, and `{a|b}` alone on a line for either of two.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Client, PATIENCE, Server, fits, fresh_folder, haversack, tool};
use haversack::engine::client::{ClientId, Peer};
use haversack::engine::config::{Allowed, Config};
use haversack::engine::host::{Host, Report};
use haversack::engine::time::{MonoTime, Now, WallTime};
use haversack::engine::{Engine, Outbox};
use haversack::resp::decode::split_args;
use haversack::resp::{OwnedArgs, Value, encode_command};

/// One step of a section.
#[derive(Debug)]
enum Step {
    Send { client: String, command: String, line: usize },
    Expect { client: String, reply: String, line: usize },
    Sleep(u64),
}

#[derive(Debug)]
struct Section {
    name: String,
    ours_only: bool,
    config: Vec<(String, String)>,
    steps: Vec<Step>,
}

fn parse(path: &Path) -> Vec<Section> {
    let text = std::fs::read_to_string(path).expect("a transcript");
    let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut sections: Vec<Section> = Vec::new();
    let mut last_client = String::from("main");
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        if let Some(name) = line.strip_prefix("== ") {
            let name = format!("{file}: {name}");
            sections.push(Section { name, ours_only: false, config: Vec::new(), steps: Vec::new() });
            continue;
        }
        if line.trim().is_empty() || line.starts_with("# ") || line == "#" {
            continue;
        }
        let section = sections.last_mut().unwrap_or_else(|| panic!("{file}:{line_number}: no section yet"));
        if let Some(rest) = line.strip_prefix("@sleep ") {
            section.steps.push(Step::Sleep(rest.trim().parse().expect("milliseconds")));
        } else if let Some(rest) = line.strip_prefix("@config ") {
            let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
            section.config.push((name.to_owned(), value.trim_matches('"').to_owned()));
        } else if line.starts_with("@only ours") {
            section.ours_only = true;
        } else if let Some((client, command)) = directed(line, "> ") {
            last_client = client.clone();
            section.steps.push(Step::Send { client, command, line: line_number });
        } else if let Some((client, reply)) = directed(line, "< ") {
            section.steps.push(Step::Expect { client, reply, line: line_number });
        } else {
            let client = last_client.clone();
            section.steps.push(Step::Expect { client, reply: line.to_owned(), line: line_number });
        }
    }
    sections
}

/// Splits "name> rest" with a short lower-case name, or none for "main".
fn directed(line: &str, mark: &str) -> Option<(String, String)> {
    let (name, rest) = line.split_once(mark)?;
    let plain = name.len() <= 12 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    plain.then(|| (if name.is_empty() { "main".to_owned() } else { name.to_owned() }, rest.to_owned()))
}

/// Something that transcripts run against.
trait Target {
    /// Empties everything and forgets all clients.
    fn reset(&mut self, config: &[(String, String)]);
    fn send(&mut self, client: &str, args: &[Vec<u8>]);
    /// The next thing that came to a client; `wait` says whether something must come.
    fn receive(&mut self, client: &str, wait: bool) -> Option<Value>;
    fn sleep(&mut self, ms: u64);
    fn is_judge(&self) -> bool {
        false
    }
}

fn run(target: &mut dyn Target, section: &Section) -> Result<(), String> {
    target.reset(&section.config);
    let mut clients: Vec<&str> = Vec::new();
    for (index, step) in section.steps.iter().enumerate() {
        match step {
            Step::Sleep(ms) => target.sleep(*ms),
            Step::Send { client, command, line } => {
                let mut args = OwnedArgs::new();
                if !split_args(command.as_bytes(), &mut args) {
                    return Err(format!("line {line}: bad quotes in {command}"));
                }
                let args: Vec<Vec<u8>> = args.as_args().iter().map(<[u8]>::to_vec).collect();
                target.send(client, &args);
                clients.push(client);
                let answered =
                    matches!(section.steps.get(index + 1), Some(Step::Expect { client: c, .. }) if c == client);
                if !answered && let Some(value) = target.receive(client, false) {
                    return Err(format!("line {line}: {command}\n  nothing expected\n  got      {value}"));
                }
            }
            Step::Expect { client, reply, line } => match target.receive(client, true) {
                Some(value) if fits(reply, &value.to_string()) => {}
                Some(value) => return Err(format!("line {line}:\n  expected {reply}\n  got      {value}")),
                None => return Err(format!("line {line}:\n  expected {reply}\n  got nothing")),
            },
        }
    }
    for client in clients {
        if let Some(value) = target.receive(client, false) {
            return Err(format!("at the end client {client} got {value}"));
        }
    }
    Ok(())
}

// ---- The engine as a value ----

struct EngineTarget {
    engine: Engine,
    clients: BTreeMap<String, (ClientId, Vec<u8>)>,
    now_ms: u64,
    /// Cuts what is sent into chunks of this size; 0: not at all.
    chunk: usize,
}

impl EngineTarget {
    fn new(chunk: usize) -> EngineTarget {
        let engine = EngineTarget::engine(&[], 0);
        EngineTarget { engine, clients: BTreeMap::new(), now_ms: 0, chunk }
    }

    fn engine(settings: &[(String, String)], now_ms: u64) -> Engine {
        let mut config = Config::default();
        config.enable_debug_command = Allowed::Yes;
        config.save.0.clear();
        let pairs: Vec<(&[u8], &[u8])> = settings.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        config.set_many(&pairs, Default::default()).unwrap_or_else(|error| panic!("@config: {error}"));
        Engine::new(config, Host::default(), 7, EngineTarget::time(now_ms))
    }

    fn time(now_ms: u64) -> Now {
        // Not the epoch: small absolute times shall be in the past.
        Now { wall: WallTime::from_ms(1_790_000_000_000 + now_ms as i64), mono: MonoTime::from_ms(1000 + now_ms) }
    }

    fn now(&self) -> Now {
        EngineTarget::time(self.now_ms)
    }

    /// Hands out what is to leave, and answers for a host that stores everything at once.
    fn pump(&mut self) {
        let now = self.now();
        let mut outbox = Outbox::default();
        loop {
            self.engine.drain(&mut outbox);
            for (id, bytes) in outbox.sends.drain(..) {
                self.engine.report(now, Report::Sent { client: id, bytes: bytes.len() });
                if let Some((_, inbox)) = self.clients.values_mut().find(|(client, _)| *client == id) {
                    inbox.extend_from_slice(&bytes);
                }
            }
            outbox.closes.clear();
            outbox.drops.clear();
            outbox.append.clear();
            if outbox.asks.is_empty() {
                return;
            }
            for ask in outbox.asks.drain(..) {
                common::answer(&mut self.engine, now, ask);
            }
        }
    }
}

impl Target for EngineTarget {
    fn reset(&mut self, config: &[(String, String)]) {
        self.now_ms += 1_000_000;
        self.engine = EngineTarget::engine(config, self.now_ms);
        self.clients.clear();
    }

    fn send(&mut self, client: &str, args: &[Vec<u8>]) {
        let now = self.now();
        if !self.clients.contains_key(client) {
            let peer =
                Peer { addr: "127.0.0.1:1".into(), laddr: "127.0.0.1:2".into(), fd: 8, local: true, ..Peer::default() };
            let id = self.engine.connect(now, peer);
            self.clients.insert(client.to_owned(), (id, Vec::new()));
        }
        let id = self.clients[client].0;
        let mut bytes = Vec::new();
        encode_command(args.iter().map(Vec::as_slice), &mut bytes);
        let chunk = if self.chunk == 0 { bytes.len() } else { self.chunk };
        for piece in bytes.chunks(chunk) {
            self.engine.receive(now, id, piece);
        }
        self.pump();
    }

    fn receive(&mut self, client: &str, _wait: bool) -> Option<Value> {
        let (_, inbox) = self.clients.get_mut(client)?;
        let (value, used) = Value::parse(inbox).expect("a well-formed reply")?;
        inbox.drain(..used);
        Some(value)
    }

    fn sleep(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ms += 1;
            let now = self.now();
            if self.engine.next_deadline().is_some_and(|deadline| deadline <= now.mono) {
                self.engine.tick(now);
                self.pump();
            }
        }
    }
}

// ---- Servers over TCP ----

struct TcpTarget {
    server: Server,
    judge: bool,
    admin: Client,
    clients: BTreeMap<String, Client>,
    restore: Vec<(String, String)>,
}

impl TcpTarget {
    fn start(binary: PathBuf, judge: bool) -> TcpTarget {
        let options = ["--save", "", "--enable-debug-command", "yes"];
        let server = Server::start(binary, fresh_folder("transcripts"), &options);
        let admin = server.client();
        TcpTarget { server, judge, admin, clients: BTreeMap::new(), restore: Vec::new() }
    }

    fn set(&mut self, name: &str, value: &str) {
        let reply = self.admin.call(&["CONFIG", "SET", name, value]).expect("a reply");
        assert_eq!(reply.to_string(), "+OK", "@config {name} {value}");
    }
}

impl Target for TcpTarget {
    fn reset(&mut self, config: &[(String, String)]) {
        self.clients.clear();
        for (name, value) in std::mem::take(&mut self.restore) {
            self.set(&name, &value);
        }
        self.admin.call(&["FLUSHALL"]).expect("a reply");
        for (name, value) in config {
            if let Value::Array(Some(pair)) = self.admin.call(&["CONFIG", "GET", name]).expect("a reply")
                && let Some(old) = pair.get(1).and_then(Value::as_bytes)
            {
                self.restore.push((name.clone(), String::from_utf8_lossy(old).into_owned()));
            }
            self.set(name, value);
        }
    }

    fn send(&mut self, client: &str, args: &[Vec<u8>]) {
        let server = &self.server;
        let client = self.clients.entry(client.to_owned()).or_insert_with(|| server.client());
        // A connection that was closed shows when its reply is read.
        let _ = client.send(args);
    }

    fn receive(&mut self, client: &str, wait: bool) -> Option<Value> {
        let patience = if wait { PATIENCE } else { Duration::from_millis(15) };
        self.clients.get_mut(client)?.read(patience).ok().flatten()
    }

    fn sleep(&mut self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    fn is_judge(&self) -> bool {
        self.judge
    }
}

/// Runs all transcripts; fails with all that went wrong.
fn run_all(mut target: impl Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let only = std::env::var("TRANSCRIPT").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("tests/transcripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let (mut passed, mut failures) = (0, Vec::new());
    for section in files.iter().flat_map(|path| parse(path)) {
        if !section.name.contains(&only) || (section.ours_only && target.is_judge()) {
            continue;
        }
        match run(&mut target, &section) {
            Ok(()) => passed += 1,
            Err(reason) => failures.push(format!("{}: {reason}", section.name)),
        }
    }
    println!("{passed} sections passed, {} failed", failures.len());
    assert!(passed + failures.len() > 0, "no transcripts");
    assert!(
        failures.is_empty(),
        "{} of {} sections failed:\n{}",
        failures.len(),
        passed + failures.len(),
        failures.join("\n")
    );
}

#[test]
fn engine() {
    run_all(EngineTarget::new(0));
}

#[test]
fn engine_byte_by_byte() {
    run_all(EngineTarget::new(1));
}

#[test]
fn server() {
    run_all(TcpTarget::start(haversack(), false));
}

#[test]
fn judge_redis_8() {
    run_all(TcpTarget::start(tool("HAVERSACK_REDIS8"), true));
}
