//! Bits chosen, moved, counted and put in another order.

use crate::arm64::semantics::flags::FlagsNode;
use crate::arm64::semantics::operation::{Bitfield, Field, MoveWide, OneSource, Operation};
use crate::arm64::semantics::state::State;
use crate::arm64::semantics::term::{Binary, Term, Terms, Unary};

use super::operands::{operand, shift};

/// Executes an instruction on the bits of its operands.
pub fn execute(terms: &mut Terms, state: &mut State, operation: &Operation) {
    match *operation {
        Operation::MoveWide { wide, to, kind, value, shift } => {
            let value = move_wide(terms, state, to, kind, value << shift, 0xffff << shift);
            state.write(terms, to, wide, value);
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
        Operation::OneSource { wide, to, from, operation } => {
            let value = state.read(terms, from, wide);
            let value = one_source(terms, value, operation, wide);
            state.write(terms, to, wide, value);
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
