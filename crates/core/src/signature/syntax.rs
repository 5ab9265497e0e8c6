//! The text of a pattern, line by line.
//!
//! A pattern is AArch64 assembly, one instruction a line, in which
//!
//! - `{name}` stands for a 64-bit general register, `w{name}` for its 32-bit
//!   half, `#{name}` for an immediate, and as the target of a branch, or as the
//!   last operand of `adr`, `adrp`, `ldr` and `ldrsw`, `{name}` stands for an address;
//! - `label:` names a place and a bare word as the target of a branch refers to
//!   it, so the branch has one encoding; a label may stand alone on the last
//!   line, for the place after the match;
//! - `?` is any one instruction;
//! - `word VALUE/MASK`, both of eight hexadecimal digits, is an instruction by
//!   its bits, for patterns that come from other tools;
//! - `;` begins a comment.
//!
//! A name that recurs means the same value everywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use memchr::{memchr, memchr_iter};

use crate::address::{VmAddr, Word};
use crate::error::{Code, Error, Result};

use super::captures::{Captures, Kind, Value};

/// A pattern as written.
#[derive(Clone, Debug)]
pub struct Source {
    /// The instructions in order.
    pub lines: Vec<Line>,
    /// Label to index of the line it stands before; `lines.len()` for the end.
    pub labels: BTreeMap<String, usize>,
    /// Every captured name with its kind.
    pub names: BTreeMap<String, Kind>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// The label that stands before it.
    pub label: Option<String>,
    /// The instruction as written, for people; `?` for any.
    pub text: String,
    /// Its parts; `None` for any one instruction.
    pub statement: Option<Vec<Piece>>,
    /// Value and mask, where it is given by its bits.
    pub bits: Option<(u32, u32)>,
}

impl Line {
    /// Whether it leaves some bits of the instruction open without capturing them:
    /// `?`, or a word with a mask.
    pub fn is_open(&self) -> bool {
        self.statement.is_none() && !matches!(self.bits, Some((_, u32::MAX)))
    }
}

/// A line with its captured values filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendered {
    /// Assembly.
    Text(String),
    /// The instruction's word.
    Word(Word),
    /// Not all of its bits are given.
    Open,
}

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that goes to the assembler as it is.
    Text(String),
    /// A captured value.
    Capture {
        /// Its name.
        name: String,
        /// How it stands in the instruction.
        form: Form,
    },
    /// A branch to a label.
    Label(String),
}

/// How a captured value stands in an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As `x5`.
    X,
    /// As `w5`.
    W,
    /// As `#0x28`.
    Immediate,
    /// As the target of a branch, or of a load, with this many bits of word
    /// displacement.
    Target(u32),
    /// As the operand of `adr`: any byte within a megabyte.
    Near,
    /// As the operand of `adrp`: the first byte of a page.
    Page,
}

/// Bits of the displacement of `adr` and `adrp`.
const ADR_BITS: u32 = 21;
/// Binary logarithm of the page of `adrp`.
const PAGE_BITS: u32 = 12;

impl Form {
    /// The kind of value that stands so.
    pub fn kind(self) -> Kind {
        match self {
            Form::X | Form::W => Kind::Register,
            Form::Immediate => Kind::Immediate,
            Form::Target(_) | Form::Near | Form::Page => Kind::Address,
        }
    }

    /// How many bits of an address stand in the instruction, and how many low bits of
    /// it are always zero.
    pub(super) fn displacement(self) -> Option<(u32, u32)> {
        match self {
            Form::Target(bits) => Some((bits, 2)),
            Form::Near => Some((ADR_BITS, 0)),
            Form::Page => Some((ADR_BITS, PAGE_BITS)),
            Form::X | Form::W | Form::Immediate => None,
        }
    }

    /// What an address in an instruction at `at` is counted from.
    pub(super) fn origin(self, at: VmAddr) -> VmAddr {
        match self {
            Form::Page => VmAddr(at.0 >> PAGE_BITS << PAGE_BITS),
            _ => at,
        }
    }
}

/// Lines for which there is room from the beginning: more than a pattern has.
const USUAL: usize = 64;

impl Source {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Source> {
        let lines = memchr_iter(b'\n', text.as_bytes()).count() + 1;
        let mut source = Source {
            lines: Vec::with_capacity(lines.min(USUAL)),
            labels: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        let mut ended = false;
        let mut rest = Some(text);
        while let Some(all) = rest {
            let (raw, after) = match split_at_byte(all, b'\n') {
                Some((raw, after)) => (raw, Some(after)),
                None => (all, None),
            };
            rest = after;
            let line = split_at_byte(raw, b';').map_or(raw, |(before, _)| before).trim_ascii();
            if line.is_empty() {
                continue;
            }
            if ended {
                return Err(syntax("a label without an instruction must come last", line));
            }
            ended = source.line(line)?;
        }
        source.check_labels()?;
        if source.lines.is_empty() {
            return Err(syntax("the pattern is empty", ""));
        }
        let silent = |line: &Line| match line.bits {
            Some((_, mask)) => mask == 0,
            None => line.statement.is_none(),
        };
        if source.lines.iter().all(silent) {
            return Err(syntax(
                "the pattern says nothing of any instruction",
                &source.lines[0].text,
            ));
        }
        Ok(source)
    }

    /// Reads one line; true if it is the label that ends the pattern.
    fn line(&mut self, line: &str) -> Result<bool> {
        let (label, text) = match split_at_byte(line, b':') {
            Some((label, rest)) => (Some(label.trim_ascii().to_owned()), rest.trim_ascii()),
            None => (None, line),
        };
        if let Some(label) = &label {
            if !is_name(label) {
                return Err(syntax("a label is not a plain word", line));
            }
            if self.labels.insert(label.clone(), self.lines.len()).is_some() {
                return Err(syntax("a label stands twice", line));
            }
            if text.is_empty() {
                return Ok(true);
            }
        }
        let bits = bits(text)?;
        let open = text == "?" || bits.is_some();
        let statement = if open { None } else { Some(statement(text)?) };
        for piece in statement.iter().flatten() {
            if let Piece::Capture { name, form } = piece {
                self.declare(name, form.kind(), text)?;
            }
        }
        self.lines.push(Line { label, text: text.to_owned(), statement, bits });
        Ok(false)
    }

    fn declare(&mut self, name: &str, kind: Kind, line: &str) -> Result<()> {
        match self.names.insert(name.to_owned(), kind) {
            Some(before) if before != kind => {
                Err(syntax("a captured name is used for two kinds of value", line)
                    .with("name", name))
            }
            _ => Ok(()),
        }
    }

    fn check_labels(&self) -> Result<()> {
        for line in &self.lines {
            for piece in line.statement.iter().flatten() {
                if let Piece::Label(label) = piece
                    && !self.labels.contains_key(label)
                {
                    return Err(syntax("a branch goes to a label that does not exist", &line.text)
                        .with("label", label));
                }
            }
        }
        Ok(())
    }

    /// The line at `index`, standing at `address`, with captured values from
    /// `captures`.
    pub fn render(&self, index: usize, address: VmAddr, captures: &Captures) -> Result<Rendered> {
        let pieces = match self.lines.get(index) {
            Some(Line { statement: Some(pieces), .. }) => pieces,
            Some(Line { bits: Some((value, u32::MAX)), .. }) => {
                return Ok(Rendered::Word(Word(*value)));
            }
            _ => return Ok(Rendered::Open),
        };
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Label(label) => {
                    push(&mut text, format_args!("#{}", self.label_at(label, index, address)));
                }
                Piece::Capture { name, form } => {
                    let value = captures.get(name).ok_or_else(|| {
                        Error::new(
                            Code::CatalogueBroken,
                            "a rewrite uses a name that no line captures",
                        )
                        .with("name", name)
                        .with("line", &self.lines[index].text)
                    })?;
                    render_value(&mut text, *form, value);
                }
            }
        }
        Ok(Rendered::Text(text))
    }

    /// Where `label` is if the line at `index` stands at `address`.
    pub fn label_at(&self, label: &str, index: usize, address: VmAddr) -> VmAddr {
        let target = self.labels.get(label).copied().unwrap_or(index);
        VmAddr(address.0.wrapping_add(4 * target as u64).wrapping_sub(4 * index as u64))
    }
}

/// Writes a value in the form it has in an instruction.
pub fn render_value(text: &mut String, form: Form, value: Value) {
    match (form, value) {
        (Form::W, Value::Register(number)) => push(text, format_args!("w{number}")),
        (_, Value::Register(number)) => push(text, format_args!("x{number}")),
        (_, Value::Immediate(number)) => push(text, format_args!("#{number}")),
        (_, Value::Address(address)) => push(text, format_args!("#{address}")),
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = text.write_fmt(arguments);
}

/// Reads an instruction that is given by its bits.
fn bits(text: &str) -> Result<Option<(u32, u32)>> {
    let Some(rest) = text.strip_prefix("word ") else { return Ok(None) };
    match split_at_byte(rest.trim_ascii(), b'/').map(|(value, mask)| (word(value), word(mask))) {
        Some((Some(value), Some(mask))) if value & !mask == 0 => Ok(Some((value, mask))),
        _ => Err(syntax("a word is not VALUE/MASK, with no bit set outside of the mask", text)),
    }
}

/// A number of eight hexadecimal digits.
fn word(digits: &str) -> Option<u32> {
    let digits: [u8; 8] = digits.as_bytes().try_into().ok()?;
    let digit = |digit: u8| char::from(digit).to_digit(16);
    digits.into_iter().try_fold(0, |word, next| Some(word << 4 | digit(next)?))
}

/// `str::split_once` for an ASCII character; several times as fast on short lines.
fn split_at_byte(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = memchr(byte, text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

/// Splits an instruction into pieces.
fn statement(text: &str) -> Result<Vec<Piece>> {
    let (mnemonic, _) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let last_operand = match text.rfind(',') {
        Some(comma) => comma + 1,
        None => mnemonic.len(),
    };
    let (head, tail) = text.split_at(last_operand);
    let target = tail.trim();
    let Some(form) = branch_bits(mnemonic).map(Form::Target).or(data_form(mnemonic, target)) else {
        return captures_in(text);
    };
    let mut pieces = captures_in(head)?;
    pieces.push(Piece::Text(" ".into()));
    match target.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) if is_name(name) => pieces.push(Piece::Capture { name: name.into(), form }),
        None if is_name(target) => pieces.push(Piece::Label(target.into())),
        _ => return Err(syntax("a branch needs a label or a captured target", text)),
    }
    Ok(pieces)
}

/// How the last operand of an instruction that makes an address, or loads from one,
/// stands in it, where the operand is captured or a label.
fn data_form(mnemonic: &str, operand: &str) -> Option<Form> {
    let captured = operand.starts_with('{') && operand.ends_with('}');
    match mnemonic {
        "adrp" if captured => Some(Form::Page),
        "adr" if captured || is_name(operand) => Some(Form::Near),
        "ldr" | "ldrsw" if captured || is_name(operand) => Some(Form::Target(LITERAL_BITS)),
        _ => None,
    }
}

/// Bits of word displacement of a load from an address in the instruction.
const LITERAL_BITS: u32 = 19;

/// Splits operands at the captures.
fn captures_in(text: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        let close = from.find('}').ok_or_else(|| syntax("a brace is not closed", text))?;
        let name = &from[1..close];
        if !is_name(name) {
            return Err(syntax("a captured name is not a plain word", text));
        }
        let (kept, form) = match before.as_bytes().last() {
            Some(b'#') => (&before[..before.len() - 1], Form::Immediate),
            Some(b'w') => (&before[..before.len() - 1], Form::W),
            _ => (before, Form::X),
        };
        pieces.push(Piece::Text(kept.into()));
        pieces.push(Piece::Capture { name: name.into(), form });
        rest = &from[close + 1..];
    }
    pieces.push(Piece::Text(rest.into()));
    Ok(pieces)
}

/// How many bits of word displacement a branch has, by its mnemonic (Arm
/// Architecture Reference Manual, C4.1 "Branches"). `None` for what is no
/// direct branch.
fn branch_bits(mnemonic: &str) -> Option<u32> {
    match mnemonic {
        "b" | "bl" => Some(26),
        "cbz" | "cbnz" => Some(19),
        "tbz" | "tbnz" => Some(14),
        _ if mnemonic.starts_with("b.") => Some(19),
        _ => None,
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn syntax(what: &str, line: &str) -> Error {
    Error::new(Code::PatternSyntax, what).with("line", line)
}
