//! Calls: locks, functions of other images, and functions of this one, which are
//! followed as if they stood where they are called.

use super::events::Reason;
use super::explore::{Explorer, MAX_CALL_DEPTH};
use super::function::Function;
use super::meaning::{Meaning, known, meaning};
use super::state::{Cell, Flags, State};
use super::story::Happening;
use super::value::{Atom, NULL, UNKNOWN, Value};
use super::worth::{MAX_SHORT_DEPTH, Worth};

impl Explorer<'_, '_> {
    /// `bl`
    pub(super) fn call(
        &mut self,
        mut state: State,
        at: u64,
        target: u64,
        function: Option<&Function>,
        out: &mut Vec<State>,
    ) {
        if self.program.word(target).is_none() {
            return self.refuse(at, Reason::CallUnresolved);
        }
        let back = self.values.constant(at + 4);
        state.set(30, back);
        if let Some(pad) = function.and_then(|function| function.pad(at))
            && !matches!(
                self.program.stub(target).map(meaning),
                Some(Meaning::Unlock | Meaning::Lock)
            )
        {
            let mut thrown = state.clone();
            self.clobber(&mut thrown, at);
            thrown.at = pad;
            out.push(thrown);
        }
        if let Some(name) = self.foreign(target) {
            state.at = at + 4;
            return self.external(state, at, name, out);
        }
        match self.worth(target) {
            worth
                if worth == Worth::Followed
                    || worth == Worth::Short && state.depth < MAX_SHORT_DEPTH =>
            {
                if state.depth >= MAX_CALL_DEPTH {
                    return self.refuse(at, Reason::TooDeep);
                }
                if state.depth == 0 {
                    (state.through, state.site) = (target, at);
                }
                state.depth += 1;
                state.at = target;
                out.push(state);
            }
            worth => {
                self.note_passed(&state, at, worth);
                state.at = at + 4;
                self.external(state, at, "", out);
            }
        }
    }

    /// What is left open where a function is passed over that may take locks.
    fn note_passed(&mut self, state: &State, at: u64, worth: Worth) {
        if worth == Worth::Passed {
            return;
        }
        if !state.held.is_empty() {
            self.refuse(at, Reason::CallNotFollowed);
        }
        // Looking for cells, the first argument is the object.
        let object = self.object().or(Some(Atom::Argument(0)));
        for register in 0..8 {
            let value = state.get(register);
            if object.is_some_and(|object| self.values.has(value, object)) {
                self.notes.object_passed.insert(at);
            } else if self.values.has(value, Atom::Block) || self.values.has_load(value) {
                self.notes.block_passed.insert(at);
            }
        }
    }

    /// `b` out of the function.
    pub(super) fn tail_call(
        &mut self,
        mut state: State,
        at: u64,
        target: u64,
        out: &mut Vec<State>,
    ) {
        if self.program.word(target).is_none() {
            return self.refuse(at, Reason::BranchUnresolved);
        }
        if let Some(name) = self.foreign(target) {
            return self.external_tail(state, at, name, out);
        }
        let start = self.program.starts().binary_search(&target).is_ok();
        let worth = if start { self.worth(target) } else { Worth::Followed };
        if worth == Worth::Followed || worth == Worth::Short && state.depth < MAX_SHORT_DEPTH {
            if start && state.depth == 0 && state.through == 0 {
                (state.through, state.site) = (target, at);
            }
            state.at = target;
            return out.push(state);
        }
        self.note_passed(&state, at, worth);
        self.external_tail(state, at, "", out);
    }

    /// `blr`
    pub(super) fn call_register(
        &mut self,
        state: State,
        at: u64,
        register: u8,
        function: Option<&Function>,
        out: &mut Vec<State>,
    ) {
        let value = state.get(register);
        if let Some(target) = self.values.constant_of(value)
            && self.program.word(target).is_some()
        {
            return self.call(state, at, target, function, out);
        }
        let mut state = state;
        let name = self.imported(value);
        if name.is_none() && !self.is_imported(value) {
            self.refuse(at, Reason::CallUnresolved);
        }
        let back = self.values.constant(at + 4);
        state.set(30, back);
        state.at = at + 4;
        self.external(state, at, name.unwrap_or(""), out);
    }

    fn is_imported(&self, value: Value) -> bool {
        let Some(Atom::Load(cell)) = self.values.atom_of(value) else { return false };
        let cell = self.values.constant_of(cell);
        cell.is_some_and(|cell| self.program.pointer(cell).is_some())
    }

    /// A call of another image in place of a return.
    pub(super) fn external_tail(
        &mut self,
        state: State,
        at: u64,
        name: &'static str,
        out: &mut Vec<State>,
    ) {
        let mut after = Vec::new();
        let back = state.get(30);
        self.external(state, at, name, &mut after);
        for mut state in after {
            state.set(30, back);
            self.go_back(state, at, 30, out);
        }
    }

    /// The name of the function of another image at an address; empty if it is one
    /// of those that are not known, none if the address is code of this image.
    fn foreign(&self, target: u64) -> Option<&'static str> {
        match self.program.stub(target) {
            Some(name) => Some(known(name)),
            None if self.program.text().contains(&target) => None,
            None if self.program.is_padding(target) => None,
            None => Some(""),
        }
    }

    /// Executes a function that is not seen.
    fn external(&mut self, mut state: State, at: u64, name: &str, out: &mut Vec<State>) {
        let argument = state.get(0);
        match meaning(name) {
            Meaning::Ends => return,
            Meaning::Lock => {
                self.lock(&mut state, at, argument);
                self.clobber(&mut state, at);
            }
            Meaning::TryLock(taken) => {
                let mut without = state.clone();
                self.lock(&mut state, at, argument);
                self.clobber(&mut state, at);
                self.clobber(&mut without, at);
                let (yes, no) = (self.values.constant(taken), self.values.constant(1 - taken));
                state.set(0, yes);
                without.set(0, no);
                out.push(without);
            }
            Meaning::Unlock => {
                self.unlock(&mut state, at, argument);
                self.clobber(&mut state, at);
            }
            Meaning::Same => {
                self.clobber(&mut state, at);
                state.set(0, argument);
            }
            Meaning::Fills(byte, count) => {
                self.note_block(&mut state, at, Meaning::Plain);
                let byte = byte.map_or(NULL, |register| state.get(register));
                let count = state.get(count);
                self.fill(&mut state, at, byte, count);
                self.clobber(&mut state, at);
                if self.again {
                    return;
                }
                state.set(0, argument);
            }
            meaning @ (Meaning::Plain | Meaning::Frees | Meaning::Opaque) => {
                self.note_block(&mut state, at, meaning);
                self.pass(&mut state, at, meaning != Meaning::Opaque);
                self.clobber(&mut state, at);
            }
        }
        out.push(state);
    }

    /// What becomes of the block in a function that is not seen.
    fn note_block(&mut self, state: &mut State, at: u64, meaning: Meaning) {
        if meaning == Meaning::Frees && self.values.atom_of(state.get(0)) == Some(Atom::Block) {
            if state.cell == Cell::Block && state.held.is_empty() {
                state.freed = Some(at);
                self.notes.frees.insert(at);
                self.note_site(state, at);
            }
            return self.tell(state, at, Happening::Freed);
        }
        if (0..8).any(|register| self.values.has(state.get(register), Atom::Block)) {
            match state.locked && meaning == Meaning::Opaque {
                true => self.tell(state, at, Happening::Passed),
                false => self.tell_of_use(state, at),
            }
        }
    }

    /// Notes where the function executes an instruction.
    pub(super) fn note_site(&mut self, state: &State, at: u64) {
        self.notes.sites.entry(at).or_default().insert(state.site_of(at));
    }

    fn lock(&mut self, state: &mut State, at: u64, lock: Value) {
        if lock == UNKNOWN || lock == NULL {
            return self.refuse(at, Reason::LockUnknown);
        }
        if state.held.contains(&lock) {
            return self.refuse(at, Reason::LockTakenTwice);
        }
        state.held.push(lock);
        state.locked = true;
        self.notes.locks.entry(lock).or_default().insert(at);
        self.tell_of_lock(state, at, lock, Happening::Locked);
    }

    fn unlock(&mut self, state: &mut State, at: u64, lock: Value) {
        if lock == UNKNOWN {
            return self.refuse(at, Reason::LockUnknown);
        }
        let Some(place) = state.held.iter().position(|held| *held == lock) else {
            return self.refuse(at, Reason::LockNotHeld);
        };
        state.held.remove(place);
        self.notes.unlocks.entry(lock).or_default().insert(at);
        self.note_site(state, at);
        self.tell_of_lock(state, at, lock, Happening::Unlocked);
        if state.given.is_none() && state.cell == Cell::Block {
            state.dropped = Some(at);
        }
        let Some(given) = &mut state.given else { return };
        let Some(place) = state.around.iter().position(|around| *around == lock) else { return };
        state.around.remove(place);
        if state.cell != Cell::Block || state.armed.is_some() {
            return;
        }
        match state.around.is_empty() {
            true => {
                state.armed = Some((given.at, at));
                self.notes.armed.insert(at);
            }
            false => given.loosened = true,
        }
    }

    /// What passing values to an unseen function means.
    fn pass(&mut self, state: &mut State, at: u64, plain: bool) {
        let under_lock = !state.held.is_empty();
        for register in 0..8 {
            let value = state.get(register);
            if self.values.has(value, Atom::Block) {
                if under_lock && !plain {
                    self.refuse(at, Reason::BlockPassed);
                }
                if !state.locked && state.cell == Cell::Block {
                    self.notes.used_early = true;
                }
            }
            if self.cell.is_some_and(|cell| value == cell) {
                self.refuse(at, Reason::CellPassed);
            }
            if under_lock && !plain && self.cell.is_none() {
                self.note_moved(value, false);
            }
        }
    }

    /// Without a cell: a value that was loaded, and now is elsewhere.
    pub(super) fn note_moved(&mut self, value: Value, stored: bool) {
        for atom in self.values.atoms(value) {
            if let Atom::Load(address) = atom {
                self.notes.moved.insert(*address);
                if stored {
                    self.notes.stored.insert(*address);
                }
            }
        }
    }

    /// What a call may change: the caller-saved registers, and stack slots whose
    /// address it got.
    fn clobber(&mut self, state: &mut State, at: u64) {
        let result = self.result(state, at);
        for register in 0..8 {
            let value = state.get(register);
            if self.values.atoms(value) == [Atom::Stack] {
                let from = self.values.addend(value) as i64;
                let values = &self.values;
                for slot in &mut state.slots {
                    let saved =
                        matches!(values.atom_of(slot.2), Some(Atom::Saved(_) | Atom::Return));
                    if slot.0 >= from && slot.0 < from + 128 && !saved {
                        slot.2 = UNKNOWN;
                    }
                }
            }
        }
        for register in 0..19 {
            state.set(register, UNKNOWN);
        }
        state.set(0, result);
        state.set(30, UNKNOWN);
        state.flags = Flags::Unknown;
        state.zeroed = 0;
    }
}
