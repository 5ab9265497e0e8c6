//! Terms evaluated in one concrete state.

use agxpatch_core::arm64::semantics::{
    Binary, Condition, Event, Flags, FlagsNode, Half, History, Node, Term, Terms, Unary,
    flags_of_sum, negative_and_zero,
};

/// A state of the core.
#[derive(Clone, Default)]
pub struct World {
    pub x: [u64; 32],
    pub v: [(u64, u64); 32],
    pub nzcv: u8,
}

pub struct Evaluator<'a> {
    pub terms: &'a Terms,
    pub world: &'a World,
    pub memory: &'a dyn Fn(u64) -> u8,
}

impl Evaluator<'_> {
    /// The value, or none where nothing is promised about it.
    pub fn term(&self, term: Term) -> Option<u64> {
        Some(match self.terms.node(term) {
            Node::Constant(value) => value,
            Node::Register(register) => self.world.x[register.index()],
            Node::Vector(number, Half::Low) => self.world.v[usize::from(number)].0,
            Node::Vector(number, Half::High) => self.world.v[usize::from(number)].1,
            Node::Memory(history, address, bytes) => {
                let address = self.term(address)?;
                let byte = |n: u8| Some(u64::from(self.byte(history, address + u64::from(n))?));
                (0..bytes).try_fold(0, |value, n| Some(value | byte(n)? << (8 * n)))?
            }
            Node::Select(condition, then, otherwise) => {
                if self.condition(condition)? {
                    self.term(then)?
                } else {
                    self.term(otherwise)?
                }
            }
            // With the keys off, pointers are what they are without a code.
            Node::Unary(Unary::Strip, operand) => self.term(operand)?,
            Node::Unary(operation, operand) => operation.of(self.term(operand)?)?,
            Node::Binary(Binary::Sign(_) | Binary::Authenticate(_), pointer, _) => {
                self.term(pointer)?
            }
            Node::Binary(operation, left, right) => {
                operation.of(self.term(left)?, self.term(right)?)?
            }
            Node::Unspecified(_) | Node::Returned(..) | Node::ReturnedVector(..) => return None,
        })
    }

    fn byte(&self, history: History, at: u64) -> Option<u8> {
        let Some((before, event)) = self.terms.last_event(history) else {
            return Some((self.memory)(at));
        };
        if let Event::Store { address, bytes, value } = event {
            let distance = at.wrapping_sub(self.term(*address)?);
            if distance < u64::from(*bytes) {
                return Some((self.term(*value)? >> (8 * distance)) as u8);
            }
        }
        self.byte(before, at)
    }

    pub fn condition(&self, condition: Condition) -> Option<bool> {
        Some(condition.holds >> self.flags(condition.flags)? & 1 == 1)
    }

    pub fn flags(&self, flags: Flags) -> Option<u8> {
        Some(match self.terms.flags_node(flags) {
            FlagsNode::Initial => self.world.nzcv,
            FlagsNode::Unspecified(_) => return None,
            FlagsNode::Constant(nzcv) => nzcv,
            FlagsNode::Sum { left, right, carry, wide } => {
                flags_of_sum(self.term(left)?, self.term(right)?, self.term(carry)?, wide)
            }
            FlagsNode::Logic { value, wide } => negative_and_zero(self.term(value)?, wide),
            FlagsNode::Choice(condition, flags, otherwise) => {
                if self.condition(condition)? {
                    self.flags(flags)?
                } else {
                    otherwise
                }
            }
        })
    }

    /// Every byte the history writes, the last write winning.
    pub fn written(&self, mut history: History) -> std::collections::BTreeMap<u64, u8> {
        let mut written = std::collections::BTreeMap::new();
        while let Some((before, event)) = self.terms.last_event(history) {
            if let Event::Store { address, bytes, value } = event {
                let (address, value) = (self.term(*address).unwrap(), self.term(*value).unwrap());
                for n in 0..u64::from(*bytes) {
                    written.entry(address + n).or_insert((value >> (8 * n)) as u8);
                }
            }
            history = before;
        }
        written
    }
}
