//! What several test programs share: replies as text, real servers and our own as child processes.
#![allow(dead_code)]

pub mod contents;
pub mod disk;
pub mod machine;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use haversack::engine::Engine;
use haversack::engine::host::{Ask, Report};
use haversack::engine::snapshot::SnapshotProgress;
use haversack::engine::time::Now;
use haversack::resp::{Value, encode_command};

/// The longest that a reply may take to come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").port()
}

/// A folder of its own below the build folder, emptied.
pub fn fresh_folder(name: &str) -> PathBuf {
    // Not numbered by a free port: one that is free again would give a folder that somebody still uses.
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let unique = format!("{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a folder below the build folder");
    path
}

/// A fresh folder with a copy of this snapshot.
pub fn folder_with_snapshot(from: &Path) -> PathBuf {
    let folder = fresh_folder("snapshot");
    std::fs::copy(from, folder.join("dump.rdb")).expect("a snapshot to copy");
    folder
}

/// A fresh folder with a copy of the log that is in the folder `from`.
pub fn folder_with_log(from: &Path) -> PathBuf {
    let folder = fresh_folder("log");
    let to = folder.join("appendonlydir");
    std::fs::create_dir(&to).expect("a new folder");
    for entry in std::fs::read_dir(from.join("appendonlydir")).expect("a log to copy") {
        let entry = entry.expect("a folder that can be read");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a file to copy");
    }
    folder
}

/// The path of a real server or tool that `pkg-scripts/servers` installs.
///
/// # Panics
/// It is not installed: the test that needs it fails with the reason.
pub fn tool(variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/pkg-scripts/servers");
    let output = Command::new(script).output().expect("pkg-scripts/servers runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{variable}=")));
    line.unwrap_or_else(|| panic!("{variable} is missing; run pkg-scripts/servers to see why")).into()
}

/// Our own server, as built for this test. With HAVERSACK_IO_THREADS in the environment, it runs with so many.
pub fn haversack() -> PathBuf {
    env!("CARGO_BIN_EXE_haversack-server").into()
}

/// A server process in a folder of its own. It is killed when dropped.
pub struct Server {
    child: Child,
    /// Where it listens on loopback.
    pub port: u16,
    /// Its working folder.
    pub folder: PathBuf,
}

impl Server {
    /// Starts a server in `folder` and waits until it answers.
    pub fn start(binary: PathBuf, folder: PathBuf, options: &[&str]) -> Server {
        let mut server = Server::spawn(binary, folder, options);
        server.wait_until_ready();
        server
    }

    /// Starts a server in `folder` that may take long to answer, or never does.
    pub fn spawn(binary: PathBuf, folder: PathBuf, options: &[&str]) -> Server {
        let port = free_port();
        let mut command = Command::new(&binary);
        command.args(["--port", &port.to_string(), "--dir"]).arg(&folder).args(options);
        if let Ok(threads) = std::env::var("HAVERSACK_IO_THREADS")
            && binary == haversack()
        {
            command.args(["--io-threads", &threads]);
        }
        command.current_dir(&folder).stdin(Stdio::null());
        let log = std::fs::File::create(folder.join("server.log")).expect("a log file");
        command.stdout(log.try_clone().expect("a log file")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        Server { child, port, folder }
    }

    /// Waits until it answers.
    ///
    /// # Panics
    /// It ends, or takes too long.
    pub fn wait_until_ready(&mut self) {
        let started = Instant::now();
        loop {
            if let Ok(mut client) = Client::connect(self.port)
                && client.call(&["PING"]).is_ok_and(|reply| reply.to_string() == "+PONG")
            {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            assert!(started.elapsed() < PATIENCE * 3, "the server does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::connect(self.port).expect("the server accepts")
    }

    /// Kills it the hard way and gives its folder.
    pub fn kill(mut self) -> PathBuf {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
        self.folder.clone()
    }

    /// Ends it in good order, without a last snapshot, and gives its folder.
    pub fn stop(mut self) -> PathBuf {
        let mut client = self.client();
        let _ = client.send(&["SHUTDOWN", "NOSAVE"]);
        assert!(self.wait().success(), "SHUTDOWN is no failure:\n{}", self.log());
        self.folder.clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success(), "kill -{name}");
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has left by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE * 3, "the server does not leave:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that sends commands and reads replies.
pub struct Client {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Client {
    /// Connects on loopback.
    pub fn connect(port: u16) -> std::io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, held: Vec::new() })
    }

    /// Sends a command.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        encode_command(args.iter().map(AsRef::as_ref), &mut bytes);
        self.stream.write_all(&bytes)
    }

    /// Sends raw bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next reply, or `None` if none comes within `patience`.
    pub fn read(&mut self, patience: Duration) -> std::io::Result<Option<Value>> {
        let deadline = Instant::now() + patience;
        let mut chunk = [0; 64 * 1024];
        loop {
            let parsed = Value::parse(&self.held).map_err(std::io::Error::other)?;
            if let Some((value, used)) = parsed {
                self.held.drain(..used);
                return Ok(Some(value));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.held.extend_from_slice(&chunk[..n]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a command and reads its reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> std::io::Result<Value> {
        self.send(args)?;
        self.read(PATIENCE)?.ok_or_else(|| std::io::ErrorKind::TimedOut.into())
    }

    /// The reply to a command in words, as text in the notation of transcripts.
    pub fn ask(&mut self, words: &str) -> String {
        let mut args = haversack::resp::OwnedArgs::new();
        assert!(haversack::resp::decode::split_args(words.as_bytes(), &mut args), "bad quotes: {words}");
        let args: Vec<Vec<u8>> = args.as_args().iter().map(<[u8]>::to_vec).collect();
        self.call(&args).map_or_else(|error| format!("(lost: {error})"), |value| value.to_string())
    }
}

/// Whether a reply is what an expected line says: `…` is any text, `{a|b}` alone either of two.
pub fn fits(expected: &str, got: &str) -> bool {
    if let Some(inner) = expected.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return inner.split('|').any(|one| fits(one, got));
    }
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| got.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Does what an engine asks of its host, as a host that stores everything at once and forgets it.
pub fn answer(engine: &mut Engine, now: Now, ask: Ask) {
    match ask {
        Ask::StartSnapshot { .. } => {
            let mut snapshot = Vec::new();
            while engine.snapshot_chunk(1 << 16, &mut snapshot) == SnapshotProgress::More {}
            engine.report(now, Report::SnapshotStored);
        }
        Ask::GiveBack { ticket, .. }
        | Ask::Configure { ticket, .. }
        | Ask::RewriteConfig { ticket, .. }
        | Ask::Reload { ticket, .. } => {
            engine.report(now, Report::Done { ticket, result: Ok(()) });
        }
        Ask::Sync => {
            let offset = engine.offset();
            engine.report(now, Report::Stored { offset });
        }
        Ask::CancelSnapshot | Ask::Stall { .. } | Ask::DelayLog { .. } | Ask::Log { .. } | Ask::Exit => {}
    }
}
