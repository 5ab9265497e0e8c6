//! Crash reports: from the bytes of one report to the class of crash it tells of.
//!
//! macOS writes a report for every process that dies: since version 12 an
//! `.ips` file (a JSON header and a JSON body), before that `.crash` text, and
//! `gpuEvent-*.ips` in a schema of its own when the GPU was restarted. [`read`]
//! takes any of them and answers with a [`CrashReport`]: who died, when, with
//! which driver loaded, and a [`Class`] with the [`Evidence`] it was put there by.
//!
//! What is published of this driver's crashes is a handful of stack traces, so
//! the classes are narrow on purpose: the exception, the frame on top and the
//! address all have to fit, and what resembles a class without being it (a nil
//! pipeline, somebody else's NULL at the same offset) has a place of its own.
//!
//! No I/O happens here and no input makes it fail: a report that cannot be
//! understood is a report of class [`Class::Unreadable`]. Nesting is bounded by
//! the JSON reader, kept strings and lists by [`facts`]. Finding the files is
//! the part of [`crate::diagnostics`].

mod address;
mod apart;
pub mod assertion;
mod class;
mod classify;
mod facts;
mod gpu_stack;
mod ips;
mod loose;
pub mod page;
mod summary;
mod text;
mod time;

pub use address::{Access, Fault};
pub use apart::{Apart, ClassApart, Period};
pub use assertion::Assertion;
pub use class::{Class, Family};
pub use classify::Evidence;
pub use facts::{Driver, Frame};
pub use summary::{ClassCount, Day, NamedCount, Summary};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use facts::Facts;

/// What one report says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashReport {
    /// The same for every copy of a report: macOS's incident identifier in
    /// lower case; where the report has none, `death:` and a digest of who died
    /// when and where, and where it does not say that, `content:` and a digest
    /// of the text.
    pub incident: String,
    /// When the process died, as the report says.
    pub captured: Option<Timestamp>,
    /// Name of the process.
    pub process: Option<String>,
    /// Its identifier.
    pub pid: Option<u64>,
    /// The identifier of the process that started it.
    pub parent_pid: Option<u64>,
    /// macOS version and build, as written in the report.
    pub os: Option<String>,
    /// The AGX driver that was loaded, if one was.
    pub driver: Option<Driver>,
    /// What kind of crash it is.
    pub class: Class,
    /// Why it was put in that class.
    pub evidence: Evidence,
}

/// Reads one report. `name` is the file's name, which tells a GPU event of an
/// unknown schema from a broken crash report; `bytes` are the whole file.
pub fn read(name: &str, bytes: &[u8]) -> CrashReport {
    let facts = facts_of(name, bytes);
    let (class, evidence) = classify::classify(&facts);
    CrashReport {
        incident: identity(&facts, bytes),
        captured: facts.captured,
        process: facts.process,
        pid: facts.pid,
        parent_pid: facts.parent_pid,
        os: facts.os,
        driver: facts.driver,
        class,
        evidence,
    }
}

fn facts_of(name: &str, bytes: &[u8]) -> Facts {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Facts::broken("the file is empty"),
        Some(0x1f) if bytes.starts_with(GZIP) => {
            Facts::broken("compressed: unpack it with gunzip first")
        }
        Some(b'{') => ips::facts(name, bytes),
        Some(_) => text::facts(bytes),
    }
}

/// What a file that gzip wrote begins with.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// What redacted reports carry for an identifier.
const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// Copies are often no longer the same bytes: exported, laid out anew, with
/// other ends of lines. So the contents decide last.
fn identity(facts: &Facts, bytes: &[u8]) -> String {
    if let Some(incident) = facts.incident.as_deref().filter(|incident| *incident != NIL) {
        return incident.to_owned();
    }
    if let (Some(process), Some(pid), Some(captured)) = (&facts.process, facts.pid, facts.captured)
    {
        let top = facts.frames.first().map(facts::Frame::describe).unwrap_or_default();
        let Facts { exception, signal, .. } = facts;
        // A text report writes fewer digits of the time than JSON may.
        let millisecond = captured.as_millisecond();
        let death = format!("{process}\n{pid}\n{millisecond}\n{exception}\n{signal}\n{top}");
        return digest("death:", death.as_bytes());
    }
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
    digest("content:", text.trim_ascii())
}

fn digest(kind: &str, bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let mut id = kind.to_owned();
    for byte in &hash[..16] {
        id.push_str(&format!("{byte:02x}"));
    }
    id
}
