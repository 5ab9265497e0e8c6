//! A recorded Mac: what it answered to each question, to be asked again elsewhere.
//!
//! [`Recorder`] wraps a host and keeps every answer; [`Replay`] is a host that gives
//! them again and refuses every effect. A question that a recording lacks is
//! [`Code::NotRecorded`], never a default.
//!
//! The form is JSON. `said` has what tools answered, by command line; `csr` the kernel's
//! protection bits; `files` their text, or what is known of a file that is not text;
//! `answers` what functions returned. `source` says where a recording is from. Keys that
//! are not known are ignored.

#[macro_use]
mod read_only;
mod recorder;
mod replay;

use std::collections::BTreeMap;

use agxpatch_core::error::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use read_only::refused;
pub use recorder::Recorder;
pub use replay::Replay;

use super::{Command, Metadata};

/// The form that this version reads and writes.
pub const VERSION: u32 = 1;
/// A longer file is not taken for a recording: a whole Mac is some 100 KB.
pub const MAX_BYTES: u64 = 4 << 20;

/// The answers of one Mac.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The form; none means the first.
    #[serde(default = "first_version")]
    pub version: u32,
    /// Where it is from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// What tools answered, by command line.
    #[serde(default)]
    pub said: BTreeMap<String, Said>,
    /// The kernel's protection bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<u32>,
    /// Files, by path.
    #[serde(default)]
    pub files: BTreeMap<String, RecordedFile>,
    /// What functions returned, by name and argument.
    #[serde(default)]
    pub answers: BTreeMap<String, Value>,
    /// The build in `SystemVersion.plist`, in recordings that lack the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_version_plist_build: Option<String>,
}

fn first_version() -> u32 {
    VERSION
}

/// What a tool answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The exit code, or the negative number of a signal.
    #[serde(default)]
    pub rc: i32,
    /// Standard output.
    #[serde(default)]
    pub out: String,
    /// Standard error.
    #[serde(default)]
    pub err: String,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RecordedFile {
    /// There is nothing.
    Missing,
    /// A file that is text.
    Text(String),
    /// Something whose content is not recorded.
    Described(Metadata),
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// [`Code::BadRecording`] for what is not one of this version.
    pub fn parse(bytes: &[u8]) -> Result<Recording> {
        let bad = |message: &str| Error::new(Code::BadRecording, message);
        if bytes.len() as u64 > MAX_BYTES {
            return Err(bad("the file is too long for a recording").with("bytes", bytes.len()));
        }
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|reason| bad("the recording is not JSON").with("reason", reason))?;
        if !value.is_object() {
            return Err(bad("the recording is not a JSON object"));
        }
        let version = value.get("version").map_or(Some(1), Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let found = value.get("version").cloned().unwrap_or_default();
            return Err(bad("the recording is of a version that this one cannot read")
                .with("version", found)
                .next("use the agxpatch that wrote it, or a newer one"));
        }
        serde_json::from_value(value)
            .map_err(|reason| bad("the recording is not of the known form").with("reason", reason))
    }

    /// The recording as it is written.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|reason| {
            Error::new(Code::Bug, "the recording cannot be written").with("reason", reason)
        })?;
        text.push(b'\n');
        Ok(text)
    }

    /// Passes every text of the recording, its keys included, through `edit`.
    pub fn edited(&self, edit: &mut dyn FnMut(&str) -> String) -> Result<Recording> {
        let bug = |reason: serde_json::Error| {
            Error::new(Code::Bug, "the recording cannot be edited").with("reason", reason)
        };
        let mut value = serde_json::to_value(self).map_err(bug)?;
        for key in ["said", "files", "answers"] {
            if let Some(value) = value.get_mut(key) {
                *value = edit_texts(value, edit);
            }
        }
        serde_json::from_value(value).map_err(bug)
    }
}

fn edit_texts(value: &Value, edit: &mut dyn FnMut(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(edit(text)),
        Value::Array(values) => values.iter().map(|value| edit_texts(value, edit)).collect(),
        Value::Object(pairs) => {
            let pairs = pairs.iter();
            pairs.map(|(key, value)| (edit(key), edit_texts(value, edit))).collect()
        }
        other => other.clone(),
    }
}

/// The key of a command in `said`.
fn command_line(command: &Command) -> String {
    let words = command.arguments.iter().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(command.tool.name().to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

const SHARED_CACHE: &str = "_dyld_shared_cache_contains_path";
const GPU_BUNDLE: &str = "gpu_bundle_find_trusted";
const USER: &str = "geteuid";
const TIME: &str = "time";
