//! The servers that are compared, as child processes on a core of their own, and what the system says of them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use haversack::resp::{Value, encode_command};

use crate::load::Replies;
use crate::{persistence, sys};

/// One that can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Ours, as released.
    Haversack,
    /// The real Valkey 9.1 with jemalloc.
    Valkey,
    /// The real Redis 8.2.
    Redis,
    /// A loop that reads, counts requests and writes the same reply to each: the limit.
    Canned,
}

impl Kind {
    /// All of them, ours first.
    pub const ALL: [Kind; 4] = [Kind::Haversack, Kind::Valkey, Kind::Redis, Kind::Canned];

    /// As it is called in options and tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Haversack => "Haversack",
            Kind::Valkey => "Valkey",
            Kind::Redis => "Redis",
            Kind::Canned => "canned",
        }
    }

    /// Whether ours is compared with it.
    pub fn is_peer(self) -> bool {
        matches!(self, Kind::Valkey | Kind::Redis)
    }
}

/// The cores that servers and the generator run on.
#[derive(Clone, Copy)]
pub struct Cores {
    /// All servers; one works while the others idle.
    pub server: usize,
    /// This program.
    pub generator: usize,
    /// How many there are.
    pub count: usize,
}

impl Cores {
    /// The first core and the last; the same if there is only one.
    pub fn choose() -> Cores {
        let all = sys::cores();
        Cores { generator: all[0], server: all[all.len() - 1], count: all.len() }
    }
}

/// What the scheduler says of a process.
#[derive(Clone, Copy, Default)]
pub struct Times {
    /// It had a processor.
    pub ran_ns: u64,
    /// It could have run, but something else did.
    pub waited_ns: u64,
}

/// A running server, killed when dropped.
pub struct Server {
    /// What it is.
    pub kind: Kind,
    /// Where it listens on loopback.
    pub port: u16,
    child: Child,
    folder: PathBuf,
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set: start the benchmark with pkg-scripts/bench"))
}

impl Server {
    /// Starts a server and waits until it answers.
    pub fn start(kind: Kind, cores: Cores) -> Result<Server, String> {
        sys::pin(cores.server);
        let server = Server::spawn(kind, None, &[]);
        sys::pin(cores.generator);
        server.and_then(Server::ready)
    }

    /// Starts a server that may use all cores, and has this file to load.
    pub fn start_free(kind: Kind, cores: Cores, dump: Option<&Path>) -> Result<Server, String> {
        persistence::on_all_cores(cores, || Server::spawn(kind, dump, &[])).and_then(Server::ready)
    }

    /// The same for one that keeps a log, as these arguments say.
    pub fn start_logging(kind: Kind, cores: Cores, args: &[&str]) -> Result<Server, String> {
        persistence::on_all_cores(cores, || Server::spawn(kind, None, args)).and_then(Server::ready)
    }

    fn spawn(kind: Kind, dump: Option<&Path>, args: &[&str]) -> Result<Server, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        drop(listener);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        if let Some(dump) = dump {
            fs::hard_link(dump, folder.join("dump.rdb")).map_err(|error| error.to_string())?;
        }
        let mut command = match kind {
            Kind::Haversack => Command::new(variable("HAVERSACK_SERVER")?),
            Kind::Valkey => Command::new(variable("HAVERSACK_VALKEY9")?),
            Kind::Redis => Command::new(variable("HAVERSACK_REDIS8")?),
            Kind::Canned => Command::new(std::env::current_exe().map_err(|error| error.to_string())?),
        };
        if kind == Kind::Canned {
            command.arg("canned-server").arg(port.to_string());
        } else {
            command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--dir"]).arg(&folder);
            command.args(args);
        }
        if kind == Kind::Valkey {
            // This build of it is linked with the C library's allocator; its packages come with jemalloc.
            command.env("LD_PRELOAD", variable("HAVERSACK_JEMALLOC")?);
        }
        let log = fs::File::create(folder.join("log")).map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stderr(log.try_clone().map_err(|error| error.to_string())?).stdout(log);
        let child = command.spawn().map_err(|error| format!("{}: {error}", kind.name()))?;
        Ok(Server { kind, port, child, folder })
    }

    fn ready(self) -> Result<Server, String> {
        self.wait_until_ready()?;
        Ok(self)
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes of memory that it and its children take together; what they share counts once.
    pub fn family_bytes(&self) -> Result<u64, String> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        // What is resident in one process alone is cheap to ask for, and asking does not disturb it.
        if children.trim().is_empty() {
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).map_err(|error| error.to_string())?;
            let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
            return pages.map(|pages| pages * 4096).ok_or_else(|| "statm tells no pages".to_owned());
        }
        let share = |pid: &str| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default().to_owned();
            line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        Ok(share(&pid.to_string()) + children.split_whitespace().map(share).sum::<u64>())
    }

    fn wait_until_ready(&self) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if let Ok(mut client) = Client::connect(self.port)
                && client.ask(&["PING"]).is_ok()
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        Err(format!("{} does not answer:\n{log}", self.kind.name()))
    }

    /// The processor time of all its threads.
    pub fn times(&self) -> Result<Times, String> {
        let mut sum = Times::default();
        let tasks = format!("/proc/{}/task", self.child.id());
        for task in fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))?.flatten() {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let mut numbers = text.split(' ').map(|number| number.parse::<u64>().unwrap_or(0));
            sum.ran_ns += numbers.next().unwrap_or(0);
            sum.waited_ns += numbers.next().unwrap_or(0);
        }
        Ok(sum)
    }

    /// Bytes of its memory that are resident.
    pub fn resident_bytes(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap_or_default();
        let kib = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| format!("{path} tells no Rss"))
    }

    /// A field of INFO.
    pub fn info(&self, field: &str) -> Result<String, String> {
        self.info_of("default", field)
    }

    /// A field of a section of INFO.
    pub fn info_of(&self, section: &str, field: &str) -> Result<String, String> {
        let text = Client::connect(self.port)?.ask(&["INFO", section])?;
        let bytes = text.as_bytes().unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.map(str::to_owned).ok_or_else(|| format!("INFO of {} has no {field}", self.kind.name()))
    }

    /// Its name and version.
    pub fn version(&self) -> Result<String, String> {
        let field = match self.kind {
            Kind::Haversack => "haversack_version",
            Kind::Valkey => "valkey_version",
            Kind::Redis => "redis_version",
            Kind::Canned => return Ok(self.kind.name().to_owned()),
        };
        Ok(format!("{} {}", self.kind.name(), self.info(field)?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A blocking connection for what is not measured.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    replies: Replies,
    /// Requests written to the buffer, not sent yet.
    waiting: u64,
}

impl Client {
    /// Connects on loopback.
    pub fn connect(port: u16) -> Result<Client, String> {
        let connect = || {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            Ok(stream)
        };
        let stream = connect().map_err(|error: std::io::Error| error.to_string())?;
        Ok(Client { stream, buffer: Vec::new(), replies: Replies::default(), waiting: 0 })
    }

    /// Sends a command and gives its reply.
    pub fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Value, String> {
        let (mut bytes, mut chunk) = (Vec::new(), [0; 16 * 1024]);
        encode_command(args.iter().map(AsRef::as_ref), &mut bytes);
        self.stream.write_all(&bytes).map_err(|error| error.to_string())?;
        bytes.clear();
        loop {
            match self.stream.read(&mut chunk).map_err(|error| error.to_string())? {
                0 => return Err("the server hangs up".to_owned()),
                read => bytes.extend_from_slice(&chunk[..read]),
            }
            if let Some((value, _)) = Value::parse(&bytes).map_err(|error| error.to_string())? {
                return Ok(value);
            }
        }
    }

    /// Sends a command some time before [`finish`](Self::finish) returns.
    pub fn pipe(&mut self, args: &[&[u8]]) -> Result<(), String> {
        encode_command(args.iter().copied(), &mut self.buffer);
        self.waiting += 1;
        if self.buffer.len() < 128 * 1024 { Ok(()) } else { self.finish() }
    }

    /// Sends what is still to be sent and waits for all replies.
    pub fn finish(&mut self) -> Result<(), String> {
        self.stream.write_all(&self.buffer).map_err(|error| error.to_string())?;
        self.buffer.clear();
        let mut chunk = [0; 64 * 1024];
        while self.waiting > 0 {
            let read = self.stream.read(&mut chunk).map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("the server hangs up".to_owned());
            }
            self.waiting -= self.replies.take(&chunk[..read]);
        }
        self.replies.error.take().map_or(Ok(()), |error| Err(format!("the server answers {error}")))
    }
}

/// Runs as the canned server until killed: one reply for each `*` that comes, and none in values.
pub fn serve_canned(port: u16) -> std::io::Result<()> {
    const REPLY: &[u8] = b"$16\r\n0123456789abcdef\r\n";
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let mut poller = sys::Poller::new()?;
    poller.add(&listener, usize::MAX)?;
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let (mut input, mut ready) = (vec![0; 64 * 1024], Vec::new());
    let replies = REPLY.repeat(input.len() / 8);
    loop {
        poller.wait(-1, &mut ready)?;
        for event in &ready {
            if event.token == usize::MAX {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                poller.add(&stream, streams.len())?;
                streams.push(Some(stream));
                continue;
            }
            let Some(mut stream) = streams[event.token].as_ref() else { continue };
            let read = stream.read(&mut input).unwrap_or(0);
            let count = memchr::memchr_iter(b'*', &input[..read]).count();
            if read == 0 || stream.write_all(&replies[..count * REPLY.len()]).is_err() {
                streams[event.token] = None;
            }
        }
    }
}
