//! The set type: an intset, a listpack, or a table of thin strings.
//!
//! It does not know its limits (they come with each call that may convert), and it never converts
//! back to a smaller form. A set that has become empty is the caller's to delete.
//!
//! Invariants: no member occurs twice (unless loaded so from a corrupt listpack; then the copies are
//! members that look alike). Redis' counterpart: `t_set.c`.

use crate::types::PackLimits;
use crate::types::intset::Intset;
use crate::types::listpack::{IntBuf, Item, Listpack, canonical_int};
use crate::types::sample::{Selection, below};
use crate::types::sought::{In, Sought};
use crate::types::table::{self, Entry, Table, hash_bytes};
use crate::types::thin::ThinBytes;
use crate::types::walk::{Keep, TableWalk, Walker, Walking};

/// When a set changes its form, and what its table is seeded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLimits {
    /// Most members of an intset.
    pub intset_entries: usize,
    /// Limits of a listpack.
    pub pack: PackLimits,
    /// Seed of the hash function; unknown to clients, or they could make all hashes equal.
    pub seed: u64,
}

/// A set of strings.
#[derive(Clone)]
pub struct Set(Form);

#[derive(Clone)]
enum Form {
    Intset(Intset),
    Listpack(Listpack),
    Large(Box<Large>),
}

/// What a set looks like inside: for writing it out as it is.
pub enum View<'a> {
    /// Only integers, few.
    Intset(&'a Intset),
    /// Few and short members.
    Listpack(&'a Listpack),
    /// Anything else; [`Set::iter`] gives the members.
    Large,
}

/// The large form.
#[derive(Clone)]
struct Large {
    table: Table<ThinBytes>,
    /// Heap bytes of all members.
    member_bytes: usize,
    seed: u64,
    walk: Walking<TableWalk<ThinBytes>>,
}

impl Keep for ThinBytes {
    fn copy(&self) -> ThinBytes {
        self.clone()
    }

    fn kept_bytes(&self) -> usize {
        size_of::<ThinBytes>() + self.heap_bytes()
    }
}

impl Large {
    fn new(seed: u64) -> Large {
        Large { table: Table::new(), member_bytes: 0, seed, walk: Walking::NONE }
    }

    /// What has this hash is about to come or to go: a walk may want to keep it.
    #[inline]
    fn before_change(&mut self, hash: u64) {
        let seed = self.seed;
        if let Some(walk) = self.walk.get_mut() {
            walk.keep(&self.table, hash, |member| hash_bytes(seed, member));
        }
    }

    fn step_walk(&mut self, mut f: impl FnMut(Item)) -> bool {
        let seed = self.seed;
        let Some(walk) = self.walk.get_mut() else { return true };
        let done = walk.step(&self.table, |member| hash_bytes(seed, member), |member| f(Item::Bytes(member)));
        if done {
            self.walk.end();
        }
        done
    }

    fn add(&mut self, member: &[u8]) -> bool {
        let seed = self.seed;
        let hash = hash_bytes(seed, member);
        self.before_change(hash);
        match self.table.entry(hash, |other| **other == *member) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                let member = ThinBytes::new(member);
                self.member_bytes += member.heap_bytes();
                place.insert(member, |member| hash_bytes(seed, member));
                true
            }
        }
    }

    fn remove(&mut self, member: &[u8]) -> bool {
        let hash = hash_bytes(self.seed, member);
        self.before_change(hash);
        let removed = self.table.remove(hash, |other| **other == *member);
        if let Some(member) = &removed {
            self.member_bytes -= member.heap_bytes();
        }
        removed.is_some()
    }

    fn contains(&self, member: &[u8]) -> bool {
        self.table.find(hash_bytes(self.seed, member), |other| **other == *member).is_some()
    }
}

impl Default for Set {
    fn default() -> Self {
        Set::new()
    }
}

impl Set {
    /// An empty set; its first member decides on its form.
    pub fn new() -> Set {
        Set(Form::Intset(Intset::new()))
    }

    /// An empty set of the form that suits `hint` members the first of which is `first`.
    pub fn with_hint(first: &[u8], hint: usize, limits: &SetLimits) -> Set {
        if hint <= limits.intset_entries && canonical_int(first).is_some() {
            Set(Form::Intset(Intset::new()))
        } else if hint <= limits.pack.entries {
            Set(Form::Listpack(Listpack::new()))
        } else {
            Set(Form::Large(Box::new(Large::new(limits.seed))))
        }
    }

    /// Lays out an empty large set for so many members; [`settle`](Self::settle) when they are there.
    pub fn reserve(&mut self, members: usize) {
        if let Form::Large(large) = &mut self.0 {
            large.table.reserve(members);
        }
    }

    /// Takes back what was reserved in vain.
    pub fn settle(&mut self) {
        if let Form::Large(large) = &mut self.0 {
            large.table.settle();
        }
    }

    /// Where a large set looks for this member.
    #[inline]
    pub fn seek(&self, member: &[u8]) -> Option<Sought<'_>> {
        let Form::Large(large) = &self.0 else { return None };
        large.table.spot(hash_bytes(large.seed, member)).map(|spot| Sought(In::Set(spot)))
    }

    /// Converts at once a set to which more members will be added than its form takes.
    pub fn expect(&mut self, more: usize, limits: &SetLimits) {
        let most = match &self.0 {
            Form::Intset(_) => limits.intset_entries,
            Form::Listpack(_) => limits.pack.entries,
            Form::Large(_) => return,
        };
        if more > most {
            self.enlarge(limits.seed);
        }
    }

    /// The set saved as this intset.
    pub fn from_intset(ints: Intset, limits: &SetLimits) -> Set {
        let too_many = ints.len() > limits.intset_entries;
        let mut set = Set(Form::Intset(ints));
        if too_many {
            set.enlarge(limits.seed);
        }
        set
    }

    /// The set saved as this listpack of members.
    pub fn from_listpack(members: Listpack, limits: &SetLimits) -> Set {
        let too_many =
            members.count() > limits.pack.entries || members.iter().any(|(_, member)| member.len() > limits.pack.value);
        let mut set = Set(Form::Listpack(members));
        if too_many {
            set.enlarge(limits.seed);
        }
        set
    }

    /// The form, for writing it out as it is.
    pub fn view(&self) -> View<'_> {
        match &self.0 {
            Form::Intset(ints) => View::Intset(ints),
            Form::Listpack(pack) => View::Listpack(pack),
            Form::Large(_) => View::Large,
        }
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Intset(_) => "intset",
            Form::Listpack(_) => "listpack",
            Form::Large(_) => "hashtable",
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Intset(ints) => ints.len(),
            Form::Listpack(pack) => pack.count(),
            Form::Large(large) => large.table.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Form::Intset(ints) => ints.is_empty(),
            Form::Listpack(pack) => pack.is_empty(),
            Form::Large(large) => large.table.is_empty(),
        }
    }

    /// Bytes of heap held.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Intset(ints) => ints.heap_bytes(),
            Form::Listpack(pack) => pack.heap_bytes(),
            Form::Large(large) => size_of::<Large>() + large.table.table_bytes() + large.member_bytes,
        }
    }

    /// Whether this is a member.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Form::Intset(ints) => canonical_int(member).is_some_and(|int| ints.contains(int)),
            Form::Listpack(pack) => pack.find(member, 0).is_some(),
            Form::Large(large) => large.contains(member),
        }
    }

    /// Whether this, a member of another set, is a member.
    pub fn contains_item(&self, member: Item) -> bool {
        match (&self.0, member) {
            (Form::Intset(ints), Item::Int(int)) => ints.contains(int),
            _ => self.contains(member.bytes(&mut IntBuf::new())),
        }
    }

    /// Adds a member; false if it was there.
    pub fn add(&mut self, member: &[u8], limits: &SetLimits) -> bool {
        match &mut self.0 {
            Form::Large(large) => large.add(member),
            Form::Listpack(pack) => {
                if pack.find(member, 0).is_some() {
                    return false;
                }
                if packs(pack.count(), member, limits) && pack.fits(Listpack::entry_len(member)) {
                    pack.push_back(member);
                    return true;
                }
                self.enlarge(limits.seed).add(member)
            }
            Form::Intset(ints) => match canonical_int(member) {
                Some(int) if !ints.is_empty() || limits.intset_entries > 0 => {
                    let added = ints.insert(int);
                    if added && ints.len() > limits.intset_entries {
                        self.enlarge(limits.seed);
                    }
                    added
                }
                _ => {
                    self.leave_intset(member, limits);
                    self.add(member, limits)
                }
            },
        }
    }

    /// Adds a member of another set; false if it was there.
    pub fn add_item(&mut self, member: Item, limits: &SetLimits) -> bool {
        self.add(member.bytes(&mut IntBuf::new()), limits)
    }

    /// Removes a member; false if it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Form::Intset(ints) => canonical_int(member).is_some_and(|int| ints.remove(int)),
            Form::Listpack(pack) => match pack.find(member, 0) {
                Some(offset) => {
                    pack.delete(offset);
                    true
                }
                None => false,
            },
            Form::Large(large) => large.remove(member),
        }
    }

    /// All members: ascending in an intset, else in no particular order.
    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Form::Intset(ints) => Iter::Intset(ints, 0),
            Form::Listpack(pack) => Iter::Listpack(pack.iter()),
            Form::Large(large) => Iter::Large(large.table.iter()),
        }
    }

    /// Visits about `count` members at `cursor` (0 begins) and gives the cursor to go on with; 0 ends.
    /// Small forms are visited whole. What is a member throughout is visited.
    pub fn scan(&self, cursor: u64, count: usize, mut f: impl FnMut(Item)) -> u64 {
        match &self.0 {
            Form::Large(large) => large.table.scan_some(
                cursor,
                count,
                |member| hash_bytes(large.seed, member),
                |member| f(Item::Bytes(member)),
            ),
            _ => {
                self.iter().for_each(f);
                0
            }
        }
    }

    /// A random member, all equally likely; the random number decides which.
    pub fn random(&self, random: u64) -> Option<Item<'_>> {
        match &self.0 {
            Form::Intset(ints) => ints.nth(below(random, ints.len() as u64) as usize).map(Item::Int),
            Form::Listpack(pack) => pack.item(below(random, pack.count() as u64) as i64),
            Form::Large(large) => large.table.random(random).map(|member| Item::Bytes(member)),
        }
    }

    /// Visits `count` different random members (all, if there are fewer).
    pub fn sample<'a>(&'a self, count: usize, random: &mut impl FnMut() -> u64, mut f: impl FnMut(Item<'a>)) {
        match &self.0 {
            Form::Large(large) => large.table.sample(count, random, |member| f(Item::Bytes(member))),
            _ => {
                let mut selection = Selection::new(count, self.len());
                self.iter().filter(|_| selection.next(random)).for_each(f);
            }
        }
    }

    /// Removes a random member after showing it to `f`.
    pub fn pop<R>(&mut self, random: u64, f: impl FnOnce(Item) -> R) -> Option<R> {
        match &mut self.0 {
            Form::Intset(ints) => {
                let int = ints.nth(below(random, ints.len() as u64) as usize)?;
                ints.remove(int);
                Some(f(Item::Int(int)))
            }
            Form::Listpack(pack) => {
                let offset = pack.nth(below(random, pack.count() as u64) as i64)?;
                let result = f(pack.at(offset));
                pack.delete(offset);
                Some(result)
            }
            Form::Large(large) => {
                let member = large.table.random(random)?;
                let hash = hash_bytes(large.seed, member);
                let address = member.as_ptr();
                large.before_change(hash);
                let member = large.table.remove(hash, |other| other.as_ptr() == address)?;
                large.member_bytes -= member.heap_bytes();
                Some(f(Item::Bytes(&member)))
            }
        }
    }

    /// Removes `count` different random members (all, if there are fewer), showing each to `f`.
    pub fn pop_many(&mut self, count: usize, random: &mut impl FnMut() -> u64, mut f: impl FnMut(Item)) {
        // One that is walked keeps its form until the walk has ended.
        if count >= self.len() && self.walker().is_none() {
            self.iter().for_each(f);
            *self = Set::new();
            return;
        }
        let len = self.len();
        let mut selection = Selection::new(count, len);
        match &mut self.0 {
            Form::Intset(ints) => {
                let mut chosen = Vec::with_capacity(count);
                chosen.extend(ints.iter().filter(|_| selection.next(random)));
                for int in chosen {
                    ints.remove(int);
                    f(Item::Int(int));
                }
            }
            Form::Listpack(pack) => {
                let mut next = pack.first();
                while let Some(offset) = next.filter(|_| !selection.is_done()) {
                    next = if selection.next(random) {
                        f(pack.at(offset));
                        pack.delete(offset)
                    } else {
                        pack.next(offset)
                    };
                }
            }
            Form::Large(_) => {
                for _ in 0..count.min(len) {
                    self.pop(random(), &mut f);
                }
            }
        }
    }

    /// Frees up to `n` members of a set no longer in use; gives whether any are left.
    pub fn drain_some(&mut self, n: usize) -> bool {
        match &mut self.0 {
            Form::Large(large) => large.table.drain_some(n),
            _ => {
                *self = Set::new();
                false
            }
        }
    }

    pub(super) fn walker(&self) -> Option<u32> {
        match &self.0 {
            Form::Large(large) => large.walk.get().map(|walk| walk.id),
            _ => None,
        }
    }

    pub(super) fn begin_walk(&mut self, walker: Walker) {
        if let Form::Large(large) = &mut self.0 {
            large.walk.begin(TableWalk::new(walker));
        }
    }

    pub(super) fn step_walk(&mut self, f: impl FnMut(Item)) -> bool {
        match &mut self.0 {
            Form::Large(large) => large.step_walk(f),
            _ => true,
        }
    }

    pub(super) fn cancel_walk(&mut self) {
        if let Form::Large(large) = &mut self.0
            && let Some(walk) = large.walk.get_mut()
        {
            walk.cancel();
        }
    }

    /// Turns an intset into the form that takes `member` as well.
    fn leave_intset(&mut self, member: &[u8], limits: &SetLimits) {
        let Form::Intset(ints) = &self.0 else { return };
        let longest = [ints.first(), ints.last()].into_iter().flatten().map(|int| Item::Int(int).len()).max();
        let mut pack = Listpack::new();
        // An integer takes at most nine bytes and one of backlen.
        let fits = pack.fits(ints.len().saturating_mul(10).saturating_add(Listpack::entry_len(member)));
        if fits && packs(ints.len(), member, limits) && longest.unwrap_or(0) <= limits.pack.value {
            ints.iter().for_each(|int| pack.push_back_int(int));
            self.0 = Form::Listpack(pack);
        } else {
            self.enlarge(limits.seed);
        }
    }

    /// Turns the set into its large form.
    fn enlarge(&mut self, seed: u64) -> &mut Large {
        if !matches!(self.0, Form::Large(_)) {
            let mut large = Large::new(seed);
            for member in self.iter() {
                large.add(member.bytes(&mut IntBuf::new()));
            }
            self.0 = Form::Large(Box::new(large));
        }
        match &mut self.0 {
            Form::Large(large) => large,
            _ => unreachable!("it was just made so"),
        }
    }
}

/// Whether a listpack of `len` members may take this one as well.
fn packs(len: usize, member: &[u8], limits: &SetLimits) -> bool {
    len < limits.pack.entries && member.len() <= limits.pack.value
}

/// Whether a listpack has an element twice among its first, first + `stride`, …: only corrupt ones do.
pub fn has_duplicates(pack: &Listpack, stride: usize) -> bool {
    let elements = pack.iter().step_by(stride).map(|(_, element)| element);
    let mut elements: Vec<_> = elements
        .map(|element| match element {
            Item::Int(int) => (Some(int), &b""[..]),
            Item::Bytes(bytes) => match canonical_int(bytes) {
                Some(int) => (Some(int), &b""[..]),
                None => (None, bytes),
            },
        })
        .collect();
    elements.sort_unstable();
    elements.windows(2).any(|pair| pair[0] == pair[1])
}

/// All members of a set.
pub enum Iter<'a> {
    /// Of an intset, and where it stands.
    Intset(&'a Intset, usize),
    /// Of a listpack.
    Listpack(crate::types::listpack::Iter<'a>),
    /// Of the large form.
    Large(LargeIter<'a>),
}

type LargeIter<'a> = table::Iter<'a, ThinBytes>;

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Iter::Intset(ints, i) => {
                *i += 1;
                ints.nth(*i - 1).map(Item::Int)
            }
            Iter::Listpack(iter) => iter.next().map(|(_, member)| member),
            Iter::Large(iter) => iter.next().map(|member| Item::Bytes(member)),
        }
    }
}

#[cfg(test)]
mod tests;
