//! From bytes to plain text: encodings, characters that only look like others, colours.

use std::borrow::Cow;

/// The text of `bytes`, whichever of the usual encodings it is in.
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        [0xff, 0xfe, 0, 0, rest @ ..] => utf32(rest).into(),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes).into(),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes).into(),
        // Every other byte of a report in UTF-16 is zero; no other text has zeros.
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => {
            utf16(bytes, u16::from_le_bytes).into()
        }
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => {
            utf16(bytes, u16::from_be_bytes).into()
        }
        _ => String::from_utf8_lossy(bytes),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn utf32(bytes: &[u8]) -> String {
    let codes = bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
    codes.map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// `text` with one kind of space, of line end and of colon, and without what takes no
/// room: terminals colour lines, word processors and chats put in marks of their own.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.contains(['\u{1b}', '\u{b}', '\u{c}']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => {}
            '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => out.push(' '),
            '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\u{ff1a}' => out.push(':'),
            '\u{2010}'..='\u{2013}' | '\u{2212}' if rest.peek() == Some(&'[') => out.push('-'),
            '\u{1b}' => skip_escape(&mut rest),
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// `ESC [ 3 1 m` and the like: up to a letter.
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if rest.next_if_eq(&'[').is_some() {
        while rest.next_if(|c| !c.is_ascii_alphabetic() && !c.is_control()).is_some() {}
        rest.next_if(char::is_ascii_alphabetic);
    }
}

/// Quotation marks as JSON wants them, where a word processor made others of all.
pub fn straight_quotes(text: &str) -> Cow<'_, str> {
    const CURLY: [char; 4] = ['\u{201c}', '\u{201d}', '\u{201e}', '\u{201f}'];
    let begins = |(at, _): (usize, &str)| text[at + 1..].trim_start().starts_with(CURLY);
    if text.contains("{\"") || !text.match_indices('{').any(begins) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(CURLY, "\""))
}
