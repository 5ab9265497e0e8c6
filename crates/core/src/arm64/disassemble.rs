//! Words to text, by capstone.

use capstone::prelude::*;
use serde::Serialize;

use crate::address::{VmAddr, Word};
use crate::error::{Code, Error, Result};

/// An AArch64 disassembler.
pub struct Disassembler(Capstone);

/// One instruction as capstone reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instruction {
    /// Where it stands.
    pub address: VmAddr,
    /// Its encoding.
    pub word: Word,
    /// Mnemonic and operands, such as `str xzr, [x19, x24]`; `.word` with the
    /// value where capstone knows no instruction.
    pub text: String,
}

impl Disassembler {
    /// Opens capstone.
    pub fn new() -> Result<Disassembler> {
        Capstone::new().arm64().mode(arch::arm64::ArchMode::Arm).build().map(Disassembler).map_err(
            |reason| Error::new(Code::Bug, "capstone failed to initialise").with("reason", reason),
        )
    }

    /// Reads `words`, the first of which stands at `origin`.
    pub fn disassemble(&self, words: &[Word], origin: VmAddr) -> Vec<Instruction> {
        words
            .iter()
            .enumerate()
            .map(|(index, &word)| self.one(word, origin.instruction(index)))
            .collect()
    }

    /// Reads one word that stands at `address`.
    pub fn one(&self, word: Word, address: VmAddr) -> Instruction {
        let text = self
            .0
            .disasm_count(&word.to_bytes(), address.0, 1)
            .ok()
            .and_then(|found| found.iter().next().map(text_of))
            .unwrap_or_else(|| format!(".word 0x{word}"));
        Instruction { address, word, text }
    }
}

fn text_of(instruction: &capstone::Insn<'_>) -> String {
    let mnemonic = instruction.mnemonic().unwrap_or_default();
    match instruction.op_str() {
        Some(operands) if !operands.is_empty() => format!("{mnemonic} {operands}"),
        _ => mnemonic.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_words_read_as_published() {
        let disassembler = Disassembler::new().unwrap();
        let text = |word, at| disassembler.one(Word(word), VmAddr(at)).text;
        assert_eq!(text(0x54000108, 0x2be05c), "b.hi #0x2be07c");
        assert_eq!(text(0xf8386a7f, 0x2be08c), "str xzr, [x19, x24]");
        assert_eq!(text(0x94105a5c, 0x2be074), "bl #0x6d49e4");
        assert_eq!(text(0xa9497bfd, 0x2be090), "ldp x29, x30, [sp, #0x90]");
    }

    #[test]
    fn a_word_that_is_not_an_instruction_is_shown_as_data() {
        let read = Disassembler::new().unwrap().one(Word(0), VmAddr(0));
        assert!(read.text.starts_with(".word") || read.text.starts_with("udf"), "{}", read.text);
    }
}
