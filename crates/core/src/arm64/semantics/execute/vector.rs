//! The vector registers, as pairs of 64-bit halves.

use crate::arm64::semantics::operation::Operation;
use crate::arm64::semantics::state::State;
use crate::arm64::semantics::term::{Binary, Terms};

/// Executes an instruction on vector registers.
pub fn execute(terms: &mut Terms, state: &mut State, operation: &Operation) {
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
        Operation::VectorInsert { to, upper, from, from_upper } => {
            let ((low, high), (kept_low, kept_high)) = (state.vector(from), state.vector(to));
            let half = if from_upper { high } else { low };
            let halves = if upper { (kept_low, half) } else { (half, kept_high) };
            state.set_vector(to, halves);
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
