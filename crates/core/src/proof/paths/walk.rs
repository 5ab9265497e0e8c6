//! Code is executed from one place on, along every way, until control leaves it.
//!
//! What is walked and what its effects mean is for a [`Ground`] to say: the window of a
//! signature, or the part of a function that a rewrite changed.

use super::{Act, Decision, Exit, Path, Step};
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{
    Callee, Event, History, Next, Operation, Register, State, Term, Terms, Test, execute,
};
use crate::error::{Code, Error, Result};
use crate::proof::path_condition::PathCondition;

/// More paths than a window of a dozen words can sensibly have.
const MAX_PATHS: usize = 1024;

/// A path with everything known about it.
#[derive(Clone)]
pub(in crate::proof) struct Trace {
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
pub(in crate::proof) struct Fault {
    pub at: VmAddr,
    pub address: Term,
    pub bytes: u8,
    /// How many calls come before it: what is behind an address may change with
    /// each.
    pub calls: usize,
}

/// An event and the instruction that causes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proof) struct Seen {
    pub at: VmAddr,
    pub act: Act,
    pub event: Event,
}

/// The code that is walked, and what its effects mean.
pub(in crate::proof) trait Ground {
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
pub(in crate::proof) fn walk(
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

/// A call of `free`, given what the path knows of its argument.
pub(in crate::proof) fn free(terms: &Terms, arguments: &[Term], trace: &Trace) -> Act {
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
