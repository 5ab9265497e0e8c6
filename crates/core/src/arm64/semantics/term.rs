//! Values as terms over the state a run of code starts from.
//!
//! Terms are kept once each (hash consing), so two values are known to be equal
//! for all inputs when they are the same [`Term`], within one [`Terms`]. The
//! converse does not hold: two terms that differ may still be equal, and a proof
//! that compares them refuses in that case. Simplification is there to make
//! equal things the same term where compilers write them differently; each rule
//! is an identity of 64-bit arithmetic.

use std::collections::HashMap;

use super::Register;
use super::flags::{Condition, Flags, FlagsNode};

/// A 64-bit value. A 32-bit one is kept with its upper half zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Term(u32);

/// What memory looks like after some stores and calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct History(u32);

/// One half of a vector register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Half {
    /// Bits 0 to 63.
    Low,
    /// Bits 64 to 127.
    High,
}

/// A key of pointer authentication.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    /// Instruction key A.
    IA,
    /// Instruction key B.
    IB,
    /// Data key A.
    DA,
    /// Data key B.
    DB,
}

/// An operation on one value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unary {
    /// Sign extension of the lowest bits; the number says how many.
    SignExtend(u8),
    /// Leading zeros of 64 bits.
    LeadingZeros,
    /// The 64 bits in the opposite order.
    ReverseBits,
    /// Bytes in the opposite order within groups of so many bytes.
    ReverseBytes(u8),
    /// A pointer without its authentication code.
    Strip,
}

/// An operation on two values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Binary {
    /// Sum, modulo 2^64.
    Add,
    /// Difference, modulo 2^64.
    Subtract,
    /// Product, modulo 2^64.
    Multiply,
    /// Upper half of the unsigned 128-bit product.
    MultiplyHigh,
    /// Upper half of the signed 128-bit product.
    SignedMultiplyHigh,
    /// Unsigned quotient; 0 for a zero divisor.
    Divide,
    /// Signed quotient, towards zero; 0 for a zero divisor.
    SignedDivide,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Shift left by the amount modulo 64.
    ShiftLeft,
    /// Shift right by the amount modulo 64, zeros from above.
    ShiftRight,
    /// Shift right by the amount modulo 64, copies of the sign from above.
    ShiftRightSigned,
    /// Rotate right by the amount modulo 64.
    RotateRight,
    /// Rotate the lower 32 bits right by the amount modulo 32.
    RotateRight32,
    /// The first value signed with the second as the modifier.
    Sign(Key),
    /// The first value authenticated with the second as the modifier.
    Authenticate(Key),
}

/// What a term is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Node {
    /// A number.
    Constant(u64),
    /// What a register held at the start.
    Register(Register),
    /// What half a vector register held at the start.
    Vector(u8, Half),
    /// So many bytes of memory, zero-extended.
    Memory(History, Term, u8),
    /// What a call that returns a value leaves in a register.
    Returned(History, Register),
    /// The same, of half a vector register.
    ReturnedVector(History, u8, Half),
    /// A value nothing is promised about, such as a caller-saved register after
    /// a call. Every one is different.
    Unspecified(u32),
    /// One value or the other.
    Select(Condition, Term, Term),
    /// An operation on one value.
    Unary(Unary, Term),
    /// An operation on two.
    Binary(Binary, Term, Term),
}

/// Something code does that others can see.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Writes the lowest `bytes` bytes of `value`.
    Store {
        /// Where.
        address: Term,
        /// How many, 1 to 8.
        bytes: u8,
        /// What; the bits above are zero.
        value: Term,
    },
    /// Calls a function.
    Call {
        /// Its address; a constant for a direct call.
        target: Term,
        /// The values it may read, as many as it is known to take, else all
        /// argument registers.
        arguments: Vec<Term>,
    },
    /// Orders memory accesses: a barrier, or the acquire or release of an access.
    Barrier,
}

/// The store of terms, flags and histories. Everything that is to be compared
/// lives in one.
#[derive(Default)]
pub struct Terms {
    nodes: Vec<Node>,
    ids: HashMap<Node, Term>,
    flags: Vec<FlagsNode>,
    flag_ids: HashMap<FlagsNode, Flags>,
    /// What calls leave in registers nothing is promised about.
    leftovers: HashMap<(History, u8), Term>,
    histories: Vec<(History, Event)>,
    history_ids: HashMap<(History, Event), History>,
    unspecified: u32,
}

const LOW_32: u64 = 0xffff_ffff;

impl Terms {
    /// An empty store.
    pub fn new() -> Terms {
        Terms::default()
    }

    /// What a term is made of.
    pub fn node(&self, term: Term) -> Node {
        self.nodes.get(term.0 as usize).copied().unwrap_or(Node::Constant(0))
    }

    /// What flags are made of.
    pub fn flags_node(&self, flags: Flags) -> FlagsNode {
        self.flags.get(flags.index()).copied().unwrap_or(FlagsNode::Initial)
    }

    /// The number a term is, if it is one.
    pub fn as_constant(&self, term: Term) -> Option<u64> {
        match self.node(term) {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// Memory as it is at the start.
    pub fn beginning(&self) -> History {
        History(0)
    }

    /// What happened last, and the memory before it; none at the beginning.
    pub fn last_event(&self, history: History) -> Option<(History, &Event)> {
        let index = (history.0 as usize).checked_sub(1)?;
        self.histories.get(index).map(|(before, event)| (*before, event))
    }

    /// Memory after one more event.
    pub fn after(&mut self, history: History, event: Event) -> History {
        let key = (history, event);
        if let Some(&known) = self.history_ids.get(&key) {
            return known;
        }
        self.histories.push(key.clone());
        let id = History(self.histories.len() as u32);
        self.history_ids.insert(key, id);
        id
    }

    pub(super) fn intern_flags(&mut self, node: FlagsNode) -> Flags {
        if let Some(&known) = self.flag_ids.get(&node) {
            return known;
        }
        let id = Flags::at(self.flags.len());
        self.flags.push(node);
        self.flag_ids.insert(node, id);
        id
    }

    fn intern(&mut self, node: Node) -> Term {
        if let Some(&known) = self.ids.get(&node) {
            return known;
        }
        let id = Term(self.nodes.len() as u32);
        self.nodes.push(node);
        self.ids.insert(node, id);
        id
    }

    /// A number.
    pub fn constant(&mut self, value: u64) -> Term {
        self.intern(Node::Constant(value))
    }

    /// What `register` held at the start.
    pub fn register(&mut self, register: Register) -> Term {
        self.intern(Node::Register(register))
    }

    /// What half of vector register `number` held at the start.
    pub fn vector(&mut self, number: u8, half: Half) -> Term {
        self.intern(Node::Vector(number, half))
    }

    /// What a call leaves in a register it returns a value in.
    pub fn returned(&mut self, history: History, register: Register) -> Term {
        self.intern(Node::Returned(history, register))
    }

    /// What a call leaves in half a vector register it returns a value in.
    pub fn returned_vector(&mut self, history: History, number: u8, half: Half) -> Term {
        self.intern(Node::ReturnedVector(history, number, half))
    }

    /// A value nothing is promised about, unlike any other.
    pub fn unspecified(&mut self) -> Term {
        self.unspecified += 1;
        self.intern(Node::Unspecified(self.unspecified))
    }

    /// What a call leaves in the place of that number, about which nothing is
    /// promised. Two runs with the same history may be taken to find the same
    /// there, for whatever it is, each of them may find it.
    pub fn leftover(&mut self, history: History, place: u8) -> Term {
        if let Some(&known) = self.leftovers.get(&(history, place)) {
            return known;
        }
        let fresh = self.unspecified();
        self.leftovers.insert((history, place), fresh);
        fresh
    }

    /// `bytes` bytes at `address`, zero-extended.
    pub fn memory(&mut self, history: History, address: Term, bytes: u8) -> Term {
        self.intern(Node::Memory(history, address, bytes))
    }

    /// `then` where the condition holds, else `otherwise`.
    pub fn select(&mut self, condition: Condition, then: Term, otherwise: Term) -> Term {
        match condition.decided(self) {
            _ if then == otherwise => then,
            Some(true) => then,
            Some(false) => otherwise,
            None => self.intern(Node::Select(condition, then, otherwise)),
        }
    }

    /// Sum, modulo 2^64.
    pub fn add(&mut self, left: Term, right: Term) -> Term {
        self.binary(Binary::Add, left, right)
    }

    /// The value plus a number.
    pub fn offset(&mut self, term: Term, by: u64) -> Term {
        let by = self.constant(by);
        self.add(term, by)
    }

    /// Bitwise and with a number.
    pub fn mask(&mut self, term: Term, mask: u64) -> Term {
        let mask = self.constant(mask);
        self.binary(Binary::And, term, mask)
    }

    /// The value as a register of that width holds it: all of it, or the lower
    /// half with zeros above.
    pub fn of_width(&mut self, wide: bool, term: Term) -> Term {
        if wide { term } else { self.mask(term, LOW_32) }
    }

    /// The lowest `bytes` bytes.
    pub fn bytes(&mut self, term: Term, bytes: u8) -> Term {
        if bytes >= 8 { term } else { self.mask(term, (1 << (8 * bytes)) - 1) }
    }

    /// Every bit inverted.
    pub fn invert(&mut self, term: Term) -> Term {
        let ones = self.constant(u64::MAX);
        self.binary(Binary::Xor, term, ones)
    }

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

impl Unary {
    /// The result, where it does not depend on secret keys.
    pub fn of(self, value: u64) -> Option<u64> {
        Some(match self {
            Unary::SignExtend(bits) => {
                let above = 64 - u32::from(bits.clamp(1, 64));
                ((value << above) as i64 >> above) as u64
            }
            Unary::LeadingZeros => u64::from(value.leading_zeros()),
            Unary::ReverseBits => value.reverse_bits(),
            Unary::ReverseBytes(2) => {
                (value >> 8 & 0x00ff_00ff_00ff_00ff) | (value & 0x00ff_00ff_00ff_00ff) << 8
            }
            Unary::ReverseBytes(4) => value.swap_bytes().rotate_left(32),
            Unary::ReverseBytes(_) => value.swap_bytes(),
            Unary::Strip => return None,
        })
    }
}

impl Binary {
    /// The result, where it does not depend on secret keys.
    pub fn of(self, a: u64, b: u64) -> Option<u64> {
        let amount = (b % 64) as u32;
        Some(match self {
            Binary::Add => a.wrapping_add(b),
            Binary::Subtract => a.wrapping_sub(b),
            Binary::Multiply => a.wrapping_mul(b),
            Binary::MultiplyHigh => ((u128::from(a) * u128::from(b)) >> 64) as u64,
            Binary::SignedMultiplyHigh => {
                ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
            }
            Binary::Divide => a.checked_div(b).unwrap_or(0),
            Binary::SignedDivide if b == 0 => 0,
            Binary::SignedDivide => (a as i64).wrapping_div(b as i64) as u64,
            Binary::And => a & b,
            Binary::Or => a | b,
            Binary::Xor => a ^ b,
            Binary::ShiftLeft => a << amount,
            Binary::ShiftRight => a >> amount,
            Binary::ShiftRightSigned => ((a as i64) >> amount) as u64,
            Binary::RotateRight => a.rotate_right(amount),
            Binary::RotateRight32 => u64::from((a as u32).rotate_right((b % 32) as u32)),
            Binary::Sign(_) | Binary::Authenticate(_) => return None,
        })
    }
}
