//! The proof of a rewrite for which no signature says what registers stand for.
//!
//! The function is held against the original by refinement ([`rewrite`]), and the
//! interleavings are those of the steps that the finder tells of both versions.

mod file;
mod steps;

use std::collections::BTreeSet;
use std::ops::Range;

pub use file::Rewriting;
pub(super) use file::examine_plan;

use super::interleaving::{self, ASKED, Property};
use super::proof_report::{ProofReport, Version, Versions};
use super::rewrite;
use super::steps::{Event, Step, Steps};
use super::{Defect, Proof, Verdict};
use crate::address::{VmAddr, Word};
use crate::arm64::Instruction;
use crate::check::{Check, Status};
use crate::error::{Code, Error, Result};
use crate::finder::{self, FieldStories};
use crate::macho::Image;
use crate::patch::Engine;

/// A function of two versions of an image.
pub struct Compared<'i, 'a> {
    /// The image as it was.
    pub before: &'i Image<'a>,
    /// The image as rewritten.
    pub after: &'i Image<'a>,
    /// The function's first instruction.
    pub function: VmAddr,
    /// What the rewrite admits to.
    pub declared: &'i [Defect],
}

/// Proves the rewrite of a function for all inputs, and explores every interleaving of
/// `threads` threads under both versions where their steps can be told.
///
/// # Errors
/// As [`rewrite::refine_images`].
pub fn examine(engine: &Engine, compared: &Compared<'_, '_>, threads: u8) -> Result<ProofReport> {
    let Compared { before, after, function, declared } = *compared;
    let refinement = rewrite::refine_images(before, after, function)?;
    let proof = Proof { obligations: refinement.obligations };
    let mut verdict = proof.verdict(declared);
    let versions = versions(engine, compared, threads);
    let properties = match &versions {
        Ok(versions) => properties(versions, refinement.permissions.is_empty()),
        Err(reason) => vec![Check::skipped("interleavings", reason.to_string())],
    };
    for failed in properties.iter().filter(|check| check.status == Status::Fail) {
        let leak = failed.name == "no-leak" && declared.contains(&Defect::FreeLostWhenFull);
        verdict = verdict.max(if leak { Verdict::DeclaredDefect } else { Verdict::Refuted });
    }
    let permissions = Some(refinement.permissions);
    Ok(ProofReport { verdict, permissions, proof, versions, properties })
}

/// What is asked of the patched version. What the original violates as well is none of
/// the rewrite's doing, but for the race that a clear is moved to close; a `strict`
/// refinement moves none.
fn properties(versions: &Versions, strict: bool) -> Vec<Check> {
    let asked = versions.after.interleavings.checks();
    let before = &versions.before.interleavings;
    let own = ASKED.iter().zip(asked).map(|((property, name), check)| {
        let own = *property == Property::NoRaceWindow && !strict;
        let inherited = !own && before.violation(*property).is_some();
        match check.status {
            Status::Fail if inherited => {
                Check::skipped(name, format!("as in the original: {}", check.detail))
            }
            _ => check,
        }
    });
    own.collect()
}

/// How many threads end objects or read them where it is asked whether a rewrite lets two
/// of them give one block back.
const THREADS: u8 = 4;

/// The name of the check that no two threads give one block back.
pub const GIVEN_BACK_ONCE: &str = "given-back-once";

/// Whether the rewrite excludes, in every interleaving, that two threads give one block
/// back: to the pool twice, or to the pool and the allocator.
///
/// # Errors
/// If there are too many interleavings.
pub(super) fn gives_back_once(compared: &Compared<'_, '_>) -> Result<Check> {
    const NAME: &str = GIVEN_BACK_ONCE;
    let after = match steps(compared) {
        Ok([_, after]) => after,
        Err(unknown) => {
            return Ok(Check::fail(NAME, format!("the steps of threads are not known: {unknown}")));
        }
    };
    // The code that takes blocks out of the pool may not be prepared for null.
    let reads = |step: &Step| step.event == Event::Load;
    let pushes = after.left.steps.iter().any(|step| step.event == Event::Push);
    if pushes && let Some(read) = after.left.steps.iter().find(|step| reads(step)) {
        let detail = format!("a thread that finds null at {} may give it to the pool", read.at);
        return Ok(Check::fail(NAME, detail));
    }
    let found = interleaving::check(&after, THREADS)?;
    let broken = [Property::NoDoublePush, Property::NoDoubleFree, Property::NoRaceWindow]
        .into_iter()
        .find(|property| found.scenes().iter().any(|(_, scene)| !scene.holds(*property)));
    Ok(match broken {
        Some(property) => Check::fail(NAME, property.violated()),
        None => {
            let states = found.states();
            Check::pass(NAME, format!("in {states} states of {THREADS} threads in every order"))
        }
    })
}

/// The steps of both versions, for the field that the rewrite clears earlier.
///
/// # Errors
/// `StepUnknown` where the steps of a version cannot be told.
pub fn steps(compared: &Compared<'_, '_>) -> Result<[Steps; 2]> {
    let before = finder::stories(compared.before, compared.function.0)?;
    let after = finder::stories(compared.after, compared.function.0)?;
    let late = |field: &&FieldStories| field.late;
    let field = before.iter().find(late).or(before.first()).ok_or_else(|| {
        Error::new(Code::StepUnknown, "the function gives no block back under a lock")
    })?;
    let same = after.iter().find(|other| other.address == field.address).ok_or_else(|| {
        Error::new(Code::StepUnknown, "the rewrite does not give back what the original does")
    })?;
    Ok([of_field(field)?, of_field(same)?])
}

fn of_field(field: &FieldStories) -> Result<Steps> {
    match &field.stories {
        Ok(stories) => steps::of(stories),
        Err((at, reason)) => {
            Err(Error::new(Code::StepUnknown, reason.sentence()).with("address", at))
        }
    }
}

fn versions(engine: &Engine, compared: &Compared<'_, '_>, threads: u8) -> Result<Versions> {
    let [before, after] = steps(compared)?;
    let part = part(compared, &before, &after)?;
    let version = |image: &Image<'_>, steps: Steps| -> Result<Version> {
        let read = |at: VmAddr, words: &[Word]| engine.disassembler.disassemble(words, at);
        let listing: Result<Vec<Vec<Instruction>>> = part
            .iter()
            .map(|range| Ok(read(range.start, &image.words(range.clone())?.collect::<Vec<_>>())))
            .collect();
        let listing: Vec<Instruction> = listing?.concat();
        let mut elsewhere: BTreeSet<VmAddr> = steps.all().map(|step| step.at).collect();
        elsewhere.retain(|at| !part.iter().any(|range| range.contains(at)));
        let approach: Result<Vec<Vec<Instruction>>> = elsewhere
            .into_iter()
            .map(|at| Ok(read(at, &image.words(at..at.instruction(1))?.collect::<Vec<_>>())))
            .collect();
        let interleavings = interleaving::check(&steps, threads)?;
        Ok(Version { listing, approach: approach?.concat(), steps, interleavings })
    };
    Ok(Versions {
        before: version(compared.before, before)?,
        after: version(compared.after, after)?,
    })
}

/// What is listed: from the first to the last word of the function that differs or is a
/// step from the lock on, and the code that the rewrite adds in padding.
fn part(compared: &Compared<'_, '_>, before: &Steps, after: &Steps) -> Result<Vec<Range<VmAddr>>> {
    let Compared { before: original, after: image, function, .. } = *compared;
    let own = rewrite::extent(original, function)?;
    let words = original.words(own.clone())?.zip(image.words(own.clone())?).enumerate();
    let mut shown: BTreeSet<VmAddr> = words
        .filter(|(_, (old, new))| old != new)
        .map(|(index, _)| function.instruction(index))
        .collect();
    for steps in [before, after] {
        let from_lock = [&steps.left.steps, &steps.full.steps].into_iter().flatten();
        shown.extend(from_lock.map(|step| step.at).filter(|at| own.contains(at)));
    }
    let mut parts = Vec::new();
    if let (Some(first), Some(last)) = (shown.first(), shown.last()) {
        parts.push(*first..last.instruction(1));
    }
    let added = rewrite::added(original, image)?;
    parts.extend(added.iter().map(|piece| piece.at..piece.at.instruction(piece.words.len())));
    Ok(parts)
}
