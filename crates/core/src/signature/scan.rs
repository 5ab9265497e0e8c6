//! Looking for patterns in code.
//!
//! A pattern is found by its anchor; the other lines are only looked at where
//! the anchor's word stands. One pass over the code finds many patterns: it is
//! taken in pieces, and each group of anchors sifts a piece before the next is
//! touched. What costs is the words that are not anchors, and a prefilter tells
//! those of a whole block at once.

use std::ops::Range;

use serde::Serialize;

use crate::address::{VmAddr, Word};

use super::anchors::{self, Group, Shared};
use super::captures::Captures;
use super::pattern::Pattern;
use super::prefilter::{Prefilter, word};

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
    /// How many of the distinguishing lines fit.
    pub fitting: usize,
    /// Number of the first line that does not, counted from 0.
    pub line: usize,
    /// What that line asks for.
    pub wanted: String,
    /// The word that stands there.
    pub found: Word,
    /// Every line that does not fit, with its number counted from 0.
    pub misfits: Vec<Misfit>,
}

/// A line that does not fit where a pattern nearly matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misfit {
    /// Number of the line, counted from 0.
    pub line: usize,
    /// What it asks for.
    pub wanted: String,
    /// The word that stands there.
    pub found: Word,
}

impl NearMiss {
    /// The near miss as a sentence, of a pattern of which `distinguishing` lines say
    /// something. Every line that differs is in it, up to a limit.
    pub fn sentence(&self, distinguishing: usize) -> String {
        const MAX_LINES: usize = 12;
        let mut sentence = format!("{}: {} of {distinguishing} lines fit", self.at, self.fitting);
        for misfit in self.misfits.iter().take(MAX_LINES) {
            let Misfit { line, wanted, found } = misfit;
            sentence += &format!("; line {} is `{wanted}`, and {found} stands there", line + 1);
        }
        match self.misfits.len().saturating_sub(MAX_LINES) {
            0 => sentence,
            more => sentence + &format!("; {more} more lines differ"),
        }
    }
}

impl<'a> Code<'a> {
    /// The code of these addresses, if all of it is here.
    pub fn part(self, addresses: Range<VmAddr>) -> Option<Code<'a>> {
        let start = usize::try_from(addresses.start.0.checked_sub(self.address.0)?).ok()?;
        let end = usize::try_from(addresses.end.0.checked_sub(self.address.0)?).ok()?;
        Some(Code { address: addresses.start, bytes: self.bytes.get(start..end)? })
    }

    /// The instructions; bytes after the last whole one are none.
    fn words(&self) -> &'a [[u8; 4]] {
        self.bytes.as_chunks().0
    }
}

/// All places where `pattern` matches, in order.
pub fn find(pattern: &Pattern, code: Code<'_>) -> Vec<Match> {
    Many::new([pattern]).find(code).into_iter().map(|(_, found)| found).collect()
}

/// Many patterns, looked for in one pass.
pub struct Many<'p> {
    patterns: Vec<&'p Pattern>,
    groups: Vec<(Group, Prefilter)>,
}

/// Bytes of code that every group looks at before the next: they stay in the
/// first-level cache until then.
const PIECE: usize = 16 << 10;

impl<'p> Many<'p> {
    /// Prepares the patterns; results name them by their position.
    pub fn new(patterns: impl IntoIterator<Item = &'p Pattern>) -> Many<'p> {
        let patterns: Vec<&Pattern> = patterns.into_iter().collect();
        let with_prefilter = |group: Group| {
            let prefilter = Prefilter::new(&group);
            (group, prefilter)
        };
        let groups = anchors::choose(&patterns).into_iter().map(with_prefilter).collect();
        Many { patterns, groups }
    }

    /// All matches with the number of their pattern, by place.
    pub fn find(&self, code: Code<'_>) -> Vec<(usize, Match)> {
        let mut found = Vec::new();
        for (number, piece) in code.words().chunks(PIECE / 4).enumerate() {
            for (group, prefilter) in &self.groups {
                prefilter.each(group.mask, piece, |index, word| {
                    if let Some(shared) = group.words.get(word & group.mask) {
                        self.compare(shared, code, number * (PIECE / 4) + index, &mut found);
                    }
                });
            }
        }
        found.sort_by_key(|(number, hit): &(usize, Match)| (hit.at, *number));
        found
    }

    /// Compares the patterns whose anchor stands at instruction `index`.
    fn compare(
        &self,
        shared: &Shared,
        code: Code<'_>,
        index: usize,
        found: &mut Vec<(usize, Match)>,
    ) {
        let by_second_line = shared.by_second_line.iter().filter_map(|second| {
            let there = index.checked_add_signed(second.distance)?;
            second.words.get(word(code.words().get(there)?) & second.mask)
        });
        for anchor in by_second_line.flatten().chain(&shared.outright) {
            let found_here = index
                .checked_sub(anchor.line)
                .and_then(|start| try_at(self.patterns[anchor.pattern], code, start));
            found.extend(found_here.map(|hit| (anchor.pattern, hit)));
        }
    }
}

fn try_at(pattern: &Pattern, code: Code<'_>, start: usize) -> Option<Match> {
    let words = code.words().get(start..start + pattern.len())?;
    let fit = pattern.templates.iter().zip(words).all(|(t, cell)| t.fits(Word(word(cell))));
    if !fit {
        return None;
    }
    let words: Vec<Word> = words.iter().map(|cell| Word(word(cell))).collect();
    let at = code.address.instruction(start);
    let captures = pattern.match_at(&words, at)?;
    Some(Match { at, captures })
}

/// The places that match best, at most `count`, best first; for the reader of
/// an error that says there was no match.
pub fn nearest(pattern: &Pattern, code: Code<'_>, count: usize) -> Vec<NearMiss> {
    let mut best: Vec<NearMiss> = Vec::new();
    for (start, cells) in code.words().windows(pattern.len()).enumerate() {
        let at = code.address.instruction(start);
        let enough =
            if best.len() == count { best.last().map_or(0, |miss| miss.fitting) } else { 0 };
        let read = |cell: &[u8; 4]| Word(word(cell));
        if pattern.may_fit(cells.iter().map(read)) <= enough {
            continue;
        }
        // Copied for the few windows that may be among the best, not for all code.
        let window: Vec<Word> = cells.iter().map(read).collect();
        let (fitting, Some(line)) = pattern.near(&window, at) else { continue };
        if fitting <= enough {
            continue;
        }
        let misfit = |line| Misfit {
            line,
            wanted: pattern.source.lines[line].text.clone(),
            found: window[line],
        };
        let wanted = pattern.source.lines[line].text.clone();
        let misfits = pattern.misfits(&window, at).into_iter().map(misfit).collect();
        best.push(NearMiss { at, fitting, line, wanted, found: window[line], misfits });
        best.sort_by_key(|miss| std::cmp::Reverse(miss.fitting));
        best.truncate(count);
    }
    best
}
