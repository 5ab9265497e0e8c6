//! Loads, stores and atomic operations.

use super::{Access, Op, Operand, Place, field, signed, stack, zero};

/// The group of loads and stores.
pub fn access(word: u32, at: u64) -> Op {
    let vector = field(word, 26, 1) == 1;
    match (field(word, 27, 3), field(word, 24, 2)) {
        (0b001, 0) if !vector => exclusive(word),
        (0b001, _) if vector => structure(word),
        (0b011, 0) => literal(word, at, vector),
        (0b011, 1) => ordered_unscaled(word, vector),
        (0b101, _) => pair(word, vector),
        (0b111, _) => single(word, vector),
        _ => Op::Unknown,
    }
}

fn plain(load: bool, access: Access) -> Op {
    if load { Op::Load(access) } else { Op::Store(access) }
}

/// Exclusive and ordered accesses, and compare-and-swap.
fn exclusive(word: u32) -> Op {
    let size = 1 << field(word, 30, 2);
    let (register, base, status) = (zero(word, 0), stack(word, 5), zero(word, 16));
    let load = field(word, 22, 1) == 1;
    let access = |second| Access {
        registers: (register, second),
        size,
        vector: false,
        signed: false,
        place: Place::Offset(base, 0),
    };
    match (field(word, 23, 1), field(word, 21, 1)) {
        (0, 0) if load => Op::Load(access(None)),
        (0, 0) => Op::StoreExclusive { status, from: register, base, size },
        (1, 0) => plain(load, access(None)),
        (1, 1) => Op::Atomic { to: status, from: register, base, size },
        (0, 1) if load && size >= 4 => Op::Load(access(Some(zero(word, 10)))),
        _ => Op::Unknown,
    }
}

/// Loads and stores of vector structures. Which bytes they touch is not told
/// apart: a store of sixteen bytes or more stands for all of them.
fn structure(word: u32) -> Op {
    let base = stack(word, 5);
    let post = field(word, 23, 1) == 1;
    if post {
        return Op::Unknown;
    }
    let access = Access {
        registers: (0, None),
        size: 64,
        vector: true,
        signed: false,
        place: Place::Offset(base, 0),
    };
    plain(field(word, 22, 1) == 1, access)
}

fn literal(word: u32, at: u64, vector: bool) -> Op {
    let place = Place::Literal(at.wrapping_add_signed(signed(word, 5, 19) * 4));
    let kind = field(word, 30, 2);
    let size = match (vector, kind) {
        (true, kind) => 4 << kind,
        (false, 0 | 2) => 4,
        (false, 1) => 8,
        _ => return Op::Nop,
    };
    let signed = !vector && kind == 2;
    Op::Load(Access { registers: (zero(word, 0), None), size, vector, signed, place })
}

/// `ldapur`, `stlur` and their kin.
fn ordered_unscaled(word: u32, vector: bool) -> Op {
    if vector || field(word, 21, 1) == 1 || field(word, 10, 2) != 0 {
        return Op::Unknown;
    }
    let place = Place::Offset(stack(word, 5), signed(word, 12, 9));
    one(word, false, place)
}

fn pair(word: u32, vector: bool) -> Op {
    let kind = field(word, 30, 2);
    let size: u8 = match (vector, kind) {
        (true, 0..3) => 4 << kind,
        (false, 0 | 1) => 4,
        (false, 2) => 8,
        _ => return Op::Unknown,
    };
    let load = field(word, 22, 1) == 1;
    if !vector && kind == 1 && !load {
        return Op::Unknown;
    }
    let (base, distance) = (stack(word, 5), signed(word, 15, 7) * i64::from(size));
    let place = match field(word, 23, 2) {
        1 => Place::After(base, distance),
        3 => Place::Before(base, distance),
        _ => Place::Offset(base, distance),
    };
    let registers = (zero(word, 0), Some(zero(word, 10)));
    plain(load, Access { registers, size, vector, signed: !vector && kind == 1, place })
}

fn single(word: u32, vector: bool) -> Op {
    let base = stack(word, 5);
    if field(word, 24, 1) == 1 {
        let size = scale(word, vector);
        let distance = i64::from(field(word, 10, 12)) << size;
        return one(word, vector, Place::Offset(base, distance));
    }
    let distance = signed(word, 12, 9);
    match (field(word, 21, 1), field(word, 10, 2)) {
        (0, 0 | 2) => one(word, vector, Place::Offset(base, distance)),
        (0, 1) => one(word, vector, Place::After(base, distance)),
        (0, 3) => one(word, vector, Place::Before(base, distance)),
        (1, 2) => indexed(word, vector, base),
        (1, 0) if !vector => atomic(word),
        // `ldraa`: the pointer is authenticated, then used.
        (1, _) if !vector && field(word, 30, 2) == 3 => {
            let distance = (signed(word, 22, 1) << 9 | i64::from(field(word, 12, 9))) * 8;
            let place = match field(word, 11, 1) {
                1 => Place::Before(base, distance),
                _ => Place::Offset(base, distance),
            };
            let registers = (zero(word, 0), None);
            Op::Load(Access { registers, size: 8, vector: false, signed: false, place })
        }
        _ => Op::Unknown,
    }
}

/// The binary logarithm of the size.
fn scale(word: u32, vector: bool) -> u32 {
    match (vector, field(word, 23, 1), field(word, 30, 2)) {
        (true, 1, 0) => 4,
        (_, _, size) => size,
    }
}

fn indexed(word: u32, vector: bool, base: u8) -> Op {
    let register = zero(word, 16);
    let amount = if field(word, 12, 1) == 1 { scale(word, vector) as u8 } else { 0 };
    let index = match field(word, 13, 3) {
        3 | 7 => Operand::Shifted(register, amount),
        2 | 6 => Operand::Extended(register, amount),
        _ => return Op::Unknown,
    };
    one(word, vector, Place::Indexed(base, index))
}

/// A load or store of one register: size and direction stand in two fields.
fn one(word: u32, vector: bool, place: Place) -> Op {
    let size = 1u8 << scale(word, vector);
    let kind = field(word, 22, 2);
    if !vector && size == 8 && kind >= 2 {
        // `prfm`
        return if kind == 2 { Op::Nop } else { Op::Unknown };
    }
    let (load, signed) = match (vector, kind) {
        (true, kind) => (kind & 1 == 1, false),
        (false, kind) => (kind != 0, kind == 2),
    };
    plain(load, Access { registers: (zero(word, 0), None), size, vector, signed, place })
}

/// Atomic operations that return the old value.
fn atomic(word: u32) -> Op {
    let (from, to) = (zero(word, 16), zero(word, 0));
    let (base, size) = (stack(word, 5), 1 << field(word, 30, 2));
    match (field(word, 15, 1), field(word, 12, 3)) {
        (1, 0) => Op::Swap { from, to, base, size },
        // `ldapr`
        (1, 4) if field(word, 16, 5) == 31 => Op::Load(Access {
            registers: (to, None),
            size,
            vector: false,
            signed: false,
            place: Place::Offset(base, 0),
        }),
        (0, _) => Op::Atomic { to, from, base, size },
        _ => Op::Unknown,
    }
}
