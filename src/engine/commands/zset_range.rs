//! Ranges of sorted sets: showing, counting, storing and removing them.
//!
//! A range of indexes, scores or names becomes a range of ranks, and everything else follows from that.
//!
//! Redis' counterpart: `zrangeGenericCommand` and `zremrangeGenericCommand`.

use std::ops::Range;

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::error::{Error, Outcome};
use crate::types::listpack::IntBuf;
use crate::types::value::Value;
use crate::types::zset::{LexRange, ScoreRange, Zset};

use super::set_algebra::store;
use super::zset::{members_header, reply_member};

/// What the bounds of a range are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Name,
}

/// The bounds of a range.
enum Bounds<'a> {
    /// First and last index; negative ones count from the end.
    Ranks(i64, i64),
    Scores(ScoreRange),
    Names(LexRange<'a>),
}

impl<'a> Bounds<'a> {
    /// Reads the bounds in two arguments.
    fn parse(call: &Call<'a>, by: By, min: usize, max: usize) -> Result<Bounds<'a>, Error> {
        match by {
            By::Rank => Ok(Bounds::Ranks(call.int(min)?, call.int(max)?)),
            By::Score => match ScoreRange::parse(call.args.at(min), call.args.at(max)) {
                Some(range) => Ok(Bounds::Scores(range)),
                None => Err("ERR min or max is not a float".into()),
            },
            By::Name => match LexRange::parse(call.args.at(min), call.args.at(max)) {
                Some(range) => Ok(Bounds::Names(range)),
                None => Err("ERR min or max not valid string range item".into()),
            },
        }
    }

    /// The ranks in the range; with `reverse`, indexes count from the highest.
    fn ranks(&self, zset: &Zset, reverse: bool) -> Range<usize> {
        match self {
            Bounds::Scores(range) => zset.score_ranks(range),
            Bounds::Names(range) => zset.lex_ranks(range),
            Bounds::Ranks(start, stop) => {
                let len = zset.len();
                let (start, end) = index_range(*start, *stop, len);
                if reverse { len - end..len - start } else { start..end }
            }
        }
    }
}

/// The indexes from `start` to `stop` of a list of `len`, the second one exclusive; equal if there are none.
fn index_range(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let from_start = |index: i64| if index < 0 { index.saturating_add(len as i64) } else { index };
    let start = usize::try_from(from_start(start).max(0)).unwrap_or(usize::MAX).min(len);
    let end = usize::try_from(from_start(stop).saturating_add(1).max(0)).unwrap_or(usize::MAX).min(len);
    (start, end.max(start))
}

/// A range as ZRANGE and its older relatives ask for it.
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    with_scores: bool,
    /// Members to leave out at the beginning; a negative number leaves all out.
    offset: i64,
    /// Members to take then; a negative number takes all.
    limit: i64,
}

impl<'a> Query<'a> {
    /// Reads the bounds at argument `at`, and the options behind them. What `by` and `reverse` leave open is
    /// for options to say.
    fn parse(
        call: &Call<'a>,
        at: usize,
        mut by: Option<By>,
        mut reverse: Option<bool>,
        store: bool,
    ) -> Result<Query<'a>, Error> {
        let (mut offset, mut limit, mut with_scores) = (0, -1, false);
        let mut option = at + 2;
        while option < call.args.len() {
            if !store && call.word(option, "WITHSCORES") {
                with_scores = true;
            } else if call.word(option, "LIMIT") && option + 2 < call.args.len() {
                (offset, limit) = (call.int(option + 1)?, call.int(option + 2)?);
                option += 2;
            } else if reverse.is_none() && call.word(option, "REV") {
                reverse = Some(true);
            } else if by.is_none() && call.word(option, "BYLEX") {
                by = Some(By::Name);
            } else if by.is_none() && call.word(option, "BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(Error::Syntax);
            }
            option += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX".into());
        }
        if with_scores && by == By::Name {
            return Err("ERR syntax error, WITHSCORES not supported in combination with BYLEX".into());
        }
        // A reverse range of scores or names begins with its highest.
        let swapped = reverse && by != By::Rank;
        let (min, max) = if swapped { (at + 1, at) } else { (at, at + 1) };
        let bounds = Bounds::parse(call, by, min, max)?;
        if by == By::Rank {
            (offset, limit) = (0, -1);
        }
        Ok(Query { bounds, reverse, with_scores, offset, limit })
    }

    /// The ranks asked for, offset and limit applied.
    fn ranks(&self, zset: &Zset) -> Range<usize> {
        let all = self.bounds.ranks(zset, self.reverse);
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX).min(all.len());
        let left = all.len() - skipped;
        let taken = usize::try_from(self.limit).map_or(left, |limit| limit.min(left));
        if self.reverse {
            let end = all.end - skipped;
            end - taken..end
        } else {
            let start = all.start + skipped;
            start..start + taken
        }
    }
}

/// ZRANGE
pub fn zrange(call: &mut Call) -> Outcome {
    show(call, None, None)
}

/// ZREVRANGE
pub fn zrevrange(call: &mut Call) -> Outcome {
    show(call, Some(By::Rank), Some(true))
}

/// ZRANGEBYSCORE
pub fn zrangebyscore(call: &mut Call) -> Outcome {
    show(call, Some(By::Score), Some(false))
}

/// ZREVRANGEBYSCORE
pub fn zrevrangebyscore(call: &mut Call) -> Outcome {
    show(call, Some(By::Score), Some(true))
}

/// ZRANGEBYLEX
pub fn zrangebylex(call: &mut Call) -> Outcome {
    show(call, Some(By::Name), Some(false))
}

/// ZREVRANGEBYLEX
pub fn zrevrangebylex(call: &mut Call) -> Outcome {
    show(call, Some(By::Name), Some(true))
}

fn show(call: &mut Call, by: Option<By>, reverse: Option<bool>) -> Outcome {
    let query = Query::parse(call, 2, by, reverse, false)?;
    let Some(zset) = call.keys.zset(call.args.at(1))? else {
        call.reply.array(0);
        return Ok(());
    };
    let ranks = query.ranks(zset);
    members_header(call.reply, ranks.len(), query.with_scores);
    for (member, score) in zset.range(ranks, query.reverse) {
        reply_member(call.reply, member, score, query.with_scores);
    }
    Ok(())
}

/// ZRANGESTORE
pub fn zrangestore(call: &mut Call) -> Outcome {
    let query = Query::parse(call, 3, None, None, true)?;
    let (seed, limits) = (call.keys.rng.next(), call.keys.settings.zset);
    let mut stored = Zset::new(seed);
    if let Some(zset) = call.keys.zset(call.args.at(2))? {
        let ranks = query.ranks(zset);
        // As in Redis only a range of ranks is known to be long: the others start small, which turns -0 into 0.
        let hint = if matches!(query.bounds, Bounds::Ranks { .. }) { ranks.len() } else { 0 };
        stored = Zset::with_hint(seed, hint, 0, limits);
        for (member, score) in zset.range(ranks, query.reverse) {
            stored.insert(member.bytes(&mut IntBuf::new()), score, limits);
        }
    }
    let count = stored.len();
    store(call, NotifyFlags::ZSET, "zrangestore", (count > 0).then(|| Value::Zset(Box::new(stored))));
    call.reply.count(count);
    Ok(())
}

/// ZCOUNT
pub fn zcount(call: &mut Call) -> Outcome {
    count(call, By::Score)
}

/// ZLEXCOUNT
pub fn zlexcount(call: &mut Call) -> Outcome {
    count(call, By::Name)
}

fn count(call: &mut Call, by: By) -> Outcome {
    let bounds = Bounds::parse(call, by, 2, 3)?;
    let count = call.keys.zset(call.args.at(1))?.map_or(0, |zset| bounds.ranks(zset, false).len());
    call.reply.count(count);
    Ok(())
}

/// ZREMRANGEBYRANK
pub fn zremrangebyrank(call: &mut Call) -> Outcome {
    remove(call, By::Rank, "zremrangebyrank")
}

/// ZREMRANGEBYSCORE
pub fn zremrangebyscore(call: &mut Call) -> Outcome {
    remove(call, By::Score, "zremrangebyscore")
}

/// ZREMRANGEBYLEX
pub fn zremrangebylex(call: &mut Call) -> Outcome {
    remove(call, By::Name, "zremrangebylex")
}

fn remove(call: &mut Call, by: By, event: &'static str) -> Outcome {
    let key = call.args.at(1);
    let bounds = Bounds::parse(call, by, 2, 3)?;
    let mut removed = 0;
    if let Some(zset) = call.keys.zset_mut(key)? {
        let ranks = bounds.ranks(zset, false);
        removed = zset.remove_range(ranks, |_, _| {});
    }
    if removed > 0 {
        call.keys.changed(key, NotifyFlags::ZSET, event, removed as u64);
        call.keys.remove_if_empty(key);
    }
    call.reply.count(removed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes() {
        for (start, stop, expected) in [
            (0, -1, (0, 5)),
            (1, 3, (1, 4)),
            (-2, -1, (3, 5)),
            (-99, 1, (0, 2)),
            (3, 1, (3, 3)),
            (9, 12, (5, 5)),
            (0, i64::MAX, (0, 5)),
            (i64::MIN, i64::MIN, (0, 0)),
            (0, -6, (0, 0)),
        ] {
            assert_eq!(index_range(start, stop, 5), expected, "{start} {stop}");
        }
        assert_eq!(index_range(0, -1, 0), (0, 0));
    }
}
