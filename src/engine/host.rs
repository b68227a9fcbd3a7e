//! What the engine knows of its host, and what it asks of it.
//!
//! Facts and probes only describe (INFO, SLOWLOG, memory); no decision about data hangs on them except
//! `maxmemory`, which is measured by [`Host::used_memory`]. Everything the host is to *do* is an
//! [`Ask`]; how it went comes back as a [`Report`].

use super::client::ClientId;

/// The world around the engine, described by its front end.
#[derive(Clone)]
pub struct Host {
    /// Nanoseconds on a monotonic clock, for measuring how long commands take.
    pub stopwatch_ns: fn() -> u64,
    /// Bytes of memory now allocated by this process.
    pub used_memory: fn() -> usize,
    /// What the operating system says of this process.
    pub resources: fn() -> Resources,
    /// Process id.
    pub pid: u32,
    /// Operating system, as `uname` words it.
    pub os: String,
    /// Path of the executable.
    pub executable: String,
    /// Path of the configuration file, empty if there is none.
    pub config_file: String,
    /// What tells the time that never jumps.
    pub monotonic_clock: &'static str,
    /// How sockets are polled: "epoll", "kqueue", "browser".
    pub multiplexing: &'static str,
    /// The allocator's name and version.
    pub allocator: &'static str,
    /// Total memory of the machine in bytes, 0 if unknown.
    pub total_memory: u64,
}

/// What the operating system says of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resources {
    /// Resident set size in bytes.
    pub rss: u64,
    /// Bytes that the allocator holds of the system, used or not.
    pub committed: u64,
    /// Largest resident set size so far in bytes.
    pub peak_rss: u64,
    /// Seconds of user and system time of the process.
    pub cpu_user: f64,
    /// See `cpu_user`.
    pub cpu_sys: f64,
    /// The same for the main thread, which runs the engine unless there are io threads to help it.
    pub cpu_user_main: f64,
    /// See `cpu_user_main`.
    pub cpu_sys_main: f64,
}

impl Default for Host {
    /// A host that measures nothing: for tests and simulations.
    fn default() -> Host {
        Host {
            stopwatch_ns: || 0,
            used_memory: || 0,
            resources: Resources::default,
            pid: 1,
            os: String::new(),
            executable: String::new(),
            config_file: String::new(),
            monotonic_clock: "none",
            multiplexing: "none",
            allocator: "system",
            total_memory: 0,
        }
    }
}

/// A number that ties a [`Report`] to its [`Ask`].
pub type Ticket = u64;

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// A snapshot on its own (SAVE, BGSAVE, save points, SHUTDOWN).
    Rdb,
    /// The base of a new log generation (BGREWRITEAOF, switching the log on, compaction).
    LogBase,
}

/// Something the host is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Begin to pull a snapshot with [`Engine::snapshot_chunk`](super::Engine::snapshot_chunk) and store
    /// it. `LogBase`: what is appended from offset `at` on belongs to the new generation.
    StartSnapshot {
        /// What it is for.
        kind: SnapshotKind,
        /// Offset of the stream at the cut.
        at: u64,
        /// The snapshot is to be pulled to its end before anything else is served.
        at_once: bool,
    },
    /// The snapshot under way is not wanted any more: remove what is stored of it.
    CancelSnapshot,
    /// Apply changed host parameters: `(name, value)`. Answer with [`Report::Done`].
    Configure {
        /// Whose report it is.
        ticket: Ticket,
        /// What has changed.
        changes: Vec<(&'static str, String)>,
    },
    /// Write the configuration back to its file. Answer with [`Report::Done`].
    RewriteConfig {
        /// Whose report it is.
        ticket: Ticket,
        /// Write all parameters, those at their defaults too.
        all: bool,
    },
    /// Give memory that is free back to the system. Answer with [`Report::Done`].
    GiveBack {
        /// Whose report it is.
        ticket: Ticket,
        /// Nobody has wanted anything for a while, so nobody notices if it takes some milliseconds.
        at_rest: bool,
    },
    /// Make everything appended so far durable. Answer with [`Report::Stored`].
    Sync,
    /// Store everything, load the log or the last snapshot again from storage and report with
    /// [`Report::Done`]; the engine is given [`Engine::begin_reload`](super::Engine::begin_reload) and the
    /// files meanwhile.
    Reload {
        /// Whose report it is.
        ticket: Ticket,
        /// What to load.
        kind: SnapshotKind,
        /// Empty the databases first.
        flush: bool,
    },
    /// Wait so many microseconds before each write to the log (DEBUG AOF-FLUSH-SLEEP).
    DelayLog {
        /// How long.
        micros: u64,
    },
    /// Do nothing for so many microseconds (DEBUG SLEEP).
    Stall {
        /// How long.
        micros: u64,
    },
    /// Write a line to the log.
    Log {
        /// How important it is.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// Leave: everything that is to be stored has been asked for before.
    Exit,
}

/// How important a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// Why the host does not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The parameter that stands in the way, or nothing.
    pub about: &'static str,
    /// The reason, in words.
    pub text: String,
}

impl From<String> for Refusal {
    fn from(text: String) -> Refusal {
        Refusal { about: "", text }
    }
}

/// What the world answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// `bytes` of what was handed out for a client have left for good.
    Sent {
        /// The client.
        client: ClientId,
        /// How many bytes.
        bytes: usize,
    },
    /// The stream is durable up to this offset.
    Stored {
        /// The offset.
        offset: u64,
    },
    /// The stream could not be stored; writes are refused until [`Report::Stored`] comes again.
    StoreFailed {
        /// Why, in words.
        reason: String,
    },
    /// The log is being flushed, or not any more.
    Flushing {
        /// Whether a flush is under way.
        under_way: bool,
        /// How often so far a write went on although a flush was under way for long.
        delayed: u64,
    },
    /// The log that is continued has this many bytes.
    LogSize {
        /// How many.
        bytes: u64,
    },
    /// The snapshot under way is stored for good.
    SnapshotStored,
    /// The snapshot under way could not be stored.
    SnapshotFailed {
        /// Why, in words.
        reason: String,
    },
    /// An ask with this ticket is done, or why it is not.
    Done {
        /// Which ask.
        ticket: Ticket,
        /// How it went.
        result: Result<(), Refusal>,
    },
    /// SIGTERM, SIGINT, or a page that closes.
    Terminate {
        /// Whether to save, or `None` for what the save points say.
        save: Option<bool>,
        /// Leave even if saving fails.
        force: bool,
    },
}
