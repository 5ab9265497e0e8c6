//! `.ips`: JSON objects one after the other.
//!
//! A header of one line comes before the body; some collectors write both as one
//! object, so each object is read for the fields of either and the later one wins.
//! Several reports may follow each other: a second header, a second body or
//! another incident begins the next report.
//!
//! A body holds a hundred threads and four hundred images. The reader checks
//! that all of it is JSON, and keeps of each thread and image where it stands;
//! only the thread that died and the images its frames lie in are taken apart.

mod fill;
mod images;
mod repair;
mod schema;

use super::facts::{Facts, Form, Frame, keep};
use schema::Object;

/// Most reports read from one file.
pub const MAX_REPORTS: usize = 512;

/// Why a header is not a report.
pub const HEADER_ALONE: &str = "a header without a body";

/// The type number of a report about a process that died.
const CRASH: &str = "309";
/// The type number of a GPU restart.
const GPU_EVENT: &str = "284";

/// What stands at the beginning of a text as JSON.
#[derive(Default)]
pub struct Stream {
    /// The reports, in order.
    pub reports: Vec<Facts>,
    /// Bytes up to the end of the last object, also of one that breaks off.
    pub consumed: usize,
    /// Bytes that were looked at.
    pub looked: usize,
    /// The last object is not whole, or not JSON.
    pub broken: bool,
    /// An object was read that is not JSON as it stands.
    pub repaired: bool,
}

/// Reads reports as long as there is JSON.
pub fn read(name: &str, bytes: &[u8]) -> Stream {
    read_repairing(name, bytes, None)
}

/// As [`read`], for text that may hold anything; a report that breaks off yields what
/// came before the break.
pub fn read_text(name: &str, text: &str) -> Stream {
    read_repairing(name, text.as_bytes(), Some(text))
}

fn read_repairing(name: &str, bytes: &[u8], text: Option<&str>) -> Stream {
    let (current, out) = (Facts::default(), Stream::default());
    let mut reader = Reader { name, current, objects: 0, out };
    while reader.out.reports.len() < MAX_REPORTS {
        let rest = bytes.get(reader.out.consumed..).unwrap_or_default();
        let Some(error) = reader.objects(rest) else { break };
        let rest = bytes.get(reader.out.consumed..).unwrap_or_default();
        let object = rest.trim_ascii_start();
        // What follows a whole report may be anything; it is not part of the report.
        if !object.starts_with(b"{") {
            break;
        }
        reader.out.looked = reader.out.consumed + error_offset(rest, &error);
        reader.out.consumed += rest.len() - object.len();
        let text = text.and_then(|text| text.get(reader.out.consumed..));
        reader.repair(text.unwrap_or_default(), &error);
        if reader.out.broken {
            break;
        }
    }
    reader.finish();
    reader.out.looked = reader.out.looked.max(reader.out.consumed);
    reader.out
}

fn error_offset(bytes: &[u8], error: &serde_json::Error) -> usize {
    let before = error.line().checked_sub(2);
    let line = before.and_then(|number| memchr::memchr_iter(b'\n', bytes).nth(number));
    line.unwrap_or(0) + error.column()
}

struct Reader<'a> {
    name: &'a str,
    current: Facts,
    /// Objects read of the current report.
    objects: usize,
    out: Stream,
}

impl Reader<'_> {
    /// Reads whole objects; what is wrong with the first that is none.
    fn objects(&mut self, bytes: &[u8]) -> Option<serde_json::Error> {
        let start = self.out.consumed;
        let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Object>();
        while let Some(object) = stream.next() {
            match object {
                Ok(object) => self.object(object),
                Err(error) => return Some(error),
            }
            self.out.consumed = start + stream.byte_offset();
            if self.out.reports.len() >= MAX_REPORTS {
                break;
            }
        }
        None
    }

    fn object(&mut self, object: Object) {
        if self.objects > 0 && object.begins_another(&self.current) {
            self.finish();
        }
        object.fill(&mut self.current);
        self.objects += 1;
    }

    /// Reads what begins `text` and is not JSON for the reason `error`, as far as it can
    /// be read.
    fn repair(&mut self, text: &str, error: &serde_json::Error) {
        let (candidates, looked) = repair::candidates(text);
        self.out.looked = self.out.looked.max(self.out.consumed + looked);
        let read = candidates.into_iter().find_map(|repaired| {
            let object = serde_json::from_str::<Object>(&repaired.text).ok()?;
            self.object(object);
            Some((repaired.consumed, repaired.cut))
        });
        let reason = keep(&error.to_string()).unwrap_or_default();
        match read {
            Some((consumed, cut)) => {
                self.out.consumed += consumed;
                self.out.repaired = true;
                self.out.broken = cut;
                if cut {
                    self.breaks_off(reason);
                }
            }
            None => {
                self.out.broken = true;
                if self.current.bodied {
                    self.finish();
                }
                self.current.broken = Some(reason);
                self.objects += 1;
            }
        }
    }

    /// The current report breaks off: what of it is enough for a class.
    fn breaks_off(&mut self, reason: String) {
        let facts = &mut self.current;
        // Of a frame that breaks off its symbol is missing.
        let partial = |frame: &Frame| frame.symbol.is_none() && frame.image.is_none();
        if facts.frames.last().is_some_and(partial) {
            facts.frames.pop();
        }
        if facts.exception.is_empty() || facts.frames.is_empty() {
            facts.broken = Some(reason);
        } else {
            facts.incomplete = Some(format!("the JSON breaks off: {reason}"));
        }
    }

    fn finish(&mut self) {
        if self.objects > 0 {
            let facts = std::mem::take(&mut self.current);
            self.out.reports.push(finished(self.name, facts, self.objects));
            self.objects = 0;
        }
    }
}

fn finished(name: &str, mut facts: Facts, objects: usize) -> Facts {
    settle_form(name, &mut facts);
    if facts.form == Form::Crash && facts.broken.is_none() && facts.exception.is_empty() {
        let reason = match objects {
            1 => HEADER_ALONE,
            _ => "no exception in the body",
        };
        facts.broken = Some(reason.into());
    }
    facts
}

fn settle_form(name: &str, facts: &mut Facts) {
    let kind = facts.bug_type.as_deref();
    facts.form = if kind == Some(GPU_EVENT) || name.starts_with("gpuEvent-") {
        Form::GpuEvent
    } else if kind.is_none_or(|kind| kind == CRASH) || !facts.exception.is_empty() {
        // A GPU event that lost its header shows by its analysis.
        facts.form
    } else {
        Form::Other
    };
}
