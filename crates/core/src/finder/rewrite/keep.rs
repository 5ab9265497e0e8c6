//! A block that is read from its field again after a function had the chance to pool it.
//!
//! `if (!put(pool, self->_impl)) free(self->_impl);` leaves no place for an earlier clear:
//! the function that pools the block does not know the field, and its caller needs the
//! field afterwards. So the caller keeps the block in a register that survives calls, that
//! it saves and restores and never uses: compilers save them in pairs, so there often is
//! one. Code in padding before the call fills it and clears the field. Each later load of
//! the field becomes a move, and the clears behind the call go.

use std::collections::BTreeSet;

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
        let order = Order::of(&function, places)?;
        let loads = function.placed().filter(|(_, op)| matches!(op, Op::Load(_)));
        let watched = loads.map(|(at, _)| at).chain(places.iter().copied());
        let states = self.states_at(explorer, watched);
        let mut pads = Pads::of(self.program);
        let mut changes = Vec::new();
        removals.write(self, &mut pads, &mut changes)?;
        for place in places {
            let Op::Call(target) = function.op(*place) else {
                return Err(Refusal::IndirectBranch);
            };
            // Behind another call the block is kept already.
            if !order.is_behind(*place)? {
                let states = states.get(place).map_or(&[][..], Vec::as_slice);
                let call = (*place, target, spare);
                changes.extend(self.keep_at(explorer, &mut pads, call, states)?);
            }
        }
        for (at, states) in states.iter().filter(|(at, _)| !places.contains(at)) {
            if let Some(to) = self.is_read(explorer, function.op(*at), states)?
                && order.is_behind(*at)?
            {
                changes.push(self.replace(*at, encode::moved(to, spare))?);
            }
        }
        for at in self.before.in_time.iter().filter(|at| function.range.contains(at)) {
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

/// Which instructions come behind some calls.
struct Order {
    start: u64,
    /// Whether control comes there without one of the calls, and through one.
    ways: Vec<(bool, bool)>,
}

impl Order {
    fn of(function: &Function, calls: &BTreeSet<u64>) -> Result<Order, Refusal> {
        let range = function.range.clone();
        let mut ways = vec![(false, false); function.ops.len()];
        let pads = function.sites.iter().filter_map(|site| Some((site.pad?.0, true)));
        let mut open: Vec<(u64, bool)> = pads.chain([(range.start, false)]).collect();
        while let Some((at, behind)) = open.pop() {
            if !range.contains(&at) {
                continue;
            }
            let way = &mut ways[((at - range.start) / 4) as usize];
            let known = if behind { &mut way.1 } else { &mut way.0 };
            if std::mem::replace(known, true) {
                continue;
            }
            let (falls, target) = match function.op(at) {
                Op::Jump(_) => return Err(Refusal::IndirectBranch),
                Op::Return(_) | Op::Trap | Op::Unknown => (false, None),
                Op::Branch(target) => (false, Some(target)),
                Op::BranchIf { target, .. }
                | Op::BranchZero { target, .. }
                | Op::BranchBit { target, .. } => (true, Some(target)),
                _ => (true, None),
            };
            let falls = falls.then_some((at + 4, behind || calls.contains(&at)));
            open.extend(falls.into_iter().chain(target.map(|target| (target, behind))));
        }
        Ok(Order { start: range.start, ways })
    }

    /// Whether control comes to an instruction only through a call.
    fn is_behind(&self, at: u64) -> Result<bool, Refusal> {
        match self.ways.get(((at - self.start) / 4) as usize) {
            Some((true, true)) => Err(Refusal::NoMaterial),
            Some((_, behind)) => Ok(*behind),
            None => Ok(false),
        }
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
