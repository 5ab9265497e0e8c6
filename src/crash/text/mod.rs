//! `.crash`: the text form, written by macOS before version 12, by Console when it
//! exports a report since, and above the JSON of a translated report.
//!
//! Read line by line; a line says what it is by how it begins. What people leave
//! between the parts (chat lines, empty lines, a system profile) begins like none of
//! them and is passed over. Nothing is indexed and nothing nested, so the bounds are
//! those on a line.

use std::borrow::Cow;

use super::facts::{Driver, Facts, Frame, MAX_FRAMES, MAX_MESSAGES, image_name, is_driver, keep};
use super::programs;
use super::time::timestamp;

/// Longest part of a line looked at, in bytes.
const MAX_LINE: usize = 4096;
/// Most texts kept that may hold the address.
const MAX_ADDRESSES: usize = 8;

/// Which part of the report a line stands in.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Header,
    Messages,
    Crashed,
    Thrown,
    Registers,
    Images,
    Elsewhere,
}

/// Reads one report, a line at a time.
pub struct Reader {
    facts: Facts,
    part: Part,
    /// The thread the header names as the one that died.
    crashed: Option<u64>,
    has_images: bool,
    /// The last line read was a whole frame of the thread that died.
    cut: bool,
    /// Lines that belong to no part.
    foreign: usize,
    /// Frames whose numbers are missing.
    lost: usize,
}

/// Whether `line` begins a report, or one would begin before it.
pub fn is_start(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("Process:") && !line["Process:".len()..].trim().is_empty()
}

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            facts: Facts { is_text: true, ..Facts::default() },
            part: Part::Header,
            crashed: None,
            has_images: false,
            cut: false,
            foreign: 0,
            lost: 0,
        }
    }
}

impl Reader {
    /// Whether a process was named already: another one is of another report.
    pub fn has_process(&self) -> bool {
        self.facts.process.is_some()
    }

    /// Whether an exception was read, after which only another report has headers.
    pub fn has_exception(&self) -> bool {
        !self.facts.exception.is_empty()
    }

    /// Reads a line; `ended` is whether an end of line followed it.
    pub fn line(&mut self, line: &str, ended: bool) {
        let mut end = line.len().min(MAX_LINE);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let line = unescaped(line[..end].trim());
        let line = line.as_ref();
        let before = self.part;
        if let Some(next) = self.heading(line) {
            self.part = next;
            return;
        }
        self.content(line, ended);
        if before == Part::Messages && line.is_empty() {
            self.part = Part::Elsewhere;
        }
    }

    fn content(&mut self, line: &str, ended: bool) {
        let facts = &mut self.facts;
        match self.part {
            Part::Messages if facts.messages.len() < MAX_MESSAGES => {
                facts.messages.extend(keep(line));
            }
            Part::Crashed if facts.frames.len() < MAX_FRAMES => match frame(line, &facts.frames) {
                // What a cut line says of its offset, and even of its symbol, is not all.
                Some(_) if !ended && !line.contains(" + ") => self.cut = true,
                Some((number, frame)) => {
                    self.lost += number - facts.frames.len();
                    // A place is kept for what was lost, so that no other frame takes it.
                    facts.frames.resize_with(number, Frame::default);
                    facts.frames.push(frame);
                }
                None => self.foreign += usize::from(!line.is_empty()),
            },
            Part::Thrown if facts.thrown.len() < MAX_FRAMES => {
                facts.thrown.extend(frame(line, &facts.thrown).map(|(_, frame)| frame));
            }
            Part::Registers => registers(facts, line),
            Part::Images => image(facts, line),
            _ => {}
        }
    }

    /// Takes a line that says what it is; the part that begins with it.
    fn heading(&mut self, line: &str) -> Option<Part> {
        if line.to_ascii_lowercase().starts_with("binary images") {
            self.has_images = true;
            return Some(Part::Images);
        }
        if line.starts_with("Last Exception Backtrace:") {
            return Some(Part::Thrown);
        }
        if let Some(rest) = line.strip_prefix("Thread ")
            && let Some(part) = self.thread(rest)
        {
            return Some(part);
        }
        let (name, value) = line.split_once(':')?;
        self.field(name.trim_end(), value.trim())
    }

    fn field(&mut self, name: &str, value: &str) -> Option<Part> {
        let facts = &mut self.facts;
        let (text, number) = named_number(value);
        match name {
            "Process" if facts.process.is_none() => {
                (facts.process, facts.pid) = (keep(text), number);
            }
            "Parent Process" => facts.parent_pid = number,
            "Incident Identifier" => facts.incident = keep(value).map(|id| id.to_lowercase()),
            "Date/Time" => facts.captured = timestamp(value),
            "OS Version" => facts.os = keep(value),
            "System Integrity Protection" => facts.protections.sip = keep(value),
            "Crashed Thread" | "Triggered by Thread" => {
                self.crashed = value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
            }
            "Exception Type" => {
                let (kind, signal) = value.split_once('(').unwrap_or((value, ""));
                facts.exception = keep(kind).unwrap_or_default();
                facts.signal =
                    keep(signal.split(')').next().unwrap_or_default()).unwrap_or_default();
            }
            // The codes of older reports name the address as the subtype does.
            "Exception Subtype" | "Exception Codes" | "VM Region Info"
                if facts.addresses.len() < MAX_ADDRESSES =>
            {
                facts.addresses.extend(keep(value));
            }
            "Termination Reason" => {
                let reason = value.strip_prefix("Namespace ").unwrap_or(value);
                facts.namespace = keep(reason.split([',', ' ']).next()?).unwrap_or_default();
                facts.messages.extend(keep(value));
            }
            "Application Specific Information" => {
                facts.messages.extend(keep(value));
                return Some(Part::Messages);
            }
            _ => return None,
        }
        Some(Part::Header)
    }

    /// `7 Crashed:: worker Dispatch queue: metal gpu stream 1`, what follows the word
    /// Thread. A line of another kind that begins with it is none.
    fn thread(&mut self, rest: &str) -> Option<Part> {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let rest = rest[digits..].trim_start();
        if rest.to_ascii_lowercase().contains("thread state") {
            let crashed = rest.to_ascii_lowercase().starts_with("crashed with");
            return Some(if crashed { Part::Registers } else { Part::Elsewhere });
        }
        let named = rest.strip_prefix("Crashed");
        if named.is_none() && !rest.starts_with(':') && !rest.starts_with("name:") {
            return None;
        }
        let died = named.is_some() || self.crashed == Some(number);
        // `Thread 1 name: worker` stands on a line of its own before the frames.
        if !died || rest.starts_with("name:") || !self.facts.frames.is_empty() {
            return Some(Part::Elsewhere);
        }
        let rest = named.unwrap_or(rest).trim_start_matches(':');
        let at = rest.to_ascii_lowercase().find("dispatch queue:");
        let (name, queue) = match at {
            Some(at) => (&rest[..at], &rest[at + "dispatch queue:".len()..]),
            None => (rest, ""),
        };
        self.facts.thread = keep(name);
        self.facts.queue = keep(queue);
        Some(Part::Crashed)
    }

    /// What was read.
    pub fn finish(self) -> Facts {
        let mut facts = self.facts;
        if facts.exception.is_empty() {
            facts.broken = Some("a text report without an exception".into());
        } else if facts.frames.is_empty() && (self.cut || !self.has_images) {
            facts.broken = Some("a text report that ends before the thread that crashed".into());
        } else if !self.has_images {
            facts.incomplete = Some(
                "the text ends before its list of images: the driver's version is unknown".into(),
            );
        }
        if facts.frames.first().is_some_and(|top| *top == Frame::default()) {
            facts.incomplete = Some("the innermost frame of the thread is missing".into());
        } else if self.lost > 0 {
            facts.note(format!("frames of the thread that crashed are missing: {}", self.lost));
        }
        if self.foreign > 0 {
            facts.note(format!("lines between the frames that are not frames: {}", self.foreign));
        }
        facts
    }
}

/// A line without the backslashes that Markdown wants before its own characters.
fn unescaped(line: &str) -> Cow<'_, str> {
    const MARKS: &str = "_*[]<>-+`#";
    let escapes = |(at, _): (usize, &str)| line[at + 1..].starts_with(|c: char| MARKS.contains(c));
    if !line.match_indices('\\').any(escapes) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        let mark = rest.peek().is_some_and(|next| MARKS.contains(*next));
        if c != '\\' || !mark {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// `Python [4242]` as name and number.
fn named_number(value: &str) -> (&str, Option<u64>) {
    match value.rsplit_once('[') {
        Some((name, number)) => (name.trim_end(), number.trim_end_matches(']').parse().ok()),
        None => (value, None),
    }
}

/// `0   AGXMetalG16X   0x000000010c9d52d0 -[… setComputePipelineState:] + 32`, also
/// without the address. Frames are numbered, which tells them from a chat.
fn frame(line: &str, before: &[Frame]) -> Option<(usize, Frame)> {
    let line = line.strip_prefix(['*', '-']).map_or(line, str::trim_start);
    let (number, rest) = line.split_once(char::is_whitespace)?;
    let number: usize = number.trim_end_matches('.').parse().ok()?;
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
fn registers(facts: &mut Facts, line: &str) {
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
fn image(facts: &mut Facts, line: &str) {
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
