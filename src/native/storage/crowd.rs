//! Whom a flush of the log waits for (`appendfsync always`).
//!
//! One flush serves all whose replies wait. Clients that wait for each reply come in crowds: those whom one flush let
//! go ask again a moment later, and those who came while it ran wait already. A flush that begins with the first of
//! them leaves the others to the next one, and there are two flushes for the same crowd where one would do; on a disk
//! that takes a millisecond that is half the speed. So a flush waits until as many have come as there were the last
//! time, for half as long as flushes take; and who did not come is not waited for again soon.
//!
//! Where flushes are quicker than the way to the storage thread and back, there is nothing to wait for, and the thread
//! that asks for one does it itself.

use std::time::Duration;

use crate::engine::time::MonoTime;

/// Flushes that take less are done by whoever asks: handing one over costs two threads their sleep. Measured with 50
/// clients and flushes of 110 microseconds: 1.1 to 1.25 times as many writes a second; with 300 it is three quarters.
const QUICK: Duration = Duration::from_micros(300);

/// Nobody is waited for where flushes take less: then one half of a crowd is served while the other half is flushed.
/// Measured with 50 clients: waiting makes 1.2 times as many writes where a flush takes 1 ms, and 1.7 with 5 ms.
const WORTH_WAITING: Duration = Duration::from_micros(600);

/// Nobody is waited for longer.
const LONGEST_WAIT: Duration = Duration::from_millis(5);

/// After a crowd did not come together, so many flushes wait for nobody.
const HASTY: u32 = 16;

/// Those who wait for flushes of the log.
#[derive(Debug, Default)]
pub struct Crowd {
    /// How long a flush takes, as an average in which late ones count most. Zero: not known.
    usual: Duration,
    /// Replies that came since the last flush began.
    here: usize,
    /// Those that the flush under way will let go.
    leaving: usize,
    /// How many are expected before the next flush begins, and until when.
    expected: usize,
    until: MonoTime,
    /// Flushes to come that wait for nobody.
    hasty: u32,
}

impl Crowd {
    /// So many replies wait from now on.
    pub fn come(&mut self, replies: usize) {
        self.here += replies;
    }

    /// Whether the next flush is to begin now.
    pub fn is_complete(&self, now: MonoTime) -> bool {
        self.usual < WORTH_WAITING || self.hasty > 0 || self.here >= self.expected || now >= self.until
    }

    /// When the next flush begins at the latest.
    pub fn deadline(&self) -> MonoTime {
        self.until
    }

    /// Whether a flush is likely to be over sooner than another thread would hear of it.
    pub fn is_quick(&self) -> bool {
        !self.usual.is_zero() && self.usual < QUICK
    }

    /// A flush begins.
    pub fn begin(&mut self) {
        self.hasty = match self.here >= self.expected {
            true => self.hasty.saturating_sub(1),
            false if self.hasty == 0 && self.usual >= WORTH_WAITING => HASTY,
            false => self.hasty.saturating_sub(1),
        };
        self.leaving = std::mem::take(&mut self.here);
    }

    /// It has ended after this time.
    pub fn end(&mut self, now: MonoTime, took: Duration) {
        self.usual = if self.usual.is_zero() { took } else { (self.usual * 7 + took) / 8 };
        self.expected = std::mem::take(&mut self.leaving) + self.here;
        self.until = now.plus_ms((self.usual / 2).min(LONGEST_WAIT).as_millis() as u64 + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(4);

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_ms(1000 + ms)
    }

    fn flush(crowd: &mut Crowd, ms: u64, took: Duration) {
        crowd.begin();
        crowd.end(at(ms), took);
    }

    #[test]
    fn two_halves_of_a_crowd_become_one() {
        let mut crowd = Crowd::default();
        crowd.come(1);
        assert!(crowd.is_complete(at(0)), "nobody is known yet");
        crowd.begin();
        crowd.come(49);
        crowd.end(at(4), SLOW);
        assert!(!crowd.is_complete(at(4)), "the first one comes again");
        assert_eq!(crowd.deadline(), at(7));
        crowd.come(1);
        assert!(crowd.is_complete(at(4)));
        flush(&mut crowd, 8, SLOW);
        crowd.come(49);
        assert!(!crowd.is_complete(at(8)));
        crowd.come(1);
        assert!(crowd.is_complete(at(8)));
    }

    #[test]
    fn who_stays_away_is_not_waited_for_again_soon() {
        let mut crowd = Crowd::default();
        crowd.come(10);
        flush(&mut crowd, 0, SLOW);
        crowd.come(9);
        assert!(!crowd.is_complete(at(2)) && crowd.is_complete(at(3)));
        for ms in 0..HASTY {
            flush(&mut crowd, u64::from(ms), SLOW);
            assert!(crowd.is_complete(at(u64::from(ms))), "{ms}");
            crowd.come(1);
        }
        flush(&mut crowd, 20, SLOW);
        assert!(!crowd.is_complete(at(20)));
    }

    #[test]
    fn quick_flushes_wait_for_nobody_and_a_slow_one_is_remembered_for_a_while() {
        let mut crowd = Crowd::default();
        assert!(!crowd.is_quick(), "not known yet");
        crowd.come(10);
        flush(&mut crowd, 0, Duration::from_micros(100));
        assert!(crowd.is_quick() && crowd.is_complete(at(0)));
        flush(&mut crowd, 0, SLOW);
        for _ in 0..5 {
            assert!(!crowd.is_quick());
            flush(&mut crowd, 0, Duration::from_micros(100));
        }
        for _ in 0..5 {
            flush(&mut crowd, 0, Duration::from_micros(100));
        }
        assert!(crowd.is_quick());
    }
}
