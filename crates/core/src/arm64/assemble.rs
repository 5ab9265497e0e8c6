//! Text to words, by keystone, and by our own tables for what keystone does not know.

use std::cell::OnceCell;

use keystone_engine::{Arch, Keystone, Mode};

use crate::address::{VmAddr, Word};
use crate::error::{Code, Error, Result};

use super::extensions;

/// An AArch64 assembler. Keystone is opened for the first instruction: patterns
/// given by their bits need none of it.
#[derive(Default)]
pub struct Assembler(OnceCell<Keystone>);

impl Assembler {
    /// An assembler that nothing was asked of.
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// Whether anything was asked of it.
    pub fn is_open(&self) -> bool {
        self.0.get().is_some()
    }

    fn keystone(&self) -> Result<&Keystone> {
        if let Some(open) = self.0.get() {
            return Ok(open);
        }
        let opened = Keystone::new(Arch::ARM64, Mode::LITTLE_ENDIAN).map_err(|reason| {
            Error::new(Code::Bug, "keystone failed to initialise").with("reason", reason)
        })?;
        Ok(self.0.get_or_init(|| opened))
    }

    /// Assembles `lines`, one instruction each, as if the first stood at
    /// `origin`. Branch targets are absolute addresses, written `#0x…`.
    ///
    /// All lines go to keystone in one call, which is far cheaper than a call a
    /// line. If they do not come back as one word a line, they are assembled
    /// again one by one to name the culprit.
    pub fn assemble<S: AsRef<str>>(&self, lines: &[S], origin: VmAddr) -> Result<Vec<Word>> {
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        for line in lines {
            refuse_other_than_instructions(line.as_ref())?;
        }
        let extended: Vec<_> = lines
            .iter()
            .enumerate()
            .map(|(index, line)| extensions::encode_at(line.as_ref(), origin.instruction(index)))
            .collect();
        let for_keystone = lines.iter().zip(&extended).map(|(line, word)| match word {
            // Keystone still has to count it.
            Some(_) => "nop",
            None => line.as_ref(),
        });
        let text = for_keystone.collect::<Vec<_>>().join("\n");
        let all_encoded = !extended.iter().any(|word| matches!(word, Some(Err(_))));
        if all_encoded && let Ok(output) = self.keystone()?.asm(text, origin.0) {
            let words: Vec<Word> = Word::all(&output.bytes).collect();
            if words.len() == lines.len() && output.bytes.len() == lines.len() * 4 {
                let either = |(word, extended): (Word, Option<_>)| match extended {
                    Some(Ok(extended)) => extended,
                    _ => word,
                };
                return Ok(words.into_iter().zip(extended).map(either).collect());
            }
        }
        lines
            .iter()
            .enumerate()
            .map(|(index, line)| self.assemble_line(line.as_ref(), origin.instruction(index)))
            .collect()
    }

    /// Assembles one instruction that stands at `address`.
    pub fn assemble_line(&self, line: &str, address: VmAddr) -> Result<Word> {
        refuse_other_than_instructions(line)?;
        let refused = |reason: String| {
            Error::new(Code::PatternSyntax, "an instruction cannot be assembled")
                .with("instruction", line.trim())
                .with("address", address)
                .with("reason", reason)
        };
        match extensions::encode_at(line, address) {
            Some(Ok(word)) => return Ok(word),
            Some(Err(_)) => {
                return Err(refused("the operands do not fit the mnemonic".into()));
            }
            None => {}
        }
        let output = self
            .keystone()?
            .asm(line.to_owned(), address.0)
            .map_err(|error| refused(error.to_string()))?;
        match *output.bytes.as_slice() {
            [a, b, c, d] => Ok(Word(u32::from_le_bytes([a, b, c, d]))),
            _ => Err(refused(format!("it makes {} bytes and not 4", output.bytes.len()))),
        }
    }
}

/// Keystone takes directives, several statements a line and comments; a NUL
/// would end its text early. None of these is one instruction.
fn refuse_other_than_instructions(line: &str) -> Result<()> {
    let text = line.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || " \t,.#[]!-+_".contains(c);
    if !text.is_empty()
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
    {
        return Ok(());
    }
    Err(Error::new(Code::PatternSyntax, "a line is not a single instruction")
        .with("line", text.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines_assemble_at_consecutive_addresses() {
        let words = Assembler::new()
            .assemble(&["bl #0x6d49e4", "bl #0x6d49e4", "nop"], VmAddr(0x2be074))
            .unwrap();
        assert_eq!(words, [Word(0x94105a5c), Word(0x94105a5b), Word(0xd503201f)]);
    }

    #[test]
    fn directives_and_nul_bytes_are_refused() {
        let assembler = Assembler::new();
        for line in [".word 5", "nop; nop", "nop\0", "", "nop // x"] {
            assert!(assembler.assemble_line(line, VmAddr(0)).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_line_that_does_not_assemble_is_named() {
        let error =
            Assembler::new().assemble(&["nop", "frobnicate x0"], VmAddr(0x1000)).unwrap_err();
        assert!(error.context().contains(&("instruction", "frobnicate x0".into())));
        assert!(error.context().contains(&("address", "0x1004".into())));
    }
}
