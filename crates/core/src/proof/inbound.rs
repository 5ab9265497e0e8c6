//! Whether anything outside the window continues inside it.
//!
//! The proof of the window starts at its first word. That is only right if there
//! is no other way in: no direct branch from anywhere in `__text`, no jump table
//! of the function, no exception landing pad, and no function that begins there.
//! A function pointer to the middle of a function does not occur in compiled
//! code and is not looked for, but for `adr`, which could make one.

use std::ops::Range;

use super::function::Function;
use super::obligation::{Name, Obligation};
use super::reach;
use super::site::{LandingPads, Site};
use super::tables;
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{Operation, decode};
use crate::check::Status;
use crate::error::Result;

/// All obligations about ways into the window.
pub(super) fn obligations(site: &Site<'_>, after: Function<'_>) -> Result<Vec<Obligation>> {
    Ok(vec![direct(site, after)?, through_tables(site, after)?, landing_pads(site), starts(site)])
}

/// The window without its first word, where entering is harmless.
fn interior(site: &Site<'_>) -> Range<VmAddr> {
    site.window_start.instruction(1)..site.window_end
}

fn direct(site: &Site<'_>, after: Function<'_>) -> Result<Obligation> {
    let (origin, bytes) = site.surroundings.text();
    let interior = interior(site);
    let mut found = Vec::new();
    for item in after.operations() {
        let (at, operation) = item?;
        if !site.window().contains(&at) && goes_to(&operation, &interior) {
            found.push(at);
        }
    }
    let inside = after.range();
    reach::each(origin, bytes, &interior, |index| {
        let at = origin.instruction(index);
        let word = Word::all(&bytes[index * 4..index * 4 + 4]).next();
        let operation = word.and_then(|word| decode(word, at));
        if operation.is_some_and(|it| goes_to(&it, &interior)) && !inside.contains(&at) {
            found.push(at);
        }
    });
    found.sort();
    found.dedup();
    let total = (bytes.len() / 4).max(after.words.len());
    let (status, detail) = match found.first() {
        None => (Status::Pass, format!("none of the {total} words of __text branches into it")),
        Some(at) => (Status::Fail, format!("the branch at {at} enters the window")),
    };
    Ok(Obligation { at: found, ..Obligation::new(Name::NoBranchIntoWindow, status, detail) })
}

fn goes_to(operation: &Operation, range: &Range<VmAddr>) -> bool {
    match *operation {
        Operation::Branch { target }
        | Operation::Call { target }
        | Operation::BranchIf { target, .. }
        | Operation::BranchOnZero { target, .. }
        | Operation::BranchOnBit { target, .. } => range.contains(&target),
        Operation::Address { value, .. } => range.contains(&VmAddr(value)),
        _ => false,
    }
}

fn through_tables(site: &Site<'_>, after: Function<'_>) -> Result<Obligation> {
    let interior = interior(site);
    let mut branches = Vec::new();
    for item in after.operations() {
        let (at, operation) = item?;
        if matches!(operation, Operation::BranchRegister { .. }) {
            branches.push(at);
        }
    }
    let mut entering = Vec::new();
    for &at in &branches {
        let targets = tables::targets(after, site.surroundings, at)?;
        if targets.iter().any(|target| interior.contains(target)) {
            entering.push(at);
        }
    }
    let (status, detail) = match entering.first() {
        Some(at) => (Status::Fail, format!("the table of the branch at {at} enters the window")),
        None if branches.is_empty() => {
            (Status::Pass, "the function has no indirect branch".to_owned())
        }
        None => (Status::Pass, format!("all {} indirect branches are resolved", branches.len())),
    };
    Ok(Obligation { at: entering, ..Obligation::new(Name::NoTableIntoWindow, status, detail) })
}

fn landing_pads(site: &Site<'_>) -> Obligation {
    let name = Name::NoLandingPadInWindow;
    match site.surroundings.landing_pads(site.function()) {
        LandingPads::Unknown(reason) => Obligation::new(name, Status::Skipped, reason),
        LandingPads::Known(pads) => {
            let inside: Vec<VmAddr> =
                pads.iter().copied().filter(|pad| interior(site).contains(pad)).collect();
            let (status, detail) = match inside.first() {
                Some(pad) => (Status::Fail, format!("an exception may continue at {pad}")),
                None => (Status::Pass, format!("{} landing pads, none inside", pads.len())),
            };
            Obligation { at: inside, ..Obligation::new(name, status, detail) }
        }
    }
}

fn starts(site: &Site<'_>) -> Obligation {
    let name = Name::NoFunctionStartInWindow;
    let Some(starts) = site.surroundings.function_starts() else {
        let reason = "the image does not list its function starts";
        return Obligation::new(name, Status::Skipped, reason);
    };
    let function = site.function();
    let from = starts.partition_point(|&start| start <= function.start);
    let inside: Vec<VmAddr> =
        starts.iter().skip(from).copied().take_while(|&start| start < function.end).collect();
    let listed = from.checked_sub(1).and_then(|at| starts.get(at)) == Some(&function.start);
    let (status, detail) = match inside.first() {
        Some(start) => (Status::Fail, format!("a function begins at {start}")),
        None if !listed => {
            (Status::Fail, format!("no function is listed to begin at {}", function.start))
        }
        None => (Status::Pass, format!("one function from {} to {}", function.start, function.end)),
    };
    Obligation { at: inside, ..Obligation::new(name, status, detail) }
}
