//! What is known where the two versions stand before a pair of instructions.
//!
//! Both versions started in one state and made the same stores and calls, so memory is
//! the same but for a field that only the new one has cleared yet, and a register holds
//! the same in both unless it is listed. What registers hold is named after the old
//! version; of a register that differs, the new version's value is kept beside it where
//! it is known.

use std::collections::BTreeMap;

use super::condition::Compared;
use super::origins::Known;
use crate::address::VmAddr;
use crate::arm64::semantics::{Node, Register, RegisterSet, Term, Terms};
use crate::proof::values::{Atom, Point, Value};

/// Eight bytes of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// What the old version has there.
    pub value: Option<Value>,
    /// What the new version has there, if it may be something else.
    pub own: Option<Option<Value>>,
}

/// What a load of both versions found in a field of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What the old version has there still, for nothing was done since that might touch
    /// the field; and the new one, unless it has cleared it.
    pub value: Value,
    /// Whether another thread had no chance to change it either, or only while a lock was
    /// waited for: no function was called since but to take one.
    pub undisturbed: bool,
}

/// What holds on every way to a pair of instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    /// The old version's registers.
    pub point: Point,
    /// What may hold another value in the new version.
    pub differ: RegisterSet,
    /// Of these, what a function left in the old version that promises nothing about it, and
    /// that the new version does not call: nothing may count on it.
    pub unpromised: RegisterSet,
    /// The new version's values of such registers.
    pub own: BTreeMap<Register, Value>,
    /// By the distance from the stack pointer at the entry.
    pub frame: BTreeMap<i64, Slot>,
    /// Where the stack pointer was when an address in the frame was handed out: what lies
    /// above may be written by others. What a function that is called puts below is its own.
    pub escaped: Option<i64>,
    /// What fields of the receiver hold.
    pub held: BTreeMap<Value, Found>,
    /// What the flags come from, where it is a comparison with a number.
    pub compared: Option<Compared>,
    /// The vector registers that are zero in the old version, a bit each.
    pub zeroed: u32,
}

impl Fact {
    pub(super) fn new(point: Point) -> Fact {
        Fact {
            point,
            differ: RegisterSet::NONE,
            unpromised: RegisterSet::NONE,
            own: BTreeMap::new(),
            frame: BTreeMap::new(),
            escaped: None,
            held: BTreeMap::new(),
            compared: None,
            zeroed: 0,
        }
    }

    /// The value of a register in the new version.
    pub(super) fn own(&self, register: Register) -> Option<Value> {
        match self.differ.has(register) {
            true => self.own.get(&register).copied(),
            false => Some(self.point.get(register)),
        }
    }

    /// The new version's registers. What is not known has a name of its own.
    pub(super) fn new_point(&self) -> Point {
        let mut point = self.point.clone();
        for register in Register::all().filter(|&register| self.differ.has(register)) {
            let unknown = Value::atom(Atom::Joined(VmAddr(u64::MAX), register));
            point.set(register, self.own(register).unwrap_or(unknown));
        }
        point
    }

    /// Whether a register holds the same in both versions.
    pub(super) fn same_in_both(&self, register: Register) -> bool {
        !self.differ.has(register)
    }

    /// A register holds another value in the new version from here on.
    pub(super) fn set_own(&mut self, register: Register, value: Option<Value>) {
        // What has the same name without being named after an instruction is the same.
        let same = value == Some(self.point.get(register));
        if same && value.is_some_and(is_lasting) {
            return self.set_same(register);
        }
        let place = RegisterSet::general(register);
        (self.differ, self.unpromised) = (self.differ.union(place), self.unpromised.without(place));
        match value {
            Some(value) => self.own.insert(register, value),
            None => self.own.remove(&register),
        };
    }

    /// A register holds the same in both versions from here on.
    pub(super) fn set_same(&mut self, register: Register) {
        self.differ = self.differ.without(RegisterSet::general(register));
        self.own.remove(&register);
    }

    /// How far an address is from the frame's, if it is in the frame.
    pub(super) fn offset(&self, terms: &Terms, address: Term) -> Option<i64> {
        frame_offset(self.point.value(terms, address)?)
    }

    /// The slot that a term loads, if it loads eight bytes of the frame.
    pub(super) fn loaded_slot(&self, terms: &Terms, term: Term) -> Option<Slot> {
        let Node::Memory(_, address, 8) = terms.node(term) else { return None };
        let offset = self.offset(terms, address)?;
        Some(self.frame.get(&offset).copied().unwrap_or(Slot { value: None, own: None }))
    }

    /// So many bytes of the frame hold something else.
    pub(super) fn forget_frame(&mut self, from: i64, bytes: i64) {
        self.frame.retain(|&at, _| at + 8 <= from || from + bytes <= at);
    }

    /// An address in the frame is handed out.
    pub(super) fn escape(&mut self) {
        let bottom = frame_offset(self.point.get(Register::SP)).unwrap_or(i64::MIN);
        self.escaped = Some(self.escaped.map_or(bottom, |before| before.min(bottom)));
    }

    /// A function that got an address in the frame may have written to it; what was
    /// saved there for the return stays.
    pub(super) fn forget_locals(&mut self) {
        let Some(bottom) = self.escaped else { return };
        let saved = |value: Option<Value>| match value.and_then(|value| value.as_atom()) {
            Some(Atom::Argument(register)) => {
                register.is_callee_saved() || register == Register::LR
            }
            _ => value.is_some_and(|value| value.as_constant().is_some_and(|number| number != 0)),
        };
        let reached = |(at, slot): &(&i64, &mut Slot)| **at >= bottom && !saved(slot.value);
        for (_, slot) in self.frame.iter_mut().filter(reached) {
            slot.value = None;
        }
    }

    /// Whether a field was found to be null, and nothing was done since that might touch it.
    pub(super) fn finds_null(&self, field: Value) -> bool {
        let found = self.held.get(&field).filter(|found| found.undisturbed);
        let content = self.point.loaded(field).or(found.map(|found| found.value));
        content.and_then(|content| self.point.is_zero(content)) == Some(true)
    }

    /// A function is called that gives other threads a chance.
    pub(super) fn disturb(&mut self) {
        self.held.values_mut().for_each(|found| found.undisturbed = false);
    }

    /// Control comes to `at` in the old version: what is named after it is renamed.
    pub(super) fn arrive(&mut self, at: VmAddr, known: &mut Known) {
        for register in Register::all() {
            let value = self.point.get(register);
            if value.is_named_after(at) {
                known.flows(Atom::Joined(at, register), value);
            }
        }
        self.point.arrive(at);
        let named = |value: &Value| value.is_named_after(at);
        self.compared = self.compared.filter(|compared| !named(&compared.value));
        self.own.retain(|_, value| !named(value));
        self.held.retain(|field, found| !named(field) && !named(&found.value));
        for slot in self.frame.values_mut() {
            slot.value = slot.value.filter(|value| !named(value));
            slot.own = slot.own.map(|own| own.filter(|value| !named(value)));
        }
    }

    /// Keeps what `other`, another way to `at`, agrees with. Whether anything was lost.
    pub(super) fn join(&mut self, at: VmAddr, other: &Fact, known: &mut Known) -> bool {
        let before = self.clone();
        for register in Register::all() {
            let (one, two) = (self.point.get(register), other.point.get(register));
            if one != two {
                known.flows(Atom::Joined(at, register), one);
                known.flows(Atom::Joined(at, register), two);
            }
        }
        // Of a register that differs on one way only, the new version's value on the
        // other way is the old one's.
        let own = |fact: &Fact, register| fact.own(register);
        let differ = self.differ.union(other.differ);
        let values: BTreeMap<Register, Value> = Register::all()
            .filter(|&register| differ.has(register))
            .filter_map(|register| {
                let (one, two) = (own(self, register)?, own(other, register)?);
                (one == two).then_some((register, one))
            })
            .collect();
        self.point.join(at, &other.point);
        let counted = |fact: &Fact| fact.differ.without(fact.unpromised);
        self.unpromised = differ.without(counted(self)).without(counted(other));
        (self.differ, self.own) = (differ, values);
        self.escaped = [self.escaped, other.escaped].into_iter().flatten().min();
        self.held.retain(|field, found| {
            let same = other.held.get(field).filter(|other| other.value == found.value);
            found.undisturbed &= same.is_some_and(|other| other.undisturbed);
            same.is_some()
        });
        self.compared = self.compared.filter(|_| self.compared == other.compared);
        self.zeroed &= other.zeroed;
        self.join_frame(other);
        *self != before
    }

    fn join_frame(&mut self, other: &Fact) {
        let offsets: Vec<i64> = self.frame.keys().chain(other.frame.keys()).copied().collect();
        let nothing = Slot { value: None, own: None };
        for offset in offsets {
            let get = |fact: &Fact| fact.frame.get(&offset).copied().unwrap_or(nothing);
            let (one, two) = (get(self), get(other));
            let own = match (one.own, two.own) {
                (None, None) => None,
                (one_own, two_own) => {
                    let (a, b) = (one_own.unwrap_or(one.value), two_own.unwrap_or(two.value));
                    Some(a.filter(|_| a == b))
                }
            };
            let value = one.value.filter(|_| one.value == two.value);
            match (value, own) {
                (None, None) => self.frame.remove(&offset),
                _ => self.frame.insert(offset, Slot { value, own }),
            };
        }
    }
}

/// How far a value is from the stack pointer at the entry, if it is that and a number.
pub(super) fn frame_offset(value: Value) -> Option<i64> {
    let mut atoms = value.atoms();
    let frame = atoms.next() == Some(Atom::Argument(Register::SP)) && atoms.next().is_none();
    frame.then_some(value.constant as i64)
}

/// Whether a value is the same whenever it is named.
fn is_lasting(value: Value) -> bool {
    value.atoms().all(|atom| matches!(atom, Atom::Argument(_) | Atom::Cell(_) | Atom::Captured(_)))
}
