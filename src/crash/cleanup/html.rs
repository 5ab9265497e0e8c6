//! Web pages and other text with tags and entities.

/// `text` without its tags; what begins or ends a line of a page does so here.
pub fn without_elements(text: &str) -> String {
    const LINES: [&str; 6] = ["br", "p", "div", "tr", "pre", "li"];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(length) = element(rest) else {
            out.push('<');
            rest = &rest[1..];
            continue;
        };
        let name = rest[1..].trim_start_matches('/');
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        rest = &rest[length..];
        let ended = out.ends_with('\n') || rest.starts_with(['\n', '\r']);
        if LINES.contains(&&name[..end]) && !ended {
            out.push('\n');
        }
    }
    out.push_str(rest);
    out
}

/// How long the tag is with which `rest` begins. The arguments of C++'s templates are
/// written in entities on a page; where they are not, few look like a tag.
fn element(rest: &str) -> Option<usize> {
    const MAX_TAG: usize = 512;
    let inside = rest[1..].trim_start_matches('/');
    let name = inside.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit())?;
    let ends = inside[name..].starts_with(['>', ' ', '/', '\n']);
    let begins = inside.starts_with(|c: char| c.is_ascii_lowercase()) && ends;
    let end = rest.bytes().take(MAX_TAG).position(|byte| byte == b'>')?;
    (begins || inside.starts_with('!')).then_some(end + 1)
}

/// Whether the report itself is written in entities. JSON that is not has quotes of
/// its own, and what looks like an entity there is text.
pub fn is_html(text: &str) -> bool {
    const TAGS: [&str; 7] =
        ["<!DOCTYPE html", "<html", "</span>", "</td>", "</p>", "<br>", "<br/>"];
    const ENTITIES: [&str; 6] = ["&lt;", "&gt;", "&quot;", "&amp;", "&nbsp;", "&#"];
    let encoded = ["{&quot;", "{&#34;", "{&#x22;"].iter().any(|start| text.contains(start));
    encoded
        || TAGS.iter().any(|tag| text.contains(tag))
        || (!text.contains("{\"") && ENTITIES.iter().any(|entity| text.contains(entity)))
}

/// `text` with the characters that entities stand for.
pub fn without_entities(text: &str) -> String {
    const MAX_ENTITY: usize = 10;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(MAX_ENTITY).position(|byte| byte == b';');
        let found = end.and_then(|end| Some((entity(rest.get(1..end)?)?, end + 1)));
        let (c, length) = found.unwrap_or(('&', 1));
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
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

/// One line of a text that is not HTML as a whole, without the tags around it.
pub fn without_tags(line: &str) -> &str {
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
