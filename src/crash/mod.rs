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
//! pipeline, another library's NULL at the same offset) has a place of its own.
//!
//! No I/O happens here and no input makes it fail: a report that cannot be
//! understood is a report of class [`Class::Unreadable`]. Nesting is bounded by
//! the JSON reader, kept strings and lists by [`facts`]. Finding the files is
//! the part of [`crate::diagnostics`].

mod address;
mod apart;
pub mod assertion;
mod base64;
mod class;
mod classify;
mod cleanup;
mod command_failure;
mod document;
mod evidence;
mod facts;
mod foreign;
mod instruction;
mod ips;
mod known_faults;
mod loose;
pub mod page;
mod programs;
pub mod remedy;
mod stack;
mod summary;
mod text;
mod time;

pub use address::{Access, Fault};
pub use apart::{Apart, ClassApart, Period};
pub use assertion::Assertion;
pub use class::{Class, Family};
pub use command_failure::CommandFailure;
pub use evidence::{Evidence, Ground, Sureness};
pub use facts::{Driver, Location, Program, Protections};
pub use known_faults::KnownFault;
pub use remedy::{Advice, Remedy};
pub use summary::{BuildCount, ClassCount, Day, NamedCount, Summary};

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
    /// A digest of who died when: the same for every form of a report, of which some
    /// have no identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<String>,
    /// The AGX driver that was loaded, if one was.
    pub driver: Option<Driver>,
    /// Programs that use the GPU and were loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Program>,
    /// Protections of the Mac.
    #[serde(default)]
    pub protections: Protections,
    /// What kind of crash it is.
    pub class: Class,
    /// Why it was put in that class.
    pub evidence: Evidence,
    /// What is missing from a report that was judged nevertheless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// What was left out of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Reads a file that holds one report; of several, the first that is understood.
pub fn read(name: &str, bytes: &[u8]) -> CrashReport {
    let mut reports = read_all(name, bytes);
    let readable = reports.iter().position(|report| report.class != Class::Unreadable);
    reports.swap_remove(readable.unwrap_or(0))
}

/// Reads every report of a file; there is at least one, if only to say why there is
/// none. `name` is the file's name, which tells a GPU event of an unknown schema from
/// a broken crash report; `bytes` are the whole file.
pub fn read_all(name: &str, bytes: &[u8]) -> Vec<CrashReport> {
    let found = document::read(name, bytes);
    let alone = found.len() == 1;
    found.into_iter().map(|facts| report(facts, alone.then_some(bytes))).collect()
}

/// Whether a file that is not named as a report may hold one, or a text of another
/// tool's that people take for one.
pub fn looks_like_report(bytes: &[u8]) -> bool {
    document::looks_like_report(bytes)
}

/// `bytes` are those of the report, where it has a file of its own.
fn report(mut facts: Facts, bytes: Option<&[u8]>) -> CrashReport {
    let (class, evidence) = classify::classify(&facts);
    programs::mark_on_stack(&mut facts.programs, &facts.frames);
    let death = facts.death().map(|(process, pid, millisecond)| {
        digest("death:", format!("{process}\n{pid}\n{millisecond}").as_bytes())
    });
    CrashReport {
        incident: identity(&facts, death.as_deref(), bytes),
        death,
        captured: facts.captured,
        process: facts.process,
        pid: facts.pid,
        parent_pid: facts.parent_pid,
        os: facts.os,
        driver: facts.driver,
        programs: facts.programs,
        protections: facts.protections,
        class,
        evidence,
        incomplete: facts.incomplete,
        notes: facts.notes,
    }
}

/// Copies are often no longer the same bytes: exported, formatted differently, with
/// other ends of lines. So the contents decide last.
fn identity(facts: &Facts, death: Option<&str>, bytes: Option<&[u8]>) -> String {
    if let Some(incident) = facts.incident.as_deref().filter(|incident| is_identifier(incident)) {
        return incident.to_owned();
    }
    if let Some(death) = death {
        return death.to_owned();
    }
    match bytes {
        Some(bytes) => {
            let text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
            digest("content:", text.trim_ascii())
        }
        None => digest("content:", format!("{facts:?}").as_bytes()),
    }
}

/// Whether macOS's identifier is one: redacted reports have zeros or crosses there.
fn is_identifier(incident: &str) -> bool {
    incident.chars().any(|c| c.is_ascii_alphanumeric() && !matches!(c, '0' | 'x' | 'X'))
        && !incident.contains("redacted")
}

fn digest(kind: &str, bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let mut id = kind.to_owned();
    for byte in &hash[..16] {
        id.push_str(&format!("{byte:02x}"));
    }
    id
}
