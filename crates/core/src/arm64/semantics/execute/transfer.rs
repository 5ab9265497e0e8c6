//! Where execution goes on.

use crate::arm64::semantics::flags::Condition;
use crate::arm64::semantics::operation::Operation;
use crate::arm64::semantics::state::{Next, State, Test};
use crate::arm64::semantics::term::Terms;

use super::pointers::code_pointer;

/// Where a branch, a call or a return leads.
pub fn execute(terms: &mut Terms, state: &mut State, operation: &Operation) -> Next {
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
