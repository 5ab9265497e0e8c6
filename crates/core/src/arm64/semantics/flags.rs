//! The condition flags, and conditions on them.
//!
//! A condition is the set of the sixteen values of N, Z, C and V it holds for.
//! Conditions on the same flags are thus combined exactly, whatever set the
//! flags: `b.hi` not taken and `b.ls` taken are one and the same.

use super::term::{Binary, Node, Term, Terms};

/// The flags N, Z, C and V as some instruction left them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Flags(u32);

/// What set the flags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlagsNode {
    /// They are as at the start.
    Initial,
    /// Nothing is promised about them, as after a call. Every one is different.
    Unspecified(u32),
    /// These four bits, N highest.
    Constant(u8),
    /// The sum of two values and a carry of 0 or 1; subtraction adds the
    /// inverted value and 1. Values are of 64 bits if `wide`, else of 32.
    Sum {
        /// First addend.
        left: Term,
        /// Second addend.
        right: Term,
        /// 0 or 1.
        carry: Term,
        /// 64 bits and not 32.
        wide: bool,
    },
    /// A bitwise result; C and V are clear.
    Logic {
        /// The result.
        value: Term,
        /// 64 bits and not 32.
        wide: bool,
    },
    /// These if the condition holds, else the four bits.
    Choice(Condition, Flags, u8),
}

/// A set of flag values, of flags that some instruction left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Condition {
    /// Which flags.
    pub flags: Flags,
    /// Bit *n* is set if the condition holds for the value *n* of NZCV.
    pub holds: u16,
}

impl Flags {
    pub(super) fn at(index: usize) -> Flags {
        Flags(index as u32)
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Condition {
    /// Every value of the flags.
    pub const ALWAYS: u16 = 0xffff;

    /// The condition with that number in the encoding of a branch.
    pub fn encoded(code: u32, flags: Flags) -> Condition {
        let mut holds = 0;
        for nzcv in 0..16_u32 {
            let flag = |bit: u32| nzcv >> bit & 1 == 1;
            let (n, z, c, v) = (flag(3), flag(2), flag(1), flag(0));
            let base = match code >> 1 & 7 {
                0 => z,
                1 => c,
                2 => n,
                3 => v,
                4 => c && !z,
                5 => n == v,
                6 => n == v && !z,
                _ => true,
            };
            let inverted = code & 1 == 1 && code != 15;
            holds |= u16::from(base != inverted) << nzcv;
        }
        Condition { flags, holds }
    }

    /// The opposite.
    pub fn negated(self) -> Condition {
        Condition { holds: !self.holds, ..self }
    }

    /// Whether it holds, if that does not depend on the flags.
    pub fn decided(self, terms: &Terms) -> Option<bool> {
        match terms.flags_node(self.flags) {
            _ if self.holds == Self::ALWAYS => Some(true),
            _ if self.holds == 0 => Some(false),
            FlagsNode::Constant(nzcv) => Some(self.holds >> nzcv & 1 == 1),
            _ => None,
        }
    }

    /// The value that is zero exactly where this condition holds, if it is a
    /// plain test for equality; with `false` where it holds for every other.
    pub fn as_zero_test(self, terms: &mut Terms) -> Option<(Term, bool)> {
        const EQUAL: u16 = 0b1111_0000_1111_0000;
        let equal = match self.holds {
            EQUAL => true,
            holds if holds == !EQUAL => false,
            _ => return None,
        };
        match terms.flags_node(self.flags) {
            FlagsNode::Sum { left, right, carry, wide } => {
                let sum = terms.add(left, right);
                let sum = terms.add(sum, carry);
                let sum = terms.of_width(wide, sum);
                Some((sum, equal))
            }
            FlagsNode::Logic { value, .. } => Some((value, equal)),
            _ => None,
        }
    }
}

impl Terms {
    /// The flags as at the start.
    pub fn initial_flags(&mut self) -> Flags {
        self.intern_flags(FlagsNode::Initial)
    }

    /// Flags nothing is promised about.
    pub fn unspecified_flags(&mut self) -> Flags {
        let Node::Unspecified(number) = ({
            let fresh = self.unspecified();
            self.node(fresh)
        }) else {
            return self.intern_flags(FlagsNode::Unspecified(0));
        };
        self.intern_flags(FlagsNode::Unspecified(number))
    }

    /// Flags an instruction sets; a number where the operands are.
    pub fn flags(&mut self, node: FlagsNode) -> Flags {
        let constant = match node {
            FlagsNode::Sum { left, right, carry, wide } => {
                match (self.as_constant(left), self.as_constant(right), self.as_constant(carry)) {
                    (Some(a), Some(b), Some(c)) => Some(flags_of_sum(a, b, c, wide)),
                    _ => None,
                }
            }
            FlagsNode::Logic { value, wide } => {
                self.as_constant(value).map(|value| negative_and_zero(value, wide))
            }
            _ => None,
        };
        self.intern_flags(constant.map_or(node, FlagsNode::Constant))
    }

    /// 1 where the condition holds, else 0.
    pub fn indicator(&mut self, condition: Condition) -> Term {
        let (one, zero) = (self.constant(1), self.constant(0));
        self.select(condition, one, zero)
    }

    /// The difference as the sum the hardware forms: the inverted operand of that
    /// width, to be added with a carry of 1.
    pub fn inverted(&mut self, wide: bool, term: Term) -> Term {
        let ones = self.constant(if wide { u64::MAX } else { 0xffff_ffff });
        self.binary(Binary::Xor, term, ones)
    }
}

/// NZCV of `a + b + carry` in 64 or 32 bits.
pub fn flags_of_sum(a: u64, b: u64, carry: u64, wide: bool) -> u8 {
    let bits = if wide { 64 } else { 32 };
    let full = u128::from(a) + u128::from(b) + u128::from(carry);
    let result = if wide { full as u64 } else { u64::from(full as u32) };
    let sign = |value: u64| value >> (bits - 1) & 1;
    let carried = (full >> bits) & 1 == 1;
    let overflow = sign(a) == sign(b) && sign(result) != sign(a);
    negative_and_zero(result, wide) | u8::from(carried) << 1 | u8::from(overflow)
}

/// N and Z of a result of 64 or 32 bits.
pub fn negative_and_zero(value: u64, wide: bool) -> u8 {
    let value = if wide { value } else { value & 0xffff_ffff };
    let sign = value >> if wide { 63 } else { 31 } & 1;
    (sign as u8) << 3 | u8::from(value == 0) << 2
}
