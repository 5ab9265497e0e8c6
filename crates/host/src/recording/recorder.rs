//! A host that keeps what another answers.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agxpatch_core::error::{Code, Result};

use super::{GPU_BUNDLE, RecordedFile, Recording, SHARED_CACHE, Said, TIME, USER, VERSION};
use super::{command_line, read_only};
use crate::{Command, CommandKind, CsrConfig, File, Host, Kind, Metadata, Output, Status};

/// Longer files are recorded without their content.
const MAX_TEXT: usize = 1 << 18;

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
            return Err(read_only::refused(&command.to_string()));
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

    refuse_effects!();
}
