//! Where the old version's unknowns come from, gathered while it is followed.
//!
//! The answers only become worse while more is gathered. A caller asks again when
//! nothing new was found on a whole round.

use std::collections::{BTreeMap, BTreeSet};

use crate::arm64::semantics::{Node, Register, Term, Terms};
use crate::proof::rewrite::origin::{self, Origin, Origins};
use crate::proof::values::{Atom, Point, Value};

/// What an unknown may be, as a set.
type Kinds = u8;

const INDEX: Kinds = 1;
const OBJECT: Kinds = 2;
const OTHER: Kinds = 4;

/// What is known of unknowns.
#[derive(Default)]
pub(super) struct Known {
    kinds: BTreeMap<Atom, Kinds>,
    /// The places an unknown was loaded from.
    loads: BTreeMap<Atom, BTreeSet<Value>>,
    /// The arguments into whose objects an unknown points, where code adds an index that is
    /// not told.
    arguments: BTreeMap<Atom, BTreeSet<Register>>,
    /// What flows together in an unknown.
    flows: BTreeMap<Atom, BTreeSet<Value>>,
    /// Whether anything was learnt.
    pub changed: bool,
}

impl Known {
    /// An instruction makes `atom`: the value of `term` over what is known before.
    pub(super) fn made(&mut self, atom: Atom, point: &Point, terms: &Terms, term: Term) {
        let kind = match terms.node(term) {
            // Half a register is not a pointer.
            _ if is_half(terms, term) => INDEX,
            // What is in the frame may be anything that was put there.
            Node::Memory(_, address, 8)
                if origin::origin(self, point, terms, address) == Origin::Frame =>
            {
                OTHER
            }
            _ => match origin::origin(self, point, terms, term) {
                Origin::Index => INDEX,
                Origin::Object => OBJECT,
                _ => OTHER,
            },
        };
        self.learn(atom, kind);
        if origin::origin(self, point, terms, term) == Origin::Receiver {
            let read = Register::all().filter(|&register| terms.places_in(term).has(register));
            let arguments = read.filter_map(|register| self.argument(point.get(register)));
            let arguments: Vec<Register> = arguments.collect();
            let known = self.arguments.entry(atom).or_default();
            let before = known.len();
            known.extend(arguments);
            self.changed |= known.len() != before;
        }
        if let Node::Memory(_, address, 8) = terms.node(term)
            && let Some(place) = point.value(terms, address)
        {
            self.changed |= self.loads.entry(atom).or_default().insert(place);
        }
    }

    /// The argument that a value is in the object of, if it is one's for sure.
    pub(super) fn argument(&self, value: Value) -> Option<Register> {
        let index = |atom: &Atom| matches!(atom, Atom::Cell(_)) || self.is_index(*atom);
        let mut objects = value.atoms().filter(|atom| !index(atom));
        let (object, rest) = (objects.next()?, objects.next());
        match (object, self.arguments.get(&object)) {
            _ if rest.is_some() || self.flows.contains_key(&object) => None,
            (Atom::Argument(register), _) if register.index() < 8 => Some(register),
            (Atom::Made(..), Some(arguments)) if arguments.len() == 1 => arguments.first().copied(),
            _ => None,
        }
    }

    /// A call makes `atom`: what it returns, or what it leaves.
    pub(super) fn left_by_call(&mut self, atom: Atom, returned: bool) {
        self.learn(atom, if returned { OBJECT } else { OTHER });
    }

    fn learn(&mut self, atom: Atom, kind: Kinds) {
        let known = self.kinds.entry(atom).or_default();
        self.changed |= *known | kind != *known;
        *known |= kind;
    }

    /// A value comes into `atom`, which is named after a place where ways meet.
    pub(super) fn flows(&mut self, atom: Atom, value: Value) {
        if value != Value::atom(atom) {
            self.changed |= self.flows.entry(atom).or_default().insert(value);
        }
    }

    /// The places that an unknown may have been loaded from.
    pub(super) fn places(&self, atom: Atom) -> BTreeSet<Value> {
        let mut found = BTreeSet::new();
        self.each(atom, &mut |atom| {
            found.extend(self.loads.get(&atom).into_iter().flatten().copied());
        });
        found
    }

    /// The place that an unknown was surely loaded from, whichever way control came.
    pub(super) fn only_place(&self, atom: Atom) -> Option<Value> {
        let mut whole = true;
        self.each(atom, &mut |atom| {
            let flows = self.flows.get(&atom);
            let loaded = self.loads.get(&atom).is_some_and(|places| places.len() == 1);
            let joined = flows.is_some_and(|all| all.iter().all(|v| v.as_atom().is_some()));
            whole &= loaded && flows.is_none() || joined && !self.loads.contains_key(&atom);
        });
        let places = Vec::from_iter(self.places(atom));
        match places[..] {
            [place] if whole => Some(place),
            _ => None,
        }
    }

    /// Visits what flows into an unknown, itself included.
    fn each(&self, atom: Atom, visit: &mut dyn FnMut(Atom)) {
        let (mut seen, mut open) = (BTreeSet::from([atom]), vec![atom]);
        while let Some(atom) = open.pop() {
            visit(atom);
            for value in self.flows.get(&atom).into_iter().flatten() {
                open.extend(value.as_atom().filter(|&atom| seen.insert(atom)));
            }
        }
    }

    fn kinds(&self, atom: Atom) -> Kinds {
        let (mut seen, mut open) = (BTreeSet::from([atom]), vec![atom]);
        let mut kinds = 0;
        while let Some(atom) = open.pop() {
            kinds |= match atom {
                Atom::Argument(_) | Atom::Captured(_) => OTHER,
                Atom::Cell(_) => INDEX,
                Atom::Made(..) | Atom::Joined(..) => self.kinds.get(&atom).copied().unwrap_or(0),
            };
            for value in self.flows.get(&atom).into_iter().flatten() {
                let mut atoms = value.atoms().filter(|atom| !matches!(atom, Atom::Cell(_)));
                match (atoms.next(), atoms.next()) {
                    (Some(one), None) => open.extend(seen.insert(one).then_some(one)),
                    // NULL counts as any object.
                    (None, _) if value.as_constant() == Some(0) => {}
                    (None, _) => kinds |= INDEX,
                    _ => kinds |= OTHER,
                }
            }
        }
        kinds
    }
}

impl Origins for Known {
    fn is_object(&self, atom: Atom) -> bool {
        self.kinds(atom) == OBJECT
    }

    fn is_index(&self, atom: Atom) -> bool {
        self.kinds(atom) == INDEX
    }

    fn is_loaded_from(&self, atom: Atom, place: Value) -> bool {
        self.places(atom).contains(&place)
    }
}

/// Whether a value has its upper half zero because it is one of 32 bits.
fn is_half(terms: &Terms, term: Term) -> bool {
    use crate::arm64::semantics::Binary;
    match terms.node(term) {
        Node::Binary(Binary::And, _, mask) => {
            terms.as_constant(mask).is_some_and(|mask| mask >> 32 == 0)
        }
        Node::Memory(_, _, bytes) => bytes < 8,
        Node::Constant(number) => number >> 32 == 0,
        _ => false,
    }
}
