//! Which arguments of a command are keys, and what happens to them.
//!
//! Everything is derived from the row's key specs, except for the few commands whose specs say
//! themselves that they do not tell all (flags `variable_flags` and `incomplete`, unknown beginnings):
//! those have a function here. Nothing is checked beyond what finding keys needs: whether the command is
//! well-formed is the handler's affair. The counterpart in Redis is `getKeysFromCommandWithSpecs` in
//! `db.c`.
//!
//! Invariant: every index found is below the number of arguments. Nothing is allocated.

use super::spec::{Begin, Find, KeySpec, Spec};
use crate::resp::Args;
use crate::types::number::parse_i64;

/// One key among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Which argument it is; the command's name is argument 0.
    pub index: usize,
    /// What happens to it, in the words of COMMAND INFO.
    pub flags: &'static str,
}

impl Key {
    /// Whether the command lets its caller see the value.
    pub fn reads(&self) -> bool {
        self.flags.split(' ').any(|word| word == "access")
    }

    /// Whether the command may change the value.
    pub fn writes(&self) -> bool {
        self.flags.split(' ').any(|word| matches!(word, "insert" | "update" | "delete"))
    }
}

/// The arguments do not fit the key specs: the command will be refused by its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKeys;

/// Most key specs a row has.
pub const MAX_SPECS: usize = 4;

/// Keys at `first`, `first + step`, … up to and including `last`.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: usize,
    last: usize,
    step: usize,
    flags: &'static str,
}

/// The keys of one command, in the order of its key specs.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What is left; a run is gone once its `first` is past its `last`.
    runs: [Run; MAX_SPECS],
    len: usize,
    at: usize,
}

impl Keys {
    const NONE: Keys = Keys { runs: [Run { first: 1, last: 0, step: 1, flags: "" }; MAX_SPECS], len: 0, at: 0 };

    fn one(index: usize, flags: &'static str) -> Keys {
        let mut keys = Keys::NONE;
        keys.push(Run { first: index, last: index, step: 1, flags });
        keys
    }

    fn push(&mut self, run: Run) {
        assert!(self.len < MAX_SPECS, "a row has at most {MAX_SPECS} key specs");
        self.runs[self.len] = run;
        self.len += 1;
    }

    /// Whether no key is left.
    pub fn is_empty(&self) -> bool {
        self.clone().next().is_none()
    }
}

impl Iterator for Keys {
    type Item = Key;

    fn next(&mut self) -> Option<Key> {
        while self.at < self.len {
            let run = &mut self.runs[self.at];
            if run.first <= run.last {
                let index = run.first;
                run.first += run.step;
                return Some(Key { index, flags: run.flags });
            }
            self.at += 1;
        }
        None
    }
}

impl Spec {
    /// Whether the command can have keys at all. (What only routes, like the channel of SPUBLISH, is none.)
    pub fn has_keys(&self) -> bool {
        self.keys.iter().any(|spec| !is_no_key(spec))
    }
}

fn is_no_key(spec: &KeySpec) -> bool {
    spec.flags == "not_key"
}

/// The keys among `args`, which begin with the command's name and satisfy its arity.
pub fn keys(spec: &Spec, args: Args) -> Result<Keys, BadKeys> {
    match spec.full_name {
        "set" if args.len() > 1 => Ok(set_keys(args)),
        "bitfield" if args.len() > 1 => Ok(bitfield_keys(args)),
        "sort" if args.len() > 1 => Ok(sort_keys(args)),
        "sort_ro" if args.len() > 1 => Ok(Keys::one(1, "RO access")),
        "migrate" if args.len() > 3 => Ok(migrate_keys(args)),
        _ => by_specs(spec, args, false),
    }
}

/// What decides the cluster slot of a command: its keys and the names of shard channels.
pub fn slot_names(spec: &Spec, args: Args) -> Result<Keys, BadKeys> {
    if spec.has_keys() { keys(spec, args) } else { by_specs(spec, args, true) }
}

fn by_specs(spec: &Spec, args: Args, with_no_keys: bool) -> Result<Keys, BadKeys> {
    let mut keys = Keys::NONE;
    for spec in spec.keys.iter().filter(|spec| with_no_keys || !is_no_key(spec)) {
        if let Some(first) = begin(spec.begin, args)? {
            keys.push(run(spec, first, args)?);
        }
    }
    Ok(keys)
}

/// Where the search begins; nowhere if the keyword is missing.
fn begin(begin: Begin, args: Args) -> Result<Option<usize>, BadKeys> {
    match begin {
        Begin::Index(index) => usize::try_from(index).map(Some).map_err(|_| BadKeys),
        Begin::Keyword { word, from } => {
            // The last argument can be no keyword, for nothing follows; nor can the first.
            let is_word = |at: &usize| is(&args[*at], word);
            let distance = from.unsigned_abs() as usize;
            let found = if from > 0 {
                (distance..args.len().saturating_sub(1)).find(is_word)
            } else {
                (2..(args.len() + 1).saturating_sub(distance)).rev().find(is_word)
            };
            Ok(found.map(|at| at + 1))
        }
        Begin::Unknown => Err(BadKeys),
    }
}

/// The keys from argument `first` on.
fn run(spec: &KeySpec, first: usize, args: Args) -> Result<Run, BadKeys> {
    let len = args.len() as i64;
    let mut first = first as i64;
    let (last, step) = match spec.find {
        Find::Range { last, step, .. } if last >= 0 => (first + i64::from(last), step),
        Find::Range { last, step, limit: 0 } => (len + i64::from(last), step),
        Find::Range { last, step, limit } => (first + (len - first) / i64::from(limit) + i64::from(last), step),
        Find::Keynum { count, first: offset, step } => {
            let count = args.get(first as usize + count as usize).ok_or(BadKeys)?;
            let count = parse_i64(count).filter(|count| (1..=len).contains(count)).ok_or(BadKeys)?;
            first += i64::from(offset);
            (first + (count - 1) * i64::from(step), step)
        }
        Find::Unknown => return Err(BadKeys),
    };
    if first > last || last >= len || step < 1 {
        return Err(BadKeys);
    }
    Ok(Run { first: first as usize, last: last as usize, step: step as usize, flags: spec.flags })
}

fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// `SET` reads the old value if asked to.
fn set_keys(args: Args) -> Keys {
    let gets = args.iter().skip(3).any(|arg| is(arg, "get"));
    Keys::one(1, if gets { "RW access update" } else { "OW update" })
}

/// `BITFIELD` only reads if all its operations do. What is malformed counts as writing.
fn bitfield_keys(args: Args) -> Keys {
    let mut at = 2;
    while at < args.len() {
        let behind = args.len() - at - 1;
        at += match &args[at] {
            arg if is(arg, "get") && behind >= 2 => 3,
            arg if is(arg, "overflow") && behind >= 1 => 2,
            _ => return Keys::one(1, "RW access update"),
        };
    }
    Keys::one(1, "RO access")
}

/// `SORT` writes the key behind the last `STORE`; its options may stand in any order.
fn sort_keys(args: Args) -> Keys {
    let mut keys = Keys::one(1, "RO access");
    let mut store = None;
    let mut at = 2;
    while at < args.len() {
        at += match &args[at] {
            arg if is(arg, "limit") => 3,
            arg if is(arg, "get") || is(arg, "by") => 2,
            arg => {
                if is(arg, "store") && at + 1 < args.len() {
                    store = Some(at + 1);
                }
                1
            }
        };
    }
    if let Some(index) = store {
        keys.push(Run { first: index, last: index, step: 1, flags: "OW update" });
    }
    keys
}

/// `MIGRATE` moves the key at argument 3, or, if that is empty, all those behind `KEYS`.
fn migrate_keys(args: Args) -> Keys {
    const MOVED: &str = "RW access delete";
    let mut at = 6;
    while at < args.len() {
        at += match &args[at] {
            arg if is(arg, "keys") => {
                let mut keys = Keys::NONE;
                if args[3].is_empty() && at + 1 < args.len() {
                    keys.push(Run { first: at + 1, last: args.len() - 1, step: 1, flags: MOVED });
                }
                return keys;
            }
            arg if is(arg, "auth") => 2,
            arg if is(arg, "auth2") => 3,
            _ => 1,
        };
    }
    Keys::one(3, MOVED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::spec::{Group, READONLY};
    use crate::resp::OwnedArgs;

    fn args(line: &str) -> OwnedArgs {
        line.split(' ').map(|arg| if arg == "''" { "" } else { arg }.as_bytes()).collect()
    }

    fn found(name: &'static str, specs: &[KeySpec], line: &str) -> Result<Vec<(usize, &'static str)>, BadKeys> {
        let specs: &'static [KeySpec] = specs.to_vec().leak();
        let spec = Spec::new(name, |_| Ok(()), -1, READONLY, Group::Generic).keys(specs);
        let args = args(line);
        let keys = keys(&spec, args.as_args())?.map(|key| (key.index, key.flags)).collect::<Vec<_>>();
        assert!(keys.iter().all(|(index, _)| *index < args.as_args().len()));
        Ok(keys)
    }

    fn indexes(specs: &[KeySpec], line: &str) -> Result<Vec<usize>, BadKeys> {
        Ok(found("x", specs, line)?.into_iter().map(|(index, _)| index).collect())
    }

    const STREAMS: &[KeySpec] = &[KeySpec::new(
        "RO access",
        Begin::Keyword { word: "STREAMS", from: 1 },
        Find::Range { last: -1, step: 1, limit: 2 },
    )];

    #[test]
    fn ranges() {
        assert_eq!(indexes(&[KeySpec::key("RO", 1)], "x a"), Ok(vec![1]));
        assert_eq!(indexes(&[KeySpec::key("RO", 2)], "x a"), Err(BadKeys));
        assert_eq!(indexes(&[KeySpec::range("RO", 1, 1, 1, 0)], "x a b c"), Ok(vec![1, 2]));
        assert_eq!(indexes(&[KeySpec::range("RO", 1, -1, 2, 0)], "x a 1 b 2"), Ok(vec![1, 3]));
        assert_eq!(indexes(&[KeySpec::range("RO", 1, -1, 2, 0)], "x a 1 b"), Ok(vec![1, 3]));
        assert_eq!(indexes(&[KeySpec::range("RO", 1, -2, 1, 0)], "x a b 0"), Ok(vec![1, 2]));
        assert_eq!(indexes(&[KeySpec::range("RO", 1, -2, 1, 0)], "x 0"), Err(BadKeys));
    }

    #[test]
    fn counts() {
        const COUNTED: &[KeySpec] = &[KeySpec::key("OW", 1), KeySpec::counted("RO", 2)];
        assert_eq!(indexes(COUNTED, "x d 2 a b WEIGHTS 1 2"), Ok(vec![1, 3, 4]));
        for count in ["0", "-1", "3", "01", "x", "9223372036854775807", "-9223372036854775808", "''"] {
            assert_eq!(indexes(COUNTED, &format!("x d {count} a b")), Err(BadKeys), "{count}");
        }
        assert_eq!(indexes(COUNTED, "x d"), Err(BadKeys));
        const PAIRS: &[KeySpec] =
            &[KeySpec::new("OW update", Begin::Index(1), Find::Keynum { count: 0, first: 1, step: 2 })];
        assert_eq!(indexes(PAIRS, "x 2 a 1 b 2"), Ok(vec![2, 4]));
        assert_eq!(indexes(PAIRS, "x 3 a 1 b 2"), Err(BadKeys));
    }

    #[test]
    fn keywords() {
        assert_eq!(indexes(STREAMS, "x COUNT 1 streams a b 0 0"), Ok(vec![4, 5]));
        assert_eq!(indexes(STREAMS, "x streams a b 0 0 0"), Ok(vec![2, 3]));
        assert_eq!(indexes(STREAMS, "x streams a"), Err(BadKeys));
        assert_eq!(indexes(STREAMS, "x block 0 streams"), Ok(vec![]));
        const BACK: &[KeySpec] = &[KeySpec::new(
            "RW",
            Begin::Keyword { word: "KEYS", from: -2 },
            Find::Range { last: -1, step: 1, limit: 0 },
        )];
        assert_eq!(indexes(BACK, "x a keys b c"), Ok(vec![3, 4]));
        assert_eq!(indexes(BACK, "x keys b"), Ok(vec![]));
    }

    #[test]
    fn commands_whose_specs_do_not_tell_all() {
        const ONE: &[KeySpec] = &[KeySpec::key("RW access update variable_flags", 1)];
        assert_eq!(found("set", ONE, "set k v"), Ok(vec![(1, "OW update")]));
        assert_eq!(found("set", ONE, "set k v EX 1 Get"), Ok(vec![(1, "RW access update")]));
        assert_eq!(found("set", ONE, "set k get"), Ok(vec![(1, "OW update")]));
        assert_eq!(found("bitfield", ONE, "bitfield k"), Ok(vec![(1, "RO access")]));
        assert_eq!(found("bitfield", ONE, "bitfield k GET u8 0 OVERFLOW SAT"), Ok(vec![(1, "RO access")]));
        assert_eq!(found("bitfield", ONE, "bitfield k GET u8 0 SET u8 0 1"), Ok(vec![(1, "RW access update")]));
        assert_eq!(found("bitfield", ONE, "bitfield k GET u8"), Ok(vec![(1, "RW access update")]));
        let sorted = |store: usize| Ok(vec![(1, "RO access"), (store, "OW update")]);
        assert_eq!(found("sort", ONE, "sort k by store store a STORE b"), sorted(7));
        assert_eq!(found("sort", ONE, "sort k store store x"), sorted(4));
        assert_eq!(found("sort", ONE, "sort k limit store 1 get store store"), Ok(vec![(1, "RO access")]));
        const MOVED: &str = "RW access delete";
        assert_eq!(found("migrate", ONE, "migrate h 1 k 0 10"), Ok(vec![(3, MOVED)]));
        assert_eq!(found("migrate", ONE, "migrate h 1 k 0 10 keys a"), Ok(vec![]));
        assert_eq!(found("migrate", ONE, "migrate h 1 '' 0 10 auth keys KEYS a b"), Ok(vec![(9, MOVED), (10, MOVED)]));
    }

    #[test]
    fn what_is_no_key_only_routes() {
        const CHANNEL: &[KeySpec] = &[KeySpec::range("not_key", 1, -1, 1, 0)];
        let spec = Spec::new("ssubscribe", |_| Ok(()), -2, 0, Group::PubSub).keys(CHANNEL);
        assert!(!spec.has_keys());
        assert!(keys(&spec, args("ssubscribe a b").as_args()).unwrap().is_empty());
        let names = slot_names(&spec, args("ssubscribe a b").as_args()).unwrap();
        assert_eq!(names.map(|key| key.index).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn flags_say_reading_and_writing() {
        let key = |flags| Key { index: 1, flags };
        assert!(key("RO access").reads() && !key("RO access").writes());
        assert!(!key("OW update").reads() && key("OW update").writes());
        assert!(key("RW access delete").reads() && key("RW access delete").writes());
        assert!(!key("RO").reads() && !key("RO").writes());
    }
}
