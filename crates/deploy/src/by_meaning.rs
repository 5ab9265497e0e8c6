//! A driver that no signature describes: what its methods do, and the rewrite that is
//! derived from that for this build and proven against it.
//!
//! Such a rewrite moves code, so the file must be able to bring the original back: where
//! its signature leaves no room for the record of the original code, nothing is deployed.

use super::driver_patcher::Content;
use crate::doctor::Verdict;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::finder;
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
    if is_rewritten(file) && examined.iter().any(clears_in_time) {
        return Content::Patched { patch: EARLIER_CLEAR.to_owned() };
    }
    Content::Unknown { reason: absent.to_string() }
}

/// What the doctor is to think of such a file.
pub(crate) fn verdict(engine: &Engine, file: &Universal<'_>, absent: &Error) -> Verdict {
    match engine.plan_by_meaning(file, &ByRefinement) {
        Ok(MeaningOutcome::Plan(plan)) if plan.original_kept => {
            Verdict::Derived { found: found(&plan) }
        }
        Ok(MeaningOutcome::Plan(plan)) => Verdict::Unrestorable { found: found(&plan) },
        Ok(MeaningOutcome::Already(_)) if is_rewritten(file) => {
            Verdict::Patched { patch: EARLIER_CLEAR.to_owned() }
        }
        Ok(MeaningOutcome::Already(in_time)) => {
            let named: Vec<String> = in_time.iter().map(name).collect();
            let reason =
                format!("nothing to patch; these clear under the lock: {}", named.join(", "));
            Verdict::Refused { reason }
        }
        Err(error) if error.code() == Code::NoMatch => {
            Verdict::Refused { reason: absent.to_string() }
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
    match engine.plan_by_meaning(file, &ByRefinement) {
        Ok(MeaningOutcome::Plan(plan)) if plan.original_kept => Ok(*plan),
        Ok(MeaningOutcome::Plan(plan)) => Err(unrestorable(&found(&plan))),
        Ok(MeaningOutcome::Already(_)) if is_rewritten(file) => {
            Err(Error::new(Code::WrongState, "the driver is already patched"))
        }
        Ok(MeaningOutcome::Already(in_time)) => {
            Err(Error::new(Code::WrongState, "the driver clears under the lock: nothing to patch")
                .with_each("function", in_time.iter().map(name)))
        }
        Err(error) if error.code() == Code::NoMatch => Err(absent),
        Err(error) => Err(error),
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

fn clears_in_time(one: &Examined) -> bool {
    one.verdict == finder::Verdict::ClearsUnderLock
}

fn found(plan: &MeaningPlan) -> String {
    let late: Vec<String> = plan.rewritten.iter().map(|one| name(&one.examined)).collect();
    format!("no signature describes this build; these functions clear late: {}", late.join(", "))
}

fn name(one: &Examined) -> String {
    let name = one.name.as_deref().unwrap_or("a function without a name");
    format!("{name} at {}", one.function)
}
