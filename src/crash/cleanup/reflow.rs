//! Lines that a mail client or a terminal broke at its width.
//!
//! A frame ends with `+` and a number, an image with its path or UUID, an assertion
//! with a quote: a line of that kind which does not is joined with those that follow
//! until it does, and left alone if it never does. A mail client breaks at spaces. A
//! terminal breaks at exactly its width, inside words too; that is told by every broken
//! line being as long as the longest of all.

/// Most lines that one was broken into.
const MAX_PARTS: usize = 8;
/// Widths that are in use.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=160;
/// Mail clients break at this width at the earliest.
const MIN_WIDTH: usize = 56;

/// `text` with broken lines joined.
pub fn joined(text: &str) -> String {
    let lines: Vec<&str> = text.split('\n').collect();
    let hard = hard_width(&lines);
    let mut out = String::with_capacity(text.len());
    let mut in_images = false;
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        if at > 0 {
            out.push('\n');
        }
        let heading = line.trim_start().to_ascii_lowercase();
        in_images = heading.starts_with("binary images") || (in_images && !line.trim().is_empty());
        let whole = match hard {
            Some(width) => hard_line(&lines[at..], width),
            None => soft_line(&lines[at..], in_images),
        };
        match whole {
            Some((whole, parts)) => {
                out.push_str(&whole);
                at += parts;
            }
            None => {
                out.push_str(line);
                at += 1;
            }
        }
    }
    out
}

/// The line that `lines` begin with, of parts that are `width` long but for the last.
fn hard_line(lines: &[&str], width: usize) -> Option<(String, usize)> {
    let full = lines.iter().take_while(|line| length(line) == width).count();
    let parts = lines.get(..full + 1).filter(|_| full > 0)?;
    Some((parts.concat(), parts.len()))
}

/// The line that `lines` begin with, of parts that were broken at spaces.
fn soft_line(lines: &[&str], in_images: bool) -> Option<(String, usize)> {
    let first = lines.first()?;
    let kind = Kind::of(first, in_images).filter(|kind| !kind.is_complete(first))?;
    let mut whole = (*first).trim_end().to_owned();
    for (number, line) in lines.iter().enumerate().take(MAX_PARTS).skip(1) {
        if line.trim().is_empty() || begins_another(line, kind, &whole) {
            return None;
        }
        if kind == Kind::Heading && length(&whole) + 1 + length(first_word(line)) < MIN_WIDTH {
            return None;
        }
        whole.push(' ');
        whole.push_str(line.trim());
        if kind.is_complete(&whole) {
            return Some((whole, number + 1));
        }
    }
    None
}

/// What a line says that can be broken.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Frame,
    Image,
    /// A key whose value is needed.
    Heading,
    /// Metal's words, up to their closing quote.
    Assertion,
    /// Names of registers, each before its value.
    Registers,
}

impl Kind {
    fn of(line: &str, in_images: bool) -> Option<Kind> {
        const HEADINGS: [&str; 6] = [
            "Exception Codes:",
            "Exception Subtype:",
            "Termination Reason:",
            "Date/Time:",
            "Crashed Thread:",
            "Thread ",
        ];
        let line = line.trim_start();
        if line.contains("failed assertion `") {
            return Some(Kind::Assertion);
        }
        if in_images && line.starts_with("0x") {
            return Some(Kind::Image);
        }
        if is_frame(line) {
            return Some(Kind::Frame);
        }
        if line.starts_with('x') && first_word(line).ends_with(':') {
            return Some(Kind::Registers);
        }
        HEADINGS.iter().any(|heading| line.starts_with(heading)).then_some(Kind::Heading)
    }

    fn is_complete(self, line: &str) -> bool {
        match self {
            Kind::Frame => line
                .rsplit_once(" + ")
                .is_some_and(|(_, offset)| offset.starts_with(|c: char| c.is_ascii_digit())),
            Kind::Image => line.contains(" /") || line.trim_end().ends_with('>'),
            Kind::Heading => match line.split_once(':') {
                Some(("Exception Codes" | "Exception Subtype", value)) => value.contains("0x"),
                Some(("Date/Time", value)) => value.split_whitespace().count() >= 3,
                Some(("Termination Reason", value)) => value.contains(':'),
                _ => !line.trim_end().ends_with("Dispatch queue:"),
            },
            Kind::Assertion => line.split_once('`').is_some_and(|(_, text)| text.contains('\'')),
            Kind::Registers => !line.trim_end().ends_with(':'),
        }
    }
}

/// Whether `line` is a line of its own rather than the next part of `whole`.
fn begins_another(line: &str, kind: Kind, whole: &str) -> bool {
    let line = line.trim_start();
    if kind == Kind::Image && line.starts_with("0x") {
        // The second address of the range.
        return whole.matches("0x").count() > 1;
    }
    let heading = line.starts_with("Thread ") && line.contains(':');
    heading || is_frame(line) || line.to_ascii_lowercase().starts_with("binary images")
}

/// `3   libmlx.dylib …`.
fn is_frame(line: &str) -> bool {
    let line = line.trim_start();
    let Some((number, rest)) = line.split_once(char::is_whitespace) else { return false };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number && number.len() <= 3 && rest.contains(|c: char| c.is_ascii_alphabetic() || c == '?')
}

fn first_word(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

fn length(line: &str) -> usize {
    line.chars().count()
}

/// The width at which a terminal broke every line that is too long for it.
fn hard_width(lines: &[&str]) -> Option<usize> {
    let width = lines.iter().map(|line| length(line)).max().filter(|it| WIDTHS.contains(it))?;
    let has_json = lines.iter().any(|line| line.contains("{\""));
    let (mut broken, mut in_string, mut in_images) = (false, false, false);
    for (number, line) in lines.iter().enumerate() {
        in_images |= line.starts_with("Binary Images");
        let next = lines.get(number + 1).map_or("", |line| line.trim());
        let cut = match Kind::of(line, in_images) {
            // A path may be broken too: nothing else follows an image but another one.
            Some(Kind::Image) if length(line) == width => {
                !next.is_empty() && !next.starts_with("0x")
            }
            Some(kind @ (Kind::Frame | Kind::Image)) if !has_json => !kind.is_complete(line),
            _ if has_json => {
                in_string ^= odd_quotes(line);
                in_string
            }
            _ => false,
        };
        if cut && length(line) != width {
            return None;
        }
        broken |= cut;
    }
    broken.then_some(width)
}

/// Whether a string of JSON begins in `line` and does not end there, or the reverse.
fn odd_quotes(line: &str) -> bool {
    let mut odd = false;
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => odd = !odd,
            _ => {}
        }
    }
    odd
}
