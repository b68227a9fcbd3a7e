//! One node of a quicklist: a listpack of bounded size, or one plain big element.
//!
//! A node knows nothing of limits; the quicklist decides what goes where, and when a listpack is sealed: its
//! elements then lie closer together, if they can (see `uniform.rs`), until more than its ends change. Invariants of a
//! [`Node`]: `count` is the number of its elements; in a quicklist it is never 0; a plain node has
//! exactly one element. Redis' counterpart: `quicklistNode`.

use super::element::Element;
use super::quicklist::End;
use super::uniform::{self, Uniform};
use crate::types::listpack::{self, Item, Listpack, Needle, Room};
use std::borrow::Cow;

/// What a node holds.
#[derive(Clone, Debug)]
pub enum NodeBody {
    /// Many elements in a listpack.
    Packed(Listpack),
    /// One element too large for a listpack.
    Plain(Box<[u8]>),
}

/// Read access to a node, for saving.
#[derive(Clone, Debug)]
pub enum NodeRef<'a> {
    /// Many elements in a listpack.
    Packed(Cow<'a, Listpack>),
    /// One element too large for a listpack.
    Plain(&'a [u8]),
}

/// A node of a quicklist.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Kept here so that looking for an index need not touch each node's allocation.
    count: u32,
    body: Body,
}

/// What a node holds in memory.
#[derive(Clone, Debug)]
enum Body {
    Packed(Listpack),
    Sealed(Box<Uniform>),
    Plain(Box<[u8]>),
}

impl Node {
    pub fn new(body: NodeBody) -> Self {
        let body = match body {
            NodeBody::Packed(pack) => Body::Packed(pack),
            NodeBody::Plain(element) => Body::Plain(element),
        };
        let mut node = Node { count: 1, body };
        node.recount();
        node
    }

    /// A node with one element.
    pub fn of(element: &[u8], large: bool) -> Self {
        if large { Node::plain(element) } else { Node::expecting(element, 0, Room::Back) }
    }

    /// A node with one element, expected to grow to a listpack of so many bytes at one end.
    pub fn expecting(element: &[u8], bytes: usize, room: Room) -> Self {
        let mut pack = Listpack::with_room(bytes, room);
        pack.push_back(element);
        Node { count: 1, body: Body::Packed(pack) }
    }

    /// A node with one element too large for a listpack.
    pub fn plain(element: &[u8]) -> Self {
        Node { count: 1, body: Body::Plain(element.into()) }
    }

    pub fn count(&self) -> usize {
        self.count as usize
    }

    pub fn heap_bytes(&self) -> usize {
        match &self.body {
            Body::Packed(pack) => pack.heap_bytes(),
            Body::Sealed(uniform) => uniform.heap_bytes(),
            Body::Plain(element) => element.len(),
        }
    }

    pub fn as_ref(&self) -> NodeRef<'_> {
        match &self.body {
            Body::Packed(pack) => NodeRef::Packed(Cow::Borrowed(pack)),
            Body::Sealed(uniform) => NodeRef::Packed(Cow::Owned(uniform.to_listpack())),
            Body::Plain(element) => NodeRef::Plain(element),
        }
    }

    pub fn into_body(self) -> NodeBody {
        match self.body {
            Body::Packed(pack) => NodeBody::Packed(pack),
            Body::Sealed(uniform) => NodeBody::Packed(uniform.to_listpack()),
            Body::Plain(element) => NodeBody::Plain(element),
        }
    }

    pub fn is_plain(&self) -> bool {
        matches!(self.body, Body::Plain(_))
    }

    /// The length of the listpack, unless the node is plain.
    pub fn pack_len(&self) -> Option<usize> {
        match &self.body {
            Body::Packed(pack) => Some(pack.byte_len()),
            Body::Sealed(uniform) => Some(uniform.listpack_len()),
            Body::Plain(_) => None,
        }
    }

    /// Lets the elements lie as close as they can: for a node that is full and will hardly be changed.
    pub fn seal(&mut self) {
        if let Body::Packed(pack) = &self.body
            && let Some(uniform) = Uniform::of(pack)
            && uniform.heap_bytes() < pack.heap_bytes()
        {
            self.body = Body::Sealed(Box::new(uniform));
        }
    }

    /// Makes a sealed node one with a listpack.
    fn unseal(&mut self) {
        if let Body::Sealed(uniform) = &self.body {
            self.body = Body::Packed(uniform.to_listpack());
        }
    }

    /// Changes the listpack and counts anew; nothing happens to a plain node.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut Listpack) -> R) -> Option<R> {
        self.unseal();
        let Body::Packed(pack) = &mut self.body else {
            return None;
        };
        let result = change(pack);
        self.recount();
        Some(result)
    }

    /// Adds an element at one end; the node must be packed.
    pub fn push(&mut self, end: End, element: &[u8]) {
        self.unseal();
        if let Body::Packed(pack) = &mut self.body {
            match end {
                End::Head => pack.push_front(element),
                End::Tail => pack.push_back(element),
            }
            self.count += 1;
        }
    }

    /// Deletes the element at one end; nothing happens to a plain node.
    pub fn remove_end(&mut self, end: End) {
        if let Body::Sealed(uniform) = &mut self.body
            && uniform.remove_end(end)
        {
            self.count -= 1;
            return;
        }
        self.edit(|pack| {
            let offset = if end == End::Head { pack.first() } else { pack.last() };
            offset.map(|offset| pack.delete(offset))
        });
    }

    fn recount(&mut self) {
        if let Body::Packed(pack) = &self.body {
            // An entry takes two bytes at least and a listpack has less than 2^32.
            self.count = pack.count() as u32;
        }
    }

    /// The element with this index in the node, which must be there.
    pub fn item(&self, index: usize) -> Element<'_> {
        match &self.body {
            Body::Packed(pack) => Element::Item(pack.item(index as i64).expect("index within the node")),
            Body::Sealed(uniform) => uniform.item(index).expect("index within the node"),
            Body::Plain(element) => Element::Item(Item::Bytes(element)),
        }
    }

    pub fn first(&self) -> Element<'_> {
        match &self.body {
            Body::Packed(pack) => Element::Item(pack.at(pack.first().expect("a node is not empty"))),
            Body::Sealed(_) => self.item(0),
            Body::Plain(element) => Element::Item(Item::Bytes(element)),
        }
    }

    pub fn last(&self) -> Element<'_> {
        match &self.body {
            Body::Packed(pack) => Element::Item(pack.at(pack.last().expect("a node is not empty"))),
            Body::Sealed(_) => self.item(self.count() - 1),
            Body::Plain(element) => Element::Item(Item::Bytes(element)),
        }
    }

    /// Inserts so that the new element has this index; the node must be packed.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        self.edit(|pack| match pack.nth(index as i64) {
            Some(offset) => {
                pack.insert_before(offset, element);
            }
            None => pack.push_back(element),
        });
    }

    /// Deletes up to `count` elements. Of a plain node the only element: the node is then to be
    /// thrown away.
    pub fn delete_range(&mut self, start: usize, count: usize) {
        if self.edit(|pack| pack.delete_range(start as i64, count)).is_none() && start == 0 && count > 0 {
            self.count = 0;
            self.body = Body::Plain(Box::default());
        }
    }

    /// Deletes up to `max` elements equal to `needle`, seen from the head or from the tail;
    /// returns how many.
    pub fn remove_matching(&mut self, needle: &Needle, max: usize, from_tail: bool) -> usize {
        if let Body::Sealed(_) = &self.body {
            if max == 0 || !self.iter().any(|element| element.with(|item| needle.matches(item))) {
                return 0;
            }
            self.unseal();
        }
        match &self.body {
            Body::Packed(pack) => {
                let skip = if from_tail { pack.count_matching(needle).saturating_sub(max) } else { 0 };
                self.edit(|pack| pack.remove_matching(needle, skip, max)).unwrap_or(0)
            }
            Body::Plain(element) if max > 0 && needle.matches(Item::Bytes(element)) => {
                self.delete_range(0, 1);
                1
            }
            Body::Sealed(_) | Body::Plain(_) => 0,
        }
    }

    /// Replaces the element with this index. A plain node gets a new body whatever it is.
    pub fn replace(&mut self, index: usize, element: &[u8]) {
        self.unseal();
        match &mut self.body {
            Body::Packed(pack) => {
                let offset = pack.nth(index as i64).expect("index within the node");
                pack.replace(offset, element);
            }
            Body::Sealed(_) => {}
            Body::Plain(old) => *old = element.into(),
        }
    }

    pub fn iter(&self) -> NodeIter<'_> {
        match &self.body {
            Body::Packed(pack) => NodeIter::Packed(pack.iter()),
            Body::Sealed(uniform) => NodeIter::Uniform(uniform.iter(0..self.count())),
            Body::Plain(element) => NodeIter::Plain(Some(element)),
        }
    }

    /// The elements from this index to the tail.
    pub fn iter_from(&self, index: usize) -> NodeIter<'_> {
        match &self.body {
            Body::Packed(pack) => NodeIter::from(pack, index),
            Body::Sealed(uniform) => NodeIter::Uniform(uniform.iter(index..self.count())),
            Body::Plain(_) => self.iter(),
        }
    }

    /// The elements from the head to this index, it included.
    pub fn iter_to(&self, index: usize) -> NodeIter<'_> {
        match &self.body {
            Body::Packed(pack) => NodeIter::to(pack, index),
            Body::Sealed(uniform) => NodeIter::Uniform(uniform.iter(0..index + 1)),
            Body::Plain(_) => self.iter(),
        }
    }
}

/// The elements of one node, from either end.
#[derive(Clone, Debug)]
pub(super) enum NodeIter<'a> {
    Packed(listpack::Iter<'a>),
    Uniform(uniform::Iter<'a>),
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
    type Item = Element<'a>;

    /// Natively always inline: an element that is handed over in memory costs LRANGE a sixth of its time. A page that
    /// loads a module would rather have it 12 KB smaller.
    #[cfg_attr(not(target_arch = "wasm32"), inline(always))]
    #[cfg_attr(target_arch = "wasm32", inline)]
    fn next(&mut self) -> Option<Element<'a>> {
        match self {
            NodeIter::Packed(iter) => iter.next().map(|(_, item)| Element::Item(item)),
            NodeIter::Uniform(iter) => iter.next(),
            NodeIter::Plain(element) => element.take().map(|element| Element::Item(Item::Bytes(element))),
        }
    }
}

impl DoubleEndedIterator for NodeIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            NodeIter::Packed(iter) => iter.next_back().map(|(_, item)| Element::Item(item)),
            NodeIter::Uniform(iter) => iter.next_back(),
            NodeIter::Plain(element) => element.take().map(|element| Element::Item(Item::Bytes(element))),
        }
    }
}
