//! Looking for patterns in code.
//!
//! A pattern is found by its anchor, the line with the most fixed bits; the
//! other lines are only looked at where the anchor's word stands. Many patterns
//! are looked for in one pass: anchors with the same mask share a small bitmap
//! of hashed words, so that nearly every word of the code is dismissed by one
//! multiplication and one load a mask.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::address::{VmAddr, Word};

use super::captures::Captures;
use super::pattern::Pattern;

/// Instructions and where they stand.
#[derive(Clone, Copy)]
pub struct Code<'a> {
    /// Address of the first instruction.
    pub address: VmAddr,
    /// The instructions, four bytes each.
    pub bytes: &'a [u8],
}

/// A place where a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Match {
    /// Address of the first matched instruction.
    pub at: VmAddr,
    /// What the pattern's names stand for there.
    pub captures: Captures,
}

/// A place where a pattern nearly matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NearMiss {
    /// Address of the first instruction.
    pub at: VmAddr,
    /// How many of the telling lines fit.
    pub fitting: usize,
    /// Number of the first line that does not, counted from 0.
    pub line: usize,
    /// What that line asks for.
    pub wanted: String,
    /// The word that stands there.
    pub found: Word,
}

impl<'a> Code<'a> {
    /// The words from instruction `index` on, at most `count`.
    fn words(&self, index: usize, count: usize) -> Vec<Word> {
        let start = (index * 4).min(self.bytes.len());
        let end = (start + count * 4).min(self.bytes.len());
        Word::all(&self.bytes[start..end]).collect()
    }

    fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
    }
}

/// All places where `pattern` matches, in order.
pub fn find(pattern: &Pattern, code: Code<'_>) -> Vec<Match> {
    let anchor = pattern.anchor();
    let template = &pattern.templates[anchor];
    let mut found = Vec::new();
    each_word(code, template.mask, template.value, |index| {
        found.extend(try_at(pattern, anchor, code, index));
    });
    found
}

/// Calls `found` with the index of each instruction whose bits under `mask`
/// are `value`. Blocks are first tested as a whole, which vectorises.
fn each_word(code: Code<'_>, mask: u32, value: u32, mut found: impl FnMut(usize)) {
    const BLOCK: usize = 64;
    let hit = |c: &[u8]| u32::from_le_bytes([c[0], c[1], c[2], c[3]]) & mask == value;
    for (number, block) in code.bytes.chunks(BLOCK * 4).enumerate() {
        if block.chunks_exact(4).fold(false, |any, word| any | hit(word)) {
            for (index, _) in block.chunks_exact(4).enumerate().filter(|(_, word)| hit(word)) {
                found(number * BLOCK + index);
            }
        }
    }
}

fn try_at(pattern: &Pattern, anchor: usize, code: Code<'_>, index: usize) -> Option<Match> {
    let start = index.checked_sub(anchor)?;
    let at = code.address.instruction(start);
    let captures = pattern.match_at(&code.words(start, pattern.len()), at)?;
    Some(Match { at, captures })
}

/// Many patterns, looked for in one pass.
pub struct Many<'p> {
    groups: Vec<Group<'p>>,
}

/// Patterns whose anchors have the same mask.
struct Group<'p> {
    mask: u32,
    filter: Filter,
    anchors: ByAnchor<'p>,
}

/// Anchor word to the patterns that have it, with their number.
type ByAnchor<'p> = BTreeMap<u32, Vec<(usize, &'p Pattern)>>;

impl<'p> Many<'p> {
    /// Prepares the patterns; results name them by their position.
    pub fn new(patterns: &'p [Pattern]) -> Many<'p> {
        let mut by_mask: BTreeMap<u32, ByAnchor<'p>> = BTreeMap::new();
        for (number, pattern) in patterns.iter().enumerate() {
            let template = &pattern.templates[pattern.anchor()];
            let anchors = by_mask.entry(template.mask).or_default();
            anchors.entry(template.value).or_default().push((number, pattern));
        }
        let group = |(mask, anchors): (u32, ByAnchor<'p>)| Group {
            mask,
            filter: Filter::new(anchors.keys().copied()),
            anchors,
        };
        Many { groups: by_mask.into_iter().map(group).collect() }
    }

    /// All matches with the number of their pattern, by place.
    pub fn find(&self, code: Code<'_>) -> Vec<(usize, Match)> {
        let mut found = Vec::new();
        for group in &self.groups {
            for (index, word) in code.iter().enumerate() {
                let word = word & group.mask;
                if group.filter.may_hold(word)
                    && let Some(patterns) = group.anchors.get(&word)
                {
                    let matches = patterns.iter().filter_map(|(number, pattern)| {
                        Some((*number, try_at(pattern, pattern.anchor(), code, index)?))
                    });
                    found.extend(matches);
                }
            }
        }
        found.sort_by_key(|(number, hit)| (hit.at, *number));
        found
    }
}

/// A set of words that may err towards yes. 64 Ki bits fit the first-level
/// cache of every CPU this runs on.
struct Filter(Vec<u64>);

impl Filter {
    fn new(words: impl Iterator<Item = u32>) -> Filter {
        let mut bits = vec![0u64; 1024];
        for word in words {
            let hash = Filter::hash(word);
            bits[hash >> 6] |= 1 << (hash & 63);
        }
        Filter(bits)
    }

    fn may_hold(&self, word: u32) -> bool {
        let hash = Filter::hash(word);
        self.0[hash >> 6] >> (hash & 63) & 1 == 1
    }

    /// The golden ratio's bits spread neighbouring words over the table.
    fn hash(word: u32) -> usize {
        (word.wrapping_mul(0x9e37_79b9) >> 16) as usize
    }
}

/// The places that match best, at most `count`, best first; for the reader of
/// an error that says there was no match.
pub fn nearest(pattern: &Pattern, code: Code<'_>, count: usize) -> Vec<NearMiss> {
    let words: Vec<Word> = Word::all(code.bytes).collect();
    let mut best: Vec<NearMiss> = Vec::new();
    for (start, window) in words.windows(pattern.len()).enumerate() {
        let at = code.address.instruction(start);
        let (fitting, Some(line)) = pattern.near(window, at) else { continue };
        let worst = best.last().map_or(0, |miss| miss.fitting);
        if fitting == 0 || (best.len() == count && fitting <= worst) {
            continue;
        }
        let wanted = pattern.source.lines[line].text.clone();
        best.push(NearMiss { at, fitting, line, wanted, found: window[line] });
        best.sort_by_key(|miss| std::cmp::Reverse(miss.fitting));
        best.truncate(count);
    }
    best
}
