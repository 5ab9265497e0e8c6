//! What the assembler says of the instructions of the built-in catalogue, kept so
//! that it need not be opened and asked a hundred times to look for them.
//!
//! Nothing here is an authority: a line that does not stand in the table goes to
//! the assembler, and a test has the assembler answer for every row. The key of
//! a row is the instruction with its captured values left open, so the same row
//! serves every pattern with such a line.

use super::captures::Kind;
use super::syntax::{Form, Piece, Source};
use super::template::{Field, Template};

/// Where a captured value stands in a word.
#[derive(Clone, Copy)]
struct Hole {
    /// The lowest bit of the word that is of the value.
    low: u32,
    /// How many there are, side by side.
    bits: u32,
    /// How many low bits of the value are always zero.
    scale: u32,
    signed: bool,
}

const fn register(low: u32) -> Hole {
    Hole { low, bits: 5, scale: 0, signed: false }
}

const fn number(low: u32, bits: u32, scale: u32) -> Hole {
    Hole { low, bits, scale, signed: false }
}

const fn target(low: u32, bits: u32) -> Hole {
    Hole { low, bits, scale: 2, signed: true }
}

/// Instruction, word with zeros in the holes, and the holes in the order of the
/// text. A branch to a label is written with its distance in bytes.
const ROWS: &[(&str, u32, &[Hole])] = &[
    ("add x0, {}, {}", 0x8b00_0000, &[register(5), register(16)]),
    ("b .+20", 0x1400_0005, &[]),
    ("b .+4", 0x1400_0001, &[]),
    ("b.hi .+24", 0x5400_00c8, &[]),
    ("b.hi .+32", 0x5400_0108, &[]),
    ("b.hi .+36", 0x5400_0128, &[]),
    ("bl {}", 0x9400_0000, &[target(0, 26)]),
    ("cbz {}, .+16", 0xb400_0080, &[register(0)]),
    ("mov x0, {}", 0xaa00_03e0, &[register(16)]),
    ("mov {}, xzr", 0xaa1f_03e0, &[register(0)]),
    ("nop", 0xd503_201f, &[]),
    ("str xzr, [{}, {}]", 0xf820_681f, &[register(5), register(16)]),
    ("str {}, [{}, #{}]", 0xf900_0000, &[register(0), register(5), number(10, 12, 3)]),
];

/// The template of the instruction at `index`, if the table has it.
pub(super) fn known(source: &Source, index: usize) -> Option<Template> {
    let pieces = source.lines[index].statement.as_ref()?;
    let shape = shape(source, index, pieces);
    let row = ROWS.binary_search_by(|(known, ..)| (*known).cmp(&shape)).ok()?;
    let (_, value, holes) = ROWS[row];
    let captures = pieces.iter().filter_map(|piece| match piece {
        Piece::Capture { name, form } => Some((name, form.kind())),
        _ => None,
    });
    let fields: Vec<Field> =
        captures.zip(holes).map(|((name, kind), hole)| hole.field(name, kind)).collect();
    let mask = !fields.iter().fold(0, |mask, field| mask | field.mask());
    Some(Template { mask, value, fields })
}

impl Hole {
    fn field(&self, name: &str, kind: Kind) -> Field {
        let &Hole { low, bits, scale, signed } = self;
        let bits = (low..low + bits).collect();
        Field { name: name.to_owned(), kind, bits, scale, signed, paged: false }
    }
}

/// The instruction as the table has it: blanks made one, names left out.
fn shape(source: &Source, index: usize, pieces: &[Piece]) -> String {
    let mut shape = String::with_capacity(32);
    for piece in pieces {
        match piece {
            Piece::Text(text) => text.chars().for_each(|c| {
                let blank = c.is_ascii_whitespace();
                if !(blank && shape.ends_with(' ')) {
                    shape.push(if blank { ' ' } else { c });
                }
            }),
            Piece::Capture { form: Form::X | Form::Target(_), .. } => shape.push_str("{}"),
            Piece::Capture { form: Form::Near | Form::Page, .. } => shape.push_str("@{}"),
            Piece::Capture { form: Form::W, .. } => shape.push_str("w{}"),
            Piece::Capture { form: Form::Immediate, .. } => shape.push_str("#{}"),
            Piece::Label(label) => {
                let target = source.labels.get(label).copied().unwrap_or(index);
                let distance = (target as i64 - index as i64) * 4;
                shape.push_str(&format!(".{distance:+}"));
            }
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm64::Assembler;
    use crate::signature::template;

    /// A pattern whose first line has this shape.
    fn pattern(shape: &str) -> String {
        let mut names = ["{a}", "{b}", "{c}"].into_iter();
        let mut text = String::new();
        for (number, part) in shape.split("{}").enumerate() {
            text.push_str(if number == 0 { "" } else { names.next().unwrap() });
            text.push_str(part);
        }
        match text.split_once(".+") {
            Some((branch, bytes)) => {
                let between = bytes.parse::<usize>().unwrap() / 4 - 1;
                format!("{branch}there\n{}there:\n", "?\n".repeat(between))
            }
            None => text,
        }
    }

    #[test]
    fn the_assembler_says_the_same_of_every_row() {
        let assembler = Assembler::new();
        for (shape, ..) in ROWS {
            let source = Source::parse(&pattern(shape)).unwrap();
            let asked = template::compile_unaided(&assembler, &source).unwrap();
            assert_eq!(known(&source, 0).as_ref(), Some(&asked[0]), "{shape}");
        }
    }

    #[test]
    fn the_rows_are_in_order() {
        assert!(ROWS.is_sorted_by_key(|(shape, ..)| *shape));
    }

    #[test]
    fn a_line_of_another_shape_is_not_taken_for_one_of_the_table() {
        for text in
            ["add x1, {a}, {b}", "add x0, w{a}, {b}", "b.hi out\nout: nop", "str {a}, [{b}]"]
        {
            let source = Source::parse(text).unwrap();
            assert_eq!(known(&source, 0), None, "{text}");
        }
    }
}
