//! Objective-C type encodings, as far as a refused call needs them: how many bytes does the method return through memory?
//!
//! On arm64 a structure of more than 16 bytes that is not made of up to four equal floating-point numbers is returned
//! through the address in x8. A refused call has to clear that memory, for the caller reads it.

/// Size and alignment of a type, and what it is made of as far as the calling convention asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    size: usize,
    align: usize,
    /// The one floating-point type all members have, and how many there are; `None` when they are mixed or others.
    floats: Option<(u8, usize)>,
}

/// Bytes a method with this encoding returns through x8; 0 when it returns in registers, `None` when it cannot be told.
pub fn returned_through_memory(encoding: &[u8]) -> Option<usize> {
    let (shape, _) = shape(qualified(encoding), 0)?;
    let in_vectors = matches!(shape.floats, Some((_, 1..=4)));
    Some(if shape.size <= 16 || in_vectors { 0 } else { shape.size })
}

/// Skips the qualifiers const, in, inout, out, bycopy, byref, oneway and atomic.
fn qualified(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| b"rnNoORVA".contains(byte)).count();
    text.get(count..).unwrap_or_default()
}

const DEEPEST: usize = 16;

/// The shape of the type at the front of `text`, and what follows it.
fn shape(text: &[u8], depth: usize) -> Option<(Shape, &[u8])> {
    if depth > DEEPEST {
        return None;
    }
    let (first, rest) = text.split_first()?;
    let scalar = |size: usize| Some((Shape { size, align: size.max(1), floats: None }, rest));
    let float =
        |kind: u8, size: usize| Some((Shape { size, align: size, floats: Some((kind, 1)) }, rest));
    match first {
        b'v' => scalar(0),
        b'c' | b'C' | b'B' => scalar(1),
        b's' | b'S' => scalar(2),
        b'i' | b'I' | b'l' | b'L' => scalar(4),
        b'q' | b'Q' | b'*' | b'#' | b':' => scalar(8),
        b't' | b'T' => scalar(16),
        b'f' => float(b'f', 4),
        b'd' | b'D' => float(b'd', 8),
        b'@' => Some((Shape { size: 8, align: 8, floats: None }, after_object(rest))),
        b'^' => Some((Shape { size: 8, align: 8, floats: None }, after_pointee(rest, depth)?)),
        b'?' => scalar(8),
        b'{' => aggregate(rest, b'}', depth),
        b'(' => aggregate(rest, b')', depth),
        b'[' => array(rest, depth),
        _ => None,
    }
}

/// `@` may be followed by `?` (a block) or by a class name in quotes.
fn after_object(text: &[u8]) -> &[u8] {
    match text.first() {
        Some(b'?') => text.get(1..).unwrap_or_default(),
        Some(b'"') => {
            let end =
                text.iter().skip(1).position(|byte| *byte == b'"').map_or(text.len(), |at| at + 2);
            text.get(end..).unwrap_or_default()
        }
        _ => text,
    }
}

/// What a pointer points to has no bearing on its size, but has to be stepped over; an opaque `{Name}` has no members.
fn after_pointee(text: &[u8], depth: usize) -> Option<&[u8]> {
    let text = qualified(text);
    match text.first()? {
        b'{' | b'(' => {
            let mut level = 0usize;
            let end = text.iter().position(|byte| {
                match byte {
                    b'{' | b'(' => level += 1,
                    b'}' | b')' => level -= 1,
                    _ => {}
                }
                level == 0
            })?;
            text.get(end + 1..)
        }
        _ => shape(text, depth + 1).map(|(_, rest)| rest),
    }
}

/// The members of a structure (closed by `}`) or a union (closed by `)`).
fn aggregate(text: &[u8], close: u8, depth: usize) -> Option<(Shape, &[u8])> {
    let equals = text.iter().position(|byte| *byte == b'=' || *byte == close)?;
    if text.get(equals) == Some(&close) {
        return None;
    }
    let mut rest = text.get(equals + 1..)?;
    let mut whole = Shape { size: 0, align: 1, floats: None };
    let mut first = true;
    while *rest.first()? != close {
        rest = after_name(rest);
        let (member, after) = shape(qualified(rest), depth + 1)?;
        whole = if close == b'}' {
            followed_by(whole, member, first)
        } else {
            or(whole, member, first)
        };
        first = false;
        rest = after;
    }
    whole.size = whole.size.next_multiple_of(whole.align);
    Some((whole, rest.get(1..)?))
}

/// A member may be preceded by its name in quotes.
fn after_name(text: &[u8]) -> &[u8] {
    if text.first() == Some(&b'"') { after_object(text) } else { text }
}

fn followed_by(whole: Shape, member: Shape, first: bool) -> Shape {
    let floats = match (whole.floats, member.floats) {
        (_, member) if first => member,
        (Some((kind, count)), Some((other, more))) if kind == other => Some((kind, count + more)),
        _ => None,
    };
    let offset = whole.size.next_multiple_of(member.align);
    Shape { size: offset + member.size, align: whole.align.max(member.align), floats }
}

fn or(whole: Shape, member: Shape, first: bool) -> Shape {
    let floats = match (whole.floats, member.floats) {
        (_, member) if first => member,
        (Some((kind, count)), Some((other, more))) if kind == other => {
            Some((kind, count.max(more)))
        }
        _ => None,
    };
    Shape { size: whole.size.max(member.size), align: whole.align.max(member.align), floats }
}

fn array(text: &[u8], depth: usize) -> Option<(Shape, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let count: usize = core::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()?;
    let (member, rest) = shape(qualified(text.get(digits..)?), depth + 1)?;
    let rest = rest.strip_prefix(b"]")?;
    let floats = member.floats.map(|(kind, each)| (kind, each * count));
    Some((Shape { size: member.size.checked_mul(count)?, align: member.align, floats }, rest))
}

#[cfg(test)]
mod tests {
    use super::returned_through_memory as bytes;

    #[test]
    fn values_in_registers_need_no_memory() {
        for encoding in [
            "v40@0:8Q16",
            "@16@0:8",
            "Vv16@0:8",
            "q16@0:8",
            "d16@0:8",
            "B24@0:8@16",
            "@?16@0:8",
            "^{__IOSurface=}16@0:8",
        ] {
            assert_eq!(bytes(encoding.as_bytes()), Some(0), "{encoding}");
        }
    }

    #[test]
    fn structures_are_returned_as_the_arm64_convention_says() {
        for (encoding, expected) in [
            ("{_NSRange=QQ}16@0:8", 0),
            ("{MTLSize=QQQ}16@0:8", 24),
            ("{MTLRegion={MTLOrigin=QQQ}{MTLSize=QQQ}}16@0:8", 48),
            ("{CGRect={CGPoint=dd}{CGSize=dd}}16@0:8", 0),
            ("{five=ddddd}16@0:8", 40),
            ("{mixed=dfd}16@0:8", 24),
            ("{matrix=[4f]}16@0:8", 0),
            ("{bytes=[17C]}16@0:8", 17),
            ("{named=\"a\"Q\"b\"@\"NSString\"\"c\"^{opaque}}16@0:8", 24),
            ("{padded=cqc}16@0:8", 24),
            ("(union=q[5i])16@0:8", 24),
        ] {
            assert_eq!(bytes(encoding.as_bytes()), Some(expected), "{encoding}");
        }
    }

    #[test]
    fn an_encoding_that_is_not_understood_is_unknown() {
        for encoding in [
            "",
            "{opaque}16@0:8",
            "{cut=QQ",
            "b3",
            "{deep={a={b={c={d={e={f={g={h={i={j={k={l={m={n={o={p={q=Q}}}}}}}}}}}}}}}}}}",
        ] {
            assert_eq!(bytes(encoding.as_bytes()), None, "{encoding}");
        }
    }
}
