//! Instruction words: the few that a rewrite writes, and the relative ones that it
//! moves.

use super::super::decode::{Op, Place, ZR};

/// `bl` without its distance.
pub const CALL: u32 = 0x9400_0000;

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
    store_part_at(3, register, base, distance)
}

/// The same, of the lowest bytes of the register: two to the power of `scale` of them.
pub fn store_part_at(scale: u32, register: u8, base: u8, distance: i64) -> Option<u32> {
    let rest = scale << 30 | u32::from(base) << 5 | u32::from(register.min(31));
    let scaled = distance >> scale;
    if (0..4096).contains(&scaled) && scaled << scale == distance {
        return Some(0x3900_0000 | (scaled as u32) << 10 | rest);
    }
    let unscaled = (-256..256).contains(&distance);
    unscaled.then_some(0x3800_0000 | (distance as u32 & 0x1ff) << 12 | rest)
}

/// `stp register, register, [base, #distance]`; `None` if it does not fit.
pub fn store_pair_at(register: u8, base: u8, distance: i64) -> Option<u32> {
    let fits = distance % 8 == 0 && (-64..64).contains(&(distance / 8));
    let register = u32::from(register.min(31));
    let scaled = (distance / 8) as u32 & 0x7f;
    let registers = register << 10 | u32::from(base) << 5 | register;
    fits.then_some(0xa900_0000 | scaled << 15 | registers)
}

/// `ldr register, [base, #distance]`; `None` if it does not fit.
pub fn load_at(register: u8, base: u8, distance: i64) -> Option<u32> {
    let fits = (0..8 * 4096).contains(&distance) && distance % 8 == 0;
    let registers = u32::from(base) << 5 | u32::from(register);
    fits.then_some(0xf940_0000 | (distance as u32 / 8) << 10 | registers)
}

/// `swpal xzr, to, [base]`: the eight bytes go to a register, and null to their place.
pub fn exchange_null(to: u8, base: u8) -> u32 {
    0xf8ff_8000 | u32::from(base) << 5 | u32::from(to)
}

/// The load into a register from the place that a plain store of eight bytes writes to.
pub fn load_instead(store: u32, to: u8) -> u32 {
    const LOAD: u32 = 1 << 22;
    store & !31 | LOAD | u32::from(to)
}

/// `cbz register, target`; `None` if it is too far.
pub fn branch_if_zero(register: u8, at: u64, target: u64) -> Option<u32> {
    relative(0xb400_0000 | u32::from(register), at, target)
}

/// `add to, base, #distance`, or `sub`, in one word or two; `None` if it does not fit.
pub fn add_distance(to: u8, base: u8, distance: i64) -> Option<Vec<u32>> {
    const SUBTRACT: u32 = 1 << 30;
    const UPPER: u32 = 1 << 22;
    let sign = if distance < 0 { SUBTRACT } else { 0 };
    let size = u32::try_from(distance.unsigned_abs()).ok().filter(|size| *size < 1 << 24)?;
    let word = |part: u32, base: u8| {
        0x9100_0000 | sign | part << 10 | u32::from(base) << 5 | u32::from(to)
    };
    let (upper, lower) = (size >> 12, size & 0xfff);
    Some(match (upper, lower) {
        (0, lower) => vec![word(lower, base)],
        (upper, 0) => vec![word(upper, base) | UPPER],
        (upper, lower) => vec![word(upper, base) | UPPER, word(lower, to)],
    })
}

/// The `add` that leaves in a register the address that `word` loads it from, where that
/// is a base and an index.
pub fn add_index_of(word: u32) -> u32 {
    const AS_IT_IS: u32 = 0b011;
    let field = |position: u32, width: u32| word >> position & ((1 << width) - 1);
    let (base, index, extend) = (field(5, 5), field(16, 5), field(13, 3));
    // The size of the access is eight bytes.
    let shift = 3 * field(12, 1);
    let registers = index << 16 | base << 5 | field(0, 5);
    match extend == AS_IT_IS && base != 31 {
        true => 0x8b00_0000 | shift << 10 | registers,
        false => 0x8b20_0000 | extend << 13 | shift << 10 | registers,
    }
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
