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

/// Bytes of a page as `adrp` counts them.
pub(super) const PAGE: u64 = 0x1000;

/// Calls `found` with the index of each `adrp` in `code` that gives one of the `pages` from
/// `first` on, and with that page.
///
/// All words of one page of code have the same distance to `first`, so that one subtraction
/// and one comparison tell for all the pages at once.
pub(super) fn each_page_address(
    origin: VmAddr,
    code: &[u8],
    first: VmAddr,
    pages: u32,
    mut found: impl FnMut(usize, VmAddr),
) {
    // The first page of the code may be partial.
    let partial = ((PAGE - origin.0 % PAGE) as usize).min(code.len());
    let (head, tail) = code.split_at(partial);
    let mut at = 0;
    for block in std::iter::once(head).chain(tail.chunks(PAGE as usize)) {
        let own = origin.plus(at as u64).0 & !(PAGE - 1);
        let wanted = (first.0.wrapping_sub(own) as i64 >> 12) as u32;
        if block.chunks_exact(4).fold(0, |any, word| any | beyond(word, wanted, pages)) >> 31 == 1 {
            for (index, word) in block.chunks_exact(4).enumerate() {
                if beyond(word, wanted, pages) >> 31 == 1 {
                    let number = page_distance(word).wrapping_sub(wanted) & MAX_PAGE_DISTANCE;
                    found(at / 4 + index, first.plus(u64::from(number) * PAGE));
                }
            }
        }
        at += block.len();
    }
}

/// The distance of an `adrp` has 21 bits.
const MAX_PAGE_DISTANCE: u32 = (1 << 21) - 1;

fn page_distance(word: &[u8]) -> u32 {
    let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
    (word >> 5 & 0x7_ffff) << 2 | word >> 29 & 3
}

/// A number with bit 31 where the word is an `adrp` whose distance is one of the `count` from
/// `wanted` on.
///
/// As in [`Encoding::any`]; the bits that tell an `adrp` stand one lower, because bit 31 is
/// among them.
#[inline(always)]
fn beyond(bytes: &[u8], wanted: u32, count: u32) -> u32 {
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let kind = ((word & 0x9f00_0000) ^ 0x9000_0000) >> 1;
    let distance = page_distance(bytes).wrapping_sub(wanted) & MAX_PAGE_DISTANCE;
    (kind | distance).wrapping_sub(count)
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

    #[test]
    fn the_addresses_of_all_pages_of_a_range_are_found_and_no_other() {
        const FIRST: VmAddr = VmAddr(0x20_0000);
        let adrp = |from: VmAddr, page: u64, register: u32| {
            let distance = ((page as i64 - (from.0 & !(PAGE - 1)) as i64) >> 12) as u32;
            0x9000_0000 | (distance & 3) << 29 | (distance >> 2 & 0x7_ffff) << 5 | register
        };
        for (at, page) in [(0, -1), (1, 0), (1023, 1), (1024, 2), (4100, 3), (9000, 2), (9000, 1)] {
            let mut code = vec![0; 40_000];
            let from = ORIGIN.instruction(at);
            let page = FIRST.0.wrapping_add_signed(page * PAGE as i64);
            let word = adrp(from, page, 17);
            // The same bits without bit 31 are an `adr`.
            for (at, word) in [(at, word), (at + 7, word & !(1 << 31)), (at + 9, word ^ 1 << 28)] {
                code[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
            }
            let mut found = Vec::new();
            each_page_address(ORIGIN, &code, FIRST, 3, |index, page| found.push((index, page.0)));
            let wanted = (FIRST.0..FIRST.0 + 3 * PAGE).contains(&page).then_some((at, page));
            assert_eq!(found, Vec::from_iter(wanted), "{page:#x} from {from}");
        }
    }
}
