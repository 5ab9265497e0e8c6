//! Conditions, branches and returns.

use super::decode::{Logic, Op, Operand, ZR};
use super::events::Reason;
use super::explore::{Explorer, TableLoad};
use super::function::Function;
use super::state::{Cell, Flags, Kind, Question, State};
use super::value::{Atom, NULL, Tag, UNKNOWN, Value};

/// How far before a table's load its bound is looked for.
const BOUND_REACH: u64 = 24;

/// The most entries of a jump table.
const MAX_ENTRIES: u64 = 1024;

impl Explorer<'_, '_> {
    /// Executes a branch.
    pub(super) fn branch(
        &mut self,
        mut state: State,
        at: u64,
        op: Op,
        function: Option<&Function>,
        out: &mut Vec<State>,
    ) {
        match op {
            Op::Branch(target) => {
                let outside = function.is_none_or(|function| !function.range.contains(&target));
                if outside {
                    return self.tail_call(state, at, target, out);
                }
                state.at = target;
                out.push(state);
            }
            Op::BranchIf { condition, target } => {
                let answers = self.ask_condition(state, condition);
                out.extend(answers.into_iter().map(|(state, yes)| go(state, yes, target)));
            }
            Op::BranchZero { register, wide, nonzero, target } => {
                let a = state.get(register);
                let question = Question { a, b: NULL, wide, kind: Kind::Equal };
                let answers = self.ask(state, question);
                out.extend(answers.into_iter().map(|(s, zero)| go(s, zero != nonzero, target)));
            }
            Op::BranchBit { register, bit, nonzero, target } => {
                let a = state.get(register);
                let question = Question { a, b: NULL, wide: true, kind: Kind::Bit(bit) };
                let answers = self.ask(state, question);
                out.extend(answers.into_iter().map(|(s, set)| go(s, set == nonzero, target)));
            }
            Op::Call(target) => self.call(state, at, target, function, out),
            Op::CallRegister(register) => self.call_register(state, at, register, function, out),
            Op::Jump(register) => self.jump(state, at, register, function, out),
            Op::Return(register) => self.go_back(state, at, register, out),
            _ => {}
        }
    }

    /// Returns to where a register says.
    pub(super) fn go_back(
        &mut self,
        mut state: State,
        at: u64,
        register: u8,
        out: &mut Vec<State>,
    ) {
        let target = state.get(register);
        if self.values.atom_of(target) == Some(Atom::Return) {
            state.at = at;
            return self.end(&state);
        }
        match self.values.constant_of(target) {
            Some(target) if self.program.word(target).is_some() => {
                state.at = target;
                state.depth = state.depth.saturating_sub(1);
                if state.depth == 0 {
                    (state.through, state.site) = (0, 0);
                }
                out.push(state);
            }
            _ => self.refuse(at, Reason::ReturnUnknown),
        }
    }

    fn jump(
        &mut self,
        mut state: State,
        at: u64,
        register: u8,
        function: Option<&Function>,
        out: &mut Vec<State>,
    ) {
        let value = state.get(register);
        if let Some(name) = self.imported(value) {
            return self.external_tail(state, at, name, out);
        }
        if let Some(target) = self.values.constant_of(value) {
            if self.program.word(target).is_none() {
                return self.refuse(at, Reason::BranchUnresolved);
            }
            state.at = target;
            return out.push(state);
        }
        if self.leads_away(&state, value) {
            self.refuse(at, Reason::CallUnresolved);
            return self.external_tail(state, at, "", out);
        }
        let Some(function) = function else { return self.refuse(at, Reason::BranchUnresolved) };
        match self.table_targets(value, function) {
            Ok(targets) => out.extend(targets.into_iter().map(|target| {
                let mut state = state.clone();
                state.at = target;
                state
            })),
            Err(reason) => self.refuse(at, reason),
        }
    }

    /// Whether a branch is a call in place of a return: by a pointer that was loaded from
    /// an object, as a virtual method is called, with the frame given back. A table of
    /// labels is at a constant address.
    fn leads_away(&self, state: &State, target: Value) -> bool {
        let [Atom::Load(from)] = *self.values.atoms(target) else { return false };
        let atoms = self.values.atoms(from);
        let of_object = |atom: &Atom| matches!(atom, Atom::Argument(_) | Atom::Load(_));
        let only = |atom: &Atom| of_object(atom) || matches!(atom, Atom::Offset(_));
        let back = self.values.atom_of(state.get(30)) == Some(Atom::Return);
        let frame = self.values.atom_of(state.get(super::decode::SP)) == Some(Atom::Stack);
        back && frame && atoms.iter().any(of_object) && atoms.iter().all(only)
    }

    /// The targets of a jump through a table: a constant and a distance that was
    /// loaded from constant data, with a bound that was compared before.
    fn table_targets(&self, value: Value, function: &Function) -> Result<Vec<u64>, Reason> {
        let base = self.values.addend(value);
        let [Atom::Fresh(mut made, _)] = *self.values.atoms(value) else {
            return Err(Reason::BranchUnresolved);
        };
        let mut shift = 0;
        if !self.tables.contains_key(&made)
            && let Some((source, amount)) = self.shifts.get(&made).copied()
        {
            let [Atom::Fresh(loaded, _)] = *self.values.atoms(source) else {
                return Err(Reason::BranchUnresolved);
            };
            (made, shift) = (loaded, amount);
        }
        let table = self.tables.get(&made).ok_or(Reason::BranchUnresolved)?;
        let count = bound(made, function).ok_or(Reason::BranchUnresolved)?;
        let mut targets = Vec::new();
        for index in 0..count {
            let entry = self.entry(table, index).ok_or(Reason::TableOutside)?;
            let target = base.wrapping_add(entry << shift);
            if !function.range.contains(&target) || !target.is_multiple_of(4) {
                return Err(Reason::TableOutside);
            }
            targets.push(target);
        }
        targets.sort_unstable();
        targets.dedup();
        Ok(targets)
    }

    fn entry(&self, table: &TableLoad, index: u64) -> Option<u64> {
        let size = u64::from(table.size);
        let bytes = self.program.constant(table.table.checked_add(index * size)?, size)?;
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let value = u64::from_le_bytes(wide);
        let spare = 64 - 8 * u32::from(table.size);
        Some(if table.signed { ((value << spare) as i64 >> spare) as u64 } else { value })
    }

    /// The states after a condition, with its answer in each.
    pub(super) fn ask_condition(&mut self, state: State, condition: u8) -> Vec<(State, bool)> {
        if condition >= 14 {
            return vec![(state, true)];
        }
        let negated = condition & 1 == 1;
        let asked = match state.flags {
            Flags::Known(bits) => return vec![(state, holds(bits, condition))],
            Flags::Unknown => None,
            Flags::Test(a, b, wide) => self.tested(a, b, wide, condition & !1),
            Flags::Compare(a, b, wide) => self.compared(a, b, wide, condition & !1),
        };
        let answers = match asked {
            Some(Asked::Always(answer)) => return vec![(state, answer != negated)],
            Some(Asked::Question(question, inverted)) => {
                let answers = self.ask(state, question);
                answers.into_iter().map(|(state, answer)| (state, answer != inverted)).collect()
            }
            None => vec![(state.clone(), true), (state, false)],
        };
        answers
            .into_iter()
            .map(|(state, answer): (State, bool)| (state, answer != negated))
            .collect()
    }

    /// What a condition asks about a comparison; `even` is its positive form.
    fn compared(&mut self, a: Value, b: Value, wide: bool, even: u8) -> Option<Asked> {
        let ask = |kind| Some(Asked::Question(Question { a, b, wide, kind }, false));
        let next = self.values.constant_of(b).filter(|number| *number < 1 << 31);
        match (even, next) {
            (0, _) => ask(Kind::Equal),
            (2, _) => ask(Kind::AtLeast),
            (4, _) => ask(Kind::Negative),
            (10, _) => ask(Kind::NotLess),
            (8 | 12, next) => {
                let kind = if even == 8 { Kind::AtLeast } else { Kind::NotLess };
                // `a > n` is `a >= n + 1`, the form other conditions ask in.
                if let Some(number) = next {
                    let b = self.values.constant(number + 1);
                    return Some(Asked::Question(Question { a, b, wide, kind }, false));
                }
                Some(Asked::Question(Question { a: b, b: a, wide, kind }, true))
            }
            _ => None,
        }
    }

    /// What a condition asks about a test of bits.
    fn tested(&mut self, a: Value, b: Value, wide: bool, even: u8) -> Option<Asked> {
        let ask = |kind, b| Some(Asked::Question(Question { a, b, wide, kind }, false));
        match even {
            0 if a == b => ask(Kind::Equal, NULL),
            0 => match self.values.constant_of(b) {
                Some(mask) if mask.is_power_of_two() => {
                    let kind = Kind::Bit(mask.trailing_zeros() as u8);
                    Some(Asked::Question(Question { a, b: NULL, wide: true, kind }, true))
                }
                _ => ask(Kind::Apart, b),
            },
            // `tst` leaves no carry and no overflow.
            2 | 6 | 8 => Some(Asked::Always(false)),
            4 if a == b => ask(Kind::Negative, NULL),
            _ => None,
        }
    }

    /// The states in which a question is answered, each with the answer.
    pub(super) fn ask(&mut self, state: State, question: Question) -> Vec<(State, bool)> {
        if let Some(answer) = self.answer(&state, question) {
            return vec![(state, answer)];
        }
        let block = self.values.atom_of(question.a) == Some(Atom::Block);
        if block && question.b == NULL && question.kind == Kind::Equal && question.wide {
            let mut null = state.clone();
            self.block_is_null(&mut null);
            let mut other = state;
            other.nonnull = true;
            return vec![(null, true), (other, false)];
        }
        let (mut yes, mut no) = (state.clone(), state);
        let values = [question.a, question.b];
        // Memory may change between two loads, so what they held is not remembered.
        if values.iter().all(|value| *value != UNKNOWN && !self.values.has_load(*value)) {
            yes.remember(question, true);
            no.remember(question, false);
        }
        vec![(yes, true), (no, false)]
    }

    fn block_is_null(&mut self, state: &mut State) {
        let values = &mut self.values;
        state.replace(|value| match values.atoms(value) {
            [Atom::Block] => {
                let rest = values.addend(value);
                values.constant(rest)
            }
            _ => value,
        });
        if state.cell == Cell::Block {
            state.cell = Cell::Null;
        }
    }

    /// The answer, where it is known.
    fn answer(&self, state: &State, question: Question) -> Option<bool> {
        let Question { a, b, wide, kind } = question;
        if let (Some(a), Some(b)) = (self.values.constant_of(a), self.values.constant_of(b)) {
            return compute(a, b, wide, kind);
        }
        let block = self.values.atom_of(a) == Some(Atom::Block);
        if block && state.nonnull && b == NULL && kind == Kind::Equal && wide {
            return Some(false);
        }
        if kind == Kind::Equal && a == b && a != UNKNOWN && !self.values.has_load(a) {
            return Some(true);
        }
        // A lock that was taken has an address.
        if kind == Kind::Equal && b == NULL && wide && state.held.contains(&a) {
            return Some(false);
        }
        // The distance of an object's fields from the object is never so that one is null.
        if kind == Kind::Equal && b == NULL && self.values.atoms(a) == [Atom::Stack] {
            return Some(false);
        }
        state.recall(question)
    }

    /// The symbol of another image that a value is the address of.
    pub(super) fn imported(&self, value: Value) -> Option<&'static str>
    where
        Self: Sized,
    {
        let Some(Atom::Load(cell)) = self.values.atom_of(value) else { return None };
        let name = self.program.pointer(self.values.constant_of(cell)?)?;
        Some(super::meaning::known(name))
    }

    /// A register test without a register: used for `cbz` on results.
    pub(super) fn result(&mut self, state: &mut State, at: u64) -> Value {
        self.fresh(state, at, Tag::Result)
    }
}

enum Asked {
    Question(Question, bool),
    Always(bool),
}

fn go(mut state: State, taken: bool, target: u64) -> State {
    if taken {
        state.at = target;
    }
    state
}

/// Whether a condition holds for known flags.
fn holds(bits: u8, condition: u8) -> bool {
    let [v, c, z, n] = [0, 1, 2, 3].map(|bit| bits >> bit & 1 == 1);
    let holds = match condition >> 1 {
        0 => z,
        1 => c,
        2 => n,
        3 => v,
        4 => c && !z,
        5 => n == v,
        6 => n == v && !z,
        _ => true,
    };
    holds != (condition & 1 == 1)
}

fn compute(a: u64, b: u64, wide: bool, kind: Kind) -> Option<bool> {
    let narrow = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let signed = |value: u64| if wide { value as i64 } else { i64::from(value as u32 as i32) };
    Some(match kind {
        Kind::Equal => narrow(a) == narrow(b),
        Kind::AtLeast => narrow(a) >= narrow(b),
        Kind::NotLess => signed(a) >= signed(b),
        Kind::Negative => signed(narrow(a.wrapping_sub(b))) < 0,
        Kind::Apart => narrow(a) & narrow(b) == 0,
        Kind::Bit(bit) => a >> bit & 1 == 1,
    })
}

/// How many entries a table has, by the comparison before its load.
fn bound(load: u64, function: &Function) -> Option<u64> {
    let Op::Load(access) = function.op(load) else { return None };
    let super::decode::Place::Indexed(_, by) = access.place else { return None };
    let (Operand::Shifted(mut index, _) | Operand::Extended(mut index, _)) = by else {
        return None;
    };
    let mut above = false;
    for back in 1..BOUND_REACH {
        let at = load.checked_sub(4 * back).filter(|at| function.range.contains(at))?;
        match function.op(at) {
            Op::BranchIf { condition: 8, .. } => above = true,
            Op::Logic {
                kind: Logic::Or, to, from: ZR, by: Operand::Shifted(source, 0), ..
            }
            | Op::Extend { to, from: source }
                if to == index =>
            {
                index = source;
            }
            Op::Add { to: ZR, from, by: Operand::Immediate(last), subtract: true, .. }
                if from == index && above && last < MAX_ENTRIES =>
            {
                return Some(last + 1);
            }
            _ => {}
        }
    }
    None
}
