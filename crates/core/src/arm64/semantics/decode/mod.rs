//! Words to typed instructions, by the tables of the architecture manual.
//!
//! A word that is not known comes back as none, also where it is a valid
//! instruction: nothing is skipped and nothing guessed. Encodings the manual
//! calls unpredictable are not known either. Where the meaning is not worked out
//! and its bounds are known, these come back (`bounded`). Written from DDI 0487 chapter C4
//! without regard to the disassembler, and held against an emulator in the
//! tests.

mod branch;
mod data;
mod memory;
mod unmodelled;
mod vector;

use super::Register;
use super::operation::{Field, Operation};
use crate::address::{VmAddr, Word};

/// The instruction `word` is when it stands at `address`.
pub fn decode(word: Word, address: VmAddr) -> Option<Operation> {
    let w = word.0;
    match bits(w, 28, 25) {
        0b0000 if w <= 0xffff => Some(Operation::Trap),
        0b1000 | 0b1001 => data::immediate(w, address),
        0b1010 | 0b1011 => branch::branch_or_system(w, address),
        0b0101 | 0b1101 => data::register(w).or_else(|| unmodelled::data(w)),
        0b0111 | 0b1111 => vector::vector(w).or_else(|| Some(unmodelled::vector(w))),
        group if group & 0b0101 == 0b0100 => {
            memory::access(w, address).or_else(|| unmodelled::access(w))
        }
        _ => None,
    }
}

/// The field from bit `high` down to bit `low`.
fn bits(word: u32, high: u32, low: u32) -> u32 {
    (word >> low) & (u32::MAX >> (31 - (high - low)))
}

fn bit(word: u32, at: u32) -> bool {
    word >> at & 1 == 1
}

/// The same, as a signed number.
fn signed(word: u32, high: u32, low: u32) -> i64 {
    let width = high - low + 1;
    let value = bits(word, high, low) << (32 - width);
    i64::from(value as i32 >> (32 - width))
}

/// A register field in which 31 is `xzr`.
fn field(word: u32, low: u32) -> Field {
    let number = bits(word, low + 4, low);
    (number != 31).then(|| Register::new(number))
}

/// A register field in which 31 is `sp`.
fn or_stack(word: u32, low: u32) -> Register {
    Register::new(bits(word, low + 4, low))
}

fn target(address: VmAddr, words: i64) -> VmAddr {
    address.plus((words as u64).wrapping_mul(4))
}
