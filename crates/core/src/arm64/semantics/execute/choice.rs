//! What depends on a condition: a value selected, flags compared or not.

use crate::arm64::semantics::flags::{Condition, FlagsNode};
use crate::arm64::semantics::operation::Operation;
use crate::arm64::semantics::state::State;
use crate::arm64::semantics::term::Terms;

use super::operands::{operand, sum_flags};

/// Executes a conditional comparison or selection.
pub fn execute(terms: &mut Terms, state: &mut State, operation: &Operation) {
    match *operation {
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
        _ => {}
    }
}
