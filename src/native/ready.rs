//! Who can go on: sources of events that have something to do, in the order they said so.
//!
//! Every source (a connection, a listener, the timer, the storage thread) has a [`Flag`] that makes the
//! waker it is polled with. A wake puts its token on the list, once, and wakes the pump; so one turn
//! of the pump deals with everything the system reported at once. Wakes may come from any thread. An io thread
//! is a pump with a list of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// A source of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The connection in this slot.
    Connection(u32),
    /// The listener with this index.
    Listener(u32),
    /// The signals of the process.
    Signals,
    /// The timer.
    Timer,
    /// Reports of the storage thread.
    Storage,
    /// What another thread has put where it is looked for.
    Mail,
}

#[derive(Default)]
struct List {
    tokens: Vec<Token>,
    pump: Option<Waker>,
    /// The pump is at work, and looks at the list once more before it rests.
    awake: bool,
}

/// The list of tokens that are ready.
#[derive(Clone, Default)]
pub struct Ready(Arc<Mutex<List>>);

/// What a source is woken by.
pub struct Flag {
    token: Token,
    queued: AtomicBool,
    list: Ready,
}

impl Ready {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A flag for a source.
    pub fn flag(&self, token: Token) -> Arc<Flag> {
        Arc::new(Flag { token, queued: AtomicBool::new(false), list: self.clone() })
    }

    /// Moves the ready tokens to `tokens`, which must be empty; `pump` is woken when others come.
    pub fn take(&self, pump: &Waker, tokens: &mut Vec<Token>) {
        let mut list = self.lock();
        std::mem::swap(&mut list.tokens, tokens);
        list.awake = true;
        if list.pump.as_ref().is_none_or(|known| !known.will_wake(pump)) {
            list.pump = Some(pump.clone());
        }
    }

    /// Says that the pump has done all it knew of. True if there is more: then it must go on.
    pub fn rest(&self) -> bool {
        let mut list = self.lock();
        list.awake = !list.tokens.is_empty();
        list.awake
    }
}

impl Flag {
    /// Puts the source on the list, as if it had been woken.
    pub fn raise(self: &Arc<Self>) {
        self.wake_by_ref();
    }

    /// Lets the next wake through: call it before the source is polled.
    pub fn rearm(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut list = self.list.lock();
        list.tokens.push(self.token);
        // A wake from another thread is a system call: none while the pump is at work anyway.
        if !list.awake
            && list.tokens.len() == 1
            && let Some(pump) = &list.pump
        {
            pump.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_on_the_list_once_until_it_is_armed_again() {
        let ready = Ready::default();
        let (flag, pump) = (ready.flag(Token::Connection(7)), Waker::noop());
        let mut tokens = Vec::new();
        flag.raise();
        flag.raise();
        ready.take(pump, &mut tokens);
        assert_eq!(tokens, [Token::Connection(7)]);
        tokens.clear();
        flag.raise();
        ready.take(pump, &mut tokens);
        assert_eq!(tokens, [], "it was never armed again");
        flag.rearm();
        Waker::from(flag.clone()).wake();
        ready.take(pump, &mut tokens);
        assert_eq!(tokens, [Token::Connection(7)]);
    }

    #[test]
    fn a_pump_at_work_is_not_woken_but_told_before_it_rests() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let count = Arc::new(Count(0.into()));
        let wakes = || count.0.load(Ordering::SeqCst);
        let (ready, pump) = (Ready::default(), Waker::from(count.clone()));
        let (mail, timer) = (ready.flag(Token::Mail), ready.flag(Token::Timer));
        let mut tokens = Vec::new();
        ready.take(&pump, &mut tokens);
        mail.raise();
        assert!(ready.rest() && wakes() == 0, "it goes on by itself");
        ready.take(&pump, &mut tokens);
        assert_eq!(std::mem::take(&mut tokens), [Token::Mail]);
        assert!(!ready.rest());
        mail.rearm();
        mail.raise();
        timer.raise();
        assert_eq!(wakes(), 1, "once for all there is");
    }
}
