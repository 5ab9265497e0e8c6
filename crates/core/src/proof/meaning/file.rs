//! Both versions of a file whose rewrite no signature describes.

use crate::address::VmAddr;
use crate::edit;
use crate::error::{Code, Error, Result};
use crate::finder::RewriteKind;
use crate::macho::{Image, Universal};
use crate::patch::{Engine, Examined, MeaningOutcome, Plan};
use crate::proof::Defect;
use crate::proof::proof_report::ProofReport;
use crate::proof::rewrite::{self, ByRefinement};
use crate::proof::steps::{Event, Steps};

use super::{Compared, examine};

/// A file before and after a rewrite.
pub struct Rewriting {
    before: Vec<u8>,
    after: Vec<u8>,
    /// The functions that are rewritten.
    pub functions: Vec<Examined>,
    /// The kind of the rewrite, where it was made here.
    kind: Option<RewriteKind>,
}

impl Rewriting {
    /// The rewrite by meaning of a file, or the one that stands in it, where the file
    /// keeps the code it had before.
    ///
    /// # Errors
    /// As [`Engine::plan_by_meaning`]; `NoMatch` where nothing is to be rewritten and the
    /// file keeps no original code.
    pub fn of(
        engine: &Engine,
        bytes: &[u8],
        file: &Universal<'_>,
        kind: RewriteKind,
    ) -> Result<Rewriting> {
        match engine.plan_by_meaning_as(file, kind, &ByRefinement)? {
            MeaningOutcome::Plan(plan) => {
                let mut after = bytes.to_vec();
                edit::apply(&mut after, &plan.edits)?;
                let functions = plan.rewritten.into_iter().map(|one| one.examined).collect();
                let kind = Some(kind);
                Ok(Rewriting { before: bytes.to_vec(), after, functions, kind })
            }
            MeaningOutcome::Already(examined) => {
                let edits = engine.plan_original(file)?;
                let mut before = bytes.to_vec();
                edit::apply(&mut before, &edits)?;
                let (after, functions) = (bytes.to_vec(), examined);
                let mut rewriting = Rewriting { before, after, functions, kind: None };
                rewriting.keep_changed()?;
                Ok(rewriting)
            }
        }
    }

    /// The kind of the rewrite: that of a rewrite which stands in the file follows from
    /// its steps.
    pub fn kind(&self, proven: &ProofReport) -> RewriteKind {
        let Ok(versions) = &proven.versions else { return self.kind.unwrap_or_default() };
        let has = |event| {
            let of = |steps: &Steps| steps.all().any(|one| one.event == event);
            of(&versions.after.steps) && !of(&versions.before.steps)
        };
        self.kind.unwrap_or(match () {
            () if has(Event::TakeOrSkip) => RewriteKind::Take,
            () if has(Event::LoadOrFull) => RewriteKind::Reread,
            () => RewriteKind::EarlierClear,
        })
    }

    /// Leaves out the functions that are the same in both versions.
    fn keep_changed(&mut self) -> Result<()> {
        let mut changed = Vec::new();
        for one in std::mem::take(&mut self.functions) {
            let differs = self.with_images(one.slice, |before, after| {
                let own = rewrite::extent(before, one.function)?;
                Ok(!before.words(own.clone())?.eq(after.words(own)?))
            })?;
            changed.extend(differs.then_some(one));
        }
        self.functions = changed;
        Ok(())
    }

    /// Proves the rewrite of one of the functions, with interleavings of so many threads.
    ///
    /// # Errors
    /// As [`examine`].
    pub fn prove(&self, engine: &Engine, function: &Examined, threads: u8) -> Result<ProofReport> {
        self.with_images(function.slice, |before, after| {
            let function = function.function;
            examine(engine, &Compared { before, after, function, declared: &[] }, threads)
        })
    }

    fn with_images<T>(
        &self,
        slice: usize,
        with: impl FnOnce(&Image<'_>, &Image<'_>) -> Result<T>,
    ) -> Result<T> {
        let (before, after) = (Universal::parse(&self.before)?, Universal::parse(&self.after)?);
        let missing = || Error::new(Code::Bug, "the rewrite is of a slice that the file lacks");
        let image = |file: &Universal<'_>| -> Option<usize> {
            file.slices.iter().position(|one| one.index == slice)
        };
        let (Some(old), Some(new)) = (image(&before), image(&after)) else { return Err(missing()) };
        with(&before.slices[old].image()?, &after.slices[new].image()?)
    }
}

/// Proves a planned rewrite whose signature names no roles, by what the code does.
///
/// # Errors
/// As [`examine`]; `NoProofFor` where the image does not say where the function begins.
pub(in crate::proof) fn examine_plan(
    engine: &Engine,
    file: &Universal<'_>,
    plan: &Plan,
    declared: &[Defect],
    threads: u8,
) -> Result<ProofReport> {
    let place = &plan.site.place;
    let slice = file.slices.get(place.slice).ok_or_else(|| {
        Error::new(Code::Bug, "a plan is for a slice that the file does not have")
    })?;
    let start = (place.offset.0 - slice.offset.0) as usize;
    let function: VmAddr = place.function.clone().map(|range| range.start).ok_or_else(|| {
        let message = "the image does not say where the function begins and ends";
        Error::new(Code::NoProofFor, message)
    })?;
    let with = |words: &mut dyn Iterator<Item = u32>| {
        let mut bytes = slice.bytes.to_vec();
        for (index, word) in words.enumerate() {
            if let Some(place) = bytes.get_mut(start + 4 * index..start + 4 * index + 4) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        bytes
    };
    let before = with(&mut plan.original.iter().map(|word| word.0));
    let after = with(&mut plan.words.iter().map(|word| word.new.0));
    let (before, after) = (Image::parse(&before)?, Image::parse(&after)?);
    let compared = Compared { before: &before, after: &after, function, declared };
    examine(engine, &compared, threads)
}
