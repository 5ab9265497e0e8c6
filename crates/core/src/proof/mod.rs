//! Why the rewrite is right, from the bytes of the function in hand.
//!
//! [`prove`] takes a function as it was and as it is to become and returns every
//! obligation with its outcome. It does no I/O, and it is an error only where
//! the function cannot be judged at all: an instruction without a known
//! meaning, an indirect branch that cannot be resolved, a loop in the window.
//! A rewrite that is understood and wrong is not an error but a proof that failed.

pub mod abstract_rewrite;
mod approach;
mod branch_scan;
mod code_as_data;
mod failed_obligations;
mod function;
pub mod html;
mod incoming_branches;
pub mod interleaving;
mod judge;
mod jump_tables;
mod liveness;
mod lock_apart;
pub mod meaning;
mod null_entry;
mod obligation;
mod path_condition;
mod paths;
mod proof_report;
mod refinement;
pub mod rewrite;
mod site;
pub mod steps;
pub mod tla;
mod transfer;
mod values;

pub use judge::{Judgement, allow, check_default, check_standing, judge, require, with_site};
pub use obligation::{Name, Obligation};
pub use paths::{Act, Decision, Exit, Path, Step, paths};
pub use proof_report::{ProofReport, Version, Versions, examine, rewrites};
pub use site::{Defect, LandingPads, Roles, Site, Surroundings};

use serde::Serialize;

use crate::address::VmAddr;
use crate::arm64::semantics::{RegisterSet, Terms};
use crate::check::Status;
use crate::error::{Code, Error, Result};
use failed_obligations::FailedObligations;
use function::Function;

/// The outcome of a proof.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// Every obligation, in the order of the table.
    pub obligations: Vec<Obligation>,
}

/// What a proof comes to, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every obligation that was looked at holds.
    Holds,
    /// The only failures are defects the patch declares. Such a patch is
    /// applied only to a user who names it.
    DeclaredDefect,
    /// An obligation fails that nothing excuses.
    Refuted,
}

impl Proof {
    /// What it comes to.
    pub fn verdict(&self, declared: &[Defect]) -> Verdict {
        let mut verdict = Verdict::Holds;
        for obligation in self.obligations.iter().filter(|o| o.status == Status::Fail) {
            match obligation.defect {
                Some(defect) if declared.contains(&defect) => verdict = Verdict::DeclaredDefect,
                _ => return Verdict::Refuted,
            }
        }
        verdict
    }
}

/// Proves the rewrite at `site`.
///
/// # Errors
/// `NotUnderstood`, `UnresolvedBranch` or `LoopInWindow` where the function
/// cannot be judged; each names the address.
pub fn prove(site: &Site<'_>) -> Result<Proof> {
    let before = Function { entry: site.entry, words: site.before };
    let after = Function { entry: site.entry, words: site.after };
    let mut obligations = vec![understood(site, before, after)?, only_window_changed(site)];
    let inbound = incoming_branches::examine(site, before, after)?;
    obligations.extend(inbound.obligations);
    let values = inbound.values;
    obligations.push(lock_apart::roles(site, &values)?);

    let mut terms = Terms::new();
    let old = paths::traces(&mut terms, before, site.window(), &site.roles)?;
    obligations.push(lock_apart::obligation(&terms, &old, &values, site.window_start));
    let new = paths::traces(&mut terms, after, site.window(), &site.roles)?;
    let mut findings = FailedObligations::default();
    let compared = refinement::compare(&mut terms, site, &old, &new, &mut findings);
    let pairs = format!(
        "on all {} pairs of the {} old and {} new paths",
        compared.pairs,
        old.len(),
        new.len()
    );
    obligations.extend(BY_COMPARISON.iter().map(|&name| findings.obligation(name, &pairs)));
    obligations.push(clobbered_dead(after, site.surroundings, &compared.differing)?);
    Ok(Proof { obligations })
}

/// The obligations the comparison of paths decides.
const BY_COMPARISON: [Name; 13] = [
    Name::WindowDecided,
    Name::PushKept,
    Name::UnlockKept,
    Name::ClearKept,
    Name::ClearBeforeUnlock,
    Name::FreeKept,
    Name::FreeNotAdded,
    Name::SameCalls,
    Name::SameStores,
    Name::SameLoads,
    Name::SameExits,
    Name::SameStack,
    Name::SameCalleeSaved,
];

/// Decodes every word of both versions, and checks that the window is in them.
fn understood(site: &Site<'_>, before: Function<'_>, after: Function<'_>) -> Result<Obligation> {
    let function = before.range();
    let inside = function.contains(&site.window_start)
        && site.window_start < site.window_end
        && site.window_end < function.end;
    let aligned = [site.window_start, site.window_end]
        .iter()
        .all(|address| address.distance_from(site.entry) % 4 == 0);
    if !inside || !aligned || before.words.len() != after.words.len() {
        return Err(Error::new(Code::NotUnderstood, "the window does not lie within the function")
            .with("window", format!("{}..{}", site.window_start, site.window_end))
            .with("function", format!("{}..{}", function.start, function.end)));
    }
    let counted = before.operations().chain(after.operations());
    let count = counted.collect::<Result<Vec<_>>>()?.len();
    let detail = format!("{count} words read, {} before and after", before.words.len());
    Ok(Obligation::new(Name::FunctionUnderstood, Status::Pass, detail))
}

fn only_window_changed(site: &Site<'_>) -> Obligation {
    let (inside, outside): (Vec<VmAddr>, Vec<VmAddr>) =
        site.changed().partition(|at| site.window().contains(at));
    let (status, detail, at) = match outside.first() {
        Some(at) => (Status::Fail, format!("the word at {at} differs"), outside),
        None => (Status::Pass, format!("{} words differ, all in the window", inside.len()), inside),
    };
    Obligation { at, ..Obligation::new(Name::OnlyWindowChanged, status, detail) }
}

/// Whether the registers that differ where control leaves are dead there.
fn clobbered_dead(
    after: Function<'_>,
    surroundings: &dyn Surroundings,
    differing: &[(VmAddr, RegisterSet)],
) -> Result<Obligation> {
    let name = Name::ClobberedDead;
    let places = differing.iter().fold(RegisterSet::NONE, |all, (_, some)| all.union(*some));
    if places.is_empty() {
        let detail = "no register is left with another value";
        return Ok(Obligation::new(name, Status::Pass, detail));
    }
    let outcome = liveness::check_dead(after, surroundings, differing)?;
    Ok(match outcome.used {
        Some(used) => {
            let detail = format!("{} {} {}, which the rewrite changes", used.at, used.how, used.of);
            Obligation { at: vec![used.at], ..Obligation::new(name, Status::Fail, detail) }
        }
        None => {
            let ends = outcome.exits.len();
            let detail = format!("{places}: written before any read on the way to {ends} exits");
            Obligation { at: outcome.exits, ..Obligation::new(name, Status::Pass, detail) }
        }
    })
}
