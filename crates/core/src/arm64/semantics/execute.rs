//! One instruction's effect on a symbolic state, by class of instruction.

mod arithmetic;
mod bits;
mod choice;
mod operands;
mod pointers;
mod transfer;
mod vector;

use super::memory;
use super::operation::Operation;
use super::state::{Next, State};
use super::term::{Event, Terms};

/// Executes `operation`. A call is left to the caller to carry out, who knows
/// the callee: the state is that in which the callee begins, but for `x30`.
pub fn execute(terms: &mut Terms, state: &mut State, operation: &Operation) -> Next {
    match *operation {
        Operation::Nothing => {}
        Operation::Barrier => state.record(terms, Event::Barrier),
        Operation::Address { to, value } => {
            let value = terms.constant(value);
            state.write(terms, to, true, value);
        }
        Operation::ReadSystem { to } => {
            let value = terms.unspecified();
            state.write(terms, to, true, value);
        }
        Operation::Unmodelled { writes, memory, .. } => state.forget(terms, writes, memory),
        Operation::Trap
        | Operation::Branch { .. }
        | Operation::BranchIf { .. }
        | Operation::BranchOnZero { .. }
        | Operation::BranchOnBit { .. }
        | Operation::Call { .. }
        | Operation::BranchRegister { .. }
        | Operation::CallRegister { .. }
        | Operation::Return { .. } => return transfer::execute(terms, state, operation),
        Operation::Sign { .. } | Operation::Authenticate { .. } | Operation::Strip { .. } => {
            pointers::execute(terms, state, operation);
        }
        Operation::Access { .. }
        | Operation::AccessPair { .. }
        | Operation::LoadLiteral { .. }
        | Operation::Atomic { .. }
        | Operation::CompareAndSwap { .. } => memory::execute(terms, state, operation),
        Operation::AddSubtract { .. }
        | Operation::WithCarry { .. }
        | Operation::MultiplyAdd { .. }
        | Operation::MultiplyHigh { .. }
        | Operation::TwoSources { .. } => arithmetic::execute(terms, state, operation),
        Operation::MoveWide { .. }
        | Operation::Logical { .. }
        | Operation::Bitfield { .. }
        | Operation::Extract { .. }
        | Operation::OneSource { .. } => bits::execute(terms, state, operation),
        Operation::Compare { .. } | Operation::Select { .. } => {
            choice::execute(terms, state, operation);
        }
        Operation::VectorImmediate { .. }
        | Operation::VectorLogical { .. }
        | Operation::VectorDuplicate { .. }
        | Operation::VectorInsert { .. }
        | Operation::VectorFromGeneral { .. }
        | Operation::GeneralFromVector { .. } => vector::execute(terms, state, operation),
    }
    Next::Fall
}
