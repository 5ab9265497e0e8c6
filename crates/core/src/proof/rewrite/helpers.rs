//! Functions of the same image that the rewritten part calls.
//!
//! A helper that drops the lock or gives the block back has to be looked into, for
//! the clear may move over what it does. It is followed like a part of the
//! function, to its return or tail call.

use std::collections::BTreeSet;

use super::region::Region;
use super::{Piece, Rewrite};
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{Operation, decode};

/// How many words a helper may have.
pub(super) const MAX_WORDS: usize = 256;
/// How many helpers are followed, those that helpers call among them.
const MAX_HELPERS: usize = 16;

/// The helpers called in the region, and those that they call.
pub(super) fn called(rewrite: &Rewrite<'_>, region: &Region) -> Vec<Piece> {
    let mut open: Vec<VmAddr> = Vec::new();
    for words in [rewrite.before, rewrite.after] {
        let placed = words.iter().enumerate();
        let inside = placed.map(|(index, &word)| (rewrite.entry.instruction(index), word));
        let inside = inside.filter(|(at, _)| region.inside.contains(at));
        open.extend(inside.filter_map(|(at, word)| callee(at, word)));
    }
    let mut seen: BTreeSet<VmAddr> = [rewrite.entry].into();
    let mut helpers = Vec::new();
    while let Some(start) = open.pop().filter(|_| helpers.len() < MAX_HELPERS) {
        if !seen.insert(start) {
            continue;
        }
        let Some(words) = function_at(rewrite, start) else { continue };
        let placed = words.iter().enumerate();
        open.extend(placed.filter_map(|(index, &word)| callee(start.instruction(index), word)));
        helpers.push(Piece { at: start, words });
    }
    helpers
}

fn callee(at: VmAddr, word: Word) -> Option<VmAddr> {
    match decode(word, at) {
        Some(Operation::Call { target }) => Some(target),
        _ => None,
    }
}

/// The words of the function that begins at `start`, if it is one of the image
/// and short.
pub(super) fn function_at(rewrite: &Rewrite<'_>, start: VmAddr) -> Option<Vec<Word>> {
    if let Some(words) = standing_at(rewrite, start) {
        return Some(words);
    }
    let (origin, bytes) = rewrite.surroundings.text();
    let starts = rewrite.surroundings.function_starts()?;
    let own = starts.binary_search(&start).ok()?;
    let first = usize::try_from(start.distance_from(origin)).ok()?;
    let end = match starts.get(own + 1) {
        Some(next) => usize::try_from(next.distance_from(origin)).ok()?.min(bytes.len()),
        None => bytes.len(),
    };
    let words: Vec<Word> = Word::all(bytes.get(first..end)?).collect();
    (words.len() <= MAX_WORDS).then_some(words)
}

/// The words in padding from `start` on, if an earlier rewrite put code there.
fn standing_at(rewrite: &Rewrite<'_>, start: VmAddr) -> Option<Vec<Word>> {
    rewrite.standing.iter().find_map(|piece| {
        let index = (0..piece.words.len()).find(|&index| piece.at.instruction(index) == start)?;
        Some(piece.words[index..].iter().copied().take(MAX_WORDS).collect())
    })
}
