//! A connection: a socket, and what is still to be written to it.
//!
//! Not a client: that is the engine's record. A connection may outlive its client, until what the client
//! was sent before it was closed is out. Replies that wait for the disk are `held`; they go out in order.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::engine::client::ClientId;

use super::ready::Flag;

/// Bytes written to one connection before it is the others' turn.
const FLUSH_BYTES: usize = 1 << 20;

/// A connected socket.
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// A connection.
pub struct Connection {
    stream: Stream,
    /// Its client, until the engine has forgotten it. Those of io threads are written down beside the engine.
    pub client: Option<ClientId>,
    /// Its place among the sources of events.
    pub flag: Arc<Flag>,
    waker: Waker,
    /// What is to be written, in order.
    out: VecDeque<Vec<u8>>,
    /// Bytes of the first piece of `out` that are written.
    written: usize,
    /// What waits until the stream is stored up to an offset.
    held: VecDeque<(u64, Vec<u8>)>,
}

/// What one read brought.
pub enum Read {
    /// So many bytes. Whether something may be there still; if not, the flag will be woken.
    Bytes(usize, bool),
    /// Nothing now; the flag will be woken.
    Nothing,
    /// The other side has gone.
    End,
}

impl Connection {
    /// A connection, for a client if the engine has one at hand.
    pub fn new(stream: Stream, client: Option<ClientId>, flag: Arc<Flag>) -> Connection {
        let waker = Waker::from(flag.clone());
        Connection { stream, client, flag, waker, out: VecDeque::new(), written: 0, held: VecDeque::new() }
    }

    /// Reads what is there into `buffer`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Read {
        let mut cx = Context::from_waker(&self.waker);
        let room = buffer.len();
        let mut buffer = ReadBuf::new(buffer);
        let polled = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(&mut cx, &mut buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(&mut cx, &mut buffer),
        };
        match (polled, buffer.filled().len()) {
            (Poll::Pending, _) => Read::Nothing,
            (Poll::Ready(Err(_)), _) | (Poll::Ready(Ok(())), 0) => Read::End,
            (Poll::Ready(Ok(())), read) => Read::Bytes(read, read == room || self.is_readable()),
        }
    }

    /// Whether something may be there to be read, or the other side has gone. If not, the flag will be woken.
    fn is_readable(&self) -> bool {
        let mut cx = Context::from_waker(&self.waker);
        let polled = match &self.stream {
            Stream::Tcp(stream) => stream.poll_read_ready(&mut cx),
            Stream::Unix(stream) => stream.poll_read_ready(&mut cx),
        };
        polled.is_ready()
    }

    /// Whether replies wait for the log.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether everything for it is written.
    pub fn is_flushed(&self) -> bool {
        self.out.is_empty() && self.held.is_empty()
    }

    /// Writes `bytes`, or keeps what the socket does not take. Gives the number of bytes written, and
    /// the buffer if it is free again.
    ///
    /// # Errors
    /// The other side has gone.
    pub fn send(&mut self, bytes: Vec<u8>) -> io::Result<(usize, Option<Vec<u8>>)> {
        // Behind what waits.
        if let Some((offset, _)) = self.held.back() {
            self.held.push_back((*offset, bytes));
            return Ok((0, None));
        }
        if !self.out.is_empty() {
            self.out.push_back(bytes);
            return Ok((0, None));
        }
        let written = match self.try_write(&bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if written == bytes.len() {
            return Ok((written, Some(bytes)));
        }
        self.out.push_back(bytes);
        self.written = written;
        Ok((written + self.flush()?, None))
    }

    /// Keeps `bytes` until the stream is stored up to `offset`.
    pub fn hold(&mut self, offset: u64, bytes: Vec<u8>) {
        self.held.push_back((offset, bytes));
    }

    /// Lets go of what waited for an offset up to this one. Gives the number of bytes written.
    ///
    /// # Errors
    /// The other side has gone.
    pub fn release(&mut self, offset: u64) -> io::Result<usize> {
        while self.held.front().is_some_and(|(at, _)| *at <= offset) {
            self.out.extend(self.held.pop_front().map(|(_, bytes)| bytes));
        }
        self.flush()
    }

    /// Writes what the socket takes, and is woken when it takes more. Gives the number of bytes written.
    ///
    /// # Errors
    /// The other side has gone.
    pub fn flush(&mut self) -> io::Result<usize> {
        let mut sum = 0;
        while let Some(piece) = self.out.pop_front() {
            // A reader that keeps up with a large reply does not hold up others either.
            if sum >= FLUSH_BYTES {
                self.out.push_front(piece);
                self.flag.raise();
                break;
            }
            match self.try_write(&piece[self.written..]) {
                Ok(written) => {
                    sum += written;
                    self.written += written;
                    if self.written == piece.len() {
                        self.written = 0;
                        continue;
                    }
                    self.out.push_front(piece);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.out.push_front(piece);
                    let mut cx = Context::from_waker(&self.waker);
                    let ready = match &self.stream {
                        Stream::Tcp(stream) => stream.poll_write_ready(&mut cx),
                        Stream::Unix(stream) => stream.poll_write_ready(&mut cx),
                    };
                    match ready {
                        Poll::Pending => break,
                        Poll::Ready(result) => result?,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.stream {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        }
    }
}
