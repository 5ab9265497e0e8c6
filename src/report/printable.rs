//! Text of unknown origin, made safe to show.
//!
//! Names out of a file may hold what acts on a terminal instead of being shown.
//! What is printed passes through here twice: [`printable`] keeps a name on its
//! line where the text is made, and [`screened`] lets nothing through to the
//! terminal but characters, line ends and our own styles, whatever made the text.

use std::io;

use serde_json::ser::Formatter;

use super::style;

/// `text` with a space for every character that acts on the terminal instead of
/// being shown: controls, of which escape sequences are made, and those that
/// turn the direction of the text around them, so that what is read is not what
/// is there.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if acts(c) { ' ' } else { c }).collect()
}

/// A finished text with a space for every such character that is neither the end
/// of a line nor part of a style.
pub fn screened(text: &str) -> String {
    let styles = style::sequences();
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c| acts(c) && c != '\n') {
        safe.push_str(&rest[..at]);
        rest = &rest[at..];
        let ours = styles.iter().find(|style| rest.starts_with(style.as_str()));
        let length = match ours {
            Some(style) => {
                safe.push_str(style);
                style.len()
            }
            None => {
                safe.push(' ');
                rest.chars().next().map_or(0, char::len_utf8)
            }
        };
        rest = &rest[length..];
    }
    safe + rest
}

fn acts(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// JSON in which such characters are escaped: the value is the same, and a
/// terminal shows it.
pub(super) struct Escaped;

impl Formatter for Escaped {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(acts) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut after = rest[at..].chars();
            if let Some(c) = after.next() {
                // None of them lies beyond the basic plane.
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
            rest = after.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}
