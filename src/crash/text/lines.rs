//! What single lines of the text form say: a frame, registers, an image.

use super::super::facts::{Driver, Facts, Frame, image_name, is_driver, keep};
use super::super::programs;

/// `0   AGXMetalG16X   0x000000010c9d52d0 -[… setComputePipelineState:] + 32`, also
/// without the address. Frames are numbered, which tells them from a chat.
pub(super) fn frame(line: &str, before: &[Frame]) -> Option<(usize, Frame)> {
    let line = line.strip_prefix(['*', '-']).map_or(line, str::trim_start);
    let line = line.trim_matches('`').trim_start_matches('#');
    let (number, rest) = line.split_once(char::is_whitespace)?;
    let number: usize = number.trim_end_matches(['.', ')', ':']).parse().ok()?;
    // A line may have been lost.
    const MAX_LOST: usize = 4;
    if !(before.len()..=before.len() + MAX_LOST).contains(&number) {
        return None;
    }
    let (image, place) = image_and_place(rest.trim_start())?;
    let (symbol, offset) = match place.rsplit_once(" + ") {
        Some((symbol, offset)) => (symbol, leading_number(offset)),
        None => (place, None),
    };
    // Where there is no symbol its place is taken by the load address.
    let unnamed = symbol.starts_with("0x");
    let frame = Frame {
        image: keep(&image_name(image.trim())),
        symbol: if unnamed { None } else { keep(symbol) },
        offset: if unnamed { None } else { offset },
        image_offset: if unnamed { offset } else { None },
    };
    Some((number, frame))
}

/// Names of images may hold single spaces.
fn image_and_place(rest: &str) -> Option<(&str, &str)> {
    let address =
        rest.match_indices("0x").find(|(at, _)| rest[..*at].ends_with(char::is_whitespace));
    if let Some((at, _)) = address {
        let after = &rest[at + 2..];
        let end = after.find(|c: char| !c.is_ascii_hexdigit())?;
        let (image, place) = (&rest[..at], after[end..].trim_start());
        // The load address of a frame without both address and symbol.
        return match place.strip_prefix("+ ") {
            Some(_) => Some((image, &rest[at..])),
            None => Some((image, place)),
        };
    }
    let gap = rest.find("  ").or_else(|| rest.find('\t')).or_else(|| rest.find(' '))?;
    let place = rest[gap..].trim_start();
    place.contains(" + ").then_some((&rest[..gap], place))
}

fn leading_number(text: &str) -> Option<u64> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// `x0: 0x0000000000000000   x1: 0x00000001…`, and `far: 0x… esr: 0x92000006 (Data Abort)`.
pub(super) fn registers(facts: &mut Facts, line: &str) {
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_suffix(':') else { continue };
        let value = words.peek().and_then(|value| value.strip_prefix("0x"));
        let Some(value) = value.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else {
            continue;
        };
        match name {
            "pc" => facts.registers.pc = Some(value),
            "far" => facts.registers.far = Some(value),
            "esr" => facts.registers.esr = Some(value),
            "fp" => facts.registers.set(29, value),
            "lr" => facts.registers.set(30, value),
            _ => {
                if let Some(number) = name.strip_prefix('x').and_then(|number| number.parse().ok())
                {
                    facts.registers.set(number, value);
                }
            }
        }
    }
}

/// `0x10c718000 - 0x10d0fffff com.apple.AGXMetalG16X (329.2) <UUID> /System/…`. Markdown
/// takes `<UUID>` for a tag and drops it; a path may be missing too.
pub(super) fn image(facts: &mut Facts, line: &str) {
    let Some(rest) = line.strip_prefix("0x") else { return };
    let Some((_, rest)) = rest.split_once("0x") else { return };
    let Some((_, rest)) = rest.split_once(char::is_whitespace) else { return };
    let (before, path) = match rest.find(" /") {
        Some(at) => (&rest[..at], rest[at..].trim()),
        None => (rest, ""),
    };
    let (before, uuid) = match before.split_once('<') {
        Some((before, after)) => (before, after.split('>').next().unwrap_or_default()),
        None => (before, ""),
    };
    let (id, version) = match before.split_once('(') {
        Some((id, rest)) => (id, rest.split([')', ' ']).next().unwrap_or_default()),
        None => (before, ""),
    };
    let file = path.rsplit('/').next().filter(|name| !name.is_empty());
    let id = id.trim().trim_start_matches('+').split_whitespace().next().unwrap_or_default();
    let name = image_name(file.unwrap_or(id));
    if is_driver(&name) && facts.driver.is_none() {
        facts.driver = keep(&name).map(|name| Driver {
            name,
            version: keep(version),
            uuid: keep(uuid).map(|id| id.to_lowercase()),
            location: None,
        });
    }
    programs::add(&mut facts.programs, &programs::Image { name: &name, path, uuid, version });
}
