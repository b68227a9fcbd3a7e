//! The command table: the rows of all families, and how a request finds its row.
//!
//! Each family file opens with its rows (`SPECS`) and continues with the functions that run them.

use std::sync::LazyLock;

use hashbrown::HashMap;

use crate::resp::Args;

use super::error::Error;
use super::spec::Spec;

pub mod client;
pub mod command;
pub mod config;
pub mod connection;
pub mod debug;
pub mod docs;
pub mod dump;
pub mod expire;
pub mod generic;
pub mod hash;
pub mod hash_ttl;
pub mod help;
pub mod info;
pub mod latency;
mod lcs;
pub mod list;
mod list_blocking;
pub mod memory;
pub mod monitor;
pub mod object;
pub mod pubsub;
pub mod scan;
pub mod server;
pub mod set;
mod set_algebra;
pub mod slowlog;
pub mod sort;
pub mod string;
pub mod transactions;
pub mod wait;
pub mod zset;
mod zset_algebra;
mod zset_pop;
mod zset_range;

/// All families.
#[rustfmt::skip]
const FAMILIES: &[&[Spec]] = &[
    command::SPECS,
    config::SPECS,
    connection::SPECS,
    debug::SPECS,
    dump::SPECS,
    expire::SPECS,
    generic::SPECS,
    hash::SPECS,
    hash_ttl::SPECS,
    info::SPECS,
    latency::SPECS,
    list::SPECS,
    memory::SPECS,
    monitor::SPECS,
    object::SPECS,
    pubsub::SPECS,
    server::SPECS,
    set::SPECS,
    slowlog::SPECS,
    sort::SPECS,
    string::SPECS,
    transactions::SPECS,
    wait::SPECS,
    zset::SPECS,
];

/// The table by name and by index. Sub-commands follow their container.
pub struct Table {
    rows: Vec<&'static Spec>,
    by_name: HashMap<&'static [u8], u16, foldhash::fast::FixedState>,
    /// The rows whose names fit into a word, by what [`packed`] makes of them; 0 is no name.
    by_word: Box<[(u64, u16)]>,
}

/// Places in `by_word`: a power of two, so many that most names lie at the place they belong to.
const WORDS: usize = 1 << 12;

/// A name of at most eight bytes, in small letters, as one number with its length mixed in. One comparison of
/// numbers finds a command then, where a hash table compares bytes.
#[inline]
fn packed(name: &[u8]) -> Option<u64> {
    let len = name.len();
    let word = match len {
        4..=8 => {
            let low = u32::from_le_bytes([name[0], name[1], name[2], name[3]]);
            let high = u32::from_le_bytes([name[len - 4], name[len - 3], name[len - 2], name[len - 1]]);
            u64::from(low) | u64::from(high) << (8 * (len - 4))
        }
        3 => u64::from(name[0]) | u64::from(name[1]) << 8 | u64::from(name[2]) << 16,
        _ => return None,
    };
    // Bytes outside the name become spaces by this, which no name has in it: the length counts.
    Some(word | 0x2020_2020_2020_2020)
}

/// The place where a packed name belongs.
#[inline]
fn place(word: u64) -> usize {
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - WORDS.ilog2())) as usize
}

/// The longest name of a command.
const LONGEST_NAME: usize = 32;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let by_word = vec![(0, 0); WORDS].into_boxed_slice();
    let mut table = Table { rows: Vec::new(), by_name: HashMap::default(), by_word };
    for spec in FAMILIES.iter().copied().flatten() {
        assert!(spec.name.len() <= LONGEST_NAME, "{} has too long a name", spec.name);
        let row = table.rows.len() as u16;
        table.by_name.insert(spec.name.as_bytes(), row);
        if let Some(word) = packed(spec.name.as_bytes()) {
            let mut at = place(word);
            while table.by_word[at].0 != 0 {
                at = (at + 1) % WORDS;
            }
            table.by_word[at] = (word, row);
        }
        table.rows.push(spec);
        table.rows.extend(spec.subcommands);
    }
    table
});

/// What `rename-command` has made of the names of commands, for clients. The log keeps the true names.
#[derive(Debug, Default)]
pub struct Renames {
    /// The row a name means now, in small letters; `None` if it means none any more.
    names: HashMap<Vec<u8>, Option<u16>, foldhash::fast::FixedState>,
}

impl Renames {
    /// Follows the directives in their order.
    ///
    /// # Errors
    /// In Redis' words: there is no such command, or the new name is taken.
    pub fn new(directives: &[(Vec<u8>, Vec<u8>)]) -> Result<Renames, &'static str> {
        let mut renames = Renames::default();
        for (old, new) in directives {
            let index = renames.find(old).ok_or("No such command in rename-command")?;
            renames.names.insert(old.to_ascii_lowercase(), None);
            if !new.is_empty() {
                if renames.find(new).is_some() {
                    return Err("Target command name already exists");
                }
                renames.names.insert(new.to_ascii_lowercase(), Some(index));
            }
        }
        Ok(renames)
    }

    /// Whether all names mean what they mean to everybody.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The top-level command of this name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<u16> {
        match self.names.get(&name.to_ascii_lowercase()) {
            Some(index) => *index,
            None => table().find(name),
        }
    }

    /// The command by its full name, "config|get" included, in any case.
    pub fn find_full(&self, name: &[u8]) -> Option<u16> {
        let mut words = name.splitn(2, |b| *b == b'|');
        let top = self.find(words.next()?)?;
        match words.next() {
            None => Some(top),
            Some(word) => table().subcommand(top, word),
        }
    }

    /// The top-level commands that have a name.
    pub fn commands(&self) -> impl Iterator<Item = &'static Spec> {
        table().commands().filter(|spec| {
            let own = self.names.get(spec.name.as_bytes());
            let is_it = |row: &Option<u16>| row.is_some_and(|row| table().row(row).name == spec.name);
            own.is_none() || self.names.values().any(is_it)
        })
    }
}

/// The command table.
pub fn table() -> &'static Table {
    &TABLE
}

impl Table {
    /// The row with this index.
    #[inline]
    pub fn row(&self, index: u16) -> &'static Spec {
        self.rows[usize::from(index)]
    }

    /// Number of rows, sub-commands included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no commands at all.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows with their indices; a container is followed by its sub-commands.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &'static Spec)> {
        self.rows.iter().enumerate().map(|(index, spec)| (index as u16, *spec))
    }

    /// The top-level commands.
    pub fn commands(&self) -> impl Iterator<Item = &'static Spec> {
        FAMILIES.iter().copied().flatten()
    }

    /// The top-level command of this name, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<u16> {
        let Some(word) = packed(name) else { return self.find_long(name) };
        let mut at = place(word);
        loop {
            match self.by_word[at] {
                // A space in the name would be taken for its end.
                (found, row) if found == word && self.row(row).name.len() == name.len() => return Some(row),
                (0, _) => return None,
                _ => at = (at + 1) % WORDS,
            }
        }
    }

    #[cold]
    fn find_long(&self, name: &[u8]) -> Option<u16> {
        let mut lower = [0; LONGEST_NAME];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).copied()
    }

    /// The sub-command of a container, in any case.
    pub fn subcommand(&self, container: u16, word: &[u8]) -> Option<u16> {
        let subcommands = self.row(container).subcommands;
        let at = subcommands.iter().position(|sub| sub.name.as_bytes().eq_ignore_ascii_case(word))?;
        Some(container + 1 + at as u16)
    }

    /// The row that a request means, with its arity checked. `known` is the row of its first word, where that
    /// has been found already.
    #[inline]
    pub fn resolve(&self, args: Args, known: Option<u16>, renames: &Renames) -> Result<u16, Unresolved> {
        let nothing = |error| Unresolved { command: None, error };
        let found = match renames.is_empty() {
            true => known.or_else(|| self.find(args.at(0))),
            false => renames.find(args.at(0)),
        };
        let Some(mut index) = found else { return Err(nothing(unknown_command(args))) };
        let mut spec = self.row(index);
        if !spec.subcommands.is_empty()
            && let Some(word) = args.get(1)
        {
            let unknown = || nothing(Error::unknown_subcommand(spec.name, word));
            index = self.subcommand(index, word).ok_or_else(unknown)?;
            spec = self.row(index);
        }
        if !spec.arity_fits(args.len()) {
            return Err(Unresolved { command: Some(index), error: Error::Arity(spec.full_name.to_owned()) });
        }
        Ok(index)
    }
}

/// A request that no row can run.
pub struct Unresolved {
    /// The row it means, if there is one: then its arity is wrong.
    pub command: Option<u16>,
    /// What to answer.
    pub error: Error,
}

/// "ERR unknown command …", with as much of the request as fits.
fn unknown_command(args: Args) -> Error {
    const SHOWN: usize = 128;
    let cut = |bytes: &[u8], len: usize| {
        // Redis shows words as C strings: up to a NUL.
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(&bytes[..bytes.len().min(len)]).into_owned()
    };
    let mut shown = String::new();
    for arg in args.from(1).iter() {
        if shown.len() >= SHOWN {
            break;
        }
        let room = SHOWN - shown.len();
        shown += &format!("'{}' ", cut(arg, room));
    }
    Error::new(format!("ERR unknown command '{}', with args beginning with: {shown}", cut(args.at(0), SHOWN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renamed_commands_are_known_by_their_new_names() {
        let directives = [("GET", "holen"), ("FLUSHALL", ""), ("set", "Get"), ("config", "einstellen")];
        let directives = directives.map(|(old, new)| (old.as_bytes().to_vec(), new.as_bytes().to_vec()));
        let names = Renames::new(&directives).expect("they can be followed");
        let full = |name: &[u8]| names.find_full(name).map(|row| table().row(row).full_name);
        assert_eq!((full(b"HOLEN"), full(b"get"), full(b"set")), (Some("get"), Some("set"), None));
        assert_eq!((full(b"flushall"), full(b"flushdb")), (None, Some("flushdb")));
        assert_eq!((full(b"einstellen|GET"), full(b"config|get")), (Some("config|get"), None));
        let known: Vec<&str> = names.commands().map(|spec| spec.full_name).collect();
        assert_eq!(known.len(), table().commands().count() - 1);
        assert!(["get", "set", "config"].iter().all(|name| known.contains(name)) && !known.contains(&"flushall"));
        for wrong in [[("nothing", "x")], [("get", "SET")]] {
            let wrong = wrong.map(|(old, new)| (old.as_bytes().to_vec(), new.as_bytes().to_vec()));
            assert!(Renames::new(&wrong).is_err());
        }
    }
}
