//! `.crash`: the text form, written by macOS before version 12, by Console when it
//! exports a report since, and above the JSON of a translated report.
//!
//! Read line by line; a line says what it is by how it begins. What people leave
//! between the parts (chat lines, empty lines, a system profile) begins like none of
//! them and is passed over. Nothing is indexed and nothing nested, so the bounds are
//! those on a line.

mod lines;

use std::borrow::Cow;

use super::facts::{Facts, Frame, MAX_FRAMES, MAX_MESSAGES, keep};
use super::time::timestamp;
use lines::{frame, image, registers};

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
    /// The first lines were left out.
    fragment: bool,
}

/// Whether `line` begins a report, or one would begin before it.
pub fn is_start(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("Process:") && !line["Process:".len()..].trim().is_empty()
}

/// Whether `line` is of a report whose first lines were left out.
pub fn is_fragment(line: &str) -> bool {
    let line = line.trim_start();
    let value = |key: &str| line.strip_prefix(key).map(str::trim);
    let exception = value("Exception Type:")
        .is_some_and(|kind| kind.starts_with("EXC_") || kind.starts_with("SIG"));
    let thread = ["Crashed Thread:", "Triggered by Thread:"].into_iter().find_map(value);
    let numbered = thread.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let frames = value("Thread ").is_some_and(|rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(" Crashed:")
    });
    exception || numbered || frames || value("Date/Time:").and_then(timestamp).is_some()
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
            fragment: false,
        }
    }
}

impl Reader {
    /// For a report whose first lines were left out.
    pub fn of_fragment() -> Reader {
        Reader { fragment: true, ..Reader::default() }
    }

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
                if let Some(exception) = exception_of(&facts.exception) {
                    facts.signal = std::mem::replace(&mut facts.exception, exception.to_owned());
                }
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
        } else if facts.frames.is_empty() && self.foreign > 0 {
            facts.broken =
                Some("the frames of the thread that crashed are of no known form".into());
        } else if !self.has_images {
            facts.incomplete = Some(
                "the text ends before its list of images: the driver's version is unknown".into(),
            );
        }
        if self.fragment && facts.broken.is_none() && facts.process.is_none() {
            facts.incomplete = Some("the report's first lines are missing".into());
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

/// The exception behind a signal: reporters inside a program (PLCrashReporter) write the
/// same form with the signal alone.
fn exception_of(signal: &str) -> Option<&'static str> {
    Some(match signal {
        "SIGSEGV" | "SIGBUS" => "EXC_BAD_ACCESS",
        "SIGABRT" => "EXC_CRASH",
        "SIGTRAP" => "EXC_BREAKPOINT",
        "SIGILL" => "EXC_BAD_INSTRUCTION",
        _ => return None,
    })
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
