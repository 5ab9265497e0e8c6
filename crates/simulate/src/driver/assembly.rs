//! Hand-written functions of the driver: text with labels and bindings to words.
//!
//! keystone assembles; this adds what it lacks for the purpose: `{name}` stands
//! for a binding or for a label of the same text (`name:` on a line of its own),
//! `//` begins a comment, and the few pointer-authentication instructions and
//! `adrp`, whose operand keystone reads as a distance, are encoded here.

use std::collections::HashMap;

use super::encode;
use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::Assembler;
use agxpatch_core::error::{Code, Error, Result};

/// Names and the text they stand for.
#[derive(Clone, Default)]
pub(super) struct Bindings(HashMap<String, String>);

impl Bindings {
    pub(super) fn text(&mut self, name: &str, text: impl Into<String>) -> &mut Self {
        self.0.insert(name.to_owned(), text.into());
        self
    }

    /// Binds an address, written as branch targets are.
    pub(super) fn address(&mut self, name: &str, address: VmAddr) -> &mut Self {
        self.text(name, format!("#{address}"))
    }

    /// Binds a cell's address for `adrp`, and under `name_low` its offset within
    /// the page for the load that follows.
    pub(super) fn cell(&mut self, name: &str, address: VmAddr) -> &mut Self {
        self.address(name, address)
            .text(&format!("{name}_low"), format!("#{:#x}", address.0 & 0xfff))
    }

    pub(super) fn register(&mut self, name: &str, number: u32) -> &mut Self {
        self.text(name, format!("x{number}")).text(&format!("{name}_w"), format!("w{number}"))
    }

    fn expand(&self, line: &str) -> Result<String> {
        let mut parts = line.split('{');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap_or((part, ""));
            let text = self.0.get(name).ok_or_else(|| {
                Error::new(Code::Bug, "the synthetic driver's code uses an undefined name")
                    .with("name", name)
            })?;
            out.push_str(text);
            out.push_str(rest);
        }
        Ok(out)
    }
}

/// Assembles `text`, whose first instruction stands at `origin`.
pub(super) fn assemble(
    assembler: &Assembler,
    text: &str,
    origin: VmAddr,
    bindings: &Bindings,
) -> Result<Vec<Word>> {
    let mut names = bindings.clone();
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        if let Some(label) = line.strip_suffix(':') {
            names.address(label, origin.instruction(lines.len()));
        } else if !line.is_empty() {
            lines.push(line);
        }
    }
    let mut plain = Vec::with_capacity(lines.len());
    let mut ours = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let line = names.expand(line)?;
        match encoded_here(&line, origin.instruction(index)) {
            Some(word) => {
                ours.push((index, word));
                plain.push("nop".to_owned());
            }
            None => plain.push(line),
        }
    }
    let mut words = assembler.assemble(&plain, origin)?;
    for (index, word) in ours {
        if let Some(place) = words.get_mut(index) {
            *place = Word(word);
        }
    }
    Ok(words)
}

/// Number of instructions in `text`.
pub(super) fn length(text: &str) -> usize {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty() && !line.ends_with(':'))
        .count()
}

fn encoded_here(line: &str, at: VmAddr) -> Option<u32> {
    let (mnemonic, operands) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match mnemonic {
        "pacibsp" => Some(encode::PACIBSP),
        "retab" => Some(encode::RETAB),
        "autibsp" => Some(encode::AUTIBSP),
        "pacia" | "pacda" => {
            let (register, modifier) = operands.trim().strip_prefix('x')?.split_once(", x")?;
            let (register, modifier) = (register.parse().ok()?, modifier.parse().ok()?);
            Some(if mnemonic == "pacia" {
                encode::pacia(register, modifier)
            } else {
                encode::pacda(register, modifier)
            })
        }
        "adrp" => {
            let (register, target) = operands.trim().strip_prefix('x')?.split_once(", #0x")?;
            let target = u64::from_str_radix(target, 16).ok()?;
            Some(encode::adrp(register.parse().ok()?, at, VmAddr(target)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_bindings_and_pointer_authentication_become_words() {
        let mut bindings = Bindings::default();
        bindings.register("self", 19).cell("cell", VmAddr(0x75_8300));
        let text = "
            pacibsp
            adrp x8, {cell}          // the page of the cell
            ldrsw x24, [x8, {cell_low}]
            cbz {self}, {end}
            mov {self_w}, w1
        end:
            retab";
        let words = assemble(&Assembler::new(), text, VmAddr(0x2b_dd1c), &bindings).unwrap();
        let expected = [
            encode::PACIBSP,
            encode::adrp(8, VmAddr(0x2b_dd20), VmAddr(0x75_8300)),
            encode::ldrsw(24, 8, 0x300),
            encode::cbz(19, 2),
            0x2a01_03f3,
            encode::RETAB,
        ];
        assert_eq!(words, expected.map(Word));
        assert_eq!(length(text), words.len());
    }

    #[test]
    fn a_name_that_stands_for_nothing_is_an_error() {
        let error =
            assemble(&Assembler::new(), "mov {unbound}, x0", VmAddr(0), &Bindings::default());
        assert_eq!(error.unwrap_err().code(), Code::Bug);
    }
}
