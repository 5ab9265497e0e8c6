//! The few vector instructions compilers use to clear, copy and move blocks.

use super::super::operation::Operation;
use super::super::term::Binary;
use super::{bit, bits, field};

pub fn vector(w: u32) -> Option<Operation> {
    let (to, left, right) = (bits(w, 4, 0) as u8, bits(w, 9, 5) as u8, bits(w, 20, 16) as u8);
    let both = bit(w, 30);
    let operation = match w & 0xbfe0_fc00 {
        0x0e20_1c00 => Some(Binary::And),
        0x0ea0_1c00 => Some(Binary::Or),
        0x2e20_1c00 => Some(Binary::Xor),
        _ => None,
    };
    if let Some(operation) = operation {
        return Some(Operation::VectorLogical { to, left, right, operation, both });
    }
    match w & 0xffff_fc00 {
        0x1e27_0000 => {
            return Some(Operation::VectorFromGeneral { wide: false, to, from: field(w, 5) });
        }
        0x9e67_0000 => {
            return Some(Operation::VectorFromGeneral { wide: true, to, from: field(w, 5) });
        }
        0x1e26_0000 => {
            return Some(Operation::GeneralFromVector { wide: false, to: field(w, 0), from: left });
        }
        0x9e66_0000 => {
            return Some(Operation::GeneralFromVector { wide: true, to: field(w, 0), from: left });
        }
        _ => {}
    }
    // Elements of eight bytes, of which a register has two.
    if w & 0xffef_bc00 == 0x6e08_0400 {
        let (upper, from_upper) = (bit(w, 20), bit(w, 14));
        return Some(Operation::VectorInsert { to, upper, from: left, from_upper });
    }
    if w & 0xbfe0_fc00 == 0x0e00_0c00 {
        let scale = right.trailing_zeros();
        let fits = scale < 3 || scale == 3 && both;
        let from = field(w, 5);
        return fits.then(|| Operation::VectorDuplicate { to, from, lane: 1 << scale, both });
    }
    if w & 0x9ff8_0c00 == 0x0f00_0400 { immediate(w, to, both) } else { None }
}

/// `movi` and `mvni` of 32-bit lanes, `movi` of bytes and of whole halves.
fn immediate(w: u32, to: u8, both: bool) -> Option<Operation> {
    let byte = u64::from(bits(w, 18, 16) << 5 | bits(w, 9, 5));
    let half = match (bit(w, 29), bits(w, 15, 12)) {
        (inverted, mode @ (0 | 2 | 4 | 6)) => {
            let lane = byte << (4 * mode);
            let lane = if inverted { !lane & 0xffff_ffff } else { lane };
            lane | lane << 32
        }
        (false, 14) => byte * 0x0101_0101_0101_0101,
        (true, 14) => (0..8).filter(|at| byte >> at & 1 == 1).map(|at| 0xff << (8 * at)).sum(),
        _ => return None,
    };
    Some(Operation::VectorImmediate { to, low: half, high: if both { half } else { 0 } })
}
