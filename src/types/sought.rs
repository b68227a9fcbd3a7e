//! An element of a large collection that will be looked for, whatever the collection's type.

use super::hash::large::Block;
use super::table::Spot;
use super::thin::ThinBytes;
use super::zset::member::Member;

/// Where an element is looked for; that memory has been asked for.
pub struct Sought<'a>(pub(super) In<'a>);

/// In what kind of table.
pub(super) enum In<'a> {
    Set(Spot<'a, ThinBytes>),
    Hash(Spot<'a, Block>),
    Zset(Spot<'a, Member>),
}

impl<'a> Sought<'a> {
    /// Asks for the memory of the element; or says where to look further, if it is not there.
    #[inline]
    pub fn approach(self) -> Option<Sought<'a>> {
        let further = match self.0 {
            In::Set(spot) => In::Set(spot.approach(ThinBytes::prefetch)?),
            In::Hash(spot) => In::Hash(spot.approach(Block::prefetch)?),
            In::Zset(spot) => In::Zset(spot.approach(Member::prefetch)?),
        };
        Some(Sought(further))
    }
}
