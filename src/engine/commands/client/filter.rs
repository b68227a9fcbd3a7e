//! Which clients CLIENT LIST and CLIENT KILL mean: the filters of Redis 8.2 and of Valkey 9.1.
//!
//! A client is meant if every condition holds. A filter given twice counts as its last one. Counterpart:
//! `clientKillCommand` and Valkey's `parseClientFiltersOrReply`.

use std::collections::BTreeSet;

use crate::engine::call::Call;
use crate::engine::client::{Client, ClientId};
use crate::engine::error::Error;
use crate::engine::time::MonoTime;
use crate::types::number;

use super::line;

/// What the filters are for: the commands word some errors differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// CLIENT LIST.
    List,
    /// CLIENT KILL.
    Kill,
}

/// One filter.
#[derive(PartialEq, Eq)]
enum Test {
    /// The numbers, each once, in the order given and sorted.
    Ids(Vec<u64>, BTreeSet<u64>),
    Type(Type),
    User,
    Addr(Vec<u8>),
    Laddr(Vec<u8>),
    Ip(Vec<u8>),
    Name(Vec<u8>),
    LibName(Vec<u8>),
    LibVer(Vec<u8>),
    Flags(Vec<u8>),
    Db(usize),
    Capa,
    Age(u64),
    Idle(u64),
}

/// The classes of clients.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Normal,
    PubSub,
    /// Primaries and replicas: there are none.
    Replication,
}

/// All filters of one command.
#[derive(Default)]
pub struct Filter {
    /// The conditions, and whether each is turned round.
    conditions: Vec<(bool, Test)>,
    skip_me: Option<bool>,
}

/// The words that have a form with NOT-.
const NEGATABLE: [&str; 11] =
    ["ID", "TYPE", "USER", "ADDR", "LADDR", "IP", "NAME", "LIB-NAME", "LIB-VER", "FLAGS", "DB"];

impl Filter {
    /// Reads the filters from argument 2 on.
    pub fn parse(call: &Call, usage: Use) -> Result<Filter, Error> {
        let mut filter = Filter::default();
        let mut at = 2;
        while at < call.args.len() {
            let word = call.args.at(at).to_ascii_uppercase();
            let word = std::str::from_utf8(&word).map_err(|_| Error::Syntax)?;
            let value = call.args.get(at + 1).ok_or(Error::Syntax)?;
            let (negated, word) = match word.strip_prefix("NOT-") {
                Some(rest) if NEGATABLE.contains(&rest) || rest == "CAPA" => (true, rest),
                Some(_) => return Err(Error::Syntax),
                None => (false, word),
            };
            at += 2;
            let test = match word {
                "SKIPME" => {
                    filter.skip_me = Some(yes_or_no(value)?);
                    continue;
                }
                "ID" => {
                    let (test, next) = parse_ids(call, at - 1, usage)?;
                    at = next;
                    test
                }
                _ => parse_test(call, word, value)?,
            };
            let kind = std::mem::discriminant(&test);
            filter.conditions.retain(|(not, other)| *not != negated || std::mem::discriminant(other) != kind);
            filter.conditions.push((negated, test));
        }
        Ok(filter)
    }

    /// The clients meant: in the order of the ids that were asked for, otherwise the oldest first.
    pub fn matching(&self, call: &Call, skip_me: bool) -> Vec<ClientId> {
        let clients = &call.server.clients;
        let now = call.keys.now.mono;
        let skip_me = self.skip_me.unwrap_or(skip_me);
        let meant = |client: &&Client| {
            let is_there = !client.is_internal && !client.doomed;
            let is_asked = !skip_me || client.handle != call.id;
            is_there && is_asked && self.conditions.iter().all(|(negated, test)| test.holds(client, now) != *negated)
        };
        let ids = self.conditions.iter().find_map(|(negated, test)| match test {
            Test::Ids(ids, _) if !negated => Some(ids),
            _ => None,
        });
        match ids {
            Some(ids) => {
                let found = ids.iter().filter_map(|id| clients.find(clients.by_id(*id)?));
                found.filter(meant).map(|client| client.handle).collect()
            }
            None => clients.iter().filter(meant).map(|client| client.handle).collect(),
        }
    }
}

fn yes_or_no(value: &[u8]) -> Result<bool, Error> {
    if value.eq_ignore_ascii_case(b"yes") {
        Ok(true)
    } else if value.eq_ignore_ascii_case(b"no") {
        Ok(false)
    } else {
        Err(Error::Syntax)
    }
}

/// All the numbers from argument `at` on, at least one; and where they end.
fn parse_ids(call: &Call, mut at: usize, usage: Use) -> Result<(Test, usize), Error> {
    const TOO_SMALL: &str = "ERR client-id should be greater than 0";
    let (mut ids, mut sorted) = (Vec::new(), BTreeSet::new());
    while let Some(arg) = call.args.get(at) {
        match number::parse_i64(arg) {
            Some(id) if usage == Use::Kill && id < 1 => return Err(TOO_SMALL.into()),
            Some(id) => {
                let id = u64::try_from(id).unwrap_or_default();
                if sorted.insert(id) {
                    ids.push(id);
                }
            }
            None if !ids.is_empty() && is_filter(arg) => break,
            None if usage == Use::List => return Err("ERR Invalid client ID".into()),
            None if ids.is_empty() => return Err(TOO_SMALL.into()),
            None => return Err(Error::Syntax),
        }
        at += 1;
    }
    Ok((Test::Ids(ids, sorted), at))
}

/// Whether the word begins a filter.
fn is_filter(word: &[u8]) -> bool {
    let word = word.to_ascii_uppercase();
    let word = word.strip_prefix(b"NOT-").unwrap_or(&word);
    let others = ["CAPA", "SKIPME", "MAXAGE", "IDLE"];
    NEGATABLE.iter().chain(&others).any(|known| known.as_bytes() == word)
}

/// A filter with one value.
fn parse_test(call: &Call, word: &str, value: &[u8]) -> Result<Test, Error> {
    let shown = String::from_utf8_lossy(value);
    Ok(match word {
        "TYPE" => Test::Type(match &*value.to_ascii_lowercase() {
            b"normal" => Type::Normal,
            b"pubsub" => Type::PubSub,
            b"master" | b"primary" | b"replica" | b"slave" => Type::Replication,
            _ => return Err(Error::new(format!("ERR Unknown client type '{shown}'"))),
        }),
        "USER" if value == b"default" => Test::User,
        "USER" => return Err(Error::new(format!("ERR No such user '{shown}'"))),
        "ADDR" => Test::Addr(value.to_vec()),
        "LADDR" => Test::Laddr(value.to_vec()),
        "IP" => Test::Ip(value.to_vec()),
        "NAME" => Test::Name(value.to_vec()),
        "LIB-NAME" => Test::LibName(value.to_vec()),
        "LIB-VER" => Test::LibVer(value.to_vec()),
        "FLAGS" => match value.iter().all(|letter| line::FLAG_LETTERS.as_bytes().contains(letter)) {
            true => Test::Flags(value.to_vec()),
            false => return Err(Error::new(format!("ERR Unknown flags found in the provided filter: {shown}"))),
        },
        "CAPA" => match value.iter().all(|letter| *letter == b'r') {
            true => Test::Capa,
            false => return Err(Error::new(format!("ERR Unknown capa found in the provided filter: {shown}"))),
        },
        "DB" => {
            let Some(db) = number::parse_i64(value) else {
                return Err("ERR DB is not an integer or out of range".into());
            };
            let last = call.keys.dbs.len() - 1;
            match usize::try_from(db).ok().filter(|db| *db <= last) {
                Some(db) => Test::Db(db),
                None => return Err(Error::new(format!("ERR DB number should be between 0 and {last}"))),
            }
        }
        "MAXAGE" => Test::Age(seconds(value, "maxage")?),
        "IDLE" => Test::Idle(seconds(value, "idle")?),
        _ => return Err(Error::Syntax),
    })
}

fn seconds(value: &[u8], name: &str) -> Result<u64, Error> {
    match number::parse_i64(value) {
        None => Err(Error::new(format!("ERR {name} is not an integer or out of range"))),
        Some(seconds) if seconds < 1 => Err(Error::new(format!("ERR {name} should be greater than 0"))),
        Some(seconds) => Ok(seconds as u64),
    }
}

impl Test {
    fn holds(&self, client: &Client, now: MonoTime) -> bool {
        match self {
            Test::Ids(_, ids) => ids.contains(&client.id),
            Test::Type(kind) => *kind == if client.is_subscriber() { Type::PubSub } else { Type::Normal },
            Test::User => true,
            Test::Addr(addr) => client.peer.addr.as_bytes() == addr,
            Test::Laddr(addr) => client.peer.laddr.as_bytes() == addr,
            Test::Ip(ip) => client.peer.addr.rsplit_once(':').is_some_and(|(host, _)| unbracketed(host) == ip),
            Test::Name(name) => !client.name.is_empty() && client.name == *name,
            Test::LibName(name) => !client.lib_name.is_empty() && client.lib_name == *name,
            Test::LibVer(version) => !client.lib_ver.is_empty() && client.lib_ver == *version,
            Test::Flags(letters) => {
                let flags = line::flags(client);
                letters.iter().all(|letter| flags.as_bytes().contains(letter))
            }
            Test::Db(db) => client.db == *db,
            Test::Capa => client.capa_redirect,
            Test::Age(seconds) => now.ms_since(client.connected_at) / 1000 >= *seconds,
            Test::Idle(seconds) => now.ms_since(client.last_seen) / 1000 >= *seconds,
        }
    }
}

/// An IPv6 address stands in brackets before its port.
fn unbracketed(host: &str) -> &[u8] {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).as_bytes()
}
