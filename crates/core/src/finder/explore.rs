//! All paths of a function, one state at a time.
//!
//! States are never joined: each keeps its own history, so that "given back, then
//! unlocked, then cleared" is a fact about one path. Paths end where a state was
//! seen before. Breadth first, so the first path that shows a late clear is among
//! the shortest.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::address::VmAddr;

use super::decode::{ALL, Op, decode};
use super::events::{Notes, Reason};
use super::function::Function;
use super::image::Program;
use super::state::{Cell, State};
use super::story::Telling;
use super::value::{Atom, Tag, UNKNOWN, Value, Values};
use super::worth::Worth;

/// How much is explored before a function is given up.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// States at joins.
    pub states: usize,
    /// Instructions.
    pub steps: usize,
}

/// Visits of one place before values that only count up are forgotten.
const MAX_EXACT_VISITS: u32 = 16;

/// Of the first visits of a place each of these is kept, to be compared with later ones.
const SAMPLE_INTERVAL: u32 = 4;

/// Visits of one place before all is forgotten that loops produce.
const MAX_VISITS: u32 = 96;

/// The states a function may be good for that is called, before the call is passed
/// over.
const MAX_CALLEE_STATES: usize = 120;

/// How often exploration starts again, with another stack slot to track or another
/// call to pass over.
const MAX_RESTARTS: usize = 120;

/// The deepest nesting of calls that is followed.
pub const MAX_CALL_DEPTH: u8 = 16;

struct Node {
    state: Rc<State>,
    parent: u32,
}

/// A load from a table of distances, as `switch` compiles to.
#[derive(Clone, Copy, Debug)]
pub struct TableLoad {
    /// Where the table begins.
    pub table: u64,
    /// Bytes of an entry.
    pub size: u8,
    /// Whether entries are signed.
    pub signed: bool,
}

/// An exploration of one function for one cell.
pub struct Explorer<'p, 'a> {
    pub(super) program: &'p Program<'a>,
    pub(super) values: Values,
    /// The address of the cell under examination; none while looking for cells.
    pub(super) cell: Option<Value>,
    pub(super) notes: Notes,
    /// Where states are to be kept, for a rewrite of the code.
    pub(super) probes: HashMap<u64, Vec<State>>,
    /// The places that states remember having come through.
    pub(super) marks: BTreeSet<u64>,
    /// The ways to the places of `probes`: from which instruction, and in which state.
    pub(super) arrivals: Vec<(u64, State)>,
    pub(super) tables: HashMap<u64, TableLoad>,
    pub(super) shifts: HashMap<u64, (Value, u8)>,
    /// For each instruction that computes a value: where what it computes with was loaded.
    pub(super) roots: HashMap<u64, BTreeSet<Value>>,
    /// What additions and subtractions add up whose sums are not told; none where that
    /// differs.
    pub(super) sums: HashMap<u64, Option<(Value, Value)>>,
    /// Addresses that are stored to, so that two loads may differ.
    pub(super) written: HashSet<Value>,
    pub(super) tracked: BTreeSet<(i64, u8)>,
    /// Whether to start again at once.
    pub(super) again: bool,
    /// Whether to start again in the end, with all that was found to be written.
    pub(super) stale: bool,
    pub(super) steps: usize,
    /// Where it is told what other threads see.
    pub(super) telling: Option<Telling>,
    functions: FxHashMap<u64, Option<Rc<Function>>>,
    pub(super) worth: HashMap<u64, Worth>,
    budget: Budget,
    nodes: Vec<Node>,
    seen: FxHashSet<Rc<State>>,
    /// How often each place was come to, and some of the states.
    visits: HashMap<u64, (u32, Vec<Rc<State>>)>,
    queue: VecDeque<u32>,
    parent: u32,
    /// The function through which the present state runs; zero outside of calls.
    through: u64,
    /// How many states each function has been good for that was called.
    inside: HashMap<u64, usize>,
}

impl<'p, 'a> Explorer<'p, 'a> {
    /// For one program.
    pub fn new(program: &'p Program<'a>, budget: Budget) -> Explorer<'p, 'a> {
        Explorer {
            program,
            values: Values::new(),
            cell: None,
            notes: Notes::default(),
            probes: HashMap::new(),
            marks: BTreeSet::new(),
            arrivals: Vec::new(),
            tables: HashMap::new(),
            shifts: HashMap::new(),
            roots: HashMap::new(),
            sums: HashMap::new(),
            written: HashSet::new(),
            tracked: BTreeSet::new(),
            again: false,
            stale: false,
            steps: 0,
            telling: None,
            functions: FxHashMap::default(),
            worth: HashMap::new(),
            budget,
            nodes: Vec::new(),
            seen: FxHashSet::default(),
            visits: HashMap::new(),
            queue: VecDeque::new(),
            parent: 0,
            through: 0,
            inside: HashMap::new(),
        }
    }

    /// Follows every path of the function at an address.
    pub fn run(&mut self, entry: u64, cell: Option<Value>) -> Notes {
        self.cell = cell;
        self.steps = 0;
        for _ in 0..MAX_RESTARTS {
            self.start(entry);
            while let Some(number) = self.queue.pop_front() {
                self.parent = number;
                let state = State::clone(&self.nodes[number as usize].state);
                self.follow(state);
                if self.again {
                    break;
                }
                // What decides the verdict need not be looked for twice.
                if self.notes.refusals.iter().any(|(_, reason)| !reason.spares_late_clears()) {
                    break;
                }
                if self.nodes.len() > self.budget.states || self.steps > self.budget.steps {
                    self.through = 0;
                    self.inside.clear();
                    self.refuse(entry, Reason::TooManyPaths);
                    break;
                }
            }
            if !self.again && !self.stale {
                break;
            }
        }
        if self.again || self.stale {
            self.notes.refusals.insert((entry, Reason::TooManyPaths));
        }
        std::mem::take(&mut self.notes)
    }

    fn start(&mut self, entry: u64) {
        (self.again, self.stale) = (false, false);
        self.start_telling();
        self.notes = Notes::default();
        self.probes.values_mut().for_each(Vec::clear);
        self.arrivals.clear();
        self.nodes.clear();
        self.seen.clear();
        self.visits.clear();
        self.queue.clear();
        self.inside.clear();
        self.parent = u32::MAX;
        self.through = 0;
        let state = State::entry(entry, &mut self.values);
        self.arrive(state);
    }

    /// Follows a state to the next joins.
    fn follow(&mut self, state: State) {
        let mut open = vec![state];
        let mut next = Vec::new();
        let mut first = true;
        while let Some(mut state) = open.pop() {
            self.through = state.through;
            let function = self.function_at(state.at);
            if function.is_none() && self.program.function(state.at).is_some() {
                self.refuse(state.at, Reason::TooLong);
                continue;
            }
            if !first && function.as_deref().is_none_or(|function| function.is_join(state.at)) {
                self.arrive(state);
                continue;
            }
            first = false;
            self.steps += 1;
            if self.steps > self.budget.steps || self.again {
                return;
            }
            if !self.probes.is_empty()
                && let Some(kept) = self.probes.get_mut(&state.at)
            {
                kept.push(state.clone());
            }
            state.marked |= self.marks.contains(&state.at);
            self.through = state.through;
            let from = state.at;
            self.step(state, function.as_deref(), &mut next);
            if !self.probes.is_empty() {
                let there = next.iter().filter(|state| self.probes.contains_key(&state.at));
                self.arrivals.extend(there.map(|state| (from, state.clone())));
            }
            open.append(&mut next);
        }
    }

    /// The instruction at an address.
    pub(super) fn op(&self, at: u64, function: Option<&Function>) -> Op {
        match function {
            Some(function) if function.range.contains(&at) => function.op(at),
            _ => self.program.word(at).map_or(Op::Unknown, |word| decode(word, VmAddr(at))),
        }
    }

    /// The decoded function around an address.
    pub(super) fn function_at(&mut self, at: u64) -> Option<Rc<Function>> {
        let range = self.program.function(at)?;
        let program = self.program;
        self.functions
            .entry(range.start)
            .or_insert_with(|| Function::read(program, range).map(Rc::new))
            .clone()
    }

    /// The registers that are alive at an address.
    pub(super) fn live(&mut self, at: u64) -> u64 {
        self.function_at(at).map_or(ALL, |function| function.live(at))
    }

    /// Takes a state into the queue, unless it was there before.
    fn arrive(&mut self, mut state: State) {
        if state.through != 0 && !self.program.is_fragment(state.through) {
            let visits = self.inside.entry(state.through).or_insert(0);
            *visits += 1;
            if *visits > MAX_CALLEE_STATES {
                self.worth.insert(state.through, Worth::PassedUnknown);
                self.again = true;
                return;
            }
        }
        state.forget(self.live(state.at), &self.values);
        self.widen(&mut state);
        let state = Rc::new(state);
        if !self.seen.insert(Rc::clone(&state)) {
            return;
        }
        self.queue.push_back(self.nodes.len() as u32);
        self.nodes.push(Node { state, parent: self.parent });
    }

    /// Forgets what only counts up, after some visits of a place, so that loops end. What
    /// is somewhere in the block stays that.
    fn widen(&mut self, state: &mut State) {
        let Some((visits, samples)) = self.visits.get_mut(&state.at) else {
            self.visits.insert(state.at, (1, vec![Rc::new(state.clone())]));
            return;
        };
        *visits += 1;
        if *visits <= MAX_EXACT_VISITS {
            if visits.is_multiple_of(SAMPLE_INTERVAL) {
                samples.push(Rc::new(state.clone()));
            }
            return;
        }
        let (many, samples) = (*visits > MAX_VISITS, samples.clone());
        if many {
            state.facts.clear();
        }
        let inside = self.values.atom(Atom::Block);
        let somewhere = self.values.atom(Atom::Fresh(state.at, Tag::Counted));
        let inside = self.values.sum(inside, somewhere).unwrap_or(UNKNOWN);
        let (values, text) = (&self.values, self.program.text());
        let counts = |value: Value, before: &dyn Fn(&State) -> Value| {
            let code = values.constant_of(value).is_some_and(|number| text.contains(&number));
            let moved = samples.iter().any(|sample| {
                values.distance(before(sample), value).is_some_and(|distance| distance != 0)
            });
            let moved = moved || values.distance(inside, value).is_some_and(|far| far != 0);
            let varies = many && values.constant_of(value).is_none();
            let varies = varies && samples.iter().any(|sample| before(sample) != value);
            !code && (moved || varies && !values.has(value, Atom::Block))
        };
        let wide = |value: Value| if values.has(value, Atom::Block) { inside } else { UNKNOWN };
        for register in 0..30 {
            let value = state.registers[register];
            if !state.held.contains(&value) && counts(value, &|sample| sample.registers[register]) {
                state.registers[register] = wide(value);
            }
        }
        for slot in &mut state.slots {
            let place = (slot.0, slot.1);
            if counts(slot.2, &|sample| sample.slot(place.0, place.1).unwrap_or(UNKNOWN)) {
                slot.2 = wide(slot.2);
            }
        }
    }

    /// Notes what is not understood.
    pub(super) fn refuse(&mut self, at: u64, reason: Reason) {
        if self.again {
            return;
        }
        // What goes wrong in a function that is called is taken for its oddness: the
        // call is passed over, and what that leaves open is noted there.
        let piece = self.through == 0 || self.program.is_fragment(self.through);
        if !piece && !reason.spares_late_clears() {
            self.worth.insert(self.through, Worth::PassedUnknown);
            self.again = true;
            return;
        }
        self.notes.refusals.insert((at, reason));
    }

    /// The beginnings of the pieces of code on the way to the present one.
    pub(super) fn path(&self) -> Vec<VmAddr> {
        let mut path = Vec::new();
        let mut number = self.parent;
        while let Some(node) = self.nodes.get(number as usize) {
            path.push(VmAddr(node.state.at));
            number = node.parent;
        }
        path.reverse();
        path
    }

    /// A value that the instruction at `at` makes. What it made in an earlier turn
    /// of a loop becomes unknown.
    pub(super) fn fresh(&mut self, state: &mut State, at: u64, tag: Tag) -> Value {
        let old = |values: &Values, value: Value| values.made_at(value, at);
        let values = &self.values;
        if state.registers.iter().any(|value| old(values, *value))
            || state.slots.iter().any(|slot| old(values, slot.2))
            || state.held.iter().any(|lock| old(values, *lock))
            || state.facts.iter().any(|(q, _)| old(values, q.a) || old(values, q.b))
        {
            if state.held.iter().any(|lock| old(&self.values, *lock)) {
                self.refuse(at, Reason::LockInLoop);
            }
            let values = &self.values;
            state.replace(|value| if old(values, value) { UNKNOWN } else { value });
            state.facts.retain(|(q, _)| !old(values, q.a) && !old(values, q.b));
        }
        self.values.atom(Atom::Fresh(at, tag))
    }

    /// Marks the end of the function on this path.
    pub(super) fn end(&mut self, state: &State) {
        if !state.held.is_empty() {
            self.refuse(state.at, Reason::LockKept);
        }
        if state.given.is_some() && state.cell == Cell::Block {
            self.refuse(state.at, Reason::NeverCleared);
        }
        let null = matches!(state.cell, Cell::Null | Cell::Cleared);
        self.end_story(state);
        self.notes.ends.insert((null, state.given.is_some(), state.clears));
    }
}
