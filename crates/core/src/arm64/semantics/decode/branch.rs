//! Branches, calls, returns, hints and system instructions.

use super::super::Register;
use super::super::operation::{Modifier, Operation};
use super::super::term::Key;
use super::{bit, bits, field, signed, target};
use crate::address::VmAddr;

pub fn branch_or_system(w: u32, address: VmAddr) -> Option<Operation> {
    let to = |words| target(address, words);
    Some(match w {
        _ if bits(w, 31, 26) == 0b000101 => Operation::Branch { target: to(signed(w, 25, 0)) },
        _ if bits(w, 31, 26) == 0b100101 => Operation::Call { target: to(signed(w, 25, 0)) },
        _ if bits(w, 31, 24) == 0b0101_0100 && !bit(w, 4) => {
            Operation::BranchIf { condition: bits(w, 3, 0), target: to(signed(w, 23, 5)) }
        }
        _ if bits(w, 30, 25) == 0b011010 => Operation::BranchOnZero {
            wide: bit(w, 31),
            register: field(w, 0),
            zero: !bit(w, 24),
            target: to(signed(w, 23, 5)),
        },
        _ if bits(w, 30, 25) == 0b011011 => Operation::BranchOnBit {
            register: field(w, 0),
            bit: (bits(w, 31, 31) << 5 | bits(w, 23, 19)) as u8,
            set: bit(w, 24),
            target: to(signed(w, 18, 5)),
        },
        _ if bits(w, 31, 25) == 0b1101011 => return register_branch(w),
        _ if bits(w, 31, 21) == 0b110_1010_0001 && bits(w, 4, 0) == 0 => Operation::Trap,
        _ if w & 0xffff_f01f == 0xd503_201f => return hint(bits(w, 11, 5)),
        _ if w & 0xffff_f01f == 0xd503_301f && matches!(bits(w, 7, 5), 4..=6) => Operation::Barrier,
        _ if bits(w, 31, 20) == 0xd53 => Operation::ReadSystem { to: field(w, 0) },
        _ => return None,
    })
}

fn register_branch(w: u32) -> Option<Operation> {
    let register = field(w, 5);
    let (kind, form, last) = (bits(w, 24, 21), bits(w, 15, 10), bits(w, 4, 0));
    if bits(w, 20, 16) != 31 {
        return None;
    }
    let key = if form & 1 == 0 { Key::IA } else { Key::IB };
    let authenticate = match (kind, form, last) {
        (0..=2, 0, 0) => None,
        (0 | 1, 2 | 3, 31) => Some((key, Modifier::Zero)),
        (2, 2 | 3, 31) if register.is_none() => Some((key, Modifier::Register(Register::SP))),
        (8 | 9, 2 | 3, _) => Some((key, Modifier::Register(Register::new(last)))),
        _ => return None,
    };
    Some(match kind & 7 {
        0 => Operation::BranchRegister { register, authenticate },
        1 => Operation::CallRegister { register, authenticate },
        _ if authenticate.is_some() => {
            Operation::Return { register: Some(Register::LR), authenticate }
        }
        _ => Operation::Return { register, authenticate },
    })
}

fn hint(number: u32) -> Option<Operation> {
    let x16 = Modifier::Register(Register::new(16));
    let stack = Modifier::Register(Register::SP);
    let (register, modifier) = match number {
        8..=15 => (Register::new(17), x16),
        24 | 26 | 28 | 30 => (Register::LR, Modifier::Zero),
        _ => (Register::LR, stack),
    };
    let key = if number & 2 == 0 { Key::IA } else { Key::IB };
    Some(match number {
        0..=6 | 16..=18 | 20 | 32 | 34 | 36 | 38 => Operation::Nothing,
        7 => Operation::Strip { register: Some(Register::LR) },
        8 | 10 | 24..=27 => Operation::Sign { key, register, modifier },
        12 | 14 | 28..=31 => Operation::Authenticate { key, register, modifier },
        _ => return None,
    })
}
