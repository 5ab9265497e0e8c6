//! Every way through the window.
//!
//! The window is executed from its first word on an arbitrary state until
//! control leaves it. A branch whose outcome the path so far does not decide
//! splits the path. What an instruction does is recognised by its effect on
//! that state and not by its word: the clear is the store of zero to
//! `self + ivar`, however it is written.

use std::ops::Range;

use serde::Serialize;

use super::function::Function;
use super::path_condition::PathCondition;
use super::site::Roles;
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{
    Callee, Event, History, Next, Operation, Register, State, Term, Terms, Test, execute,
};
use crate::error::{Code, Error, Result};

/// More paths than a window of a dozen words can sensibly have.
const MAX_PATHS: usize = 1024;

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

/// A path with everything known about it.
#[derive(Clone)]
pub(super) struct Trace {
    pub path: Path,
    pub facts: PathCondition,
    /// The tests behind the decisions.
    pub tests: Vec<(VmAddr, Test)>,
    /// What others can see, in order.
    pub events: Vec<Seen>,
    pub state: State,
    /// What may fault, in order.
    pub faults: Vec<Fault>,
}

/// A load, or an authentication.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub at: VmAddr,
    pub address: Term,
    pub bytes: u8,
    /// How many calls come before it: what is behind an address may change with
    /// each.
    pub calls: usize,
}

/// An event and the instruction that causes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub at: VmAddr,
    pub act: Act,
    pub event: Event,
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

/// The code that is walked, and what its effects mean.
pub(super) trait Ground {
    /// The instruction at an address.
    fn operation(&self, at: VmAddr) -> Result<Operation>;

    /// The word at an address, to be named in an error.
    fn word(&self, at: VmAddr) -> Word;

    /// Whether the walk goes on at an address; where not, a path ends.
    fn contains(&self, at: VmAddr) -> bool;

    /// Whether the address is in code of the rewrite's own outside the function,
    /// which is walked like a part of it.
    fn is_added(&self, _at: VmAddr) -> bool {
        false
    }

    /// Whether an address where the walk does not go on is in the function.
    fn is_in_function(&self, _at: VmAddr) -> bool {
        false
    }

    /// What a value is that was loaded, where that is known better.
    fn loaded(&self, _terms: &Terms, _value: Term) -> Option<Term> {
        None
    }

    /// What is known of the function that is called.
    fn callee(&self, terms: &Terms, target: Term) -> Callee;

    /// What an event is to the encoder, the pool and its lock.
    fn act(&self, terms: &mut Terms, event: &Event, trace: &Trace) -> Act;

    /// Whether loads are compared as if the event had not been.
    fn is_apart(&self, _act: Act) -> bool {
        false
    }
}

/// Every way from `start` on until control leaves `ground`, from a state in which
/// `facts` hold.
pub(super) fn walk(
    terms: &mut Terms,
    ground: &dyn Ground,
    start: VmAddr,
    initial: State,
    facts: PathCondition,
) -> Result<Vec<Trace>> {
    let mut walk = Walk { terms, ground };
    let path = Path { decisions: Vec::new(), steps: Vec::new(), exit: Exit::To(start) };
    let first = Trace {
        path,
        facts,
        tests: Vec::new(),
        events: Vec::new(),
        state: initial,
        faults: Vec::new(),
    };
    let mut open = vec![(start, first)];
    let mut done = Vec::new();
    while let Some((at, trace)) = open.pop() {
        if open.len() + done.len() > MAX_PATHS {
            return Err(Error::new(Code::NotUnderstood, "the window has too many paths")
                .with("address", start));
        }
        for (next, trace) in walk.step(at, trace)? {
            match next {
                Exit::To(to) if ground.contains(to) => open.push((to, trace)),
                exit => done.push(Trace { path: Path { exit, ..trace.path.clone() }, ..trace }),
            }
        }
    }
    Ok(done)
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

/// A call of `free`, given what the path knows of its argument.
pub(super) fn free(terms: &Terms, arguments: &[Term], trace: &Trace) -> Act {
    let argument = arguments.first().copied();
    let zero = argument.and_then(|term| trace.facts.is_zero(terms, term));
    Act::Free { null: zero == Some(true) }
}

/// How often a path may come to an instruction of the rewrite's own code, which
/// several places of the function may share.
const MAX_VISITS: usize = 16;

struct Walk<'a> {
    terms: &'a mut Terms,
    ground: &'a dyn Ground,
}

impl Walk<'_> {
    /// Executes the instruction at `at`; what follows, one or two of them.
    fn step(&mut self, at: VmAddr, mut trace: Trace) -> Result<Vec<(Exit, Trace)>> {
        let visits = trace.path.steps.iter().filter(|step| step.at == at).count();
        if visits >= if self.ground.is_added(at) { MAX_VISITS } else { 1 } {
            return Err(Error::new(Code::LoopInWindow, "the window contains a loop")
                .with("address", at)
                .next("this tool proves only windows without loops or indirect branches"));
        }
        let operation = self.ground.operation(at)?;
        if matches!(operation, Operation::Unmodelled { .. }) {
            return Err(Error::new(
                Code::NotUnderstood,
                "the window contains an instruction whose effect is not modelled",
            )
            .with("address", at)
            .with("word", self.ground.word(at)));
        }
        let before = trace.state.history;
        let next = execute(self.terms, &mut trace.state, &operation);
        self.known_better(&mut trace.state);
        let calls = trace.events.iter().filter(|seen| matches!(seen.event, Event::Call { .. }));
        let calls = calls.count();
        let faults = std::mem::take(&mut trace.state.faults).into_iter();
        trace.faults.extend(faults.map(|(address, bytes)| Fault { at, address, bytes, calls }));
        let next = self.through_own_code(at, next, &mut trace);
        if let Next::Call(target) = next {
            self.call(target, &mut trace);
        }
        self.note(at, before, &mut trace);
        let following = at.instruction(1);
        Ok(match next {
            Next::Fall | Next::Call(_) => vec![(Exit::To(following), trace)],
            Next::Trap => vec![(Exit::Trap(at), trace)],
            Next::Return(target) => {
                // What a return goes to is part of the state at the exit.
                trace.state.set(Register::LR, target);
                vec![(Exit::Return(at), trace)]
            }
            Next::Go(target) => vec![(Exit::To(self.address(at, target)?), trace)],
            Next::Either(test, target) => {
                let target = self.address(at, target)?;
                let fell = self.outcome(at, &trace, test.negated(), false);
                let taken = self.outcome(at, &trace, test, true);
                let taken = taken.map(|trace| (Exit::To(target), trace));
                taken.into_iter().chain(fell.map(|trace| (Exit::To(following), trace))).collect()
            }
        })
    }

    /// Puts in what loads are known to give.
    fn known_better(&mut self, state: &mut State) {
        for register in Register::all() {
            if let Some(value) = self.ground.loaded(self.terms, state.get(register)) {
                state.set(register, value);
            }
        }
    }

    fn call(&mut self, target: Term, trace: &mut Trace) {
        let callee = self.ground.callee(self.terms, target);
        trace.state.call(self.terms, target, callee);
    }

    /// Calls into the rewrite's own code are followed there and back; its last
    /// instruction branches to a function, which returns to the caller.
    fn through_own_code(&mut self, at: VmAddr, next: Next, trace: &mut Trace) -> Next {
        let constant = |terms: &Terms, target| terms.as_constant(target).map(VmAddr);
        match next {
            Next::Call(target)
                if constant(self.terms, target).is_some_and(|to| self.ground.is_added(to)) =>
            {
                let back = self.terms.constant(at.instruction(1).0);
                trace.state.set(Register::LR, back);
                Next::Go(target)
            }
            Next::Go(target)
                if self.ground.is_added(at)
                    && constant(self.terms, trace.state.get(Register::LR)).is_some()
                    && constant(self.terms, target).is_some_and(|to| {
                        !self.ground.contains(to) && !self.ground.is_in_function(to)
                    }) =>
            {
                let back = trace.state.get(Register::LR);
                self.call(target, trace);
                Next::Go(back)
            }
            Next::Return(target)
                if self.ground.is_added(at) && constant(self.terms, target).is_some() =>
            {
                Next::Go(target)
            }
            next => next,
        }
    }

    fn address(&self, at: VmAddr, target: Term) -> Result<VmAddr> {
        self.terms.as_constant(target).map(VmAddr).ok_or_else(|| {
            Error::new(Code::UnresolvedBranch, "the window contains an indirect branch")
                .with("address", at)
        })
    }

    /// The path on which `test` holds, unless nothing satisfies it.
    fn outcome(&self, at: VmAddr, trace: &Trace, test: Test, taken: bool) -> Option<Trace> {
        let mut facts = trace.facts.clone();
        if !facts.assume(self.terms, test) {
            return None;
        }
        let mut path = trace.path.clone();
        let mut tests = trace.tests.clone();
        if facts != trace.facts {
            path.decisions.push(Decision { at, taken });
            tests.push((at, test));
        }
        Some(Trace { path, facts, tests, ..trace.clone() })
    }

    /// Adds what happened since `before` to the path.
    fn note(&mut self, at: VmAddr, before: History, trace: &mut Trace) {
        let mut events = Vec::new();
        let mut history = trace.state.history;
        while history != before {
            let Some((earlier, event)) = self.terms.last_event(history) else { break };
            events.push(event.clone());
            history = earlier;
        }
        if events.is_empty() {
            trace.path.steps.push(Step { at, act: Act::Silent });
        }
        trace.state.history = before;
        for event in events.into_iter().rev() {
            let act = self.ground.act(self.terms, &event, trace);
            if !self.ground.is_apart(act) {
                trace.state.history = self.terms.after(trace.state.history, event.clone());
            }
            trace.path.steps.push(Step { at, act });
            trace.events.push(Seen { at, act, event });
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
