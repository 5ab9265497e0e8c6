//! Instructions of which only the bounds are known.
//!
//! A function of some hundred words holds one of these more often than not, and
//! hardly ever in the window. All of a group of the manual is taken together, so
//! a word of the group that is not an instruction counts as one: it would end the
//! program and not go anywhere else.

use super::super::Register;
use super::super::operation::Operation;
use super::super::register_set::RegisterSet;
use super::{bit, bits, field, or_stack};

/// All vector registers. No rewrite of general registers depends on telling
/// them apart.
const VECTORS: RegisterSet = RegisterSet::new(0, u32::MAX);

/// "Data Processing -- Scalar Floating-Point and Advanced SIMD": touches general
/// registers only where it converts or moves between the two kinds.
pub fn vector(w: u32) -> Operation {
    let converts = w & 0x5f20_fc00 == 0x1e20_0000 || w & 0x5f20_0000 == 0x1e00_0000;
    let copies = w & 0x9fe0_8400 == 0x0e00_0400;
    let both = VECTORS.with_flags();
    if converts || copies {
        let (from, to) = (general(field(w, 5)), general(field(w, 0)));
        Operation::Unmodelled { reads: both.union(from), writes: both.union(to), memory: false }
    } else {
        Operation::Unmodelled { reads: both, writes: both, memory: false }
    }
}

/// `adcs`, `sbcs`, `crc32` and kin, `cls`.
pub fn data(w: u32) -> Option<Operation> {
    let carries = w & 0x3fe0_fc00 == 0x3a00_0000;
    let checks = w & 0x7fe0_e000 == 0x1ac0_4000;
    let counts = w & 0x7fff_fc00 == 0x5ac0_1400;
    let flags = if carries { RegisterSet::FLAGS } else { RegisterSet::NONE };
    let reads = general(field(w, 5)).union(general(field(w, 16))).union(flags);
    let writes = general(field(w, 0)).union(flags);
    (carries || checks || counts).then_some(Operation::Unmodelled { reads, writes, memory: false })
}

/// Exclusive pairs and `casp`, the atomics that compare, and the loads and
/// stores of vector structures.
pub fn access(w: u32) -> Option<Operation> {
    let base = RegisterSet::general(or_stack(w, 5));
    let (reads, writes) = if w & 0x3f80_0000 == 0x0800_0000 {
        let status = bits(w, 20, 16);
        let data = bits(w, 4, 0);
        let several = [status, status + 1, data, data + 1, bits(w, 14, 10)];
        let all = several.into_iter().filter(|&number| number < 31).map(Register::new);
        let all = all.map(RegisterSet::general).fold(RegisterSet::NONE, RegisterSet::union);
        (base.union(all), all)
    } else if w & 0x3f20_8c00 == 0x3820_0000 && bits(w, 14, 12) >= 4 {
        (base.union(general(field(w, 16))), general(field(w, 0)))
    } else if w & 0xbe00_0000 == 0x0c00_0000 {
        let moved = if bit(w, 23) { base } else { RegisterSet::NONE };
        let by = if bit(w, 23) { general(field(w, 16)) } else { RegisterSet::NONE };
        (base.union(by).union(VECTORS), moved.union(VECTORS))
    } else {
        return None;
    };
    Some(Operation::Unmodelled { reads, writes, memory: true })
}

fn general(field: Option<Register>) -> RegisterSet {
    field.map_or(RegisterSet::NONE, RegisterSet::general)
}
