//! Which line of each pattern is looked for first, so that one pass over code
//! finds them all.
//!
//! A pattern is only compared whole where its anchor stands, one line with many
//! fixed bits. Anchors are chosen for all patterns together. First those that
//! many patterns share: patterns for one idiom have most lines in common, and a
//! handful of words can be compared with all of the code at the speed of
//! reading it. Patterns that share nothing are put into groups of one mask
//! each, and a group's words into one filter. Where an anchor stands, a second
//! line tells the patterns that share it apart.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::pattern::Pattern;
use super::template::Template;
use super::word_map::WordMap;

/// How many words are compared with the code one by one; each costs about as
/// much as reading the code, and a filter as much as eight.
pub(super) const MAX_COMPARED: usize = 4;

/// Fixed bits of a line that can be an anchor where the pattern has one: a word
/// chosen at random is it less than once in a million.
const ANCHOR_BITS: u32 = 20;

/// `nop`, `ret`, `retab`, `pacibsp`, `mov x0, #0` and `mov w0, #0`: one in
/// twenty words of compiled code is one of these.
const COMMONPLACE: [u32; 6] =
    [0xd503_201f, 0xd65f_03c0, 0xd65f_0fff, 0xd503_237f, 0xd280_0000, 0x5280_0000];

/// A line of a pattern, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    pub pattern: usize,
    pub line: usize,
}

/// Patterns whose anchors are words under one mask.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub mask: u32,
    /// The anchors' words with what stands behind each.
    pub words: WordMap<Shared>,
}

/// The patterns that share an anchor.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    /// Those to be compared outright.
    pub outright: Vec<Anchor>,
    /// Those of which another line is looked at first.
    pub by_second_line: Vec<SecondAnchor>,
}

/// A second line, at one distance from the anchor and under one mask.
#[derive(Clone, Debug)]
pub(super) struct SecondAnchor {
    /// Instructions from the anchor, backwards if negative.
    pub distance: isize,
    pub mask: u32,
    pub words: WordMap<Vec<Anchor>>,
}

/// Groups that together hold every pattern once.
pub(super) fn choose(patterns: &[&Pattern]) -> Vec<Group> {
    let of_pattern = |(number, pattern): (usize, &&Pattern)| {
        lines(pattern).into_iter().map(|line| Anchor { pattern: number, line }).collect()
    };
    let candidates: Vec<Vec<Anchor>> = patterns.iter().enumerate().map(of_pattern).collect();
    let mut plan = Plan { patterns, by_mask: BTreeMap::new() };
    let mut left: Vec<usize> = (0..patterns.len()).collect();
    for _ in 0..MAX_COMPARED {
        let Some((mask, value)) = plan.most_shared(&candidates, &left) else { break };
        left.retain(|&number| {
            let line = candidates[number].iter().find(|a| plan.word(**a) == (mask, value));
            line.is_none_or(|&anchor| {
                plan.put(mask, anchor);
                false
            })
        });
    }
    while let Some(mask) = plan.widest_mask(&candidates, &left) {
        plan.gather(mask, &candidates, &mut left);
    }
    plan.groups()
}

/// The lines of a pattern that can be its anchor, best first: those with the
/// most fixed bits, and of equals the first.
pub(super) fn lines(pattern: &Pattern) -> Vec<usize> {
    let rank = |(line, template): (usize, &Template)| {
        let common = COMMONPLACE.contains(&template.value);
        (common, Reverse(template.mask.count_ones()), line)
    };
    let mut ranked: Vec<_> = pattern.templates.iter().enumerate().map(rank).collect();
    ranked.sort_unstable();
    let good = |(common, bits, _): &&_| !common && *bits <= Reverse(ANCHOR_BITS);
    let good = ranked.iter().filter(good).count().max(1);
    ranked.into_iter().take(good).map(|(.., line)| line).collect()
}

struct Plan<'p> {
    patterns: &'p [&'p Pattern],
    by_mask: BTreeMap<u32, Vec<Anchor>>,
}

impl Plan<'_> {
    fn word(&self, anchor: Anchor) -> (u32, u32) {
        let template = &self.patterns[anchor.pattern].templates[anchor.line];
        (template.mask, template.value)
    }

    fn put(&mut self, mask: u32, anchor: Anchor) {
        self.by_mask.entry(mask).or_default().push(anchor);
    }

    /// The word that most of the patterns left have as a line: a good share of
    /// them, or else all that is left are a few.
    fn most_shared(&self, candidates: &[Vec<Anchor>], left: &[usize]) -> Option<(u32, u32)> {
        let mut shared: BTreeMap<(u32, u32), (usize, usize)> = BTreeMap::new();
        for &number in left {
            for &anchor in &candidates[number] {
                let (last, count) = shared.entry(self.word(anchor)).or_insert((usize::MAX, 0));
                if *last != number {
                    (*last, *count) = (number, *count + 1);
                }
            }
        }
        let share = if left.len() <= MAX_COMPARED { 1 } else { left.len() / 8 + 2 };
        let best = candidates.get(*left.first()?)?.first();
        let most = shared.iter().max_by_key(|((mask, value), (_, count))| {
            let first = best.is_some_and(|&anchor| self.word(anchor) == (*mask, *value));
            (*count, mask.count_ones(), first)
        });
        most.filter(|(_, (_, count))| *count >= share).map(|(&word, _)| word)
    }

    /// The mask that most of the patterns left have a line for.
    fn widest_mask(&self, candidates: &[Vec<Anchor>], left: &[usize]) -> Option<u32> {
        let mut masks: BTreeMap<u32, usize> = BTreeMap::new();
        for &number in left {
            let mut of_this: Vec<u32> =
                candidates[number].iter().map(|a| self.word(*a).0).collect();
            of_this.sort_unstable();
            of_this.dedup();
            of_this.into_iter().for_each(|mask| *masks.entry(mask).or_default() += 1);
        }
        let widest = masks.iter().max_by_key(|(mask, count)| (**count, mask.count_ones()));
        widest.map(|(&mask, _)| mask)
    }

    /// Takes every pattern that has a line under `mask` out of `left`, each by
    /// the line that the fewest others have.
    fn gather(&mut self, mask: u32, candidates: &[Vec<Anchor>], left: &mut Vec<usize>) {
        let under = |plan: &Plan<'_>, anchor: &Anchor| {
            let (own, value) = plan.word(*anchor);
            (own & mask == mask).then_some(value & mask)
        };
        let mut times: BTreeMap<u32, usize> = BTreeMap::new();
        for anchor in left.iter().flat_map(|&number| &candidates[number]) {
            if let Some(value) = under(self, anchor) {
                *times.entry(value).or_default() += 1;
            }
        }
        left.retain(|&number| {
            let possible =
                candidates[number].iter().filter_map(|a| Some((times[&under(self, a)?], a)));
            let rarest = possible.min_by_key(|(times, _)| *times).map(|(_, anchor)| *anchor);
            rarest.is_none_or(|anchor| {
                self.put(mask, anchor);
                false
            })
        });
    }

    fn groups(self) -> Vec<Group> {
        let patterns = self.patterns;
        let group = |(mask, anchors): (u32, Vec<Anchor>)| {
            let mut by_word: BTreeMap<u32, Vec<Anchor>> = BTreeMap::new();
            for anchor in anchors {
                let value = patterns[anchor.pattern].templates[anchor.line].value & mask;
                by_word.entry(value).or_default().push(anchor);
            }
            let shared = by_word.into_iter().map(|(word, of)| (word, share(patterns, of)));
            Group { mask, words: WordMap::new(shared.collect()) }
        };
        self.by_mask.into_iter().map(group).collect()
    }
}

/// Looks for second lines that tell patterns with one anchor apart: each time
/// the distance and mask under which those left have the most different words.
fn share(patterns: &[&Pattern], mut left: Vec<Anchor>) -> Shared {
    let mut shared = Shared::default();
    let second_lines = |anchor: Anchor| {
        let lines = patterns[anchor.pattern].templates.iter().enumerate();
        lines.filter(move |(line, template)| *line != anchor.line && template.mask != 0).map(
            move |(line, template)| {
                ((line as isize - anchor.line as isize, template.mask), template.value)
            },
        )
    };
    while left.len() > MAX_COMPARED {
        let mut words: BTreeMap<(isize, u32), Vec<u32>> = BTreeMap::new();
        for (place, word) in left.iter().flat_map(|&anchor| second_lines(anchor)) {
            words.entry(place).or_default().push(word);
        }
        let different = |words: &Vec<u32>| {
            let mut words = words.clone();
            words.sort_unstable();
            words.dedup();
            words.len()
        };
        let best = words.iter().map(|(place, words)| (different(words), *place)).max();
        let Some((2.., (distance, mask))) = best else { break };
        let mut by_word: BTreeMap<u32, Vec<Anchor>> = BTreeMap::new();
        left.retain(|&anchor| {
            let at_place = second_lines(anchor).find(|(place, _)| *place == (distance, mask));
            at_place.is_none_or(|(_, word)| {
                by_word.entry(word).or_default().push(anchor);
                false
            })
        });
        let words = WordMap::new(by_word.into_iter().collect());
        shared.by_second_line.push(SecondAnchor { distance, mask, words });
    }
    shared.outright = left;
    shared
}
