//! `.crash`: the text form, written by macOS before version 12 and by Console
//! when it exports a report since.
//!
//! Read line by line; a line says what it is by how it begins. Nothing is
//! indexed and nothing nested, so the bounds are those on a line.

use super::facts::{Driver, FRAMES, Facts, Frame, MESSAGES, is_driver, keep};
use super::time::timestamp;

/// Longest part of a line looked at, in bytes.
const LINE: usize = 4096;
/// What the last part begins with, also where it says that there is none.
const LAST_PART: &str = "binary images";

/// Which part of the report a line stands in.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Header,
    Messages,
    Crashed,
    Images,
    Elsewhere,
}

/// Reads the facts of a text report.
pub fn facts(bytes: &[u8]) -> Facts {
    let mut facts = Facts::default();
    let mut part = Part::Header;
    let mut whole = false;
    for line in bytes.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(&line[..line.len().min(LINE)]);
        part = read_line(&mut facts, part, line.trim_end());
        whole |= line.to_ascii_lowercase().starts_with(LAST_PART);
    }
    if !facts.exception.is_empty() && !whole {
        facts.broken = Some("a text report that breaks off before its images".into());
    }
    if facts.exception.is_empty() {
        let reason = match facts.process {
            Some(_) => "a text report without an exception",
            None => "neither JSON nor a crash report in text",
        };
        facts.broken = Some(reason.into());
    }
    facts
}

fn read_line(facts: &mut Facts, part: Part, line: &str) -> Part {
    if let Some(next) = heading(facts, line) {
        return next;
    }
    match part {
        Part::Messages if facts.messages.len() < MESSAGES => facts.messages.extend(keep(line)),
        Part::Crashed if line.is_empty() => return Part::Elsewhere,
        Part::Crashed if facts.frames.len() < FRAMES => facts.frames.extend(frame(line)),
        Part::Images if facts.driver.is_none() => facts.driver = driver(line),
        _ => {}
    }
    if part == Part::Messages && line.is_empty() { Part::Elsewhere } else { part }
}

/// Takes a line that says what it is; the part that begins with it.
fn heading(facts: &mut Facts, line: &str) -> Option<Part> {
    if line.starts_with("Binary Images:") {
        return Some(Part::Images);
    }
    if line.starts_with("Thread ") {
        return Some(thread(facts, line));
    }
    let (name, value) = line.split_once(':')?;
    let value = value.trim();
    let (text, number) = named_number(value);
    match name {
        "Process" => (facts.process, facts.pid) = (keep(text), number),
        "Parent Process" => facts.parent_pid = number,
        "Incident Identifier" => facts.incident = keep(value).map(|id| id.to_lowercase()),
        "Date/Time" => facts.captured = timestamp(value),
        "OS Version" => facts.os = keep(value),
        "Exception Type" => {
            let (kind, signal) = value.split_once('(').unwrap_or((value, ""));
            facts.exception = keep(kind).unwrap_or_default();
            facts.signal = keep(signal.trim_end_matches(')')).unwrap_or_default();
        }
        // The codes of older reports name the address as the subtype does.
        "Exception Subtype" | "Exception Codes" | "VM Region Info" if facts.addresses.len() < 8 => {
            facts.addresses.extend(keep(value));
        }
        "Termination Reason" => {
            let reason = value.strip_prefix("Namespace ").unwrap_or(value);
            facts.namespace = keep(reason.split([',', ' ']).next()?).unwrap_or_default();
            facts.messages.extend(keep(value));
        }
        "Application Specific Information" => return Some(Part::Messages),
        _ => return None,
    }
    Some(Part::Header)
}

/// `Thread 7 Crashed:: worker Dispatch queue: metal gpu stream 1`.
fn thread(facts: &mut Facts, line: &str) -> Part {
    let Some((_, rest)) = line.split_once(" Crashed:") else { return Part::Elsewhere };
    let rest = rest.trim_start_matches(':');
    let (name, queue) = rest.split_once("Dispatch queue:").unwrap_or((rest, ""));
    facts.thread = keep(name);
    facts.queue = keep(queue);
    Part::Crashed
}

/// `Python [4242]` as name and number.
fn named_number(value: &str) -> (&str, Option<u64>) {
    match value.rsplit_once('[') {
        Some((name, number)) => (name.trim_end(), number.trim_end_matches(']').parse().ok()),
        None => (value, None),
    }
}

/// `0   AGXMetalG16X   0x000000010c9d52d0 -[… setComputePipelineState:] + 32`.
fn frame(line: &str) -> Option<Frame> {
    let line = line.trim_start();
    let (_, rest) = line.split_once(char::is_whitespace)?;
    let (image, rest) = rest.split_once(" 0x").or_else(|| rest.split_once("\t0x"))?;
    let (_, place) = rest.split_once(' ')?;
    let (symbol, offset) = match place.rsplit_once(" + ") {
        Some((symbol, offset)) => (symbol, offset.parse().ok()),
        None => (place, None),
    };
    // Where there is no symbol its place is taken by the load address.
    let unnamed = symbol.starts_with("0x");
    Some(Frame {
        image: keep(image),
        symbol: if unnamed { None } else { keep(symbol) },
        offset: if unnamed { None } else { offset },
        image_offset: if unnamed { offset } else { None },
    })
}

/// `0x10c718000 - 0x10d0fffff com.apple.AGXMetalG16X (329.2) <UUID> /System/…`.
fn driver(line: &str) -> Option<Driver> {
    let (before, after) = line.split_once('<')?;
    let (uuid, path) = after.split_once('>')?;
    let name = path.rsplit('/').next().filter(|name| is_driver(name))?;
    let version =
        before.split_once('(').and_then(|(_, rest)| rest.split([')', ' ']).next()).and_then(keep);
    Some(Driver { name: keep(name)?, version, uuid: keep(uuid).map(|id| id.to_lowercase()) })
}
