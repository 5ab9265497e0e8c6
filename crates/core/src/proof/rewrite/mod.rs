//! Any rewrite of one function, judged without a signature.
//!
//! Given are the function before and after, and code of the rewrite's own in
//! padding. Nothing says where the encoder, the block or the lock are: what
//! registers hold is derived from the whole function ([`Values`]), and what calls
//! are for from the names of the stubs. The two versions are compared from every
//! way into the part that differs ([`region`]) to every way out.
//!
//! First it is tried whether they do the same: the same stores, calls, loads and
//! exits. That is a strict refinement, and needs no permission. Else these
//! differences are permitted, each stated over what was derived:
//!
//! * a store of NULL to a field of the receiver comes earlier, over unlocks, frees
//!   and stores to other objects, and over the lock where a helper takes it;
//! * `free(NULL)` is left out;
//! * a store of NULL is left out where the field was just loaded and is NULL;
//! * a fill with zeroes leaves a field out that was cleared before.
//!
//! Whatever else differs fails an obligation that names it.
//!
//! [`Values`]: super::values::Values

mod by_paths;
mod frame;
mod helpers;
mod lockstep;
mod of_images;
mod origin;
mod permission;
mod region;
mod stubs;
mod unwinding;

use std::collections::BTreeSet;

use serde::Serialize;

use super::code_as_data::{self, Reference};
use super::function::Function;
use super::incoming_branches;
use super::obligation::{Name, Obligation};
use super::site::Surroundings;
use crate::address::{VmAddr, Word};
use crate::check::Status;
use crate::error::{Code, Error, Result};
use crate::macho::CallSite;

pub use of_images::{ByRefinement, refine_every_change, refine_images};
pub(in crate::proof) use of_images::{added, extent};
pub(in crate::proof) use origin::Origins;
pub use permission::Permission;
pub use stubs::{Fills, Stubs};

/// A function before and after.
#[derive(Clone, Copy)]
pub struct Rewrite<'a> {
    /// The address of the first instruction.
    pub entry: VmAddr,
    /// The whole function as it was.
    pub before: &'a [Word],
    /// The whole function as rewritten; as many words.
    pub after: &'a [Word],
    /// Code of the rewrite's own, in padding.
    pub added: &'a [Piece],
    /// Code that stood in padding before, which an earlier rewrite put there.
    pub standing: &'a [Piece],
    /// What calls are for.
    pub stubs: &'a Stubs,
    /// The rest of the image.
    pub surroundings: &'a dyn Surroundings,
    /// The exception table before and after, where it is known.
    pub call_sites: Option<[&'a [CallSite]; 2]>,
    /// Whether the function is the code of a block, whose first argument holds what the
    /// block captured. That does not change while the block runs.
    pub captures: bool,
}

/// Words outside the function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Where the first of them is.
    pub at: VmAddr,
    /// The words.
    pub words: Vec<Word>,
}

/// What comparing the two versions gave.
#[derive(Clone, Debug, Serialize)]
pub struct Refinement {
    /// Every obligation.
    pub obligations: Vec<Obligation>,
    /// The differences that are permitted; none for a strict refinement.
    pub permissions: BTreeSet<Permission>,
}

impl Refinement {
    /// Whether every obligation that was looked at holds.
    pub fn holds(&self) -> bool {
        self.obligations.iter().all(|obligation| obligation.status != Status::Fail)
    }

    /// Takes in what comparing another function gave: what fails there fails.
    fn join(&mut self, other: Refinement) {
        self.permissions.extend(other.permissions);
        for failed in other.obligations.into_iter().filter(|one| one.status == Status::Fail) {
            self.obligations.retain(|own| own.name != failed.name || own.status == Status::Fail);
            self.obligations.push(failed);
        }
        self.obligations.sort_by_key(|obligation| obligation.name);
    }
}

/// Holds the new code against the old.
///
/// # Errors
/// `NotUnderstood`, `UnresolvedBranch` or `LoopInWindow` where a version cannot be
/// judged; each names the address.
pub fn refine(rewrite: &Rewrite<'_>) -> Result<Refinement> {
    let before = Function { entry: rewrite.entry, words: rewrite.before };
    let after = Function { entry: rewrite.entry, words: rewrite.after };
    if before.words.len() != after.words.len() {
        return Err(Error::new(Code::NotUnderstood, "the two versions differ in length")
            .with("function", rewrite.entry));
    }
    let made = code_as_data::through_pages(rewrite.surroundings, &after.range());
    let elsewhere = incoming_branches::from_elsewhere(rewrite.surroundings, after.range(), &made);
    let entries: BTreeSet<VmAddr> = elsewhere.into_iter().map(|entry| entry.to).collect();
    let not_read = not_read(rewrite, after, &made);
    let compared = by_paths::refine(rewrite, before, after, &entries, not_read.clone());
    let changed = changed(rewrite, after);
    let by_paths = compared.as_ref().is_ok_and(Refinement::holds);
    if by_paths && unwinding::is_uniform(rewrite, &changed) {
        return compared;
    }
    let mut found = lockstep::refine(rewrite, before, after, &entries);
    found.obligations.push(not_read);
    found.obligations.sort_by_key(|obligation| obligation.name);
    // Of two refusals that of the paths says more.
    match found.holds() {
        false if !by_paths => compared.or(Ok(found)),
        _ => Ok(found),
    }
}

fn not_read(rewrite: &Rewrite<'_>, after: Function<'_>, made: &[Reference]) -> Obligation {
    let changed: Vec<VmAddr> = changed(rewrite, after).into_iter().collect();
    code_as_data::obligation(rewrite.surroundings, after, &changed, made)
}

fn changed(rewrite: &Rewrite<'_>, after: Function<'_>) -> BTreeSet<VmAddr> {
    region::changed(Function { words: rewrite.before, ..after }, after)
}

/// The obligations that either proof decides, by the names that both give them.
const COMPARED: [Name; 10] = [
    Name::WindowDecided,
    Name::UnlockKept,
    Name::ClearKept,
    Name::FreeKept,
    Name::FreeNotAdded,
    Name::SameCalls,
    Name::SameStores,
    Name::SameLoads,
    Name::SameExits,
    Name::SameStack,
];
