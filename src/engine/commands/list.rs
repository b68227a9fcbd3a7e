//! Lists: pushing, popping, moving, and looking inside.
//!
//! Not here: the commands that may wait (`list_blocking`), which use the pieces that this file shares.
//! Every command that takes elements ends in [`removed`], so that events, the empty list and the return
//! to the compact encoding are one idea in one place.
//!
//! Counterpart: `t_list.c` in Redis.

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::error::{Error, Outcome};
use crate::engine::keyspace::Keyspace;
use crate::engine::spec::*;
use crate::resp::{Args, Reply};
use crate::types::list::{Element, List};
use crate::types::listpack::Item;
use crate::types::number::IntBuf;
use crate::types::value::Value;

use super::list_blocking::{blmove, blmpop, blpop, brpop, brpoplpush};

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("blmove", blmove, 6, WRITE | DENYOOM | BLOCKING, Group::List)
        .keys(&[KeySpec::key("RW access delete", 1), KeySpec::key("RW insert", 2)])
        .docs("6.2.0", "O(1)", "Moves an element from one list to another; waits for one if there is none.")
        .args(
            "source:key#0 destination:key#1 wherefrom:oneof(LEFT RIGHT) whereto:oneof(LEFT RIGHT) \
            timeout:double",
        ),
    Spec::new("blmpop", blmpop, -5, WRITE | BLOCKING | MOVABLEKEYS, Group::List)
        .keys(&[KeySpec::counted("RW access delete", 2)])
        .docs(
            "7.0.0",
            "O(N+M) for N keys and M elements taken.",
            "Takes elements from the first list that has any; waits if all are empty.",
        )
        .args("timeout:double numkeys:integer key:key#0* where:oneof(LEFT RIGHT) count:integer=COUNT?"),
    Spec::new("blpop", blpop, -3, WRITE | BLOCKING, Group::List)
        .keys(&[KeySpec::range("RW access delete", 1, -2, 1, 0)])
        .docs(
            "2.0.0",
            "O(N) for N keys.",
            "Takes the first element of the first list that has any; waits if all are empty.",
        )
        .history(&[("6.0.0", "The timeout may have a fraction.")])
        .args("key:key#0* timeout:double"),
    Spec::new("brpop", brpop, -3, WRITE | BLOCKING, Group::List)
        .keys(&[KeySpec::range("RW access delete", 1, -2, 1, 0)])
        .docs(
            "2.0.0",
            "O(N) for N keys.",
            "Takes the last element of the first list that has any; waits if all are empty.",
        )
        .history(&[("6.0.0", "The timeout may have a fraction.")])
        .args("key:key#0* timeout:double"),
    Spec::new("brpoplpush", brpoplpush, 4, WRITE | DENYOOM | BLOCKING, Group::List)
        .keys(&[KeySpec::key("RW access delete", 1), KeySpec::key("RW insert", 2)])
        .docs(
            "2.2.0",
            "O(1)",
            "Moves the last element of a list to the head of another; waits for one if there is none.",
        )
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments")
        .history(&[("6.0.0", "The timeout may have a fraction.")])
        .args("source:key#0 destination:key#1 timeout:double"),
    Spec::new("lindex", lindex, 3, READONLY, Group::List)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("1.0.0", "O(N) for N elements passed over; O(1) at both ends.", "The element at an index.")
        .args("key:key#0 index:integer"),
    Spec::new("linsert", linsert, 5, WRITE | DENYOOM, Group::List)
        .keys(&[KeySpec::key("RW insert", 1)])
        .docs("2.2.0", "O(N) for N elements before the pivot.", "Inserts an element before or behind another.")
        .args("key:key#0 where:oneof(BEFORE AFTER) pivot:string element:string"),
    Spec::new("llen", llen, 2, READONLY | FAST, Group::List)
        .keys(&[KeySpec::key("RO", 1)])
        .docs("1.0.0", "O(1)", "How many elements a list has.")
        .args("key:key#0"),
    Spec::new("lmove", lmove, 5, WRITE | DENYOOM, Group::List)
        .keys(&[KeySpec::key("RW access delete", 1), KeySpec::key("RW insert", 2)])
        .docs("6.2.0", "O(1)", "Moves an element from one list to another.")
        .args("source:key#0 destination:key#1 wherefrom:oneof(LEFT RIGHT) whereto:oneof(LEFT RIGHT)"),
    Spec::new("lmpop", lmpop, -4, WRITE | MOVABLEKEYS, Group::List)
        .keys(&[KeySpec::counted("RW access delete", 1)])
        .docs("7.0.0", "O(N+M) for N keys and M elements taken.", "Takes elements from the first list that has any.")
        .args("numkeys:integer key:key#0* where:oneof(LEFT RIGHT) count:integer=COUNT?"),
    Spec::new("lpop", lpop, -2, WRITE | FAST, Group::List)
        .keys(&[KeySpec::key("RW access delete", 1)])
        .docs("1.0.0", "O(N) for N elements taken.", "Takes elements from the head of a list.")
        .history(&[("6.2.0", "Takes a count.")])
        .args("key:key#0 count:integer@6.2.0?"),
    Spec::new("lpos", lpos, -3, READONLY, Group::List)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("6.0.6", "O(N) for N elements looked at.", "The indexes of elements equal to a given one.")
        .args("key:key#0 element:string rank:integer=RANK? num-matches:integer=COUNT? len:integer=MAXLEN?"),
    Spec::new("lpush", lpush, -3, WRITE | DENYOOM | FAST, Group::List)
        .keys(&[KeySpec::key("RW insert", 1)])
        .docs("1.0.0", "O(N) for N elements added.", "Puts elements at the head of a list.")
        .history(&[("2.4.0", "Takes several elements.")])
        .args("key:key#0 element:string*"),
    Spec::new("lpushx", lpushx, -3, WRITE | DENYOOM | FAST, Group::List)
        .keys(&[KeySpec::key("RW insert", 1)])
        .docs("2.2.0", "O(N) for N elements added.", "Puts elements at the head of a list that exists.")
        .history(&[("4.0.0", "Takes several elements.")])
        .args("key:key#0 element:string*"),
    Spec::new("lrange", lrange, 4, READONLY, Group::List)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("1.0.0", "O(S+N) for S elements passed over and N replied.", "The elements between two indexes.")
        .args("key:key#0 start:integer stop:integer"),
    Spec::new("lrem", lrem, 4, WRITE, Group::List)
        .keys(&[KeySpec::key("RW delete", 1)])
        .docs("1.0.0", "O(N+M) for N elements, M of them removed.", "Removes elements equal to a given one.")
        .args("key:key#0 count:integer element:string"),
    Spec::new("lset", lset, 4, WRITE | DENYOOM, Group::List)
        .keys(&[KeySpec::key("RW update", 1)])
        .docs("1.0.0", "O(N) for N elements; O(1) at both ends.", "Replaces the element at an index.")
        .args("key:key#0 index:integer element:string"),
    Spec::new("ltrim", ltrim, 4, WRITE, Group::List)
        .keys(&[KeySpec::key("RW delete", 1)])
        .docs("1.0.0", "O(N) for N elements removed.", "Keeps only the elements between two indexes.")
        .args("key:key#0 start:integer stop:integer"),
    Spec::new("rpop", rpop, -2, WRITE | FAST, Group::List)
        .keys(&[KeySpec::key("RW access delete", 1)])
        .docs("1.0.0", "O(N) for N elements taken.", "Takes elements from the tail of a list.")
        .history(&[("6.2.0", "Takes a count.")])
        .args("key:key#0 count:integer@6.2.0?"),
    Spec::new("rpoplpush", rpoplpush, 3, WRITE | DENYOOM, Group::List)
        .keys(&[KeySpec::key("RW access delete", 1), KeySpec::key("RW insert", 2)])
        .docs("1.2.0", "O(1)", "Moves the last element of a list to the head of another.")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments")
        .args("source:key#0 destination:key#1"),
    Spec::new("rpush", rpush, -3, WRITE | DENYOOM | FAST, Group::List)
        .keys(&[KeySpec::key("RW insert", 1)])
        .docs("1.0.0", "O(N) for N elements added.", "Puts elements at the tail of a list.")
        .history(&[("2.4.0", "Takes several elements.")])
        .args("key:key#0 element:string*"),
    Spec::new("rpushx", rpushx, -3, WRITE | DENYOOM | FAST, Group::List)
        .keys(&[KeySpec::key("RW insert", 1)])
        .docs("2.2.0", "O(N) for N elements added.", "Puts elements at the tail of a list that exists.")
        .history(&[("4.0.0", "Takes several elements.")])
        .args("key:key#0 element:string*"),
];

// ---- Pieces that the waiting commands share ----

/// One end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

impl Side {
    /// Argument `index` as LEFT or RIGHT.
    pub(super) fn parse(call: &Call, index: usize) -> Result<Side, Error> {
        match () {
            _ if call.word(index, "LEFT") => Ok(Side::Left),
            _ if call.word(index, "RIGHT") => Ok(Side::Right),
            _ => Err(Error::Syntax),
        }
    }

    /// The command that pops here, as the stream has it.
    pub(super) fn pop_word(self) -> &'static [u8] {
        match self {
            Side::Left => b"LPOP",
            Side::Right => b"RPOP",
        }
    }

    fn pop_event(self) -> &'static str {
        match self {
            Side::Left => "lpop",
            Side::Right => "rpop",
        }
    }

    fn push_event(self) -> &'static str {
        match self {
            Side::Left => "lpush",
            Side::Right => "rpush",
        }
    }

    fn element(self, list: &List) -> Option<Element<'_>> {
        match self {
            Side::Left => list.front(),
            Side::Right => list.back(),
        }
    }

    fn remove(self, list: &mut List) -> bool {
        match self {
            Side::Left => list.remove_front(),
            Side::Right => list.remove_back(),
        }
    }
}

fn reply_element(reply: &mut Reply, element: Element) {
    element.with(|item| match item {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(n) => reply.bulk_int(n),
    });
}

/// What follows from taking elements: `event`, and the end of an empty list.
fn removed(keys: &mut Keyspace, key: &[u8], event: &'static str, count: usize, empty: bool) {
    keys.changed(key, NotifyFlags::LIST, event, count as u64);
    if empty {
        keys.remove_if_empty(key);
    }
}

/// Takes one element from an end and replies it behind `head`. False, with nothing written, if there is
/// no list.
pub(super) fn pop_one(
    keys: &mut Keyspace,
    reply: &mut Reply,
    key: &[u8],
    side: Side,
    head: impl FnOnce(&mut Reply),
) -> Result<bool, Error> {
    let limits = keys.settings.list;
    let Some(list) = keys.list_mut(key)? else { return Ok(false) };
    let Some(element) = side.element(list) else { return Ok(false) };
    head(reply);
    reply_element(reply, element);
    side.remove(list);
    list.try_shrink(&limits);
    let empty = list.is_empty();
    removed(keys, key, side.pop_event(), 1, empty);
    Ok(true)
}

/// Takes up to `count` elements from an end and replies them as an array behind `head`. `None`, with
/// nothing written, if there is no list; else how many there were.
pub(super) fn pop_many(
    keys: &mut Keyspace,
    reply: &mut Reply,
    key: &[u8],
    side: Side,
    count: usize,
    head: impl FnOnce(&mut Reply),
) -> Result<Option<usize>, Error> {
    let limits = keys.settings.list;
    let Some(list) = keys.list_mut(key)? else { return Ok(None) };
    head(reply);
    let len = list.len();
    let count = count.min(len);
    reply.array(count);
    match side {
        Side::Left => {
            list.range(0, count).for_each(|element| reply_element(reply, element));
            list.delete_range(0, count);
        }
        Side::Right => {
            list.range_rev(len.saturating_sub(1), count).for_each(|element| reply_element(reply, element));
            list.delete_range(len - count, count);
        }
    }
    if count > 0 {
        list.try_shrink(&limits);
        let empty = list.is_empty();
        removed(keys, key, side.pop_event(), count, empty);
    }
    Ok(Some(count))
}

/// Moves an element from one list's end to another's, which may be the same list, and replies it.
/// False, with nothing done, if there is no source.
pub(super) fn move_one(call: &mut Call, source: &[u8], from: Side, target: &[u8], to: Side) -> Result<bool, Error> {
    if call.keys.list_mut(source)?.is_none() {
        return Ok(false);
    }
    let target_exists = call.keys.list_mut(target)?.is_some();
    let limits = call.keys.settings.list;
    let Some(list) = call.keys.list_mut(source)? else { return Ok(false) };
    let Some(item) = side_bytes(list, from) else { return Ok(false) };
    from.remove(list);
    if source != target {
        list.try_shrink(&limits);
    }
    let put = |list: &mut List| match to {
        Side::Left => list.push_front(&item, &limits),
        Side::Right => list.push_back(&item, &limits),
    };
    if target_exists {
        call.keys.list_mut(target)?.into_iter().for_each(put);
    } else {
        add_list(call.keys, target, put);
    }
    call.keys.changed(target, NotifyFlags::LIST, to.push_event(), 0);
    call.reply.bulk(&item);
    let empty = match call.keys.list_mut(source)? {
        Some(list) => {
            list.try_shrink(&limits);
            list.is_empty()
        }
        None => false,
    };
    removed(call.keys, source, from.pop_event(), 1, empty);
    Ok(true)
}

fn side_bytes(list: &List, side: Side) -> Option<Vec<u8>> {
    side.element(list).map(Element::to_vec)
}

/// Makes a list at a key that is not there; `fill` must not leave it empty.
fn add_list(keys: &mut Keyspace, key: &[u8], fill: impl FnOnce(&mut List)) {
    let mut list = Box::new(List::new());
    fill(&mut list);
    keys.add(key, Value::List(list));
}

/// The keys, the end and the count of LMPOP and BLMPOP.
pub(super) struct PopPlan<'a> {
    pub(super) keys: Args<'a>,
    pub(super) side: Side,
    pub(super) count: usize,
}

impl<'a> PopPlan<'a> {
    /// Reads `numkeys key … LEFT|RIGHT [COUNT count]` from argument `at` on.
    pub(super) fn parse(call: &Call<'a>, at: usize) -> Result<PopPlan<'a>, Error> {
        let many = call.int_in(at, 1, i64::MAX, "ERR numkeys should be greater than 0")?;
        let many = usize::try_from(many).unwrap_or(usize::MAX);
        let keys = call.args.from(at + 1);
        if many >= keys.len() {
            return Err(Error::Syntax);
        }
        let mut at = at + 1 + many;
        let side = Side::parse(call, at)?;
        at += 1;
        let mut count = None;
        while at < call.args.len() {
            if !call.word(at, "COUNT") || count.is_some() || at + 1 == call.args.len() {
                return Err(Error::Syntax);
            }
            count = Some(call.int_in(at + 1, 1, i64::MAX, "ERR count should be greater than 0")?);
            at += 2;
        }
        let count = usize::try_from(count.unwrap_or(1)).unwrap_or(usize::MAX);
        Ok(PopPlan { keys: keys.up_to(many), side, count })
    }

    /// Takes elements from the first list that has any; false if none has.
    pub(super) fn run(&self, call: &mut Call) -> Result<bool, Error> {
        for key in self.keys {
            let head = |reply: &mut Reply| {
                reply.array(2);
                reply.bulk(key);
            };
            if let Some(taken) = pop_many(call.keys, call.reply, key, self.side, self.count, head)? {
                let mut digits = IntBuf::new();
                let count = digits.format_u64(taken as u64).as_bytes();
                call.keys.effects.propagate(call.keys.db, &[self.side.pop_word(), key, count]);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Argument `index` as a count whose sign is a direction: any integer that has a negative.
fn negatable(call: &Call, index: usize) -> Result<i64, Error> {
    match call.int(index)? {
        i64::MIN => {
            Err("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807".into())
        }
        n => Ok(n),
    }
}

// ---- Pushing ----

fn lpush(call: &mut Call) -> Outcome {
    push(call, Side::Left, true)
}

fn rpush(call: &mut Call) -> Outcome {
    push(call, Side::Right, true)
}

fn lpushx(call: &mut Call) -> Outcome {
    push(call, Side::Left, false)
}

fn rpushx(call: &mut Call) -> Outcome {
    push(call, Side::Right, false)
}

/// Adds all elements of the request; `create` says whether a missing list is made.
fn push(call: &mut Call, side: Side, create: bool) -> Outcome {
    let key = call.args.at(1);
    let elements = call.args.from(2);
    let limits = call.keys.settings.list;
    let fill = |list: &mut List| match side {
        Side::Left => list.extend_front(elements.iter(), &limits),
        Side::Right => list.extend_back(elements.iter(), &limits),
    };
    let len = match call.keys.list_mut(key)? {
        Some(list) => {
            fill(list);
            list.len()
        }
        None if create => {
            add_list(call.keys, key, fill);
            elements.len()
        }
        None => {
            call.reply.int(0);
            return Ok(());
        }
    };
    call.keys.changed(key, NotifyFlags::LIST, side.push_event(), elements.len() as u64);
    call.reply.count(len);
    Ok(())
}

fn linsert(call: &mut Call) -> Outcome {
    let after = match () {
        _ if call.word(2, "BEFORE") => false,
        _ if call.word(2, "AFTER") => true,
        _ => return Err(Error::Syntax),
    };
    let (key, pivot, element) = (call.args.at(1), call.args.at(3), call.args.at(4));
    let limits = call.keys.settings.list;
    let Some(list) = call.keys.list_mut(key)? else {
        call.reply.int(0);
        return Ok(());
    };
    let found = match after {
        false => list.insert_before(pivot, element, &limits),
        true => list.insert_after(pivot, element, &limits),
    };
    if !found {
        call.reply.int(-1);
        return Ok(());
    }
    let len = list.len();
    call.keys.changed(key, NotifyFlags::LIST, "linsert", 1);
    call.reply.count(len);
    Ok(())
}

fn lset(call: &mut Call) -> Outcome {
    let (key, element) = (call.args.at(1), call.args.at(3));
    let limits = call.keys.settings.list;
    let index = call.int(2);
    let list = call.keys.list_mut(key)?.ok_or(Error::NoSuchKey)?;
    if !list.set(index?, element, &limits) {
        return Err(Error::OutOfRangeIndex);
    }
    list.try_shrink(&limits);
    call.keys.changed(key, NotifyFlags::LIST, "lset", 1);
    call.reply.ok();
    Ok(())
}

// ---- Taking ----

fn lpop(call: &mut Call) -> Outcome {
    pop(call, Side::Left)
}

fn rpop(call: &mut Call) -> Outcome {
    pop(call, Side::Right)
}

fn pop(call: &mut Call, side: Side) -> Outcome {
    let key = call.args.at(1);
    match call.args.len() {
        2 => {
            if !pop_one(call.keys, call.reply, key, side, |_| {})? {
                call.reply.null();
            }
        }
        3 => {
            let count = call.int_in(2, 0, i64::MAX, "ERR value is out of range, must be positive")?;
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            if pop_many(call.keys, call.reply, key, side, count, |_| {})?.is_none() {
                call.reply.null_array();
            }
        }
        _ => return Err(Error::Arity(call.spec.name.to_owned())),
    }
    Ok(())
}

fn lmpop(call: &mut Call) -> Outcome {
    let plan = PopPlan::parse(call, 1)?;
    if !plan.run(call)? {
        call.reply.null_array();
    }
    Ok(())
}

fn lmove(call: &mut Call) -> Outcome {
    let (from, to) = (Side::parse(call, 3)?, Side::parse(call, 4)?);
    move_or_null(call, from, to)
}

fn rpoplpush(call: &mut Call) -> Outcome {
    move_or_null(call, Side::Right, Side::Left)
}

fn move_or_null(call: &mut Call, from: Side, to: Side) -> Outcome {
    if !move_one(call, call.args.at(1), from, call.args.at(2), to)? {
        call.reply.null();
    }
    Ok(())
}

fn lrem(call: &mut Call) -> Outcome {
    let (key, element) = (call.args.at(1), call.args.at(3));
    let count = negatable(call, 2)?;
    let limits = call.keys.settings.list;
    let gone = match call.keys.list_mut(key)? {
        None => 0,
        Some(list) => {
            let gone = list.remove(count, element, &limits);
            if gone > 0 {
                list.try_shrink(&limits);
                let empty = list.is_empty();
                removed(call.keys, key, "lrem", gone, empty);
            }
            gone
        }
    };
    call.reply.count(gone);
    Ok(())
}

fn ltrim(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    let (start, stop) = (call.int(2)?, call.int(3)?);
    let limits = call.keys.settings.list;
    if let Some(list) = call.keys.list_mut(key)? {
        let gone = list.trim(start, stop);
        list.try_shrink(&limits);
        let empty = list.is_empty();
        removed(call.keys, key, "ltrim", gone, empty);
    }
    call.reply.ok();
    Ok(())
}

// ---- Looking ----

fn llen(call: &mut Call) -> Outcome {
    let len = call.keys.list(call.args.at(1))?.map_or(0, List::len);
    call.reply.count(len);
    Ok(())
}

fn lindex(call: &mut Call) -> Outcome {
    let index = call.int(2);
    let item = match call.keys.list(call.args.at(1))? {
        None => None,
        Some(list) => list.index(index?),
    };
    match item {
        Some(item) => reply_element(call.reply, item),
        None => call.reply.null(),
    }
    Ok(())
}

fn lrange(call: &mut Call) -> Outcome {
    let (start, stop) = (call.int(2)?, call.int(3)?);
    let list = call.keys.list(call.args.at(1))?;
    let Some((list, (first, count))) = list.and_then(|list| Some((list, list.span(start, stop)?))) else {
        call.reply.array(0);
        return Ok(());
    };
    call.reply.array(count);
    let reply = &mut *call.reply;
    list.range(first, count).for_each(|element| reply_element(reply, element));
    Ok(())
}

/// What LPOS looks for.
struct Search {
    /// The first match to reply, counted from 1, from the tail if negative.
    rank: i64,
    /// How many matches to reply, 0 for all; `None`: one, and not in an array.
    count: Option<u64>,
    /// How many elements to look at, 0 for all.
    max_len: u64,
}

impl Search {
    fn parse(call: &Call) -> Result<Search, Error> {
        let mut search = Search { rank: 1, count: None, max_len: 0 };
        let mut at = 3;
        while at < call.args.len() {
            let value = at + 1;
            if value == call.args.len() {
                return Err(Error::Syntax);
            }
            if call.word(at, "RANK") {
                search.rank = negatable(call, value)?;
                if search.rank == 0 {
                    return Err(RANK_ZERO.into());
                }
            } else if call.word(at, "COUNT") {
                search.count = Some(call.int_in(value, 0, i64::MAX, "ERR COUNT can't be negative")? as u64);
            } else if call.word(at, "MAXLEN") {
                search.max_len = call.int_in(value, 0, i64::MAX, "ERR MAXLEN can't be negative")? as u64;
            } else {
                return Err(Error::Syntax);
            }
            at += 2;
        }
        Ok(search)
    }

    /// Gives the indexes of matches to `each`.
    fn run(&self, list: &List, element: &[u8], each: impl FnMut(usize)) {
        let all_if_zero = |n: u64| if n == 0 { usize::MAX } else { usize::try_from(n).unwrap_or(usize::MAX) };
        let max_len = all_if_zero(self.max_len);
        let skip = usize::try_from(self.rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
        let take = self.count.map_or(1, all_if_zero);
        if self.rank > 0 {
            list.positions(element, max_len).skip(skip).take(take).for_each(each);
        } else {
            list.positions_rev(element, max_len).skip(skip).take(take).for_each(each);
        }
    }
}

const RANK_ZERO: &str = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
    or use negative to start from the end of the list";

fn lpos(call: &mut Call) -> Outcome {
    let search = Search::parse(call)?;
    let element = call.args.at(2);
    let list = call.keys.list(call.args.at(1))?;
    let reply = &mut *call.reply;
    if search.count.is_some() {
        let mark = reply.deferred();
        let mut found = 0;
        if let Some(list) = list {
            search.run(list, element, |index| {
                reply.count(index);
                found += 1;
            });
        }
        reply.finish_array(mark, found);
    } else {
        let mut first = None;
        if let Some(list) = list {
            search.run(list, element, |index| first = Some(index));
        }
        match first {
            Some(index) => reply.count(index),
            None => reply.null(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::list::ListLimits;

    fn find(rank: i64, count: Option<u64>, max_len: u64) -> Vec<usize> {
        let mut list = List::new();
        let elements: [&[u8]; 8] = [b"a", b"b", b"c", b"1", b"2", b"3", b"c", b"c"];
        list.extend_back(elements.into_iter(), &ListLimits::default());
        let mut found = Vec::new();
        Search { rank, count, max_len }.run(&list, b"c", |index| found.push(index));
        found
    }

    #[test]
    fn positions_by_rank_count_and_max_len() {
        assert_eq!(find(1, None, 0), [2]);
        assert_eq!(find(2, None, 0), [6]);
        assert_eq!(find(4, None, 0), [0; 0]);
        assert_eq!(find(1, Some(0), 0), [2, 6, 7]);
        assert_eq!(find(2, Some(1), 0), [6]);
        assert_eq!(find(-1, Some(2), 0), [7, 6]);
        assert_eq!(find(-1, Some(0), 5), [7, 6]);
        assert_eq!(find(1, Some(0), 7), [2, 6]);
        assert_eq!(find(i64::MIN + 1, Some(0), 0), [0; 0]);
    }
}
