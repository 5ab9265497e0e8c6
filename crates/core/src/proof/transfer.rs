//! What one instruction makes of what is known of the registers.

use super::values::{Atom, Point, Value};
use crate::address::VmAddr;
use crate::arm64::semantics::{
    Condition, Flags, Next, Node, Operation, Register, State, Terms, Test, execute,
};

/// Executes single instructions on what is known before them.
pub(super) struct Transfer {
    pub terms: Terms,
    /// The state that every instruction is executed on.
    pub initial: State,
}

/// What an instruction did.
pub(super) struct Executed {
    /// Where control goes.
    pub next: Next,
    /// The state after it, as terms over the state before.
    pub state: State,
    /// What is known after it, a call's effects apart.
    pub point: Point,
}

impl Transfer {
    pub fn new() -> Transfer {
        let mut terms = Terms::new();
        let initial = State::initial(&mut terms);
        Transfer { terms, initial }
    }

    /// Executes the instruction at `at`.
    pub fn execute(&mut self, at: VmAddr, operation: &Operation, before: &Point) -> Executed {
        let mut state = self.initial.clone();
        let next = execute(&mut self.terms, &mut state, operation);
        let point = self.executed(at, operation, &state, before);
        Executed { next, state, point }
    }

    /// What the call at `at` leaves.
    pub fn called(at: VmAddr, point: &mut Point) {
        for number in (0..=18).chain([30]) {
            let register = Register::new(number);
            point.set(register, Value::atom(Atom::Made(at, register)));
        }
        point.memory.clear();
        point.tested = None;
    }

    /// What is known where a branch on `test` was taken or not.
    pub fn on_branch(&self, before: &Point, after: &Point, test: Test, taken: bool) -> Point {
        let mut point = after.clone();
        let tested = self.tested(before, test);
        point.zero.extend(tested.map(|(value, zero)| (value, zero == taken)));
        point
    }

    /// The state after the instruction: `state` is what it makes of the initial
    /// one.
    fn executed(
        &mut self,
        at: VmAddr,
        operation: &Operation,
        state: &State,
        before: &Point,
    ) -> Point {
        let mut after = before.clone();
        if state.history != self.initial.history {
            after.memory.clear();
        }
        for register in Register::all() {
            let term = state.get(register);
            if term == self.initial.get(register) {
                continue;
            }
            let known = before.value(&self.terms, term);
            let value = known.unwrap_or(Value::atom(Atom::Made(at, register)));
            after.set(register, value);
            if let (None, Node::Memory(history, place, 8)) = (known, self.terms.node(term))
                && history == state.history
                && let Some(place) = before.value(&self.terms, place)
            {
                after.memory.push((place, value));
            }
        }
        if let Operation::Unmodelled { writes, .. } = operation
            && writes.has_flags()
        {
            after.tested = None;
        } else if state.flags != self.initial.flags {
            after.tested = self.zero_tested(state.flags, before);
        }
        after
    }

    /// The value that is zero exactly where these flags have Z set.
    fn zero_tested(&mut self, flags: Flags, before: &Point) -> Option<Value> {
        let (term, _) = Condition::encoded(0, flags).as_zero_test(&mut self.terms)?;
        before.value(&self.terms, term)
    }

    /// The value a branch tests, and whether it is taken where that is zero.
    fn tested(&self, before: &Point, test: Test) -> Option<(Value, bool)> {
        match test {
            Test::Zero(term, zero) => Some((before.value(&self.terms, term)?, zero)),
            Test::Flags(condition) => {
                let equal = Condition::encoded(0, condition.flags);
                match before.tested {
                    Some(value) if condition == equal => Some((value, true)),
                    Some(value) if condition == equal.negated() => Some((value, false)),
                    _ => None,
                }
            }
        }
    }
}
