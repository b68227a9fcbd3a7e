//! The configuration: a value that checks what it is told and says what it holds.
//!
//! [`Config`] has a typed field for each parameter ([`PARAMS`] describes them), reads them from
//! files, arguments and `CONFIG SET`, and shows them in Redis' spelling. It does no I/O: includes
//! are handed back to the caller, and what a change means for sockets and files is the caller's
//! business ([`Param::acts`]); if the caller cannot do it, [`Config::undo`] brings the old values
//! back. Invariant: every field is within its row's bounds, and a failed call changes nothing
//! (except a failed [`Config::load`], after which the server does not start).
//! Counterpart: Redis' `config.c`.

mod file;
mod notify;
mod rewrite;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use file::{FileError, Invocation, Source, Start, Step, parse_line};
pub use notify::NotifyFlags;
pub use rewrite::rewrite;
pub use table::{Config, PARAMS};
pub use value::*;

use crate::types::{PackLimits, glob};
use core::fmt;
use std::sync::LazyLock;

/// When a parameter may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// At any time.
    Rw,
    /// Only at start.
    Immutable,
    /// At start, and later only if `enable-protected-configs` permits.
    Protected,
}

/// Who acts on a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acts {
    /// The engine reads the field where it needs it.
    Engine,
    /// The front end has to apply a change: sockets, files, the process.
    Host,
    /// Nobody: the parameter is known and stored, but has no effect here.
    Nobody,
}

/// One row of the table.
pub struct Param {
    /// The name in files, arguments and commands.
    pub name: &'static str,
    /// Other names of the same value; CONFIG GET lists them too.
    pub aliases: &'static [&'static str],
    /// What values it takes.
    pub kind: Kind,
    /// When it may be changed.
    pub set: Set,
    /// Who acts on it.
    pub acts: Acts,
    /// Shown by CONFIG GET only when asked for by its exact name.
    pub hidden: bool,
    /// A secret: redacted from MONITOR and SLOWLOG.
    pub sensitive: bool,
    /// Cannot be changed while data are being loaded.
    pub deny_loading: bool,
    field: fn(&Config) -> &dyn Setting,
    field_mut: fn(&mut Config) -> &mut dyn Setting,
}

impl Param {
    const fn new(field: fn(&Config) -> &dyn Setting, field_mut: fn(&mut Config) -> &mut dyn Setting) -> Param {
        Param {
            name: "",
            aliases: &[],
            kind: Kind::One,
            set: Set::Rw,
            acts: Acts::Nobody,
            hidden: false,
            sensitive: false,
            deny_loading: false,
            field,
            field_mut,
        }
    }

    /// The value in `config` as CONFIG GET shows it.
    pub fn show(&self, config: &Config) -> Vec<u8> {
        (self.field)(config).format(&self.kind)
    }

    /// The default as CONFIG GET shows it.
    pub fn show_default(&self) -> Vec<u8> {
        self.show(&DEFAULTS)
    }

    /// The parameter of this name, in any case, together with the name as the table spells it.
    pub fn find(name: &[u8]) -> Option<(&'static str, &'static Param)> {
        let lower = name.to_ascii_lowercase();
        let at = NAMES.binary_search_by(|row| row.0.as_bytes().cmp(&lower)).ok()?;
        Some(NAMES[at])
    }
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name)
    }
}

static DEFAULTS: LazyLock<Config> = LazyLock::new(Config::default);

/// Every name and alias, sorted.
static NAMES: LazyLock<Vec<(&'static str, &'static Param)>> = LazyLock::new(|| {
    let mut names: Vec<_> =
        PARAMS.iter().flat_map(|row| row.aliases.iter().chain([&row.name]).map(move |name| (*name, row))).collect();
    names.sort_unstable_by_key(|row| row.0);
    names
});

/// Directives of configuration files that are no parameters, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `rename-command <old> <new>`; an empty new name removes the command.
    pub rename_command: Vec<(Text, Text)>,
    /// `user <name> <rule>…`, without the word `user`.
    pub user: Vec<Vec<Text>>,
    /// `loadmodule <path> <argument>…`, without the word `loadmodule`.
    pub loadmodule: Vec<Vec<Text>>,
}

/// Why CONFIG SET is refused. `Display` gives the error reply without its leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A parameter cannot be changed while data are being loaded.
    Loading,
    /// No parameter has this name.
    Unknown(Text),
    /// The value of this parameter is refused.
    Refused(Text, Reason),
}

impl ConfigError {
    /// A refusal by whoever has to apply the change, in the same words as any other.
    pub fn refused(name: &str, reason: impl Into<Reason>) -> ConfigError {
        ConfigError::Refused(name.as_bytes().to_vec(), reason.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ConfigError::Loading => f.write_str("LOADING Redis is loading the dataset in memory"),
            ConfigError::Unknown(name) => write!(
                f,
                "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                String::from_utf8_lossy(name)
            ),
            ConfigError::Refused(name, reason) => write!(
                f,
                "ERR CONFIG SET failed (possibly related to argument '{}') - {reason}",
                String::from_utf8_lossy(name)
            ),
        }
    }
}

impl core::error::Error for ConfigError {}

/// Who sends CONFIG SET, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setter {
    /// The client is connected from this host.
    pub local: bool,
    /// Data are being loaded.
    pub loading: bool,
}

/// What a successful [`Config::set_many`] changed.
#[derive(Debug)]
pub struct Changes {
    /// The parameters whose value is another one now, in the order given.
    pub changed: Vec<&'static Param>,
    before: Box<Config>,
}

impl Changes {
    /// Whether this parameter, by its main name, has another value now.
    pub fn contains(&self, name: &str) -> bool {
        self.changed.iter().any(|row| row.name == name)
    }

    /// The configuration as it was.
    pub fn before(&self) -> &Config {
        &self.before
    }
}

impl Config {
    /// CONFIG GET: names and values for these names and glob patterns, each name once. A name that
    /// is no pattern comes back as it was spelled; those of a pattern come in alphabetical order.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Text, Text)> {
        let mut found: Vec<(Text, Text)> = Vec::new();
        let mut seen: Vec<&'static str> = Vec::new();
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
                if let Some((name, row)) = Param::find(pattern)
                    && !seen.contains(&name)
                {
                    seen.push(name);
                    found.push((pattern.to_vec(), row.show(self)));
                }
                continue;
            }
            for (name, row) in NAMES.iter().filter(|it| !it.1.hidden && glob::matches(pattern, it.0.as_bytes(), true)) {
                if !seen.contains(name) {
                    seen.push(name);
                    found.push((name.as_bytes().to_vec(), row.show(self)));
                }
            }
        }
        found
    }

    /// CONFIG SET: sets all of these or none.
    ///
    /// # Errors
    /// As Redis words them; nothing has changed then.
    pub fn set_many(&mut self, pairs: &[(&[u8], &[u8])], setter: Setter) -> Result<Changes, ConfigError> {
        let rows = self.check_names(pairs, setter)?;
        let before = Box::new(self.clone());
        for ((name, row), (_, value)) in rows.iter().zip(pairs) {
            if row.name == "save" {
                self.save.0.clear();
            }
            let args: Vec<&[u8]> = match row.kind {
                Kind::Many => value.split(|&byte| byte == b' ').collect(),
                _ => vec![value],
            };
            if let Err(reason) = (row.field_mut)(self).assign(&row.kind, &args) {
                *self = *before;
                return Err(ConfigError::refused(name, reason));
            }
        }
        self.clamp();
        let differs = |row: &&'static Param| row.show(self) != row.show(&before);
        let mut changed: Vec<&'static Param> = Vec::new();
        for row in rows.iter().map(|it| it.1).filter(differs) {
            if !changed.iter().any(|it| it.name == row.name) {
                changed.push(row);
            }
        }
        Ok(Changes { changed, before })
    }

    /// Takes a [`Config::set_many`] back. What others have set since stays.
    pub fn undo(&mut self, changes: Changes) {
        for row in &changes.changed {
            if row.name == "save" {
                self.save.0.clear();
            }
            let before = row.show(&changes.before);
            let args: Vec<&[u8]> = match row.kind {
                Kind::Many => before.split(|&byte| byte == b' ').collect(),
                _ => vec![&before],
            };
            let restored = (row.field_mut)(self).assign(&row.kind, &args);
            debug_assert!(restored.is_ok(), "{}: what is shown can be set", row.name);
        }
    }

    /// Names are checked before any value is read; the first bad one decides, but LOADING prevails.
    fn check_names(
        &self,
        pairs: &[(&[u8], &[u8])],
        setter: Setter,
    ) -> Result<Vec<(&'static str, &'static Param)>, ConfigError> {
        let mut rows: Vec<(&'static str, &'static Param)> = Vec::new();
        let mut error = None;
        for (given, _) in pairs {
            let Some((name, row)) = Param::find(given) else {
                error.get_or_insert_with(|| ConfigError::Unknown(given.to_vec()));
                continue;
            };
            let refuse = |why: &'static str| ConfigError::Refused(given.to_vec(), why.into());
            if setter.loading && row.deny_loading {
                return Err(ConfigError::Loading);
            }
            if row.set == Set::Immutable {
                error.get_or_insert_with(|| refuse("can't set immutable config"));
            } else if row.set == Set::Protected && !self.enable_protected_configs.permits(setter.local) {
                error.get_or_insert_with(|| refuse("can't set protected config"));
            }
            if rows.iter().any(|it| it.0 == name) {
                error.get_or_insert_with(|| refuse("duplicate parameter"));
            }
            rows.push((name, row));
        }
        match error {
            Some(error) => Err(error),
            None => Ok(rows),
        }
    }

    /// Brings values that Redis takes but does not keep to those that it keeps.
    fn clamp(&mut self) {
        self.hz = self.hz.clamp(1, 500);
        self.repl_backlog_size = self.repl_backlog_size.max(16 << 10);
    }

    /// When a hash leaves its packed form.
    pub fn hash_limits(&self) -> PackLimits {
        pack(self.hash_max_listpack_entries, self.hash_max_listpack_value)
    }

    /// When a set of other members than integers leaves its packed form.
    pub fn set_limits(&self) -> PackLimits {
        pack(self.set_max_listpack_entries, self.set_max_listpack_value)
    }

    /// When a sorted set leaves its packed form.
    pub fn zset_limits(&self) -> PackLimits {
        pack(self.zset_max_listpack_entries, self.zset_max_listpack_value)
    }
}

fn pack(entries: u64, value: u64) -> PackLimits {
    let size = |it| usize::try_from(it).unwrap_or(usize::MAX);
    PackLimits { entries: size(entries), value: size(value) }
}
