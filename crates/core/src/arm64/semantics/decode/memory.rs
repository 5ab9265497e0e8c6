//! Loads, stores and atomics.

use super::super::operation::{Address, Atomic, Data, Operation, Size};
use super::super::term::Key;
use super::data::extend;
use super::{bit, bits, field, or_stack, signed, target};
use crate::address::VmAddr;

pub fn access(w: u32, address: VmAddr) -> Option<Operation> {
    match (bits(w, 29, 27), bits(w, 25, 24)) {
        (0b011, 0b00) => literal(w, address),
        (0b101, _) => pair(w),
        (0b111, 0b01) => scaled(w),
        (0b111, 0b00) if !bit(w, 21) => unscaled(w),
        (0b111, 0b00) => match bits(w, 11, 10) {
            0b10 => indexed(w),
            0b00 if !bit(w, 26) => atomic(w),
            0b01 | 0b11 if bits(w, 31, 30) == 3 && !bit(w, 26) => authenticated(w),
            _ => None,
        },
        (0b001, 0b00) if !bit(w, 26) => ordered(w),
        (0b011, 0b01) if !bit(w, 26) && !bit(w, 21) && bits(w, 11, 10) == 0 => {
            // Where the plain form is a prefetch there is no ordered one.
            single(w)??;
            with_offset(w, signed(w, 20, 12), true)
        }
        _ => None,
    }
}

fn data(w: u32, low: u32, vector: bool) -> Data {
    if vector { Data::Vector(bits(w, low + 4, low) as u8) } else { Data::General(field(w, low)) }
}

fn literal(w: u32, address: VmAddr) -> Option<Operation> {
    let from = target(address, signed(w, 23, 5));
    let vector = bit(w, 26);
    let size = match (bits(w, 31, 30), vector) {
        (3, false) => return Some(Operation::Nothing),
        (2, false) => Size { bytes: 4, signed: Some(true) },
        (code @ 0..=1, false) | (code @ 0..=2, true) => Size { bytes: 4 << code, signed: None },
        _ => return None,
    };
    Some(Operation::LoadLiteral { to: data(w, 0, vector), size, from })
}

fn pair(w: u32) -> Option<Operation> {
    let (load, vector) = (bit(w, 22), bit(w, 26));
    let size = match (bits(w, 31, 30), vector) {
        (1, false) if load && bits(w, 25, 23) != 0 => Size { bytes: 4, signed: Some(true) },
        (code @ (0 | 2), false) => Size { bytes: if code == 0 { 4 } else { 8 }, signed: None },
        (code @ 0..=2, true) => Size { bytes: 4 << code, signed: None },
        _ => return None,
    };
    let base = or_stack(w, 5);
    let offset = signed(w, 21, 15) * i64::from(size.bytes);
    let address = match bits(w, 24, 23) {
        1 => Address::After(base, offset),
        3 => Address::Before(base, offset),
        _ => Address::Offset(base, offset),
    };
    let registers = (data(w, 0, vector), data(w, 10, vector));
    let moves_its_base = [registers.0, registers.1].contains(&Data::General(Some(base)))
        && !matches!(address, Address::Offset(..))
        && !base_is_stack(w);
    if moves_its_base || load && registers.0 == registers.1 && bits(w, 4, 0) == bits(w, 14, 10) {
        return None;
    }
    Some(Operation::AccessPair { load, registers, size, address })
}

fn base_is_stack(w: u32) -> bool {
    bits(w, 9, 5) == 31
}

/// Size and direction of a single access; none for a prefetch.
fn single(w: u32) -> Option<Option<(bool, Size)>> {
    let (scale, code) = (bits(w, 31, 30), bits(w, 23, 22));
    let plain = |load, bytes| Some(Some((load, Size { bytes, signed: None })));
    if bit(w, 26) {
        return match (code, scale) {
            (0 | 1, _) => plain(code == 1, 1 << scale),
            (2 | 3, 0) => plain(code == 3, 16),
            _ => None,
        };
    }
    match (code, scale) {
        (0 | 1, _) => plain(code == 1, 1 << scale),
        (2, 3) => Some(None),
        (2, _) => Some(Some((true, Size { bytes: 1 << scale, signed: Some(true) }))),
        (3, 0 | 1) => Some(Some((true, Size { bytes: 1 << scale, signed: Some(false) }))),
        _ => None,
    }
}

fn one_access(w: u32, address: Address, ordered: bool) -> Option<Operation> {
    let Some((load, size)) = single(w)? else {
        return matches!(address, Address::Offset(..) | Address::Indexed(..))
            .then_some(Operation::Nothing);
    };
    let register = data(w, 0, bit(w, 26));
    let writes_back = matches!(address, Address::Before(..) | Address::After(..));
    if writes_back && !base_is_stack(w) && register == Data::General(Some(or_stack(w, 5))) {
        return None;
    }
    Some(Operation::Access { load, register, size, address, ordered })
}

fn with_offset(w: u32, offset: i64, ordered: bool) -> Option<Operation> {
    one_access(w, Address::Offset(or_stack(w, 5), offset), ordered)
}

fn scaled(w: u32) -> Option<Operation> {
    let bytes = single(w)?.map_or(8, |(_, size)| size.bytes);
    with_offset(w, i64::from(bits(w, 21, 10)) * i64::from(bytes), false)
}

fn unscaled(w: u32) -> Option<Operation> {
    let (base, offset) = (or_stack(w, 5), signed(w, 20, 12));
    let address = match bits(w, 11, 10) {
        0b00 => Address::Offset(base, offset),
        0b01 => Address::After(base, offset),
        0b11 => Address::Before(base, offset),
        _ => return None,
    };
    one_access(w, address, false)
}

fn indexed(w: u32) -> Option<Operation> {
    let option = bits(w, 15, 13);
    let bytes = single(w)?.map_or(8, |(_, size)| size.bytes);
    let shift = if bit(w, 12) { bytes.trailing_zeros() as u8 } else { 0 };
    let address = Address::Indexed(or_stack(w, 5), field(w, 16), extend(option), shift);
    if option & 2 == 0 { None } else { one_access(w, address, false) }
}

fn authenticated(w: u32) -> Option<Operation> {
    let key = if bit(w, 23) { Key::DB } else { Key::DA };
    let offset = (signed(w, 22, 22) << 9 | i64::from(bits(w, 20, 12))) * 8;
    let base = or_stack(w, 5);
    let writes_back = bit(w, 11);
    if writes_back && !base_is_stack(w) && field(w, 0) == Some(base) {
        return None;
    }
    Some(Operation::Access {
        load: true,
        register: data(w, 0, false),
        size: Size { bytes: 8, signed: None },
        address: Address::Authenticated(key, base, offset, writes_back),
        ordered: false,
    })
}

fn atomic(w: u32) -> Option<Operation> {
    let bytes = 1 << bits(w, 31, 30);
    let acquire_only = bits(w, 23, 22) == 0b10;
    let operation = match bits(w, 15, 12) {
        0 => Atomic::Add,
        1 => Atomic::Clear,
        2 => Atomic::Xor,
        3 => Atomic::Set,
        8 => Atomic::Swap,
        // ldapr
        12 if acquire_only && bits(w, 20, 16) == 31 => {
            let (size, address) =
                (Size { bytes, signed: None }, Address::Offset(or_stack(w, 5), 0));
            let register = data(w, 0, false);
            return Some(Operation::Access { load: true, register, size, address, ordered: true });
        }
        _ => return None,
    };
    let (to, operand, base) = (field(w, 0), field(w, 16), or_stack(w, 5));
    Some(Operation::Atomic { bytes, to, operand, base, operation })
}

/// `ldar`, `stlr` and kin, `cas` and kin. Exclusive pairs are not known.
fn ordered(w: u32) -> Option<Operation> {
    let bytes = 1 << bits(w, 31, 30);
    let base = or_stack(w, 5);
    match (bit(w, 23), bit(w, 21)) {
        (true, false) if bits(w, 20, 16) == 31 && bits(w, 14, 10) == 31 => {
            let (size, address) = (Size { bytes, signed: None }, Address::Offset(base, 0));
            let register = data(w, 0, false);
            Some(Operation::Access { load: bit(w, 22), register, size, address, ordered: true })
        }
        (true, true) if bits(w, 14, 10) == 31 => {
            Some(Operation::CompareAndSwap { bytes, compare: field(w, 16), new: field(w, 0), base })
        }
        _ => None,
    }
}
