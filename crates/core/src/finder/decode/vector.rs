//! Vector and floating-point arithmetic: only what reaches a general register or
//! the flags is told, and which vector registers become zero.

use super::{FLAGS, Op, bit, field, zero};

/// Scalar floating point and vectors.
pub fn data(word: u32) -> Op {
    let vector = Op::Vector { to: (word & 31) as u8, zero: false };
    if zeroes(word) {
        return Op::Vector { to: (word & 31) as u8, zero: true };
    }
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
            // `ins`, from one element of a register to another of the same.
            _ if word & 0x2000_0000 != 0 && word & 31 == word >> 5 & 31 => Op::Nop,
            _ => vector,
        };
    }
    vector
}

/// Whether all 128 bits become zero: `movi v0.2d, #0`, and in its other forms; the
/// scalar form clears the upper half as well.
fn zeroes(word: u32) -> bool {
    // `fmov d0, xzr`
    if word & !31 == 0x9e67_03e0 {
        return true;
    }
    // Q and the shape of the constant do not matter where it is zero and not inverted.
    let constant = word & 0x9ff8_0c00 == 0x0f00_0400;
    let number = field(word, 16, 3) << 5 | field(word, 5, 5);
    let (mode, inverted) = (field(word, 12, 4), field(word, 29, 1) == 1);
    let moves = matches!((mode, inverted), (14, _) | (0 | 2 | 4 | 6 | 8 | 10, false));
    constant && number == 0 && moves
}

/// A general register is written; which way a conversion goes is not told apart,
/// as an unknown value in place of a known one is safe.
fn moved(word: u32) -> Op {
    // `fmov`, `scvtf` and `ucvtf` to a vector register leave general registers alone.
    let conversion = word & 0x5f00_0000 == 0x1e00_0000;
    if conversion && matches!(field(word, 16, 3), 2 | 3) && field(word, 19, 2) == 0 {
        return Op::Vector { to: (word & 31) as u8, zero: false };
    }
    if conversion && field(word, 16, 3) == 7 {
        return Op::Vector { to: (word & 31) as u8, zero: false };
    }
    Op::Other { to: zero(word, 0), uses: bit(zero(word, 5)), narrow: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_register_counts_as_zero_where_all_its_bits_are() {
        let zero = |word| matches!(data(word), Op::Vector { zero: true, .. });
        // movi v3.2d, #0; movi v3.16b, #0; movi d3, #0; movi v3.4s, #0; fmov d3, xzr
        for word in [0x6f00_e403, 0x4f00_e403, 0x2f00_e403, 0x4f00_0403, 0x9e67_03e3] {
            assert_eq!(data(word), Op::Vector { to: 3, zero: true }, "{word:x}");
        }
        // movi v3.16b, #1; mvni v3.4s, #0; orr v3.4s, #0; fmov d3, x1; add v3.2d, v1.2d, v2.2d
        for word in [0x4f00_e423, 0x6f00_0403, 0x4f00_1403, 0x9e67_0023, 0x4ee2_8423] {
            assert!(!zero(word), "{word:x}");
        }
        // mov v3.d[1], v3.d[0] leaves a zero register zero; from v4 it does not.
        assert_eq!(data(0x6e18_0463), Op::Nop);
        assert_eq!(data(0x6e18_0483), Op::Vector { to: 3, zero: false });
    }
}
