//! Whether registers that hold another value are ever looked at.
//!
//! From the exits of the window every way is followed to every return and tail
//! call. A register is dead if on each of them it is written before it is read.
//! A call is taken to read every register that can carry an argument, a return
//! every register that can carry a result or that the caller keeps values in.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::function::Function;
use super::jump_tables;
use super::site::Surroundings;
use crate::address::VmAddr;
use crate::arm64::semantics::{Footprint, Operation, RegisterSet};
use crate::error::Result;

/// `x0`..`x8` and `v0`..`v7`: arguments and the address of an indirect result.
const ARGUMENTS: RegisterSet = RegisterSet::new(0x1ff, 0xff);
/// `x0`..`x7` and `v0`..`v7`: results. `x19`..`x29`, `sp` and the lower halves of
/// `v8`..`v15`: what the caller finds as it left it.
const AT_RETURN: RegisterSet = RegisterSet::new(0xbff8_00ff, 0xffff);
/// What a call leaves nothing promised about. Of `v8`..`v15` it keeps half.
const CLOBBERED: RegisterSet = RegisterSet::new(0x4007_ffff, 0xffff_00ff).with_flags();

/// A read of a register that should be dead.
pub(super) struct Read {
    /// Where.
    pub at: VmAddr,
    /// Of what.
    pub of: RegisterSet,
    /// In which way.
    pub how: &'static str,
}

/// What a walk found.
pub(super) struct Outcome {
    /// The first read of a register that should be dead, if there is one.
    pub used: Option<Read>,
    /// The returns and tail calls that were reached.
    pub exits: Vec<VmAddr>,
}

/// Follows `places` from each address in `from` through `function`.
pub(super) fn check_dead(
    function: Function<'_>,
    surroundings: &dyn Surroundings,
    from: &[(VmAddr, RegisterSet)],
) -> Result<Outcome> {
    let mut walk =
        Walk { function, surroundings, seen: BTreeMap::new(), open: Vec::new(), exits: Vec::new() };
    for &(address, places) in from {
        walk.go(address, places);
    }
    while let Some((address, places)) = walk.open.pop() {
        if let ControlFlow::Break(used) = walk.step(address, places)? {
            return Ok(Outcome { used: Some(used), exits: walk.exits });
        }
    }
    walk.exits.sort();
    walk.exits.dedup();
    Ok(Outcome { used: None, exits: walk.exits })
}

struct Walk<'a> {
    function: Function<'a>,
    surroundings: &'a dyn Surroundings,
    /// What was already followed from each address.
    seen: BTreeMap<VmAddr, RegisterSet>,
    open: Vec<(VmAddr, RegisterSet)>,
    exits: Vec<VmAddr>,
}

impl Walk<'_> {
    fn go(&mut self, to: VmAddr, places: RegisterSet) {
        let seen = self.seen.entry(to).or_default();
        let new = places.without(*seen);
        if !new.is_empty() {
            *seen = seen.union(new);
            self.open.push((to, new));
        }
    }

    fn step(&mut self, at: VmAddr, places: RegisterSet) -> Result<ControlFlow<Read>> {
        let operation = self.function.operation(at)?;
        let footprint = Footprint::of(&operation);
        let reads = |set: RegisterSet, how| {
            let of = places.common(set);
            if of.is_empty() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(Read { at, of, how })
            }
        };
        if let ControlFlow::Break(used) = reads(footprint.reads, "reads") {
            return Ok(ControlFlow::Break(used));
        }
        let left = places.without(footprint.writes);
        let following = at.instruction(1);
        match operation {
            Operation::Trap => {}
            Operation::Return { .. } => {
                self.exits.push(at);
                return Ok(reads(AT_RETURN, "returns with"));
            }
            Operation::Branch { target } if !self.function.range().contains(&target) => {
                self.exits.push(at);
                return Ok(reads(AT_RETURN.union(ARGUMENTS), "tail-calls with"));
            }
            Operation::Branch { target } => self.go(target, left),
            Operation::BranchIf { target, .. }
            | Operation::BranchOnZero { target, .. }
            | Operation::BranchOnBit { target, .. } => {
                if self.function.range().contains(&target) {
                    self.go(target, left);
                } else {
                    self.exits.push(at);
                    let tail = reads(AT_RETURN.union(ARGUMENTS), "tail-calls with");
                    if tail.is_break() {
                        return Ok(tail);
                    }
                }
                self.go(following, left);
            }
            Operation::BranchRegister { .. } => {
                for target in jump_tables::targets(self.function, self.surroundings, at)? {
                    self.go(target, left);
                }
            }
            Operation::Call { .. } | Operation::CallRegister { .. } => {
                let call = reads(ARGUMENTS, "calls with");
                if call.is_break() {
                    return Ok(call);
                }
                // A function that exits in a call exits in one that does not return.
                if self.function.range().contains(&following) {
                    self.go(following, left.without(CLOBBERED));
                } else {
                    self.exits.push(at);
                }
            }
            _ => self.go(following, left),
        }
        Ok(ControlFlow::Continue(()))
    }
}
