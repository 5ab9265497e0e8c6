//! Objective-C type encodings, as far as the guard needs them: how many bytes does a method return through memory, which a refused call
//! has to clear, and do its arguments all fit in registers, so that it may be called from another frame than its caller's?
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

/// Whether all arguments of a method with this encoding are passed in registers, by the arm64 convention: eight for integers and
/// addresses, eight for floating-point numbers and vectors of them. A structure of more than 16 bytes is passed by address. False where
/// it cannot be told. An encoding does not tell of variable arguments.
pub fn passes_in_registers(encoding: &[u8]) -> bool {
    needed_registers(encoding).is_some_and(|needed| needed.iter().all(|count| *count <= 8))
}

/// How many registers of both kinds the arguments need.
fn needed_registers(encoding: &[u8]) -> Option<[usize; 2]> {
    let (_, mut rest) = shape(qualified(encoding), 0)?;
    let [mut general, mut vector] = [0, 0];
    loop {
        rest = after_offset(rest);
        if rest.is_empty() {
            return Some([general, vector]);
        }
        let (argument, after) = shape(qualified(rest), 0)?;
        match argument.floats {
            Some((_, count @ 1..=4)) => vector += count,
            _ if argument.size > 16 => general += 1,
            // A pair of registers begins with an even one.
            _ if argument.align > 8 => general = general.next_multiple_of(2) + 2,
            _ => general += argument.size.div_ceil(8),
        }
        rest = after;
    }
}

/// A type is followed by where its argument lies, which is an old convention's and says nothing.
fn after_offset(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| b"+-0123456789".contains(byte)).count();
    text.get(count..).unwrap_or_default()
}

/// Skips the qualifiers const, in, inout, out, bycopy, byref, oneway and atomic.
fn qualified(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| b"rnNoORVA".contains(byte)).count();
    text.get(count..).unwrap_or_default()
}

const MAX_DEPTH: usize = 16;

/// The shape of the type at the front of `text`, and what follows it.
fn shape(text: &[u8], depth: usize) -> Option<(Shape, &[u8])> {
    if depth > MAX_DEPTH {
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
    fn arguments_fit_in_registers_as_the_arm64_convention_says() {
        for (encoding, expected) in [
            ("v16@0:8", true),
            ("v72@0:8Q16Q24Q32Q40Q48Q56", true),
            ("v80@0:8Q16Q24Q32Q40Q48Q56Q64", false),
            ("v80@0:8d16d24d32d40d48d56d64d72", true),
            ("v88@0:8d16d24d32d40d48d56d64d72f80", false),
            ("v64@0:8{MTLSize=QQQ}16{MTLSize=QQQ}40", true),
            ("v64@0:8{NSRange=QQ}16{NSRange=QQ}32{NSRange=QQ}48", true),
            ("v72@0:8{NSRange=QQ}16{NSRange=QQ}32{NSRange=QQ}48C64", false),
            ("v48@0:8{CGRect={CGPoint=dd}{CGSize=dd}}16", true),
            ("v80@0:8{a=dddd}16{a=dddd}48", true),
            ("v88@0:8{a=dddd}16{a=dddd}48f80", false),
            ("v88@0:8{five=ddddd}16^{a=QQQQQQQQQ}56@?64#72:80", true),
            ("v48@0:8c16T24T40", true),
            ("v24@0:8{opaque}16", false),
            ("v24@0:8b16", false),
            ("", false),
        ] {
            assert_eq!(super::passes_in_registers(encoding.as_bytes()), expected, "{encoding}");
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
