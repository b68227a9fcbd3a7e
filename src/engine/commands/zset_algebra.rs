//! Union, intersection and difference of sorted sets and sets, for replies and for storing.
//!
//! Sources are borrowed side by side, and so are the members of a result until it is written or stored.
//! The members of a plain set have the score 1; a missing key is empty.
//!
//! Redis' counterpart: `zunionInterDiffGenericCommand`.

use std::cmp::Ordering;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::error::{Error, Outcome};
use crate::engine::keyspace::Keyspace;
use crate::resp::Args;
use crate::types::listpack::{IntBuf, Item};
use crate::types::number;
use crate::types::set::Set;
use crate::types::table::hash_bytes;
use crate::types::value::{Value, ValueRef};
use crate::types::zset::Zset;

use super::set_algebra::store;
use super::zset::{members_header, reply_member};

/// A member of a result with its score.
type Scored<'k> = (Item<'k>, f64);

/// How sources are combined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// What is done with the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Show,
    Store(&'static str),
    Count,
}

/// How scores of the same member become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn apply(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => or_zero(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            _ => score,
        }
    }
}

/// Infinities of both signs, and infinity times zero, count as zero.
fn or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// ZUNION
pub fn zunion(call: &mut Call) -> Outcome {
    run(call, Operation::Union, Purpose::Show)
}

/// ZINTER
pub fn zinter(call: &mut Call) -> Outcome {
    run(call, Operation::Intersection, Purpose::Show)
}

/// ZDIFF
pub fn zdiff(call: &mut Call) -> Outcome {
    run(call, Operation::Difference, Purpose::Show)
}

/// ZINTERCARD
pub fn zintercard(call: &mut Call) -> Outcome {
    run(call, Operation::Intersection, Purpose::Count)
}

/// ZUNIONSTORE
pub fn zunionstore(call: &mut Call) -> Outcome {
    run(call, Operation::Union, Purpose::Store("zunionstore"))
}

/// ZINTERSTORE
pub fn zinterstore(call: &mut Call) -> Outcome {
    run(call, Operation::Intersection, Purpose::Store("zinterstore"))
}

/// ZDIFFSTORE
pub fn zdiffstore(call: &mut Call) -> Outcome {
    run(call, Operation::Difference, Purpose::Store("zdiffstore"))
}

fn run(call: &mut Call, operation: Operation, purpose: Purpose) -> Outcome {
    let numkeys_at = if matches!(purpose, Purpose::Store(_)) { 2 } else { 1 };
    let names = source_names(call, numkeys_at)?;
    let present = look_up(call.keys, names)?;
    let options = Options::parse(call, numkeys_at + 1 + names.len(), names.len(), operation, purpose)?;
    let (seed, limits) = (call.keys.rng.next(), call.keys.settings.zset);
    let mut inputs = inputs(call.keys, names, &present, &options.weights);
    if operation != Operation::Difference {
        inputs.sort_unstable_by_key(|input| input.source.len());
    }
    if purpose == Purpose::Count {
        let most = if options.limit == 0 { usize::MAX } else { options.limit };
        call.reply.count(common(&inputs, Aggregate::Sum).take(most).count());
        return Ok(());
    }
    let mut result: Vec<Scored> = match operation {
        Operation::Union => union(&inputs, options.aggregate, seed),
        Operation::Intersection => common(&inputs, options.aggregate).collect(),
        Operation::Difference => difference(&inputs, seed),
    };
    result.sort_unstable_by(in_order);
    if let Purpose::Store(event) = purpose {
        let longest = result.iter().map(|(member, _)| member.len()).max().unwrap_or(0);
        let mut zset = Zset::with_hint(seed, result.len(), longest, limits);
        for (member, score) in &result {
            zset.insert(member.bytes(&mut IntBuf::new()), *score, limits);
        }
        let count = zset.len();
        store(call, NotifyFlags::ZSET, event, (count > 0).then(|| Value::Zset(Box::new(zset))));
        call.reply.count(count);
        return Ok(());
    }
    members_header(call.reply, result.len(), options.with_scores);
    for (member, score) in result {
        reply_member(call.reply, member, score, options.with_scores);
    }
    Ok(())
}

/// The order of members in a sorted set.
fn in_order(a: &Scored, b: &Scored) -> Ordering {
    let by_score = a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal);
    by_score.then_with(|| a.0.bytes(&mut IntBuf::new()).cmp(b.0.bytes(&mut IntBuf::new())))
}

/// The keys behind the number of keys in argument `at`.
fn source_names<'a>(call: &Call<'a>, at: usize) -> Result<Args<'a>, Error> {
    let numkeys = call.int(at)?;
    if numkeys < 1 {
        return Err(Error::new(format!("ERR at least 1 input key is needed for '{}' command", call.spec.name)));
    }
    let rest = call.args.from(at + 1);
    match usize::try_from(numkeys) {
        Ok(numkeys) if numkeys <= rest.len() => Ok(rest.up_to(numkeys)),
        _ => Err(Error::Syntax),
    }
}

/// What stands behind the keys.
struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Where counting ends; 0: nowhere.
    limit: usize,
}

impl Options {
    fn parse(
        call: &Call,
        from: usize,
        numkeys: usize,
        operation: Operation,
        purpose: Purpose,
    ) -> Result<Options, Error> {
        let mut options =
            Options { weights: vec![1.0; numkeys], aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let scores_matter = operation != Operation::Difference && purpose != Purpose::Count;
        let mut at = from;
        while at < call.args.len() {
            let left = call.args.len() - at - 1;
            if scores_matter && left >= numkeys && call.word(at, "WEIGHTS") {
                for (i, weight) in options.weights.iter_mut().enumerate() {
                    let given = number::parse_f64(call.args.at(at + 1 + i));
                    *weight = given.ok_or("ERR weight value is not a float")?;
                }
                at += numkeys;
            } else if scores_matter && left >= 1 && call.word(at, "AGGREGATE") {
                options.aggregate = match () {
                    _ if call.word(at + 1, "SUM") => Aggregate::Sum,
                    _ if call.word(at + 1, "MIN") => Aggregate::Min,
                    _ if call.word(at + 1, "MAX") => Aggregate::Max,
                    _ => return Err(Error::Syntax),
                };
                at += 1;
            } else if purpose == Purpose::Show && call.word(at, "WITHSCORES") {
                options.with_scores = true;
            } else if purpose == Purpose::Count && left >= 1 && call.word(at, "LIMIT") {
                let limit = call.int_in(at + 1, 0, i64::MAX, "ERR LIMIT can't be negative")?;
                options.limit = usize::try_from(limit).unwrap_or(usize::MAX);
                at += 1;
            } else {
                return Err(Error::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// A source of members with scores.
#[derive(Clone, Copy)]
enum Source<'k> {
    Missing,
    Set(&'k Set),
    Zset(&'k Zset),
}

impl<'k> Source<'k> {
    fn len(self) -> usize {
        match self {
            Source::Missing => 0,
            Source::Set(set) => set.len(),
            Source::Zset(zset) => zset.len(),
        }
    }

    fn iter(self) -> impl Iterator<Item = Scored<'k>> {
        let (set, zset) = match self {
            Source::Missing => (None, None),
            Source::Set(set) => (Some(set.iter()), None),
            Source::Zset(zset) => (None, Some(zset.iter())),
        };
        let of_set = set.into_iter().flatten().map(|member| (member, 1.0));
        of_set.chain(zset.into_iter().flatten())
    }

    fn score(self, member: Item) -> Option<f64> {
        match self {
            Source::Missing => None,
            Source::Set(set) => set.contains_item(member).then_some(1.0),
            Source::Zset(zset) => zset.score(member.bytes(&mut IntBuf::new())),
        }
    }

    fn is(self, other: Source) -> bool {
        match (self, other) {
            (Source::Set(a), Source::Set(b)) => std::ptr::eq(a, b),
            (Source::Zset(a), Source::Zset(b)) => std::ptr::eq(a, b),
            _ => false,
        }
    }
}

/// A source with the weight of its scores.
#[derive(Clone, Copy)]
struct Input<'k> {
    source: Source<'k>,
    weight: f64,
}

impl<'k> Input<'k> {
    fn iter(self) -> impl Iterator<Item = Scored<'k>> {
        self.source.iter().map(move |(member, score)| (member, or_zero(score * self.weight)))
    }
}

/// Which of the sources are there; each must be a set or a sorted set.
fn look_up(keys: &mut Keyspace, names: Args) -> Result<Vec<bool>, Error> {
    let mut present = Vec::with_capacity(names.len());
    for name in names {
        present.push(match keys.read(name).map(|entry| entry.value()) {
            None => false,
            Some(ValueRef::Set(_) | ValueRef::Zset(_)) => true,
            Some(_) => return Err(Error::WrongType),
        });
    }
    Ok(present)
}

fn inputs<'k>(keys: &'k Keyspace, names: Args, present: &[bool], weights: &[f64]) -> Vec<Input<'k>> {
    let source = |name| match keys.found(name).map(|entry| entry.value()) {
        Some(ValueRef::Set(set)) => Source::Set(set),
        Some(ValueRef::Zset(zset)) => Source::Zset(zset),
        _ => Source::Missing,
    };
    let sources =
        names.iter().zip(present).map(|(name, present)| if *present { source(name) } else { Source::Missing });
    sources.zip(weights).map(|(source, weight)| Input { source, weight: *weight }).collect()
}

/// The members that all inputs have: those of the first, the smallest, that the others have too.
fn common<'k>(inputs: &[Input<'k>], aggregate: Aggregate) -> impl Iterator<Item = Scored<'k>> {
    let (first, others) = inputs.split_at(inputs.len().min(1));
    let members = first.iter().flat_map(|first| first.iter());
    members.filter_map(move |(member, score)| {
        let mut score = score;
        for other in others {
            score = aggregate.apply(score, other.source.score(member)? * other.weight);
        }
        Some((member, score))
    })
}

/// The members that any input has.
fn union<'k>(inputs: &[Input<'k>], aggregate: Aggregate, seed: u64) -> Vec<Scored<'k>> {
    let mut gathered = Gathered::new(seed, inputs.iter().map(|input| input.source.len()).max().unwrap_or(0));
    for (member, score) in inputs.iter().flat_map(|input| input.iter()) {
        gathered.add(member, score, aggregate);
    }
    gathered.members
}

/// The members of the first input that no other has, by the cheaper of two ways: to look each of them up in
/// all others, or to gather them and take all others' members out.
fn difference<'k>(inputs: &[Input<'k>], seed: u64) -> Vec<Scored<'k>> {
    let Some((first, others)) = inputs.split_first() else { return Vec::new() };
    if others.iter().any(|other| other.source.is(first.source)) {
        return Vec::new();
    }
    let len = first.source.len();
    let by_lookup = len.saturating_mul(inputs.len()) / 2;
    let by_removal = inputs.iter().fold(0usize, |sum, input| sum.saturating_add(input.source.len()));
    if by_lookup <= by_removal {
        let alone = |member| others.iter().all(|other| other.source.score(member).is_none());
        return first.source.iter().filter(|(member, _)| alone(*member)).collect();
    }
    let mut gathered = Gathered::new(seed, len);
    first.source.iter().for_each(|(member, score)| gathered.add(member, score, Aggregate::Sum));
    for (member, _) in others.iter().flat_map(|other| other.source.iter()) {
        gathered.remove(member);
        if gathered.index.is_empty() {
            break;
        }
    }
    gathered.index.iter().map(|at| gathered.members[*at]).collect()
}

/// Members of several sources, each once.
struct Gathered<'k> {
    members: Vec<Scored<'k>>,
    /// Where each member stands in `members`.
    index: HashTable<usize>,
    seed: u64,
}

impl<'k> Gathered<'k> {
    fn new(seed: u64, expected: usize) -> Gathered<'k> {
        Gathered { members: Vec::with_capacity(expected), index: HashTable::with_capacity(expected), seed }
    }

    fn add(&mut self, member: Item<'k>, score: f64, aggregate: Aggregate) {
        let Gathered { members, index, seed } = self;
        let mut digits = IntBuf::new();
        let bytes = member.bytes(&mut digits);
        let rehash = |at: &usize| hash_bytes(*seed, members[*at].0.bytes(&mut IntBuf::new()));
        match index.entry(hash_bytes(*seed, bytes), |at| members[*at].0.eq_bytes(bytes), rehash) {
            Entry::Occupied(place) => {
                let score_there = &mut members[*place.get()].1;
                *score_there = aggregate.apply(*score_there, score);
            }
            Entry::Vacant(place) => {
                place.insert(members.len());
                members.push((member, score));
            }
        }
    }

    fn remove(&mut self, member: Item) {
        let mut digits = IntBuf::new();
        let bytes = member.bytes(&mut digits);
        let members = &self.members;
        if let Ok(place) = self.index.find_entry(hash_bytes(self.seed, bytes), |at| members[*at].0.eq_bytes(bytes)) {
            place.remove();
        }
    }
}
