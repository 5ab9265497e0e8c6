//! Arithmetic on general registers.

use super::{Logic, Op, Operand, Select, ZR, bit, field, signed, stack, zero};

/// Data processing with an immediate.
pub fn immediate(word: u32, at: u64) -> Op {
    let wide = word >> 31 == 1;
    match field(word, 23, 3) {
        0 | 1 => address(word, at),
        2 => add_immediate(word, wide),
        4 => logic_immediate(word, wide),
        5 => move_wide(word, wide),
        6 => bit_field(word, wide),
        7 => {
            let uses = bit(zero(word, 5)) | bit(zero(word, 16));
            Op::Other { to: zero(word, 0), uses, narrow: !wide }
        }
        _ => Op::Unknown,
    }
}

/// `adr` and `adrp`.
fn address(word: u32, at: u64) -> Op {
    let distance = signed(word, 5, 19) << 2 | i64::from(field(word, 29, 2));
    let value = match word >> 31 {
        0 => at.wrapping_add_signed(distance),
        _ => (at & !0xfff).wrapping_add_signed(distance << 12),
    };
    Op::Constant { to: zero(word, 0), value }
}

fn add_immediate(word: u32, wide: bool) -> Op {
    let flags = field(word, 29, 1) == 1;
    let value = u64::from(field(word, 10, 12)) << (12 * field(word, 22, 1));
    Op::Add {
        to: if flags { zero(word, 0) } else { stack(word, 0) },
        from: stack(word, 5),
        by: Operand::Immediate(value),
        subtract: field(word, 30, 1) == 1,
        flags,
        wide,
    }
}

fn logic_immediate(word: u32, wide: bool) -> Op {
    let (kind, flags) = match field(word, 29, 2) {
        0 => (Logic::And, false),
        1 => (Logic::Or, false),
        2 => (Logic::Xor, false),
        _ => (Logic::And, true),
    };
    let Some(mask) = mask(word, wide) else { return Op::Unknown };
    Op::Logic {
        kind,
        to: if flags { zero(word, 0) } else { stack(word, 0) },
        from: zero(word, 5),
        by: Operand::Immediate(mask),
        flags,
        wide,
    }
}

/// The constant of a bitwise operation (`DecodeBitMasks` of the architecture).
fn mask(word: u32, wide: bool) -> Option<u64> {
    let (n, rotate, ones) = (field(word, 22, 1), field(word, 16, 6), field(word, 10, 6));
    if n == 1 && !wide {
        return None;
    }
    let length = (n << 6 | (!ones & 0x3f)).checked_ilog2().filter(|length| *length > 0)?;
    let size = 1u32 << length;
    let (ones, rotate) = (ones & (size - 1), rotate & (size - 1));
    if ones == size - 1 {
        return None;
    }
    let element = (1u64 << (ones + 1)) - 1;
    let whole = if size == 64 { u64::MAX } else { (1 << size) - 1 };
    let turned = match rotate {
        0 => element,
        _ => (element >> rotate | element << (size - rotate)) & whole,
    };
    let mut value = 0;
    for at in (0..64).step_by(size as usize) {
        value |= turned << at;
    }
    Some(if wide { value } else { value & 0xffff_ffff })
}

fn move_wide(word: u32, wide: bool) -> Op {
    let (to, shift) = (zero(word, 0), field(word, 21, 2) * 16);
    let value = u64::from(field(word, 5, 16)) << shift;
    let whole = if wide { u64::MAX } else { 0xffff_ffff };
    match field(word, 29, 2) {
        0 => Op::Constant { to, value: !value & whole },
        2 => Op::Constant { to, value },
        3 => Op::Keep { to, value, shift: shift as u8 },
        _ => Op::Unknown,
    }
}

fn bit_field(word: u32, wide: bool) -> Op {
    let (to, from) = (zero(word, 0), zero(word, 5));
    let (rotate, last) = (field(word, 16, 6), field(word, 10, 6));
    let bits = if wide { 64 } else { 32 };
    if rotate >= bits || last >= bits {
        return Op::Unknown;
    }
    match field(word, 29, 2) {
        0 | 2 if wide && rotate == 0 && last == 31 => Op::Extend { to, from },
        2 if rotate == (last + 1) % bits && last + 1 != bits => {
            Op::ShiftLeft { to, from, by: (bits - 1 - last) as u8, wide }
        }
        1 => Op::Other { to, uses: bit(from) | bit(to), narrow: !wide },
        _ => Op::Other { to, uses: bit(from), narrow: !wide },
    }
}

/// Data processing on registers.
pub fn register(word: u32) -> Op {
    let wide = word >> 31 == 1;
    match (field(word, 28, 1), field(word, 21, 4)) {
        (0, 0..8) => logic(word, wide),
        (0, _) => add(word, wide),
        (1, 0b0000) => carry(word, wide),
        (1, 0b0010) => compare(word, wide),
        (1, 0b0100) => select(word, wide),
        (1, 0b0110) => sources(word, wide),
        (1, 8..16) => {
            let uses = bit(zero(word, 5)) | bit(zero(word, 16)) | bit(zero(word, 10));
            Op::Other { to: zero(word, 0), uses, narrow: !wide }
        }
        _ => Op::Unknown,
    }
}

/// Shift kind and amount of a shifted register; only `lsl` is understood.
fn shifted(word: u32) -> Operand {
    let (register, amount) = (zero(word, 16), field(word, 10, 6) as u8);
    match field(word, 22, 2) {
        0 => Operand::Shifted(register, amount),
        _ if amount == 0 => Operand::Shifted(register, 0),
        _ => Operand::Opaque(register),
    }
}

fn logic(word: u32, wide: bool) -> Op {
    let kind = match (field(word, 29, 2), field(word, 21, 1)) {
        (_, 1) => Logic::Inverted,
        (0 | 3, _) => Logic::And,
        (1, _) => Logic::Or,
        _ => Logic::Xor,
    };
    let flags = field(word, 29, 2) == 3;
    Op::Logic { kind, to: zero(word, 0), from: zero(word, 5), by: shifted(word), flags, wide }
}

fn add(word: u32, wide: bool) -> Op {
    let (subtract, flags) = (field(word, 30, 1) == 1, field(word, 29, 1) == 1);
    if field(word, 21, 1) == 0 {
        let (to, from) = (zero(word, 0), zero(word, 5));
        return Op::Add { to, from, by: shifted(word), subtract, flags, wide };
    }
    let (register, amount) = (zero(word, 16), field(word, 10, 3) as u8);
    let by = match field(word, 13, 3) {
        2 | 6 if wide => Operand::Extended(register, amount),
        3 | 7 => Operand::Shifted(register, amount),
        2 | 6 => Operand::Shifted(register, amount),
        _ => Operand::Opaque(register),
    };
    let to = if flags { zero(word, 0) } else { stack(word, 0) };
    Op::Add { to, from: stack(word, 5), by, subtract, flags, wide }
}

/// `adc`, `sbc`, and the instructions on flags alone.
fn carry(word: u32, wide: bool) -> Op {
    let uses = bit(zero(word, 5)) | bit(zero(word, 16)) | super::FLAGS;
    match (field(word, 10, 6), field(word, 29, 1)) {
        (0, 0) => Op::Other { to: zero(word, 0), uses, narrow: !wide },
        // Both a register and the flags would change.
        (0, 1) if zero(word, 0) != ZR => Op::Unknown,
        _ => Op::Flags { uses },
    }
}

fn compare(word: u32, wide: bool) -> Op {
    if field(word, 29, 1) == 0 || field(word, 10, 1) == 1 || field(word, 4, 1) == 1 {
        return Op::Unknown;
    }
    let by = match field(word, 11, 1) {
        1 => Operand::Immediate(field(word, 16, 5).into()),
        _ => Operand::Shifted(zero(word, 16), 0),
    };
    Op::Compare {
        from: zero(word, 5),
        by,
        condition: field(word, 12, 4) as u8,
        otherwise: field(word, 0, 4) as u8,
        negated: field(word, 30, 1) == 0,
        wide,
    }
}

fn select(word: u32, wide: bool) -> Op {
    let kind = match (field(word, 30, 1), field(word, 10, 2)) {
        (0, 0) => Select::Plain,
        (0, 1) => Select::Increment,
        (1, 0) => Select::Invert,
        (1, 1) => Select::Negate,
        _ => return Op::Unknown,
    };
    Op::Select {
        kind,
        to: zero(word, 0),
        yes: zero(word, 5),
        no: zero(word, 16),
        condition: field(word, 12, 4) as u8,
        wide,
    }
}

/// One and two sources. Signing a pointer and checking its signature leave the
/// analysis the same pointer.
fn sources(word: u32, wide: bool) -> Op {
    let to = zero(word, 0);
    if field(word, 30, 1) == 1 {
        return match field(word, 16, 5) {
            1 => Op::Nop,
            _ => Op::Other { to, uses: bit(zero(word, 5)), narrow: !wide },
        };
    }
    let uses = bit(zero(word, 5)) | bit(zero(word, 16));
    match (field(word, 29, 1), field(word, 10, 6)) {
        // `subps` writes the flags as well.
        (1, _) => Op::Unknown,
        _ => Op::Other { to, uses, narrow: !wide },
    }
}
