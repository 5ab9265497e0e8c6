//! A call of `free` that several ways lead to.
//!
//! On some of them the block was offered to the pool before, and the field is cleared there
//! already; others offer it to none. The field is not to be cleared twice, for once the lock
//! is dropped another thread may put a new block there. So where the two kinds of ways come
//! by branches of their own, to the call or to where both then run into it together, those
//! of the second kind clear the field on their way.

use std::collections::BTreeSet;

use super::super::decode::Op;
use super::super::explore::Explorer;
use super::super::function::Function;
use super::super::state::Cell;
use super::padding::Pads;
use super::split::{Paths, SCRATCH, has_scratch};
use super::{Attempt, Change, Refusal, material};

/// The most instructions between a join and a call of `free` that only make its arguments.
const MAX_BETWEEN: u64 = 6;

/// How many joins before a call of `free` are looked at.
const MAX_JOINS: usize = 3;

/// The ways to a call of `free`.
#[derive(Default)]
struct Ways {
    /// Those that clear the field at another place.
    cleared: Paths,
    /// Those that do not.
    others: Paths,
}

impl Attempt<'_, '_, '_> {
    /// The changes that clear the field before a call of `free`, on the ways that do not
    /// come through one of the `cleared` places.
    pub(super) fn clear_before_free(
        &self,
        explorer: &mut Explorer<'_, '_>,
        function: &Function,
        pads: &mut Pads,
        place: u64,
        cleared: &BTreeSet<u64>,
    ) -> Result<Vec<Change>, Refusal> {
        let (mut changes, mut at) = (Vec::new(), place);
        for _ in 0..MAX_JOINS {
            let join = join_before(function, at);
            let ways = self.ways_to_free(explorer, function, join, cleared)?;
            match (ways.cleared.is_empty(), ways.others.is_empty()) {
                (true, _) if at == place => {
                    return self.clear_at_gift(explorer, function, pads, place);
                }
                (false, true) => return Ok(changes),
                _ => {}
            }
            changes.extend(self.clear_on_branches(explorer, function, pads, join, &ways)?);
            match (ways.cleared.fall, ways.others.fall) {
                (_, false) => return Ok(changes),
                // Which of them it is is told further up.
                (true, true) if join < at || at == place => at = join - 4,
                _ => break,
            }
        }
        Err(Refusal::NoRoom)
    }

    fn ways_to_free(
        &self,
        explorer: &mut Explorer<'_, '_>,
        function: &Function,
        join: u64,
        cleared: &BTreeSet<u64>,
    ) -> Result<Ways, Refusal> {
        let mut ways = Ways::default();
        explorer.marks.extend(cleared);
        let arrivals = self.arrivals(explorer, join);
        explorer.marks.clear();
        for (from, state) in arrivals.into_iter().filter(|(_, state)| state.cell == Cell::Block) {
            let paths = if state.marked { &mut ways.cleared } else { &mut ways.others };
            paths.add(function, join, from, state)?;
        }
        match ways.others.shares_branches(&ways.cleared) {
            true => Err(Refusal::NoRoom),
            false => Ok(ways),
        }
    }

    /// Clears the field on the branches by which others come to a join.
    fn clear_on_branches(
        &self,
        explorer: &mut Explorer<'_, '_>,
        function: &Function,
        pads: &mut Pads,
        join: u64,
        ways: &Ways,
    ) -> Result<Vec<Change>, Refusal> {
        let mut changes = Vec::new();
        if ways.others.branches.is_empty() {
            return Ok(changes);
        }
        let thunk = pads.next(4).ok_or(Refusal::NoPadding)?;
        let words = material::clear(explorer, &ways.others.states, thunk, SCRATCH);
        let words = words.ok_or(Refusal::NoMaterial)?;
        has_scratch(function, join, &words)?;
        let thunk = self.thunk(pads, words, join, &mut changes)?;
        for branch in &ways.others.branches {
            changes.push(self.redirect(*branch, thunk)?);
        }
        Ok(changes)
    }
}

/// The first of the instructions before a call that only make its arguments or skip it, if
/// control comes to them together.
fn join_before(function: &Function, call: u64) -> u64 {
    let mut at = call;
    while !function.is_join(at) && call - at < 4 * MAX_BETWEEN {
        match function.op(at - 4) {
            Op::Constant { .. } | Op::Nop | Op::BranchZero { .. } | Op::BranchIf { .. } => {}
            Op::Add { flags: false, .. } | Op::Logic { flags: false, .. } => {}
            Op::Load(access) if !access.place.writes_back() => {}
            _ => break,
        }
        at -= 4;
    }
    if function.is_join(at) { at } else { call }
}
