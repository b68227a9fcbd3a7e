//! What goes between the engine's thread and an io thread: [`Delivery`] one way, [`Parcel`] the other.
//!
//! Both are moved whole, under a lock held for a few instructions; their buffers come back to
//! be filled again. Nothing here decides anything.
//!
//! Invariants: a slot is given to a connection by the engine's thread, and is free again when [`Event::Closed`]
//! has come back for it; so what is under way never means another connection than it did. What an io thread
//! delivers is taken in the order it was delivered, and a parcel holds what its thread has not taken yet, in the
//! order of its fields.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpStream, UnixStream};

use crate::engine::batch::{Parsed, Reader};

use super::super::connection::Stream;

/// What has happened to a connection.
#[derive(Debug)]
pub enum Event {
    /// It has sent `bytes` of the delivery, which begin with `requests`.
    Bytes {
        /// Where they are.
        bytes: Range<usize>,
        /// What was read of them.
        requests: Range<u32>,
    },
    /// It sends nothing any more.
    End,
    /// It takes nothing any more.
    Gone,
    /// It is closed, as it was to be.
    Closed,
}

/// What an io thread brings.
#[derive(Default)]
pub struct Delivery {
    /// Whose it is.
    pub thread: usize,
    /// What clients have sent.
    pub bytes: Vec<u8>,
    /// The requests in it.
    pub parsed: Parsed,
    /// What has happened, by slot.
    pub events: Vec<(u32, Event)>,
    /// How many bytes have left for good, by slot.
    pub sent: Vec<(u32, usize)>,
    /// Buffers of replies that are written.
    pub spare: Vec<Vec<u8>>,
}

impl Delivery {
    /// Whether it brings nothing at all.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.sent.is_empty() && self.spare.is_empty()
    }

    /// Whether the engine is to be woken for it; whatever else there is can wait for its next turn.
    pub fn is_urgent(&self) -> bool {
        self.events.iter().any(|(_, event)| !matches!(event, Event::Closed))
    }

    /// Whether connections wait for it to come back.
    pub fn is_awaited(&self) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, Event::Bytes { .. }))
    }
}

/// A socket on its way to its thread.
pub enum Socket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// Takes a socket from the event loop of this thread.
    ///
    /// # Errors
    /// The system does not let go of it.
    pub fn detach(stream: Stream) -> std::io::Result<Socket> {
        Ok(match stream {
            Stream::Tcp(stream) => Socket::Tcp(stream.into_std()?),
            Stream::Unix(stream) => Socket::Unix(stream.into_std()?),
        })
    }

    /// Gives it to the event loop of this thread.
    ///
    /// # Errors
    /// The system has no room for it.
    pub fn attach(self) -> std::io::Result<Stream> {
        Ok(match self {
            Socket::Tcp(socket) => Stream::Tcp(TcpStream::from_std(socket)?),
            Socket::Unix(socket) => Stream::Unix(UnixStream::from_std(socket)?),
        })
    }
}

/// What the engine's thread has for an io thread, to be dealt with in field order.
#[derive(Default)]
pub struct Parcel {
    /// What to read requests with from now on.
    pub reader: Option<Reader>,
    /// Connections that are the thread's from now on, by slot.
    pub adopted: Vec<(u32, Socket)>,
    /// What is to be written, by slot.
    pub sends: Vec<(u32, Vec<u8>)>,
    /// Slots to close when everything for them is written.
    pub closes: Vec<u32>,
    /// Slots to close at once.
    pub drops: Vec<u32>,
    /// Deliveries that have been dealt with.
    pub returned: Vec<Delivery>,
    /// Nothing is going on: what is only kept to be used again is to be freed.
    pub rest: bool,
    /// The thread is to end.
    pub leave: bool,
}

impl Parcel {
    /// Whether the thread is to be woken for it.
    pub fn is_urgent(&self) -> bool {
        self.leave
            || self.rest
            || !self.sends.is_empty()
            || !self.adopted.is_empty()
            || !self.closes.is_empty()
            || !self.drops.is_empty()
            || self.returned.iter().any(Delivery::is_awaited)
    }

    /// Puts what `other` holds behind its own, and leaves `other` empty.
    fn take(&mut self, other: &mut Parcel) {
        self.reader = other.reader.take().or(self.reader);
        self.adopted.append(&mut other.adopted);
        self.sends.append(&mut other.sends);
        self.closes.append(&mut other.closes);
        self.drops.append(&mut other.drops);
        self.returned.append(&mut other.returned);
        self.rest |= std::mem::take(&mut other.rest);
        self.leave |= other.leave;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where io threads put deliveries.
#[derive(Default)]
pub struct Counter(Mutex<Pile>);

#[derive(Default)]
struct Pile {
    deliveries: Vec<Delivery>,
    urgent: bool,
}

impl Counter {
    /// Puts one behind the others.
    pub fn put(&self, delivery: Delivery) {
        let urgent = delivery.is_urgent();
        let mut pile = lock(&self.0);
        pile.urgent |= urgent;
        pile.deliveries.push(delivery);
    }

    /// Whether the engine is to look here soon.
    pub fn is_urgent(&self) -> bool {
        lock(&self.0).urgent
    }

    /// Moves all to `deliveries`, which must be empty.
    pub fn take(&self, deliveries: &mut Vec<Delivery>) {
        let mut pile = lock(&self.0);
        pile.urgent = false;
        std::mem::swap(&mut pile.deliveries, deliveries);
    }
}

/// Where an io thread finds what is for it.
#[derive(Default)]
pub struct Pigeonhole(Mutex<Parcel>);

impl Pigeonhole {
    /// Adds a parcel, which is empty afterwards.
    pub fn put(&self, parcel: &mut Parcel) {
        lock(&self.0).take(parcel);
    }

    /// Moves what is there to `parcel`, which must be empty.
    pub fn take(&self, parcel: &mut Parcel) {
        std::mem::swap(&mut *lock(&self.0), parcel);
    }
}
