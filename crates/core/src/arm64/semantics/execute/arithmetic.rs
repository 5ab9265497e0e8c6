//! Sums, products and quotients.

use crate::arm64::semantics::flags::Condition;
use crate::arm64::semantics::operation::Operation;
use crate::arm64::semantics::state::State;
use crate::arm64::semantics::term::{Binary, Term, Terms, Unary};

use super::operands::{operand, shift_by, sum_flags};

/// Executes a sum, a product or a quotient; the shifts by a register are encoded with
/// the quotients.
pub fn execute(terms: &mut Terms, state: &mut State, operation: &Operation) {
    match *operation {
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
        Operation::TwoSources { wide, to, left, right, operation } => {
            let left = state.read(terms, left, wide);
            let right = state.read(terms, right, wide);
            let value = two_sources(terms, left, right, operation, wide);
            state.write(terms, to, wide, value);
        }
        _ => {}
    }
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
