//! Union, intersection and difference of sets, for replies and for storing.
//!
//! Sources are borrowed side by side and never copied whole, but for the two cases where the answer needs
//! a set of its own: a union of several, and a difference by removal. A missing key is an empty set.
//! A stored result is as compact as its members allow.
//!
//! Redis' counterpart: `sinterGenericCommand` and `sunionDiffGenericCommand`.

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::error::{Error, Outcome};
use crate::engine::keyspace::Keyspace;
use crate::resp::Args;
use crate::types::listpack::{IntBuf, Item};
use crate::types::set::{Set, SetLimits};
use crate::types::value::{Value, ValueRef};

use super::set::reply_item;

/// SINTER
pub fn sinter(call: &mut Call) -> Outcome {
    let sets = sources(call.keys, call.args.from(1))?;
    let mark = call.reply.deferred();
    let mut count = 0;
    for member in common(&sets) {
        reply_item(call.reply, member);
        count += 1;
    }
    call.reply.finish_set(mark, count);
    Ok(())
}

/// SINTERCARD
pub fn sintercard(call: &mut Call) -> Outcome {
    let numkeys = call.int_in(1, 1, i64::MAX, "ERR numkeys should be greater than 0")?;
    let numkeys = usize::try_from(numkeys).ok().filter(|numkeys| *numkeys <= call.args.len() - 2);
    let numkeys = numkeys.ok_or("ERR Number of keys can't be greater than number of args")?;
    let mut limit = 0;
    let mut at = 2 + numkeys;
    while at < call.args.len() {
        if !call.word(at, "LIMIT") || at + 1 == call.args.len() {
            return Err(Error::Syntax);
        }
        limit = call.int_in(at + 1, 0, i64::MAX, "ERR LIMIT can't be negative")?;
        at += 2;
    }
    let sets = sources(call.keys, call.args.from(2).up_to(numkeys))?;
    let most = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    call.reply.count(common(&sets).take(most).count());
    Ok(())
}

/// SINTERSTORE
pub fn sinterstore(call: &mut Call) -> Outcome {
    let limits = call.keys.settings.set;
    let sets = sources(call.keys, call.args.from(2))?;
    // An intset if the smallest set is one; else it starts packed, and may turn out to be one.
    let of_ints =
        sets.iter().copied().flatten().min_by_key(|set| set.len()).is_some_and(|set| set.encoding() == "intset");
    let mut result = if of_ints { Set::new() } else { Set::with_hint(b"", 0, &limits) };
    for member in common(&sets) {
        result.add_item(member, &limits);
    }
    if result.encoding() != "intset" && result.len() <= limits.intset_entries {
        let mut ints = Set::new();
        if result.iter().all(|member| ints.add_item(member, &limits) && ints.encoding() == "intset") {
            result = ints;
        }
    }
    store_set(call, "sinterstore", result);
    Ok(())
}

/// SDIFF
pub fn sdiff(call: &mut Call) -> Outcome {
    let sets = sources(call.keys, call.args.from(1))?;
    let mark = call.reply.deferred();
    let mut count = 0;
    visit_difference(&sets, |member| {
        reply_item(call.reply, member);
        count += 1;
    });
    call.reply.finish_set(mark, count);
    Ok(())
}

/// SDIFFSTORE
pub fn sdiffstore(call: &mut Call) -> Outcome {
    let limits = call.keys.settings.set;
    let sets = sources(call.keys, call.args.from(2))?;
    let mut result = Set::new();
    visit_difference(&sets, |member| {
        result.add_item(member, &limits);
    });
    store_set(call, "sdiffstore", result);
    Ok(())
}

/// SUNION
pub fn sunion(call: &mut Call) -> Outcome {
    let limits = call.keys.settings.set;
    let sets = sources(call.keys, call.args.from(1))?;
    let present: Vec<&Set> = sets.iter().copied().flatten().collect();
    let made;
    let result = match present[..] {
        [only] => only,
        _ => {
            made = union(&present, &limits);
            &made
        }
    };
    call.reply.set(result.len());
    result.iter().for_each(|member| reply_item(call.reply, member));
    Ok(())
}

/// SUNIONSTORE
pub fn sunionstore(call: &mut Call) -> Outcome {
    let limits = call.keys.settings.set;
    let sets = sources(call.keys, call.args.from(2))?;
    let present: Vec<&Set> = sets.iter().copied().flatten().collect();
    let result = union(&present, &limits);
    store_set(call, "sunionstore", result);
    Ok(())
}

/// The sets at these keys, `None` for a missing one.
fn sources<'k>(keys: &'k mut Keyspace, names: Args) -> Result<Vec<Option<&'k Set>>, Error> {
    let mut present = Vec::with_capacity(names.len());
    for name in names {
        present.push(keys.set_value(name)?.is_some());
    }
    let keys = &*keys;
    let set = |(name, present): (&[u8], bool)| match keys.found(name).filter(|_| present)?.value() {
        ValueRef::Set(set) => Some(set),
        _ => None,
    };
    Ok(names.iter().zip(present).map(set).collect())
}

/// The members that all the sets have: those of the smallest that the others have too, the next smallest
/// being asked first.
fn common<'k>(sets: &[Option<&'k Set>]) -> impl Iterator<Item = Item<'k>> + use<'k> {
    let mut sets: Vec<&Set> =
        if sets.iter().any(Option::is_none) { Vec::new() } else { sets.iter().copied().flatten().collect() };
    sets.sort_unstable_by_key(|set| set.len());
    let smallest = sets.first().copied();
    let members = smallest.into_iter().flat_map(Set::iter);
    members.filter(move |member| sets[1..].iter().all(|set| set.contains_item(*member)))
}

/// Visits the members of the first set that no other has, by the cheaper of two ways: to look each of them
/// up in all others, or to take all others' members out of a copy.
fn visit_difference(sets: &[Option<&Set>], mut visit: impl FnMut(Item)) {
    let Some((Some(first), others)) = sets.split_first() else { return };
    let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
    if others.iter().any(|other| std::ptr::eq(*other, *first)) {
        return;
    }
    // A lookup that hits ends the search, hence the half; a removal always has to be tried.
    let by_lookup = first.len().saturating_mul(others.len() + 1) / 2;
    let by_removal = others.iter().fold(first.len(), |sum, other| sum.saturating_add(other.len()));
    if by_lookup <= by_removal {
        // The largest most probably has it.
        others.sort_unstable_by_key(|other| std::cmp::Reverse(other.len()));
        return first.iter().filter(|member| !others.iter().any(|other| other.contains_item(*member))).for_each(visit);
    }
    let mut rest: Set = (*first).clone();
    let mut digits = IntBuf::new();
    for member in others.iter().flat_map(|other| other.iter()) {
        if rest.remove(member.bytes(&mut digits)) && rest.is_empty() {
            return;
        }
    }
    rest.iter().for_each(&mut visit);
}

/// The members that any of the sets has.
fn union(sets: &[&Set], limits: &SetLimits) -> Set {
    let mut result = Set::new();
    // Grows once if nothing small will do.
    let largest = sets.iter().map(|set| set.len()).max().unwrap_or(0);
    if largest > limits.intset_entries.max(limits.pack.entries) {
        result.expect(largest, limits);
    }
    for member in sets.iter().flat_map(|set| set.iter()) {
        result.add_item(member, limits);
    }
    result
}

fn store_set(call: &mut Call, event: &'static str, result: Set) {
    let count = result.len();
    let value = (count > 0).then(|| Value::Set(Box::new(result)));
    store(call, NotifyFlags::SET, event, value);
    call.reply.count(count);
}

/// Sets the key in argument 1 to the result of a command, or deletes it if there is none.
pub(super) fn store(call: &mut Call, class: NotifyFlags, event: &'static str, result: Option<Value>) {
    let destination = call.args.at(1);
    if let Some(value) = result {
        call.keys.set(destination, value);
        call.keys.changed(destination, class, event, 1);
    } else if call.keys.remove(destination, call.keys.settings.lazyfree_server_del) {
        call.keys.changed(destination, NotifyFlags::GENERIC, "del", 1);
    }
}
