//! The rewrite of functions that no signature describes.
//!
//! The finder says which functions clear late and rewrites them; of the rewrites it
//! offers, the first that is proven is taken. Every change gets its reason, and the
//! slices are resealed as for any patch.

use std::ops::Range;

use serde::Serialize;

use crate::address::{FileOffset, VmAddr, Word};
use crate::check::{Check, Status};
use crate::edit::{Edit, EditKind};
use crate::error::{Code, Error, Result};
use crate::finder::{self, Answer, Change, Refusal, RewriteKind, Verdict, Way};
use crate::macho::{Image, Universal};

use super::engine::Engine;
use super::meaning::{Examination, Examined, Extent};
use super::original::OriginalCode;
use super::seal::reseal_all;

/// The name of the default rewrite, as that of a patch.
pub const EARLIER_CLEAR: &str = RewriteKind::EarlierClear.name();

/// What proves a rewrite before it becomes part of a plan. The proof is a module above
/// this one, so the caller brings it.
pub trait Prover {
    /// Holds the function of the image `after` against that of the image `before`, which
    /// a rewrite of that kind made of it.
    ///
    /// # Errors
    /// If the proof has nothing to say about the function.
    fn prove(
        &self,
        before: &Image<'_>,
        after: &Image<'_>,
        function: VmAddr,
        kind: RewriteKind,
    ) -> Result<Proven>;
}

/// The outcome of a proof.
#[derive(Clone, Debug, Serialize)]
pub struct Proven {
    /// Every obligation.
    pub checks: Vec<Check>,
    /// The differences from the original that were found and are permitted.
    pub permissions: Vec<&'static str>,
}

impl Proven {
    /// Why the rewrite is refused, if it is.
    fn refused(&self) -> Option<String> {
        let failed = self.checks.iter().find(|check| check.status == Status::Fail)?;
        Some(format!("{}: {}", failed.name, failed.detail))
    }
}

/// What is to be done to a file by meaning.
#[derive(Clone, Debug, Serialize)]
pub struct MeaningPlan {
    /// The kind of the rewrite.
    pub kind: RewriteKind,
    /// The functions that are rewritten.
    pub rewritten: Vec<RewrittenFunction>,
    /// Those that clear late and are left as they are.
    pub refused: Vec<RefusedFunction>,
    /// How many functions have the shape and were not examined.
    pub not_examined: usize,
    /// Whether the file keeps the original code, so that it can be put back from it alone.
    pub original_kept: bool,
    /// Every change of the file, in its order.
    #[serde(skip)]
    pub edits: Vec<Edit>,
}

/// A function that is rewritten.
#[derive(Clone, Debug, Serialize)]
pub struct RewrittenFunction {
    /// What the finder says about it as it is.
    #[serde(flatten)]
    pub examined: Examined,
    /// How each field that was cleared late is cleared now; none where a function does it
    /// that is called, and that was rewritten for another.
    pub ways: Vec<Way>,
    /// The proof of each of these, in the same order.
    pub proofs: Vec<Proven>,
}

/// A function that clears late and is not rewritten.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedFunction {
    /// What the finder says about it.
    #[serde(flatten)]
    pub examined: Examined,
    /// Why it is left as it is.
    pub refused: String,
}

/// A plan, or none needed.
#[derive(Clone, Debug)]
pub enum MeaningOutcome {
    /// To be done.
    Plan(Box<MeaningPlan>),
    /// These functions clear in time already, and none clears late.
    Already(Vec<Examined>),
}

impl Engine {
    /// Plans the rewrite of every function that clears late where another thread can
    /// use the object. Of the methods that signatures name, all or none are rewritten.
    ///
    /// # Errors
    /// If no function has a verdict that leaves something to do or done, or a rewrite
    /// is refused or not proven.
    pub fn plan_by_meaning(
        &self,
        file: &Universal<'_>,
        prover: &dyn Prover,
    ) -> Result<MeaningOutcome> {
        self.plan_by_meaning_as(file, RewriteKind::EarlierClear, prover)
    }

    /// The same, with a rewrite of a kind that the caller chooses.
    ///
    /// # Errors
    /// As [`Engine::plan_by_meaning`]; `CannotEncode` if the functions clear in time but
    /// leave open what the kind excludes.
    pub fn plan_by_meaning_as(
        &self,
        file: &Universal<'_>,
        kind: RewriteKind,
        prover: &dyn Prover,
    ) -> Result<MeaningOutcome> {
        let Examination { functions: examined, not_examined } =
            self.examine(file, Extent::Shaped)?;
        let late: Vec<&Examined> =
            examined.iter().filter(|one| one.clears_late_for_others()).collect();
        // Of the methods that are named, all or none.
        let unclear =
            |one: &Examined| one.named && matches!(one.verdict, Verdict::NotUnderstood { .. });
        if examined.iter().any(unclear) {
            return Err(nothing_to_do(&examined));
        }
        if late.is_empty() {
            let right = Examined::clears_in_time;
            let open = |one: &&Examined| right(one) && one.remaining.double_push != Answer::No;
            if kind.excludes_double_push()
                && let Some(one) = examined.iter().find(open)
            {
                return Err(cleared_otherwise(one, kind));
            }
            return match examined.iter().any(right) {
                true => Ok(MeaningOutcome::Already(examined.into_iter().filter(right).collect())),
                false => Err(nothing_to_do(&examined)),
            };
        }
        let mut plan = MeaningPlan {
            kind,
            rewritten: Vec::new(),
            refused: Vec::new(),
            not_examined,
            original_kept: false,
            edits: Vec::new(),
        };
        for one in late {
            self.rewrite_one(file, one, prover, &mut plan)?;
        }
        if plan.rewritten.is_empty() || plan.refused.iter().any(|one| one.examined.named) {
            return Err(all_refused(&plan));
        }
        plan.edits.sort_by_key(|edit| edit.at);
        plan.seal(file)?;
        Ok(MeaningOutcome::Plan(Box::new(plan)))
    }

    /// Plans to put back the original code that the file keeps.
    ///
    /// # Errors
    /// `NoMatch` where the file keeps none; as [`OriginalCode::read`] where the record is
    /// broken; `SignatureBroken` where the code was changed since.
    pub fn plan_original(&self, file: &Universal<'_>) -> Result<Vec<Edit>> {
        let (mut edits, mut records) = (Vec::new(), Vec::new());
        for slice in file.slices.iter().filter(|slice| slice.architecture.is_aarch64()) {
            if let Some(original) = OriginalCode::read(slice)? {
                edits.extend(original.put_back(slice)?);
                records.extend(original.removed(slice)?);
            }
        }
        if edits.is_empty() {
            return Err(Error::new(Code::NoMatch, "the file does not keep the original code")
                .next("take the file that this one was made from"));
        }
        edits.extend(reseal_all(file, &edits)?);
        edits.extend(records);
        edits.sort_by_key(|edit| edit.at);
        Ok(edits)
    }

    fn rewrite_one(
        &self,
        file: &Universal<'_>,
        one: &Examined,
        prover: &dyn Prover,
        plan: &mut MeaningPlan,
    ) -> Result<()> {
        let Some(slice) = file.slices.iter().find(|slice| slice.index == one.slice) else {
            return Ok(());
        };
        // Earlier rewrites of the same slice count: two functions may share padding.
        let mut bytes = slice.bytes.to_vec();
        for edit in &plan.edits {
            let Some(at) = edit.at.0.checked_sub(slice.offset.0) else { continue };
            if let Some(place) = bytes.get_mut(at as usize..at as usize + edit.new.len()) {
                place.copy_from_slice(&edit.new);
            }
        }
        let image = Image::parse(&bytes)?;
        let kind = plan.kind;
        let (mut proofs, mut unproven) = (Vec::new(), None);
        let mut accept = |before: &Image<'_>, after: &Image<'_>| {
            let refused = match prover.prove(before, after, one.function, kind) {
                Ok(proven) => match proven.refused() {
                    None => {
                        proofs.push(proven);
                        return true;
                    }
                    Some(refused) => refused,
                },
                Err(error) => error.to_string(),
            };
            unproven.get_or_insert(refused);
            false
        };
        match finder::rewrite_as(&image, one.function.0, kind, &mut accept)? {
            Ok(rewritten) => {
                let text = image.text()?.range();
                let edits =
                    rewritten.changes.iter().map(|c| self.edit(&image, slice.offset, &text, c));
                plan.edits.extend(edits.collect::<Vec<_>>());
                let examined = one.clone();
                let ways = rewritten.ways;
                plan.rewritten.push(RewrittenFunction { examined, ways, proofs });
            }
            // The rewrite of another function was that of one which both call.
            Err(Refusal::NotLate) if !plan.edits.is_empty() => {
                let examined = one.clone();
                let (ways, proofs) = (Vec::new(), Vec::new());
                plan.rewritten.push(RewrittenFunction { examined, ways, proofs });
            }
            Err(refusal) => {
                let refused = match unproven.filter(|_| refusal == Refusal::NotProven) {
                    Some(why) => format!("{refusal}: {why}"),
                    None => refusal.to_string(),
                };
                plan.refused.push(RefusedFunction { examined: one.clone(), refused });
            }
        }
        Ok(())
    }

    fn edit(
        &self,
        image: &Image<'_>,
        slice: FileOffset,
        text: &Range<VmAddr>,
        change: &Change,
    ) -> Edit {
        let address = image.address_of(change.at).unwrap_or_default();
        let word = |bytes: &[u8]| {
            let word = Word::all(bytes).next().unwrap_or_default();
            self.disassembler.one(word, address).text
        };
        let code = text.contains(&address) || finder::is_padding(image, address);
        let why = match code {
            true => format!("{address}: {} -> {}", word(&change.old), word(&change.new)),
            false => format!("{address}: the exception table follows the moved instructions"),
        };
        Edit {
            at: change.at.in_file(slice),
            old: change.old.clone(),
            new: change.new.clone(),
            kind: EditKind::Instruction,
            why,
        }
    }
}

impl MeaningPlan {
    /// Reseals the file, and keeps the original code in the room that the signer leaves.
    fn seal(&mut self, file: &Universal<'_>) -> Result<()> {
        let mut seals = reseal_all(file, &self.edits)?;
        self.original_kept = true;
        for slice in &file.slices {
            if OriginalCode::read(slice)?.is_some() {
                let message = "the file keeps the original code of an earlier rewrite";
                return Err(Error::new(Code::CannotEncode, message)
                    .with("slice", slice.architecture)
                    .next("restore the original first, with --patch original"));
            }
            if let Some(original) = OriginalCode::of(slice, &self.edits)? {
                self.original_kept &= original.keep(slice, &mut seals);
            }
        }
        self.edits.extend(seals);
        self.edits.sort_by_key(|edit| edit.at);
        Ok(())
    }
}

fn cleared_otherwise(one: &Examined, kind: RewriteKind) -> Error {
    let message = "the function clears in time, and two threads can still give one block back";
    Error::new(Code::CannotEncode, message)
        .with("function", one.function)
        .with("patch", kind.name())
        .next("if another rewrite did that, restore the original first, with --patch original")
}

fn nothing_to_do(examined: &[Examined]) -> Error {
    let error = Error::new(Code::NoMatch, "no function was found that clears its field late");
    examined.iter().take(3).fold(error, |error, one| {
        error.with("function", format!("{} at {}", one.verdict.name(), one.function))
    })
}

fn all_refused(plan: &MeaningPlan) -> Error {
    let error = Error::new(Code::CannotEncode, "a function that clears late cannot be rewritten");
    plan.refused.iter().take(5).fold(error, |error, one| {
        let name = one.examined.name.as_deref().unwrap_or("a function without a name");
        error.with("function", format!("{name} at {}: {}", one.examined.function, one.refused))
    })
}
