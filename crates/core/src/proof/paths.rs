//! Every way through the window.
//!
//! The window is executed from its first word on an arbitrary state until
//! control leaves it. A branch whose outcome the path so far does not decide
//! splits the path. What an instruction does is recognised by its effect on
//! that state and not by its word: the clear is the store of zero to
//! `self + ivar`, however it is written.

mod walk;

use std::ops::Range;

use serde::Serialize;

use super::function::Function;
use super::path_condition::PathCondition;
use super::site::Roles;
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{Callee, Event, Operation, State, Term, Terms};
use crate::error::Result;

pub(super) use walk::{Fault, Ground, Seen, Trace, free, walk};

/// One way through the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Path {
    /// The branches that had two outcomes, in order.
    pub decisions: Vec<Decision>,
    /// The instructions, in order.
    pub steps: Vec<Step>,
    /// Where it leaves.
    pub exit: Exit,
}

/// The outcome of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The branch.
    pub at: VmAddr,
    /// Whether it was taken.
    pub taken: bool,
}

/// One effect of an instruction; one that stores twice makes two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The instruction.
    pub at: VmAddr,
    /// What it does.
    pub act: Act,
}

/// What a step is to the encoder, the pool and its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The block goes into the freelist.
    Push,
    /// `self->_impl` becomes NULL.
    Clear,
    /// The pool lock is given back.
    Unlock,
    /// `free`, of NULL or of something that may be a block.
    Free {
        /// Whether the argument is known to be NULL on this path.
        null: bool,
    },
    /// Another call.
    Call,
    /// Another store.
    Store,
    /// A memory barrier.
    Barrier,
    /// Nothing others can see.
    Silent,
}

/// How a path leaves the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// To this address outside.
    To(VmAddr),
    /// By a return at this address.
    Return(VmAddr),
    /// By a trap at this address.
    Trap(VmAddr),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::To(to) => write!(f, "a branch to {to}"),
            Exit::Return(at) => write!(f, "the return at {at}"),
            Exit::Trap(at) => write!(f, "the trap at {at}"),
        }
    }
}

/// Every way through `window` of the function `words` that begins at `entry`.
///
/// # Errors
/// `NotUnderstood`, `LoopInWindow` or `UnresolvedBranch`, naming the address.
pub fn paths(
    words: &[Word],
    entry: VmAddr,
    window: Range<VmAddr>,
    roles: &Roles,
) -> Result<Vec<Path>> {
    let mut terms = Terms::new();
    let traces = traces(&mut terms, Function { entry, words }, window, roles)?;
    Ok(traces.into_iter().map(|trace| trace.path).collect())
}

/// As [`paths`], with the terms.
pub(super) fn traces(
    terms: &mut Terms,
    function: Function<'_>,
    window: Range<VmAddr>,
    roles: &Roles,
) -> Result<Vec<Trace>> {
    traces_from(terms, function, window.start, window, roles)
}

/// As [`traces`], for control that enters the window at `start`.
pub(super) fn traces_from(
    terms: &mut Terms,
    function: Function<'_>,
    start: VmAddr,
    window: Range<VmAddr>,
    roles: &Roles,
) -> Result<Vec<Trace>> {
    let initial = State::initial(terms);
    let ground = Window { function, window, roles, initial: initial.clone() };
    walk(terms, &ground, start, initial, PathCondition::default())
}

/// The window of a signature, with the roles it captures.
struct Window<'a> {
    function: Function<'a>,
    window: Range<VmAddr>,
    roles: &'a Roles,
    initial: State,
}

impl Ground for Window<'_> {
    fn operation(&self, at: VmAddr) -> Result<Operation> {
        self.function.operation(at)
    }

    fn word(&self, at: VmAddr) -> Word {
        self.function.word(at).unwrap_or_default()
    }

    fn contains(&self, at: VmAddr) -> bool {
        self.window.contains(&at)
    }

    fn callee(&self, terms: &Terms, target: Term) -> Callee {
        callee(terms, self.roles, target)
    }

    fn act(&self, terms: &mut Terms, event: &Event, trace: &Trace) -> Act {
        match event {
            Event::Barrier => Act::Barrier,
            Event::Store { address, bytes: 8, value } => {
                let (address, value) = (*address, trace.facts.resolve(terms, *value));
                let (self_, ivar) = (self.roles.self_, self.roles.ivar);
                let cell = terms.add(self.initial.get(self_), self.initial.get(ivar));
                let slot = trace.state.get(self.roles.slot);
                let slot = terms.offset(slot, self.roles.slots);
                if address == cell && terms.as_constant(value) == Some(0) {
                    Act::Clear
                } else if address == slot && value == self.initial.get(self.roles.impl_) {
                    Act::Push
                } else {
                    Act::Store
                }
            }
            Event::Store { .. } => Act::Store,
            Event::Call { target, arguments } => match terms.as_constant(*target) {
                Some(target) if target == self.roles.unlock.0 => Act::Unlock,
                Some(target) if target == self.roles.free.0 => free(terms, arguments, trace),
                _ => Act::Call,
            },
        }
    }
}

/// What is known about the function at `target`: unlock and free take one
/// argument and return nothing (`os/lock.h`, `stdlib.h`).
fn callee(terms: &Terms, roles: &Roles, target: Term) -> Callee {
    match terms.as_constant(target) {
        Some(address) if address == roles.unlock.0 || address == roles.free.0 => {
            Callee { arguments: Some(1), returns: false }
        }
        _ => Callee::UNKNOWN,
    }
}
