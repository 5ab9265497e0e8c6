//! Loads, stores and atomics on a symbolic state.

use super::Register;
use super::flags::{Condition, FlagsNode};
use super::operation::{Address, Atomic, Data, Extend, Field, Operation, Size};
use super::state::State;
use super::term::{Binary, Event, Term, Terms, Unary};

/// Executes a load, a store or an atomic.
pub(super) fn execute(terms: &mut Terms, state: &mut State, operation: &Operation) {
    match *operation {
        Operation::Access { load, register, size, address, ordered } => {
            let (at, base) = address_of(terms, state, address);
            if ordered {
                state.record(terms, Event::Barrier);
            }
            if load {
                let loaded = load_data(terms, state, at, size);
                write_back(state, base);
                set_data(terms, state, register, loaded);
            } else {
                store_data(terms, state, register, at, size);
                write_back(state, base);
            }
        }
        Operation::AccessPair { load, registers, size, address } => {
            let (at, base) = address_of(terms, state, address);
            let second = terms.offset(at, u64::from(size.bytes));
            if load {
                let first = load_data(terms, state, at, size);
                let second = load_data(terms, state, second, size);
                write_back(state, base);
                set_data(terms, state, registers.0, first);
                set_data(terms, state, registers.1, second);
            } else {
                store_data(terms, state, registers.0, at, size);
                store_data(terms, state, registers.1, second, size);
                write_back(state, base);
            }
        }
        Operation::LoadLiteral { to, size, from } => {
            let at = terms.constant(from.0);
            let loaded = load_data(terms, state, at, size);
            set_data(terms, state, to, loaded);
        }
        Operation::Atomic { bytes, to, operand, base, operation } => {
            atomic(terms, state, (to, operand, base), bytes, operation);
        }
        Operation::CompareAndSwap { bytes, compare, new, base } => {
            compare_and_swap(terms, state, (compare, new, base), bytes);
        }
        _ => {}
    }
}

/// The lowest bits of a value, extended to 64.
pub(super) fn extended(terms: &mut Terms, value: Term, extend: Extend) -> Term {
    match extend {
        Extend { bits: 64.., .. } => value,
        Extend { bits, signed: true } => terms.unary(Unary::SignExtend(bits), value),
        Extend { bits, signed: false } => terms.bytes(value, bits / 8),
    }
}

/// The address, and what becomes of the base register.
fn address_of(
    terms: &mut Terms,
    state: &mut State,
    address: Address,
) -> (Term, Option<(Register, Term)>) {
    match address {
        Address::Offset(base, offset) => (terms.offset(state.get(base), offset as u64), None),
        Address::Before(base, offset) => {
            let at = terms.offset(state.get(base), offset as u64);
            (at, Some((base, at)))
        }
        Address::After(base, offset) => {
            let at = state.get(base);
            (at, Some((base, terms.offset(at, offset as u64))))
        }
        Address::Indexed(base, index, extend, shift) => {
            let index = state.read(terms, index, true);
            let index = extended(terms, index, extend);
            let shift = terms.constant(u64::from(shift));
            let index = terms.binary(Binary::ShiftLeft, index, shift);
            (terms.add(state.get(base), index), None)
        }
        Address::Authenticated(key, base, offset, writes_back) => {
            let zero = terms.constant(0);
            let pointer = terms.binary(Binary::Authenticate(key), state.get(base), zero);
            state.faults.push((pointer, 0));
            let at = terms.offset(pointer, offset as u64);
            (at, writes_back.then_some((base, at)))
        }
    }
}

fn write_back(state: &mut State, base: Option<(Register, Term)>) {
    if let Some((register, value)) = base {
        state.set(register, value);
    }
}

fn load_data(terms: &mut Terms, state: &mut State, at: Term, size: Size) -> (Term, Term) {
    state.faults.push((at, size.bytes));
    if size.bytes == 16 {
        let low = terms.memory(state.history, at, 8);
        let next = terms.offset(at, 8);
        return (low, terms.memory(state.history, next, 8));
    }
    let value = terms.memory(state.history, at, size.bytes);
    let value = match size.signed {
        Some(wide) => {
            let value = terms.unary(Unary::SignExtend(size.bytes * 8), value);
            terms.of_width(wide, value)
        }
        None => value,
    };
    (value, terms.constant(0))
}

fn set_data(terms: &mut Terms, state: &mut State, to: Data, value: (Term, Term)) {
    match to {
        Data::General(field) => state.write(terms, field, true, value.0),
        Data::Vector(number) => state.set_vector(number, value),
    }
}

fn store_data(terms: &mut Terms, state: &mut State, from: Data, at: Term, size: Size) {
    let (low, high) = match from {
        Data::General(field) => (state.read(terms, field, true), None),
        Data::Vector(number) => {
            let (low, high) = state.vector(number);
            (low, (size.bytes == 16).then_some(high))
        }
    };
    store(terms, state, at, size.bytes.min(8), low);
    if let Some(high) = high {
        let next = terms.offset(at, 8);
        store(terms, state, next, 8, high);
    }
}

fn store(terms: &mut Terms, state: &mut State, address: Term, bytes: u8, value: Term) {
    let value = terms.bytes(value, bytes);
    state.record(terms, Event::Store { address, bytes, value });
}

/// Atomics are taken as the load and the store they consist of, fenced: nothing
/// may be moved across them.
fn atomic(
    terms: &mut Terms,
    state: &mut State,
    (to, operand, base): (Field, Field, Register),
    bytes: u8,
    operation: Atomic,
) {
    let at = state.get(base);
    state.record(terms, Event::Barrier);
    state.faults.push((at, bytes));
    let old = terms.memory(state.history, at, bytes);
    let operand = state.read(terms, operand, true);
    let new = match operation {
        Atomic::Add => terms.add(old, operand),
        Atomic::Clear => {
            let inverted = terms.invert(operand);
            terms.binary(Binary::And, old, inverted)
        }
        Atomic::Xor => terms.binary(Binary::Xor, old, operand),
        Atomic::Set => terms.binary(Binary::Or, old, operand),
        Atomic::Swap => operand,
    };
    store(terms, state, at, bytes, new);
    state.record(terms, Event::Barrier);
    state.write(terms, to, true, old);
}

fn compare_and_swap(
    terms: &mut Terms,
    state: &mut State,
    (compare, new, base): (Field, Field, Register),
    bytes: u8,
) {
    let at = state.get(base);
    state.record(terms, Event::Barrier);
    state.faults.push((at, bytes));
    let old = terms.memory(state.history, at, bytes);
    let expected = state.read(terms, compare, true);
    let expected = terms.bytes(expected, bytes);
    let new = state.read(terms, new, true);
    let new = terms.bytes(new, bytes);
    let difference = terms.binary(Binary::Xor, old, expected);
    let flags = terms.flags(FlagsNode::Logic { value: difference, wide: true });
    let written = terms.select(Condition::encoded(0, flags), new, old);
    store(terms, state, at, bytes, written);
    state.record(terms, Event::Barrier);
    state.write(terms, compare, true, old);
}
