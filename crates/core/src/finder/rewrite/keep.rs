//! A block that is read from its field again after a function had the chance to pool it.
//!
//! `if (!put(pool, self->_impl)) free(self->_impl);` leaves no place for an earlier clear:
//! the function that pools the block does not know the field, and its caller needs the
//! field afterwards. So the caller keeps the block in a register that survives calls, that
//! it saves and restores and does not need between the call and the loads: compilers save
//! registers in pairs, so there often is one. Code in padding before the call fills it and
//! clears the field. Each later load of the field becomes a move, and the clears behind the
//! call go. Where the function then needs the register, the block moves on to one that it
//! does not, which calls need not keep any more.

mod spare;

use std::collections::BTreeSet;

use super::super::decode::{Access, Op, Operand, Place};
use super::super::explore::Explorer;
use super::super::state::{Cell, State};
use super::super::value::{Atom, UNKNOWN, Value};
use super::padding::Pads;
use super::removal::{Removals, is_whole};
use super::{Attempt, Change, EARLY, NOP, Refusal, encode, material};
use spare::{Order, Spare};

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
        tells_apart: bool,
    ) -> Result<Vec<Change>, Refusal> {
        let function = explorer.function_at(self.entry).ok_or(Refusal::Unreadable)?;
        let order = Order::of(&function, places)?;
        let loads = function.placed().filter(|(_, op)| matches!(op, Op::Load(_)));
        let watched = loads.map(|(at, _)| at).chain(places.iter().copied());
        let states = self.states_at(explorer, watched);
        let mut reads = Vec::new();
        for (at, states) in states.iter().filter(|(at, _)| !places.contains(at)) {
            if let Some(to) = self.is_read(explorer, function.op(*at), states)?
                && order.is_behind(*at)?
            {
                reads.push((*at, to));
            }
        }
        let spare = Spare::of(&function, &order, places, &reads).ok_or(Refusal::NoMaterial)?;
        let mut pads = Pads::of(self.program);
        let mut changes = Vec::new();
        match tells_apart {
            // Paths that do not come through the calls may need the clear.
            true => self.drop_clears(explorer, &mut pads, removals, true, &mut changes)?,
            false => removals.write(self, &mut pads, &mut changes)?,
        }
        for place in places {
            let Op::Call(target) = function.op(*place) else {
                return Err(Refusal::IndirectBranch);
            };
            // Behind another call the block is kept already.
            if !order.is_behind(*place)? {
                let states = states.get(place).map_or(&[][..], Vec::as_slice);
                let call = (*place, target, spare.register);
                changes.extend(self.keep_at(explorer, &mut pads, call, states)?);
            }
        }
        let mut from = spare.register;
        if let Some((at, register)) = spare.moves {
            let move_on = vec![encode::moved(register, from), self.word(at)?];
            let thunk = self.thunk(&mut pads, move_on, at + 4, &mut changes)?;
            changes.push(self.replace(at, encode::jump(at, thunk).ok_or(Refusal::TooFar)?)?);
            from = register;
        }
        for (at, to) in reads {
            changes.push(self.replace(at, encode::moved(to, from))?);
        }
        let late = self.before.all_late();
        let in_time = self.before.in_time.iter().filter(|at| !late.contains_key(at));
        for at in in_time.filter(|at| function.range.contains(at)) {
            if !order.is_behind(*at)? {
                continue;
            }
            match function.op(*at) {
                Op::Store(access) if is_whole(access) => changes.push(self.replace(*at, NOP)?),
                _ => return Err(Refusal::OtherClear),
            }
        }
        Ok(changes)
    }

    fn word(&self, at: u64) -> Result<u32, Refusal> {
        Ok(self.program.word(at).ok_or(Refusal::Unreadable)?.0)
    }

    /// The code before one call.
    fn keep_at(
        &self,
        explorer: &mut Explorer<'_, '_>,
        pads: &mut Pads,
        (place, target, spare): (u64, u64, u8),
        states: &[State],
    ) -> Result<Vec<Change>, Refusal> {
        let holds = |register: u8| {
            let block =
                |state: &State| explorer.values.atom_of(state.get(register)) == Some(Atom::Block);
            states.iter().all(|state| state.cell == Cell::Block && block(state))
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

    /// Which register a load fills with the field, if it does.
    fn is_read(
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
            found.insert(read && state.cell == Cell::Block);
        }
        match (found.contains(&true), found.contains(&false)) {
            (true, false) if access.place.writes_back() => Err(Refusal::NoMaterial),
            (true, false) => Ok(Some(to)),
            (true, true) => Err(Refusal::NoMaterial),
            _ => Ok(None),
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
