//! A driver that no signature describes: what its methods do, and the rewrite that is
//! derived from that for this build and proven against it.
//!
//! Such a rewrite moves code, so the file must be able to bring the original back: where
//! its signature leaves no room for the record of the original code, nothing is deployed.

use super::driver_patcher::Content;
use crate::doctor::Verdict;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{
    EARLIER_CLEAR, Engine, Examined, Extent, MeaningOutcome, MeaningPlan, OriginalCode,
};
use agxpatch_core::proof::rewrite::ByRefinement;

/// What a file holds in which no signature's sequence is, as `absent` says.
pub(super) fn content(engine: &Engine, file: &Universal<'_>, absent: &Error) -> Content {
    let examined = match engine.examine(file, Extent::Shaped) {
        Ok(examined) => examined.functions,
        Err(error) => return Content::Unknown { reason: error.to_string() },
    };
    if examined.iter().any(Examined::clears_late_for_others) {
        return Content::Original;
    }
    if is_rewritten(file) && examined.iter().any(Examined::clears_in_time) {
        return Content::Patched { patch: EARLIER_CLEAR.to_owned() };
    }
    Content::Unknown { reason: absent.to_string() }
}

/// What can be done for a file that no signature describes.
enum Derived {
    /// This rewrite, from which the file can bring its original code back.
    Plan(Box<MeaningPlan>),
    /// A rewrite without room for the original code; what was found.
    Unrestorable(String),
    /// It is rewritten by meaning already.
    Rewritten,
    /// These functions clear under the lock by themselves.
    InTime(Vec<String>),
}

impl Derived {
    /// # Errors
    /// `absent` where no function is known to clear late; why a rewrite is refused.
    fn of(engine: &Engine, file: &Universal<'_>, absent: Error) -> Result<Derived> {
        match engine.plan_by_meaning(file, &ByRefinement) {
            Ok(MeaningOutcome::Plan(plan)) if plan.original_kept => Ok(Derived::Plan(plan)),
            Ok(MeaningOutcome::Plan(plan)) => Ok(Derived::Unrestorable(found(&plan))),
            Ok(MeaningOutcome::Already(_)) if is_rewritten(file) => Ok(Derived::Rewritten),
            Ok(MeaningOutcome::Already(in_time)) => {
                Ok(Derived::InTime(in_time.iter().map(name).collect()))
            }
            Err(error) if error.code() == Code::NoMatch => Err(absent),
            Err(error) => Err(error),
        }
    }
}

/// What the doctor is to think of such a file.
pub(crate) fn verdict(engine: &Engine, file: &Universal<'_>, absent: Error) -> Verdict {
    match Derived::of(engine, file, absent) {
        Ok(Derived::Plan(plan)) => Verdict::Derived { found: found(&plan) },
        Ok(Derived::Unrestorable(found)) => Verdict::Unrestorable { found },
        Ok(Derived::Rewritten) => Verdict::Patched { patch: EARLIER_CLEAR.to_owned() },
        Ok(Derived::InTime(named)) => {
            let named = named.join(", ");
            let reason = format!("nothing to patch; these clear under the lock: {named}");
            Verdict::Refused { reason }
        }
        Err(error) => Verdict::Refused { reason: error.to_string() },
    }
}

/// The rewrite of such a file.
///
/// # Errors
/// `absent` where no function is known to clear late; `OriginalNotKept` where the file
/// could not bring its original code back; why the rewrite is refused.
pub(super) fn plan(engine: &Engine, file: &Universal<'_>, absent: Error) -> Result<MeaningPlan> {
    match Derived::of(engine, file, absent)? {
        Derived::Plan(plan) => Ok(*plan),
        Derived::Unrestorable(found) => Err(unrestorable(&found)),
        Derived::Rewritten => Err(Error::new(Code::WrongState, "the driver is already patched")),
        Derived::InTime(named) => {
            Err(Error::new(Code::WrongState, "the driver clears under the lock: nothing to patch")
                .with_each("function", named))
        }
    }
}

/// The refusal of a driver that could not bring its original code back.
pub(super) fn unrestorable(found: &str) -> Error {
    let message = "the driver's signature leaves no room to keep the original code";
    Error::new(Code::OriginalNotKept, message).with("found", found)
}

/// Whether a rewrite by meaning stands in the file: it keeps the original code.
fn is_rewritten(file: &Universal<'_>) -> bool {
    file.slices.iter().any(|slice| matches!(OriginalCode::read(slice), Ok(Some(_))))
}

fn found(plan: &MeaningPlan) -> String {
    let late: Vec<String> = plan.rewritten.iter().map(|one| name(&one.examined)).collect();
    format!("no signature describes this build; these functions clear late: {}", late.join(", "))
}

fn name(one: &Examined) -> String {
    let name = one.name.as_deref().unwrap_or("a function without a name");
    format!("{name} at {}", one.function)
}
