//! Transfer encodings of mail: quoted-printable and base 64 (RFC 2045).

use std::borrow::Cow;

use super::super::base64;

/// `text` without the transfer encodings of mail.
pub fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains("base64") || text.contains("BASE64") {
        let decoded = without_base64(text);
        return Cow::Owned(quoted_printable(&decoded).unwrap_or(decoded));
    }
    quoted_printable(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Lines that end in `=` go on in the next, and `=3D` is a character.
fn quoted_printable(text: &str) -> Option<String> {
    const MIN_BREAKS: usize = 3;
    let breaks = |line: &&str| line.ends_with('=') && !line.ends_with("==");
    let named = text.contains("quoted-printable");
    if !named && text.lines().filter(breaks).nth(MIN_BREAKS - 1).is_none() {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    for line in text.lines() {
        let (line, end) = match line.strip_suffix('=') {
            Some(line) => (line, ""),
            None => (line, "\n"),
        };
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('=') {
            out.extend_from_slice(before.as_bytes());
            let byte = after.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
            out.push(byte.unwrap_or(b'='));
            rest = if byte.is_some() { &after[2..] } else { after };
        }
        out.extend_from_slice(rest.as_bytes());
        out.extend_from_slice(end.as_bytes());
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// Parts in base 64 that hold text are decoded; others stay as they are.
fn without_base64(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        out.push_str(line);
        if !line.to_ascii_lowercase().starts_with("content-transfer-encoding: base64") {
            continue;
        }
        // The headers of the part end with an empty line.
        for line in lines.by_ref() {
            out.push_str(line);
            if line.trim().is_empty() {
                break;
            }
        }
        let mut encoded = String::new();
        let is_part = |line: &&str| !line.trim().is_empty() && !line.starts_with("--");
        while let Some(line) = lines.next_if(is_part) {
            encoded.push_str(line);
        }
        let decoded = base64::decode(&encoded).and_then(|bytes| String::from_utf8(bytes).ok());
        out.push_str(decoded.as_deref().unwrap_or(&encoded));
        out.push('\n');
    }
    out
}
