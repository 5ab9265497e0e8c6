//! A block that is read from its field again after a function had the chance to pool it.
//!
//! `if (!put(pool, self->_impl)) free(self->_impl);` leaves no place for an earlier clear:
//! the function that pools the block does not know the field, and its caller needs the
//! field afterwards. So the caller keeps the block in a register that survives calls, that
//! it saves and restores and never uses: compilers save them in pairs, so there often is
//! one. Code in padding before the call fills it and clears the field. Each later load of
//! the field becomes a move, and the clears behind the call go.

use std::collections::{BTreeMap, BTreeSet};

use super::super::decode::{Access, Op, Operand, Place, SP, bit};
use super::super::explore::Explorer;
use super::super::function::{Function, registers};
use super::super::state::{Cell, State};
use super::super::value::{Atom, UNKNOWN, Value};
use super::padding::Pads;
use super::removal::{Removals, is_whole};
use super::{Attempt, Change, EARLY, NOP, Refusal, encode, material};

/// The registers that survive calls.
const SURVIVING: std::ops::RangeInclusive<u8> = 19..=28;

/// The register that code in padding may overwrite, for a call may as well.
const SCRATCH: u8 = 17;

/// The most words in padding before a call.
const MAX_WORDS: u64 = 5;

impl Attempt<'_, '_, '_> {
    /// The changes, with the block kept from the calls at these places on.
    pub(super) fn keep(
        &self,
        explorer: &mut Explorer<'_, '_>,
        places: &BTreeSet<u64>,
        removals: &Removals,
    ) -> Result<Vec<Change>, Refusal> {
        let function = explorer.function_at(self.entry).ok_or(Refusal::Unreadable)?;
        let spare = spare(&function).ok_or(Refusal::NoMaterial)?;
        let loads = function.ops.iter().enumerate().filter_map(|(index, op)| {
            matches!(op, Op::Load(_)).then_some(function.range.start + 4 * index as u64)
        });
        let watched: BTreeSet<u64> = loads.chain(places.iter().copied()).collect();
        let states = self.states_at(explorer, &watched);
        let mut pads = Pads::of(self.program);
        let mut changes = Vec::new();
        removals.write(self, &mut pads, &mut changes)?;
        for place in places {
            changes.extend(self.keep_at(
                explorer,
                &function,
                &mut pads,
                (*place, spare),
                &states,
            )?);
        }
        if changes.is_empty() {
            return Err(Refusal::NoMaterial);
        }
        for (at, states) in states.iter().filter(|(at, _)| !places.contains(at)) {
            if let Some(to) = self.is_read_later(explorer, function.op(*at), states)? {
                changes.push(self.replace(*at, encode::moved(to, spare))?);
            }
        }
        let behind = self.before.in_time.iter().filter(|at| function.range.contains(at));
        for at in behind {
            match function.op(*at) {
                Op::Store(access) if is_whole(access) => changes.push(self.replace(*at, NOP)?),
                _ => return Err(Refusal::OtherClear),
            }
        }
        Ok(changes)
    }

    fn states_at(
        &self,
        explorer: &mut Explorer<'_, '_>,
        places: &BTreeSet<u64>,
    ) -> BTreeMap<u64, Vec<State>> {
        explorer.probes.clear();
        explorer.probes.extend(places.iter().map(|at| (*at, Vec::new())));
        explorer.run(self.entry, Some(self.cell));
        explorer.probes.drain().collect()
    }

    /// The code before one call, if no lock was taken on the way there. Elsewhere the
    /// block is kept already.
    fn keep_at(
        &self,
        explorer: &mut Explorer<'_, '_>,
        function: &Function,
        pads: &mut Pads,
        (place, spare): (u64, u8),
        states: &BTreeMap<u64, Vec<State>>,
    ) -> Result<Vec<Change>, Refusal> {
        let states = states.get(&place).map_or(&[][..], Vec::as_slice);
        if states.iter().all(|state| state.locked) {
            return Ok(Vec::new());
        }
        let Op::Call(target) = function.op(place) else { return Err(Refusal::IndirectBranch) };
        let holds = |register: u8| {
            let block =
                |state: &State| explorer.values.atom_of(state.get(register)) == Some(Atom::Block);
            states.iter().all(|state| !state.locked && state.cell == Cell::Block && block(state))
        };
        let block = (0..8).find(|register| holds(*register)).ok_or(Refusal::NoMaterial)?;
        let thunk = pads.next(MAX_WORDS).ok_or(Refusal::NoPadding)?;
        let clear = material::clear(explorer, states, thunk + 4, SCRATCH);
        let mut words = vec![encode::moved(spare, block)];
        words.extend(clear.ok_or(Refusal::NoMaterial)?);
        let mut changes = Vec::new();
        let thunk = self.thunk(pads, words, target, &mut changes)?;
        let call = self.program.word(place).ok_or(Refusal::Unreadable)?.0;
        let new = encode::relative(call, place, thunk).ok_or(Refusal::TooFar)?;
        changes.push(Change::word(self.program, place, call, new, EARLY)?);
        Ok(changes)
    }

    /// Which register a load fills with the field after a lock was taken, if it does.
    fn is_read_later(
        &self,
        explorer: &mut Explorer<'_, '_>,
        op: Op,
        states: &[State],
    ) -> Result<Option<u8>, Refusal> {
        let Op::Load(access @ Access { registers: (to, None), size: 8, vector: false, .. }) = op
        else {
            return Ok(None);
        };
        let mut found = BTreeSet::new();
        for state in states {
            let read = address(explorer, state, access.place) == self.cell;
            found.insert(read && state.locked && state.cell == Cell::Block);
        }
        match (found.contains(&true), found.contains(&false)) {
            (true, false) if !access.place.writes_back() => Ok(Some(to)),
            (true, _) => Err(Refusal::NoMaterial),
            (false, _) => Ok(None),
        }
    }
}

fn address(explorer: &mut Explorer<'_, '_>, state: &State, place: Place) -> Value {
    match place {
        Place::Offset(base, distance) => explorer.values.plus(state.get(base), distance as u64),
        Place::Indexed(base, Operand::Shifted(index, 0)) => {
            explorer.values.sum(state.get(base), state.get(index)).unwrap_or(UNKNOWN)
        }
        _ => UNKNOWN,
    }
}

/// A register that survives calls and that the function only saves and restores.
fn spare(function: &Function) -> Option<u8> {
    SURVIVING.rev().find(|register| {
        let named = |op: &&Op| {
            let (written, read) = registers(**op);
            (written | read) & bit(*register) != 0
        };
        let in_frame = |op: &Op| match op {
            Op::Load(access) | Op::Store(access) => access.place.base() == Some(SP),
            _ => false,
        };
        let mut uses = function.ops.iter().filter(named);
        matches!(uses.next(), Some(first @ Op::Store(_)) if in_frame(first)) && uses.all(in_frame)
    })
}
