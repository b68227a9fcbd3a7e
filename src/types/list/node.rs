//! One node of a quicklist: a listpack of bounded size, or one plain big element.
//!
//! A node knows nothing of limits; the quicklist decides what goes where. Invariants of a
//! [`Node`]: `count` is the number of its elements; in a quicklist it is never 0; a plain node has
//! exactly one element. Redis' counterpart: `quicklistNode`.

use crate::types::listpack::{self, Item, Listpack, Needle};

/// What a node holds.
#[derive(Clone, Debug)]
pub enum NodeBody {
    /// Many elements in a listpack.
    Packed(Listpack),
    /// One element too large for a listpack.
    Plain(Box<[u8]>),
}

/// Read access to a node, for saving.
#[derive(Clone, Copy, Debug)]
pub enum NodeRef<'a> {
    /// Many elements in a listpack.
    Packed(&'a Listpack),
    /// One element too large for a listpack.
    Plain(&'a [u8]),
}

/// A node of a quicklist.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Kept here so that looking for an index need not touch each node's allocation.
    count: u32,
    body: NodeBody,
}

impl Node {
    pub fn new(body: NodeBody) -> Self {
        let mut node = Node { count: 1, body };
        node.recount();
        node
    }

    /// A node with one element.
    pub fn of(element: &[u8], large: bool) -> Self {
        let body = if large {
            NodeBody::Plain(element.into())
        } else {
            let mut pack = Listpack::new();
            pack.push_back(element);
            NodeBody::Packed(pack)
        };
        Node { count: 1, body }
    }

    pub fn count(&self) -> usize {
        self.count as usize
    }

    pub fn heap_bytes(&self) -> usize {
        match &self.body {
            NodeBody::Packed(pack) => pack.heap_bytes(),
            NodeBody::Plain(element) => element.len(),
        }
    }

    pub fn as_ref(&self) -> NodeRef<'_> {
        match &self.body {
            NodeBody::Packed(pack) => NodeRef::Packed(pack),
            NodeBody::Plain(element) => NodeRef::Plain(element),
        }
    }

    pub fn into_body(self) -> NodeBody {
        self.body
    }

    /// The listpack, unless the node is plain.
    pub fn pack(&self) -> Option<&Listpack> {
        match &self.body {
            NodeBody::Packed(pack) => Some(pack),
            NodeBody::Plain(_) => None,
        }
    }

    /// Changes the listpack and counts anew; nothing happens to a plain node.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut Listpack) -> R) -> Option<R> {
        let NodeBody::Packed(pack) = &mut self.body else {
            return None;
        };
        let result = change(pack);
        self.recount();
        Some(result)
    }

    fn recount(&mut self) {
        if let NodeBody::Packed(pack) = &self.body {
            // An entry takes two bytes at least and a listpack has less than 2^32.
            self.count = pack.count() as u32;
        }
    }

    /// The element with this index in the node, which must be there.
    pub fn item(&self, index: usize) -> Item<'_> {
        match &self.body {
            NodeBody::Packed(pack) => pack.item(index as i64).expect("index within the node"),
            NodeBody::Plain(element) => Item::Bytes(element),
        }
    }

    pub fn first(&self) -> Item<'_> {
        match &self.body {
            NodeBody::Packed(pack) => pack.at(pack.first().expect("a node is not empty")),
            NodeBody::Plain(element) => Item::Bytes(element),
        }
    }

    pub fn last(&self) -> Item<'_> {
        match &self.body {
            NodeBody::Packed(pack) => pack.at(pack.last().expect("a node is not empty")),
            NodeBody::Plain(element) => Item::Bytes(element),
        }
    }

    /// Inserts so that the new element has this index; the node must be packed.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        self.edit(|pack| match pack.nth(index as i64) {
            Some(offset) => drop(pack.insert_before(offset, element)),
            None => pack.push_back(element),
        });
    }

    /// Deletes up to `count` elements. Of a plain node the only element: the node is then to be
    /// thrown away.
    pub fn delete_range(&mut self, start: usize, count: usize) {
        if self.edit(|pack| pack.delete_range(start as i64, count)).is_none() && start == 0 && count > 0 {
            self.count = 0;
            self.body = NodeBody::Plain(Box::default());
        }
    }

    /// Deletes up to `max` elements equal to `needle`, seen from the head or from the tail;
    /// returns how many.
    pub fn remove_matching(&mut self, needle: &Needle, max: usize, from_tail: bool) -> usize {
        match &self.body {
            NodeBody::Packed(pack) => {
                let skip = if from_tail { pack.count_matching(needle).saturating_sub(max) } else { 0 };
                self.edit(|pack| pack.remove_matching(needle, skip, max)).unwrap_or(0)
            }
            NodeBody::Plain(element) if max > 0 && needle.matches(Item::Bytes(element)) => {
                self.delete_range(0, 1);
                1
            }
            NodeBody::Plain(_) => 0,
        }
    }

    /// Replaces the element with this index. A plain node gets a new body whatever it is.
    pub fn replace(&mut self, index: usize, element: &[u8]) {
        match &mut self.body {
            NodeBody::Packed(pack) => {
                let offset = pack.nth(index as i64).expect("index within the node");
                pack.replace(offset, element);
            }
            NodeBody::Plain(old) => *old = element.into(),
        }
    }

    pub fn iter(&self) -> NodeIter<'_> {
        match &self.body {
            NodeBody::Packed(pack) => NodeIter::Packed(pack.iter()),
            NodeBody::Plain(element) => NodeIter::Plain(Some(element)),
        }
    }

    /// The elements from this index to the tail.
    pub fn iter_from(&self, index: usize) -> NodeIter<'_> {
        match &self.body {
            NodeBody::Packed(pack) => NodeIter::from(pack, index),
            NodeBody::Plain(_) => self.iter(),
        }
    }

    /// The elements from the head to this index, it included.
    pub fn iter_to(&self, index: usize) -> NodeIter<'_> {
        match &self.body {
            NodeBody::Packed(pack) => NodeIter::to(pack, index),
            NodeBody::Plain(_) => self.iter(),
        }
    }
}

/// The elements of one node, from either end.
#[derive(Clone, Debug)]
pub(super) enum NodeIter<'a> {
    Packed(listpack::Iter<'a>),
    Plain(Option<&'a [u8]>),
}

impl<'a> NodeIter<'a> {
    pub fn empty() -> Self {
        NodeIter::Plain(None)
    }

    /// The elements of a listpack from this index to the tail.
    pub fn from(pack: &'a Listpack, index: usize) -> Self {
        match i64::try_from(index).ok().and_then(|index| pack.nth(index)) {
            Some(offset) => NodeIter::Packed(pack.iter_from(offset)),
            None => NodeIter::empty(),
        }
    }

    /// The elements of a listpack from the head to this index, it included.
    pub fn to(pack: &'a Listpack, index: usize) -> Self {
        match i64::try_from(index).ok().and_then(|index| pack.nth(index)) {
            Some(offset) => NodeIter::Packed(pack.iter_to(offset)),
            None => NodeIter::empty(),
        }
    }
}

impl<'a> Iterator for NodeIter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            NodeIter::Packed(iter) => iter.next().map(|(_, item)| item),
            NodeIter::Plain(element) => element.take().map(Item::Bytes),
        }
    }
}

impl DoubleEndedIterator for NodeIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            NodeIter::Packed(iter) => iter.next_back().map(|(_, item)| item),
            NodeIter::Plain(element) => element.take().map(Item::Bytes),
        }
    }
}
