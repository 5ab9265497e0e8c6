//! One instruction's effect on a symbolic state.

use super::flags::{Condition, FlagsNode};
use super::memory;
use super::operation::{Bitfield, Field, Modifier, MoveWide, OneSource, Operand, Operation};
use super::state::{Next, State, Test};
use super::term::{Binary, Event, Key, Term, Terms, Unary};

/// Executes `operation`. A call is left to the caller to carry out, who knows
/// the callee: the state is that in which the callee begins, but for `x30`.
pub fn execute(terms: &mut Terms, state: &mut State, operation: &Operation) -> Next {
    match *operation {
        Operation::Nothing => {}
        Operation::Barrier => state.record(terms, Event::Barrier),
        Operation::Trap
        | Operation::Branch { .. }
        | Operation::BranchIf { .. }
        | Operation::BranchOnZero { .. }
        | Operation::BranchOnBit { .. }
        | Operation::Call { .. }
        | Operation::BranchRegister { .. }
        | Operation::CallRegister { .. }
        | Operation::Return { .. } => return transfer(terms, state, operation),
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
        Operation::ReadSystem { to } => {
            let value = terms.unspecified();
            state.write(terms, to, true, value);
        }
        Operation::Access { .. }
        | Operation::AccessPair { .. }
        | Operation::LoadLiteral { .. }
        | Operation::Atomic { .. }
        | Operation::CompareAndSwap { .. } => memory::execute(terms, state, operation),
        Operation::VectorImmediate { .. }
        | Operation::VectorLogical { .. }
        | Operation::VectorDuplicate { .. }
        | Operation::VectorFromGeneral { .. }
        | Operation::GeneralFromVector { .. } => vector(terms, state, operation),
        Operation::Unmodelled { writes, memory, .. } => state.forget(terms, writes, memory),
        _ => compute(terms, state, operation),
    }
    Next::Fall
}

fn transfer(terms: &mut Terms, state: &mut State, operation: &Operation) -> Next {
    match *operation {
        Operation::Branch { target } => Next::Go(terms.constant(target.0)),
        Operation::Call { target } => Next::Call(terms.constant(target.0)),
        Operation::BranchIf { condition, target } => {
            let target = terms.constant(target.0);
            let condition = Condition::encoded(condition, state.flags);
            let test = match condition.as_zero_test(terms) {
                Some((term, zero)) => Test::Zero(term, zero),
                None => Test::Flags(condition),
            };
            Next::Either(test, target)
        }
        Operation::BranchOnZero { wide, register, zero, target } => {
            let value = state.read(terms, register, wide);
            Next::Either(Test::Zero(value, zero), terms.constant(target.0))
        }
        Operation::BranchOnBit { register, bit, set, target } => {
            let value = state.read(terms, register, true);
            let value = terms.mask(value, 1 << bit);
            Next::Either(Test::Zero(value, !set), terms.constant(target.0))
        }
        Operation::BranchRegister { register, authenticate } => {
            Next::Go(code_pointer(terms, state, register, authenticate))
        }
        Operation::CallRegister { register, authenticate } => {
            Next::Call(code_pointer(terms, state, register, authenticate))
        }
        Operation::Return { register, authenticate } => {
            Next::Return(code_pointer(terms, state, register, authenticate))
        }
        _ => Next::Trap,
    }
}

fn code_pointer(
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

/// The value of a second operand, cut to the width.
pub fn operand(terms: &mut Terms, state: &State, operand: Operand, wide: bool) -> Term {
    match operand {
        Operand::Immediate(value) => terms.constant(value),
        Operand::Shifted(field, operation, amount) => {
            let value = state.read(terms, field, wide);
            shift(terms, value, operation, amount, wide)
        }
        Operand::Extended(field, extend, amount) => {
            let value = state.read(terms, field, true);
            let value = memory::extended(terms, value, extend);
            let amount = terms.constant(u64::from(amount));
            let value = terms.binary(Binary::ShiftLeft, value, amount);
            terms.of_width(wide, value)
        }
    }
}

/// Shifts a value of that width, cut to it, by less than it.
fn shift(terms: &mut Terms, value: Term, operation: Binary, amount: u8, wide: bool) -> Term {
    let amount = terms.constant(u64::from(amount));
    shift_by(terms, value, operation, amount, wide)
}

fn shift_by(terms: &mut Terms, value: Term, operation: Binary, amount: Term, wide: bool) -> Term {
    if wide {
        return terms.binary(operation, value, amount);
    }
    let amount = terms.mask(amount, 31);
    let (value, operation) = match operation {
        Binary::ShiftRightSigned => (terms.unary(Unary::SignExtend(32), value), operation),
        Binary::RotateRight => (value, Binary::RotateRight32),
        _ => (value, operation),
    };
    let shifted = terms.binary(operation, value, amount);
    terms.of_width(false, shifted)
}

fn compute(terms: &mut Terms, state: &mut State, operation: &Operation) {
    match *operation {
        Operation::Address { to, value } => {
            let value = terms.constant(value);
            state.write(terms, to, true, value);
        }
        Operation::MoveWide { wide, to, kind, value, shift } => {
            let value = move_wide(terms, state, to, kind, value << shift, 0xffff << shift);
            state.write(terms, to, wide, value);
        }
        Operation::AddSubtract { wide, to, left, right, subtract, flags } => {
            let left = state.read(terms, left, wide);
            let right = operand(terms, state, right, wide);
            let operation = if subtract { Binary::Subtract } else { Binary::Add };
            let value = terms.binary(operation, left, right);
            if flags {
                state.flags = sum_flags(terms, left, right, subtract, wide);
            }
            state.write(terms, to, wide, value);
        }
        Operation::WithCarry { wide, to, left, right, subtract } => {
            let left = state.read(terms, left, wide);
            let right = state.read(terms, right, wide);
            let right = if subtract { terms.invert(right) } else { right };
            let carry = terms.indicator(Condition::encoded(2, state.flags));
            let sum = terms.add(left, right);
            let sum = terms.add(sum, carry);
            state.write(terms, to, wide, sum);
        }
        Operation::Logical { wide, to, left, right, operation, invert, flags } => {
            let left = state.read(terms, left, wide);
            let right = operand(terms, state, right, wide);
            let right = if invert { terms.inverted(wide, right) } else { right };
            let value = terms.binary(operation, left, right);
            let value = terms.of_width(wide, value);
            if flags {
                state.flags = terms.flags(FlagsNode::Logic { value, wide });
            }
            state.write(terms, to, wide, value);
        }
        Operation::Compare { wide, left, right, subtract, condition, otherwise } => {
            let left = state.read(terms, left, wide);
            let right = operand(terms, state, right, wide);
            let condition = Condition::encoded(condition, state.flags);
            let compared = sum_flags(terms, left, right, subtract, wide);
            let node = match condition.decided(terms) {
                Some(true) => terms.flags_node(compared),
                Some(false) => FlagsNode::Constant(otherwise),
                None => FlagsNode::Choice(condition, compared, otherwise),
            };
            state.flags = terms.flags(node);
        }
        _ => compute_more(terms, state, operation),
    }
}

fn compute_more(terms: &mut Terms, state: &mut State, operation: &Operation) {
    match *operation {
        Operation::Bitfield { wide, to, from, kind, rotate, top } => {
            let value = bitfield(terms, state, wide, (to, from), kind, (rotate, top));
            state.write(terms, to, wide, value);
        }
        Operation::Extract { wide, to, high, low, lsb } => {
            let high = state.read(terms, high, wide);
            let mut value = state.read(terms, low, wide);
            if lsb > 0 {
                let bits = if wide { 64 } else { 32 };
                let low = shift(terms, value, Binary::ShiftRight, lsb, wide);
                let high = shift(terms, high, Binary::ShiftLeft, bits - lsb, wide);
                value = terms.binary(Binary::Or, high, low);
            }
            state.write(terms, to, wide, value);
        }
        Operation::Select { wide, to, then, otherwise, condition, invert, increment } => {
            let then = state.read(terms, then, wide);
            let mut other = state.read(terms, otherwise, wide);
            if invert {
                other = terms.inverted(wide, other);
            }
            if increment {
                other = terms.offset(other, 1);
                other = terms.of_width(wide, other);
            }
            let value = terms.select(Condition::encoded(condition, state.flags), then, other);
            state.write(terms, to, wide, value);
        }
        Operation::TwoSources { wide, to, left, right, operation } => {
            let left = state.read(terms, left, wide);
            let right = state.read(terms, right, wide);
            let value = two_sources(terms, left, right, operation, wide);
            state.write(terms, to, wide, value);
        }
        Operation::OneSource { wide, to, from, operation } => {
            let value = state.read(terms, from, wide);
            let value = one_source(terms, value, operation, wide);
            state.write(terms, to, wide, value);
        }
        Operation::MultiplyAdd { wide, to, left, right, addend, subtract, extend } => {
            let widen = |terms: &mut Terms, value| match extend {
                Some(true) => terms.unary(Unary::SignExtend(32), value),
                Some(false) => terms.of_width(false, value),
                None => value,
            };
            let left = state.read(terms, left, wide);
            let left = widen(terms, left);
            let right = state.read(terms, right, wide);
            let right = widen(terms, right);
            let addend = state.read(terms, addend, wide);
            let product = terms.binary(Binary::Multiply, left, right);
            let operation = if subtract { Binary::Subtract } else { Binary::Add };
            let value = terms.binary(operation, addend, product);
            state.write(terms, to, wide, value);
        }
        Operation::MultiplyHigh { to, left, right, signed } => {
            let left = state.read(terms, left, true);
            let right = state.read(terms, right, true);
            let operation = if signed { Binary::SignedMultiplyHigh } else { Binary::MultiplyHigh };
            let value = terms.binary(operation, left, right);
            state.write(terms, to, true, value);
        }
        _ => {}
    }
}

fn move_wide(
    terms: &mut Terms,
    state: &State,
    to: Field,
    kind: MoveWide,
    value: u64,
    field: u64,
) -> Term {
    match kind {
        MoveWide::Zero => terms.constant(value),
        MoveWide::Inverted => terms.constant(!value),
        MoveWide::Keep => {
            let old = state.read(terms, to, true);
            let kept = terms.mask(old, !field);
            let value = terms.constant(value);
            terms.binary(Binary::Or, kept, value)
        }
    }
}

fn sum_flags(
    terms: &mut Terms,
    left: Term,
    right: Term,
    subtract: bool,
    wide: bool,
) -> super::Flags {
    let right = if subtract { terms.inverted(wide, right) } else { right };
    let carry = terms.constant(u64::from(subtract));
    terms.flags(FlagsNode::Sum { left, right, carry, wide })
}

fn bitfield(
    terms: &mut Terms,
    state: &State,
    wide: bool,
    (to, from): (Field, Field),
    kind: Bitfield,
    (rotate, top): (u8, u8),
) -> Term {
    let bits = if wide { 64 } else { 32 };
    let source = state.read(terms, from, wide);
    let (from_bit, to_bit, width) =
        if top >= rotate { (rotate, 0, top - rotate + 1) } else { (0, bits - rotate, top + 1) };
    let ones = u64::MAX >> (64 - width);
    let from_bit = terms.constant(u64::from(from_bit));
    let taken = terms.binary(Binary::ShiftRight, source, from_bit);
    let taken = match kind {
        Bitfield::Signed => terms.unary(Unary::SignExtend(width), taken),
        _ => terms.mask(taken, ones),
    };
    let shift = terms.constant(u64::from(to_bit));
    let placed = terms.binary(Binary::ShiftLeft, taken, shift);
    if kind != Bitfield::Insert {
        return placed;
    }
    let old = state.read(terms, to, wide);
    let kept = terms.mask(old, !(ones << to_bit));
    terms.binary(Binary::Or, kept, placed)
}

fn two_sources(terms: &mut Terms, left: Term, right: Term, operation: Binary, wide: bool) -> Term {
    match operation {
        Binary::SignedDivide if !wide => {
            let left = terms.unary(Unary::SignExtend(32), left);
            let right = terms.unary(Unary::SignExtend(32), right);
            terms.binary(operation, left, right)
        }
        Binary::Divide | Binary::SignedDivide => terms.binary(operation, left, right),
        _ => shift_by(terms, left, operation, right, wide),
    }
}

fn one_source(terms: &mut Terms, value: Term, operation: OneSource, wide: bool) -> Term {
    match operation {
        OneSource::ReverseBytes(group) => terms.unary(Unary::ReverseBytes(group), value),
        OneSource::ReverseBits if wide => terms.unary(Unary::ReverseBits, value),
        OneSource::ReverseBits => {
            let reversed = terms.unary(Unary::ReverseBits, value);
            shift(terms, reversed, Binary::ShiftRight, 32, true)
        }
        OneSource::LeadingZeros => {
            let zeros = terms.unary(Unary::LeadingZeros, value);
            if wide { zeros } else { terms.offset(zeros, 32_u64.wrapping_neg()) }
        }
    }
}

fn vector(terms: &mut Terms, state: &mut State, operation: &Operation) {
    let zero = terms.constant(0);
    match *operation {
        Operation::VectorImmediate { to, low, high } => {
            let halves = (terms.constant(low), terms.constant(high));
            state.set_vector(to, halves);
        }
        Operation::VectorLogical { to, left, right, operation, both } => {
            let (left, right) = (state.vector(left), state.vector(right));
            let low = terms.binary(operation, left.0, right.0);
            let high = if both { terms.binary(operation, left.1, right.1) } else { zero };
            state.set_vector(to, (low, high));
        }
        Operation::VectorDuplicate { to, from, lane, both } => {
            let value = state.read(terms, from, true);
            let value = terms.bytes(value, lane);
            let copies = (0..8 / lane).map(|n| 1_u64 << (8 * lane * n)).sum();
            let copies = terms.constant(copies);
            let half = terms.binary(Binary::Multiply, value, copies);
            state.set_vector(to, (half, if both { half } else { zero }));
        }
        Operation::VectorFromGeneral { wide, to, from } => {
            let value = state.read(terms, from, wide);
            state.set_vector(to, (value, zero));
        }
        Operation::GeneralFromVector { wide, to, from } => {
            let (low, _) = state.vector(from);
            state.write(terms, to, wide, low);
        }
        _ => {}
    }
}
