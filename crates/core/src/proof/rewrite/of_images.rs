//! The rewrite of a function, from the image before and the image after.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Obligation, Piece, Refinement, Rewrite, Stubs, refine};
use crate::address::{VmAddr, Word};
use crate::check::{Check, Status};
use crate::error::{Code, Error, Result};
use crate::finder::RewriteKind;
use crate::macho::Image;
use crate::patch::{Proven, Prover};
use crate::proof::judge::Around;
use crate::proof::meaning::{self, Compared};

/// The protection of a segment that holds code.
const EXECUTE: u32 = 4;

/// The proof of rewrites by meaning: refinement of the original function.
#[derive(Clone, Copy, Debug)]
pub struct ByRefinement;

impl Prover for ByRefinement {
    fn prove(
        &self,
        before: &Image<'_>,
        after: &Image<'_>,
        function: VmAddr,
        kind: RewriteKind,
    ) -> Result<Proven> {
        let refinement = refine_images(before, after, function)?;
        let mut checks: Vec<Check> = refinement.obligations.iter().map(Obligation::check).collect();
        if kind.excludes_double_push() && refinement.holds() {
            let compared = Compared { before, after, function, declared: &[] };
            checks.push(meaning::gives_back_once(&compared)?);
        }
        Ok(Proven {
            checks,
            permissions: refinement.permissions.iter().map(|one| one.as_str()).collect(),
        })
    }
}

/// Holds the function at `entry` as `after` has it against what `before` has, and every
/// other function whose words differ, which it may call. The words of code that differ
/// outside of functions are code of the rewrite's own.
///
/// # Errors
/// As [`refine`]; `NoProofFor` where the image does not say where a function
/// begins and ends.
pub fn refine_images(before: &Image<'_>, after: &Image<'_>, entry: VmAddr) -> Result<Refinement> {
    let mut found = refine_function(before, after, entry)?;
    for other in changed_functions(before, after)?.into_iter().filter(|&other| other != entry) {
        found.join(refine_function(before, after, other)?);
    }
    Ok(found)
}

fn refine_function(before: &Image<'_>, after: &Image<'_>, entry: VmAddr) -> Result<Refinement> {
    let range = extent(before, entry)?;
    let words =
        |image: &Image<'_>| -> Result<Vec<Word>> { Ok(image.words(range.clone())?.collect()) };
    let stubs = Stubs::of(before)?;
    let surroundings = Around::of(after)?;
    let sites = [before.call_sites(&range), after.call_sites(&range)];
    let call_sites = match &sites {
        [Ok(before), Ok(after)] => Some([before.as_slice(), after.as_slice()]),
        _ => None,
    };
    refine(&Rewrite {
        entry,
        before: &words(before)?,
        after: &words(after)?,
        added: &added(before, after)?,
        standing: &standing(before),
        stubs: &stubs,
        surroundings: &surroundings,
        call_sites,
        captures: is_of_block(before, entry)?,
    })
}

/// The addresses of the function that begins at `entry`.
///
/// # Errors
/// `NoProofFor` where no function begins there.
pub(in crate::proof) fn extent(image: &Image<'_>, entry: VmAddr) -> Result<Range<VmAddr>> {
    let text = image.text()?.range();
    let starts = image.function_starts()?;
    let next = starts.partition_point(|&start| start <= entry);
    let known = next.checked_sub(1).and_then(|own| starts.get(own)) == Some(&entry);
    if !known || !text.contains(&entry) {
        let message = "the image does not say where the function begins and ends";
        return Err(Error::new(Code::NoProofFor, message).with("entry", entry));
    }
    Ok(entry..starts.get(next).copied().unwrap_or(text.end).min(text.end))
}

/// Holds every function whose words differ against what `before` has; how many.
///
/// # Errors
/// As [`refine_images`]; `Unproven` for a function that does not hold.
pub fn refine_every_change(before: &Image<'_>, after: &Image<'_>) -> Result<usize> {
    let changed = changed_functions(before, after)?;
    for &start in &changed {
        let found = refine_function(before, after, start)?;
        if let Some(failed) = found.obligations.iter().find(|one| one.status == Status::Fail) {
            return Err(Error::new(Code::Unproven, "a rewritten function could not be proven")
                .with("function", start)
                .with("obligation", failed.name.as_str())
                .with("why", &failed.detail));
        }
    }
    Ok(changed.len())
}

/// The functions whose words differ.
fn changed_functions(before: &Image<'_>, after: &Image<'_>) -> Result<BTreeSet<VmAddr>> {
    let text = before.text()?.range();
    let starts = before.function_starts()?;
    let words = before.words(text.clone())?.zip(after.words(text.clone())?).enumerate();
    let changed = words.filter(|(_, (old, new))| old != new);
    let function = |(index, _)| {
        let at = text.start.instruction(index);
        let next = starts.partition_point(|&start| start <= at);
        next.checked_sub(1).and_then(|own| starts.get(own)).copied().unwrap_or(text.start)
    };
    Ok(changed.map(function).collect())
}

/// The runs of words in executable segments that belong to no section and are not zero,
/// load commands apart.
fn standing(image: &Image<'_>) -> Vec<Piece> {
    let sections = image.sections();
    let is_padding = |at: VmAddr| !sections.iter().any(|section| section.range().contains(&at));
    let mut pieces: Vec<Piece> = Vec::new();
    for segment in image.segments().iter().filter(|one| one.initial_protection & EXECUTE != 0) {
        let header = if segment.offset.0 == 0 { image.header_size() } else { 0 };
        let words = Word::all(segment.bytes).enumerate();
        for (index, word) in words.skip(header.div_ceil(Word::SIZE) as usize) {
            let at = segment.address.instruction(index);
            if word.0 == 0 || !is_padding(at) {
                continue;
            }
            match pieces.last_mut() {
                Some(piece) if piece.at.instruction(piece.words.len()) == at => {
                    piece.words.push(word);
                }
                _ => pieces.push(Piece { at, words: vec![word] }),
            }
        }
    }
    pieces
}

/// The runs of words that differ in executable segments and belong to no section.
/// What differs in a section is data, or code of another function, which
/// [`refine`] takes to be as it was.
pub(in crate::proof) fn added(before: &Image<'_>, after: &Image<'_>) -> Result<Vec<Piece>> {
    let sections = before.sections();
    let is_padding = |at: VmAddr| {
        let holds = |start: VmAddr, size: u64| start <= at && at < start.plus(size);
        !sections.iter().any(|section| holds(section.address, section.size))
    };
    let mut pieces: Vec<Piece> = Vec::new();
    let executable = |protection: u32| protection & EXECUTE != 0;
    for segment in before.segments().iter().filter(|one| executable(one.initial_protection)) {
        let end = segment.address.plus(segment.bytes.len() as u64);
        let words = Word::all(segment.bytes).zip(after.words(segment.address..end)?);
        for (index, new) in words
            .enumerate()
            .filter(|(_, (old, new))| old != new)
            .map(|(index, (_, new))| (index, new))
        {
            let at = segment.address.instruction(index);
            if !is_padding(at) {
                continue;
            }
            match pieces.last_mut() {
                Some(piece) if piece.at.instruction(piece.words.len()) == at => {
                    piece.words.push(new);
                }
                _ => pieces.push(Piece { at, words: vec![new] }),
            }
        }
    }
    Ok(pieces)
}

/// Whether a function is the code of a block, by the name compilers give it.
fn is_of_block(image: &Image<'_>, entry: VmAddr) -> Result<bool> {
    let name = image.symbols()?.iter().find(|symbol| symbol.address == entry);
    Ok(name.is_some_and(|symbol| symbol.name.contains("_block_invoke")))
}
