//! Whether anything outside the window continues inside it.
//!
//! The proof of the window starts at its first word. That is only right if there
//! is no other way in: no direct branch from anywhere in `__text`, no jump table
//! of the function, no exception landing pad, and no function that begins there.
//! A function pointer to the middle of a function does not occur in compiled
//! code and is not looked for, but for `adr` and `adrp` with `add`, which could
//! make one.

use std::ops::Range;

use super::branch_scan;
use super::code_as_data::{self, Reference};
use super::function::Function;
use super::jump_tables;
use super::null_entry::{self, Entry};
use super::obligation::{Name, Obligation};
use super::site::{LandingPads, Site, Surroundings};
use super::values::Values;
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{Operation, decode};
use crate::check::Status;
use crate::error::Result;

/// What is found about ways into the window and the function.
pub(super) struct Inbound<'a> {
    /// All obligations about them.
    pub obligations: Vec<Obligation>,
    /// What the registers hold, given every way into the function.
    pub values: Values<'a>,
}

/// Looks for every way into the window, and follows the values through the
/// function.
pub(super) fn examine<'a>(
    site: &Site<'a>,
    before: Function<'_>,
    after: Function<'a>,
) -> Result<Inbound<'a>> {
    let made = code_as_data::through_pages(site.surroundings, &after.range());
    let found = branches(site, after, &made)?;
    let (entries, others): (Vec<Entry>, Vec<Entry>) = found.own.into_iter().partition(|entry| {
        let branch = after.operation(entry.from).ok().and_then(|operation| branched_to(&operation));
        branch.is_some() && null_entry::is_last_clear(site, before, entry.to)
    });
    let mut refused: Vec<VmAddr> = others.iter().map(|entry| entry.from).collect();
    refused.extend(found.foreign);
    let interior = interior(site);
    let own = made.iter().filter(|made| {
        made.reads == 0 && interior.contains(&made.to) && after.range().contains(&made.at)
    });
    refused.extend(own.map(|made| made.at));
    let pads = match site.surroundings.landing_pads(site.function()) {
        LandingPads::Known(pads) => pads,
        LandingPads::Unknown(_) => Vec::new(),
    };
    let others = found.around.into_iter().chain(pads);
    let mut values = Values::of(after, site.surroundings, site.window(), others)?;
    let obligations = vec![
        direct(site, after, refused),
        null_entry::obligation(site, before, after, &entries, &mut values)?,
        through_tables(site, after)?,
        landing_pads(site),
        starts(site),
        code_as_data::obligation(
            site.surroundings,
            after,
            &site.changed().collect::<Vec<_>>(),
            &made,
        ),
    ];
    Ok(Inbound { obligations, values })
}

/// The window without its first word, where entering is harmless.
fn interior(site: &Site<'_>) -> Range<VmAddr> {
    site.window_start.instruction(1)..site.window_end
}

/// Branches of interest, and addresses made by `adr`.
struct Branches {
    /// From the function into the window's interior.
    own: Vec<Entry>,
    /// From elsewhere into the window's interior.
    foreign: Vec<VmAddr>,
    /// Where branches from elsewhere enter the function outside the window.
    around: Vec<VmAddr>,
}

fn branches(site: &Site<'_>, after: Function<'_>, made: &[Reference]) -> Result<Branches> {
    let interior = interior(site);
    let mut found = Branches { own: Vec::new(), foreign: Vec::new(), around: Vec::new() };
    for item in after.operations() {
        let (from, operation) = item?;
        if let Some(to) = target(&operation).filter(|to| interior.contains(to))
            && !site.window().contains(&from)
        {
            found.own.push(Entry { from, to });
        }
    }
    for entry in from_elsewhere(site.surroundings, after.range(), made) {
        match interior.contains(&entry.to) {
            true => found.foreign.push(entry.from),
            false => found.around.push(entry.to),
        }
    }
    Ok(found)
}

/// Branches from outside `function` into it other than at its first instruction,
/// and the instructions that make an address in it. `made` is what the code makes of its
/// pages.
pub(super) fn from_elsewhere(
    surroundings: &dyn Surroundings,
    function: Range<VmAddr>,
    made: &[Reference],
) -> Vec<Entry> {
    let inside = function.start.instruction(1)..function.end;
    let (origin, bytes) = surroundings.text();
    let mut found = Vec::new();
    branch_scan::each(&branch_scan::BRANCHES, origin, bytes, &inside, |index| {
        let from = origin.instruction(index);
        let Some(word) = Word::all(&bytes[index * 4..index * 4 + 4]).next() else { return };
        let operation = decode(as_plain_branch(word), from);
        if let Some(to) = operation.and_then(|operation| target(&operation))
            && inside.contains(&to)
            && !makes_page(word)
        {
            found.push(Entry { from, to });
        }
    });
    // Control cannot go on at an address between two instructions.
    let made = made
        .iter()
        .filter(|made| made.reads == 0 && made.to.0 % Word::SIZE == 0 && inside.contains(&made.to));
    found.extend(made.map(|made| Entry { from: made.at, to: made.to }));
    found.retain(|entry| !function.contains(&entry.from));
    found
}

fn direct(site: &Site<'_>, after: Function<'_>, mut found: Vec<VmAddr>) -> Obligation {
    found.sort();
    found.dedup();
    let total = (site.surroundings.text().1.len() / 4).max(after.words.len());
    let (status, detail) = match found.first() {
        None => (Status::Pass, format!("none of the {total} words of __text branches into it")),
        Some(at) => (Status::Fail, format!("the branch at {at} enters the window")),
    };
    Obligation { at: found, ..Obligation::new(Name::NoBranchIntoWindow, status, detail) }
}

/// `b.cond` for `bc.cond`, which goes to the same place. The decoder does not know
/// it, because processors without it stop there.
fn as_plain_branch(word: Word) -> Word {
    const CONSISTENT: u32 = 1 << 4;
    if word.0 & (0xff00_0000 | CONSISTENT) == 0x5400_0000 | CONSISTENT {
        Word(word.0 & !CONSISTENT)
    } else {
        word
    }
}

/// Whether the word is an `adrp`, whose page is rarely meant itself.
fn makes_page(word: Word) -> bool {
    word.0 & 0x9f00_0000 == 0x9000_0000
}

/// Where a branch that is not a call goes.
fn branched_to(operation: &Operation) -> Option<VmAddr> {
    match *operation {
        Operation::Branch { target }
        | Operation::BranchIf { target, .. }
        | Operation::BranchOnZero { target, .. }
        | Operation::BranchOnBit { target, .. } => Some(target),
        _ => None,
    }
}

/// The address in the code that an instruction may continue at or makes.
fn target(operation: &Operation) -> Option<VmAddr> {
    match *operation {
        Operation::Call { target } => Some(target),
        Operation::Address { value, .. } => Some(VmAddr(value)),
        _ => branched_to(operation),
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
        let targets = jump_tables::targets(after, site.surroundings, at)?;
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
