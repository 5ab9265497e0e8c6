//! Every word of the code that may lead into a range of addresses.
//!
//! A direct branch holds its distance, in words, in one field. That distance and
//! the branch's own index add up to the index of its target, so that one
//! addition, two masks and one comparison tell; all of it works on several words
//! at once and without a branch, block by block. What is picked here is decoded
//! for certain by the caller: this may err towards yes, never towards no.

use std::ops::Range;

use crate::address::VmAddr;

/// How one kind of branch is told and where it holds its distance.
pub(super) struct Encoding {
    /// Bits that tell the kind. Bit 31 is not among them, for the comparison
    /// needs it, nor the lowest `width`, where the target's index is put.
    mask: u32,
    value: u32,
    /// Where the distance begins.
    shift: u32,
    /// How many bits it has, the sign among them.
    width: u32,
}

/// Every instruction that continues at a fixed distance, or makes an address of
/// one (`adr`). `adrp` has the bits of `adr` but for bit 31.
pub(super) const BRANCHES: [Encoding; 5] = [
    Encoding { mask: 0x7c00_0000, value: 0x1400_0000, shift: 0, width: 26 }, // b, bl
    Encoding { mask: 0x7f00_0000, value: 0x5400_0000, shift: 5, width: 19 }, // b.cond
    Encoding { mask: 0x7e00_0000, value: 0x3400_0000, shift: 5, width: 19 }, // cbz, cbnz
    Encoding { mask: 0x7e00_0000, value: 0x3600_0000, shift: 5, width: 14 }, // tbz, tbnz
    Encoding { mask: 0x1f00_0000, value: 0x1000_0000, shift: 5, width: 19 }, // adr
];

/// Every instruction that reads at a fixed distance, or makes an address of one.
pub(super) const REFERENCES: [Encoding; 2] = [
    Encoding { mask: 0x3b00_0000, value: 0x1800_0000, shift: 5, width: 19 }, // ldr
    Encoding { mask: 0x1f00_0000, value: 0x1000_0000, shift: 5, width: 19 }, // adr
];

/// Words tested before it is asked whether any was picked.
const BLOCK: usize = 1024;

/// Calls `found` with the index of each word of `code`, which begins at
/// `origin`, that may lead into `into` by one of `encodings`.
pub(super) fn each(
    encodings: &[Encoding],
    origin: VmAddr,
    code: &[u8],
    into: &Range<VmAddr>,
    mut found: impl FnMut(usize),
) {
    let first = into.start.distance_from(origin) / 4;
    let length = into.end.distance_from(into.start).max(0) / 4;
    let words = (code.len() / 4) as i64;
    for encoding in encodings {
        let reach = 1i64 << (encoding.width - 1);
        let from = (first - reach).clamp(0, words);
        let to = (first + length + reach).clamp(from, words);
        let blocks = code[from as usize * 4..to as usize * 4].chunks(BLOCK * 4);
        for (number, block) in blocks.enumerate() {
            let at = from as usize + number * BLOCK;
            let distance = (at as i64 - first) as u32;
            if !encoding.any(block, distance, length as u32) {
                continue;
            }
            for (index, word) in block.chunks(4).enumerate() {
                if encoding.any(word, distance.wrapping_add(index as u32), length as u32) {
                    found(at + index);
                }
            }
        }
    }
}

/// Calls `found` with the index of each `adrp` in `code` that gives `page`.
pub(super) fn each_page_address(
    origin: VmAddr,
    code: &[u8],
    page: VmAddr,
    mut found: impl FnMut(usize),
) {
    const PAGE: u64 = 0x1000;
    const REGISTER: u32 = 31;
    // All words of one page hold the same distance. The first page may be partial.
    let first = ((PAGE - origin.0 % PAGE) as usize).min(code.len());
    let (head, tail) = code.split_at(first);
    let mut at = 0;
    for block in std::iter::once(head).chain(tail.chunks(PAGE as usize)) {
        let own = origin.plus(at as u64).0 & !(PAGE - 1);
        let pages = (page.0.wrapping_sub(own) as i64 >> 12) as u32;
        let wanted = 0x9000_0000 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5;
        let is_it = |word: &[u8]| {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            word & !REGISTER == wanted
        };
        if block.chunks_exact(4).fold(false, |any, word| any | is_it(word)) {
            let words = block.chunks_exact(4).enumerate().filter(|(_, word)| is_it(word));
            words.for_each(|(index, _)| found(at / 4 + index));
        }
        at += block.len();
    }
}

impl Encoding {
    /// Whether any word of `block` may lead to one of the `length` words from
    /// which the block's first word is `distance` words away.
    ///
    /// A target inside leaves a number below `length` once the range begins at
    /// zero, and a word of another kind a large one; taking `length` away sets
    /// bit 31 for the former only.
    fn any(&self, block: &[u8], distance: u32, length: u32) -> bool {
        let field = (1u32 << self.width) - 1;
        let mut index = distance;
        let mut below = 0;
        for word in block.chunks_exact(4) {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            let kind = (word & self.mask) ^ self.value;
            let target = (word >> self.shift).wrapping_add(index) & field;
            below |= (kind | target).wrapping_sub(length);
            index = index.wrapping_add(1);
        }
        below >> 31 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: VmAddr = VmAddr(0x4000);

    /// What is picked of code that holds one word.
    fn picked(words: usize, at: usize, word: u32, into: Range<usize>) -> Vec<usize> {
        let mut code = vec![0; words * 4];
        code[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        let into = ORIGIN.instruction(into.start)..ORIGIN.instruction(into.end);
        let mut picked = Vec::new();
        each(&BRANCHES, ORIGIN, &code, &into, |index| picked.push(index));
        picked
    }

    fn encoded(encoding: &Encoding, distance: i64) -> u32 {
        let field = (1u32 << encoding.width) - 1;
        encoding.value | (distance as u32 & field) << encoding.shift
    }

    #[test]
    fn every_kind_is_found_from_as_far_as_it_reaches() {
        const FIRST: i64 = 1 << 19;
        const LAST: i64 = FIRST + 11;
        for encoding in &BRANCHES[1..] {
            let reach = 1 << (encoding.width - 1);
            for (at, distance) in [(FIRST - reach + 1, reach - 1), (LAST + reach, -reach)] {
                let word = encoded(encoding, distance);
                let found = picked(1 << 20, at as usize, word, FIRST as usize..LAST as usize + 1);
                assert_eq!(found, [at as usize], "{word:08x}");
            }
        }
    }

    #[test]
    fn branches_to_the_neighbouring_words_are_not_reported() {
        for encoding in &BRANCHES {
            for at in [10, 5000] {
                for (target, count) in [(2999, 0), (3000, 1), (3011, 1), (3012, 0)] {
                    let word = encoded(encoding, target - at as i64);
                    assert_eq!(picked(6000, at, word, 3000..3012).len(), count, "{word:08x}");
                }
            }
        }
    }

    #[test]
    fn a_range_outside_the_code_is_reached_all_the_same() {
        for encoding in &BRANCHES {
            let word = encoded(encoding, 60);
            assert_eq!(picked(50, 45, word, 100..110), [45]);
        }
        assert_eq!(
            picked(0x10_0000, 0, encoded(&BRANCHES[0], 0x1f_ffff), 0x1f_ffff..0x20_0000),
            [0]
        );
    }
}
