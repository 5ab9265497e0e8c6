//! Undoing what mail, chats, issue trackers and web pages do to a report.
//!
//! People do not attach the file macOS wrote; they paste it: quoted with `> `,
//! inside a code fence, with an empty line after every line, as HTML with its
//! entities. [`cleaned`] gives back the lines without the wrapping. It changes no
//! character inside a line that is not part of such a wrapping.

mod encoding;
mod escaped;
mod html;
mod line_frame;
mod mail;
mod reflow;

use std::borrow::Cow;

pub use encoding::decode;

/// Whether [`cleaned`] would find text where `text` shows none.
pub fn opened(text: &str) -> Cow<'_, str> {
    then(encoding::plain(text), mail::decoded)
}

/// The lines of `text` as macOS wrote them, as far as that can be known.
pub fn cleaned(text: &str) -> String {
    let text = then(opened(text), escaped::unescaped);
    let text = match html::is_html(&text) {
        true => Cow::Owned(html::without_entities(&html::without_elements(&text))),
        false => text,
    };
    let text = then(then(text, encoding::plain), encoding::straight_quotes);
    let text = then(text, line_frame::removed);
    reflow::joined(&unquoted(&text))
}

/// Applies a step that mostly changes nothing.
fn then<'a>(text: Cow<'a, str>, step: fn(&str) -> Cow<'_, str>) -> Cow<'a, str> {
    match step(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(changed) => Cow::Owned(changed),
    }
}

/// `text` without quotes, fences and doubled line ends.
fn unquoted(text: &str) -> String {
    let lines: Vec<&str> = text.split(['\n', '\r']).map(line).collect();
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

/// One line without quote marks, fence and tags around it.
fn line(line: &str) -> &str {
    let mut rest = line;
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
    html::without_tags(without_macros(rest))
}

/// A line without the macros that Jira and forums put around code.
fn without_macros(line: &str) -> &str {
    const MACROS: [&str; 4] = ["{code", "{noformat", "[code", "[pre"];
    const ENDS: [&str; 4] = ["{code}", "{noformat}", "[/code]", "[/pre]"];
    let mut rest = line;
    let begins = MACROS.iter().find_map(|start| rest.trim_start().strip_prefix(start));
    if let Some((parameters, after)) = begins.and_then(|after| after.split_once(['}', ']']))
        && !parameters.contains('"')
    {
        rest = after;
    }
    let ended = ENDS.iter().find_map(|end| rest.trim_end().strip_suffix(end));
    ended.unwrap_or(rest)
}

/// A key that Markdown shows in bold, such as `**Process:** python`, and what follows it.
fn bold(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_start().strip_prefix("**")?.split_once("**")?;
    key.contains(':').then_some((key, value))
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
