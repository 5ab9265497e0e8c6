//! Arithmetic, logic and moves of general registers.

use super::super::operation::{
    Bitfield, Extend, Field, Modifier, MoveWide, OneSource, Operand, Operation,
};
use super::super::term::{Binary, Key};
use super::{bit, bits, field, or_stack, signed};
use crate::address::VmAddr;

pub fn immediate(w: u32, address: VmAddr) -> Option<Operation> {
    let wide = bit(w, 31);
    let to = field(w, 0);
    Some(match bits(w, 28, 23) {
        0b100000 | 0b100001 => {
            let offset = signed(w, 23, 5) << 2 | i64::from(bits(w, 30, 29));
            let value = if wide {
                (address.0 & !0xfff).wrapping_add((offset << 12) as u64)
            } else {
                address.0.wrapping_add(offset as u64)
            };
            Operation::Address { to, value }
        }
        0b100010 => {
            let value = u64::from(bits(w, 21, 10)) << if bit(w, 22) { 12 } else { 0 };
            let flags = bit(w, 29);
            Operation::AddSubtract {
                wide,
                to: if flags { to } else { Some(or_stack(w, 0)) },
                left: Some(or_stack(w, 5)),
                right: Operand::Immediate(value),
                subtract: bit(w, 30),
                flags,
            }
        }
        0b100100 => {
            let mask = bit_mask(bits(w, 22, 22), bits(w, 15, 10), bits(w, 21, 16), wide)?;
            let (operation, flags) = logical(bits(w, 30, 29));
            Operation::Logical {
                wide,
                to: if flags { to } else { Some(or_stack(w, 0)) },
                left: field(w, 5),
                right: Operand::Immediate(mask),
                operation,
                invert: false,
                flags,
            }
        }
        0b100101 => move_wide(w, wide, to)?,
        0b100110 => bitfield(w, wide, to)?,
        0b100111 => extract(w, wide, to)?,
        _ => return None,
    })
}

fn logical(code: u32) -> (Binary, bool) {
    match code {
        0 => (Binary::And, false),
        1 => (Binary::Or, false),
        2 => (Binary::Xor, false),
        _ => (Binary::And, true),
    }
}

fn move_wide(w: u32, wide: bool, to: Field) -> Option<Operation> {
    let kind = match bits(w, 30, 29) {
        0 => MoveWide::Inverted,
        2 => MoveWide::Zero,
        3 => MoveWide::Keep,
        _ => return None,
    };
    let shift = (bits(w, 22, 21) * 16) as u8;
    let value = u64::from(bits(w, 20, 5));
    (wide || shift < 32).then_some(Operation::MoveWide { wide, to, kind, value, shift })
}

fn bitfield(w: u32, wide: bool, to: Field) -> Option<Operation> {
    let kind = match bits(w, 30, 29) {
        0 => Bitfield::Signed,
        1 => Bitfield::Insert,
        2 => Bitfield::Unsigned,
        _ => return None,
    };
    let (rotate, top) = (bits(w, 21, 16) as u8, bits(w, 15, 10) as u8);
    let fits = bit(w, 22) == wide && (wide || rotate < 32 && top < 32);
    fits.then_some(Operation::Bitfield { wide, to, from: field(w, 5), kind, rotate, top })
}

fn extract(w: u32, wide: bool, to: Field) -> Option<Operation> {
    let lsb = bits(w, 15, 10) as u8;
    let fits = bits(w, 30, 29) == 0 && bit(w, 22) == wide && !bit(w, 21) && (wide || lsb < 32);
    fits.then_some(Operation::Extract { wide, to, high: field(w, 5), low: field(w, 16), lsb })
}

/// The immediate of a logical instruction (`DecodeBitMasks` of the manual).
fn bit_mask(n: u32, imms: u32, immr: u32, wide: bool) -> Option<u64> {
    let combined = n << 6 | (!imms & 0x3f);
    let length = combined.checked_ilog2().filter(|&length| length >= 1)?;
    if !wide && n == 1 {
        return None;
    }
    let size = 1_u32 << length;
    let (ones, rotation) = ((imms & (size - 1)) + 1, immr & (size - 1));
    if ones == size {
        return None;
    }
    let element = (1_u64 << ones) - 1;
    let width_mask = u64::MAX >> (64 - size);
    let rotated = if rotation == 0 {
        element
    } else {
        (element >> rotation | element << (size - rotation)) & width_mask
    };
    let mut mask = 0;
    for copy in 0..64 / size {
        mask |= rotated << (copy * size);
    }
    Some(if wide { mask } else { mask & 0xffff_ffff })
}

pub fn register(w: u32) -> Option<Operation> {
    let wide = bit(w, 31);
    let to = field(w, 0);
    let left = field(w, 5);
    let right = field(w, 16);
    match bits(w, 28, 21) {
        code if code >> 3 == 0b01010 => {
            let (operation, flags) = logical(bits(w, 30, 29));
            let right = shifted(w, wide)?;
            let invert = bit(w, 21);
            Some(Operation::Logical { wide, to, left, right, operation, invert, flags })
        }
        code if code >> 3 == 0b01011 => add_subtract(w, wide),
        0b11010000 if bits(w, 15, 10) == 0 && !bit(w, 29) => {
            Some(Operation::WithCarry { wide, to, left, right, subtract: bit(w, 30) })
        }
        0b11010010 if bit(w, 29) && !bit(w, 10) && !bit(w, 4) => Some(Operation::Compare {
            wide,
            left,
            right: if bit(w, 11) {
                Operand::Immediate(u64::from(bits(w, 20, 16)))
            } else {
                Operand::Shifted(right, Binary::ShiftLeft, 0)
            },
            subtract: bit(w, 30),
            condition: bits(w, 15, 12),
            otherwise: bits(w, 3, 0) as u8,
        }),
        0b11010100 if !bit(w, 29) && !bit(w, 11) => Some(Operation::Select {
            wide,
            to,
            then: left,
            otherwise: right,
            condition: bits(w, 15, 12),
            invert: bit(w, 30),
            increment: bit(w, 10),
        }),
        0b11010110 if !bit(w, 29) && !bit(w, 30) => two_sources(w, wide),
        0b11010110 if !bit(w, 29) => one_source(w, wide),
        code if code >> 3 == 0b11011 => multiply(w, wide),
        _ => None,
    }
}

/// A shifted register operand; rotation is for logical instructions only, which
/// the caller of arithmetic sees to.
fn shifted(w: u32, wide: bool) -> Option<Operand> {
    let amount = bits(w, 15, 10) as u8;
    let operation = match bits(w, 23, 22) {
        0 => Binary::ShiftLeft,
        1 => Binary::ShiftRight,
        2 => Binary::ShiftRightSigned,
        _ => Binary::RotateRight,
    };
    (wide || amount < 32).then_some(Operand::Shifted(field(w, 16), operation, amount))
}

/// The extension an `option` field stands for.
pub fn extend(option: u32) -> Extend {
    Extend { bits: 8 << (option & 3), signed: option & 4 != 0 }
}

fn add_subtract(w: u32, wide: bool) -> Option<Operation> {
    let (subtract, flags) = (bit(w, 30), bit(w, 29));
    if !bit(w, 21) {
        let right = shifted(w, wide).filter(|_| bits(w, 23, 22) != 3)?;
        let (to, left) = (field(w, 0), field(w, 5));
        return Some(Operation::AddSubtract { wide, to, left, right, subtract, flags });
    }
    let amount = bits(w, 12, 10) as u8;
    if bits(w, 23, 22) != 0 || amount > 4 {
        return None;
    }
    Some(Operation::AddSubtract {
        wide,
        to: if flags { field(w, 0) } else { Some(or_stack(w, 0)) },
        left: Some(or_stack(w, 5)),
        right: Operand::Extended(field(w, 16), extend(bits(w, 15, 13)), amount),
        subtract,
        flags,
    })
}

fn two_sources(w: u32, wide: bool) -> Option<Operation> {
    let operation = match bits(w, 15, 10) {
        2 => Binary::Divide,
        3 => Binary::SignedDivide,
        8 => Binary::ShiftLeft,
        9 => Binary::ShiftRight,
        10 => Binary::ShiftRightSigned,
        11 => Binary::RotateRight,
        _ => return None,
    };
    let (to, left, right) = (field(w, 0), field(w, 5), field(w, 16));
    Some(Operation::TwoSources { wide, to, left, right, operation })
}

fn one_source(w: u32, wide: bool) -> Option<Operation> {
    if bits(w, 20, 16) == 1 && wide {
        return pointer_authentication(w);
    }
    let operation = match (bits(w, 20, 16), bits(w, 15, 10), wide) {
        (0, 0, _) => OneSource::ReverseBits,
        (0, 1, _) => OneSource::ReverseBytes(2),
        (0, 2, _) => OneSource::ReverseBytes(4),
        (0, 3, true) => OneSource::ReverseBytes(8),
        (0, 4, _) => OneSource::LeadingZeros,
        _ => return None,
    };
    Some(Operation::OneSource { wide, to: field(w, 0), from: field(w, 5), operation })
}

fn pointer_authentication(w: u32) -> Option<Operation> {
    let code = bits(w, 15, 10);
    let key = match code & 3 {
        0 => Key::IA,
        1 => Key::IB,
        2 => Key::DA,
        _ => Key::DB,
    };
    let modifier = match code {
        0..=7 => Modifier::Register(or_stack(w, 5)),
        8..=17 if bits(w, 9, 5) == 31 => Modifier::Zero,
        _ => return None,
    };
    if code >= 16 {
        return Some(Operation::Strip { register: field(w, 0) });
    }
    let Some(register) = field(w, 0) else { return Some(Operation::Nothing) };
    Some(if code & 4 == 0 {
        Operation::Sign { key, register, modifier }
    } else {
        Operation::Authenticate { key, register, modifier }
    })
}

fn multiply(w: u32, wide: bool) -> Option<Operation> {
    let (to, left, right, addend) = (field(w, 0), field(w, 5), field(w, 16), field(w, 10));
    let subtract = bit(w, 15);
    let extend = match (bits(w, 30, 29), bits(w, 23, 21), wide) {
        (0, 0, _) => None,
        (0, 1, true) => Some(true),
        (0, 5, true) => Some(false),
        (0, code @ (2 | 6), true) if !subtract => {
            return Some(Operation::MultiplyHigh { to, left, right, signed: code == 2 });
        }
        _ => return None,
    };
    Some(Operation::MultiplyAdd { wide, to, left, right, addend, subtract, extend })
}
