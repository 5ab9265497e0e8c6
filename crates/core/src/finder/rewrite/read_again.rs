//! Reading the field again once the lock is held.
//!
//! A thread that waited for the lock has read the field before, and another thread may
//! have given the block back since. So the field is read again under the lock, into the
//! register that holds the block, and cleared. A thread that finds null must not give
//! null back: it would take a place in the pool, and the code that takes it out again
//! need not be prepared for it. It goes where the code goes when the pool is full, which drops the
//! lock and frees what the register holds; `free` does nothing for null. So nothing has
//! to be known about the code that takes blocks out of the pool.
//!
//! All of it stands at the branch that decides whether the pool has room: there, on both
//! ways on, every register is as the code expects it. It takes five words and more, so it
//! stands in padding.

use std::collections::BTreeSet;

use super::padding::Pads;
use super::removal::Removals;
use super::split::has_scratch;
use super::{Attempt, Change, Refusal, encode, material};
use crate::finder::decode::{Op, bit};
use crate::finder::explore::Explorer;
use crate::finder::function::Function;
use crate::finder::state::{Cell, State};
use crate::finder::value::{Atom, Values};

/// The most branches that are tried.
const MAX_BRANCHES: usize = 6;

const SCRATCH: u8 = 17;

impl Attempt<'_, '_, '_> {
    /// The conditional branches that are come to with the lock held and the block not
    /// yet given back: each with where it leads and where it goes on, in both orders.
    pub(super) fn deciding(
        &self,
        explorer: &mut Explorer<'_, '_>,
        function: &Function,
    ) -> Vec<BTreeSet<u64>> {
        let branches = function.placed().filter(|(_, op)| target_of(*op).is_some());
        let mut found = self.states_at(explorer, branches.map(|(at, _)| at));
        let decides = |state: &State| {
            let locked =
                matches!(state.held[..], [lock] if self.before.given_under.contains(&lock));
            locked && state.cell == Cell::Block && state.given.is_none() && state.depth == 0
        };
        found.retain(|_, states| !states.is_empty() && states.iter().all(decides));
        found.into_keys().take(MAX_BRANCHES).map(|at| BTreeSet::from([at])).collect()
    }

    /// The changes, with the load and the clear before one branch. Which of its two ways
    /// gives nothing to the pool is said by `taken`.
    pub(super) fn read_again(
        &self,
        explorer: &mut Explorer<'_, '_>,
        places: &BTreeSet<u64>,
        removals: &Removals,
        taken: bool,
    ) -> Result<Vec<Change>, Refusal> {
        let at = *places.first().ok_or(Refusal::NoMaterial)?;
        let function = explorer.function_at(self.entry).ok_or(Refusal::Unreadable)?;
        let target = target_of(function.op(at)).ok_or(Refusal::NoMaterial)?;
        let branch = self.program.word(at).ok_or(Refusal::Unreadable)?.0;
        let mut pads = Pads::of(self.program);
        let thunk = pads.next(9).ok_or(Refusal::NoPadding)?;
        let states = self.states(explorer, at);
        let mut words =
            material::clear(explorer, &states, thunk, SCRATCH).ok_or(Refusal::NoMaterial)?;
        has_scratch(&function, at, &words)?;
        let block =
            holder(&explorer.values, &states, function.live(at)).ok_or(Refusal::NoMaterial)?;
        let clear = words.pop().ok_or(Refusal::NoMaterial)?;
        words.extend([encode::load_instead(clear, block), clear]);
        // Behind them: to the one way where there is null, the branch, and both ways on.
        let here = thunk + 4 * words.len() as u64;
        let (on, away) = (here + 8, here + 12);
        let to = if taken { away } else { on };
        words.push(encode::branch_if_zero(block, here, to).ok_or(Refusal::TooFar)?);
        words.push(encode::relative(branch, here + 4, away).ok_or(Refusal::TooFar)?);
        words.push(encode::jump(on, at + 4).ok_or(Refusal::TooFar)?);
        words.push(encode::jump(away, target).ok_or(Refusal::TooFar)?);
        let mut changes = Vec::new();
        let start = pads.take(&words);
        self.fill(start, &words, &mut changes)?;
        changes.push(self.replace(at, encode::jump(at, start).ok_or(Refusal::TooFar)?)?);
        removals.write(self, &mut pads, &mut changes)?;
        Ok(changes)
    }
}

/// Where a conditional branch leads.
fn target_of(op: Op) -> Option<u64> {
    match op {
        Op::BranchIf { target, .. }
        | Op::BranchZero { target, .. }
        | Op::BranchBit { target, .. } => Some(target),
        _ => None,
    }
}

/// The one register that is alive and holds the block; none if something else does too,
/// for that would stay.
fn holder(values: &Values, states: &[State], live: u64) -> Option<u8> {
    let mut holders = BTreeSet::new();
    for state in states {
        let in_slot = state.slots.iter().any(|slot| values.has(slot.2, Atom::Block));
        let alive = (0..31u8).filter(|register| live & bit(*register) != 0);
        let held: Vec<u8> =
            alive.filter(|register| values.has(state.get(*register), Atom::Block)).collect();
        let [one] = held[..] else { return None };
        if in_slot || values.atom_of(state.get(one)) != Some(Atom::Block) {
            return None;
        }
        holders.insert(one);
    }
    let mut holders = holders.into_iter();
    holders.next().filter(|_| holders.next().is_none())
}
