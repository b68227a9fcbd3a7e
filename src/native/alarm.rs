//! The alarm: a thread that raises a flag when it is time.
//!
//! A timer of tokio's makes it read the clock twice and look through all its timers whenever the loop waits, near or
//! not. This costs those that wait nothing; setting it is a system call, which the loop makes some ten times a second.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::ready::Flag;

/// What the thread waits for.
enum Until {
    /// To be set.
    Set,
    /// This time.
    Time(Instant),
    /// Nothing any more.
    End,
}

struct Face {
    until: Mutex<Until>,
    changed: Condvar,
}

impl Face {
    fn lock(&self) -> MutexGuard<'_, Until> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, until: Until) {
        *self.lock() = until;
        self.changed.notify_one();
    }
}

/// An alarm. Its thread ends with it.
pub struct Alarm(Arc<Face>);

impl Alarm {
    /// An alarm that raises `flag`; not set yet.
    ///
    /// # Errors
    /// In words: the system has no more threads.
    pub fn start(flag: Arc<Flag>) -> Result<Alarm, String> {
        let face = Arc::new(Face { until: Mutex::new(Until::Set), changed: Condvar::new() });
        let alarm = Alarm(face.clone());
        let thread = std::thread::Builder::new().name("alarm".to_owned()).spawn(move || wait(&face, &flag));
        thread.map(|_| alarm).map_err(|error| format!("Cannot start the alarm's thread: {error}"))
    }

    /// Raises the flag at this time, once, and at no other.
    pub fn set(&self, time: Instant) {
        self.0.change(Until::Time(time));
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.change(Until::End);
    }
}

fn wait(face: &Face, flag: &Arc<Flag>) {
    let mut until = face.lock();
    loop {
        let time = match *until {
            Until::End => return,
            Until::Set => None,
            Until::Time(time) => Some(time.saturating_duration_since(Instant::now())),
        };
        until = match time {
            None => face.changed.wait(until).unwrap_or_else(PoisonError::into_inner),
            Some(left) if !left.is_zero() => {
                face.changed.wait_timeout(until, left).unwrap_or_else(PoisonError::into_inner).0
            }
            Some(_) => {
                *until = Until::Set;
                drop(until);
                flag.raise();
                face.lock()
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::super::ready::{Ready, Token};
    use super::*;

    /// The time until the flag is raised, at most five seconds.
    fn raised(ready: &Ready, flag: &Flag) -> Duration {
        let (began, mut tokens) = (Instant::now(), Vec::new());
        while tokens.is_empty() && began.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
            ready.take(Waker::noop(), &mut tokens);
        }
        assert_eq!(tokens, [Token::Timer]);
        flag.rearm();
        began.elapsed()
    }

    #[test]
    fn it_rings_when_it_is_time_and_not_when_it_was() {
        let ready = Ready::default();
        let flag = ready.flag(Token::Timer);
        let alarm = Alarm::start(flag.clone()).expect("a thread");
        alarm.set(Instant::now() + Duration::from_millis(60));
        assert!(raised(&ready, &flag) >= Duration::from_millis(60));
        // What comes later gives way to what comes sooner, and the other way round.
        alarm.set(Instant::now() + Duration::from_secs(3600));
        alarm.set(Instant::now());
        raised(&ready, &flag);
        let began = Instant::now();
        alarm.set(began + Duration::from_millis(600));
        alarm.set(began + Duration::from_millis(1000));
        raised(&ready, &flag);
        assert!(began.elapsed() >= Duration::from_millis(1000));
    }

    #[test]
    fn its_thread_ends_with_it() {
        let flag = Ready::default().flag(Token::Timer);
        let alarm = Alarm::start(flag.clone()).expect("a thread");
        alarm.set(Instant::now() + Duration::from_secs(3600));
        drop(alarm);
        let began = Instant::now();
        while Arc::strong_count(&flag) > 1 {
            assert!(began.elapsed() < Duration::from_secs(5), "the thread goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
