//! Which object an address lies in.
//!
//! Code says where a pointer comes from: it was the receiver, it was loaded or
//! returned, or it is the frame. A receiver's field and a place in an object that
//! was loaded do not overlap; that is the one thing taken for granted here, and it
//! is what the obligations that rest on it say. Indices, which are narrow or
//! shifted, do not count as pointers.

use crate::arm64::semantics::{Binary, Node, Register, Term, Terms, Unary};
use crate::proof::lock_apart;
use crate::proof::values::{Atom, Point, Value, Values};

/// What is known of unknowns: where they come from.
pub(in crate::proof) trait Origins {
    /// Whether it is a pointer to an object of its own, loaded whole or returned.
    fn is_object(&self, atom: Atom) -> bool;

    /// Whether it is a number and not a pointer.
    fn is_index(&self, atom: Atom) -> bool;

    /// Whether it may be what was loaded from a place.
    fn is_loaded_from(&self, atom: Atom, place: Value) -> bool;
}

impl Origins for Values<'_> {
    fn is_object(&self, atom: Atom) -> bool {
        Values::is_object(self, atom)
    }

    fn is_index(&self, atom: Atom) -> bool {
        Values::is_index(self, atom)
    }

    fn is_loaded_from(&self, atom: Atom, place: Value) -> bool {
        let Atom::Made(at, register) = atom else { return false };
        matches!(self.loaded_from(at, register), Ok(Some(from)) if from == place)
    }
}

/// The object of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A number or an index; no object.
    Index,
    /// The method's receiver.
    Receiver,
    /// The frame of the function.
    Frame,
    /// An object whose address was loaded or returned.
    Object,
    /// Cannot be told.
    Unknown,
}

/// The field of the receiver at `address`, if it is one. The receiver is what the caller
/// passed, or the object that a block captured.
pub(super) fn receivers_field(point: &Point, terms: &Terms, address: Term) -> Option<Value> {
    point.value(terms, address).filter(is_receivers)
}

/// Whether an address is in what the caller passed, or in an object a block captured.
pub(super) fn is_receivers(address: &Value) -> bool {
    let mut objects = address.atoms().filter(|atom| !matches!(atom, Atom::Cell(_)));
    objects.next().is_some_and(is_receiver) && objects.next().is_none()
}

fn is_receiver(atom: Atom) -> bool {
    match atom {
        Atom::Argument(register) => register.index() < 8,
        Atom::Captured(_) => true,
        _ => false,
    }
}

/// Whether a value is what the receiver's `field` held.
pub(super) fn is_from_field(
    values: &dyn Origins,
    point: &Point,
    terms: &Terms,
    field: Value,
    term: Term,
) -> bool {
    match terms.node(term) {
        Node::Memory(_, address, 8) => receivers_field(point, terms, address) == Some(field),
        _ => match point.value(terms, term).and_then(|value| value.as_atom()) {
            Some(atom) => values.is_loaded_from(atom, field),
            None => false,
        },
    }
}

/// Whether so many bytes at `address` are surely none of the receiver's `field`.
pub(super) fn is_apart(
    values: &dyn Origins,
    point: &Point,
    terms: &Terms,
    field: Value,
    address: Term,
    bytes: u8,
) -> bool {
    match origin(values, point, terms, address) {
        Origin::Frame | Origin::Object => true,
        Origin::Receiver => {
            let other = point.value(terms, address);
            lock_apart::apart(values, Some(field), other, bytes.into()).is_ok()
        }
        // The offset cell of an instance variable is read at its own address.
        Origin::Index => {
            point.value(terms, address).is_some_and(|value| value.as_constant().is_some())
        }
        Origin::Unknown => false,
    }
}

pub(super) fn origin(values: &dyn Origins, point: &Point, terms: &Terms, address: Term) -> Origin {
    match terms.node(address) {
        Node::Constant(_) => Origin::Index,
        Node::Register(register) => of_value(values, point.get(register)),
        Node::Memory(_, _, 8) => match point.value(terms, address) {
            Some(value) if is_receivers(&value) => Origin::Receiver,
            _ => Origin::Object,
        },
        Node::Returned(..) => Origin::Object,
        Node::Memory(..) | Node::Unary(Unary::SignExtend(_), _) => Origin::Index,
        Node::Binary(Binary::ShiftLeft | Binary::Multiply, ..) => Origin::Index,
        Node::Binary(Binary::And, _, mask) if terms.as_constant(mask).is_some() => Origin::Index,
        Node::Select(_, then, otherwise) => {
            let then = origin(values, point, terms, then);
            let otherwise = origin(values, point, terms, otherwise);
            if then == otherwise { then } else { Origin::Unknown }
        }
        Node::Binary(Binary::Add, left, right) => {
            let left = origin(values, point, terms, left);
            let right = origin(values, point, terms, right);
            match (left, right) {
                (one, Origin::Index) | (Origin::Index, one) => one,
                _ => Origin::Unknown,
            }
        }
        _ => Origin::Unknown,
    }
}

pub(super) fn of_value(values: &dyn Origins, value: Value) -> Origin {
    let is_index = |atom: &Atom| matches!(atom, Atom::Cell(_)) || values.is_index(*atom);
    let mut objects = value.atoms().filter(|atom| !is_index(atom));
    let (Some(object), rest) = (objects.next(), objects.next()) else { return Origin::Index };
    match object {
        _ if rest.is_some() => Origin::Unknown,
        Atom::Argument(Register::SP) => Origin::Frame,
        receiver if is_receiver(receiver) => Origin::Receiver,
        object if values.is_object(object) => Origin::Object,
        _ => Origin::Unknown,
    }
}
