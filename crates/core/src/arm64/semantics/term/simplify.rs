//! Terms of functions, simplified as they are made.
//!
//! Each rule is an identity of 64-bit arithmetic. A rule earns its place where compilers
//! write one value in two ways.

use super::{Binary, LOW_32, Node, Term, Terms, Unary};

impl Terms {
    /// An operation on one value.
    pub fn unary(&mut self, operation: Unary, term: Term) -> Term {
        if let Some(value) = self.as_constant(term)
            && let Some(result) = operation.of(value)
        {
            return self.constant(result);
        }
        self.intern(Node::Unary(operation, term))
    }

    /// An operation on two values.
    pub fn binary(&mut self, operation: Binary, left: Term, right: Term) -> Term {
        let (left, right) = self.ordered(operation, left, right);
        let constants = (self.as_constant(left), self.as_constant(right));
        if let (Some(a), Some(b)) = constants
            && let Some(result) = operation.of(a, b)
        {
            return self.constant(result);
        }
        match constants.1 {
            Some(b) => self.with_constant(operation, left, right, b),
            None if left == right && matches!(operation, Binary::Subtract | Binary::Xor) => {
                self.constant(0)
            }
            None if left == right && matches!(operation, Binary::And | Binary::Or) => left,
            None => match (operation, self.node(left)) {
                (Binary::Authenticate(key), Node::Binary(Binary::Sign(with), value, modifier))
                    if key == with && modifier == right =>
                {
                    value
                }
                _ => self.intern(Node::Binary(operation, left, right)),
            },
        }
    }

    /// Commutative operands in one order, a number last.
    fn ordered(&self, operation: Binary, left: Term, right: Term) -> (Term, Term) {
        let commutes = matches!(
            operation,
            Binary::Add | Binary::Multiply | Binary::And | Binary::Or | Binary::Xor
        );
        let left_is_number = self.as_constant(left).is_some();
        let right_is_number = self.as_constant(right).is_some();
        let swap =
            left_is_number && !right_is_number || left_is_number == right_is_number && right < left;
        if commutes && swap { (right, left) } else { (left, right) }
    }

    fn with_constant(&mut self, operation: Binary, left: Term, right: Term, b: u64) -> Term {
        use Binary::{Add, And, Or, ShiftLeft, ShiftRight, ShiftRightSigned, Subtract, Xor};
        let inner = self.node(left);
        match (operation, b, inner) {
            (Subtract, _, _) => self.offset(left, b.wrapping_neg()),
            (Add | Or | Xor | ShiftLeft | ShiftRight | ShiftRightSigned, 0, _) => left,
            (And, 0, _) => right,
            (And, _, _) if !b & self.possible_bits(left) == 0 => left,
            (Add | And | Or | Xor, _, Node::Binary(same, x, y)) if same == operation => {
                match self.as_constant(y).and_then(|a| operation.of(a, b)) {
                    Some(both) => {
                        let both = self.constant(both);
                        self.binary(operation, x, both)
                    }
                    None => self.intern(Node::Binary(operation, left, right)),
                }
            }
            _ => self.intern(Node::Binary(operation, left, right)),
        }
    }

    /// The bits that may be set: a superset.
    fn possible_bits(&self, term: Term) -> u64 {
        match self.node(term) {
            Node::Constant(value) => value,
            Node::Memory(_, _, bytes) if bytes < 8 => (1 << (8 * bytes)) - 1,
            Node::Binary(Binary::And, a, b) => self.possible_bits(a) & self.possible_bits(b),
            Node::Binary(Binary::Or | Binary::Xor, a, b) => {
                self.possible_bits(a) | self.possible_bits(b)
            }
            Node::Binary(Binary::RotateRight32, _, _) => LOW_32,
            Node::Select(_, a, b) => self.possible_bits(a) | self.possible_bits(b),
            _ => u64::MAX,
        }
    }
}
