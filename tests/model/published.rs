//! The published window, and the two rewrites of it.

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::semantics::Register;
use agxpatch_core::arm64::{Disassembler, Instruction};
use agxpatch_core::proof::Roles;
use agxpatch_core::proof::steps::Steps;

pub const ORIGIN: VmAddr = VmAddr(0x2be05c);

// The three unpublished words between the branch and the push are stood in for
// by what the published ones imply: count + 1 stored, slot address computed.
// add w11, w10, #1; str w11, [x25, #0x1a60]; add x9, x25, x10, lsl #3
const UNPUBLISHED: [u32; 3] = [0x1100054b, 0xb91a632b, 0x8b0a0f29];

pub const ORIGINAL: [u32; 13] = window([
    0x54000108, 0xf90d3534, 0x8b150320, 0x94105a5c, 0x14000005, 0x8b150320, 0x94105a59, 0xaa1403e0,
    0x9410598f, 0xf8386a7f,
]);

pub const LEGACY: [u32; 13] = window([
    0x54000128, 0xf90d3534, 0xf8386a7f, 0x8b150320, 0x94105a5b, 0x14000005, 0xf8386a7f, 0x8b150320,
    0x94105a57, 0x14000001,
]);

pub const DEFAULT: [u32; 13] = window([
    0x540000c8, 0xf90d3534, 0xaa1f03f4, 0xf8386a7f, 0x8b150320, 0x94105a5a, 0xb4000094, 0xaa1403e0,
    0x9410598f, 0xd503201f,
]);

const fn window(words: [u32; 10]) -> [u32; 13] {
    let [branch, push, a, b, c, d, e, f, g, h] = words;
    let [x, y, z] = UNPUBLISHED;
    [branch, x, y, z, push, a, b, c, d, e, f, g, h]
}

pub fn roles() -> Roles {
    Roles {
        self_: Register::new(19),
        ivar: Register::new(24),
        impl_: Register::new(20),
        pool: Register::new(25),
        lock: Register::new(21),
        slot: Register::new(9),
        slots: 0x1a68,
        unlock: VmAddr(0x6d49e4),
        free: VmAddr(0x6d46c4),
    }
}

pub fn try_steps(words: &[u32]) -> agxpatch_core::Result<Steps> {
    let words: Vec<Word> = words.iter().copied().map(Word).collect();
    Steps::of(&words, ORIGIN, ORIGIN..ORIGIN.instruction(words.len()), &roles())
}

pub fn steps(words: &[u32]) -> Steps {
    try_steps(words).unwrap()
}

/// The three versions, by the names their specifications have.
pub const VERSIONS: [(&str, [u32; 13]); 3] =
    [("original", ORIGINAL), ("legacy", LEGACY), ("default", DEFAULT)];

/// As capstone reads it.
pub fn listing(words: &[u32]) -> Vec<Instruction> {
    let words: Vec<Word> = words.iter().copied().map(Word).collect();
    Disassembler::new().unwrap().disassemble(&words, ORIGIN)
}
