//! When an input happened. The engine owns no clock: every input carries its time, frozen for all it causes.
//!
//! Both types wrap integers, never `Instant`: they have constants, serialize, and need no shim on wasm.

/// Milliseconds since the Unix epoch: TTLs, `TIME`, stream IDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime {
    /// Microseconds since the Unix epoch.
    pub micros: i64,
}

impl WallTime {
    /// A wall time from milliseconds since the Unix epoch.
    pub const fn from_ms(ms: i64) -> WallTime {
        WallTime { micros: ms.saturating_mul(1000) }
    }

    /// Milliseconds since the Unix epoch.
    pub const fn ms(self) -> i64 {
        self.micros / 1000
    }

    /// Seconds since the Unix epoch.
    pub const fn seconds(self) -> i64 {
        self.micros / 1_000_000
    }
}

/// Nanoseconds on a clock that never jumps: timeouts, timers, uptime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonoTime {
    /// Nanoseconds since an arbitrary origin.
    pub nanos: u64,
}

impl MonoTime {
    /// The end of time: a deadline that never comes.
    pub const NEVER: MonoTime = MonoTime { nanos: u64::MAX };

    /// A monotonic time from milliseconds since the origin.
    pub const fn from_ms(ms: u64) -> MonoTime {
        MonoTime { nanos: ms.saturating_mul(1_000_000) }
    }

    /// Milliseconds since the origin.
    pub const fn ms(self) -> u64 {
        self.nanos / 1_000_000
    }

    /// This time plus `ms` milliseconds.
    pub const fn plus_ms(self, ms: u64) -> MonoTime {
        MonoTime { nanos: self.nanos.saturating_add(ms.saturating_mul(1_000_000)) }
    }

    /// Milliseconds from `earlier` to this time, zero if it is later.
    pub const fn ms_since(self, earlier: MonoTime) -> u64 {
        self.nanos.saturating_sub(earlier.nanos) / 1_000_000
    }
}

/// The time of one input on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// What a calendar says.
    pub wall: WallTime,
    /// What a stopwatch says.
    pub mono: MonoTime,
}

impl Now {
    /// So many microseconds later.
    pub const fn plus_micros(self, micros: u64) -> Now {
        let wall = self.wall.micros.saturating_add_unsigned(micros);
        let mono = self.mono.nanos.saturating_add(micros.saturating_mul(1000));
        Now { wall: WallTime { micros: wall }, mono: MonoTime { nanos: mono } }
    }
}
