//! Stores that cover more than a register: of vectors, and by functions that fill memory.
//!
//! A structure of an object is cleared as a whole in this way, and a field with it. What
//! is zero is stored piece by piece, so that the cell is cleared where a piece is the cell.

use super::events::{Filled, Reason};
use super::explore::Explorer;
use super::state::{Cell, State};
use super::value::{Atom, NULL, UNKNOWN, Value};

/// The most bytes that are filled at once and told apart.
const MAX_FILLED: u64 = 1024;

impl Explorer<'_, '_> {
    /// Memory is filled, from where the first argument points to.
    pub(super) fn fill(&mut self, state: &mut State, at: u64, byte: Value, count: Value) {
        let address = state.get(0);
        if self.values.has(address, Atom::Block) && !state.locked && state.cell == Cell::Block {
            self.notes.used_early = true;
        }
        if address == UNKNOWN {
            let may_clear = !state.held.is_empty() && state.cell == Cell::Block;
            if may_clear && self.cell.is_some() {
                self.refuse(at, Reason::NullStoredSomewhere);
            }
            return;
        }
        if self.values.has(address, Atom::Stack) {
            return;
        }
        let bytes = self.values.constant_of(count).filter(|bytes| *bytes <= MAX_FILLED);
        match (byte, bytes) {
            (NULL, Some(bytes)) => self.store_zeroes(state, at, address, bytes),
            _ => self.fill_unknown(at, address, bytes),
        }
    }

    /// The same, where it is not known how much is filled, or with what.
    fn fill_unknown(&mut self, at: u64, address: Value, bytes: Option<u64>) {
        if let Some(cell) = self.cell {
            let reached = self.values.distance(address, cell).is_some_and(|distance| {
                distance > -8 && bytes.is_none_or(|bytes| distance < bytes as i64)
            });
            if reached {
                self.refuse(at, Reason::CellPassed);
            }
            return;
        }
        for offset in (0..bytes.unwrap_or(MAX_FILLED)).step_by(8) {
            let piece = self.values.plus(address, offset);
            self.notes.nulls.entry(piece).or_insert(at);
        }
    }

    /// Zeroes are stored to a range of memory, in pieces of eight bytes, one of which is
    /// the cell if that lies in the range.
    pub(super) fn store_zeroes(&mut self, state: &mut State, at: u64, address: Value, bytes: u64) {
        let mut offset = 0;
        let mut piece = 8;
        if let Some(before) = self.whole_cell_in(address, bytes) {
            let filled = Filled { before, bytes };
            let known = self.notes.filled.entry(at).or_insert(Some(filled));
            *known = known.filter(|known| *known == filled);
            piece = if before % 8 == 0 { 8 } else { before % 8 };
        }
        while offset < bytes {
            let size = piece.min(bytes - offset);
            let place = self.values.plus(address, offset);
            self.store_one(state, at, place, size as u8, NULL);
            (offset, piece) = (offset + size, 8);
        }
    }

    /// How far into a range of memory the cell begins, if all of it lies there.
    fn whole_cell_in(&self, address: Value, bytes: u64) -> Option<u64> {
        let before = u64::try_from(self.values.distance(address, self.cell?)?).ok()?;
        (before.checked_add(8)? <= bytes).then_some(before)
    }

    /// A store of a vector register of which nothing is known.
    pub(super) fn store_unknown(&mut self, state: &mut State, at: u64, address: Value, size: i64) {
        if let [Atom::Stack] = self.values.atoms(address) {
            let from = self.values.addend(address) as i64;
            state.drop_slots(from, from + size);
        } else if self.touches_cell(address, size) {
            self.refuse(at, Reason::PartialAccess);
        } else if self.cell.is_none() && address != UNKNOWN {
            // Looking for cells: what it stores may be null.
            for offset in (0..size as u64).step_by(4) {
                let piece = self.values.plus(address, offset);
                self.notes.nulls.entry(piece).or_insert(at);
            }
        }
    }
}
