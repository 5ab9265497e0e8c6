//! The handful of AArch64 encodings that fill a driver, as arithmetic on words.
//!
//! Two million words of filler would take keystone seconds. These take none, and
//! a test holds each against capstone. Registers are numbers, 31 being `xzr` or
//! `sp` as the instruction has it; offsets are in bytes and must be multiples of
//! what is loaded.

use agxpatch_core::address::VmAddr;

/// Signs the return address: `pacibsp`, which keystone does not know.
pub(super) const PACIBSP: u32 = 0xd503_237f;
/// Authenticates the return address and returns: `retab`.
pub(super) const RETAB: u32 = 0xd65f_0fff;
/// Authenticates the return address before a tail call: `autibsp`.
pub(super) const AUTIBSP: u32 = 0xd503_23ff;
/// Jumps through an authenticated pointer: `braa x16, x17`.
pub(super) const BRAA_X16_X17: u32 = 0xd71f_0a11;
/// `brk #1`, which pads Objective-C stubs.
pub(super) const BRK_1: u32 = 0xd420_0020;

/// Signs an instruction's address with a modifier: `pacia xD, xN`.
pub(super) fn pacia(rd: u32, rn: u32) -> u32 {
    0xdac1_0000 | rn << 5 | rd
}

/// Signs the address of data with a modifier: `pacda xD, xN`.
pub(super) fn pacda(rd: u32, rn: u32) -> u32 {
    0xdac1_0800 | rn << 5 | rd
}

fn words_between(at: VmAddr, to: VmAddr) -> u32 {
    (to.distance_from(at) / 4) as u32
}

fn scaled(base: u32, shift: u32, rt: u32, rn: u32, offset: u32) -> u32 {
    base | ((offset >> shift) & 0xfff) << 10 | rn << 5 | rt
}

pub(super) fn b(at: VmAddr, to: VmAddr) -> u32 {
    0x1400_0000 | words_between(at, to) & 0x03ff_ffff
}

pub(super) fn bl(at: VmAddr, to: VmAddr) -> u32 {
    0x9400_0000 | words_between(at, to) & 0x03ff_ffff
}

/// `b.cond` over `words` instructions, itself included.
pub(super) fn b_cond(condition: u32, words: u32) -> u32 {
    0x5400_0000 | (words & 0x7_ffff) << 5 | condition
}

/// `cbz xN` over `words` instructions, itself included.
pub(super) fn cbz(rt: u32, words: u32) -> u32 {
    0xb400_0000 | (words & 0x7_ffff) << 5 | rt
}

pub(super) fn adrp(rd: u32, at: VmAddr, to: VmAddr) -> u32 {
    let pages = (to.0 >> 12).wrapping_sub(at.0 >> 12) as u32;
    0x9000_0000 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5 | rd
}

pub(super) fn ldr(rt: u32, rn: u32, offset: u32) -> u32 {
    scaled(0xf940_0000, 3, rt, rn, offset)
}

pub(super) fn str(rt: u32, rn: u32, offset: u32) -> u32 {
    scaled(0xf900_0000, 3, rt, rn, offset)
}

pub(super) fn ldr_w(rt: u32, rn: u32, offset: u32) -> u32 {
    scaled(0xb940_0000, 2, rt, rn, offset)
}

pub(super) fn str_w(rt: u32, rn: u32, offset: u32) -> u32 {
    scaled(0xb900_0000, 2, rt, rn, offset)
}

pub(super) fn ldrsw(rt: u32, rn: u32, offset: u32) -> u32 {
    scaled(0xb980_0000, 2, rt, rn, offset)
}

/// `ldr xT, [xN, xM]`.
pub(super) fn ldr_indexed(rt: u32, rn: u32, rm: u32) -> u32 {
    0xf860_6800 | rm << 16 | rn << 5 | rt
}

/// `str xT, [xN, xM]`.
pub(super) fn str_indexed(rt: u32, rn: u32, rm: u32) -> u32 {
    0xf820_6800 | rm << 16 | rn << 5 | rt
}

pub(super) fn add(rd: u32, rn: u32, rm: u32) -> u32 {
    0x8b00_0000 | rm << 16 | rn << 5 | rd
}

pub(super) fn add_imm(rd: u32, rn: u32, value: u32) -> u32 {
    0x9100_0000 | (value & 0xfff) << 10 | rn << 5 | rd
}

pub(super) fn add_imm_w(rd: u32, rn: u32, value: u32) -> u32 {
    0x1100_0000 | (value & 0xfff) << 10 | rn << 5 | rd
}

/// `add xD, xN, wM, uxtw #3`.
pub(super) fn add_uxtw_3(rd: u32, rn: u32, rm: u32) -> u32 {
    0x8b20_4c00 | rm << 16 | rn << 5 | rd
}

pub(super) fn cmp_imm_w(rn: u32, value: u32) -> u32 {
    0x7100_001f | (value & 0xfff) << 10 | rn << 5
}

pub(super) fn mov(rd: u32, rm: u32) -> u32 {
    0xaa00_03e0 | rm << 16 | rd
}

pub(super) fn movz_w(rd: u32, value: u32) -> u32 {
    0x5280_0000 | (value & 0xffff) << 5 | rd
}

fn pair(base: u32, first: u32, second: u32, rn: u32, offset: i32) -> u32 {
    base | ((offset / 8) as u32 & 0x7f) << 15 | second << 10 | rn << 5 | first
}

pub(super) fn stp(first: u32, second: u32, rn: u32, offset: i32) -> u32 {
    pair(0xa900_0000, first, second, rn, offset)
}

pub(super) fn ldp(first: u32, second: u32, rn: u32, offset: i32) -> u32 {
    pair(0xa940_0000, first, second, rn, offset)
}

/// `stp …, [xN, #offset]!`.
pub(super) fn stp_pre(first: u32, second: u32, rn: u32, offset: i32) -> u32 {
    pair(0xa980_0000, first, second, rn, offset)
}

/// `ldp …, [xN], #offset`.
pub(super) fn ldp_post(first: u32, second: u32, rn: u32, offset: i32) -> u32 {
    pair(0xa8c0_0000, first, second, rn, offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use agxpatch_core::address::Word;
    use agxpatch_core::arm64::Disassembler;

    #[test]
    fn every_encoding_reads_back_as_what_its_name_says() {
        let at = VmAddr(0x2b_dd1c);
        let cases: &[(u32, &str)] = &[
            (b(at, VmAddr(0x2b_dd10)), "b #0x2bdd10"),
            (bl(at, VmAddr(0x6d_49e4)), "bl #0x6d49e4"),
            (b_cond(8, 3), "b.hi #0x2bdd28"),
            (cbz(20, 5), "cbz x20, #0x2bdd30"),
            (adrp(8, at, VmAddr(0x75_8300)), "adrp x8, #0x758000"),
            (adrp(8, at, VmAddr(0x1000)), "adrp x8, #0x1000"),
            (ldr(0, 20, 0x5c8), "ldr x0, [x20, #0x5c8]"),
            (str(20, 9, 0x1a68), "str x20, [x9, #0x1a68]"),
            (ldr_w(8, 9, 0x1aa8), "ldr w8, [x9, #0x1aa8]"),
            (str_w(8, 9, 0x10), "str w8, [x9, #0x10]"),
            (ldrsw(24, 8, 0x300), "ldrsw x24, [x8, #0x300]"),
            (ldr_indexed(20, 0, 24), "ldr x20, [x0, x24]"),
            (str_indexed(31, 19, 24), "str xzr, [x19, x24]"),
            (add(0, 25, 21), "add x0, x25, x21"),
            (add_imm(29, 31, 0x90), "add x29, sp, #0x90"),
            (add_imm_w(10, 8, 1), "add w10, w8, #1"),
            (add_uxtw_3(9, 9, 8), "add x9, x9, w8, uxtw #3"),
            (cmp_imm_w(8, 7), "cmp w8, #7"),
            (mov(19, 0), "mov x19, x0"),
            (movz_w(1, 0x42), "mov w1, #0x42"),
            (stp(29, 30, 31, 0x90), "stp x29, x30, [sp, #0x90]"),
            (ldp(29, 30, 31, 0x90), "ldp x29, x30, [sp, #0x90]"),
            (stp_pre(26, 25, 31, -0x50), "stp x26, x25, [sp, #-0x50]!"),
            (ldp_post(26, 25, 31, 0x50), "ldp x26, x25, [sp], #0x50"),
            (PACIBSP, "pacibsp"),
            (RETAB, "retab"),
            (AUTIBSP, "autibsp"),
            (BRAA_X16_X17, "braa x16, x17"),
            (BRK_1, "brk #1"),
            (pacia(8, 17), "pacia x8, x17"),
            (pacda(16, 17), "pacda x16, x17"),
        ];
        let disassembler = Disassembler::new().unwrap();
        for (word, text) in cases {
            assert_eq!(disassembler.one(Word(*word), at).text, *text);
        }
    }
}
