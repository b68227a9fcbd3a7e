//! One row of the command table, and the small vocabulary it is written in.
//!
//! A row is the single truth about a command: dispatch checks, `COMMAND …`, ACL categories, key
//! extraction and hints all derive from it. Rows are built in `const` context by chained methods, so
//! that a family file reads as a table.

use super::call::Call;
use super::error::Outcome;

/// Runs one command: parse, check, mutate, reply, effects, in this order.
pub type Handler = fn(&mut Call) -> Outcome;

/// A set of command flags.
pub type Flags = u32;

/// May change data.
pub const WRITE: Flags = 1 << 0;
/// Reads data and changes none.
pub const READONLY: Flags = 1 << 1;
/// Refused when memory is above `maxmemory` and nothing can be evicted.
pub const DENYOOM: Flags = 1 << 2;
/// For administrators.
pub const ADMIN: Flags = 1 << 3;
/// Touches channels.
pub const PUBSUB: Flags = 1 << 4;
/// Not allowed in scripts.
pub const NOSCRIPT: Flags = 1 << 5;
/// May block the client.
pub const BLOCKING: Flags = 1 << 6;
/// Allowed while data are being loaded.
pub const LOADING: Flags = 1 << 7;
/// Allowed on a replica whose data are stale.
pub const STALE: Flags = 1 << 8;
/// Not shown to monitors.
pub const SKIP_MONITOR: Flags = 1 << 9;
/// Not kept in the slow log.
pub const SKIP_SLOWLOG: Flags = 1 << 10;
/// Asks for importing slots when `ASKING` came before.
pub const ASKING: Flags = 1 << 11;
/// Runs in constant or logarithmic time.
pub const FAST: Flags = 1 << 12;
/// Allowed before authentication.
pub const NO_AUTH: Flags = 1 << 13;
/// May propagate although it is no write (`PUBLISH`).
pub const MAY_REPLICATE: Flags = 1 << 14;
/// Not allowed inside MULTI.
pub const NO_MULTI: Flags = 1 << 15;
/// The key positions are only found by parsing the arguments.
pub const MOVABLEKEYS: Flags = 1 << 16;
/// Runs although a script or another unit is busy.
pub const ALLOW_BUSY: Flags = 1 << 17;
/// Refused while an asynchronous load runs.
pub const NO_ASYNC_LOADING: Flags = 1 << 18;
/// Only exists in sentinel mode.
pub const ONLY_SENTINEL: Flags = 1 << 19;
/// Its keys are optional, and without them it touches nothing.
pub const NO_MANDATORY_KEYS: Flags = 1 << 20;
/// May touch keys that its arguments do not name (`SCAN`).
pub const TOUCHES_ARBITRARY_KEYS: Flags = 1 << 21;
/// Refused unless the configuration allows it (`DEBUG`).
pub const PROTECTED: Flags = 1 << 22;
/// Not meant for users: COMMAND DOCS marks it `syscmd`.
pub const SYSCMD: Flags = 1 << 23;

/// Flag bits with the names COMMAND INFO shows, in its order. Flags that are not here stay hidden.
pub const FLAG_NAMES: &[(Flags, &str)] = &[
    (WRITE, "write"),
    (READONLY, "readonly"),
    (DENYOOM, "denyoom"),
    (ADMIN, "admin"),
    (PUBSUB, "pubsub"),
    (NOSCRIPT, "noscript"),
    (BLOCKING, "blocking"),
    (LOADING, "loading"),
    (STALE, "stale"),
    (SKIP_MONITOR, "skip_monitor"),
    (SKIP_SLOWLOG, "skip_slowlog"),
    (ASKING, "asking"),
    (FAST, "fast"),
    (NO_AUTH, "no_auth"),
    (NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (NO_ASYNC_LOADING, "no_async_loading"),
    (NO_MULTI, "no_multi"),
    (MOVABLEKEYS, "movablekeys"),
    (ALLOW_BUSY, "allow_busy"),
];

/// A set of ACL categories.
pub type Acl = u32;

/// ACL categories in Redis' order; the bit of a category is its index here.
pub const ACL_NAMES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Category bits, named as in Redis with a prefix.
pub const ACL_KEYSPACE: Acl = 1 << 0;
/// See [`ACL_NAMES`].
pub const ACL_READ: Acl = 1 << 1;
/// See [`ACL_NAMES`].
pub const ACL_WRITE: Acl = 1 << 2;
/// See [`ACL_NAMES`].
pub const ACL_SET: Acl = 1 << 3;
/// See [`ACL_NAMES`].
pub const ACL_SORTEDSET: Acl = 1 << 4;
/// See [`ACL_NAMES`].
pub const ACL_LIST: Acl = 1 << 5;
/// See [`ACL_NAMES`].
pub const ACL_HASH: Acl = 1 << 6;
/// See [`ACL_NAMES`].
pub const ACL_STRING: Acl = 1 << 7;
/// See [`ACL_NAMES`].
pub const ACL_BITMAP: Acl = 1 << 8;
/// See [`ACL_NAMES`].
pub const ACL_HYPERLOGLOG: Acl = 1 << 9;
/// See [`ACL_NAMES`].
pub const ACL_GEO: Acl = 1 << 10;
/// See [`ACL_NAMES`].
pub const ACL_STREAM: Acl = 1 << 11;
/// See [`ACL_NAMES`].
pub const ACL_PUBSUB: Acl = 1 << 12;
/// See [`ACL_NAMES`].
pub const ACL_ADMIN: Acl = 1 << 13;
/// See [`ACL_NAMES`].
pub const ACL_FAST: Acl = 1 << 14;
/// See [`ACL_NAMES`].
pub const ACL_SLOW: Acl = 1 << 15;
/// See [`ACL_NAMES`].
pub const ACL_BLOCKING: Acl = 1 << 16;
/// See [`ACL_NAMES`].
pub const ACL_DANGEROUS: Acl = 1 << 17;
/// See [`ACL_NAMES`].
pub const ACL_CONNECTION: Acl = 1 << 18;
/// See [`ACL_NAMES`].
pub const ACL_TRANSACTION: Acl = 1 << 19;
/// See [`ACL_NAMES`].
pub const ACL_SCRIPTING: Acl = 1 << 20;

/// The documentation group of a command; for data types also its ACL category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Stream,
    Bitmap,
    HyperLogLog,
    Geo,
    PubSub,
    Transactions,
    Scripting,
    Connection,
    Server,
    Cluster,
}

impl Group {
    /// The name that COMMAND DOCS shows.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
            Group::HyperLogLog => "hyperloglog",
            Group::Geo => "geo",
            Group::PubSub => "pubsub",
            Group::Transactions => "transactions",
            Group::Scripting => "scripting",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Cluster => "cluster",
        }
    }

    /// The ACL category that every command of this group belongs to, if the group has one. (What belongs
    /// to `@pubsub` is said by the flag: `PUBSUB HELP` does not.)
    pub const fn acl(self) -> Acl {
        match self {
            Group::Set => ACL_SET,
            Group::SortedSet => ACL_SORTEDSET,
            Group::List => ACL_LIST,
            Group::Hash => ACL_HASH,
            Group::String => ACL_STRING,
            Group::Bitmap => ACL_BITMAP,
            Group::HyperLogLog => ACL_HYPERLOGLOG,
            Group::Geo => ACL_GEO,
            Group::Stream => ACL_STREAM,
            Group::Connection => ACL_CONNECTION,
            Group::Transactions => ACL_TRANSACTION,
            Group::Scripting => ACL_SCRIPTING,
            Group::PubSub | Group::Generic | Group::Server | Group::Cluster => 0,
        }
    }
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument (the command's name is argument 0).
    Index(i32),
    /// Behind this keyword, searched from argument `from` (negative: backwards from the end).
    Keyword {
        /// The word, upper case.
        word: &'static str,
        /// Where the search starts.
        from: i32,
    },
    /// Not describable.
    Unknown,
}

/// How keys follow the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Up to `last` (relative to the beginning; -1: to the end), every `step`, only a `limit`-th part.
    Range {
        /// Last key relative to the first, or negative from the end.
        last: i32,
        /// Distance between keys.
        step: i32,
        /// 0 or 1: all; n: the first n-th part of the arguments.
        limit: i32,
    },
    /// The number of keys stands `count` behind the beginning, the first key `first` behind it.
    Keynum {
        /// Where the count stands.
        count: i32,
        /// Where the first key stands.
        first: i32,
        /// Distance between keys.
        step: i32,
    },
    /// Not describable.
    Unknown,
}

/// One group of keys in a command's arguments and what happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Space-separated flag words as COMMAND INFO shows them, e.g. "RW access update".
    pub flags: &'static str,
    /// Where keys begin.
    pub begin: Begin,
    /// How they follow.
    pub find: Find,
    /// What the flags leave unsaid; empty: nothing.
    pub notes: &'static str,
}

impl KeySpec {
    /// Any beginning with any way to go on.
    pub const fn new(flags: &'static str, begin: Begin, find: Find) -> KeySpec {
        KeySpec { flags, begin, find, notes: "" }
    }

    /// Adds what the flags leave unsaid.
    pub const fn notes(mut self, notes: &'static str) -> KeySpec {
        self.notes = notes;
        self
    }

    /// Keys from argument `first` on: `last`, `step` and `limit` as in [`Find::Range`].
    pub const fn range(flags: &'static str, first: i32, last: i32, step: i32, limit: i32) -> KeySpec {
        KeySpec::new(flags, Begin::Index(first), Find::Range { last, step, limit })
    }

    /// One key at argument `index`.
    pub const fn key(flags: &'static str, index: i32) -> KeySpec {
        KeySpec::range(flags, index, 0, 1, 0)
    }

    /// A count at argument `index`, followed by that many keys.
    pub const fn counted(flags: &'static str, index: i32) -> KeySpec {
        KeySpec::new(flags, Begin::Index(index), Find::Keynum { count: 0, first: 1, step: 1 })
    }
}

/// One row of the table: a command, or a sub-command inside its container.
#[derive(Clone, Copy)]
pub struct Spec {
    /// Lower-case name; of a sub-command the second word only.
    pub name: &'static str,
    /// Runs it; a container's own handler is never called.
    pub handler: Handler,
    /// Number of arguments, the name (and the sub-command's) included; negative: at least that many.
    pub arity: i32,
    /// Flag bits.
    pub flags: Flags,
    /// ACL categories beyond those that follow from flags and group.
    pub extra_acl: Acl,
    /// Documentation group.
    pub group: Group,
    /// Where its keys stand.
    pub keys: &'static [KeySpec],
    /// First version of Redis (or Valkey) that had it.
    pub since: &'static str,
    /// A few words of our own.
    pub summary: &'static str,
    /// Time complexity.
    pub complexity: &'static str,
    /// Deprecated since this version, and what to use instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Changes after its first version: (version, what).
    pub history: &'static [(&'static str, &'static str)],
    /// Hints for clients and proxies.
    pub tips: &'static [&'static str],
    /// The arguments in the notation of [`docs`](super::commands::docs).
    pub args: &'static str,
    /// Its sub-commands, if it is a container.
    pub subcommands: &'static [Spec],
    /// "container|name" of a sub-command, the name of anything else.
    pub full_name: &'static str,
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.full_name)
    }
}

impl Spec {
    /// A row. Everything else is added by the methods below.
    pub const fn new(name: &'static str, handler: Handler, arity: i32, flags: Flags, group: Group) -> Spec {
        Spec {
            name,
            handler,
            arity,
            flags,
            extra_acl: 0,
            group,
            keys: &[],
            since: "1.0.0",
            summary: "",
            complexity: "",
            deprecated: None,
            history: &[],
            tips: &[],
            args: "",
            subcommands: &[],
            full_name: name,
        }
    }

    /// A container: `arity` -2, no handler of its own.
    pub const fn container(name: &'static str, group: Group, subcommands: &'static [Spec]) -> Spec {
        let mut spec = Spec::new(name, |_| Ok(()), -2, 0, group);
        spec.subcommands = subcommands;
        spec
    }

    /// A sub-command of `full_name` ("config|get").
    pub const fn sub(full_name: &'static str, handler: Handler, arity: i32, flags: Flags, group: Group) -> Spec {
        let bytes = full_name.as_bytes();
        let mut at = 0;
        while bytes[at] != b'|' {
            at += 1;
        }
        let (_, name) = full_name.split_at(at + 1);
        let mut spec = Spec::new(name, handler, arity, flags, group);
        spec.full_name = full_name;
        spec
    }

    /// Makes a container of a command that also runs on its own (`COMMAND`).
    pub const fn subcommands(mut self, subcommands: &'static [Spec]) -> Spec {
        self.subcommands = subcommands;
        self
    }

    /// Whether it only reads or writes keys: it never waits, and what may hinder a client's commands (a
    /// transaction, a subscription, a pause …) is after it as it was before. What is the server's as a whole may wait.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.flags & (READONLY | WRITE) != 0
            && !matches!(self.group, Group::Server)
            && self.flags & (BLOCKING | ADMIN | PUBSUB | NOSCRIPT | PROTECTED | NO_AUTH) == 0
            && self.subcommands.is_empty()
    }

    /// Where the first element of a collection stands that the command looks for, if it does. A guess by the
    /// group, for what asks for memory ahead.
    #[inline]
    pub fn element_at(&self) -> Option<usize> {
        match self.group {
            Group::Set | Group::Hash => Some(2),
            // Behind the score or the increment.
            Group::SortedSet if self.flags & (WRITE | DENYOOM) == WRITE | DENYOOM => Some(3),
            Group::SortedSet => Some(2),
            _ => None,
        }
    }

    /// Where keys stand, if that does not hang on the arguments: the first, and the distance to the next up to
    /// the end; 0 if one is all.
    #[inline]
    pub fn key_steps(&self) -> Option<(u32, u32)> {
        let KeySpec { begin: Begin::Index(first), find, .. } = self.keys.first()? else { return None };
        match find {
            Find::Range { last: -1, step, .. } => Some((*first as u32, *step as u32)),
            Find::Range { .. } => Some((*first as u32, 0)),
            Find::Keynum { .. } | Find::Unknown => None,
        }
    }

    /// Where the keys stand.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Spec {
        self.keys = keys;
        self
    }

    /// One key at argument 1.
    pub const fn key1(self, spec: &'static [KeySpec; 1]) -> Spec {
        self.keys(spec)
    }

    /// Categories beyond those that follow from flags and group.
    pub const fn acl(mut self, extra: Acl) -> Spec {
        self.extra_acl = extra;
        self
    }

    /// Documentation: first version, complexity, summary.
    pub const fn docs(mut self, since: &'static str, complexity: &'static str, summary: &'static str) -> Spec {
        self.since = since;
        self.complexity = complexity;
        self.summary = summary;
        self
    }

    /// The arguments in the notation of [`docs`](super::commands::docs).
    pub const fn args(mut self, args: &'static str) -> Spec {
        self.args = args;
        self
    }

    /// Hints for clients and proxies.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Spec {
        self.tips = tips;
        self
    }

    /// Changes after the first version.
    pub const fn history(mut self, history: &'static [(&'static str, &'static str)]) -> Spec {
        self.history = history;
        self
    }

    /// Deprecated since `version`; use `instead`.
    pub const fn deprecated(mut self, version: &'static str, instead: &'static str) -> Spec {
        self.deprecated = Some((version, instead));
        self
    }

    /// Whether `count` arguments, name included, satisfy the arity.
    pub const fn arity_fits(&self, count: usize) -> bool {
        if self.arity >= 0 { count == self.arity as usize } else { count >= (-self.arity) as usize }
    }

    /// Whether all the given flags are set.
    pub const fn is(&self, flags: Flags) -> bool {
        self.flags & flags == flags
    }

    /// All ACL categories: those of the flags, the group and the extra ones.
    pub const fn acl_categories(&self) -> Acl {
        // A container is in no category of its group: its sub-commands are.
        let mut acl = self.extra_acl | if self.subcommands.is_empty() { self.group.acl() } else { 0 };
        if self.is(WRITE) {
            acl |= ACL_WRITE;
        }
        // Scripts and functions read or write by what they call: their rows say so themselves.
        if self.is(READONLY) && !matches!(self.group, Group::Scripting) {
            acl |= ACL_READ;
        }
        if self.is(ADMIN) {
            acl |= ACL_ADMIN | ACL_DANGEROUS;
        }
        if self.is(PUBSUB) {
            acl |= ACL_PUBSUB;
        }
        if self.is(BLOCKING) {
            acl |= ACL_BLOCKING;
        }
        acl | if self.is(FAST) { ACL_FAST } else { ACL_SLOW }
    }
}
