//! A prefilter: which words of code may be anchors.
//!
//! A few words are compared with a block of code at once, which vectorises: the
//! speed is that of reading the code. More words go into a filter of hashed
//! bits, at a multiplication and a load a word of code.

use super::anchors::{Group, MAX_COMPARED};
use super::word_map::spread;

/// What tells quickly that a word is not among a group's.
#[derive(Clone, Debug)]
pub(super) enum Prefilter {
    /// Compare with each of these, the last repeated to fill the row.
    Few([u32; MAX_COMPARED], usize),
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
const SMALL_FILTER_WORDS: usize = 4096;

/// The number an instruction is.
pub(super) fn word(cell: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*cell)
}

impl Prefilter {
    /// A prefilter for the group's words.
    pub fn new(group: &Group) -> Prefilter {
        let words = || group.words.words();
        match group.words.len() {
            count @ ..=MAX_COMPARED => {
                let mut row = [words().next().unwrap_or_default(); MAX_COMPARED];
                row.iter_mut().zip(words()).for_each(|(place, word)| *place = word);
                Prefilter::Few(row, count)
            }
            ..SMALL_FILTER_WORDS => Prefilter::Small(filter(words())),
            _ => Prefilter::Large(filter(words())),
        }
    }

    /// Calls `found` with the place and the word wherever one may be the
    /// group's. It may report a word that is not one, and never misses one that is.
    pub fn each(&self, mask: u32, code: &[[u8; 4]], found: impl FnMut(usize, u32)) {
        match self {
            Prefilter::Few([only, ..], ..=1) => {
                each::<64>(code, |word| word & mask == *only, found)
            }
            Prefilter::Few([one, other, ..], 2) => {
                each::<64>(code, |word| (word & mask == *one) | (word & mask == *other), found);
            }
            Prefilter::Few(row, _) => {
                let among = |word| row.iter().fold(false, |any, one| any | (word & mask == *one));
                each::<64>(code, among, found);
            }
            Prefilter::Small(filter) => each::<8>(code, |word| holds(filter, word & mask), found),
            Prefilter::Large(filter) => each::<8>(code, |word| holds(filter, word & mask), found),
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
    use crate::signature::word_map::WordMap;

    /// Words that every prefilter must let through, at every place of a block.
    #[test]
    fn no_word_of_the_group_is_sifted_out() {
        for count in [
            1,
            2,
            3,
            MAX_COMPARED,
            MAX_COMPARED + 1,
            1000,
            SMALL_FILTER_WORDS,
            SMALL_FILTER_WORDS + 1000,
        ] {
            let wanted: Vec<u32> = (0..count as u32).map(|n| n.wrapping_mul(0x0101_4001)).collect();
            let words =
                WordMap::new(wanted.iter().map(|word| (*word, Shared::default())).collect());
            let prefilter = Prefilter::new(&Group { mask: !0, words });
            for place in [0, 7, 63, 64, 99] {
                for word in &wanted {
                    let mut code = [[0xff; 4]; 100];
                    code[place] = word.to_le_bytes();
                    let mut found = Vec::new();
                    prefilter.each(!0, &code, |index, word| found.push((index, word)));
                    assert!(found.contains(&(place, *word)), "{count} words, at {place}");
                }
            }
        }
    }
}
