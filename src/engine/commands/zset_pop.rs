//! Taking members from the ends of sorted sets, waiting for them if wanted.
//!
//! Whoever waited or looked at several keys, the stream only sees ZPOPMIN or ZPOPMAX of one.
//!
//! Redis' counterpart: `genericZpopCommand` and `blockingGenericZpopCommand`.

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::error::{Error, Outcome};
use crate::resp::{Args, Protocol};
use crate::types::number::IntBuf;
use crate::types::value::Kind;

use super::set::reply_item;

/// An end of a sorted set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    /// The command that the stream sees, and the event.
    fn words(self) -> (&'static [u8], &'static str) {
        match self {
            End::Min => (b"ZPOPMIN", "zpopmin"),
            End::Max => (b"ZPOPMAX", "zpopmax"),
        }
    }
}

/// How members are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Member and score, all in one array.
    Flat,
    /// An array of member and score for each.
    Pairs,
    /// Key, member and score in one array.
    WithKey,
    /// The key, and an array of pairs.
    KeyAndPairs,
}

/// ZPOPMIN
pub fn zpopmin(call: &mut Call) -> Outcome {
    zpop(call, End::Min)
}

/// ZPOPMAX
pub fn zpopmax(call: &mut Call) -> Outcome {
    zpop(call, End::Max)
}

fn zpop(call: &mut Call, end: End) -> Outcome {
    if call.args.len() > 3 {
        return Err(Error::Syntax);
    }
    let (mut count, mut shape) = (1, Shape::Flat);
    if call.args.len() == 3 {
        let given = call.int_in(2, 0, i64::MAX, "ERR value is out of range, must be positive")?;
        count = usize::try_from(given).unwrap_or(usize::MAX);
        if call.reply.protocol == Protocol::Resp3 {
            shape = Shape::Pairs;
        }
    }
    let key = call.args.at(1);
    if call.keys.zset_mut(key)?.is_none() || count == 0 {
        call.reply.array(0);
        return Ok(());
    }
    pop(call, key, end, count, shape).map(drop)
}

/// BZPOPMIN
pub fn bzpopmin(call: &mut Call) -> Outcome {
    bzpop(call, End::Min)
}

/// BZPOPMAX
pub fn bzpopmax(call: &mut Call) -> Outcome {
    bzpop(call, End::Max)
}

fn bzpop(call: &mut Call, end: End) -> Outcome {
    let last = call.args.len() - 1;
    let deadline = call.timeout(last)?;
    let keys = call.args.up_to(last).from(1);
    let Some(key) = first_present(call, keys)? else {
        call.block_on_keys(Kind::Zset, keys.iter(), deadline);
        return Ok(());
    };
    pop(call, key, end, 1, Shape::WithKey)?;
    call.keys.effects.propagate(call.keys.db, &[end.words().0, key]);
    Ok(())
}

/// ZMPOP
pub fn zmpop(call: &mut Call) -> Outcome {
    let wanted = Wanted::parse(call, 1)?;
    match first_present(call, wanted.keys)? {
        Some(key) => wanted.pop(call, key),
        None => {
            call.reply.null_array();
            Ok(())
        }
    }
}

/// BZMPOP
pub fn bzmpop(call: &mut Call) -> Outcome {
    let wanted = Wanted::parse(call, 2)?;
    let deadline = call.timeout(1)?;
    match first_present(call, wanted.keys)? {
        Some(key) => wanted.pop(call, key),
        None => {
            call.block_on_keys(Kind::Zset, wanted.keys.iter(), deadline);
            Ok(())
        }
    }
}

/// What ZMPOP asks for.
struct Wanted<'a> {
    keys: Args<'a>,
    end: End,
    count: usize,
}

impl<'a> Wanted<'a> {
    /// Reads the arguments from the number of keys on.
    fn parse(call: &Call<'a>, at: usize) -> Result<Wanted<'a>, Error> {
        let numkeys = call.int_in(at, 1, i64::MAX, "ERR numkeys should be greater than 0")?;
        let numkeys = usize::try_from(numkeys).unwrap_or(usize::MAX);
        let end_at = (at + 1).saturating_add(numkeys);
        let end = match () {
            _ if call.word(end_at, "MIN") => End::Min,
            _ if call.word(end_at, "MAX") => End::Max,
            _ => return Err(Error::Syntax),
        };
        let count = match call.args.len() - end_at {
            1 => 1,
            3 if call.word(end_at + 1, "COUNT") => {
                call.int_in(end_at + 2, 1, i64::MAX, "ERR count should be greater than 0")?
            }
            more => {
                // A count that is wrong is told before what follows it.
                if more > 3 && call.word(end_at + 1, "COUNT") {
                    call.int_in(end_at + 2, 1, i64::MAX, "ERR count should be greater than 0")?;
                }
                return Err(Error::Syntax);
            }
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Wanted { keys: call.args.up_to(end_at).from(at + 1), end, count })
    }

    fn pop(&self, call: &mut Call, key: &[u8]) -> Outcome {
        let popped = pop(call, key, self.end, self.count, Shape::KeyAndPairs)?;
        let mut digits = IntBuf::new();
        let count = digits.format_u64(popped as u64).as_bytes();
        call.keys.effects.propagate(call.keys.db, &[self.end.words().0, key, count]);
        Ok(())
    }
}

/// The first of the keys that is there. One that is no sorted set is an error if it comes before.
fn first_present<'a>(call: &mut Call, keys: Args<'a>) -> Result<Option<&'a [u8]>, Error> {
    for key in keys {
        if call.keys.zset_mut(key)?.is_some() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Takes up to `count` members (at least 1) from the sorted set at `key`, which is there, and shows them;
/// returns how many.
fn pop(call: &mut Call, key: &[u8], end: End, count: usize, shape: Shape) -> Result<usize, Error> {
    let Some(zset) = call.keys.zset_mut(key)? else { return Ok(0) };
    let count = count.min(zset.len());
    let reply = &mut *call.reply;
    match shape {
        Shape::Flat => reply.array(2 * count),
        Shape::Pairs => reply.array(count),
        Shape::WithKey => {
            reply.array(3);
            reply.bulk(key);
        }
        Shape::KeyAndPairs => {
            reply.array(2);
            reply.bulk(key);
            reply.array(count);
        }
    }
    let show = |member: crate::types::listpack::Item, score: f64| {
        if matches!(shape, Shape::Pairs | Shape::KeyAndPairs) {
            reply.array(2);
        }
        reply_item(reply, member);
        reply.double(score);
    };
    match end {
        End::Min => zset.pop_min(count, show),
        End::Max => zset.pop_max(count, show),
    };
    call.keys.changed(key, NotifyFlags::ZSET, end.words().1, count as u64);
    call.keys.remove_if_empty(key);
    Ok(count)
}
