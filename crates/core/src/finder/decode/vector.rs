//! Vector and floating-point arithmetic: only what reaches a general register or
//! the flags is told.

use super::{FLAGS, Op, bit, field, zero};

/// Scalar floating point and vectors.
pub fn data(word: u32) -> Op {
    let scalar = word & 0x5f00_0000 == 0x1e00_0000;
    if scalar && field(word, 21, 1) == 1 {
        match (field(word, 10, 2), field(word, 10, 6)) {
            // Between a general and a vector register, in either direction.
            (0, 0) => return moved(word),
            (0, code) if code & 0b1111 == 0b1000 => return Op::Flags { uses: 0 },
            (1, _) => return Op::Flags { uses: FLAGS },
            _ => {}
        }
    }
    // Conversions with a fixed point.
    if scalar && field(word, 21, 1) == 0 {
        return moved(word);
    }
    // `umov`, `smov`, `dup`, `ins`.
    if word & 0x9fe0_8400 == 0x0e00_0400 {
        return match field(word, 11, 4) {
            0b0101 | 0b0111 => moved(word),
            _ => Op::Nop,
        };
    }
    Op::Nop
}

/// A general register is written; which way a conversion goes is not told apart,
/// as an unknown value in place of a known one is safe.
fn moved(word: u32) -> Op {
    // `fmov`, `scvtf` and `ucvtf` to a vector register leave general registers alone.
    let conversion = word & 0x5f00_0000 == 0x1e00_0000;
    if conversion && matches!(field(word, 16, 3), 2 | 3) && field(word, 19, 2) == 0 {
        return Op::Nop;
    }
    if conversion && field(word, 16, 3) == 7 {
        return Op::Nop;
    }
    Op::Other { to: zero(word, 0), uses: bit(zero(word, 5)), narrow: false }
}
