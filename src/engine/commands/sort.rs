//! SORT and SORT_RO: the elements of a list, a set or a sorted set in order, perhaps by the values of
//! other keys, perhaps shown as the values of other keys.
//!
//! The elements are copied before anything else is looked up: each lookup may make a key expire, even
//! the one that is being sorted. Redis' counterpart: `sort.c`. Unlike there, sorting leaves the encoding
//! of a sorted set alone, and texts are compared byte by byte whatever the locale.

use std::cmp::Ordering;
use std::ops::Range;

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::entry::Entry;
use crate::engine::error::{Error, Outcome};
use crate::engine::keyspace::Keyspace;
use crate::engine::spec::*;
use crate::resp::{Args, OwnedArgs};
use crate::types::list::List;
use crate::types::listpack::Item;
use crate::types::number::{self, IntBuf};
use crate::types::value::{Value, ValueRef};

use super::hash::field_clock;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("sort", sort, -2, WRITE | DENYOOM | MOVABLEKEYS, Group::Generic)
        .keys(&[
            KeySpec::key("RO access", 1),
            KeySpec::new("RO access", Begin::Unknown, Find::Unknown)
                .notes("Keys of BY and GET: their names come from the sorted elements"),
            KeySpec::new("OW update", Begin::Unknown, Find::Unknown)
                .notes("Key of STORE: the word may stand anywhere among the options"),
        ])
        .acl(ACL_SET | ACL_SORTEDSET | ACL_LIST | ACL_DANGEROUS)
        .docs(
            "1.0.0",
            "O(N+M*log(M)) for N elements of which M are replied; O(N) unsorted",
            "Sorts a list, a set or a sorted set, and stores the outcome if asked to.",
        )
        .args(
            "key:key#0 by-pattern:pattern=BY~pattern#1? limit:block=LIMIT?(offset:integer count:integer) \
            get-pattern:pattern=GET~pattern#1?*+ order:oneof?(ASC DESC) sorting:pure-token=ALPHA? \
            destination:key=STORE#2?",
        ),
    Spec::new("sort_ro", sort_ro, -2, READONLY | MOVABLEKEYS, Group::Generic)
        .keys(&[
            KeySpec::key("RO access", 1),
            KeySpec::new("RO access", Begin::Unknown, Find::Unknown)
                .notes("Keys of BY and GET: their names come from the sorted elements"),
        ])
        .acl(ACL_SET | ACL_SORTEDSET | ACL_LIST | ACL_DANGEROUS)
        .docs(
            "7.0.0",
            "O(N+M*log(M)) for N elements of which M are replied; O(N) unsorted",
            "Sorts a list, a set or a sorted set.",
        )
        .args(
            "key:key#0 by-pattern:pattern=BY~pattern#1? limit:block=LIMIT?(offset:integer count:integer) \
            get-pattern:pattern=GET~pattern#1?*+ order:oneof?(ASC DESC) sorting:pure-token=ALPHA?",
        ),
];

/// What a request asks for.
struct Request<'a> {
    descending: bool,
    alpha: bool,
    /// `LIMIT`: offset and count as given.
    limit: (i64, i64),
    by: Option<Pattern<'a>>,
    /// The order is to stay what it is: `BY` a pattern that is the same for all elements.
    unsorted: bool,
    gets: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn parse(call: &Call<'a>, may_store: bool) -> Result<Request<'a>, Error> {
        let mut request = Request {
            descending: false,
            alpha: false,
            limit: (0, -1),
            by: None,
            unsorted: false,
            gets: Vec::new(),
            store: None,
        };
        let mut at = 2;
        while at < call.args.len() {
            let value = call.args.get(at + 1);
            if call.word(at, "ASC") {
                request.descending = false;
            } else if call.word(at, "DESC") {
                request.descending = true;
            } else if call.word(at, "ALPHA") {
                request.alpha = true;
            } else if call.word(at, "LIMIT") && at + 2 < call.args.len() {
                request.limit = (call.int(at + 1)?, call.int(at + 2)?);
                at += 2;
            } else if let Some(value) = value {
                if call.word(at, "STORE") && may_store {
                    request.store = Some(value);
                } else if call.word(at, "BY") {
                    request.by = Some(Pattern::new(value));
                    request.unsorted |= !value.contains(&b'*');
                } else if call.word(at, "GET") {
                    request.gets.push(Pattern::new(value));
                } else {
                    return Err(Error::Syntax);
                }
                at += 1;
            } else {
                return Err(Error::Syntax);
            }
            at += 1;
        }
        Ok(request)
    }

    /// The part of `len` sorted elements that is shown.
    fn shown(&self, len: usize) -> Range<usize> {
        let (offset, count) = self.limit;
        let start = usize::try_from(offset.max(0)).map_or(len, |offset| offset.min(len));
        // A count below zero is no limit.
        let end = usize::try_from(count).map_or(len, |count| start.saturating_add(count).min(len));
        start..end
    }
}

/// The key, and perhaps the field, that belongs to an element: `*` stands for the element.
#[derive(Clone, Copy)]
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// No `*`: nothing belongs to anything.
    Nothing,
    /// What stands before and behind the `*`; with `->`, the field of a hash.
    Key { prefix: &'a [u8], suffix: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    fn new(text: &'a [u8]) -> Pattern<'a> {
        if text == b"#" {
            return Pattern::Element;
        }
        let Some(star) = text.iter().position(|byte| *byte == b'*') else { return Pattern::Nothing };
        let (prefix, rest) = (&text[..star], &text[star + 1..]);
        let arrow = rest.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < rest.len());
        match arrow {
            Some(at) => Pattern::Key { prefix, suffix: &rest[..at], field: Some(&rest[at + 2..]) },
            None => Pattern::Key { prefix, suffix: rest, field: None },
        }
    }

    /// Shows `f` what belongs to `element`.
    fn look_up<R>(self, keys: &mut Keyspace, element: &[u8], f: impl FnOnce(Option<Item>) -> R) -> R {
        let (prefix, suffix, field) = match self {
            Pattern::Element => return f(Some(Item::Bytes(element))),
            Pattern::Nothing => return f(None),
            Pattern::Key { prefix, suffix, field } => (prefix, suffix, field),
        };
        let (now, mut room) = (field_clock(keys), Vec::new());
        let value = keys.read(&[prefix, element, suffix].concat()).map(Entry::value);
        f(match (value, field) {
            (Some(text @ (ValueRef::String(_) | ValueRef::Ascii(_))), None) => Some(Item::Bytes(text.text(&mut room))),
            (Some(ValueRef::Int(n)), None) => Some(Item::Int(n)),
            (Some(ValueRef::Hash(hash)), Some(field)) => hash.get_live(field, now),
            _ => None,
        })
    }
}

fn sort(call: &mut Call) -> Outcome {
    let request = Request::parse(call, true)?;
    run(call, request)
}

fn sort_ro(call: &mut Call) -> Outcome {
    let request = Request::parse(call, false)?;
    run(call, request)
}

fn run(call: &mut Call, mut request: Request) -> Outcome {
    let (elements, shown) = load(call.keys, call.args.at(1), &mut request)?;
    let elements = elements.as_args();
    let order = order(call.keys, elements, &request)?;
    let order = &order[shown];
    match request.store {
        Some(key) => store(call, key, elements, order, &request.gets),
        None => {
            call.reply.array(order.len() * request.gets.len().max(1));
            for element in order.iter().map(|index| elements.at(*index)) {
                if request.gets.is_empty() {
                    call.reply.bulk(element);
                }
                for pattern in &request.gets {
                    pattern.look_up(call.keys, element, |value| match value {
                        Some(Item::Bytes(bytes)) => call.reply.bulk(bytes),
                        Some(Item::Int(n)) => call.reply.bulk_int(n),
                        None => call.reply.null(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// Copies the elements of the key, and says which part of them is shown once they are in order. Where the
/// order is the one they have, only that part is copied.
fn load(keys: &mut Keyspace, key: &[u8], request: &mut Request) -> Result<(OwnedArgs, Range<usize>), Error> {
    let mut elements = OwnedArgs::new();
    let mut scratch = IntBuf::new();
    let mut push = |item: Item| elements.push(item.bytes(&mut scratch));
    let mut shown = 0..0;
    match keys.read(key).map(Entry::value) {
        None => {}
        Some(ValueRef::List(list)) if request.unsorted => {
            let part = request.shown(list.len());
            if request.descending {
                let start = list.len().saturating_sub(part.start + 1);
                list.range_rev(start, part.len()).for_each(|element| element.with(&mut push));
            } else {
                list.range(part.start, part.len()).for_each(|element| element.with(&mut push));
            }
            shown = 0..part.len();
        }
        Some(ValueRef::List(list)) => {
            list.iter().for_each(|element| element.with(&mut push));
            shown = request.shown(list.len());
        }
        Some(ValueRef::Zset(zset)) if request.unsorted => {
            let part = request.shown(zset.len());
            shown = 0..part.len();
            let len = zset.len();
            let ranks = if request.descending { len - part.end..len - part.start } else { part };
            zset.range(ranks, request.descending).for_each(|(member, _)| push(member));
        }
        Some(ValueRef::Zset(zset)) => {
            zset.iter().for_each(|(member, _)| push(member));
            shown = request.shown(zset.len());
        }
        Some(ValueRef::Set(set)) => {
            set.iter().for_each(&mut push);
            shown = request.shown(set.len());
            // What is stored must not depend on the order inside a set.
            if request.unsorted && request.store.is_some() {
                (request.unsorted, request.alpha, request.by) = (false, true, None);
            }
        }
        Some(_) => return Err(Error::WrongType),
    }
    Ok((elements, shown))
}

/// The indexes of the elements in order.
fn order(keys: &mut Keyspace, elements: Args, request: &Request) -> Result<Vec<usize>, Error> {
    let mut order: Vec<usize> = (0..elements.len()).collect();
    if request.unsorted {
        return Ok(order);
    }
    let directed = |ordering: Ordering| if request.descending { ordering.reverse() } else { ordering };
    match (request.alpha, request.by) {
        (true, None) => order.sort_unstable_by(|a, b| directed(elements.at(*a).cmp(elements.at(*b)))),
        (true, Some(by)) => {
            // An element without a text comes before all that have one.
            let text = |element| by.look_up(keys, element, |value| value.map(|item| item.to_vec()));
            let texts: Vec<Option<Vec<u8>>> = elements.iter().map(text).collect();
            // Equal texts: the elements stay in their order.
            order.sort_unstable_by(|a, b| directed(texts[*a].cmp(&texts[*b])).then(a.cmp(b)));
        }
        (false, by) => {
            let scores = scores(keys, elements, by)?;
            // Equal scores: the elements decide, so that the order is never left to chance.
            let compare = |a: usize, b: usize| {
                let ordering = scores[a].partial_cmp(&scores[b]).unwrap_or(Ordering::Equal);
                ordering.then_with(|| elements.at(a).cmp(elements.at(b)))
            };
            order.sort_unstable_by(|a, b| directed(compare(*a, *b)));
        }
    }
    Ok(order)
}

/// The numbers that elements are sorted by; 0 where there is nothing.
fn scores(keys: &mut Keyspace, elements: Args, by: Option<Pattern>) -> Result<Vec<f64>, Error> {
    let by = by.unwrap_or(Pattern::Element);
    let mut scores = Vec::with_capacity(elements.len());
    let mut all_numbers = true;
    for element in elements {
        let score = by.look_up(keys, element, |value| value.map_or(Some(0.0), score));
        all_numbers &= score.is_some();
        scores.push(score.unwrap_or(0.0));
    }
    if all_numbers { Ok(scores) } else { Err("ERR One or more scores can't be converted into double".into()) }
}

/// A value as a number. A text ends at its first NUL, and an empty text is 0. Unlike elsewhere, blanks and
/// hexadecimal digits are refused, and numbers beyond the format are infinite.
fn score(item: Item) -> Option<f64> {
    let text = match item {
        Item::Int(n) => return Some(n as f64),
        Item::Bytes(bytes) => bytes.split(|byte| *byte == 0).next().unwrap_or_default(),
    };
    if text.first().is_some_and(|byte| matches!(byte, b' ' | 9..=13))
        || text.iter().any(|byte| matches!(byte, b'x' | b'X'))
    {
        return None;
    }
    let parsed = number::strtod(text);
    (parsed.len == text.len() && !parsed.value.is_nan()).then_some(parsed.value)
}

/// Stores what would be shown as a list, and answers its length. Nothing to store: the key goes.
fn store(call: &mut Call, key: &[u8], elements: Args, order: &[usize], gets: &[Pattern]) {
    let limits = call.keys.settings.list;
    let mut list = List::new();
    let mut scratch = IntBuf::new();
    for element in order.iter().map(|index| elements.at(*index)) {
        if gets.is_empty() {
            list.push_back(element, &limits);
        }
        for pattern in gets {
            pattern.look_up(call.keys, element, |value| {
                list.push_back(value.map_or(b"", |item| item.bytes(&mut scratch)), &limits);
            });
        }
    }
    let len = list.len();
    if len > 0 {
        call.keys.set(key, Value::List(Box::new(list)));
        call.keys.changed(key, NotifyFlags::LIST, "sortstore", len as u64);
    } else if call.keys.remove(key, call.keys.settings.lazyfree_server_del) {
        call.keys.changed(key, NotifyFlags::GENERIC, "del", 1);
    }
    call.reply.count(len);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_never_leave_the_elements() {
        let request = |limit| Request {
            descending: false,
            alpha: false,
            limit,
            by: None,
            unsorted: false,
            gets: Vec::new(),
            store: None,
        };
        for (limit, shown) in [
            ((0, -1), 0..5),
            ((2, 2), 2..4),
            ((4, 9), 4..5),
            ((5, 1), 5..5),
            ((-3, 2), 0..2),
            ((1, -7), 1..5),
            ((1, 0), 1..1),
            ((i64::MAX, i64::MAX), 5..5),
            ((1, i64::MAX), 1..5),
        ] {
            assert_eq!(request(limit).shown(5), shown, "{limit:?}");
        }
    }

    #[test]
    fn scores_are_read_as_redis_does() {
        let texts = ["", "+1.5", "2\0x", "1e999", "-inf", "5."];
        let scores = [0.0, 1.5, 2.0, f64::INFINITY, f64::NEG_INFINITY, 5.0];
        assert_eq!(texts.map(|text| score(Item::Bytes(text.as_bytes()))), scores.map(Some));
        let refused = [" 1", "1 ", "nan", "x", "0x10", "-", "1e"];
        assert_eq!(refused.map(|text| score(Item::Bytes(text.as_bytes()))), [None; 7]);
    }
}
