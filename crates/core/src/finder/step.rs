//! The effect of one instruction on a state.

use std::collections::BTreeSet;

use super::decode::{Logic, Op, Operand, SP, Select, ZR, bit};
use super::events::Reason;
use super::explore::Explorer;
use super::function::Function;
use super::state::{Flags, State};
use super::value::{Atom, NULL, Tag, UNKNOWN, Value};

impl Explorer<'_, '_> {
    /// Executes the instruction a state stands before.
    pub(super) fn step(
        &mut self,
        mut state: State,
        function: Option<&Function>,
        out: &mut Vec<State>,
    ) {
        let at = state.at;
        let op = self.op(at, function);
        state.at = at + 4;
        match op {
            Op::Nop => {}
            Op::Trap => return,
            Op::Unknown => return self.refuse(at, Reason::Instruction),
            Op::Constant { to, value } => {
                let value = self.values.constant(value);
                state.set(to, value);
            }
            Op::Keep { to, value, shift } => self.keep(&mut state, at, to, value, shift),
            Op::Add { .. } => self.add(&mut state, at, op),
            Op::Logic { .. } => self.logic(&mut state, at, op),
            Op::Extend { to, from } => {
                let value = self.extended(&mut state, at, from);
                state.set(to, value);
            }
            Op::ShiftLeft { to, from, by, wide } => {
                let value = self.shifted(&mut state, at, from, by, wide);
                state.set(to, value);
            }
            Op::Other { to, narrow, uses } => self.other(&mut state, at, (to, narrow, uses)),
            Op::Vector { to, zero } => state.set_vector(to, zero),
            Op::Flags { .. } => state.flags = Flags::Unknown,
            Op::Select { .. } => return self.select(state, at, op, out),
            Op::Compare { .. } => return self.compare_if(state, at, op, out),
            Op::Load(access) => {
                if !self.load(&mut state, at, access) {
                    return;
                }
                out.extend(self.take_twins());
            }
            Op::Store(access) => {
                if !self.store(&mut state, at, access) {
                    return;
                }
            }
            Op::Swap { .. } | Op::Atomic { .. } | Op::StoreExclusive { .. } => {
                return self.atomic(state, at, op, out);
            }
            _ => return self.branch(state, at, op, function, out),
        }
        if self.values.atoms(state.get(SP)) != [Atom::Stack] {
            return self.refuse(at, Reason::StackLost);
        }
        if let Some(function) = function
            && state.at == function.range.end
        {
            return self.refuse(at, Reason::RunsOn);
        }
        out.push(state);
    }

    /// An instruction of which only the registers are known.
    fn other(&mut self, state: &mut State, at: u64, (to, narrow, uses): (u8, bool, u64)) {
        let used = (0..31).filter(|register| uses & bit(*register) != 0);
        let used: Vec<Value> = used.map(|register| state.get(register)).collect();
        self.note_roots(at, &used);
        let tag = if narrow { Tag::Narrow } else { Tag::Wide };
        let value = self.fresh(state, at, tag);
        state.set(to, value);
        // A move between the two files, of which the direction is not told.
        if self.program.word(at).is_some_and(|word| word.0 >> 25 & 7 == 7) {
            state.set_vector(to, false);
        }
    }

    /// Notes where the values were loaded that an instruction computes with.
    fn note_roots(&mut self, at: u64, used: &[Value]) {
        let found: Vec<Value> = used.iter().flat_map(|value| self.roots_of(*value)).collect();
        self.roots.entry(at).or_default().extend(found);
    }

    /// Where values were loaded that a value is made of or computed from.
    pub(super) fn roots_of(&self, value: Value) -> BTreeSet<Value> {
        let mut roots = BTreeSet::new();
        for atom in self.values.atoms(value) {
            match atom {
                Atom::Load(address) => {
                    roots.insert(*address);
                }
                Atom::Fresh(made, _) => roots.extend(self.roots.get(made).into_iter().flatten()),
                _ => {}
            }
        }
        roots
    }

    fn keep(&mut self, state: &mut State, at: u64, to: u8, value: u64, shift: u8) {
        let known = self.values.constant_of(state.get(to));
        let value = match known {
            Some(known) => self.values.constant(known & !(0xffff << shift) | value),
            None => self.fresh(state, at, Tag::Wide),
        };
        state.set(to, value);
    }

    /// The low half of a register, extended to 64 bits. Offsets of instance
    /// variables and unsigned halves are positive, so how does not matter.
    pub(super) fn extended(&mut self, state: &mut State, at: u64, from: u8) -> Value {
        let value = state.get(from);
        if self.values.is_narrow(value) {
            return value;
        }
        self.fresh(state, at, Tag::Wide)
    }

    /// A register shifted left.
    pub(super) fn shifted(
        &mut self,
        state: &mut State,
        at: u64,
        from: u8,
        by: u8,
        wide: bool,
    ) -> Value {
        let value = state.get(from);
        if by == 0 && (wide || self.values.is_narrow(value)) {
            return value;
        }
        if let Some(number) = self.values.constant_of(value) {
            let number = number << (by & 63);
            return self.values.constant(if wide { number } else { number & 0xffff_ffff });
        }
        self.shifts.insert(at, (value, by));
        self.note_roots(at, &[value]);
        self.fresh(state, at, if wide { Tag::Wide } else { Tag::Narrow })
    }

    /// The second operand of arithmetic.
    pub(super) fn operand(&mut self, state: &mut State, at: u64, by: Operand, wide: bool) -> Value {
        match by {
            Operand::Immediate(value) => self.values.constant(value),
            Operand::Shifted(register, amount) => {
                self.shifted_operand(state, at, register, amount, wide)
            }
            Operand::Extended(register, amount) => {
                let value = state.get(register);
                if self.values.is_narrow(value) {
                    self.shifted_operand(state, at, register, amount, true)
                } else {
                    if amount > 0 {
                        self.shifts.insert(at, (value, amount));
                    }
                    self.fresh(state, at, Tag::Second)
                }
            }
            Operand::Opaque(_) => self.fresh(state, at, Tag::Second),
        }
    }

    fn shifted_operand(
        &mut self,
        state: &mut State,
        at: u64,
        register: u8,
        amount: u8,
        wide: bool,
    ) -> Value {
        let value = state.get(register);
        if amount == 0 {
            return value;
        }
        match self.values.constant_of(value) {
            Some(number) => {
                let number = number << (amount & 63);
                self.values.constant(if wide { number } else { number & 0xffff_ffff })
            }
            None => {
                self.shifts.insert(at, (value, amount));
                self.fresh(state, at, Tag::Second)
            }
        }
    }

    fn add(&mut self, state: &mut State, at: u64, op: Op) {
        let Op::Add { to, from, by, subtract, flags, wide } = op else { return };
        let first = state.get(from);
        let second = self.operand(state, at, by, wide);
        if flags {
            state.flags = match subtract {
                true => Flags::Compare(first, second, wide),
                false => Flags::Unknown,
            };
        }
        if to == ZR {
            return;
        }
        let sum = match subtract {
            false => self.values.sum(first, second),
            true => self.values.difference(first, second),
        };
        let keeps = |value: Value| wide || self.values.constant_of(value).is_some();
        let value = match sum.filter(|value| keeps(*value)) {
            Some(value) if wide => value,
            Some(value) => {
                let number = self.values.constant_of(value).unwrap_or(0) & 0xffff_ffff;
                self.values.constant(number)
            }
            // A 32-bit move by addition.
            None if !wide && second == NULL && self.values.is_narrow(first) => first,
            None => {
                self.note_roots(at, &[first, second]);
                let known = self.sums.entry(at).or_insert(Some((first, second)));
                *known = known.filter(|known| *known == (first, second));
                self.fresh(state, at, if wide { Tag::Wide } else { Tag::Narrow })
            }
        };
        state.set(to, value);
    }

    fn logic(&mut self, state: &mut State, at: u64, op: Op) {
        let Op::Logic { kind, to, from, by, flags, wide } = op else { return };
        let first = state.get(from);
        let second = self.operand(state, at, by, wide);
        if flags {
            state.flags = match kind {
                Logic::And => Flags::Test(first, second, wide),
                _ => Flags::Unknown,
            };
        }
        if to == ZR {
            return;
        }
        let whole = if wide { u64::MAX } else { 0xffff_ffff };
        let numbers = (self.values.constant_of(first), self.values.constant_of(second));
        let same = |value: Value| wide || self.values.is_narrow(value);
        let value = match (kind, numbers) {
            (Logic::And, (Some(a), Some(b))) => self.values.constant(a & b & whole),
            (Logic::Or, (Some(a), Some(b))) => self.values.constant((a | b) & whole),
            (Logic::Xor, (Some(a), Some(b))) => self.values.constant((a ^ b) & whole),
            (Logic::Or, (Some(0), _)) if same(second) => second,
            (Logic::Or, (_, Some(0))) if same(first) => first,
            (Logic::And, _) if first == second && same(first) => first,
            // The stack pointer may be aligned only where nothing is kept relative to it.
            _ => {
                self.note_roots(at, &[first, second]);
                self.fresh(state, at, if wide { Tag::Wide } else { Tag::Narrow })
            }
        };
        state.set(to, value);
        if to == SP && self.values.atoms(value) != [Atom::Stack] {
            state.set(SP, UNKNOWN);
        }
    }

    fn select(&mut self, state: State, at: u64, op: Op, out: &mut Vec<State>) {
        let Op::Select { kind, to, yes, no, condition, wide } = op else { return };
        let mut state = state;
        let live = self.live(at + 4) & bit(to) != 0;
        let (first, second) = (state.get(yes), state.get(no));
        if !live || kind == Select::Plain && first == second {
            state.set(to, if live { first } else { UNKNOWN });
            out.push(state);
            return;
        }
        let narrow = |explorer: &mut Self, state: &mut State, value: Value| match explorer
            .values
            .constant_of(value)
        {
            _ if wide => value,
            Some(number) => explorer.values.constant(number & 0xffff_ffff),
            None if explorer.values.is_narrow(value) => value,
            None => explorer.fresh(state, at, Tag::Narrow),
        };
        for (mut state, answer) in self.ask_condition(state, condition) {
            let value = match (answer, kind, self.values.constant_of(second)) {
                (true, ..) => narrow(self, &mut state, first),
                (false, Select::Plain, _) => narrow(self, &mut state, second),
                (false, kind, Some(number)) => {
                    let number = match kind {
                        Select::Increment => number.wrapping_add(1),
                        Select::Invert => !number,
                        _ => number.wrapping_neg(),
                    };
                    let number = self.values.constant(number);
                    narrow(self, &mut state, number)
                }
                _ => self.fresh(&mut state, at, if wide { Tag::Wide } else { Tag::Narrow }),
            };
            state.set(to, value);
            out.push(state);
        }
    }

    fn compare_if(&mut self, state: State, at: u64, op: Op, out: &mut Vec<State>) {
        let Op::Compare { from, by, condition, otherwise, negated, wide } = op else { return };
        for (mut state, answer) in self.ask_condition(state, condition) {
            state.flags = match answer {
                true if negated => Flags::Unknown,
                true => {
                    let second = self.operand(&mut state, at, by, wide);
                    Flags::Compare(state.get(from), second, wide)
                }
                false => Flags::Known(otherwise),
            };
            out.push(state);
        }
    }
}
