//! What to forget when memory is short: access clocks (LRU, LFU) and the choice of victims.
//!
//! The clock of an entry has 24 bits. LRU: seconds, wrapping. LFU: 16 bits of minutes since the last
//! decay and 8 bits of a logarithmic counter. Memory is measured by the front end's probe.

use super::config::{EvictionPolicy, EvictionSet};
use super::entry::Entry;
use super::rng::Rng;
use super::settings::Settings;
use super::time::Now;

const CLOCK_MASK: u32 = (1 << 24) - 1;

/// What a new key's LFU counter starts with, so that it is not evicted at once.
const LFU_INITIAL: u32 = 5;

/// How accesses are recorded, resolved once per lookup.
#[derive(Clone, Copy)]
pub struct AccessPolicy {
    lfu: bool,
    frozen: bool,
    seconds: u32,
    minutes: u32,
    log_factor: u32,
    decay_minutes: u32,
}

impl AccessPolicy {
    /// The policy that `settings` say; `frozen`: nothing moves.
    #[inline]
    pub fn new(settings: &Settings, now: Now, frozen: bool) -> AccessPolicy {
        AccessPolicy {
            lfu: settings.eviction.is_lfu(),
            frozen,
            seconds: lru_clock(now),
            minutes: lfu_minutes(now),
            log_factor: settings.lfu_log_factor,
            decay_minutes: settings.lfu_decay_minutes,
        }
    }

    /// Records a use.
    #[inline]
    pub fn touch(self, entry: &mut Entry, rng: &mut Rng) {
        if self.frozen {
            return;
        }
        if !self.lfu {
            return entry.set_access(self.seconds);
        }
        let counter = self.decayed(entry.access());
        let counter = if counter < 255 && self.counts(counter, rng) { counter + 1 } else { counter };
        entry.set_access(self.minutes << 8 | counter);
    }

    /// Sets the clock of a new entry.
    pub fn start(self, entry: &mut Entry) {
        entry.set_access(if self.lfu { self.minutes << 8 | LFU_INITIAL } else { self.seconds });
    }

    /// The LFU counter of a clock value, decayed to now.
    pub fn decayed(self, access: u32) -> u32 {
        let counter = access & 255;
        let elapsed = self.minutes.wrapping_sub(access >> 8) & 0xffff;
        match elapsed.checked_div(self.decay_minutes) {
            Some(periods) => counter.saturating_sub(periods),
            None => counter,
        }
    }

    /// Whether a use moves the counter: the higher it is, the less likely.
    fn counts(self, counter: u32, rng: &mut Rng) -> bool {
        let base = f64::from(counter.saturating_sub(LFU_INITIAL));
        let chance = 1.0 / (base * f64::from(self.log_factor) + 1.0);
        (rng.next() >> 11) as f64 / (1u64 << 53) as f64 <= chance
    }

    /// Seconds since the last use, for LRU.
    pub fn idle_seconds(self, access: u32) -> u32 {
        self.seconds.wrapping_sub(access) & CLOCK_MASK
    }
}

/// The LRU clock: seconds, 24 bits.
pub fn lru_clock(now: Now) -> u32 {
    now.wall.seconds() as u32 & CLOCK_MASK
}

fn lfu_minutes(now: Now) -> u32 {
    (now.wall.seconds() / 60) as u32 & 0xffff
}
