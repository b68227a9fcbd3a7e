//! What a parameter can hold: how each kind of value is read, checked, shown and rewritten.
//!
//! Nothing here knows a parameter's name. A [`Setting`] is a field of `Config`; a [`Kind`] is what
//! the table says about it. Reading is strict and total: a value is taken whole or refused in
//! Redis' words, and a refused value leaves the setting in an unspecified but valid state (the
//! caller restores it). Counterpart: the config interfaces in Redis' `config.c`.

use super::notify::NotifyFlags;
use crate::types::number::{parse_f64, parse_i64};
use std::borrow::Cow;

/// Why a value is refused, in Redis' words.
pub type Reason = Cow<'static, str>;

/// Bytes of a string parameter; Redis strings need not be UTF-8.
pub type Text = Vec<u8>;

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// Decimal digits.
    Plain,
    /// Bytes with an optional unit such as `kb` or `g`.
    Memory,
    /// Octal digits: a file mode.
    Octal,
}

/// What the table says about the values of one parameter.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// A whole number within bounds.
    Number {
        /// How it is written.
        notation: Notation,
        /// Whether a negative number has an error text of its own.
        unsigned: bool,
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// Any bytes that pass the check.
    String(fn(&[u8]) -> Result<(), &'static str>),
    /// One of a few words.
    Choice,
    /// A structured value that takes one argument.
    One,
    /// A structured value that takes any number of arguments.
    Many,
}

/// A decimal number from `min` to `max`.
pub const fn int(min: i64, max: i64) -> Kind {
    Kind::Number { notation: Notation::Plain, unsigned: false, min, max }
}

/// Like [`int`], in a type that has no negative numbers.
pub const fn uint(min: i64, max: i64) -> Kind {
    Kind::Number { notation: Notation::Plain, unsigned: true, min, max }
}

/// Bytes, such as `64mb`, from `min` up.
pub const fn memory(min: i64) -> Kind {
    Kind::Number { notation: Notation::Memory, unsigned: false, min, max: i64::MAX }
}

/// Like [`memory`], in a type that has no negative numbers.
pub const fn umemory(min: i64) -> Kind {
    Kind::Number { notation: Notation::Memory, unsigned: true, min, max: i64::MAX }
}

/// A file mode.
pub const fn octal() -> Kind {
    Kind::Number { notation: Notation::Octal, unsigned: true, min: 0, max: 0o777 }
}

/// One directive that CONFIG REWRITE would write: its arguments, and whether it must be appended
/// when the file does not have it.
pub struct Line {
    /// What follows the name, quoted where Redis quotes.
    pub text: Vec<u8>,
    /// Append the line if there is no old one to replace.
    pub force: bool,
}

/// A field of `Config` behind its table row.
pub trait Setting {
    /// Reads a value.
    ///
    /// # Errors
    /// Redis' words for what is wrong with it.
    fn assign(&mut self, kind: &Kind, args: &[&[u8]]) -> Result<(), Reason>;

    /// The value as `CONFIG GET` shows it.
    fn format(&self, kind: &Kind) -> Vec<u8>;

    /// The directives that would bring this value back; `default` is the default as shown.
    fn rewrite(&self, kind: &Kind, default: &[u8]) -> Vec<Line> {
        let text = self.format(kind);
        let force = text != default;
        vec![Line { text, force }]
    }
}

const WRONG_NUMBER: Reason = Cow::Borrowed("wrong number of arguments");

fn single<'a>(args: &[&'a [u8]]) -> Result<&'a [u8], Reason> {
    match args {
        [value] => Ok(value),
        _ => Err(WRONG_NUMBER),
    }
}

/// One empty argument stands for no arguments.
fn list<'a, 'b>(args: &'a [&'b [u8]]) -> &'a [&'b [u8]] {
    if args == [b"" as &[u8]] { &[] } else { args }
}

// ---------------------------------------------------------------------------------------------
// Numbers

/// C's `strtoll` of a whole string: leading blanks, a sign, digits, saturating; empty is 0.
fn parse_loose(text: &[u8], radix: u32) -> Option<i64> {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() && digits.len() != text.len() {
        return None;
    }
    let mut value = 0i64;
    for &digit in digits {
        let digit = (digit as char).to_digit(radix)? as i64;
        value = value.saturating_mul(radix as i64);
        value = if negative { value.saturating_sub(digit) } else { value.saturating_add(digit) };
    }
    Some(value)
}

/// Bytes with an optional unit. As in Redis the number itself saturates, its product with the unit
/// wraps, and an absent number counts as 0.
pub(super) fn parse_memory(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number =
        digits.iter().fold(0u64, |number, digit| number.saturating_mul(10).saturating_add((digit - b'0') as u64));
    Some(number.wrapping_mul(factor))
}

/// Bytes in the largest unit that divides them, as CONFIG REWRITE writes them.
fn format_memory(bytes: u64) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn parse_number(kind: &Kind, text: &[u8]) -> Result<i64, Reason> {
    let Kind::Number { notation, unsigned, min, max } = *kind else { unreachable!("a number field has a number kind") };
    let value: i128 = match notation {
        Notation::Plain => parse_i64(text).ok_or("argument couldn't be parsed into an integer")?.into(),
        Notation::Memory if min < 0 && text.starts_with(b"-") => {
            parse_i64(text).ok_or("argument must be a memory value")?.into()
        }
        Notation::Memory => parse_memory(text).ok_or("argument must be a memory value")?.into(),
        Notation::Octal => parse_loose(text, 8).ok_or("argument couldn't be parsed as an octal number")?.into(),
    };
    // Redis holds the number in an i64 here, where too many bytes look negative.
    if unsigned && (value < 0 || value > i64::MAX.into()) {
        return Err("argument must be greater or equal to 0".into());
    }
    let (low, high) = (i128::from(min), i128::from(max));
    if value < low || value > high {
        return Err(match notation {
            Notation::Octal => format!("argument must be between {min:o} and {max:o} inclusive"),
            _ => format!("argument must be between {min} and {max} inclusive"),
        }
        .into());
    }
    Ok(value as i64)
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Setting for $type {
            fn assign(&mut self, kind: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
                let value = parse_number(kind, single(args)?)?;
                *self = value.try_into().expect("the table's bounds fit the field's type");
                Ok(())
            }
            fn format(&self, kind: &Kind) -> Vec<u8> {
                match kind {
                    Kind::Number { notation: Notation::Octal, .. } => format!("{self:o}"),
                    _ => self.to_string(),
                }
                .into_bytes()
            }
            fn rewrite(&self, kind: &Kind, default: &[u8]) -> Vec<Line> {
                let shown = self.format(kind);
                let force = shown != default;
                let text = match (kind, u64::try_from(*self)) {
                    (Kind::Number { notation: Notation::Memory, .. }, Ok(bytes)) => {
                        format_memory(bytes).into_bytes()
                    }
                    _ => shown,
                };
                vec![Line { text, force }]
            }
        }
    )*};
}
numbers!(u16 u32 u64 i32 i64);

/// A number of bytes, or a share of a whole: of `maxmemory`, or of the memory in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOrPercent {
    /// Bytes; 0 is no limit.
    Bytes(u64),
    /// Percent of the whole, 1 to 100.
    Percent(u8),
}

impl MemoryOrPercent {
    /// The limit in bytes if this is the whole; 0 is no limit.
    pub fn bytes(self, whole: u64) -> u64 {
        match self {
            MemoryOrPercent::Bytes(bytes) => bytes,
            MemoryOrPercent::Percent(percent) => (whole as u128 * percent as u128 / 100) as u64,
        }
    }
}

impl Setting for MemoryOrPercent {
    fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        const NEITHER: &str = "argument must be a memory or percent value";
        const TOO_MUCH: &str = "percentage argument must be less or equal to 100";
        let text = single(args)?;
        *self = match text.strip_suffix(b"%") {
            Some(number) => match parse_i64(number).ok_or(NEITHER)? {
                0 => MemoryOrPercent::Bytes(0),
                percent @ 1..=100 => MemoryOrPercent::Percent(percent as u8),
                percent if percent < 0 => return Err(NEITHER.into()),
                _ => return Err(TOO_MUCH.into()),
            },
            None => match parse_memory(text).ok_or(NEITHER)? {
                bytes if bytes <= i64::MAX as u64 => MemoryOrPercent::Bytes(bytes),
                _ => return Err(TOO_MUCH.into()),
            },
        };
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        match self {
            MemoryOrPercent::Bytes(bytes) => bytes.to_string(),
            MemoryOrPercent::Percent(percent) => format!("{percent}%"),
        }
        .into_bytes()
    }

    fn rewrite(&self, kind: &Kind, default: &[u8]) -> Vec<Line> {
        let shown = self.format(kind);
        let force = shown != default;
        let text = match self {
            MemoryOrPercent::Bytes(bytes) => format_memory(*bytes).into_bytes(),
            MemoryOrPercent::Percent(_) => shown,
        };
        vec![Line { text, force }]
    }
}

// ---------------------------------------------------------------------------------------------
// Words

impl Setting for bool {
    fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        let text = single(args)?;
        *self = if text.eq_ignore_ascii_case(b"yes") {
            true
        } else if text.eq_ignore_ascii_case(b"no") {
            false
        } else {
            return Err("argument must be 'yes' or 'no'".into());
        };
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }
}

impl Setting for Text {
    fn assign(&mut self, kind: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        let text = single(args)?;
        if let Kind::String(check) = kind {
            check(text)?;
        }
        *self = text.to_vec();
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        self.clone()
    }

    fn rewrite(&self, _: &Kind, default: &[u8]) -> Vec<Line> {
        if self.is_empty() && default.is_empty() {
            return Vec::new(); // an absent string needs no line
        }
        vec![Line { text: quote(self), force: self != default }]
    }
}

/// Quotes bytes so that [`parse_line`](super::parse_line) reads them back.
pub fn quote(text: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for &byte in text {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    out.push(b'"');
    out
}

/// The refusal of a word that is none of `words`.
fn one_of(words: impl Iterator<Item = &'static str>) -> Reason {
    let words: Vec<&str> = words.collect();
    format!("argument(s) must be one of the following: {}", words.join(", ")).into()
}

/// Declares enums whose variants have a spelling. Words after `also` are accepted without being
/// named in the refusal: they are Valkey's.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident {
        $($variant:ident $word:literal),+ $(; also $($more:ident $other:literal),+)?
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`")] $variant,)+
            $($(#[doc = concat!("`", $other, "`")] $more,)+)?
        }

        impl $name {
            /// The word in the configuration.
            pub const fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                    $($($name::$more => $other,)+)?
                }
            }
        }

        impl Setting for $name {
            fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
                const ALL: &[$name] =
                    &[$($name::$variant,)+ $($($name::$more,)+)?];
                let text = single(args)?;
                let found = ALL.iter().find(|it| it.word().as_bytes().eq_ignore_ascii_case(text));
                *self = *found.ok_or_else(|| one_of([$($word),+].into_iter()))?;
                Ok(())
            }
            fn format(&self, _: &Kind) -> Vec<u8> {
                self.word().as_bytes().to_vec()
            }
        }
    )*};
}

choices! {
    /// `acl-pubsub-default`: channels of a new user.
    AclPubsubDefault { AllChannels "allchannels", ResetChannels "resetchannels" }
    /// `appendfsync`: when the log is flushed to the disk.
    AppendFsync { EverySec "everysec", Always "always", No "no" }
    /// `cluster-config-save-behavior`.
    SaveBehavior { Sync "sync", BestEffort "best-effort" }
    /// `cluster-preferred-endpoint-type`.
    EndpointType { Ip "ip", Hostname "hostname", Unknown "unknown-endpoint" }
    /// `enable-debug-command` and its like: from where a dangerous command is allowed.
    Allowed { No "no", Yes "yes", Local "local" }
    /// `log-format`.
    LogFormat { Legacy "legacy", Logfmt "logfmt", Json "json" }
    /// `log-timestamp-format`.
    LogTimestamp { Legacy "legacy", Iso8601 "iso8601", Milliseconds "milliseconds" }
    /// `loglevel`: the least important line that is logged.
    LogLevel { Debug "debug", Verbose "verbose", Notice "notice", Warning "warning", Nothing "nothing" }
    /// `maxmemory-policy`: which keys make room.
    MaxmemoryPolicy {
        VolatileLru "volatile-lru", VolatileLfu "volatile-lfu", VolatileRandom "volatile-random",
        VolatileTtl "volatile-ttl", AllkeysLru "allkeys-lru", AllkeysLfu "allkeys-lfu",
        AllkeysRandom "allkeys-random", NoEviction "noeviction"
    }
    /// `oom-score-adj`.
    OomScoreAdj { No "no", Yes "yes", Relative "relative", Absolute "absolute" }
    /// `propagation-error-behavior`.
    PropagationError { Ignore "ignore", Panic "panic", PanicOnReplicas "panic-on-replicas" }
    /// `rdb-version-check`: whether a snapshot of an unknown version is refused.
    RdbVersionCheck { Strict "strict", Relaxed "relaxed" }
    /// `repl-diskless-load`.
    DisklessLoad {
        Disabled "disabled", OnEmptyDb "on-empty-db", SwapDb "swapdb";
        also FlushBeforeLoad "flush-before-load"
    }
    /// `sanitize-dump-payload`: whose payloads are checked in depth.
    SanitizeDump { No "no", Yes "yes", Clients "clients" }
    /// `supervised`.
    Supervised { Upstart "upstart", Systemd "systemd", Auto "auto", No "no" }
    /// `syslog-facility`.
    SyslogFacility {
        User "user", Local0 "local0", Local1 "local1", Local2 "local2", Local3 "local3",
        Local4 "local4", Local5 "local5", Local6 "local6", Local7 "local7"
    }
    /// `tls-auth-clients`.
    TlsAuthClients { No "no", Yes "yes", Optional "optional" }
    /// `tls-auth-clients-user`.
    TlsAuthClientsUser { CommonName "CN", Uri "URI", Off "off" }
}

impl MaxmemoryPolicy {
    /// Whether keys carry an access frequency instead of an access time.
    pub fn is_lfu(self) -> bool {
        matches!(self, MaxmemoryPolicy::VolatileLfu | MaxmemoryPolicy::AllkeysLfu)
    }

    /// Whether the choice among keys goes by the last access.
    pub fn is_lru(self) -> bool {
        matches!(self, MaxmemoryPolicy::VolatileLru | MaxmemoryPolicy::AllkeysLru)
    }

    /// Whether keys without a TTL may be evicted.
    pub fn is_allkeys(self) -> bool {
        use MaxmemoryPolicy::*;
        matches!(self, AllkeysLru | AllkeysLfu | AllkeysRandom)
    }
}

impl Allowed {
    /// Whether a client may, given that it is connected from this host or not.
    pub fn permits(self, local: bool) -> bool {
        match self {
            Allowed::No => false,
            Allowed::Yes => true,
            Allowed::Local => local,
        }
    }
}

/// `shutdown-on-sigterm`, `shutdown-on-sigint`: options of SHUTDOWN when a signal asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOptions {
    /// Save even without save points.
    pub save: bool,
    /// Do not save even with save points.
    pub nosave: bool,
    /// Do not wait for lagging replicas.
    pub now: bool,
    /// Leave even if saving fails.
    pub force: bool,
    /// Valkey: refuse when it is unsafe for the cluster.
    pub safe: bool,
    /// Valkey: hand over to a replica first.
    pub failover: bool,
}

impl ShutdownOptions {
    fn fields(&mut self) -> [(&'static str, &mut bool); 6] {
        [
            ("save", &mut self.save),
            ("nosave", &mut self.nosave),
            ("now", &mut self.now),
            ("force", &mut self.force),
            ("safe", &mut self.safe),
            ("failover", &mut self.failover),
        ]
    }
}

impl Setting for ShutdownOptions {
    fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        let mut options = ShutdownOptions::default();
        if args.is_empty() {
            return Err(one_of(["default", "save", "nosave", "now", "force"].into_iter()));
        }
        for word in args {
            let mut known = word.eq_ignore_ascii_case(b"default");
            for (name, flag) in options.fields() {
                if name.as_bytes().eq_ignore_ascii_case(word) {
                    *flag = true;
                    known = true;
                }
            }
            if !known {
                return Err(one_of(["default", "save", "nosave", "now", "force"].into_iter()));
            }
        }
        if options.save && options.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = options;
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        let mut copy = *self;
        let set: Vec<&str> = copy.fields().iter().filter(|row| *row.1).map(|row| row.0).collect();
        if set.is_empty() { b"default".to_vec() } else { set.join(" ").into_bytes() }
    }
}

// ---------------------------------------------------------------------------------------------
// Structured values

impl Setting for NotifyFlags {
    fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        *self = NotifyFlags::parse(single(args)?).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        NotifyFlags::format(*self).into_bytes()
    }

    fn rewrite(&self, kind: &Kind, default: &[u8]) -> Vec<Line> {
        let shown = Setting::format(self, kind);
        vec![Line { text: quote(&shown), force: shown != default }]
    }
}

/// One rule of `save`: a snapshot is due after `seconds` if at least `changes` were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot, at least 1.
    pub seconds: u64,
    /// Least number of changes.
    pub changes: i32,
}

/// `save`. Values given are added to those that are there: the caller clears them when due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavePoints(pub Vec<SavePoint>);

impl Setting for SavePoints {
    fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        if args == [b"" as &[u8]] {
            self.0.clear();
            return Ok(());
        }
        let invalid = "Invalid save parameters";
        let (pairs, []) = args.as_chunks::<2>() else {
            return Err(invalid.into());
        };
        for pair in pairs {
            let seconds = parse_loose(pair[0], 10).filter(|&it| it >= 1).ok_or(invalid)?;
            let changes = parse_loose(pair[1], 10).filter(|&it| it >= 0).ok_or(invalid)?;
            self.0.push(SavePoint { seconds: seconds as u64, changes: changes as i32 });
        }
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        let points: Vec<String> = self.0.iter().map(|it| format!("{} {}", it.seconds, it.changes)).collect();
        points.join(" ").into_bytes()
    }

    fn rewrite(&self, _: &Kind, _: &[u8]) -> Vec<Line> {
        if self.0.is_empty() {
            return vec![Line { text: b"\"\"".to_vec(), force: true }];
        }
        let line = |it: &SavePoint| Line { text: format!("{} {}", it.seconds, it.changes).into_bytes(), force: true };
        self.0.iter().map(line).collect()
    }
}

/// Limit of one client class: closed above `hard_bytes`, or above `soft_bytes` for `soft_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Close at once above this; 0 is no limit.
    pub hard_bytes: u64,
    /// Close after a while above this; 0 is no limit.
    pub soft_bytes: u64,
    /// The while.
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Ordinary clients.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Clients that are subscribed to something.
    pub pubsub: OutputLimit,
}

impl Default for OutputLimits {
    fn default() -> OutputLimits {
        let limit = |hard_mb: u64, soft_mb: u64, soft_seconds| OutputLimit {
            hard_bytes: hard_mb << 20,
            soft_bytes: soft_mb << 20,
            soft_seconds,
        };
        OutputLimits { normal: limit(0, 0, 0), replica: limit(256, 64, 60), pubsub: limit(32, 8, 60) }
    }
}

impl Setting for OutputLimits {
    fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        let (groups, []) = list(args).as_chunks::<4>() else {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        };
        for [class, hard, soft, seconds] in groups {
            let slot = match class.to_ascii_lowercase().as_slice() {
                b"normal" => &mut self.normal,
                b"replica" | b"slave" => &mut self.replica,
                b"pubsub" => &mut self.pubsub,
                _ => {
                    return Err("Invalid client class specified in buffer limit configuration.".into());
                }
            };
            let number = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
            let seconds = parse_loose(seconds, 10).and_then(|it| i32::try_from(it).ok());
            *slot = OutputLimit {
                hard_bytes: parse_memory(hard).ok_or(number)?,
                soft_bytes: parse_memory(soft).ok_or(number)?,
                soft_seconds: seconds.and_then(|it| u64::try_from(it).ok()).ok_or(number)?,
            };
        }
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        let show =
            |class: &str, it: &OutputLimit| format!("{class} {} {} {}", it.hard_bytes, it.soft_bytes, it.soft_seconds);
        // Redis shows the old name of the replica class.
        [show("normal", &self.normal), show("slave", &self.replica), show("pubsub", &self.pubsub)]
            .join(" ")
            .into_bytes()
    }

    fn rewrite(&self, _: &Kind, _: &[u8]) -> Vec<Line> {
        let default = OutputLimits::default();
        let line = |class: &str, it: &OutputLimit, default: &OutputLimit| Line {
            text: format!(
                "{class} {} {} {}",
                format_memory(it.hard_bytes),
                format_memory(it.soft_bytes),
                it.soft_seconds
            )
            .into_bytes(),
            force: it != default,
        };
        vec![
            line("normal", &self.normal, &default.normal),
            line("replica", &self.replica, &default.replica),
            line("pubsub", &self.pubsub, &default.pubsub),
        ]
    }
}

/// `oom-score-adj-values`: for a primary, a replica and a background child.
impl Setting for [i32; 3] {
    fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        let values: &[&[u8]; 3] = args.try_into().map_err(|_| WRONG_NUMBER)?;
        for (slot, text) in self.iter_mut().zip(values) {
            *slot = parse_loose(text, 10)
                .filter(|it| (-2000..=2000).contains(it))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?
                as i32;
        }
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        format!("{} {} {}", self[0], self[1], self[2]).into_bytes()
    }
}

/// `latency-tracking-info-percentiles`: each from 0 to 100.
impl Setting for Vec<f64> {
    fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        self.clear();
        for text in list(args) {
            let number = parse_f64(text).ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&number) {
                return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into());
            }
            self.push(number);
        }
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        let show = |number: &f64| {
            let text = format!("{number:.6}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        };
        self.iter().map(show).collect::<Vec<_>>().join(" ").into_bytes()
    }

    fn rewrite(&self, kind: &Kind, default: &[u8]) -> Vec<Line> {
        let shown = self.format(kind);
        let force = shown != default;
        let text = if shown.is_empty() { b"\"\"".to_vec() } else { shown };
        vec![Line { text, force }]
    }
}

/// `bind`: addresses to listen at; a leading `-` means that one may be missing on this host.
impl Setting for Vec<Text> {
    fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        let args = list(args);
        if args.len() > 16 {
            return Err("Too many bind addresses specified.".into());
        }
        *self = args.iter().map(|it| it.to_vec()).collect();
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        self.join(&b' ')
    }

    fn rewrite(&self, kind: &Kind, default: &[u8]) -> Vec<Line> {
        let shown = self.format(kind);
        let force = shown != default;
        let text = if shown.is_empty() { b"\"\"".to_vec() } else { shown };
        vec![Line { text, force }]
    }
}

/// `replicaof`: host and port of the primary to copy from at start.
impl Setting for Option<(Text, u16)> {
    fn assign(&mut self, _: &Kind, args: &[&[u8]]) -> Result<(), Reason> {
        let [host, port] = args else {
            return Err(WRONG_NUMBER);
        };
        *self = None;
        if !(host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one")) {
            let port = parse_loose(port, 10).and_then(|it| u16::try_from(it).ok());
            *self = Some((host.to_vec(), port.ok_or("Invalid master port")?));
        }
        Ok(())
    }

    fn format(&self, _: &Kind) -> Vec<u8> {
        match self {
            Some((host, port)) => [host, format!(" {port}").as_bytes()].concat(),
            None => Vec::new(),
        }
    }

    fn rewrite(&self, kind: &Kind, _: &[u8]) -> Vec<Line> {
        let text = self.format(kind);
        if text.is_empty() { Vec::new() } else { vec![Line { text, force: true }] }
    }
}
