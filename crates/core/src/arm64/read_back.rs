//! Assembling a line so that a second program agrees with the word.

use crate::address::{VmAddr, Word};
use crate::error::{Code, Error, Result};

use super::{Assembler, Disassembler};

/// Assembles a line and has the disassembler read the word. What it reads is
/// assembled in turn and must be the same word: two texts of one instruction may
/// differ in spelling, such as `mov` and `orr`, and two words do not.
///
/// # Errors
/// Those of [`Assembler::assemble_line`]; `ReadBackDiffers` if the words differ.
pub fn assemble_and_read_back(
    assembler: &Assembler,
    disassembler: &Disassembler,
    line: &str,
    address: VmAddr,
) -> Result<Word> {
    let word = assembler.assemble_line(line, address)?;
    let read = disassembler.one(word, address).text;
    match assembler.assemble_line(&read, address) {
        Ok(again) if again == word => Ok(word),
        _ => Err(Error::new(Code::ReadBackDiffers, "the assembled word reads back differently")
            .with("assembled", line.trim())
            .with("word", word)
            .with("reads", read)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spellings that authors use, several of one instruction among them.
    const LINES: &[&str] = &[
        "nop",
        "NOP",
        "hint #0",
        "hint #25",
        "hint #34",
        "mov x0, x1",
        "MOV X0, X1",
        "orr x0, xzr, x1",
        "mov x0, #0",
        "mov w0, #1",
        "movz x0, #0",
        "movz w9, #0x10, lsl #16",
        "movk x9, #0x10, lsl #32",
        "movn x9, #0",
        "mov x0, #-1",
        "mov x0, sp",
        "mov sp, x29",
        "add x29, sp, #144",
        "add x0, x1, x2",
        "add x0, x1, x2, lsl #0",
        "add x0, x1, w2, uxtw #3",
        "add x0, x1, #0x1000",
        "add x0, x1, #1, lsl #12",
        "add w10, w8, #1",
        "adds x0, x1, #1",
        "sub sp, sp, #0xa0",
        "subs xzr, x1, #7",
        "cmp x1, #7",
        "cmp w8, w9",
        "cmn x1, #1",
        "neg x0, x1",
        "mvn x0, x1",
        "tst x0, #1",
        "and x0, x1, #0xff",
        "ands xzr, x0, #0xff",
        "bic x0, x1, x2",
        "eor w0, w1, #1",
        "lsl x0, x1, #3",
        "lsr w0, w1, #1",
        "asr x0, x1, #63",
        "ubfx x0, x1, #4, #8",
        "sxtw x0, w1",
        "uxtb w0, w1",
        "ubfm x0, x1, #3, #63",
        "csel x0, x1, x2, eq",
        "cset w0, ne",
        "csinc w0, wzr, wzr, eq",
        "ccmp x0, #0, #4, ne",
        "mul x0, x1, x2",
        "madd x0, x1, x2, xzr",
        "udiv x0, x1, x2",
        "clz x0, x1",
        "rbit x0, x1",
        "ldr x0, [x1]",
        "ldr x0, [x1, #0]",
        "ldr x0, [x1, x2]",
        "ldr x0, [x1, x2, lsl #3]",
        "ldr w0, [x1, w2, sxtw #2]",
        "ldr x0, [x1, #8]!",
        "ldr x0, [x1], #8",
        "ldrsw x0, [x1, #4]",
        "ldrb w0, [x1]",
        "ldur x0, [x1, #-8]",
        "stur x0, [x1, #0]",
        "stur x0, [x1]",
        "str x20, [x9]",
        "str x20, [x9, #0x0]",
        "str x20, [x9, #6760]",
        "STR X20, [X9, #0X1A68]",
        "str xzr, [x19, x24]",
        "str w10, [x9, #0x1aa8]",
        "strb wzr, [x0]",
        "stp x20, xzr, [x9, #16]",
        "stp x29, x30, [sp, #-16]!",
        "ldp x29, x30, [sp], #16",
        "ldp x29, x30, [sp, #0x90]",
        "stlr x0, [x1]",
        "ldar x0, [x1]",
        "ldxr x0, [x1]",
        "stxr w2, x0, [x1]",
        "dmb ish",
        "dsb sy",
        "isb",
        "mrs x0, tpidrro_el0",
        "brk #1",
        "ret",
        "ret x30",
        "br x16",
        "blr x8",
        "b #0x2be08c",
        "bl #0x6d49e4",
        "b.hi #0x2be07c",
        "b.hs #0x2be07c",
        "b.cs #0x2be07c",
        "cbz x20, #0x2be090",
        "cbnz w0, #0x2be090",
        "tbz w0, #3, #0x2be090",
        "tbnz x0, #40, #0x2be090",
        "adr x0, #0x2be090",
        "adrp x0, #0x300000",
        "ldr x0, #0x2be090",
        "pacibsp",
        "retab",
    ];

    #[test]
    fn every_spelling_is_read_back() {
        let (assembler, disassembler) = (Assembler::new(), Disassembler::new().unwrap());
        let at = VmAddr(0x2b_e070);
        let refused: Vec<String> = LINES
            .iter()
            .filter_map(|line| {
                assemble_and_read_back(&assembler, &disassembler, line, at)
                    .err()
                    .map(|error| format!("{line}: {error} {:?}", error.context()))
            })
            .collect();
        assert!(refused.is_empty(), "{} refused:\n{}", refused.len(), refused.join("\n"));
    }
}
