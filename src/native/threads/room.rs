//! The room where the engine is: one thread at a time is in it, whichever has something for it to do.
//!
//! A hop from thread to thread costs as much as a dozen small commands, so it is made only where it pays. While
//! the main thread sleeps, an io thread that has read little goes in itself, runs it, and writes the replies: as
//! if it were alone. One that has read much, or finds the room taken, leaves its delivery on the counter; the main
//! thread is woken, and then it is the one that runs everything, for as long as the counter is not empty, while
//! the io threads read, parse and write beside it.
//!
//! Invariants: nobody waits for the room but the main thread, and it only as long as one turn takes. A delivery is
//! never forgotten: who leaves the room, and the main thread before it sleeps, look at the counter *after* they
//! have said that they are gone; who puts something there looks *afterwards* whether somebody is there.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::super::pump::Pump;
use super::super::ready::Flag;
use super::mail::Counter;

/// The room.
pub struct Room {
    pump: Mutex<Option<Pump>>,
    /// What is to be run.
    pub counter: Counter,
    /// The main thread is at work, and looks at the counter before it sleeps.
    attended: AtomicBool,
    /// Wakes the main thread.
    bell: Arc<Flag>,
    /// The main thread's event loop, which has all sockets but those of connections.
    main: Handle,
}

impl Room {
    /// An empty room. Call it within the runtime of the main thread, which is woken by `bell`.
    pub fn new(bell: Arc<Flag>) -> Room {
        let main = Handle::current();
        Room { pump: Mutex::new(None), counter: Counter::default(), attended: AtomicBool::new(false), bell, main }
    }

    /// Puts the engine and what belongs to it into the room.
    pub fn furnish(&self, pump: Pump) {
        *self.pump.lock().unwrap_or_else(PoisonError::into_inner) = Some(pump);
    }

    /// A turn of the main thread.
    pub fn turn(&self, cx: &mut Context) -> Poll<ExitCode> {
        self.attended.store(true, SeqCst);
        let mut pump = self.pump.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = pump.as_mut().map_or(Poll::Pending, |pump| pump.turn(cx));
        drop(pump);
        if !self.counter.is_urgent() {
            self.attended.store(false, SeqCst);
        }
        if self.counter.is_urgent() {
            cx.waker().wake_by_ref();
        }
        polled
    }

    /// Has the main thread run what is on the counter.
    pub fn ring(&self) {
        if !self.attended.load(SeqCst) {
            self.bell.raise();
        }
    }

    /// Runs what is on the counter here and now, for the io thread with this number. False if somebody else does.
    pub fn enter(&self, number: usize) -> bool {
        if self.attended.load(SeqCst) {
            return false;
        }
        let mut pump = match self.pump.try_lock() {
            Ok(pump) => pump,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let context = self.main.enter();
        if let Some(pump) = pump.as_mut() {
            pump.turn_aside(number);
        }
        drop((context, pump));
        if self.counter.is_urgent() {
            self.ring();
        }
        true
    }
}
