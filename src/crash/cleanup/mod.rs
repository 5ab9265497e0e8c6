//! Undoing what mail, chats, issue trackers and web pages do to a report.
//!
//! People do not attach the file macOS wrote; they paste it: quoted with `> `,
//! inside a code fence, with an empty line after every line, as HTML with its
//! entities. [`cleaned`] gives back the lines without the wrapping. It changes no
//! character inside a line that is not part of such a wrapping.

use std::borrow::Cow;

/// The text of `bytes`, whichever of the usual encodings it is in.
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes).into(),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes).into(),
        _ => String::from_utf8_lossy(bytes),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// The lines of `text` without quotes, fences, tags, entities and doubled line ends.
pub fn cleaned(text: &str) -> String {
    let text = match is_html(text) {
        true => Cow::Owned(without_entities(text)),
        false => Cow::Borrowed(text),
    };
    // Web pages and word processors keep columns apart with spaces that do not break.
    let text = match text.contains('\u{a0}') {
        true => Cow::Owned(text.replace('\u{a0}', " ")),
        false => text,
    };
    let lines: Vec<&str> = text.split(['\n', '\r', '\u{2028}']).map(line).collect();
    let skip = if is_double_spaced(&lines) { 1 } else { 0 };
    let mut out = String::with_capacity(text.len());
    let mut blanks = skip;
    for line in lines {
        // The empty line that follows every line is not part of the report.
        if line.trim().is_empty() && blanks < skip {
            blanks += 1;
            continue;
        }
        blanks = 0;
        match bold(line) {
            Some((key, value)) => out.extend([key, value]),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    // A last line without an end is one that was cut.
    if !text.ends_with(['\n', '\r']) {
        out.pop();
    }
    out
}

/// Whether the report itself is written in entities. JSON that is not has quotes of
/// its own, and what looks like an entity there is text.
fn is_html(text: &str) -> bool {
    const ENTITIES: [&str; 6] = ["&lt;", "&gt;", "&quot;", "&amp;", "&nbsp;", "&#"];
    let encoded = ["{&quot;", "{&#34;", "{&#x22;"].iter().any(|start| text.contains(start));
    encoded || (!text.contains("{\"") && ENTITIES.iter().any(|entity| text.contains(entity)))
}

fn without_entities(text: &str) -> String {
    const LONGEST: usize = 10;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(LONGEST).position(|byte| byte == b';');
        let found = end.and_then(|end| Some((entity(rest.get(1..end)?)?, end + 1)));
        let (c, length) = found.unwrap_or(('&', 1));
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out.replace("<br>", "\n").replace("<br/>", "\n").replace("<br />", "\n")
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "lsqb" | "lbrack" => '[',
        "rsqb" | "rbrack" => ']',
        "plus" => '+',
        "colon" => ':',
        "Tab" => '\t',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            // A space that does not break is a space.
            char::from_u32(code.ok()?).map(|c| if c == '\u{a0}' { ' ' } else { c })?
        }
    })
}

/// One line without quote marks, fence and tags around it.
fn line(line: &str) -> &str {
    let mut rest = line.trim_start_matches('\u{feff}');
    // A quote, or a row of a table.
    while let Some(quoted) = rest.trim_start().strip_prefix(['>', '|']) {
        rest = quoted.strip_prefix(' ').unwrap_or(quoted);
    }
    let fence = rest.trim_start();
    if let Some(after) = fence.strip_prefix("```").or_else(|| fence.strip_prefix("~~~")) {
        // The report may begin on the line of the fence.
        rest = after.find(['{', ':']).map_or("", |_| after.trim_start_matches('`'));
    }
    rest = rest.trim_end().strip_suffix("```").unwrap_or(rest);
    without_tags(rest)
}

/// A key that Markdown shows in bold, such as `**Process:** python`, and what follows it.
fn bold(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_start().strip_prefix("**")?.split_once("**")?;
    key.contains(':').then_some((key, value))
}

fn without_tags(line: &str) -> &str {
    const TAGS: [&str; 8] = ["pre", "code", "p", "div", "details", "blockquote", "span", "samp"];
    let mut rest = line;
    while let Some((tag, after)) =
        rest.trim_start().strip_prefix('<').and_then(|tagged| tagged.split_once('>'))
    {
        let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default();
        if !TAGS.contains(&name) {
            break;
        }
        rest = after;
    }
    for end in ["<br>", "<br/>", "<br />"] {
        rest = rest.trim_end().strip_suffix(end).unwrap_or(rest);
    }
    while let Some(before) = TAGS
        .iter()
        .find_map(|name| rest.trim_end().strip_suffix('>')?.strip_suffix(name)?.strip_suffix("</"))
    {
        rest = before;
    }
    rest
}

/// Whether nearly every line is followed by an empty one.
fn is_double_spaced(lines: &[&str]) -> bool {
    const MIN_LINES: usize = 8;
    let (mut full, mut followed) = (0, 0);
    for pair in lines.windows(2) {
        if !pair[0].trim().is_empty() {
            full += 1;
            followed += usize::from(pair[1].trim().is_empty());
        }
    }
    full >= MIN_LINES && followed * 10 >= full * 9
}
