//! Where an indirect branch may go, when it goes through a jump table.
//!
//! The block before the branch is executed on an arbitrary state. What is
//! recognised is a target of the form `base + (table[index] << scale)` with a
//! constant table and base, and an index bounded either in the value itself (a
//! selection between index and zero) or by a comparison and a branch for higher
//! values right before the block. Any other form is refused: a set of targets
//! that is guessed proves nothing.

use super::function::Function;
use super::site::Surroundings;
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{
    Binary, Condition, FlagsNode, Next, Node, Operation, State, Term, Terms, Test, Unary, execute,
};
use crate::error::{Code, Error, Result};

/// How many instructions before the branch are looked at.
const REACH: usize = 24;
/// More entries than a compiler would put into one table.
const MAX_ENTRIES: u64 = 4096;

/// Every target of the indirect branch at `at`.
pub(super) fn targets(
    function: Function<'_>,
    surroundings: &dyn Surroundings,
    at: VmAddr,
) -> Result<Vec<VmAddr>> {
    let unresolved = || {
        Error::new(Code::UnresolvedBranch, "cannot determine the targets of an indirect branch")
            .with("address", at)
            .with("word", function.word(at).unwrap_or_default())
            .next("this tool cannot prove a function of this form")
    };
    let mut terms = Terms::new();
    let block = Block::before(&mut terms, function, at)?;
    let table = block.and_then(|block| Table::read(&mut terms, &block)).ok_or_else(unresolved)?;
    (0..table.entries)
        .map(|index| {
            let entry = table.address.wrapping_add(index * u64::from(table.width));
            let bytes = surroundings.data(VmAddr(entry), usize::from(table.width));
            let target = table.target(bytes.ok_or_else(unresolved)?);
            if function.word(target).is_some() { Ok(target) } else { Err(unresolved()) }
        })
        .collect()
}

/// The straight code that leads to a branch.
struct Block {
    target: Term,
    /// What held when the branch that guards the block was not taken.
    guards: Vec<Condition>,
}

impl Block {
    /// Executes back from the last place control joins or splits in another way
    /// than by a guard, up to and with the branch at `at`.
    fn before(terms: &mut Terms, function: Function<'_>, at: VmAddr) -> Result<Option<Block>> {
        let first = straight_from(function, at)?;
        let mut state = State::initial(terms);
        let mut guards = Vec::new();
        let mut address = first;
        while address < at {
            let next = execute(terms, &mut state, &function.operation(address)?);
            match next {
                Next::Fall => {}
                Next::Either(Test::Flags(condition), _) => guards.push(condition.negated()),
                Next::Either(Test::Zero(..), _) => {}
                _ => return Ok(None),
            }
            address = address.instruction(1);
        }
        Ok(match execute(terms, &mut state, &function.operation(at)?) {
            Next::Go(target) => Some(Block { target, guards }),
            _ => None,
        })
    }
}

/// The first address from which control only falls through or leaves, up to `at`.
fn straight_from(function: Function<'_>, at: VmAddr) -> Result<VmAddr> {
    let mut joins = Vec::new();
    for item in function.operations() {
        let (_, operation) = item?;
        match operation {
            Operation::Branch { target }
            | Operation::BranchIf { target, .. }
            | Operation::BranchOnZero { target, .. }
            | Operation::BranchOnBit { target, .. } => joins.push(target),
            _ => {}
        }
    }
    let mut first = at;
    for _ in 0..REACH {
        let earlier = VmAddr(first.0.wrapping_sub(Word::SIZE));
        if joins.contains(&first) || function.word(earlier).is_none() {
            break;
        }
        let ends = matches!(
            function.operation(earlier)?,
            Operation::Branch { .. }
                | Operation::BranchRegister { .. }
                | Operation::Return { .. }
                | Operation::Trap
                | Operation::Call { .. }
                | Operation::CallRegister { .. }
        );
        if ends {
            break;
        }
        first = earlier;
    }
    Ok(first)
}

struct Table {
    base: u64,
    address: u64,
    /// Bytes of an entry.
    width: u8,
    signed: bool,
    /// Binary logarithm of what an entry counts in.
    scale: u8,
    entries: u64,
}

impl Table {
    fn target(&self, bytes: &[u8]) -> VmAddr {
        let raw = bytes.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        let value = match self.signed {
            true => Unary::SignExtend(self.width * 8).of(raw).unwrap_or(raw),
            false => raw,
        };
        VmAddr(self.base.wrapping_add(value << self.scale))
    }

    fn read(terms: &mut Terms, block: &Block) -> Option<Table> {
        let Node::Binary(Binary::Add, moved, base) = terms.node(block.target) else { return None };
        let base = terms.as_constant(base)?;
        let (entry, scale) = unshift(terms, moved);
        let (entry, signed) = match terms.node(entry) {
            Node::Unary(Unary::SignExtend(_), inner) => (inner, true),
            _ => (entry, false),
        };
        let Node::Memory(_, place, width) = terms.node(entry) else { return None };
        let Node::Binary(Binary::Add, index, address) = terms.node(place) else { return None };
        let address = terms.as_constant(address)?;
        let (index, stride) = unshift(terms, index);
        let entries = bound(terms, block, index)?;
        let fits = 1 << stride == width && entries <= MAX_ENTRIES;
        fits.then_some(Table { base, address, width, signed, scale, entries })
    }
}

fn unshift(terms: &Terms, term: Term) -> (Term, u8) {
    match terms.node(term) {
        Node::Binary(Binary::ShiftLeft, inner, amount) => {
            (inner, terms.as_constant(amount).map_or(0, |amount| amount as u8))
        }
        _ => (term, 0),
    }
}

/// The number of values `index` may have, from a selection or a guard that says
/// it is not higher than some number.
fn bound(terms: &Terms, block: &Block, index: Term) -> Option<u64> {
    let selected = match terms.node(index) {
        Node::Select(condition, then, otherwise) if terms.as_constant(otherwise) == Some(0) => {
            limit(terms, condition, then)
        }
        _ => None,
    };
    selected.or_else(|| block.guards.iter().find_map(|&guard| limit(terms, guard, index)))
}

/// `index <= n` as a condition gives n + 1.
fn limit(terms: &Terms, condition: Condition, index: Term) -> Option<u64> {
    let not_higher = Condition::encoded(9, condition.flags);
    if condition != not_higher {
        return None;
    }
    let FlagsNode::Sum { left, right, wide, .. } = terms.flags_node(condition.flags) else {
        return None;
    };
    let inverted = terms.as_constant(right)?;
    let highest = if wide { !inverted } else { !inverted & 0xffff_ffff };
    (left == index).then(|| highest.checked_add(1)).flatten()
}
