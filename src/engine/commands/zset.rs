//! Sorted sets: the rows of the family, and the commands about single members.
//!
//! Not here: ranges ([`zset_range`](super::zset_range)), taking members from the ends
//! ([`zset_pop`](super::zset_pop)), union, intersection and difference
//! ([`zset_algebra`](super::zset_algebra)).
//!
//! Redis' counterpart: `t_zset.c`.

use hashbrown::HashSet;

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::error::{Error, Outcome};
use crate::engine::spec::*;
use crate::resp::{Args, Protocol, Reply};
use crate::types::listpack::{IntBuf, Item};
use crate::types::number::{self, FloatBuf};
use crate::types::sample::{Selection, below};
use crate::types::value::{Kind, Value};
use crate::types::zset::{Change, Zset};

use super::scan::{self, ScanOptions};
use super::set::{MIN_REPLY_BYTES, check_reply_bytes, random_count, reply_item, sequence};
use super::zset_algebra::*;
use super::zset_pop::*;
use super::zset_range::*;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("bzmpop", bzmpop, -5, WRITE | BLOCKING | MOVABLEKEYS, Group::SortedSet)
        .keys(&[KeySpec::counted("RW access delete", 2)])
        .docs(
            "7.0.0",
            "O(K + M*log(N)) for K keys and M of N members taken",
            "Takes members from the first sorted set that has any; waits if all are empty.",
        )
        .args("timeout:double numkeys:integer key:key#0* where:oneof(MIN MAX) count:integer=COUNT?"),
    Spec::new("bzpopmax", bzpopmax, -3, WRITE | BLOCKING | FAST, Group::SortedSet)
        .keys(&[KeySpec::range("RW access delete", 1, -2, 1, 0)])
        .docs(
            "5.0.0",
            "O(log(N)) for N members",
            "Takes the highest member of the first sorted set that has any; waits if all are empty.",
        )
        .history(&[("6.0.0", "The timeout may have a fraction.")])
        .args("key:key#0* timeout:double"),
    Spec::new("bzpopmin", bzpopmin, -3, WRITE | BLOCKING | FAST, Group::SortedSet)
        .keys(&[KeySpec::range("RW access delete", 1, -2, 1, 0)])
        .docs(
            "5.0.0",
            "O(log(N)) for N members",
            "Takes the lowest member of the first sorted set that has any; waits if all are empty.",
        )
        .history(&[("6.0.0", "The timeout may have a fraction.")])
        .args("key:key#0* timeout:double"),
    Spec::new("zadd", zadd, -4, WRITE | DENYOOM | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs(
            "1.2.0",
            "O(M*log(N)) for M members given, N in the set",
            "Adds members to a sorted set, or changes their scores.",
        )
        .history(&[
            ("2.4.0", "Takes several members."),
            ("3.0.2", "Options `XX`, `NX`, `CH` and `INCR`."),
            ("6.2.0", "Options `GT` and `LT`."),
        ])
        .args(
            "key:key#0 condition:oneof@3.0.2?(NX XX) comparison:oneof@6.2.0?(GT LT) \
            change:pure-token=CH@3.0.2? increment:pure-token=INCR@3.0.2? data:block*(score:double \
            member:string)",
        ),
    Spec::new("zcard", zcard, 2, READONLY | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RO", 1)])
        .docs("1.2.0", "O(1)", "How many members a sorted set has.")
        .args("key:key#0"),
    Spec::new("zcount", zcount, 4, READONLY | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.0.0", "O(log(N)) for N members", "How many members have a score in a range.")
        .args("key:key#0 min:double max:double"),
    Spec::new("zdiff", zdiff, -3, READONLY | MOVABLEKEYS, Group::SortedSet)
        .keys(&[KeySpec::counted("RO access", 1)])
        .docs(
            "6.2.0",
            "O(L + K*log(K)) for L members in all sets and K in the result",
            "The members of the first sorted set that no other has.",
        )
        .args("numkeys:integer key:key#0* WITHSCORES?"),
    Spec::new("zdiffstore", zdiffstore, -4, WRITE | DENYOOM | MOVABLEKEYS, Group::SortedSet)
        .keys(&[KeySpec::key("OW update", 1), KeySpec::counted("RO access", 2)])
        .docs(
            "6.2.0",
            "O(L + K*log(K)) for L members in all sets and K in the result",
            "Stores the members of the first sorted set that no other has.",
        )
        .args("destination:key#0 numkeys:integer key:key#1*"),
    Spec::new("zincrby", zincrby, 4, WRITE | DENYOOM | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RW access update", 1)])
        .docs("1.2.0", "O(log(N)) for N members", "Adds to the score of a member.")
        .args("key:key#0 increment:integer member:string"),
    Spec::new("zinter", zinter, -3, READONLY | MOVABLEKEYS, Group::SortedSet)
        .keys(&[KeySpec::counted("RO access", 1)])
        .docs(
            "6.2.0",
            "O(N*K + M*log(M)) for N members in the smallest of K sets, M in the result",
            "The members that all the sorted sets have.",
        )
        .args(
            "numkeys:integer key:key#0* weight:integer=WEIGHTS?* aggregate:oneof=AGGREGATE?(SUM MIN MAX) \
            WITHSCORES?",
        ),
    Spec::new("zintercard", zintercard, -3, READONLY | MOVABLEKEYS, Group::SortedSet)
        .keys(&[KeySpec::counted("RO access", 1)])
        .docs(
            "7.0.0",
            "O(N*K) for N members in the smallest of K sets",
            "How many members all the sorted sets have in common.",
        )
        .args("numkeys:integer key:key#0* limit:integer=LIMIT?"),
    Spec::new("zinterstore", zinterstore, -4, WRITE | DENYOOM | MOVABLEKEYS, Group::SortedSet)
        .keys(&[KeySpec::key("OW update", 1), KeySpec::counted("RO access", 2)])
        .docs(
            "2.0.0",
            "O(N*K + M*log(M)) for N members in the smallest of K sets, M in the result",
            "Stores the members that all the sorted sets have.",
        )
        .args(
            "destination:key#0 numkeys:integer key:key#1* weight:integer=WEIGHTS?* \
            aggregate:oneof=AGGREGATE?(SUM MIN MAX)",
        ),
    Spec::new("zlexcount", zlexcount, 4, READONLY | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.8.9", "O(log(N)) for N members", "How many members lie in a range of names.")
        .args("key:key#0 min:string max:string"),
    Spec::new("zmpop", zmpop, -4, WRITE | MOVABLEKEYS, Group::SortedSet)
        .keys(&[KeySpec::counted("RW access delete", 1)])
        .docs(
            "7.0.0",
            "O(K + M*log(N)) for K keys and M of N members taken",
            "Takes the lowest or highest members of the first sorted set that has any.",
        )
        .args("numkeys:integer key:key#0* where:oneof(MIN MAX) count:integer=COUNT?"),
    Spec::new("zmscore", zmscore, -3, READONLY | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("6.2.0", "O(N) for N members asked for", "The scores of several members.")
        .args("key:key#0 member:string*"),
    Spec::new("zpopmax", zpopmax, -2, WRITE | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RW access delete", 1)])
        .docs("5.0.0", "O(M*log(N)) for M of N members taken", "Takes the members with the highest scores.")
        .args("key:key#0 count:integer?"),
    Spec::new("zpopmin", zpopmin, -2, WRITE | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RW access delete", 1)])
        .docs("5.0.0", "O(M*log(N)) for M of N members taken", "Takes the members with the lowest scores.")
        .args("key:key#0 count:integer?"),
    Spec::new("zrandmember", zrandmember, -2, READONLY, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("6.2.0", "O(N) for N members picked", "Picks any members of a sorted set.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0 options:block?(count:integer WITHSCORES?)"),
    Spec::new("zrange", zrange, -4, READONLY, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("1.2.0", "O(log(N) + M) for M of N members shown", "The members in a range of indexes, scores or names.")
        .history(&[("6.2.0", "Options `REV`, `BYSCORE`, `BYLEX` and `LIMIT`.")])
        .args(
            "key:key#0 start:string stop:string sortby:oneof@6.2.0?(BYSCORE BYLEX) REV@6.2.0? \
            limit:block=LIMIT@6.2.0?(offset:integer count:integer) WITHSCORES?",
        ),
    Spec::new("zrangebylex", zrangebylex, -4, READONLY, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.8.9", "O(log(N) + M) for M of N members shown", "The members in a range of names.")
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument")
        .args("key:key#0 min:string max:string limit:block=LIMIT?(offset:integer count:integer)"),
    Spec::new("zrangebyscore", zrangebyscore, -4, READONLY, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("1.0.5", "O(log(N) + M) for M of N members shown", "The members in a range of scores.")
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument")
        .history(&[("2.0.0", "Option `WITHSCORES`.")])
        .args(
            "key:key#0 min:double max:double WITHSCORES@2.0.0? limit:block=LIMIT?(offset:integer \
            count:integer)",
        ),
    Spec::new("zrangestore", zrangestore, -5, WRITE | DENYOOM, Group::SortedSet)
        .keys(&[KeySpec::key("OW update", 1), KeySpec::key("RO access", 2)])
        .docs(
            "6.2.0",
            "O(log(N) + M) for M of N members stored",
            "Stores the members in a range of indexes, scores or names.",
        )
        .args(
            "dst:key#0 src:key#1 min:string max:string sortby:oneof?(BYSCORE BYLEX) REV? \
            limit:block=LIMIT?(offset:integer count:integer)",
        ),
    Spec::new("zrank", zrank, -3, READONLY | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.0.0", "O(log(N)) for N members", "The index of a member, lowest score first.")
        .history(&[("7.2.0", "Option `WITHSCORE`.")])
        .args("key:key#0 member:string WITHSCORE?"),
    Spec::new("zrem", zrem, -3, WRITE | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RW delete", 1)])
        .docs("1.2.0", "O(M*log(N)) for M members given, N in the set", "Removes members from a sorted set.")
        .history(&[("2.4.0", "Takes several members.")])
        .args("key:key#0 member:string*"),
    Spec::new("zremrangebylex", zremrangebylex, 4, WRITE, Group::SortedSet)
        .keys(&[KeySpec::key("RW delete", 1)])
        .docs("2.8.9", "O(log(N) + M) for M of N members removed", "Removes the members in a range of names.")
        .args("key:key#0 min:string max:string"),
    Spec::new("zremrangebyrank", zremrangebyrank, 4, WRITE, Group::SortedSet)
        .keys(&[KeySpec::key("RW delete", 1)])
        .docs("2.0.0", "O(log(N) + M) for M of N members removed", "Removes the members in a range of indexes.")
        .args("key:key#0 start:integer stop:integer"),
    Spec::new("zremrangebyscore", zremrangebyscore, 4, WRITE, Group::SortedSet)
        .keys(&[KeySpec::key("RW delete", 1)])
        .docs("1.2.0", "O(log(N) + M) for M of N members removed", "Removes the members in a range of scores.")
        .args("key:key#0 min:double max:double"),
    Spec::new("zrevrange", zrevrange, -4, READONLY, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs(
            "1.2.0",
            "O(log(N) + M) for M of N members shown",
            "The members in a range of indexes, highest score first.",
        )
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument")
        .args("key:key#0 start:integer stop:integer WITHSCORES?"),
    Spec::new("zrevrangebylex", zrevrangebylex, -4, READONLY, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.8.9", "O(log(N) + M) for M of N members shown", "The members in a range of names, last name first.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")
        .args("key:key#0 max:string min:string limit:block=LIMIT?(offset:integer count:integer)"),
    Spec::new("zrevrangebyscore", zrevrangebyscore, -4, READONLY, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs(
            "2.2.0",
            "O(log(N) + M) for M of N members shown",
            "The members in a range of scores, highest score first.",
        )
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")
        .history(&[("2.1.6", "The bounds may be exclusive.")])
        .args("key:key#0 max:double min:double WITHSCORES? limit:block=LIMIT?(offset:integer count:integer)"),
    Spec::new("zrevrank", zrevrank, -3, READONLY | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.0.0", "O(log(N)) for N members", "The index of a member, highest score first.")
        .history(&[("7.2.0", "Option `WITHSCORE`.")])
        .args("key:key#0 member:string WITHSCORE?"),
    Spec::new("zscan", zscan, -3, READONLY, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("2.8.0", "O(1) a call, O(N) for all N members", "Walks over the members of a sorted set, some at a time.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0 cursor:integer pattern:pattern=MATCH? count:integer=COUNT?"),
    Spec::new("zscore", zscore, 3, READONLY | FAST, Group::SortedSet)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("1.2.0", "O(1)", "The score of a member.")
        .args("key:key#0 member:string"),
    Spec::new("zunion", zunion, -3, READONLY | MOVABLEKEYS, Group::SortedSet)
        .keys(&[KeySpec::counted("RO access", 1)])
        .docs(
            "6.2.0",
            "O(N + M*log(M)) for N members in all sets, M in the result",
            "The members that any of the sorted sets has.",
        )
        .args(
            "numkeys:integer key:key#0* weight:integer=WEIGHTS?* aggregate:oneof=AGGREGATE?(SUM MIN MAX) \
            WITHSCORES?",
        ),
    Spec::new("zunionstore", zunionstore, -4, WRITE | DENYOOM | MOVABLEKEYS, Group::SortedSet)
        .keys(&[KeySpec::key("OW update", 1), KeySpec::counted("RO access", 2)])
        .docs(
            "2.0.0",
            "O(N + M*log(M)) for N members in all sets, M in the result",
            "Stores the members that any of the sorted sets has.",
        )
        .args(
            "destination:key#0 numkeys:integer key:key#1* weight:integer=WEIGHTS?* \
            aggregate:oneof=AGGREGATE?(SUM MIN MAX)",
        ),
];

/// Writes the header of a list of members, with their scores or without: flat in RESP2, pairs in RESP3.
pub(super) fn members_header(reply: &mut Reply, len: usize, with_scores: bool) {
    let flat = with_scores && reply.protocol == Protocol::Resp2;
    reply.array(if flat { len.saturating_mul(2) } else { len });
}

/// Writes one member of such a list.
pub(super) fn reply_member(reply: &mut Reply, member: Item, score: f64, with_scores: bool) {
    if with_scores && reply.protocol == Protocol::Resp3 {
        reply.array(2);
    }
    reply_item(reply, member);
    if with_scores {
        reply.double(score);
    }
}

/// The options of ZADD.
#[derive(Clone, Copy, Default)]
struct AddOptions {
    /// Only new members.
    nx: bool,
    /// Only members that are there.
    xx: bool,
    /// Only higher scores; new members all the same.
    gt: bool,
    /// Only lower scores; new members all the same.
    lt: bool,
    /// Reply with members changed, not only added.
    ch: bool,
    /// Add to the score, and reply with the new one.
    incr: bool,
}

impl AddOptions {
    /// Reads options from argument 2 on; also returns where the scores begin.
    fn parse(call: &Call) -> (AddOptions, usize) {
        let mut options = AddOptions::default();
        let mut at = 2;
        loop {
            let option = match () {
                _ if call.word(at, "NX") => &mut options.nx,
                _ if call.word(at, "XX") => &mut options.xx,
                _ if call.word(at, "GT") => &mut options.gt,
                _ if call.word(at, "LT") => &mut options.lt,
                _ if call.word(at, "CH") => &mut options.ch,
                _ if call.word(at, "INCR") => &mut options.incr,
                _ => return (options, at),
            };
            *option = true;
            at += 1;
        }
    }

    fn check(&self, pairs: Args) -> Outcome {
        if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
            return Err(Error::Syntax);
        }
        if self.nx && self.xx {
            return Err("ERR XX and NX options at the same time are not compatible".into());
        }
        if u8::from(self.gt) + u8::from(self.lt) + u8::from(self.nx) > 1 {
            return Err("ERR GT, LT, and/or NX options at the same time are not compatible".into());
        }
        if self.incr && pairs.len() > 2 {
            return Err("ERR INCR option supports a single increment-element pair".into());
        }
        Ok(())
    }

    /// The score that a member with the score `old` is to have, if these options let it have one. It can be
    /// NaN: infinities of both signs were added.
    fn choose(&self, old: Option<f64>, given: f64) -> Option<f64> {
        let Some(old) = old else { return (!self.xx).then_some(given) };
        if self.nx {
            return None;
        }
        let new = if self.incr { old + given } else { given };
        let refused = (self.gt && new <= old) || (self.lt && new >= old);
        (!refused).then_some(new)
    }
}

/// What ZADD did.
#[derive(Default)]
struct Added {
    added: usize,
    updated: usize,
    /// The score of the last member, unless the options left it alone.
    score: Option<f64>,
}

fn zadd(call: &mut Call) -> Outcome {
    let (options, from) = AddOptions::parse(call);
    add(call, options, from)
}

fn zincrby(call: &mut Call) -> Outcome {
    add(call, AddOptions { incr: true, ..AddOptions::default() }, 2)
}

/// ZADD and ZINCRBY; scores and members begin at argument `from`.
fn add(call: &mut Call, options: AddOptions, from: usize) -> Outcome {
    let (key, pairs) = (call.args.at(1), call.args.from(from));
    options.check(pairs)?;
    let score = |i: usize| number::parse_f64(pairs.at(2 * i)).ok_or(Error::NotFloat);
    let count = pairs.len() / 2;
    // One pair is the common case: it needs no vector.
    let first = [score(0)?];
    let all: Vec<f64>;
    let scores = if count == 1 {
        &first[..]
    } else {
        all = (0..count).map(score).collect::<Result<_, _>>()?;
        &all[..]
    };
    let limits = call.keys.settings.zset;
    let add_all = |zset: &mut Zset| {
        let mut done = Added::default();
        for (i, score) in scores.iter().enumerate() {
            let change = zset.upsert(pairs.at(2 * i + 1), limits, |old| {
                done.score = options.choose(old, *score);
                done.score.filter(|score| !score.is_nan())
            });
            done.added += usize::from(change == Change::Added);
            done.updated += usize::from(change == Change::Updated);
        }
        done
    };
    let done = match call.keys.zset_mut(key)? {
        Some(zset) => {
            if count > limits.entries {
                zset.convert();
            }
            add_all(zset)
        }
        None if options.xx => Added::default(),
        None => {
            // Like Redis, by the first member only: a packed set turns -0 to 0.
            let mut zset = Zset::with_hint(call.keys.rng.next(), count, pairs.at(1).len(), limits);
            let done = add_all(&mut zset);
            call.keys.add(key, Value::Zset(Box::new(zset)));
            done
        }
    };
    if done.score.is_some_and(f64::is_nan) {
        // Only adding to the one member there is can give NaN, and then nothing has changed.
        return Err("ERR resulting score is not a number (NaN)".into());
    }
    let changed = done.added + done.updated;
    if changed > 0 {
        let event = if options.incr { "zincr" } else { "zadd" };
        call.keys.changed(key, NotifyFlags::ZSET, event, changed as u64);
    }
    match done.score {
        _ if !options.incr => call.reply.count(if options.ch { changed } else { done.added }),
        Some(score) => call.reply.double(score),
        None => call.reply.null(),
    }
    Ok(())
}

fn zrem(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    let mut removed = 0;
    if let Some(zset) = call.keys.zset_mut(key)? {
        for member in call.args.from(2) {
            removed += usize::from(zset.remove(member).is_some());
            if zset.is_empty() {
                break;
            }
        }
    }
    if removed > 0 {
        call.keys.changed(key, NotifyFlags::ZSET, "zrem", removed as u64);
        call.keys.remove_if_empty(key);
    }
    call.reply.count(removed);
    Ok(())
}

fn zcard(call: &mut Call) -> Outcome {
    let len = call.keys.zset(call.args.at(1))?.map_or(0, Zset::len);
    call.reply.count(len);
    Ok(())
}

fn reply_score(reply: &mut Reply, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

fn zscore(call: &mut Call) -> Outcome {
    let member = call.args.at(2);
    let score = call.keys.zset(call.args.at(1))?.and_then(|zset| zset.score(member));
    reply_score(call.reply, score);
    Ok(())
}

fn zmscore(call: &mut Call) -> Outcome {
    let members = call.args.from(2);
    let zset = call.keys.zset(call.args.at(1))?;
    call.reply.array(members.len());
    for member in members {
        reply_score(call.reply, zset.and_then(|zset| zset.score(member)));
    }
    Ok(())
}

fn zrank(call: &mut Call) -> Outcome {
    rank(call, false)
}

fn zrevrank(call: &mut Call) -> Outcome {
    rank(call, true)
}

fn rank(call: &mut Call, reverse: bool) -> Outcome {
    let with_score = call.args.len() == 4;
    if call.args.len() > 4 {
        return Err(Error::Arity(call.spec.name.to_owned()));
    }
    if with_score && !call.word(3, "WITHSCORE") {
        return Err(Error::Syntax);
    }
    let member = call.args.at(2);
    match call.keys.zset(call.args.at(1))?.and_then(|zset| zset.rank(member, reverse)) {
        None if with_score => call.reply.null_array(),
        None => call.reply.null(),
        Some((rank, score)) => {
            if with_score {
                call.reply.array(2);
            }
            call.reply.count(rank);
            if with_score {
                call.reply.double(score);
            }
        }
    }
    Ok(())
}

fn zrandmember(call: &mut Call) -> Outcome {
    if call.args.len() > 2 {
        return random_members(call);
    }
    let random = call.keys.rng.next();
    match call.keys.zset(call.args.at(1))?.and_then(|zset| zset.random(random)) {
        Some((member, _)) => reply_item(call.reply, member),
        None => call.reply.null(),
    }
    Ok(())
}

fn random_members(call: &mut Call) -> Outcome {
    let wanted = random_count(call, 2)?;
    let with_scores = call.args.len() == 4 && call.word(3, "WITHSCORES");
    if call.args.len() > 3 && !with_scores {
        return Err(Error::Syntax);
    }
    if with_scores && wanted.count as u64 > i64::MAX as u64 / 2 {
        return Err("ERR value is out of range".into());
    }
    let mut random = sequence(call);
    let most_bytes = call.keys.settings.max_string_bytes;
    let Some(zset) = call.keys.zset(call.args.at(1))?.filter(|_| wanted.count > 0) else {
        call.reply.array(0);
        return Ok(());
    };
    if !wanted.repeat {
        let count = wanted.count.min(zset.len());
        members_header(call.reply, count, with_scores);
        sample(zset, count, &mut random, |member, score| reply_member(call.reply, member, score, with_scores));
        return Ok(());
    }
    check_reply_bytes(wanted.count.saturating_mul(MIN_REPLY_BYTES), most_bytes)?;
    let start = call.reply.buf.len();
    members_header(call.reply, wanted.count, with_scores);
    for _ in 0..wanted.count {
        if let Some((member, score)) = zset.random(random()) {
            reply_member(call.reply, member, score, with_scores);
        }
        check_reply_bytes(call.reply.buf.len() - start, most_bytes)?;
    }
    Ok(())
}

/// Visits `count` different random members, no more than there are: many in one walk, few by their ranks.
fn sample(zset: &Zset, count: usize, random: &mut impl FnMut() -> u64, mut visit: impl FnMut(Item, f64)) {
    let len = zset.len();
    if count >= len / 3 {
        let mut selection = Selection::new(count, len);
        return zset.iter().filter(|_| selection.next(random)).for_each(|(member, score)| visit(member, score));
    }
    // Floyd's way: each step draws from one rank more, and takes that rank if the one drawn is taken.
    let mut taken = HashSet::with_capacity_and_hasher(count, foldhash::fast::FixedState::default());
    for last in len - count..len {
        let drawn = below(random(), last as u64 + 1) as usize;
        let rank = if taken.insert(drawn) { drawn } else { last };
        taken.insert(rank);
        if let Some((member, score)) = zset.nth(rank) {
            visit(member, score);
        }
    }
}

fn zscan(call: &mut Call) -> Outcome {
    let cursor = scan::cursor(call, 2)?;
    let options = ScanOptions::parse(call, 3, Some(Kind::Zset));
    let Some(zset) = call.keys.zset(call.args.at(1))? else {
        scan::empty(call.reply);
        return Ok(());
    };
    let options = options?;
    // A packed score is shown as it is stored.
    let write_score: fn(f64, &mut Vec<u8>) = match zset.as_listpack() {
        Some(_) => |score, text| text.extend_from_slice(FloatBuf::new().format(score)),
        None => number::format_17_digits,
    };
    let mut text = Vec::new();
    scan::reply(call.reply, |elements| {
        let mut shown = 0;
        let next = zset.scan(cursor, options.count, |member, score| {
            if !options.shows(member.bytes(&mut IntBuf::new())) {
                return;
            }
            reply_item(elements, member);
            shown += 1;
            if !options.no_scores {
                text.clear();
                write_score(score, &mut text);
                elements.bulk(&text);
                shown += 1;
            }
        });
        (next, shown)
    });
    Ok(())
}
