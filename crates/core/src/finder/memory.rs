//! Loads and stores: the cell, the stack, and everything else.

use super::decode::{Access, Op, Place, bit};
use super::events::{GivenTo, Reason, Witness};
use super::explore::{Explorer, TableLoad};
use super::state::{Cell, State};
use super::story::Happening;
use super::value::{Atom, NULL, Tag, UNKNOWN, Value};

use crate::address::VmAddr;

impl Explorer<'_, '_> {
    /// The address of an access; the base register changes where it is written back.
    pub(super) fn address(&mut self, state: &mut State, at: u64, place: Place) -> Value {
        match place {
            Place::Literal(address) => self.values.constant(address),
            Place::Offset(base, distance) => self.values.plus(state.get(base), distance as u64),
            Place::Before(base, distance) => {
                let address = self.values.plus(state.get(base), distance as u64);
                state.set(base, address);
                address
            }
            Place::After(base, distance) => {
                let address = state.get(base);
                let next = self.values.plus(address, distance as u64);
                state.set(base, next);
                address
            }
            Place::Indexed(base, by) => {
                let index = self.operand(state, at, by, true);
                let base = state.get(base);
                self.values.sum(base, index).unwrap_or(UNKNOWN)
            }
        }
    }

    /// Executes a load; `false` if the path cannot go on.
    pub(super) fn load(&mut self, state: &mut State, at: u64, access: Access) -> bool {
        let address = self.address(state, at, access.place);
        if self.tell_of_crash(state, at, address) {
            return false;
        }
        if self.values.has(address, Atom::Block) {
            self.tell_of_use(state, at);
        }
        if access.vector {
            let (first, second) = access.registers;
            match access.size {
                // Of a structure it is not told which registers it fills.
                ..=16 => [Some(first), second].into_iter().flatten().for_each(|register| {
                    state.set_vector(register, false);
                }),
                _ => state.zeroed = 0,
            }
            return true;
        }
        self.note_table(at, address, access);
        let size = i64::from(access.size);
        let (first, second) = access.registers;
        let value = self.loaded(state, at, address, access, first, Tag::Wide);
        // The second is looked at before the first is set: what this instruction made is
        // forgotten when it makes something again.
        let other = second.map(|second| {
            let address = self.values.plus(address, size as u64);
            (second, address, self.loaded(state, at, address, access, second, Tag::Second))
        });
        self.set_loaded(state, at, address, access, first, value);
        if let Some((second, address, value)) = other {
            self.set_loaded(state, at, address, access, second, value);
        }
        !self.again
    }

    fn set_loaded(
        &mut self,
        state: &mut State,
        at: u64,
        address: Value,
        access: Access,
        to: u8,
        value: Value,
    ) {
        state.set(to, value);
        if Some(address) == self.cell && access.size == 8 {
            self.tell_of_read(state, at, state.cell, to);
        }
    }

    /// Remembers a load from constant data, in case a jump follows.
    fn note_table(&mut self, at: u64, address: Value, access: Access) {
        if let (Place::Indexed(_, _), [Atom::Fresh(..)]) =
            (access.place, self.values.atoms(address))
        {
            let table = self.values.addend(address);
            let load = TableLoad { table, size: access.size, signed: access.signed };
            self.tables.insert(at, load);
        }
    }

    fn loaded(
        &mut self,
        state: &mut State,
        at: u64,
        address: Value,
        access: Access,
        to: u8,
        tag: Tag,
    ) -> Value {
        if let [Atom::Stack] = self.values.atoms(address) {
            return self.load_slot(state, at, address, access, to, tag);
        }
        if let Some(cell) = self.cell
            && let Some(distance) = self.values.distance(cell, address)
            && distance < 8
            && distance + i64::from(access.size) > 0
        {
            if distance == 0 && access.size == 8 {
                return self.load_cell(state, at, tag);
            }
            self.refuse(at, Reason::PartialAccess);
        }
        match access.size {
            8 if !self.written.contains(&address) => match self.values.load(address) {
                Some(value) => value,
                None => self.fresh(state, at, tag),
            },
            4 if self.is_offset(address) => {
                let cell = self.offset_cell(address);
                self.values.atom(Atom::Offset(cell))
            }
            8 => self.fresh(state, at, tag),
            _ if access.signed => self.fresh(state, at, tag),
            _ if tag == Tag::Second => self.fresh(state, at, tag),
            _ => self.fresh(state, at, Tag::Narrow),
        }
    }

    /// The cell of an instance variable's offset, by the address it is read from.
    fn offset_cell(&self, address: Value) -> u64 {
        match (self.values.constant_of(address), self.values.atom_of(address)) {
            (Some(cell), _) => cell,
            (None, Some(Atom::Load(pointer))) => self.values.constant_of(pointer).unwrap_or(0),
            _ => 0,
        }
    }

    fn is_offset(&self, address: Value) -> bool {
        let cell = self.offset_cell(address);
        cell != 0 && self.program.is_offset_cell(cell)
    }

    fn load_slot(
        &mut self,
        state: &mut State,
        at: u64,
        address: Value,
        access: Access,
        to: u8,
        tag: Tag,
    ) -> Value {
        let offset = self.values.addend(address) as i64;
        if let Some(value) = state.slot(offset, access.size) {
            return value;
        }
        if self.live(at + 4) & bit(to) != 0 && self.tracked.insert((offset, access.size)) {
            self.again = true;
        }
        self.fresh(state, at, tag)
    }

    fn load_cell(&mut self, state: &mut State, at: u64, tag: Tag) -> Value {
        match state.cell {
            Cell::Block => {
                state.reread = !state.held.is_empty();
                self.values.atom(Atom::Block)
            }
            Cell::Null | Cell::Cleared => {
                if state.cell == Cell::Cleared {
                    self.notes.reloads.insert(at);
                }
                NULL
            }
            Cell::Other => self.fresh(state, at, tag),
        }
    }

    /// Executes a store; `false` if the path cannot go on.
    pub(super) fn store(&mut self, state: &mut State, at: u64, access: Access) -> bool {
        let address = self.address(state, at, access.place);
        if self.tell_of_crash(state, at, address) {
            return false;
        }
        if self.values.has(address, Atom::Block) {
            self.tell_of_use(state, at);
        }
        let size = access.size;
        let (first, second) = access.registers;
        if access.vector {
            let both = if second.is_some() { 2 } else { 1 };
            let bytes = u64::from(size) * both;
            let zero = size <= 16
                && state.is_zeroed(first)
                && second.is_none_or(|second| state.is_zeroed(second));
            match zero {
                true => self.store_zeroes(state, at, address, bytes),
                false => self.store_unknown(state, at, address, bytes as i64),
            }
            return !self.again;
        }
        let value = state.get(first);
        if second.is_some() && self.touches_cell(address, 16) {
            self.notes.halves.insert(at, u8::from(Some(address) != self.cell));
        }
        self.store_one(state, at, address, size, value);
        if let Some(second) = second {
            let address = self.values.plus(address, size.into());
            let value = state.get(second);
            self.store_one(state, at, address, size, value);
        }
        !self.again
    }

    pub(super) fn touches_cell(&self, address: Value, size: i64) -> bool {
        let distance = self.cell.and_then(|cell| self.values.distance(cell, address));
        distance.is_some_and(|distance| distance < 8 && distance + size > 0)
    }

    /// Stores one register.
    pub(super) fn store_one(
        &mut self,
        state: &mut State,
        at: u64,
        address: Value,
        size: u8,
        value: Value,
    ) {
        if let [Atom::Stack] = self.values.atoms(address) {
            let offset = self.values.addend(address) as i64;
            state.drop_slots(offset, offset + i64::from(size));
            if self.tracked.contains(&(offset, size)) {
                state.put_slot((offset, size, value));
            }
            return;
        }
        if self.values.has(address, Atom::Stack) {
            let (values, saved) =
                (&self.values, |atom| matches!(atom, Some(Atom::Saved(_) | Atom::Return)));
            state.slots.iter_mut().filter(|slot| !saved(values.atom_of(slot.2))).for_each(|slot| {
                if value != slot.2 {
                    slot.2 = UNKNOWN;
                }
            });
        }
        if Some(address) == self.cell && size == 8 {
            return self.store_cell(state, at, value);
        }
        if self.touches_cell(address, size.into()) {
            return self.refuse(at, Reason::PartialAccess);
        }
        if size == 8 {
            self.store_elsewhere(state, at, address, value);
        }
        self.note_computed(state, at, address, value);
        if !state.locked && state.cell == Cell::Block && self.values.has(address, Atom::Block) {
            self.notes.used_early = true;
        }
    }

    fn store_cell(&mut self, state: &mut State, at: u64, value: Value) {
        match value {
            NULL if state.cell == Cell::Null => self.tell(state, at, Happening::Cleared),
            NULL => self.clear(state, at),
            _ if self.values.atom_of(value) == Some(Atom::Block) => state.cell = Cell::Block,
            _ => state.cell = Cell::Other,
        }
    }

    /// Null is stored to the cell.
    pub(super) fn clear(&mut self, state: &mut State, at: u64) {
        state.clears = (state.clears + 1).min(2);
        self.note_site(state, at);
        let was_set = state.cell == Cell::Block;
        if was_set && state.armed.is_none() && state.given.is_some_and(|given| given.loosened) {
            self.refuse(at, Reason::TwoLocks);
        }
        self.notes.freed_while_set |= was_set && state.freed.is_some();
        if let Some(freed) = state.freed.filter(|_| was_set) {
            self.notes.cleared_behind.entry(freed).or_default().insert(at);
        }
        match (state.armed, state.freed, state.dropped) {
            (Some((given, unlocked)), ..) if was_set => {
                if !self.notes.late.contains_key(&at) {
                    let witness = self.witness(GivenTo::Pool, given, unlocked, at);
                    self.notes.late.insert(at, witness);
                }
            }
            (None, Some(freed), Some(unlocked)) if was_set => {
                if !self.notes.late_freed.contains_key(&at) {
                    let witness = self.witness(GivenTo::Allocator, freed, unlocked, at);
                    self.notes.late_freed.insert(at, witness);
                }
            }
            _ => {
                self.notes.in_time.insert(at);
            }
        }
        state.cell = Cell::Cleared;
        self.tell(state, at, Happening::Cleared);
    }

    fn witness(&self, given_to: GivenTo, given: u64, unlocked: u64, cleared: u64) -> Witness {
        let [given, unlocked, cleared] = [given, unlocked, cleared].map(VmAddr);
        Witness { given_to, given, unlocked, cleared, path: self.path() }
    }

    /// Executes an atomic operation.
    pub(super) fn atomic(&mut self, mut state: State, at: u64, op: Op, out: &mut Vec<State>) {
        let (Op::Swap { base, size, .. }
        | Op::Atomic { base, size, .. }
        | Op::StoreExclusive { base, size, .. }) = op
        else {
            return;
        };
        let address = state.get(base);
        let cell = self.touches_cell(address, size.into());
        match op {
            Op::Swap { from, to, .. } => {
                let value = state.get(from);
                if cell && (value != NULL || size != 8) {
                    return self.refuse(at, Reason::AtomicAccess);
                }
                let old = match cell {
                    true => self.load_cell(&mut state, at, Tag::Wide),
                    // Looking for cells, they are told by their address.
                    false if self.cell.is_none() && size == 8 => {
                        self.values.load(address).unwrap_or(UNKNOWN)
                    }
                    false => self.fresh(&mut state, at, Tag::Wide),
                };
                let before = state.cell;
                self.store_one(&mut state, at, address, size, value);
                // Taken in one step, so no other thread gets the same block.
                state.reread |= cell;
                state.set(to, old);
                if cell {
                    self.tell_of_read(&mut state, at, before, to);
                    out.extend(self.take_twins());
                }
            }
            Op::Atomic { to, from, .. } => {
                if cell {
                    return self.refuse(at, Reason::AtomicAccess);
                }
                if self.values.has(state.get(from), Atom::Block) {
                    self.refuse(at, Reason::BlockStoredUnlocked);
                }
                let old = self.fresh(&mut state, at, Tag::Wide);
                state.set(to, old);
            }
            Op::StoreExclusive { status, from, .. } => {
                let value = state.get(from);
                if cell && (value != NULL || size != 8) {
                    return self.refuse(at, Reason::AtomicAccess);
                }
                let mut failed = state.clone();
                let one = self.values.constant(1);
                failed.set(status, one);
                out.push(failed);
                self.store_one(&mut state, at, address, size, value);
                state.set(status, NULL);
                state.reread |= cell;
            }
            _ => {}
        }
        out.push(state);
    }
}
