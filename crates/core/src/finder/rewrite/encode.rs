//! Instruction words: the few that a rewrite writes, and the relative ones that it
//! moves.

use super::super::decode::{Op, Place, ZR};

/// `str xzr, [base, index]`
pub fn clear_indexed(base: u8, index: u8) -> u32 {
    0xf820_6800 | u32::from(index) << 16 | u32::from(base) << 5 | 31
}

/// `str xzr, [base, #distance]`, scaled or unscaled; `None` if it does not fit.
pub fn clear_at(base: u8, distance: i64) -> Option<u32> {
    store_at(ZR, base, distance)
}

/// `str register, [base, #distance]`, scaled or unscaled; `None` if it does not fit.
pub fn store_at(register: u8, base: u8, distance: i64) -> Option<u32> {
    let base = u32::from(base) << 5 | u32::from(register.min(31));
    if distance >= 0 && distance % 8 == 0 && distance / 8 < 4096 {
        return Some(0xf900_0000 | (distance as u32 / 8) << 10 | base);
    }
    let unscaled = (-256..256).contains(&distance);
    unscaled.then_some(0xf800_0000 | (distance as u32 & 0x1ff) << 12 | base)
}

/// `ldr register, [base, #distance]`; `None` if it does not fit.
pub fn load_at(register: u8, base: u8, distance: i64) -> Option<u32> {
    let fits = (0..8 * 4096).contains(&distance) && distance % 8 == 0;
    let registers = u32::from(base) << 5 | u32::from(register);
    fits.then_some(0xf940_0000 | (distance as u32 / 8) << 10 | registers)
}

/// `ldrsw register, target`; `None` if it is too far.
pub fn load_offset(register: u8, at: u64, target: u64) -> Option<u32> {
    relative(0x9800_0000 | u32::from(register), at, target)
}

/// `add to, base, index`
pub fn sum(to: u8, base: u8, index: u8) -> u32 {
    0x8b00_0000 | u32::from(index) << 16 | u32::from(base) << 5 | u32::from(to)
}

/// `mov to, from`
pub fn moved(to: u8, from: u8) -> u32 {
    0xaa00_03e0 | u32::from(from) << 16 | u32::from(to)
}

/// `b target`
pub fn jump(at: u64, target: u64) -> Option<u32> {
    relative(0x1400_0000, at, target)
}

/// What a word refers to by its distance from the instruction; `None` if nothing.
pub fn target(op: Op, word: u32, at: u64) -> Option<u64> {
    match op {
        Op::Branch(target)
        | Op::Call(target)
        | Op::BranchIf { target, .. }
        | Op::BranchZero { target, .. }
        | Op::BranchBit { target, .. } => Some(target),
        Op::Load(access) => match access.place {
            Place::Literal(target) => Some(target),
            _ => None,
        },
        Op::Constant { value, .. } if word & 0x1f00_0000 == 0x1000_0000 => Some(value),
        // `prfm` of a literal.
        Op::Nop if word & 0xff00_0000 == 0xd800_0000 => {
            Some(at.wrapping_add_signed(i64::from((word << 8) as i32 >> 13) * 4))
        }
        _ => None,
    }
}

/// A relative word as it must read at `at` to refer to `target`; `None` if it is
/// too far.
pub fn relative(word: u32, at: u64, target: u64) -> Option<u32> {
    let distance = target.wrapping_sub(at) as i64;
    let field = |value: i64, position: u32, width: u32| {
        let limit = 1i64 << (width - 1);
        let mask = (1u32 << width) - 1;
        let fits = (-limit..limit).contains(&value);
        fits.then(|| word & !(mask << position) | (value as u32 & mask) << position)
    };
    let words = (distance % 4 == 0).then_some(distance / 4);
    match word >> 24 {
        top if top & 0x7c == 0x14 => field(words?, 0, 26),
        0x54 => field(words?, 5, 19),
        top if top & 0x7e == 0x34 => field(words?, 5, 19),
        top if top & 0x7e == 0x36 => field(words?, 5, 14),
        top if top & 0x3b == 0x18 => field(words?, 5, 19),
        top if top & 0x1f == 0x10 => {
            let value = match word >> 31 {
                0 => distance,
                _ => ((target & !0xfff).wrapping_sub(at & !0xfff) as i64) >> 12,
            };
            let limit = 1i64 << 20;
            let fits = (-limit..limit).contains(&value);
            let cleared = word & !(0x3 << 29 | 0x7_ffff << 5);
            fits.then_some(cleared | (value as u32 & 3) << 29 | (value as u32 >> 2 & 0x7_ffff) << 5)
        }
        _ => None,
    }
}
