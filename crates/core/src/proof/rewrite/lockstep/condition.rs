//! Which way branches have gone on a path, so that a second one on the same comparison
//! goes the same way.
//!
//! A helper that is inlined tests whether the pool is full, and its caller tests the
//! answer: by a second comparison of the same count, or by a flag that was computed from
//! the first. Where the two versions differ on one of the ways only, what holds on the
//! other must not be mixed in.

use super::fact::Fact;
use super::{Key, Lockstep};
use crate::arm64::semantics::{Field, Footprint, Operand, Operation, Register};
use crate::proof::values::Value;

/// The most answers that are remembered on one path.
const MAX_ANSWERS: usize = 6;

/// What is asked about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    /// Whether it is the number.
    Equal,
    /// Whether it is below the number, as unsigned numbers.
    Below,
    /// Whether it is less than the number, as signed numbers.
    Less,
    /// Whether that bit is set.
    Bit,
}

/// A question about a value, in the form in which others ask the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    value: Value,
    wide: bool,
    asked: Asked,
    number: u64,
}

/// A value that was compared with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compared {
    pub value: Value,
    number: u64,
    wide: bool,
}

impl Compared {
    /// What an instruction compares that sets the flags.
    pub(super) fn by(operation: &Operation, before: &Fact) -> Option<Compared> {
        let Operation::AddSubtract { wide, left, right, subtract: true, flags: true, .. } =
            *operation
        else {
            return None;
        };
        let number = match right {
            Operand::Immediate(number) => number,
            Operand::Shifted(None, ..) => 0,
            Operand::Shifted(Some(register), _, 0) => before.point.get(register).as_constant()?,
            _ => return None,
        };
        // A read of a register 31 here is one of the stack pointer.
        let value = before.point.get(left.filter(|register| *register != Register::SP)?);
        Some(Compared { value, number, wide })
    }

    /// What a condition asks, and whether it holds where the answer is yes.
    fn question(self, condition: u32) -> Option<(Question, bool)> {
        let Compared { value, number, wide } = self;
        let limit = if wide { u64::MAX >> 1 } else { 0x7fff_ffff };
        let above = || (number < limit).then_some(number + 1);
        let (asked, number, yes) = match condition >> 1 {
            0 => (Asked::Equal, number, true),
            1 => (Asked::Below, number, false),
            4 => (Asked::Below, above()?, false),
            5 => (Asked::Less, number, false),
            6 => (Asked::Less, above()?, false),
            _ => return None,
        };
        Some((Question { value, wide, asked, number }, yes != (condition & 1 == 1)))
    }
}

impl Question {
    /// What a branch asks, and whether it is taken where the answer is yes.
    fn of_branch(operation: &Operation, fact: &Fact) -> Option<(Question, bool)> {
        let get = |register: Field| Some(fact.point.get(register?));
        match *operation {
            Operation::BranchIf { condition, .. } => fact.compared?.question(condition),
            Operation::BranchOnZero { wide, register, zero, .. } => {
                let value = get(register)?;
                let asked = Asked::Equal;
                Some((Question { value, wide, asked, number: 0 }, zero))
            }
            Operation::BranchOnBit { register, bit, set, .. } => {
                let (value, number) = (get(register)?, bit.into());
                let asked = Asked::Bit;
                Some((Question { value, wide: true, asked, number }, set))
            }
            _ => None,
        }
    }

    /// The answer about a number.
    fn about_number(self) -> Option<bool> {
        let value = self.value.as_constant()?;
        let narrow = |value: u64| if self.wide { value } else { value & 0xffff_ffff };
        let signed = |value: u64| match self.wide {
            true => value as i64,
            false => i64::from(value as u32 as i32),
        };
        Some(match self.asked {
            Asked::Equal => narrow(value) == narrow(self.number),
            Asked::Below => narrow(value) < narrow(self.number),
            Asked::Less => signed(value) < signed(self.number),
            Asked::Bit => value >> (self.number & 63) & 1 == 1,
        })
    }
}

impl Key {
    /// Control comes to where the key stands: what answers were about is forgotten if it
    /// is named after that place, or held nowhere.
    pub(super) fn forget_answers(&mut self, fact: &Fact) {
        let at = self.old;
        let is_held = |value: Value| {
            let holds = |held: Value| value.atoms().all(|atom| held.atoms().any(|a| a == atom));
            Register::all().any(|register| holds(fact.point.get(register)))
                || fact.frame.values().any(|slot| slot.value.is_some_and(holds))
        };
        self.answers.retain(|asked, _| !asked.value.is_named_after(at) && is_held(asked.value));
    }

    /// The answer to a question, where this path has given it.
    fn answer(&self, question: Question) -> Option<bool> {
        question.about_number().or_else(|| self.answers.get(&question).copied())
    }

    /// The same path, where a question has been answered.
    fn answering(&self, question: Question, yes: bool) -> Key {
        let mut key = self.clone();
        if key.answers.len() < MAX_ANSWERS && question.value.as_constant().is_none() {
            key.answers.insert(question, yes);
        }
        key
    }
}

impl Lockstep<'_> {
    /// The paths on which a branch is taken and not taken, as far as they are possible.
    pub(super) fn told_apart(
        &self,
        key: &Key,
        before: &Fact,
        branch: &Operation,
    ) -> Vec<(Key, bool)> {
        let both = || vec![(key.clone(), true), (key.clone(), false)];
        let Some((question, taken)) =
            Question::of_branch(branch, before).filter(|_| self.tells_paths_apart)
        else {
            return both();
        };
        let ways = match key.answer(question) {
            Some(answer) => vec![answer],
            None => vec![true, false],
        };
        let way = |answer| (key.answering(question, answer), answer == taken);
        ways.into_iter().map(way).collect()
    }

    /// The paths on which a selection takes its first and its second operand, with what
    /// it gives, where that is known.
    pub(super) fn selected(
        &self,
        key: &Key,
        before: &Fact,
        operation: &Operation,
    ) -> Option<Vec<(Key, Register, Value)>> {
        let Operation::Select { wide, to: Some(to), then, otherwise, condition, invert, increment } =
            *operation
        else {
            return None;
        };
        let reads = Footprint::of(operation).reads;
        if !self.tells_paths_apart || !reads.common(before.differ).is_empty() {
            return None;
        }
        let (question, holds) = before.compared?.question(condition)?;
        let value = |field: Field| match field {
            Some(register) => before.point.get(register),
            None => Value::constant(0),
        };
        let narrow = |number: u64| if wide { number } else { number & 0xffff_ffff };
        let first = value(then);
        let second = match (value(otherwise), invert, increment) {
            (second, false, false) => second,
            (second, ..) => {
                let number = second.as_constant()?;
                let number = if invert { !number } else { number };
                Value::constant(narrow(number.wrapping_add(u64::from(increment))))
            }
        };
        // Half a register may be cut off a value that is not a number.
        if !wide && (first.as_constant().is_none() || second.as_constant().is_none()) {
            return None;
        }
        let ways = match key.answer(question) {
            Some(answer) => vec![answer],
            None => vec![true, false],
        };
        let way = |answer| {
            let value = if answer == holds { first } else { second };
            (key.answering(question, answer), to, value)
        };
        Some(ways.into_iter().map(way).collect())
    }
}

impl Fact {
    /// Takes down what an instruction compares.
    pub(super) fn compare(&mut self, operation: &Operation, before: &Fact) {
        let sets_flags = match operation {
            Operation::Unmodelled { writes, .. } => writes.has_flags(),
            operation => Footprint::of(operation).writes.has_flags(),
        };
        if sets_flags {
            self.compared = Compared::by(operation, before);
        }
    }
}
