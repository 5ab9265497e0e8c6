//! A clear that some paths need where it is.
//!
//! Where a block that does not go to the pool is taken from the field again, as in
//! `free(self->_impl)` after the unlock, the field must not be cleared before it is read
//! there. So the paths are told apart: each clears the field right before it gives the
//! block away and then skips the late clear. Paths that do neither come to it as before.
//!
//! The earlier clear needs a place that only such paths come to: the store that gives the
//! block back, or the unlock if they have one of their own, and the call that frees it.
//! It is made in padding, for no word is free. Where no path needs the late clear any
//! more it is dropped. Else paths skip it if branches lead them there; and if they run
//! into it and the others branch, these clear in padding instead.

use std::collections::BTreeSet;

use super::super::decode::{Op, bit};
use super::super::explore::Explorer;
use super::super::function::Function;
use super::super::state::{Cell, State};
use super::padding::Pads;
use super::removal::Removals;
use super::{Attempt, Change, EARLY, NOP, Refusal, encode, material};

/// The register that code in padding may overwrite where nothing needs it.
pub(super) const SCRATCH: u8 = 17;

/// The most instructions between a join and a clear that make its address.
const MAX_FEEDERS: u64 = 4;

/// The paths of one kind that come to a place.
#[derive(Default)]
pub(super) struct Paths {
    /// From these instructions, which branch there.
    pub branches: BTreeSet<u64>,
    /// Whether some come without a branch.
    pub fall: bool,
    pub states: Vec<State>,
}

impl Paths {
    /// Adds one that comes from an instruction.
    pub(super) fn add(
        &mut self,
        function: &Function,
        join: u64,
        from: u64,
        state: State,
    ) -> Result<(), Refusal> {
        let own = function.range.contains(&from);
        match function.op(from) {
            _ if !own || from + 4 == join => self.fall = true,
            Op::Branch(target)
            | Op::BranchIf { target, .. }
            | Op::BranchZero { target, .. }
            | Op::BranchBit { target, .. }
                if target == join =>
            {
                self.branches.insert(from);
            }
            _ => return Err(Refusal::IndirectBranch),
        }
        self.states.push(state);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Whether one branch leads paths of both kinds.
    pub(super) fn shares_branches(&self, other: &Paths) -> bool {
        self.branches.intersection(&other.branches).next().is_some()
    }
}

/// What a clear is for, by the paths that come to it.
#[derive(Default)]
struct Ways {
    /// Those on which the block was given back and the lock dropped, or freed.
    armed: Paths,
    /// Those on which the field still holds a block that was neither.
    others: Paths,
    /// Those on which the field is found to be null.
    null: Paths,
}

impl Ways {
    /// Counts the paths on which the field is null among those that clear it as before, if
    /// they come by branches of their own.
    fn keep_null(&mut self) {
        let Paths { branches, states, .. } = std::mem::take(&mut self.null);
        let known = self.armed.branches.union(&self.others.branches).copied();
        let own: BTreeSet<u64> = branches.difference(&known.collect()).copied().collect();
        if !own.is_empty() {
            self.others.branches.extend(own);
            self.others.states.extend(states);
        }
    }
}

impl Attempt<'_, '_, '_> {
    /// The changes, with the earlier clear at these places.
    pub(super) fn split(
        &self,
        explorer: &mut Explorer<'_, '_>,
        places: &BTreeSet<u64>,
        removals: &Removals,
        keeps_null: bool,
    ) -> Result<Vec<Change>, Refusal> {
        let function = explorer.function_at(self.entry).ok_or(Refusal::Unreadable)?;
        let mut pads = Pads::of(self.program);
        let mut changes = Vec::new();
        // Room for what is removed is taken first, that of the clears afterwards.
        self.drop_clears(explorer, &mut pads, removals, keeps_null, &mut changes)?;
        let frees = self.before.sites_of(&self.before.frees);
        let gifts: BTreeSet<u64> = places.difference(&frees).copied().collect();
        for place in places {
            let (explorer, pads) = (&mut *explorer, &mut pads);
            changes.extend(match gifts.contains(place) {
                true => self.clear_at_gift(explorer, &function, pads, *place)?,
                false => self.clear_before_free(explorer, &function, pads, *place, &gifts)?,
            });
        }
        Ok(changes)
    }

    /// Drops the late clears for the paths that clear the field earlier, and leaves them to
    /// the others; with `keeps_null`, also to those on which the field is null.
    pub(super) fn drop_clears(
        &self,
        explorer: &mut Explorer<'_, '_>,
        pads: &mut Pads,
        removals: &Removals,
        keeps_null: bool,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refusal> {
        let function = explorer.function_at(self.entry).ok_or(Refusal::Unreadable)?;
        let removed = removals.replaced(self, pads, changes)?;
        for clear in removals.dropped().iter().chain(removed.keys()) {
            let join = join_before(&function, *clear);
            let mut ways = self.ways(explorer, &function, join)?;
            if keeps_null {
                ways.keep_null();
            }
            let past = clear + 4;
            if ways.others.states.is_empty() {
                changes.push(self.replace(*clear, removed.get(clear).copied().unwrap_or(NOP))?);
                continue;
            }
            if removed.contains_key(clear) {
                return Err(Refusal::NoRoom);
            }
            if ways.armed.fall == ways.others.fall && ways.armed.fall {
                return Err(Refusal::NoRoom);
            }
            if !ways.armed.fall {
                let dead = written(&function, join, *clear) & function.live(past) == 0;
                if !dead {
                    return Err(Refusal::NoRoom);
                }
                for branch in &ways.armed.branches {
                    changes.push(self.redirect(*branch, past)?);
                }
                continue;
            }
            let thunk = pads.next(4).ok_or(Refusal::NoPadding)?;
            let words = material::clear(explorer, &ways.others.states, thunk, SCRATCH);
            let words = words.ok_or(Refusal::NoMaterial)?;
            has_scratch(&function, past, &words)?;
            let thunk = self.thunk(pads, words, past, changes)?;
            for branch in &ways.others.branches {
                changes.push(self.redirect(*branch, thunk)?);
            }
            changes.push(self.replace(*clear, NOP)?);
        }
        Ok(())
    }

    /// How control comes to a join before a late clear.
    fn ways(
        &self,
        explorer: &mut Explorer<'_, '_>,
        function: &Function,
        join: u64,
    ) -> Result<Ways, Refusal> {
        let mut ways = Ways::default();
        for (from, state) in self.arrivals(explorer, join) {
            let paths = match state.cell {
                // There is nothing to clear any more.
                Cell::Cleared | Cell::Other => continue,
                Cell::Null => &mut ways.null,
                Cell::Block if self.is_given(&state) => &mut ways.armed,
                Cell::Block => &mut ways.others,
            };
            paths.add(function, join, from, state)?;
        }
        match ways.armed.shares_branches(&ways.others) || ways.armed.is_empty() {
            true => Err(Refusal::NoRoom),
            false => Ok(ways),
        }
    }

    /// The ways to a place: from which instruction, and in which state.
    pub(super) fn arrivals(
        &self,
        explorer: &mut Explorer<'_, '_>,
        place: u64,
    ) -> Vec<(u64, State)> {
        explorer.probes.clear();
        explorer.probes.insert(place, Vec::new());
        explorer.run(self.entry, Some(self.cell));
        explorer.probes.clear();
        std::mem::take(&mut explorer.arrivals)
    }

    /// Whether the block was given away on a path, at a place where the rewrite clears.
    fn is_given(&self, state: &State) -> bool {
        state.armed.is_some() || state.freed.is_some_and(|at| self.before.frees.contains(&at))
    }

    /// A clear in padding before the instruction at a place, which is a call or a
    /// store.
    pub(super) fn clear_at_gift(
        &self,
        explorer: &mut Explorer<'_, '_>,
        function: &Function,
        pads: &mut Pads,
        place: u64,
    ) -> Result<Vec<Change>, Refusal> {
        let thunk = pads.next(5).ok_or(Refusal::NoPadding)?;
        let old = self.program.word(place).ok_or(Refusal::Unreadable)?.0;
        let (words, back, call) = match function.op(place) {
            Op::Call(target) | Op::Branch(target) => {
                let words = self.words(explorer, place, thunk, SCRATCH)?;
                (words, target, encode::relative(old, place, thunk))
            }
            Op::Store(_) => {
                let mut words = self.words(explorer, place, thunk, SCRATCH)?;
                has_scratch(function, place, &words)?;
                words.push(old);
                (words, place + 4, encode::jump(place, thunk))
            }
            _ => return Err(Refusal::IndirectBranch),
        };
        let mut changes = Vec::new();
        self.thunk(pads, words, back, &mut changes)?;
        let new = call.ok_or(Refusal::TooFar)?;
        changes.push(Change::word(self.program, place, old, new, EARLY)?);
        Ok(changes)
    }

    /// A branch to another target.
    pub(super) fn redirect(&self, branch: u64, target: u64) -> Result<Change, Refusal> {
        let old = self.program.word(branch).ok_or(Refusal::Unreadable)?.0;
        let new = encode::relative(old, branch, target).ok_or(Refusal::TooFar)?;
        Change::word(self.program, branch, old, new, EARLY)
    }

    /// The places that only paths come to that give the block away: the unlocks, or
    /// else the stores, or all unlocks; and the calls that free it.
    pub(super) fn gifts(&self, function: &Function) -> Vec<BTreeSet<u64>> {
        let own = |at: &u64| function.range.contains(at);
        let frees = self.before.frees_before(&self.before.all_late());
        let with_frees = |places: &BTreeSet<u64>| {
            let sites = self.before.sites_of(places.iter().chain(&frees));
            sites.into_iter().collect::<BTreeSet<u64>>()
        };
        let whole = |places: &BTreeSet<u64>| !places.is_empty() && places.iter().all(own);
        let locks = self.before.given_under.iter();
        let unlocks = locks.filter_map(|lock| self.before.unlocks.get(lock)).flatten();
        let unlocks: BTreeSet<u64> = unlocks.copied().collect();
        let mut places =
            [&self.before.armed, &self.before.gives, &unlocks].map(with_frees).to_vec();
        places.dedup();
        places.retain(whole);
        places
    }
}

/// The first of the instructions before a clear that only make its address, if control
/// comes to them together.
fn join_before(function: &Function, clear: u64) -> u64 {
    let mut at = clear;
    while !function.is_join(at) && clear - at < 4 * MAX_FEEDERS {
        let before = at - 4;
        match function.op(before) {
            Op::Constant { .. } | Op::Nop => {}
            Op::Load(access) if access.registers.1.is_none() && !access.place.writes_back() => {}
            Op::Add { flags: false, .. } => {}
            _ => break,
        }
        at = before;
    }
    if function.is_join(at) { at } else { clear }
}

/// The registers that instructions fill which only make an address.
fn written(function: &Function, from: u64, to: u64) -> u64 {
    let ops = (from..to).step_by(4).map(|at| function.op(at));
    ops.fold(0, |all, op| match op {
        Op::Constant { to, .. } | Op::Add { to, .. } => all | bit(to),
        Op::Load(access) => all | bit(access.registers.0),
        _ => all,
    })
}

/// Whether what several words overwrite is needed by nothing from a place on.
pub(super) fn has_scratch(function: &Function, at: u64, words: &[u32]) -> Result<(), Refusal> {
    // The second is used where the object's address is loaded first.
    let taken = bit(SCRATCH) | bit(material::SECOND_SCRATCH);
    match words.len() < 2 || function.live(at) & taken == 0 {
        true => Ok(()),
        false => Err(Refusal::NoMaterial),
    }
}
