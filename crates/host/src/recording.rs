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

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agxpatch_core::error::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Command, CommandKind, CsrConfig, File, FileKind, Host, Kind, Lock, Metadata, Output, Status,
};

/// The form that this version reads and writes.
pub const VERSION: u32 = 1;
/// A longer file is not taken for a recording: a whole Mac is some 100 KB.
pub const MAX_BYTES: u64 = 16 << 20;
/// Longer files are recorded without their content.
const MAX_TEXT: usize = 1 << 18;

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
const SYSTEM_VERSION: &str = "/System/Library/CoreServices/SystemVersion.plist";

/// Wraps a host and keeps every answer.
pub struct Recorder<'a> {
    host: &'a dyn Host,
    kept: RefCell<Recording>,
}

impl<'a> Recorder<'a> {
    /// Keeps the answers of `host`.
    pub fn new(host: &'a dyn Host) -> Recorder<'a> {
        let mut kept = Recording { version: VERSION, ..Recording::default() };
        kept.answers.insert(USER.into(), host.effective_user().into());
        kept.answers.insert(TIME.into(), host.now().to_string().into());
        Recorder { host, kept: RefCell::new(kept) }
    }

    /// What was answered so far.
    pub fn recording(&self) -> Recording {
        self.kept.borrow().clone()
    }

    fn keep_file(&self, path: &Path, file: RecordedFile) {
        self.kept.borrow_mut().files.insert(path.display().to_string(), file);
    }
}

impl Host for Recorder<'_> {
    fn kind(&self) -> Kind {
        self.host.kind()
    }

    fn run(&self, command: &Command) -> Result<Output> {
        if command.kind == CommandKind::Effect {
            return Err(refused(&command.to_string()));
        }
        let output = self.host.run(command)?;
        let rc = match output.status {
            Status::Code(code) => code,
            Status::Signal(signal) => -signal,
        };
        let said = Said { rc, out: output.text(), err: output.complaint() };
        self.kept.borrow_mut().said.insert(command_line(command), said);
        Ok(output)
    }

    fn csr_active_config(&self) -> Result<Option<CsrConfig>> {
        let bits = self.host.csr_active_config()?;
        self.kept.borrow_mut().csr = bits.map(|bits| bits.0);
        Ok(bits)
    }

    fn shared_cache_contains(&self, path: &Path) -> Result<Option<bool>> {
        let contains = self.host.shared_cache_contains(path)?;
        let key = format!("{SHARED_CACHE} {}", path.display());
        self.kept.borrow_mut().answers.insert(key, contains.into());
        Ok(contains)
    }

    fn trusted_gpu_bundle(&self, name: &str) -> Result<Option<Option<PathBuf>>> {
        let bundle = self.host.trusted_gpu_bundle(name)?;
        // Of a Mac without the function nothing is kept: it did not answer.
        if let Some(path) = &bundle {
            let path = path.as_ref().map(|path| path.display().to_string());
            self.kept.borrow_mut().answers.insert(format!("{GPU_BUNDLE} {name}"), path.into());
        }
        Ok(bundle)
    }

    fn effective_user(&self) -> u32 {
        self.host.effective_user()
    }

    fn has_terminal(&self) -> bool {
        false
    }

    fn now(&self) -> jiff::Timestamp {
        self.host.now()
    }

    fn pause(&self, time: Duration) {
        self.host.pause(time);
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        let metadata = self.host.metadata(path)?;
        let known = self.kept.borrow().files.contains_key(&path.display().to_string());
        match &metadata {
            None => self.keep_file(path, RecordedFile::Missing),
            Some(metadata) if !known => self.keep_file(path, RecordedFile::Described(*metadata)),
            Some(_) => {}
        }
        Ok(metadata)
    }

    fn read(&self, path: &Path) -> Result<File> {
        let file = match self.host.read(path) {
            Err(error) if error.code() == Code::PathMissing => {
                self.keep_file(path, RecordedFile::Missing);
                return Err(error);
            }
            file => file?,
        };
        let text = std::str::from_utf8(&file.bytes).ok().filter(|text| text.len() <= MAX_TEXT);
        self.keep_file(
            path,
            match text {
                Some(text) => RecordedFile::Text(text.to_owned()),
                None => RecordedFile::Described(file.metadata),
            },
        );
        Ok(file)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.host.list(path)
    }

    fn create_directory(&self, path: &Path, _: u32) -> Result<()> {
        Err(refused_at(path))
    }

    fn write_new(&self, path: &Path, _: &[u8], _: u32) -> Result<()> {
        Err(refused_at(path))
    }

    fn append(&self, path: &Path, _: &[u8]) -> Result<()> {
        Err(refused_at(path))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        Err(refused_at(path))
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        Err(refused_at(path))
    }

    fn rename(&self, from: &Path, _: &Path) -> Result<()> {
        Err(refused_at(from))
    }

    fn set_mode(&self, path: &Path, _: u32) -> Result<()> {
        Err(refused_at(path))
    }

    fn set_owner(&self, path: &Path, _: u32, _: u32) -> Result<()> {
        Err(refused_at(path))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        Err(refused_at(path))
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        Err(refused_at(path))
    }

    fn lock(&self, path: &Path) -> Result<Lock> {
        Err(refused_at(path))
    }
}

fn refused(effect: &str) -> Error {
    Error::new(Code::ReplayOnly, "a recorded Mac only answers questions")
        .with("effect", effect)
        .next("run this on the Mac itself, without --replay")
}

fn refused_at(path: &Path) -> Error {
    refused(&path.display().to_string())
}

fn not_recorded(question: impl std::fmt::Display) -> Error {
    Error::new(Code::NotRecorded, "not recorded").with("question", question)
}

/// A host that answers from a recording.
pub struct Replay {
    recording: Recording,
}

impl Replay {
    /// Answers from `recording`.
    pub fn new(recording: Recording) -> Replay {
        Replay { recording }
    }

    fn file(&self, path: &Path) -> Result<RecordedFile> {
        if let Some(file) = self.recording.files.get(&*path.to_string_lossy()) {
            return Ok(file.clone());
        }
        let build = self.recording.system_version_plist_build.as_ref();
        match build.filter(|_| path == Path::new(SYSTEM_VERSION)) {
            Some(build) => Ok(RecordedFile::Text(self.system_version(build))),
            None => Err(not_recorded(path.display())),
        }
    }

    /// `SystemVersion.plist` of a recording that has only the build in it.
    fn system_version(&self, build: &str) -> String {
        let version = self.recording.said.get("sw_vers -productVersion");
        let version = version.map(|said| said.out.trim()).unwrap_or_default();
        format!(
            "<plist version=\"1.0\"><dict><key>ProductBuildVersion</key><string>{build}</string>\
             <key>ProductVersion</key><string>{version}</string></dict></plist>\n"
        )
    }
}

/// A text file of root's, as all that is recorded as text is.
fn text_metadata(length: usize) -> Metadata {
    Metadata {
        kind: FileKind::File,
        mode: 0o644,
        user: 0,
        group: 0,
        links: 1,
        length: length as u64,
        flags: 0,
        inode: 0,
        device: 0,
    }
}

impl Host for Replay {
    fn kind(&self) -> Kind {
        Kind::Data
    }

    fn run(&self, command: &Command) -> Result<Output> {
        if command.kind == CommandKind::Effect {
            return Err(refused(&command.to_string()));
        }
        let line = command_line(command);
        let said = self.recording.said.get(&line).ok_or_else(|| not_recorded(line))?;
        let status = if said.rc < 0 { Status::Signal(-said.rc) } else { Status::Code(said.rc) };
        Ok(Output {
            status,
            stdout: said.out.clone().into_bytes(),
            stderr: said.err.clone().into_bytes(),
        })
    }

    fn csr_active_config(&self) -> Result<Option<CsrConfig>> {
        Ok(self.recording.csr.map(CsrConfig))
    }

    fn shared_cache_contains(&self, path: &Path) -> Result<Option<bool>> {
        let answer = self.recording.answers.get(&format!("{SHARED_CACHE} {}", path.display()));
        Ok(answer.and_then(Value::as_bool))
    }

    fn trusted_gpu_bundle(&self, name: &str) -> Result<Option<Option<PathBuf>>> {
        let answer = self.recording.answers.get(&format!("{GPU_BUNDLE} {name}"));
        Ok(answer.map(|answer| answer.as_str().map(PathBuf::from)))
    }

    fn effective_user(&self) -> u32 {
        let user = self.recording.answers.get(USER).and_then(Value::as_u64);
        user.and_then(|user| u32::try_from(user).ok()).unwrap_or(u32::MAX)
    }

    fn has_terminal(&self) -> bool {
        false
    }

    fn now(&self) -> jiff::Timestamp {
        let time = self.recording.answers.get(TIME).and_then(Value::as_str);
        time.and_then(|time| time.parse().ok()).unwrap_or_default()
    }

    fn pause(&self, _: Duration) {}

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        Ok(match self.file(path)? {
            RecordedFile::Missing => None,
            RecordedFile::Text(text) => Some(text_metadata(text.len())),
            RecordedFile::Described(metadata) => Some(metadata),
        })
    }

    fn read(&self, path: &Path) -> Result<File> {
        match self.file(path)? {
            RecordedFile::Missing => Err(super::missing(path)),
            RecordedFile::Text(text) => {
                Ok(File { metadata: text_metadata(text.len()), bytes: text.into_bytes() })
            }
            RecordedFile::Described(_) => {
                Err(not_recorded(format!("content of {}", path.display())))
            }
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        Err(not_recorded(path.display()))
    }

    fn create_directory(&self, path: &Path, _: u32) -> Result<()> {
        Err(refused_at(path))
    }

    fn write_new(&self, path: &Path, _: &[u8], _: u32) -> Result<()> {
        Err(refused_at(path))
    }

    fn append(&self, path: &Path, _: &[u8]) -> Result<()> {
        Err(refused_at(path))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        Err(refused_at(path))
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        Err(refused_at(path))
    }

    fn rename(&self, from: &Path, _: &Path) -> Result<()> {
        Err(refused_at(from))
    }

    fn set_mode(&self, path: &Path, _: u32) -> Result<()> {
        Err(refused_at(path))
    }

    fn set_owner(&self, path: &Path, _: u32, _: u32) -> Result<()> {
        Err(refused_at(path))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        Err(refused_at(path))
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        Err(refused_at(path))
    }

    fn lock(&self, path: &Path) -> Result<Lock> {
        Err(refused_at(path))
    }
}
