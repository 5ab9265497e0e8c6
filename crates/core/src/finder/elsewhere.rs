//! Stores to memory that is neither the stack nor the cell: by these a block is given back,
//! and by some it may be, as where its place in an array is stored.

use super::events::Reason;
use super::explore::Explorer;
use super::state::{Cell, Given, State};
use super::story::Happening;
use super::value::{Atom, NULL, Tag, UNKNOWN, Value};

impl Explorer<'_, '_> {
    /// An 8-byte store that is neither to the stack nor to the cell.
    pub(super) fn store_elsewhere(
        &mut self,
        state: &mut State,
        at: u64,
        address: Value,
        value: Value,
    ) {
        let under_lock = !state.held.is_empty();
        if self.cell.is_none() {
            if value == NULL && address != UNKNOWN {
                self.notes.nulls.entry(address).or_insert(at);
            }
            if under_lock {
                self.note_moved(value, true);
            }
        }
        // Loads that were taken for equal may differ. Looking for cells, they are
        // still told by their address.
        if self.cell.is_some()
            && address != UNKNOWN
            && self.values.load(address).is_some()
            && self.written.insert(address)
        {
            self.stale = true;
        }
        let own = self.object().is_some_and(|object| self.values.has(address, object));
        if self.values.has(value, Atom::Block) {
            return self.store_block(state, at, own);
        }
        if value == NULL {
            self.tell_of_null(state, at);
        }
        if under_lock && value == NULL && address == UNKNOWN && state.cell == Cell::Block {
            self.refuse(at, Reason::NullStoredSomewhere);
        }
        if under_lock && !own && !self.counts(address, value) {
            self.store_unclear(at, value);
        }
    }

    /// Whether a value is what stands at an address, more or less by half a pointer at most:
    /// a counter, not a block.
    fn counts(&mut self, address: Value, value: Value) -> bool {
        let Some(Atom::Fresh(made, Tag::Wide)) = self.values.atom_of(value) else { return false };
        let Some((a, b)) = self.sums.get(&made).copied().flatten() else { return false };
        let old = self.values.load(address);
        old.is_some_and(|old| {
            a == old && self.values.is_narrow(b) || b == old && self.values.is_narrow(a)
        })
    }

    /// A store under a lock of a value that is not the block, as far as is known.
    fn store_unclear(&mut self, at: u64, value: Value) {
        let made = self.values.atoms(value).iter().copied();
        let tags: Vec<Tag> = made
            .filter_map(|atom| match atom {
                Atom::Fresh(_, tag) => Some(tag),
                _ => None,
            })
            .collect();
        if value == UNKNOWN || tags.contains(&Tag::Result) {
            self.refuse(at, Reason::UnknownStored);
        } else if tags.iter().any(|tag| *tag != Tag::Narrow) {
            self.notes.computed.insert(at);
        }
    }

    /// The object that the cell is a field of.
    pub(super) fn object(&self) -> Option<Atom> {
        let atoms = self.values.atoms(self.cell?);
        atoms.iter().copied().find(|atom| !matches!(atom, Atom::Offset(_)))
    }

    fn store_block(&mut self, state: &mut State, at: u64, own: bool) {
        match (own, state.held.is_empty()) {
            (true, true) => {}
            (true, false) => self.refuse(at, Reason::BlockKept),
            (false, true) => self.refuse(at, Reason::BlockStoredUnlocked),
            (false, false) => {
                self.notes.gives.insert(at);
                self.note_site(state, at);
                // Of several locks the one that was taken last.
                self.notes.given_under.extend(state.held.last().copied());
                self.notes.read_early |= !state.reread;
                state.given = Some(Given { at, loosened: false });
                state.around.clone_from(&state.held);
                self.tell(state, at, Happening::Pushed);
            }
        }
    }

    /// A number is stored under a lock that was computed from what was loaded whole.
    pub(super) fn note_computed(&mut self, state: &State, at: u64, address: Value, value: Value) {
        if self.cell.is_some() || state.held.is_empty() {
            return;
        }
        let computed = matches!(self.values.atom_of(value), Some(Atom::Fresh(..)));
        // What counts up or down where it stands cannot be one.
        for root in self.roots_of(value).into_iter().filter(|root| computed && *root != address) {
            self.notes.computed_from.entry(root).or_insert(at);
        }
    }
}
