//! The functions that terms are built with, and their values for numbers.

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
