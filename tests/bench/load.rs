//! The load generator: one thread, many connections, any pipeline depth.
//!
//! Requests are encoded before the clock runs; while it runs, whole batches are written from one pool and
//! replies are counted, not kept. A connection sends its next batch when the last one is answered; a latency is
//! the time from writing a batch to the end of its last reply. An error reply is a fault of the benchmark and
//! ends it. Redis' counterpart: `redis-benchmark.c`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::sys::{Poller, Ready};

/// A reply that takes longer is taken for lost.
const PATIENCE_MS: i32 = 30_000;

/// Requests in batches of one pipeline depth, ready to be written.
pub struct Pool {
    bytes: Vec<u8>,
    /// Where each batch ends.
    ends: Vec<usize>,
    depth: usize,
}

impl Pool {
    /// `batches` times `depth` requests; `request` writes one.
    pub fn new(depth: usize, batches: usize, mut request: impl FnMut(&mut Vec<u8>)) -> Pool {
        let mut pool = Pool { bytes: Vec::new(), ends: Vec::with_capacity(batches), depth };
        for _ in 0..batches {
            (0..depth).for_each(|_| request(&mut pool.bytes));
            pool.ends.push(pool.bytes.len());
        }
        pool
    }

    fn batch(&self, at: usize) -> std::ops::Range<usize> {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        start..self.ends[at]
    }
}

/// Counts whole replies in a stream that comes in any pieces.
pub struct Replies {
    /// Bytes of a string still to come, its end of line included.
    skip: usize,
    /// Elements still to come of the reply under way.
    owed: u64,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// The first error reply.
    pub error: Option<String>,
}

impl Default for Replies {
    fn default() -> Replies {
        Replies { skip: 0, owed: 1, line: Vec::new(), error: None }
    }
}

impl Replies {
    /// Takes the next bytes; says how many replies have ended in them.
    pub fn take(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ended = 0;
        loop {
            if self.skip > 0 {
                let here = self.skip.min(bytes.len());
                bytes = &bytes[here..];
                self.skip -= here;
                if self.skip > 0 {
                    return ended;
                }
                ended += self.element(0);
            }
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.line.extend_from_slice(bytes);
                return ended;
            };
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            ended += if self.line.is_empty() {
                self.header(line)
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.header(&whole)
            };
        }
    }

    /// An element is complete, or is an array of `inner` elements.
    fn element(&mut self, inner: u64) -> u64 {
        self.owed = self.owed - 1 + inner;
        if self.owed > 0 {
            return 0;
        }
        self.owed = 1;
        1
    }

    fn header(&mut self, line: &[u8]) -> u64 {
        match line[0] {
            b'$' => match number(line) {
                Some(length) => {
                    self.skip = length + 2;
                    0
                }
                None => self.element(0),
            },
            b'*' => self.element(number(line).unwrap_or(0) as u64),
            b'-' => {
                self.error.get_or_insert_with(|| line.escape_ascii().to_string());
                self.element(0)
            }
            _ => self.element(0),
        }
    }
}

/// The length in a header, or nothing if it is negative.
fn number(line: &[u8]) -> Option<usize> {
    let digits = line[1..].iter().take_while(|byte| byte.is_ascii_digit());
    line[1].is_ascii_digit().then(|| digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}

struct Connection {
    stream: TcpStream,
    replies: Replies,
    /// Replies still to come for the batch under way.
    owed: u64,
    sent: Instant,
    /// What of the batch the socket has not taken yet.
    unsent: std::ops::Range<usize>,
    /// The poller is to tell when it takes more.
    wants_room: bool,
}

/// What a run has brought.
pub struct Run {
    /// Requests answered.
    pub requests: u64,
    /// From the first request to the last reply.
    pub time: Duration,
    /// Of each request, all of a batch counted alike.
    pub latency: Histogram,
}

/// Connections to one server.
pub struct Load {
    poller: Poller,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// The next batch of the pool.
    cursor: usize,
}

impl Load {
    /// Connects so many times.
    pub fn connect(port: u16, connections: usize) -> std::io::Result<Load> {
        let poller = Poller::new()?;
        let connections = (0..connections).map(|token| {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            poller.add(&stream, token)?;
            let (replies, sent) = (Replies::default(), Instant::now());
            Ok(Connection { stream, replies, owed: 0, sent, unsent: 0..0, wants_room: false })
        });
        let connections = connections.collect::<std::io::Result<_>>()?;
        Ok(Load { poller, connections, buffer: vec![0; 256 * 1024], cursor: 0 })
    }

    /// Sends batches of the pool until time is up, round and round, or without a time each batch once; then
    /// waits for what is still to come.
    pub fn run(&mut self, pool: &Pool, time: Option<Duration>) -> std::io::Result<Run> {
        if time.is_none() {
            self.cursor = 0;
        }
        let started = Instant::now();
        let mut run = Run { requests: 0, time: Duration::ZERO, latency: Histogram::default() };
        let mut active = 0;
        for token in 0..self.connections.len() {
            active += usize::from(self.start(token, pool, time.is_none(), started)?);
        }
        let mut ready: Vec<Ready> = Vec::new();
        while active > 0 {
            self.poller.wait(PATIENCE_MS, &mut ready)?;
            if ready.is_empty() {
                return Err(std::io::Error::other("a reply is missing"));
            }
            for event in &ready {
                let token = event.token;
                if !self.connections[token].unsent.is_empty() {
                    self.write(token, pool)?;
                }
                if !event.readable || !self.read(token)? {
                    continue;
                }
                let now = Instant::now();
                run.requests += pool.depth as u64;
                run.latency.record((now - self.connections[token].sent).as_nanos() as u64, pool.depth as u64);
                let more = time.is_none_or(|time| now - started < time);
                active -= usize::from(!more || !self.start(token, pool, time.is_none(), now)?);
            }
        }
        run.time = started.elapsed();
        Ok(run)
    }

    /// Sends the next batch. False if there is none.
    fn start(&mut self, token: usize, pool: &Pool, once: bool, now: Instant) -> std::io::Result<bool> {
        if self.cursor >= pool.ends.len() {
            if once {
                return Ok(false);
            }
            self.cursor = 0;
        }
        let connection = &mut self.connections[token];
        connection.unsent = pool.batch(self.cursor);
        connection.owed = pool.depth as u64;
        connection.sent = now;
        self.cursor += 1;
        self.write(token, pool)?;
        Ok(true)
    }

    fn write(&mut self, token: usize, pool: &Pool) -> std::io::Result<()> {
        let connection = &mut self.connections[token];
        let mut room = true;
        while room && !connection.unsent.is_empty() {
            match connection.stream.write(&pool.bytes[connection.unsent.clone()]) {
                Ok(written) => connection.unsent.start += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => room = false,
                Err(error) => return Err(error),
            }
        }
        if room == connection.wants_room {
            connection.wants_room = !room;
            self.poller.change(&connection.stream, token, !room)?;
        }
        Ok(())
    }

    /// Reads once. True if the batch under way is answered.
    fn read(&mut self, token: usize) -> std::io::Result<bool> {
        let connection = &mut self.connections[token];
        let read = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        connection.owed -= connection.replies.take(&self.buffer[..read]);
        match &connection.replies.error {
            Some(error) => Err(std::io::Error::other(format!("the server answers {error}"))),
            None => Ok(connection.owed == 0),
        }
    }
}
