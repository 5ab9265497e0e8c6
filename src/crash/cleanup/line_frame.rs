//! What a chat, a log, an editor or a table puts around every line.
//!
//! `[10:31] ann: > Process: …`, `  12  Process: …`, `app_1  | Process: …`: the words
//! differ from tool to tool, but before each line stands the same, but for numbers and
//! names. The keys of a report show what that is: the text before several different
//! keys, as a [`Shape`], is taken from every line that begins with it.

use std::borrow::Cow;

/// Keys that begin a line of a report, in text and in JSON.
const KEYS: [&str; 22] = [
    "Process:",
    "Path:",
    "Identifier:",
    "Code Type:",
    "Date/Time:",
    "OS Version:",
    "Crashed Thread:",
    "Triggered by Thread:",
    "Exception Type:",
    "Exception Codes:",
    "Exception Subtype:",
    "Termination Reason:",
    "Binary Images:",
    "{\"app_name\"",
    "{\"timestamp\"",
    "{\"uptime\"",
    "\"captureTime\"",
    "\"procName\"",
    "\"exception\"",
    "\"faultingThread\"",
    "\"threads\"",
    "\"usedImages\"",
];

/// Different keys that must agree on what stands before them.
const MIN_KEYS: usize = 3;
/// Longest text before a line, in bytes.
const MAX_PREFIX: usize = 120;
/// Text that a table or a list puts after each line.
const SUFFIXES: [&str; 5] = ["|", "`", "**", "\\", "*"];

/// `text` without what stands around each of its lines.
pub fn removed(text: &str) -> Cow<'_, str> {
    let shapes = shapes(text);
    let suffix = suffix(text);
    if shapes.is_empty() && suffix.is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (mut rest, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        if let Some(inner) = shapes.iter().find_map(|shape| shape.strip(rest)) {
            rest = inner;
        }
        if let Some(suffix) = suffix {
            rest = rest.trim_end().strip_suffix(suffix).unwrap_or(rest);
        }
        out.extend([rest, end]);
    }
    Cow::Owned(out)
}

/// The shapes that stand before several keys.
fn shapes(text: &str) -> Vec<Shape> {
    const MAX_SHAPES: usize = 8;
    let mut found: Vec<(Shape, Vec<usize>)> = Vec::new();
    for line in text.lines() {
        let Some((key, prefix)) = before_key(line) else { continue };
        let shape = Shape::of(prefix);
        match found.iter().position(|(other, _)| *other == shape) {
            Some(at) if found[at].1.contains(&key) => {}
            Some(at) => found[at].1.push(key),
            None if found.len() < MAX_SHAPES => found.push((shape, vec![key])),
            None => {}
        }
    }
    let often = found.into_iter().filter(|(shape, keys)| {
        // Without anything before it a key stands as macOS wrote it.
        !shape.0.is_empty() && keys.len() >= MIN_KEYS
    });
    often.map(|(shape, _)| shape).collect()
}

/// The first key in `line`, and what stands before it.
fn before_key(line: &str) -> Option<(usize, &str)> {
    if !line.contains([':', '"']) {
        return None;
    }
    let at = |(number, key): (usize, &&str)| line.find(key).map(|at| (at, number));
    let (at, number) = KEYS.iter().enumerate().filter_map(at).min()?;
    let prefix = line[..at].trim_end();
    // Markdown's bold type is of the key alone.
    let bold = line[at..].strip_prefix(KEYS[number]).is_some_and(|rest| rest.starts_with("**"));
    (!bold && prefix.len() <= MAX_PREFIX && !prefix.contains(['{', '"']))
        .then_some((number, prefix))
}

/// What ends nearly every line that is not empty.
fn suffix(text: &str) -> Option<&'static str> {
    const MIN_LINES: usize = 8;
    let mut lines = 0;
    let mut counts = [0; SUFFIXES.len()];
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        lines += 1;
        if let Some(at) = SUFFIXES.iter().position(|suffix| line.ends_with(suffix)) {
            counts[at] += 1;
        }
    }
    let often = |count: &usize| lines >= MIN_LINES && count * 10 >= lines * 9;
    counts.iter().position(often).map(|at| SUFFIXES[at])
}

/// One part of a prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Number,
    Word,
    Space,
    Mark(char),
}

/// A prefix without its numbers and words.
#[derive(PartialEq, Eq)]
struct Shape(Vec<Part>);

impl Shape {
    fn of(prefix: &str) -> Shape {
        let mut parts = Vec::new();
        let mut rest = prefix.trim();
        while let Some((part, after)) = first_part(rest) {
            parts.push(part);
            rest = after;
        }
        Shape(parts)
    }

    /// What follows in `line` after a prefix of this shape.
    fn strip<'a>(&self, line: &'a str) -> Option<&'a str> {
        let mut rest = line.trim_start();
        for wanted in &self.0 {
            let (part, after) = first_part(rest)?;
            if part != *wanted {
                return None;
            }
            rest = after;
        }
        Some(rest.strip_prefix([' ', '\t']).unwrap_or(rest))
    }
}

fn first_part(text: &str) -> Option<(Part, &str)> {
    let first = text.chars().next()?;
    let (part, more): (_, fn(char) -> bool) = match first {
        c if c.is_ascii_digit() => (Part::Number, |c| c.is_ascii_digit()),
        c if c.is_alphabetic() => (Part::Word, |c| c.is_alphanumeric() || c == '_'),
        c if c.is_whitespace() => (Part::Space, char::is_whitespace),
        c => return Some((Part::Mark(c), &text[c.len_utf8()..])),
    };
    let end = text.find(|c| !more(c)).unwrap_or(text.len());
    Some((part, &text[end..]))
}
