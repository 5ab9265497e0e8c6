//! A host that gives recorded answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agxpatch_core::error::{Code, Error, Result};
use serde_json::Value;

use super::{
    GPU_BUNDLE, RecordedFile, Recording, SHARED_CACHE, TIME, USER, command_line, read_only,
};
use crate::{
    Command, CommandKind, CsrConfig, File, FileKind, Host, Kind, Metadata, Output, Status,
};

const SYSTEM_VERSION: &str = "/System/Library/CoreServices/SystemVersion.plist";

fn not_recorded(question: impl std::fmt::Display) -> Error {
    Error::new(Code::NotRecorded, "not recorded")
        .with("question", question)
        .next("on the Mac itself, agxpatch selftest --record FILE records every question")
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
            return Err(read_only::refused(&command.to_string()));
        }
        let line = command_line(command);
        let said = self.recording.said.get(&line).ok_or_else(|| not_recorded(line))?;
        let status = match said.rc {
            signal @ ..0 => Status::Signal(signal.saturating_neg()),
            code => Status::Code(code),
        };
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
            RecordedFile::Missing => Err(crate::missing(path)),
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

    refuse_effects!();
}
