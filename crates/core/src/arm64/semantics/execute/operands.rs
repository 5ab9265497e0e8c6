//! What several classes of instructions share: second operands, shifts, and the flags
//! of a sum.

use crate::arm64::semantics::flags::{Flags, FlagsNode};
use crate::arm64::semantics::memory;
use crate::arm64::semantics::operation::Operand;
use crate::arm64::semantics::state::State;
use crate::arm64::semantics::term::{Binary, Term, Terms, Unary};

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
pub fn shift(terms: &mut Terms, value: Term, operation: Binary, amount: u8, wide: bool) -> Term {
    let amount = terms.constant(u64::from(amount));
    shift_by(terms, value, operation, amount, wide)
}

pub fn shift_by(
    terms: &mut Terms,
    value: Term,
    operation: Binary,
    amount: Term,
    wide: bool,
) -> Term {
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

pub fn sum_flags(terms: &mut Terms, left: Term, right: Term, subtract: bool, wide: bool) -> Flags {
    let right = if subtract { terms.inverted(wide, right) } else { right };
    let carry = terms.constant(u64::from(subtract));
    terms.flags(FlagsNode::Sum { left, right, carry, wide })
}
