//! Breadth-first exploration of every interleaving.
//!
//! Breadth first, so that the first state found to violate a property is one
//! the fewest steps away, and the trace to it a shortest one.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use serde::Serialize;

use super::Move;
use super::model::Model;
use super::properties::Property;
use super::scene::Scene;
use super::state::{Field, State};
use crate::error::Result;
use crate::proof::steps::{Room, Steps};

/// What an exploration found.
#[derive(Clone, Debug, Serialize)]
pub struct Exploration {
    /// The instance explored.
    pub scene: Scene,
    /// Distinct states reached.
    pub states: usize,
    /// Steps from one to another.
    pub transitions: usize,
    /// Steps to the farthest state.
    pub depth: usize,
    /// For every property violated, and every path of the destroyer at fault, a
    /// shortest trace.
    pub violations: Vec<Violation>,
}

/// A shortest way to a state that violates a property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// The path of the destroyer at fault, where it is one's fault.
    pub room: Option<Room>,
    /// How to get there.
    #[serde(flatten)]
    pub trace: Trace,
}

/// A way from an initial state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// Blocks in the freelist at the start.
    pub in_freelist: u8,
    /// The steps, in order.
    pub moves: Vec<Move>,
}

impl Exploration {
    /// A shortest trace that violates `property`, on any path.
    pub fn violation(&self, property: Property) -> Option<&Violation> {
        self.violations
            .iter()
            .filter(|v| v.property == property)
            .min_by_key(|v| v.trace.moves.len())
    }

    /// Whether no state reached violates `property`.
    pub fn holds(&self, property: Property) -> bool {
        self.violation(property).is_none()
    }
}

/// Reaches every state of the scene.
pub fn explore(steps: &Steps, scene: Scene) -> Result<Exploration> {
    let model = Model::new(steps, scene)?;
    let mut search = Search::from(&model);
    let mut first: BTreeMap<(Property, Option<Room>), usize> = BTreeMap::new();
    let mut next = 0;
    while let Some(&state) = search.states.get(next) {
        model.violations(state, |property, room| {
            first.entry((property, room)).or_insert(next);
        });
        search.expand(&model, next);
        next += 1;
    }
    let violations = first
        .into_iter()
        .map(|((property, room), at)| Violation { property, room, trace: search.trace(&model, at) })
        .collect();
    Ok(Exploration {
        scene,
        states: search.states.len(),
        transitions: search.transitions,
        depth: search.depth(),
        violations,
    })
}

/// A shortest way to a reader that works on a block which was freed or belongs
/// to another encoder by now, given back on the path `room`; nothing where no
/// interleaving leads there.
pub fn shortest_harm(steps: &Steps, scene: Scene, room: Room) -> Result<Option<Trace>> {
    let model = Model::new(steps, scene)?;
    let mut search = Search::from(&model);
    let mut next = 0;
    while let Some(&state) = search.states.get(next) {
        if model.harm(state) == Some(room) {
            return Ok(Some(search.trace(&model, next)));
        }
        search.expand(&model, next);
        next += 1;
    }
    Ok(None)
}

/// Everything reached so far, in the order reached.
struct Search {
    states: Vec<State>,
    /// For each state the one it was first reached from; itself at the start.
    parents: Vec<u32>,
    seen: HashSet<State, BuildHasherDefault<Multiply>>,
    transitions: usize,
    successors: Vec<(Move, State)>,
}

impl Search {
    fn from(model: &Model) -> Search {
        let mut search = Search {
            states: Vec::new(),
            parents: Vec::new(),
            seen: HashSet::default(),
            transitions: 0,
            successors: Vec::new(),
        };
        for state in model.initial() {
            search.reach(state, search.states.len());
        }
        search
    }

    fn reach(&mut self, state: State, from: usize) {
        if self.seen.insert(state) {
            self.states.push(state);
            self.parents.push(from as u32);
        }
    }

    fn expand(&mut self, model: &Model, at: usize) {
        let Some(&state) = self.states.get(at) else { return };
        let mut successors = std::mem::take(&mut self.successors);
        model.successors(state, &mut successors);
        self.transitions += successors.len();
        for (_, after) in &successors {
            self.reach(*after, at);
        }
        self.successors = successors;
    }

    fn parent(&self, at: usize) -> Option<usize> {
        self.parents.get(at).map(|&parent| parent as usize).filter(|&parent| parent != at)
    }

    fn depth(&self) -> usize {
        let last = self.states.len().saturating_sub(1);
        std::iter::successors(Some(last), |&at| self.parent(at)).count().saturating_sub(1)
    }

    fn trace(&self, model: &Model, at: usize) -> Trace {
        let mut way: Vec<State> = std::iter::successors(Some(at), |&at| self.parent(at))
            .filter_map(|at| self.states.get(at).copied())
            .collect();
        way.reverse();
        let mut out = Vec::new();
        let moves = way.windows(2).filter_map(|pair| {
            let &[from, to] = pair else { return None };
            model.successors(from, &mut out);
            out.iter().find(|(_, after)| *after == to).map(|(made, _)| *made)
        });
        let moves = moves.collect();
        Trace { in_freelist: way.first().map_or(0, |s| s.get(Field::OTHERS)), moves }
    }
}

/// Multiplicative hashing: a state is one number whose entropy is spread over
/// all its bits, and no input chooses states to collide.
#[derive(Default)]
struct Multiply(u64);

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0 ^ u64::from(byte)));
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(value) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64((value >> 64) as u64);
        self.write_u64(self.0 ^ value as u64);
    }
}
