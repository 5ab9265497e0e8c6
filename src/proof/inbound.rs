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
use super::site::{LandingPads, Site};
use super::tables;
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{Operation, decode};
use crate::check::Status;
use crate::error::Result;

/// Words a `b` or `bl` can reach in either direction are 2^25; conditional
/// branches and `adr` reach 2^18 words, and `tbz` less.
const NEAR: usize = 1 << 18;

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
    let words = bytes.len() / 4;
    let interior = interior(site);
    let mut found = Vec::new();
    for item in after.operations() {
        let (at, operation) = item?;
        if !site.window().contains(&at) && goes_to(&operation, &interior) {
            found.push(at);
        }
    }
    let inside = after.range();
    let mut note = |index: usize| {
        let at = origin.instruction(index);
        let word = bytes
            .get(index * 4..index * 4 + 4)
            .map_or(Word(0), |b| Word(u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        let enters = decode(word, at).is_some_and(|operation| goes_to(&operation, &interior));
        if enters && !inside.contains(&at) {
            found.push(at);
        }
    };
    far_branches(origin, bytes, &interior, &mut note);
    let middle = (interior.start.0.saturating_sub(origin.0) / 4) as usize;
    let near = middle.saturating_sub(NEAR + 64)..words.min(middle.saturating_add(NEAR + 64));
    near_branches(bytes, near, &mut note);
    found.sort();
    found.dedup();
    let total = words.max(after.words.len());
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

/// Reports every word that may be a `b` or `bl` into `range`.
///
/// The sum of a branch's displacement and its own index is the index of its
/// target, so one addition, one mask and one comparison tell; blocks are tested
/// whole, which the compiler turns into vector code.
fn far_branches(origin: VmAddr, bytes: &[u8], range: &Range<VmAddr>, note: &mut impl FnMut(usize)) {
    const BLOCK: usize = 1024;
    const FIELD: u32 = 0x03ff_ffff;
    let low = (range.start.0.wrapping_sub(origin.0) / 4) as u32;
    let length = (range.end.0.wrapping_sub(range.start.0) / 4) as u32;
    let enters = |word: u32, index: u32| {
        let to = word.wrapping_add(index).wrapping_sub(low) & FIELD;
        (word & 0x7c00_0000 == 0x1400_0000) & (to < length)
    };
    for (block, chunk) in bytes.chunks(BLOCK * 4).enumerate() {
        let first = (block * BLOCK) as u32;
        let mut any = false;
        for (index, word) in chunk.chunks_exact(4).enumerate() {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            any |= enters(word, first.wrapping_add(index as u32));
        }
        if any {
            (0..chunk.len() / 4).for_each(|index| note(block * BLOCK + index));
        }
    }
}

/// Reports every word in `range` that is a conditional branch or an `adr`.
fn near_branches(bytes: &[u8], range: Range<usize>, note: &mut impl FnMut(usize)) {
    let words = bytes.get(range.start * 4..range.end * 4).unwrap_or_default();
    for (index, word) in words.chunks_exact(4).enumerate() {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        let conditional = word & 0xff00_0000 == 0x5400_0000;
        let compare_or_test = word & 0x7c00_0000 == 0x3400_0000;
        let address = word & 0x9f00_0000 == 0x1000_0000;
        if conditional | compare_or_test | address {
            note(range.start + index);
        }
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
