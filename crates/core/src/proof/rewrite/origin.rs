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

/// The field of the receiver at `address`, if it is one.
pub(super) fn receivers_field(point: &Point, terms: &Terms, address: Term) -> Option<Value> {
    let value = point.value(terms, address)?;
    let mut objects = value.atoms().filter(|atom| !matches!(atom, Atom::Cell(_)));
    let receiver = Atom::Argument(Register::new(0));
    (objects.next() == Some(receiver) && objects.next().is_none()).then_some(value)
}

/// Whether a value is what the receiver's `field` held.
pub(super) fn is_from_field(
    values: &Values<'_>,
    point: &Point,
    terms: &Terms,
    field: Value,
    term: Term,
) -> bool {
    match terms.node(term) {
        Node::Memory(_, address, 8) => receivers_field(point, terms, address) == Some(field),
        _ => match point.value(terms, term).and_then(|value| value.as_atom()) {
            Some(Atom::Made(at, register)) => {
                matches!(values.loaded_from(at, register), Ok(Some(place)) if place == field)
            }
            _ => false,
        },
    }
}

/// Whether the bytes at `address` are surely none of the receiver's `field`.
pub(super) fn is_apart(
    values: &Values<'_>,
    point: &Point,
    terms: &Terms,
    field: Value,
    address: Term,
) -> bool {
    match origin(values, point, terms, address) {
        Origin::Frame | Origin::Object => true,
        Origin::Receiver => {
            let other = point.value(terms, address);
            lock_apart::apart(values, Some(field), other).is_ok()
        }
        // The offset cell of an instance variable is read at its own address.
        Origin::Index => terms.as_constant(address).is_some(),
        Origin::Unknown => false,
    }
}

fn origin(values: &Values<'_>, point: &Point, terms: &Terms, address: Term) -> Origin {
    match terms.node(address) {
        Node::Constant(_) => Origin::Index,
        Node::Register(register) => of_value(values, point.get(register)),
        Node::Memory(_, _, 8) | Node::Returned(..) => Origin::Object,
        Node::Memory(..) | Node::Unary(Unary::SignExtend(_), _) => Origin::Index,
        Node::Binary(Binary::ShiftLeft, ..) => Origin::Index,
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

fn of_value(values: &Values<'_>, value: Value) -> Origin {
    let is_index = |atom: &Atom| matches!(atom, Atom::Cell(_)) || values.is_index(*atom);
    let mut objects = value.atoms().filter(|atom| !is_index(atom));
    let (Some(object), rest) = (objects.next(), objects.next()) else { return Origin::Index };
    match object {
        _ if rest.is_some() => Origin::Unknown,
        Atom::Argument(Register::SP) => Origin::Frame,
        Atom::Argument(register) if register == Register::new(0) => Origin::Receiver,
        object if values.is_object(object) => Origin::Object,
        _ => Origin::Unknown,
    }
}
