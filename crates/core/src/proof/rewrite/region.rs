//! The part of a function that a rewrite is about.
//!
//! It is found by control flow and not by address: the words that differ, and
//! everything on a way from one of them to another, in the old code or in the new.
//! The rest is the same word for word and runs in step. So the two versions need
//! to be compared only from where control comes into the region to where it leaves
//! it, and a region need not be contiguous nor have one entry.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::VmAddr;
use crate::arm64::semantics::Operation;
use crate::error::Result;
use crate::proof::function::Function;
use crate::proof::jump_tables;
use crate::proof::site::Surroundings;

/// Addresses that follow one another, in either version.
type Edges = BTreeMap<VmAddr, BTreeSet<VmAddr>>;

/// The region and the ways into it.
pub(super) struct Region {
    /// The instructions of the region.
    pub inside: BTreeSet<VmAddr>,
    /// Ways from an instruction outside to one inside.
    pub entries: Vec<(VmAddr, VmAddr)>,
}

impl Region {
    pub(super) fn of(
        before: Function<'_>,
        after: Function<'_>,
        surroundings: &dyn Surroundings,
    ) -> Result<Region> {
        let (mut forward, mut backward) = (Edges::new(), Edges::new());
        for function in [before, after] {
            for item in function.operations() {
                let (at, operation) = item?;
                for to in successors(function, surroundings, at, &operation)? {
                    forward.entry(at).or_default().insert(to);
                    backward.entry(to).or_default().insert(at);
                }
            }
        }
        let changed = changed(before, after);
        let ahead = closure(&changed, &forward);
        let behind = closure(&changed, &backward);
        let inside: BTreeSet<VmAddr> = ahead.intersection(&behind).copied().collect();
        let mut entries = Vec::new();
        for (from, targets) in forward.iter().filter(|(from, _)| !inside.contains(from)) {
            entries.extend(targets.intersection(&inside).map(|&to| (*from, to)));
        }
        Ok(Region { inside, entries })
    }
}

/// The addresses of the words that differ.
pub(super) fn changed(before: Function<'_>, after: Function<'_>) -> BTreeSet<VmAddr> {
    let words = before.words.iter().zip(after.words).enumerate();
    words
        .filter(|(_, (before, after))| before != after)
        .map(|(index, _)| before.entry.instruction(index))
        .collect()
}

/// Everything that is reached from `from`, itself included.
fn closure(from: &BTreeSet<VmAddr>, edges: &Edges) -> BTreeSet<VmAddr> {
    let mut reached = from.clone();
    let mut open: Vec<VmAddr> = from.iter().copied().collect();
    while let Some(at) = open.pop() {
        let next = edges.get(&at).into_iter().flatten();
        open.extend(next.filter(|&&to| reached.insert(to)));
    }
    reached
}

/// The instructions of the function that may follow the one at `at`.
fn successors(
    function: Function<'_>,
    surroundings: &dyn Surroundings,
    at: VmAddr,
    operation: &Operation,
) -> Result<Vec<VmAddr>> {
    let following = at.instruction(1);
    let mut next = match *operation {
        Operation::Trap | Operation::Return { .. } => Vec::new(),
        Operation::Branch { target } => vec![target],
        Operation::BranchIf { target, .. }
        | Operation::BranchOnZero { target, .. }
        | Operation::BranchOnBit { target, .. } => vec![target, following],
        Operation::BranchRegister { .. } => jump_tables::targets(function, surroundings, at)?,
        _ => vec![following],
    };
    next.retain(|to| function.range().contains(to));
    Ok(next)
}
