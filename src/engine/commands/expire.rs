//! When keys expire: EXPIRE and TTL in all their units, and PERSIST.
//!
//! Not here: deleting what is due (`engine::expiry`), and fields of hashes (`hash_ttl`).
//! To the stream goes an absolute time, or DEL if the time is already past.
//! Redis' counterpart: the second half of `expire.c`.

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::entry::Entry;
use crate::engine::error::{Error, Outcome};
use crate::engine::keyspace::ExpiryMode;
use crate::engine::spec::*;
use crate::types::number::IntBuf;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("expire", expire, -3, WRITE | FAST, Group::Generic)
        .keys(&[KeySpec::key("RW update", 1)])
        .acl(ACL_KEYSPACE)
        .docs("1.0.0", "O(1)", "Sets the time to live of a key, in seconds.")
        .history(&[("7.0.0", "Conditions `NX`, `XX`, `GT` and `LT`.")])
        .args("key:key#0 seconds:integer condition:oneof@7.0.0?(NX XX GT LT)"),
    Spec::new("expireat", expireat, -3, WRITE | FAST, Group::Generic)
        .keys(&[KeySpec::key("RW update", 1)])
        .acl(ACL_KEYSPACE)
        .docs("1.2.0", "O(1)", "Sets the time a key expires, in Unix seconds.")
        .history(&[("7.0.0", "Conditions `NX`, `XX`, `GT` and `LT`.")])
        .args("key:key#0 unix-time-seconds:unix-time condition:oneof@7.0.0?(NX XX GT LT)"),
    Spec::new("expiretime", expiretime, 2, READONLY | FAST, Group::Generic)
        .keys(&[KeySpec::key("RO access", 1)])
        .acl(ACL_KEYSPACE)
        .docs("7.0.0", "O(1)", "The time a key expires, in Unix seconds.")
        .args("key:key#0"),
    Spec::new("persist", persist, 2, WRITE | FAST, Group::Generic)
        .keys(&[KeySpec::key("RW update", 1)])
        .acl(ACL_KEYSPACE)
        .docs("2.2.0", "O(1)", "Removes the time to live of a key.")
        .args("key:key#0"),
    Spec::new("pexpire", pexpire, -3, WRITE | FAST, Group::Generic)
        .keys(&[KeySpec::key("RW update", 1)])
        .acl(ACL_KEYSPACE)
        .docs("2.6.0", "O(1)", "Sets the time to live of a key, in milliseconds.")
        .history(&[("7.0.0", "Conditions `NX`, `XX`, `GT` and `LT`.")])
        .args("key:key#0 milliseconds:integer condition:oneof@7.0.0?(NX XX GT LT)"),
    Spec::new("pexpireat", pexpireat, -3, WRITE | FAST, Group::Generic)
        .keys(&[KeySpec::key("RW update", 1)])
        .acl(ACL_KEYSPACE)
        .docs("2.6.0", "O(1)", "Sets the time a key expires, in Unix milliseconds.")
        .history(&[("7.0.0", "Conditions `NX`, `XX`, `GT` and `LT`.")])
        .args("key:key#0 unix-time-milliseconds:unix-time condition:oneof@7.0.0?(NX XX GT LT)"),
    Spec::new("pexpiretime", pexpiretime, 2, READONLY | FAST, Group::Generic)
        .keys(&[KeySpec::key("RO access", 1)])
        .acl(ACL_KEYSPACE)
        .docs("7.0.0", "O(1)", "The time a key expires, in Unix milliseconds.")
        .args("key:key#0"),
    Spec::new("pttl", pttl, 2, READONLY | FAST, Group::Generic)
        .keys(&[KeySpec::key("RO access", 1)])
        .acl(ACL_KEYSPACE)
        .docs("2.6.0", "O(1)", "The time to live of a key, in milliseconds.")
        .history(&[("2.8.0", "Replies -2 if there is no such key.")])
        .tips(&["nondeterministic_output"])
        .args("key:key#0"),
    Spec::new("ttl", ttl, 2, READONLY | FAST, Group::Generic)
        .keys(&[KeySpec::key("RO access", 1)])
        .acl(ACL_KEYSPACE)
        .docs("1.0.0", "O(1)", "The time to live of a key, in seconds.")
        .history(&[("2.8.0", "Replies -2 if there is no such key.")])
        .tips(&["nondeterministic_output"])
        .args("key:key#0"),
];

/// What a time in a request counts, and from when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Milliseconds in one.
    pub ms: i64,
    /// From now on, not from the Unix epoch.
    pub relative: bool,
}

impl Unit {
    /// EXPIRE, EX.
    pub const SECONDS: Unit = Unit { ms: 1000, relative: true };
    /// PEXPIRE, PX.
    pub const MS: Unit = Unit { ms: 1, relative: true };
    /// EXPIREAT, EXAT.
    pub const UNIX_SECONDS: Unit = Unit { ms: 1000, relative: false };
    /// PEXPIREAT, PXAT.
    pub const UNIX_MS: Unit = Unit { ms: 1, relative: false };

    /// The moment in milliseconds since the Unix epoch; `None` if that has no room.
    pub fn moment(self, count: i64, now_ms: i64) -> Option<i64> {
        count.checked_mul(self.ms)?.checked_add(if self.relative { now_ms } else { 0 })
    }
}

/// On which condition a time to live is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    fn parse(call: &Call, from: usize) -> Result<Condition, Error> {
        let mut condition = Condition::default();
        for at in from..call.args.len() {
            if call.word(at, "NX") {
                condition.nx = true;
            } else if call.word(at, "XX") {
                condition.xx = true;
            } else if call.word(at, "GT") {
                condition.gt = true;
            } else if call.word(at, "LT") {
                condition.lt = true;
            } else {
                let option = String::from_utf8_lossy(call.args.at(at));
                return Err(Error::new(format!("ERR Unsupported option {option}")));
            }
        }
        if condition.nx && (condition.xx || condition.gt || condition.lt) {
            return Err("ERR NX and XX, GT or LT options at the same time are not compatible".into());
        }
        if condition.gt && condition.lt {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        Ok(condition)
    }

    /// Whether a key that expires at `current` may expire at `new`. No expire time counts as infinite.
    fn allows(self, current: Option<i64>, new: i64) -> bool {
        match current {
            None => !self.xx && !self.gt,
            Some(current) => !self.nx && (!self.gt || new > current) && (!self.lt || new < current),
        }
    }
}

fn expire(call: &mut Call) -> Outcome {
    set(call, "expire", Unit::SECONDS)
}

fn pexpire(call: &mut Call) -> Outcome {
    set(call, "pexpire", Unit::MS)
}

fn expireat(call: &mut Call) -> Outcome {
    set(call, "expireat", Unit::UNIX_SECONDS)
}

fn pexpireat(call: &mut Call) -> Outcome {
    set(call, "pexpireat", Unit::UNIX_MS)
}

fn set(call: &mut Call, command: &'static str, unit: Unit) -> Outcome {
    let key = call.args.at(1);
    let condition = Condition::parse(call, 3)?;
    let now = call.keys.now_ms();
    let at = unit.moment(call.int(2)?, now).ok_or(Error::InvalidExpire(command))?;
    let allowed = call.keys.write(key).is_some_and(|entry| condition.allows(entry.expire_at(), at));
    call.reply.int(allowed.into());
    if !allowed {
        return Ok(());
    }
    if at <= now && call.keys.expiry == ExpiryMode::Delete {
        let lazy = call.keys.settings.lazyfree_expire;
        call.keys.remove(key, lazy);
        call.keys.changed(key, NotifyFlags::GENERIC, "del", 1);
        let word: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
        call.keys.effects.propagate(call.keys.db, &[word, key]);
        return Ok(());
    }
    call.keys.set_expire(key, Some(at));
    call.keys.changed(key, NotifyFlags::GENERIC, "expire", 1);
    if unit != Unit::UNIX_MS {
        let mut digits = IntBuf::new();
        let mut args: Vec<&[u8]> = call.args.iter().collect();
        (args[0], args[2]) = (b"PEXPIREAT", digits.format(at).as_bytes());
        call.keys.effects.propagate(call.keys.db, &args);
    }
    Ok(())
}

fn persist(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    let had = call.keys.write(key).is_some_and(|entry| entry.expire_at().is_some());
    if had {
        call.keys.set_expire(key, None);
        call.keys.changed(key, NotifyFlags::GENERIC, "persist", 1);
    }
    call.reply.int(had.into());
    Ok(())
}

fn ttl(call: &mut Call) -> Outcome {
    tell(call, Unit::SECONDS)
}

fn pttl(call: &mut Call) -> Outcome {
    tell(call, Unit::MS)
}

fn expiretime(call: &mut Call) -> Outcome {
    tell(call, Unit::UNIX_SECONDS)
}

fn pexpiretime(call: &mut Call) -> Outcome {
    tell(call, Unit::UNIX_MS)
}

/// Answers -2 without the key, -1 without expire time; seconds are rounded to the nearest.
fn tell(call: &mut Call, unit: Unit) -> Outcome {
    let origin = if unit.relative { call.keys.now_ms() } else { 0 };
    let answer = match call.keys.inspect(call.args.at(1)).map(Entry::expire_at) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => at.saturating_sub(origin).max(0).saturating_add(unit.ms / 2) / unit.ms,
    };
    call.reply.int(answer);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_room_or_are_refused() {
        assert_eq!(Unit::SECONDS.moment(10, 5), Some(10_005));
        assert_eq!(Unit::UNIX_SECONDS.moment(10, 5), Some(10_000));
        assert_eq!(Unit::MS.moment(-10, 5), Some(-5));
        assert_eq!(Unit::MS.moment(i64::MAX, 1), None);
        assert_eq!(Unit::UNIX_MS.moment(i64::MAX, 1), Some(i64::MAX));
        assert_eq!(Unit::SECONDS.moment(i64::MIN, 1), None);
    }

    #[test]
    fn conditions_take_no_expire_time_for_infinite() {
        let condition = |nx, xx, gt, lt| Condition { nx, xx, gt, lt };
        let allowed = |condition: Condition| [None, Some(4), Some(5), Some(6)].map(|at| condition.allows(at, 5));
        assert_eq!(allowed(condition(false, false, false, false)), [true, true, true, true]);
        assert_eq!(allowed(condition(true, false, false, false)), [true, false, false, false]);
        assert_eq!(allowed(condition(false, true, false, false)), [false, true, true, true]);
        assert_eq!(allowed(condition(false, false, true, false)), [false, true, false, false]);
        assert_eq!(allowed(condition(false, false, false, true)), [true, false, false, true]);
        assert_eq!(allowed(condition(false, true, false, true)), [false, false, false, true]);
    }
}
