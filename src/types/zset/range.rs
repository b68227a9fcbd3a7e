//! Ranges of a sorted set: by score and by member, and how Redis writes them.
//!
//! Parsing follows Redis 8.2: a score is a decimal number or an infinity, nothing at all counts as 0,
//! and neither blanks nor hexadecimal digits are taken. Ranges are plain values; nothing here knows how
//! the set is stored.
//!
//! Counterpart in Redis: `zrangespec` and `zlexrangespec`.

/// Scores between two bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// Lowest score.
    pub min: f64,
    /// Highest score.
    pub max: f64,
    /// Whether `min` itself is outside.
    pub min_exclusive: bool,
    /// Whether `max` itself is outside.
    pub max_exclusive: bool,
}

impl ScoreRange {
    /// All scores.
    pub const ALL: ScoreRange =
        ScoreRange { min: f64::NEG_INFINITY, max: f64::INFINITY, min_exclusive: false, max_exclusive: false };

    /// Reads bounds such as `1.5`, `(1.5` and `-inf`. `None` where Redis answers
    /// "min or max is not a float".
    pub fn parse(min: &[u8], max: &[u8]) -> Option<ScoreRange> {
        let (min, min_exclusive) = parse_score_bound(min)?;
        let (max, max_exclusive) = parse_score_bound(max)?;
        Some(ScoreRange { min, max, min_exclusive, max_exclusive })
    }

    /// Whether a score is too low for the range.
    pub fn is_below(&self, score: f64) -> bool {
        if self.min_exclusive { score <= self.min } else { score < self.min }
    }

    /// Whether a score is too high for the range.
    pub fn is_above(&self, score: f64) -> bool {
        if self.max_exclusive { score >= self.max } else { score > self.max }
    }
}

fn parse_score_bound(text: &[u8]) -> Option<(f64, bool)> {
    let (digits, exclusive) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    // A bound is a C string to Redis: it ends at the first zero byte.
    let digits = digits.split(|&byte| byte == 0).next()?;
    if digits.is_empty() {
        return Some((0.0, exclusive));
    }
    // The standard parser takes what Redis' does: signs, ".5", "5.", exponents, "inf" in any case.
    let score: f64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (!score.is_nan()).then_some((score, exclusive))
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before all members, written `-`.
    Min,
    /// After all members, written `+`.
    Max,
    /// This member and on, written `[member`.
    Inclusive(&'a [u8]),
    /// Just past this member, written `(member`.
    Exclusive(&'a [u8]),
}

impl<'a> LexBound<'a> {
    fn parse(text: &'a [u8]) -> Option<LexBound<'a>> {
        match text {
            [b'-'] | [b'-', 0, ..] => Some(LexBound::Min),
            [b'+'] | [b'+', 0, ..] => Some(LexBound::Max),
            [b'[', member @ ..] => Some(LexBound::Inclusive(member)),
            [b'(', member @ ..] => Some(LexBound::Exclusive(member)),
            _ => None,
        }
    }
}

/// Members between two bounds, by the order of their bytes. Meant for sets whose scores are all equal;
/// on others a lookup answers something, in bounded time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// Lowest member.
    pub min: LexBound<'a>,
    /// Highest member.
    pub max: LexBound<'a>,
}

impl<'a> LexRange<'a> {
    /// All members.
    pub const ALL: LexRange<'static> = LexRange { min: LexBound::Min, max: LexBound::Max };

    /// Reads bounds such as `-`, `+`, `[a` and `(a`. `None` where Redis answers
    /// "min or max not valid string range item".
    pub fn parse(min: &'a [u8], max: &'a [u8]) -> Option<LexRange<'a>> {
        Some(LexRange { min: LexBound::parse(min)?, max: LexBound::parse(max)? })
    }

    /// Whether a member is too low for the range.
    pub fn is_below(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Inclusive(min) => member < min,
            LexBound::Exclusive(min) => member <= min,
        }
    }

    /// Whether a member is too high for the range.
    pub fn is_above(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Min => true,
            LexBound::Max => false,
            LexBound::Inclusive(max) => member > max,
            LexBound::Exclusive(max) => member >= max,
        }
    }
}
