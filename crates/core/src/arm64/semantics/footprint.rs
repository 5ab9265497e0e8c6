//! Which registers an instruction reads and writes, read off its meaning.
//!
//! There is no second table of reads and writes that could disagree with the
//! semantics: an instruction is executed on the initial state, and it reads what
//! its results mention and writes what no longer holds its initial value. Only an
//! instruction whose effect is bounded and not worked out says itself what it may
//! read; nothing is taken to be overwritten by it.

use super::execute::execute;
use super::flags::{Flags, FlagsNode};
use super::operation::Operation;
use super::register_set::RegisterSet;
use super::state::{Next, State, Test};
use super::term::{Event, Half, History, Node, Term, Terms};
use super::{Condition, Register};

/// What one instruction does to places, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Read in any way: for a result, an address, a decision.
    pub reads: RegisterSet,
    /// Overwritten whole, without regard to the old value.
    pub writes: RegisterSet,
}

impl Footprint {
    /// The footprint of an instruction. That of a call is what the instruction
    /// itself reads; the callee is for the caller to add.
    pub fn of(operation: &Operation) -> Footprint {
        if let Operation::Unmodelled { reads, .. } = *operation {
            return Footprint { reads, writes: RegisterSet::NONE };
        }
        let mut terms = Terms::new();
        let initial = State::initial(&mut terms);
        let mut state = initial.clone();
        let next = execute(&mut terms, &mut state, operation);
        let mut reads = Reads { terms: &terms, found: RegisterSet::NONE };
        reads.next(next);
        reads.history(state.history);
        let mut writes = RegisterSet::NONE;
        for register in Register::all().filter(|&r| state.get(r) != initial.get(r)) {
            reads.term(state.get(register));
            writes = writes.union(RegisterSet::general(register));
        }
        for number in (0..32).filter(|&n| state.vector(n) != initial.vector(n)) {
            let (low, high) = state.vector(number);
            reads.term(low);
            reads.term(high);
            writes = writes.union(RegisterSet::vector(number));
        }
        if state.flags != initial.flags {
            reads.flags(state.flags);
            writes = writes.union(RegisterSet::FLAGS);
        }
        Footprint { reads: reads.found, writes }
    }
}

struct Reads<'a> {
    terms: &'a Terms,
    found: RegisterSet,
}

impl Reads<'_> {
    fn next(&mut self, next: Next) {
        match next {
            Next::Go(target) | Next::Call(target) | Next::Return(target) => self.term(target),
            Next::Either(Test::Zero(term, _), _) => self.term(term),
            Next::Either(Test::Flags(condition), _) => self.condition(condition),
            Next::Fall | Next::Trap => {}
        }
    }

    fn history(&mut self, mut history: History) {
        while let Some((before, event)) = self.terms.last_event(history) {
            match event {
                Event::Store { address, value, .. } => {
                    self.term(*address);
                    self.term(*value);
                }
                Event::Call { target, arguments } => {
                    self.term(*target);
                    arguments.iter().for_each(|&argument| self.term(argument));
                }
                Event::Barrier => {}
            }
            history = before;
        }
    }

    fn term(&mut self, term: Term) {
        match self.terms.node(term) {
            Node::Register(register) => {
                self.found = self.found.union(RegisterSet::general(register));
            }
            Node::Vector(number, Half::Low | Half::High) => {
                self.found = self.found.union(RegisterSet::vector(number));
            }
            Node::Memory(_, address, _) => self.term(address),
            Node::Select(condition, then, otherwise) => {
                self.condition(condition);
                self.term(then);
                self.term(otherwise);
            }
            Node::Unary(_, operand) => self.term(operand),
            Node::Binary(_, left, right) => {
                self.term(left);
                self.term(right);
            }
            Node::Constant(_)
            | Node::Returned(..)
            | Node::ReturnedVector(..)
            | Node::Unspecified(_) => {}
        }
    }

    fn condition(&mut self, condition: Condition) {
        self.flags(condition.flags);
    }

    fn flags(&mut self, flags: Flags) {
        match self.terms.flags_node(flags) {
            FlagsNode::Initial => self.found = self.found.union(RegisterSet::FLAGS),
            FlagsNode::Sum { left, right, carry, .. } => {
                self.term(left);
                self.term(right);
                self.term(carry);
            }
            FlagsNode::Logic { value, .. } => self.term(value),
            FlagsNode::Choice(condition, flags, _) => {
                self.condition(condition);
                self.flags(flags);
            }
            FlagsNode::Constant(_) | FlagsNode::Unspecified(_) => {}
        }
    }
}

impl Terms {
    /// The places of the start that a value is made of.
    pub fn places_in(&self, term: Term) -> RegisterSet {
        let mut reads = Reads { terms: self, found: RegisterSet::NONE };
        reads.term(term);
        reads.found
    }

    /// The same, of flags.
    pub fn places_in_flags(&self, flags: Flags) -> RegisterSet {
        let mut reads = Reads { terms: self, found: RegisterSet::NONE };
        reads.flags(flags);
        reads.found
    }

    /// Whether a value rests on something nothing is promised about.
    pub fn is_specified(&self, term: Term) -> bool {
        match self.node(term) {
            Node::Unspecified(_) => false,
            Node::Memory(_, address, _) => self.is_specified(address),
            Node::Select(condition, then, otherwise) => {
                self.flags_are_specified(condition.flags)
                    && self.is_specified(then)
                    && self.is_specified(otherwise)
            }
            Node::Unary(_, operand) => self.is_specified(operand),
            Node::Binary(_, left, right) => self.is_specified(left) && self.is_specified(right),
            Node::Constant(_)
            | Node::Register(_)
            | Node::Vector(..)
            | Node::Returned(..)
            | Node::ReturnedVector(..) => true,
        }
    }

    /// The same, of flags.
    pub fn flags_are_specified(&self, flags: Flags) -> bool {
        match self.flags_node(flags) {
            FlagsNode::Unspecified(_) => false,
            FlagsNode::Initial | FlagsNode::Constant(_) => true,
            FlagsNode::Sum { left, right, carry, .. } => {
                [left, right, carry].into_iter().all(|term| self.is_specified(term))
            }
            FlagsNode::Logic { value, .. } => self.is_specified(value),
            FlagsNode::Choice(condition, flags, _) => {
                self.flags_are_specified(condition.flags) && self.flags_are_specified(flags)
            }
        }
    }
}
