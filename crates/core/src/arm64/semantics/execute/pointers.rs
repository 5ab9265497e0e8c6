//! Pointers that are signed, and the code that they lead to.

use crate::arm64::semantics::operation::{Field, Modifier, Operation};
use crate::arm64::semantics::state::State;
use crate::arm64::semantics::term::{Binary, Key, Term, Terms, Unary};

/// Signs, authenticates or strips a pointer.
pub fn execute(terms: &mut Terms, state: &mut State, operation: &Operation) {
    match *operation {
        Operation::Sign { key, register, modifier } => {
            let modifier = modifier_value(terms, state, modifier);
            let value = terms.binary(Binary::Sign(key), state.get(register), modifier);
            state.set(register, value);
        }
        Operation::Authenticate { key, register, modifier } => {
            let value = authenticated(terms, state, Some(register), key, modifier);
            state.set(register, value);
        }
        Operation::Strip { register } => {
            let value = state.read(terms, register, true);
            let value = terms.unary(Unary::Strip, value);
            state.write(terms, register, true, value);
        }
        _ => {}
    }
}

pub fn code_pointer(
    terms: &mut Terms,
    state: &mut State,
    register: Field,
    authenticate: Option<(Key, Modifier)>,
) -> Term {
    match authenticate {
        Some((key, modifier)) => authenticated(terms, state, register, key, modifier),
        None => state.read(terms, register, true),
    }
}

fn authenticated(
    terms: &mut Terms,
    state: &mut State,
    register: Field,
    key: Key,
    modifier: Modifier,
) -> Term {
    let modifier = modifier_value(terms, state, modifier);
    let value = state.read(terms, register, true);
    let pointer = terms.binary(Binary::Authenticate(key), value, modifier);
    state.faults.push((pointer, 0));
    pointer
}

fn modifier_value(terms: &mut Terms, state: &State, modifier: Modifier) -> Term {
    match modifier {
        Modifier::Zero => terms.constant(0),
        Modifier::Register(register) => state.get(register),
    }
}
