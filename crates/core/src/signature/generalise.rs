//! A pattern written from code in a file.
//!
//! What differs from one build to the next although the source is the same is what
//! the linker filled in: where calls and outside branches go, the pages and offsets of
//! cells, literals. Those are captured; registers, field offsets and constants stay as
//! they are, for the author to loosen. Branches within the code become labels. A word
//! that the assembler does not make again from its text is given by its bits.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::address::{VmAddr, Word};
use crate::arm64::{Assembler, Disassembler, Instruction};
use crate::error::{Code, Error, Result};

use super::pattern::Pattern;

/// A pattern and what its names stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generalised {
    /// The pattern's text.
    pub pattern: String,
    /// The captured call targets that have a name, with it.
    pub functions: BTreeMap<String, String>,
}

/// Writes the pattern of `words`, the first of which stands at `origin`. `named` gives
/// the name of the function that a stub leads to.
///
/// # Errors
/// If the code is empty, or the pattern does not match it.
pub fn generalise(
    assembler: &Assembler,
    disassembler: &Disassembler,
    words: &[Word],
    origin: VmAddr,
    named: impl Fn(VmAddr) -> Option<String>,
) -> Result<Generalised> {
    let end = origin.instruction(words.len());
    let mut writer =
        Writer { window: origin..end, names: Names::default(), pages: BTreeMap::new() };
    let mut lines: Vec<String> = Vec::with_capacity(words.len());
    for Instruction { address, word, text } in disassembler.disassemble(words, origin) {
        let line = writer.line(&text, &named);
        // A line that is not understood is kept bit for bit.
        let is_understood = assembler.assemble_line(&text, address) == Ok(word);
        lines.push(if is_understood { line } else { format!("word {word}/ffffffff") });
    }
    let pattern = writer.laid_out(&lines);
    let compiled = Pattern::compile(assembler, &pattern)?;
    if compiled.match_at(words, origin).is_none() {
        return Err(Error::new(Code::Bug, "the pattern does not match the code it was made from")
            .with("address", origin));
    }
    let mut functions = writer.names.functions;
    functions.retain(|name, _| compiled.source.names.contains_key(name));
    Ok(Generalised { pattern, functions })
}

struct Writer {
    window: std::ops::Range<VmAddr>,
    names: Names,
    /// The registers that hold a page, as their names in the text.
    pages: BTreeMap<String, VmAddr>,
}

impl Writer {
    /// One instruction as a line of a pattern.
    fn line(&mut self, text: &str, named: &impl Fn(VmAddr) -> Option<String>) -> String {
        let (mnemonic, operands) = text.split_once(' ').unwrap_or((text, ""));
        let (head, last) = match operands.rsplit_once(", ") {
            Some((head, last)) => (Some(head), last),
            None => (None, operands),
        };
        let with_last = |last: &str| match head {
            Some(head) => format!("{mnemonic} {head}, {last}"),
            None => format!("{mnemonic} {last}"),
        };
        // The number behind a bracket is an increment of the base, not an address.
        let target = absolute(last).filter(|_| !operands.contains('['));
        let line = match (kind(mnemonic), target) {
            (Some(Operand::Branch), Some(target)) if self.window.contains(&target) => {
                with_last(&self.names.label(target))
            }
            (Some(Operand::Branch), Some(target)) => {
                with_last(&format!("{{{}}}", self.names.of("target", target, named(target))))
            }
            (Some(Operand::Page), Some(page)) => {
                let name = self.names.of("page", page, None);
                if let Some(register) = head {
                    self.pages.insert(register.to_owned(), page);
                }
                return with_last(&format!("{{{name}}}"));
            }
            (Some(Operand::Near), Some(target)) => {
                with_last(&format!("{{{}}}", self.names.of("data", target, None)))
            }
            _ => self.offset_in_page(text).unwrap_or_else(|| text.to_owned()),
        };
        // What the instruction writes holds no page any more; calls keep none.
        match mnemonic {
            "bl" | "blr" | "blraa" | "blraaz" | "blrab" | "blrabz" => self.pages.clear(),
            _ => {
                let written = operands.split(',').next().unwrap_or("").trim();
                self.pages.remove(&written.replacen('w', "x", 1));
            }
        }
        line
    }

    /// A load, a store or an `add` whose base register holds a page: its offset is the
    /// other half of an address.
    fn offset_in_page(&mut self, text: &str) -> Option<String> {
        // An offset of zero is not written.
        let zero = text.strip_suffix(']').filter(|text| !text.contains('#'));
        let with_zero = zero.map(|text| format!("{text}, #0]"));
        let text = with_zero.as_deref().unwrap_or(text);
        let (before, rest) = text.rsplit_once('#')?;
        let digits: String =
            rest.chars().take_while(|c| c.is_ascii_hexdigit() || *c == 'x').collect();
        let after = &rest[digits.len()..];
        let base = match before.rsplit_once('[') {
            Some((_, base)) if after == "]" => base,
            None if before.starts_with("add ") && after.is_empty() => before.split(", ").nth(1)?,
            _ => return None,
        };
        let page = *self.pages.get(base.trim_end_matches([',', ' ']))?;
        let low = number(&digits)?;
        let name = self.names.of("low", page.plus(low), None);
        Some(format!("{before}#{{{name}}}{after}"))
    }

    /// The lines with their labels, aligned as patterns are written.
    fn laid_out(&self, lines: &[String]) -> String {
        let mut text = String::new();
        for (index, line) in lines.iter().enumerate() {
            let at = self.window.start.instruction(index);
            let label = self.names.labels.get(&at).map(|label| format!("{label}:"));
            let (mnemonic, operands) = line.split_once(' ').unwrap_or((line, ""));
            let label = label.unwrap_or_default();
            let line = format!("{label:>9} {mnemonic:<7} {operands}");
            // Writing to a String does not fail.
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// What the last operand of an instruction is.
#[derive(Clone, Copy)]
enum Operand {
    Branch,
    Page,
    Near,
}

fn kind(mnemonic: &str) -> Option<Operand> {
    match mnemonic {
        "b" | "bl" | "cbz" | "cbnz" | "tbz" | "tbnz" => Some(Operand::Branch),
        "adrp" => Some(Operand::Page),
        "adr" | "ldr" | "ldrsw" => Some(Operand::Near),
        _ if mnemonic.starts_with("b.") => Some(Operand::Branch),
        _ => None,
    }
}

/// The address that an operand such as `#0x2be08c` is.
fn absolute(operand: &str) -> Option<VmAddr> {
    number(operand.strip_prefix('#')?).map(VmAddr)
}

fn number(digits: &str) -> Option<u64> {
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

/// Names of captured values and labels, one for each value.
#[derive(Default)]
struct Names {
    captured: BTreeMap<(&'static str, VmAddr), String>,
    /// Captured names with the functions they are.
    functions: BTreeMap<String, String>,
    labels: BTreeMap<VmAddr, String>,
}

impl Names {
    /// The name of a value of a kind; `function` is the name of what is called there.
    fn of(&mut self, kind: &'static str, value: VmAddr, function: Option<String>) -> String {
        if let Some(known) = self.captured.get(&(kind, value)) {
            return known.clone();
        }
        let plain = function.as_deref().map(plain_word).filter(|name| !self.is_taken(name));
        let name = plain.unwrap_or_else(|| {
            let taken = |number: &usize| !self.is_taken(&format!("{kind}{number}"));
            let number = (1..).find(taken).unwrap_or_default();
            format!("{kind}{number}")
        });
        if let Some(function) = function {
            self.functions.insert(name.clone(), function);
        }
        self.captured.insert((kind, value), name.clone());
        name
    }

    fn is_taken(&self, name: &str) -> bool {
        name.is_empty() || self.captured.values().any(|known| known == name)
    }

    fn label(&mut self, at: VmAddr) -> String {
        let next = format!("l{}", self.labels.len() + 1);
        self.labels.entry(at).or_insert(next).clone()
    }
}

/// A function's name as a plain word: `_os_unfair_lock_unlock` as `os_unfair_lock_unlock`.
fn plain_word(name: &str) -> String {
    let word: String = name
        .trim_start_matches('_')
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if word.starts_with(|c: char| c.is_ascii_alphabetic()) { word } else { String::new() }
}
