//! The state of a core as terms, and what a call does to it.

use super::Register;
use super::flags::{Condition, Flags};
use super::operation::Field;
use super::register_set::RegisterSet;
use super::term::{Event, Half, History, Term, Terms};

/// Registers, flags and memory, as terms over the state of the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    general: [Term; Register::COUNT],
    vector: [(Term, Term); 32],
    /// The condition flags.
    pub flags: Flags,
    /// Everything that was stored and called.
    pub history: History,
    /// What may fault besides stores: the address and size of every load. An
    /// authentication, which faults on a wrong code, counts as a load of no
    /// bytes at the pointer it gives.
    pub faults: Vec<(Term, u8)>,
}

/// What is known about a function that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callee {
    /// How many general registers it reads as arguments; all it may read, the
    /// one for an indirect result included, where that is not known.
    pub arguments: Option<usize>,
    /// Whether it returns a value.
    pub returns: bool,
}

impl Callee {
    /// A function nothing is known about.
    pub const UNKNOWN: Callee = Callee { arguments: None, returns: true };
}

/// Where control goes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// On to the following instruction.
    Fall,
    /// To this address.
    Go(Term),
    /// To this address if the test holds, else on.
    Either(Test, Term),
    /// To this address, and back to the following instruction.
    Call(Term),
    /// To this address, as a return.
    Return(Term),
    /// Nowhere.
    Trap,
}

/// What a conditional branch asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// A condition on flags.
    Flags(Condition),
    /// Whether a value is zero (`true`) or not (`false`).
    Zero(Term, bool),
}

impl Test {
    /// The opposite.
    pub fn negated(self) -> Test {
        match self {
            Test::Flags(condition) => Test::Flags(condition.negated()),
            Test::Zero(term, zero) => Test::Zero(term, !zero),
        }
    }
}

impl State {
    /// The state every term is over: each register holds what it holds.
    pub fn initial(terms: &mut Terms) -> State {
        State {
            general: std::array::from_fn(|n| terms.register(Register::new(n as u32))),
            vector: std::array::from_fn(|n| {
                (terms.vector(n as u8, Half::Low), terms.vector(n as u8, Half::High))
            }),
            flags: terms.initial_flags(),
            history: terms.beginning(),
            faults: Vec::new(),
        }
    }

    /// The value of a register.
    pub fn get(&self, register: Register) -> Term {
        self.general[register.index()]
    }

    /// Changes a register.
    pub fn set(&mut self, register: Register, value: Term) {
        self.general[register.index()] = value;
    }

    /// The value of a field in which 31 is `xzr`, cut to the width.
    pub fn read(&self, terms: &mut Terms, field: Field, wide: bool) -> Term {
        match field {
            Some(register) => terms.of_width(wide, self.get(register)),
            None => terms.constant(0),
        }
    }

    /// Writes a result of that width; a write to `xzr` is lost.
    pub fn write(&mut self, terms: &mut Terms, field: Field, wide: bool, value: Term) {
        if let Some(register) = field {
            let value = terms.of_width(wide, value);
            self.set(register, value);
        }
    }

    /// The halves of a vector register, low first.
    pub fn vector(&self, number: u8) -> (Term, Term) {
        self.vector[usize::from(number & 31)]
    }

    /// Changes a vector register.
    pub fn set_vector(&mut self, number: u8, halves: (Term, Term)) {
        self.vector[usize::from(number & 31)] = halves;
    }

    /// Adds an event to the history.
    pub fn record(&mut self, terms: &mut Terms, event: Event) {
        self.history = terms.after(self.history, event);
    }

    /// Nothing is promised any more about these places, nor about memory where
    /// that is said.
    pub fn forget(&mut self, terms: &mut Terms, places: RegisterSet, memory: bool) {
        for register in Register::all().filter(|&register| places.has(register)) {
            self.set(register, terms.unspecified());
        }
        for number in (0..32).filter(|&number| places.has_vector(number)) {
            self.set_vector(number, (terms.unspecified(), terms.unspecified()));
        }
        if places.has_flags() {
            self.flags = terms.unspecified_flags();
        }
        if memory {
            let (address, value) = (terms.unspecified(), terms.unspecified());
            self.record(terms, Event::Store { address, bytes: 8, value });
        }
    }

    /// Calls `target` and comes back: memory and the registers a callee may
    /// change are no longer what they were. Which ones these are is in the
    /// Procedure Call Standard, sections 6.1.1 and 6.1.2; the platform adds
    /// `x18`, which programs must not use.
    pub fn call(&mut self, terms: &mut Terms, target: Term, callee: Callee) {
        let arguments = self.general.iter().take(callee.arguments.unwrap_or(9)).copied();
        let mut arguments: Vec<Term> = arguments.collect();
        if callee.arguments.is_none() {
            arguments.extend(self.vector.iter().take(8).flat_map(|&(low, high)| [low, high]));
        }
        self.record(terms, Event::Call { target, arguments });
        let history = self.history;
        for number in (0..=18).chain([30]) {
            let register = Register::new(number);
            let value = match (number, callee.returns) {
                (0 | 1, true) => terms.returned(history, register),
                _ => terms.leftover(history, number as u8),
            };
            self.set(register, value);
        }
        for number in 0..32 {
            let (low, _) = self.vector(number);
            let (below, above) = (32 + 2 * number, 33 + 2 * number);
            let halves = match number {
                0..=3 if callee.returns => (
                    terms.returned_vector(history, number, Half::Low),
                    terms.returned_vector(history, number, Half::High),
                ),
                8..=15 => (low, terms.leftover(history, above)),
                _ => (terms.leftover(history, below), terms.leftover(history, above)),
            };
            self.set_vector(number, halves);
        }
        self.flags = terms.unspecified_flags();
    }
}
