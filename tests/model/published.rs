//! A whole method around the published window, and the two rewrites of it.

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::semantics::Register;
use agxpatch_core::arm64::{Assembler, Disassembler, Instruction};
use agxpatch_core::proof::steps::Steps;
use agxpatch_core::proof::{LandingPads, Roles, Surroundings};

/// Where the window begins.
pub const WINDOW: VmAddr = VmAddr(0x2be05c);

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

/// What the template does before the window, with the destructor called: two
/// loads, the second of which feeds the destructor, a third that is tested, and
/// the lock.
pub const BEFORE: [&str; 17] = [
    "mov x19, x0",
    "movz x8, #0x75, lsl #16",
    "movk x8, #0x8300",
    "ldrsw x24, [x8]",
    "ldr x8, [x0, x24]",
    "cbz x8, #0x2be090",
    "bl #0x6d4000",
    "ldr x25, [x0, #808]",
    "ldr x0, [x19, x24]",
    "bl #0x2b0000",
    "ldr x20, [x19, x24]",
    "cbz x20, #0x2be08c",
    "mov w21, #0x1a64",
    "add x0, x25, x21",
    "bl #0x6d49d4",
    "ldr w10, [x25, #0x1a60]",
    "cmp w10, #7",
];

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

/// An image with nothing in it but the function.
struct Alone;

impl Surroundings for Alone {
    fn text(&self) -> (VmAddr, &[u8]) {
        (WINDOW, &[])
    }

    fn function_starts(&self) -> Option<&[VmAddr]> {
        None
    }

    fn landing_pads(&self, _: std::ops::Range<VmAddr>) -> LandingPads {
        LandingPads::Known(Vec::new())
    }

    fn data(&self, _: VmAddr, _: usize) -> Option<&[u8]> {
        None
    }
}

fn entry(before: &[&str]) -> VmAddr {
    VmAddr(WINDOW.0 - 4 * before.len() as u64)
}

/// The method with these lines before the window and these words in it.
pub fn method(before: &[&str], window: &[u32]) -> Vec<Word> {
    const RET: Word = Word(0xd65f03c0);
    let assembler = Assembler::new();
    let lines = before.iter().enumerate().map(|(index, line)| {
        assembler.assemble_line(line, entry(before).instruction(index)).unwrap()
    });
    lines.chain(window.iter().copied().map(Word)).chain([RET]).collect()
}

pub fn try_steps_of(before: &[&str], window: &[u32]) -> agxpatch_core::Result<Steps> {
    try_steps_in(&method(before, window))
}

/// The steps of a method, the window and a return being its last words.
pub fn try_steps_in(words: &[Word]) -> agxpatch_core::Result<Steps> {
    let before = words.len() as u64 - 1 - ORIGINAL.len() as u64;
    try_steps_at(words, VmAddr(WINDOW.0 - 4 * before))
}

/// The steps of a method that begins at `entry`.
pub fn try_steps_at(words: &[Word], entry: VmAddr) -> agxpatch_core::Result<Steps> {
    let window = WINDOW..WINDOW.instruction(ORIGINAL.len());
    Steps::of(words, entry, window, &roles(), &Alone)
}

pub fn try_steps(window: &[u32]) -> agxpatch_core::Result<Steps> {
    try_steps_of(&BEFORE, window)
}

pub fn steps(words: &[u32]) -> Steps {
    try_steps(words).unwrap()
}

/// The window, as capstone reads it.
pub fn listing(words: &[u32]) -> Vec<Instruction> {
    let words: Vec<Word> = words.iter().copied().map(Word).collect();
    Disassembler::new().unwrap().disassemble(&words, WINDOW)
}
