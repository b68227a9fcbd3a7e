//! Choosing some of many at random, without duplicates, in one pass and without memory.
//!
//! Redis' counterparts: `lpNextRandom`, and the cases of SRANDMEMBER, SPOP and HRANDFIELD.

/// Selection sampling: asked about each of `of` elements in turn, it says yes to exactly `wanted` of
/// them (all, if there are fewer), every choice equally likely.
pub struct Selection {
    wanted: u64,
    of: u64,
}

impl Selection {
    /// A selection of `wanted` among `of` elements.
    pub fn new(wanted: usize, of: usize) -> Selection {
        Selection { wanted: wanted.min(of) as u64, of: of as u64 }
    }

    /// Whether the next element is chosen.
    pub fn next(&mut self, random: &mut impl FnMut() -> u64) -> bool {
        if self.wanted == 0 {
            return false;
        }
        let chosen = self.wanted == self.of || below(random(), self.of) < self.wanted;
        self.of -= 1;
        self.wanted -= u64::from(chosen);
        chosen
    }

    /// Whether no further element will be chosen.
    pub fn is_done(&self) -> bool {
        self.wanted == 0
    }
}

/// A number below `bound` from a random one.
pub fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

/// The next number of a random sequence (splitmix64): for when one random number must become several.
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Seeded chance for the tests of the types.
    pub struct Rng(u64);

    impl Rng {
        pub fn new(seed: u64) -> Rng {
            Rng(seed)
        }

        pub fn next(&mut self) -> u64 {
            splitmix(&mut self.0)
        }

        pub fn below(&mut self, bound: u64) -> u64 {
            below(self.next(), bound)
        }
    }

    #[test]
    fn chooses_exactly_as_many_as_wanted_and_each_as_often() {
        let mut rng = Rng::new(5);
        let mut random = || rng.next();
        for (wanted, of) in [(0, 5), (1, 5), (3, 10), (10, 10), (12, 10), (4, 0)] {
            let mut chosen = vec![0u32; of];
            for _ in 0..4_000 {
                let mut selection = Selection::new(wanted, of);
                let before: u32 = chosen.iter().sum();
                for n in &mut chosen {
                    *n += u32::from(selection.next(&mut random));
                }
                assert!(selection.is_done());
                assert_eq!(chosen.iter().sum::<u32>() - before, wanted.min(of) as u32);
            }
            let mean = 4_000 * wanted.min(of) as u32 / of.max(1) as u32;
            assert!(chosen.iter().all(|n| n.abs_diff(mean) < 200), "{chosen:?}");
        }
    }
}
