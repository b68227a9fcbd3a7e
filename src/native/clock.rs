//! Clocks: the time that inputs carry, and a stopwatch for commands.
//!
//! The stopwatch is read twice per command, so on x86_64 it is the processor's time stamp counter where
//! that runs at a constant rate, scaled once at start; elsewhere it is the monotonic clock. Redis'
//! counterpart: `monotonic.c`.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::engine::time::{MonoTime, Now, WallTime};

/// The clocks that inputs are stamped with.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// What they said when they were read last.
    read: Now,
    /// What the stopwatch said then.
    read_at: u64,
}

/// So many nanoseconds after they were read, the stopwatch stands in for both clocks: it is faster to read than one.
/// In that time it cannot be wrong by a microsecond.
const STAND_IN_NS: u64 = 1_000_000;

impl Clock {
    /// Starts the monotonic clock. Its origin lies a little before now, so that zero is the past.
    pub fn start() -> Clock {
        let origin = Instant::now();
        let origin = origin.checked_sub(Duration::from_secs(1)).unwrap_or(origin);
        let mut clock = Clock { origin, read: Now::default(), read_at: 0 };
        clock.read();
        clock
    }

    /// What both clocks say.
    pub fn now(&mut self) -> Now {
        let passed = stopwatch_ns().wrapping_sub(self.read_at);
        if passed >= STAND_IN_NS {
            return self.read();
        }
        let Now { wall, mono } = self.read;
        Now {
            wall: WallTime { micros: wall.micros + (passed / 1000) as i64 },
            mono: MonoTime { nanos: mono.nanos + passed },
        }
    }

    fn read(&mut self) -> Now {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(error) => -(error.duration().as_micros() as i64),
        };
        // Not before anything that the stopwatch has said.
        let nanos = (self.origin.elapsed().as_nanos() as u64).max(self.read.mono.nanos + STAND_IN_NS);
        self.read_at = stopwatch_ns();
        self.read = Now { wall: WallTime { micros }, mono: MonoTime { nanos } };
        self.read
    }

    /// The instant of a monotonic time; those that never come lie a day ahead.
    pub fn instant(&self, time: MonoTime) -> Instant {
        let at = self.origin.checked_add(Duration::from_nanos(time.nanos));
        at.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400))
    }
}

/// How ticks become nanoseconds: multiplied, then shifted right by 32 bits. Zero: not usable.
static SCALE: OnceLock<u64> = OnceLock::new();

/// Nanoseconds since an arbitrary point, for measuring short times.
#[inline]
pub fn stopwatch_ns() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let scale = *SCALE.get_or_init(calibrate);
        if scale != 0 {
            return ((u128::from(ticks()) * u128::from(scale)) >> 32) as u64;
        }
    }
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Calibrates the stopwatch, which takes some milliseconds: call it before anything is measured.
pub fn prepare_stopwatch() {
    stopwatch_ns();
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn ticks() -> u64 {
    // SAFETY: every x86_64 processor has the instruction; it only reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Compares the counter with the monotonic clock; 0 if it does not run at a constant rate.
#[cfg(target_arch = "x86_64")]
fn calibrate() -> u64 {
    let constant = std::fs::read_to_string("/proc/cpuinfo")
        .is_ok_and(|text| text.contains(" constant_tsc") && text.contains(" nonstop_tsc"));
    if !constant {
        return 0;
    }
    let (began, first) = (Instant::now(), ticks());
    while began.elapsed() < Duration::from_millis(5) {
        std::hint::spin_loop();
    }
    let (nanos, passed) = (began.elapsed().as_nanos(), ticks().wrapping_sub(first));
    if passed == 0 { 0 } else { ((nanos << 32) / u128::from(passed)) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_go_on_between_two_readings() {
        prepare_stopwatch();
        let mut clock = Clock::start();
        let (began, first) = (Instant::now(), clock.now());
        let (mut last, mut fresh) = (first, 0);
        while began.elapsed() < Duration::from_millis(50) {
            let now = clock.now();
            assert!(now.mono >= last.mono, "{now:?} after {last:?}");
            fresh += u32::from(now.mono > last.mono);
            last = now;
        }
        assert!(fresh > 1000, "{fresh} times in 50 ms");
        let (real, shown) = (began.elapsed().as_micros() as i64, last.mono.nanos - first.mono.nanos);
        assert!((real - shown as i64 / 1000).abs() < 5000, "{shown} ns shown, {real} us passed");
        assert!((real - (last.wall.micros - first.wall.micros)).abs() < 5000);
    }

    #[test]
    fn the_stopwatch_agrees_with_the_clock() {
        prepare_stopwatch();
        let (began, first) = (Instant::now(), stopwatch_ns());
        std::thread::sleep(Duration::from_millis(50));
        let (shown, real) = (stopwatch_ns() - first, began.elapsed().as_nanos() as u64);
        assert!(shown.abs_diff(real) < real / 10, "{shown} ns shown, {real} ns passed");
    }
}
