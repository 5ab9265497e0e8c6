//! Sifting the words of code for those that may be anchors.
//!
//! A few words are compared with a block of code at once, which vectorises: the
//! speed is that of reading the code. More words go into a filter of hashed
//! bits, at a multiplication and a load a word of code.

use super::anchors::{FEW, Group};
use super::words::spread;

/// What tells quickly that a word is not among a group's.
#[derive(Clone, Debug)]
pub(super) enum Sieve {
    /// Compare with each of these, the last repeated to fill the row.
    Few([u32; FEW], usize),
    /// Look into a filter that fits the first-level cache.
    Small(Box<[u32; SMALL]>),
    /// The same for a catalogue of many thousands.
    Large(Box<[u32; LARGE]>),
}

/// 32 KiB: 1,000 words let 0.4 % of other words through.
const SMALL: usize = 1 << 13;
/// 256 KiB.
const LARGE: usize = 1 << 16;
/// From how many words on the small filter lets too much through.
const MANY: usize = 4096;

/// The number an instruction is.
pub(super) fn word(cell: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*cell)
}

impl Sieve {
    /// A sieve for the group's words.
    pub fn new(group: &Group) -> Sieve {
        let words = || group.words.words();
        match group.words.len() {
            count @ ..=FEW => {
                let mut row = [words().next().unwrap_or_default(); FEW];
                row.iter_mut().zip(words()).for_each(|(place, word)| *place = word);
                Sieve::Few(row, count)
            }
            ..MANY => Sieve::Small(filter(words())),
            _ => Sieve::Large(filter(words())),
        }
    }

    /// Calls `found` with the place and the word wherever one may be the
    /// group's. Where it surely is none, mostly nothing is called.
    pub fn each(&self, mask: u32, code: &[[u8; 4]], found: impl FnMut(usize, u32)) {
        match self {
            Sieve::Few([only, ..], ..=1) => each::<64>(code, |word| word & mask == *only, found),
            Sieve::Few([one, other, ..], 2) => {
                each::<64>(code, |word| (word & mask == *one) | (word & mask == *other), found);
            }
            Sieve::Few(row, _) => {
                let among = |word| row.iter().fold(false, |any, one| any | (word & mask == *one));
                each::<64>(code, among, found);
            }
            Sieve::Small(filter) => each::<8>(code, |word| holds(filter, word & mask), found),
            Sieve::Large(filter) => each::<8>(code, |word| holds(filter, word & mask), found),
        }
    }
}

/// Asks of all words of a block whether one is wanted, without branches, and
/// looks for it only then.
fn each<const BLOCK: usize>(
    code: &[[u8; 4]],
    wanted: impl Fn(u32) -> bool,
    mut found: impl FnMut(usize, u32),
) {
    let (blocks, rest) = code.as_chunks::<BLOCK>();
    let mut look = |start: usize, cells: &[[u8; 4]]| {
        for (index, word) in cells.iter().map(word).enumerate().filter(|(_, word)| wanted(*word)) {
            found(start + index, word);
        }
    };
    for (number, block) in blocks.iter().enumerate() {
        if block.iter().fold(false, |any, cell| any | wanted(word(cell))) {
            look(number * BLOCK, block);
        }
    }
    look(blocks.len() * BLOCK, rest);
}

fn filter<const SIZE: usize>(words: impl Iterator<Item = u32>) -> Box<[u32; SIZE]> {
    let mut bits = Box::new([0; SIZE]);
    for word in words {
        let bit = place::<SIZE>(word);
        bits[bit / 32] |= 1 << (bit % 32);
    }
    bits
}

fn holds<const SIZE: usize>(bits: &[u32; SIZE], word: u32) -> bool {
    let bit = place::<SIZE>(word);
    // The remainder changes nothing and spares a comparison.
    bits[bit / 32 % SIZE] >> (bit % 32) & 1 == 1
}

fn place<const SIZE: usize>(word: u32) -> usize {
    spread(word, SIZE.trailing_zeros() + 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::anchors::Shared;
    use crate::signature::words::WordMap;

    /// Words that every sieve must let through, at every place of a block.
    #[test]
    fn no_word_of_the_group_is_sifted_out() {
        for count in [1, 2, 3, FEW, FEW + 1, 1000, MANY, MANY + 1000] {
            let wanted: Vec<u32> = (0..count as u32).map(|n| n.wrapping_mul(0x0101_4001)).collect();
            let words =
                WordMap::new(wanted.iter().map(|word| (*word, Shared::default())).collect());
            let sieve = Sieve::new(&Group { mask: !0, words });
            for place in [0, 7, 63, 64, 99] {
                for word in &wanted {
                    let mut code = [[0xff; 4]; 100];
                    code[place] = word.to_le_bytes();
                    let mut found = Vec::new();
                    sieve.each(!0, &code, |index, word| found.push((index, word)));
                    assert!(found.contains(&(place, *word)), "{count} words, at {place}");
                }
            }
        }
    }
}
