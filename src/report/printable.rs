//! Text of unknown origin, made safe to show.

/// `text` with a space for every character that acts on the terminal instead of
/// being shown: controls, of which escape sequences are made, and those that
/// turn the direction of the text around them, so that what is read is not what
/// is there.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if acts(c) { ' ' } else { c }).collect()
}

fn acts(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}
