//! Reports inside a string: of JSON, of a program's log, of a table's cell.
//!
//! A report inside a string has its line ends as `\n` and its quotes as `\"`, each
//! level of strings once more. What only such a report holds tells that one is there;
//! then all escapes of the text are resolved, as often as needed.

use std::borrow::Cow;

/// What is written so only inside a string.
const MARKS: [&str; 6] = [
    "\\nException Type:",
    "\\nBinary Images:",
    "\\\"bug_type",
    "\\\"faultingThread",
    "}\\n{",
    "}\\r\\n{",
];

/// Strings in strings: an attachment in an answer of a service, in a log.
const MAX_LEVELS: usize = 4;

/// `text` without the escapes of strings, if a report stands in one.
pub fn unescaped(text: &str) -> Cow<'_, str> {
    // A cell of a table doubles each quote of its own.
    let mut text = match text.contains("{\"\"") && text.contains("\"\"bug_type\"\"") {
        true => Cow::Owned(text.replace("\"\"", "\"")),
        false => Cow::Borrowed(text),
    };
    for _ in 0..MAX_LEVELS {
        if !MARKS.iter().any(|mark| text.contains(mark)) {
            break;
        }
        text = Cow::Owned(one_level(&text));
    }
    text
}

fn one_level(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut characters = after.chars();
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => {}
            Some('u') => match unicode(characters.as_str()) {
                Some(c) => {
                    out.push(c);
                    characters = characters.as_str()[4..].chars();
                }
                None => out.push('u'),
            },
            Some(c) => out.push(c),
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    own_lines(&out)
}

fn unicode(digits: &str) -> Option<char> {
    char::from_u32(u32::from_str_radix(digits.get(..4)?, 16).ok()?)
}

/// What stood before the string is not part of the report's first line.
fn own_lines(text: &str) -> String {
    const STARTS: [&str; 4] = ["\"{\"", "'{\"", "\"Process:", "'Process:"];
    let mut out = text.to_owned();
    for start in STARTS {
        if out.contains(start) {
            let (quote, report) = start.split_at(1);
            out = out.replace(start, &format!("{quote}\n{report}"));
        }
    }
    out
}
