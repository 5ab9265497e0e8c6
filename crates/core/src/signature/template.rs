//! From a line of a pattern to a word with holes.
//!
//! Nothing here knows how instructions are encoded. Each captured value of a
//! line is given 0 and then one bit at a time, the line is assembled each time,
//! and the bits of the word that move are the bits of the value. What moves
//! otherwise than one bit for one bit (a logical immediate, the register of an
//! alias) is refused. All lines of a pattern go to the assembler in one call,
//! because a call costs as much as fifty lines; those it was asked about once
//! and for all (`encodings`) do not go there.

use crate::address::{VmAddr, Word};
use crate::arm64::Assembler;
use crate::error::{Code, Error, Result};

use super::captures::{Captures, Kind, Value};
use super::encodings;
use super::syntax::{Form, Piece, Source, render_value};

/// A word with holes where captured values stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The bits that are fixed.
    pub mask: u32,
    /// Their value; zero outside of `mask`.
    pub value: u32,
    /// The holes.
    pub fields: Vec<Field>,
}

/// A hole in a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name of the captured value.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// For the value's bit `scale + i`, the bit of the word that holds it.
    pub bits: Vec<u32>,
    /// How many low bits of the value are always zero.
    pub scale: u32,
    /// Whether the highest bit is a sign.
    pub signed: bool,
    /// Whether an address is counted from the page of the instruction, as `adrp` does.
    pub paged: bool,
}

impl Template {
    /// Any one instruction.
    pub const ANY: Template = Template { mask: 0, value: 0, fields: Vec::new() };

    /// Whether the fixed bits of `word` are as they must be.
    pub fn fits(&self, word: Word) -> bool {
        word.0 & self.mask == self.value
    }

    /// Whether `word` at `address` fits and its values agree with `captures`,
    /// to which they are added then.
    pub fn agrees(&self, word: Word, address: VmAddr, captures: &mut Captures) -> bool {
        if !self.fits(word) {
            return false;
        }
        let mut with_these = captures.clone();
        let agree = self.fields.iter().all(|field| {
            let value = field.read(word, address);
            value.is_some_and(|value| with_these.agree(&field.name, value))
        });
        if agree {
            *captures = with_these;
        }
        agree
    }
}

impl Field {
    /// The value that stands in `word` at `address`. `None` for the register
    /// number 31, which is not a general register.
    pub fn read(&self, word: Word, address: VmAddr) -> Option<Value> {
        let mut number = 0i64;
        for (index, &bit) in self.bits.iter().enumerate() {
            if word.0 >> bit & 1 == 1 {
                number |= 1 << (index as u32 + self.scale);
            }
        }
        let width = self.bits.len() as u32 + self.scale;
        if self.signed && width > 0 && number >> (width - 1) & 1 == 1 {
            number -= 1 << width;
        }
        match self.kind {
            Kind::Register => (number < 31).then_some(Value::Register(number as u8)),
            Kind::Immediate => Some(Value::Immediate(number)),
            Kind::Address => {
                let origin = if self.paged { Form::Page.origin(address) } else { address };
                Some(Value::Address(origin.plus(number as u64)))
            }
        }
    }

    pub(super) fn mask(&self) -> u32 {
        self.bits.iter().fold(0, |mask, &bit| mask | 1 << bit)
    }
}

/// Registers that stand in the holes not being probed: none is another with
/// one bit changed from zero, so no probe names one register twice where that
/// would be refused.
const BYSTANDERS: [u8; 6] = [3, 5, 6, 7, 9, 10];

/// Where probes are assembled: every branch reaches back as far as forward.
const PROBE_ORIGIN: VmAddr = VmAddr(0x1000_0000);

/// Turns every line of `source` into a template.
pub fn compile(assembler: &Assembler, source: &Source) -> Result<Vec<Template>> {
    compile_beside(assembler, source, |index| encodings::known(source, index))
}

/// The same by the assembler alone.
#[cfg(test)]
pub(super) fn compile_unaided(assembler: &Assembler, source: &Source) -> Result<Vec<Template>> {
    compile_beside(assembler, source, |_| None)
}

/// Asks the assembler about the lines that are not `known`.
fn compile_beside(
    assembler: &Assembler,
    source: &Source,
    known: impl Fn(usize) -> Option<Template>,
) -> Result<Vec<Template>> {
    let mut probes = Probes::default();
    let mut plans = Vec::new();
    let mut templates = Vec::with_capacity(source.lines.len());
    for (index, line) in source.lines.iter().enumerate() {
        let settled = match (&line.statement, line.bits) {
            (None, Some((value, mask))) => Some(Template { mask, value, fields: Vec::new() }),
            (None, None) => Some(Template::ANY),
            (Some(_), _) => known(index),
        };
        templates.push(settled.unwrap_or_else(|| {
            plans.push(LinePlan::new(source, index, &mut probes));
            Template::ANY
        }));
    }
    let words = probes.assemble(assembler, source)?;
    for plan in plans {
        let index = plan.index;
        templates[index] = plan.finish(assembler, source, &words)?;
    }
    Ok(templates)
}

/// Lines waiting for the one call to the assembler.
#[derive(Default)]
struct Probes {
    lines: Vec<String>,
    /// For each, the line of the pattern it is of.
    of_line: Vec<usize>,
}

impl Probes {
    /// Adds the line at `index` with `values` in its holes; returns its number.
    fn add(&mut self, source: &Source, index: usize, values: &[Hole]) -> usize {
        let address = PROBE_ORIGIN.instruction(self.lines.len());
        self.lines.push(render(source, index, address, values));
        self.of_line.push(index);
        self.lines.len() - 1
    }

    /// The words of all lines.
    fn assemble(&self, assembler: &Assembler, source: &Source) -> Result<Vec<Word>> {
        assembler.assemble(&self.lines, PROBE_ORIGIN).map_err(|error| {
            let refused = |(probe, line): (usize, &String)| {
                assembler.assemble_line(line, PROBE_ORIGIN.instruction(probe)).is_err()
            };
            match self.lines.iter().enumerate().position(refused) {
                Some(probe) => {
                    in_the_authors_words(&error, &source.lines[self.of_line[probe]].text)
                }
                None => error,
            }
        })
    }
}

/// An error of the assembler about `line` as its author wrote it, without the text of
/// the probe that was made of it.
fn in_the_authors_words(error: &Error, line: &str) -> Error {
    let said = error.context().iter().filter(|(name, _)| *name == "reason");
    let about = Error::new(error.code(), error.message()).with("line", line);
    said.fold(about, |about, (_, reason)| about.with("reason", reason))
}

/// What is put into a hole for one probe.
#[derive(Clone, Copy)]
enum Hole {
    Register(u8),
    Immediate(i64),
    /// Distance in bytes from the branch.
    Distance(i64),
}

impl Hole {
    /// A probe value with the number `number` in it.
    fn of(form: Form, number: i64) -> Hole {
        match form.kind() {
            Kind::Register => Hole::Register(number as u8),
            Kind::Immediate => Hole::Immediate(number),
            Kind::Address => Hole::Distance(number),
        }
    }
}

fn render(source: &Source, index: usize, address: VmAddr, values: &[Hole]) -> String {
    let mut text = String::new();
    let mut values = values.iter();
    for piece in source.lines[index].statement.iter().flatten() {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Label(label) => {
                text.push_str(&format!("#{}", source.label_at(label, index, address)));
            }
            Piece::Capture { form, .. } => {
                let value = match values.next() {
                    Some(&Hole::Register(number)) => Value::Register(number),
                    Some(&Hole::Immediate(number)) => Value::Immediate(number),
                    Some(&Hole::Distance(bytes)) => {
                        Value::Address(form.origin(address).plus(bytes as u64))
                    }
                    None => continue,
                };
                render_value(&mut text, *form, value);
            }
        }
    }
    text
}

/// The probes of one line.
struct LinePlan {
    index: usize,
    holes: Vec<(String, Form)>,
    /// The line with every hole at zero distance from its bystander.
    base: usize,
    /// A second filling, to check the finished template with.
    check: Option<(usize, Vec<Hole>)>,
    /// Per hole: the probe with zero in it and one per bit.
    bits: Vec<(usize, Vec<usize>)>,
}

impl LinePlan {
    fn new(source: &Source, index: usize, probes: &mut Probes) -> LinePlan {
        let holes: Vec<(String, Form)> = source.lines[index]
            .statement
            .iter()
            .flatten()
            .filter_map(|piece| match piece {
                Piece::Capture { name, form } => Some((name.clone(), *form)),
                _ => None,
            })
            .collect();
        let mut plan = LinePlan { index, holes, base: 0, check: None, bits: Vec::new() };
        let rest = plan.bystanders();
        plan.base = probes.add(source, index, &rest);
        for hole in 0..plan.holes.len() {
            let form = plan.holes[hole].1;
            if form.kind() == Kind::Immediate {
                plan.bits.push((0, Vec::new()));
                continue;
            }
            let mut probe = |number| {
                let mut values = rest.clone();
                values[hole] = Hole::of(form, number);
                probes.add(source, index, &values)
            };
            let zero = probe(0);
            plan.bits.push((zero, single_bits(form).map(&mut probe).collect()));
        }
        let other: Vec<Hole> = plan.fillings(11, 0, 16);
        if plan.holes.iter().all(|(_, form)| form.kind() != Kind::Immediate) {
            plan.check = Some((probes.add(source, index, &other), other));
        }
        plan
    }

    fn bystanders(&self) -> Vec<Hole> {
        self.holes
            .iter()
            .zip(BYSTANDERS.iter().cycle())
            .map(|((_, form), &register)| match form.kind() {
                Kind::Register => Hole::Register(register),
                _ => Hole::of(*form, 0),
            })
            .collect()
    }

    /// A value for every hole; an address is so many of its units away.
    fn fillings(&self, register: i64, immediate: i64, distance: i64) -> Vec<Hole> {
        (0i64..)
            .zip(&self.holes)
            .map(|(nth, (_, form))| match form.kind() {
                Kind::Register => Hole::of(*form, register + 2 * nth),
                Kind::Immediate => Hole::of(*form, immediate),
                Kind::Address => {
                    let (_, scale) = form.displacement().unwrap_or_default();
                    Hole::of(*form, distance << scale)
                }
            })
            .collect()
    }

    fn finish(self, assembler: &Assembler, source: &Source, words: &[Word]) -> Result<Template> {
        let mut fields = Vec::new();
        for (hole, (name, form)) in self.holes.iter().enumerate() {
            let found = match form.kind() {
                Kind::Immediate => self.probe_immediate(assembler, source, hole),
                _ => {
                    let (zero, bits) = &self.bits[hole];
                    let moved = |probe: &usize| words[*probe].0 ^ words[*zero].0;
                    single(bits.iter().map(moved)).map(|bits| (bits, 0, false))
                }
            };
            let Some((bits, scale, signed)) = found.filter(|(bits, ..)| !bits.is_empty()) else {
                return Err(self.refusal(source, name));
            };
            let (scale, signed) = match form.displacement() {
                Some((_, scale)) => (scale, true),
                None => (scale, signed),
            };
            let paged = *form == Form::Page;
            fields.push(Field {
                name: name.clone(),
                kind: form.kind(),
                bits,
                scale,
                signed,
                paged,
            });
        }
        let mask = !fields.iter().fold(0, |mask, field| mask | field.mask());
        let template = Template { mask, value: words[self.base].0 & mask, fields };
        self.confirm(&template, source, words)?;
        Ok(template)
    }

    /// Immediates are probed one by one, for only some values are encodable and
    /// one refusal would spoil the common call. A longer line of single bits
    /// than this is not an immediate of one instruction.
    fn probe_immediate(
        &self,
        assembler: &Assembler,
        source: &Source,
        hole: usize,
    ) -> Option<(Vec<u32>, u32, bool)> {
        let word_of = |number: i64| {
            let mut values = self.bystanders();
            values[hole] = Hole::Immediate(number);
            let line = render(source, self.index, PROBE_ORIGIN, &values);
            assembler.assemble_line(&line, PROBE_ORIGIN).ok().map(|word| word.0)
        };
        let zero = word_of(0)?;
        let moved = |number: i64| {
            let moved = word_of(number)? ^ zero;
            moved.is_power_of_two().then(|| moved.trailing_zeros())
        };
        let scale = (0..5).find(|&scale| moved(1 << scale).is_some())?;
        let bits: Vec<u32> = (scale..24)
            .map(|bit| moved(1 << bit))
            .scan(None, |last: &mut Option<u32>, bit| {
                let bit = bit.filter(|&bit| last.is_none_or(|last| bit == last + 1))?;
                *last = Some(bit);
                Some(bit)
            })
            .collect();
        let top = scale + bits.len() as u32;
        match moved(-(1i64 << top)) {
            Some(sign) if bits.last().is_some_and(|&last| sign == last + 1) => {
                Some((bits.into_iter().chain([sign]).collect(), scale, true))
            }
            _ => Some((bits, scale, false)),
        }
    }

    /// Compares the template's reading of an independent filling with what was
    /// filled in.
    fn confirm(&self, template: &Template, source: &Source, words: &[Word]) -> Result<()> {
        let Some((probe, filling)) = &self.check else { return Ok(()) };
        let address = PROBE_ORIGIN.instruction(*probe);
        let word = words[*probe];
        let mut holes = template.fields.iter().zip(filling).zip(&self.holes);
        let agrees = holes.all(|((field, hole), (_, form))| {
            let want = match *hole {
                Hole::Register(number) => Value::Register(number),
                Hole::Immediate(number) => Value::Immediate(number),
                Hole::Distance(bytes) => Value::Address(form.origin(address).plus(bytes as u64)),
            };
            field.read(word, address) == Some(want)
        });
        if agrees && template.fits(word) { Ok(()) } else { Err(self.refusal(source, "")) }
    }

    fn refusal(&self, source: &Source, name: &str) -> Error {
        Error::new(
            Code::PatternSyntax,
            "an instruction does not hold the captured value bit for bit",
        )
        .with("line", &source.lines[self.index].text)
        .with("name", name)
        .next("write the value out, or capture it in another instruction")
    }
}

/// The values that set one bit of a hole of this form.
fn single_bits(form: Form) -> impl Iterator<Item = i64> {
    let (count, scale, signed) = match form.displacement() {
        Some((bits, scale)) => (bits, scale, true),
        None => (5, 0, false),
    };
    (0..count).map(move |bit| {
        let value = 1i64 << (bit + scale);
        if signed && bit + 1 == count { -value } else { value }
    })
}

/// The positions of single moved bits; `None` if any probe moved more or fewer.
fn single(moved: impl Iterator<Item = u32>) -> Option<Vec<u32>> {
    moved.map(|bits| bits.is_power_of_two().then(|| bits.trailing_zeros())).collect()
}
