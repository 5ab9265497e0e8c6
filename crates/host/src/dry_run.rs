//! A rehearsal on any host: questions go through, changes are only noted.
//!
//! Files that would have been written are kept aside, so that reading them back
//! works as it will; a volume that would have been mounted is stood in for by
//! the one that runs. What a rehearsal cannot show is the answer of a tool that
//! was not run: it is said to have succeeded.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Command, CsrConfig, File, FileKind, Host, Kind, Lock, Metadata, Nature, Output, Status, Tool,
};
use agxpatch_core::error::Result;

/// The snapshot a rehearsed `bless` says it made.
pub const REHEARSED_SNAPSHOT: &str = "com.apple.bless.REHEARSAL";

/// Wraps a host and keeps changes from it.
pub struct DryRun<'a> {
    host: &'a dyn Host,
    notes: RefCell<Notes>,
}

#[derive(Default)]
struct Notes {
    plan: Vec<String>,
    /// What would be at a path; none where it would be gone.
    files: BTreeMap<PathBuf, Option<File>>,
    /// Mount points, with the directory that stands in.
    mounted: Vec<PathBuf>,
}

impl<'a> DryRun<'a> {
    /// Rehearses on `host`.
    pub fn new(host: &'a dyn Host) -> DryRun<'a> {
        DryRun { host, notes: RefCell::default() }
    }

    /// What would have been done, one line each, in order.
    pub fn plan(&self) -> Vec<String> {
        self.notes.borrow().plan.clone()
    }

    fn note(&self, what: String) {
        self.notes.borrow_mut().plan.push(what);
    }

    /// The path that stands in for one below a mount that was not made.
    fn stand_in(&self, path: &Path) -> PathBuf {
        let notes = self.notes.borrow();
        let below = notes.mounted.iter().find_map(|at| path.strip_prefix(at).ok());
        below.map_or_else(|| path.to_owned(), |rest| Path::new("/").join(rest))
    }

    fn kept(&self, path: &Path) -> Option<Option<File>> {
        self.notes.borrow().files.get(path).cloned()
    }

    fn keep(&self, path: &Path, file: Option<File>) {
        self.notes.borrow_mut().files.insert(path.to_owned(), file);
    }

    fn new_file(&self, kind: FileKind, bytes: &[u8], mode: u32) -> File {
        let metadata = Metadata {
            kind,
            mode,
            user: self.effective_user(),
            group: 0,
            links: 1,
            length: bytes.len() as u64,
            flags: 0,
            inode: 0,
            device: 0,
        };
        File { bytes: bytes.to_vec(), metadata }
    }

    /// Changes a file's metadata where it would have been changed.
    fn alter(&self, path: &Path, change: impl FnOnce(&mut Metadata)) -> Result<()> {
        let metadata = self.metadata(path)?.ok_or_else(|| super::missing(path))?;
        let bytes = match metadata.kind {
            FileKind::File => self.read(path)?.bytes,
            _ => Vec::new(),
        };
        let mut file = File { bytes, metadata };
        change(&mut file.metadata);
        self.keep(path, Some(file));
        Ok(())
    }

    fn rehearse(&self, command: &Command) -> Output {
        let last = command.arguments.last().map(PathBuf::from);
        let mut notes = self.notes.borrow_mut();
        notes.plan.push(command.to_string());
        match (command.tool, last) {
            (Tool::Mount, Some(at)) => notes.mounted.push(at),
            (Tool::Umount, Some(at)) => notes.mounted.retain(|mounted| *mounted != at),
            _ => {}
        }
        let creates = command.arguments.iter().any(|word| word == "--create-snapshot");
        let stdout = if command.tool == Tool::Bless && creates {
            format!("Volume will boot from snapshot {REHEARSED_SNAPSHOT}\n").into_bytes()
        } else {
            Vec::new()
        };
        Output { status: Status::Code(0), stdout, stderr: Vec::new() }
    }
}

impl Host for DryRun<'_> {
    fn kind(&self) -> Kind {
        self.host.kind()
    }

    fn is_rehearsal(&self) -> bool {
        true
    }

    fn run(&self, command: &Command) -> Result<Output> {
        match command.nature {
            Nature::Question => self.host.run(command),
            Nature::Effect => Ok(self.rehearse(command)),
        }
    }

    fn csr_active_config(&self) -> Result<Option<CsrConfig>> {
        self.host.csr_active_config()
    }

    fn effective_user(&self) -> u32 {
        self.host.effective_user()
    }

    fn has_terminal(&self) -> bool {
        self.host.has_terminal()
    }

    fn now(&self) -> jiff::Timestamp {
        self.host.now()
    }

    fn pause(&self, time: Duration) {
        self.host.pause(time);
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        match self.kept(path) {
            Some(file) => Ok(file.map(|file| file.metadata)),
            None => self.host.metadata(&self.stand_in(path)),
        }
    }

    fn read(&self, path: &Path) -> Result<File> {
        match self.kept(path) {
            Some(Some(file)) if file.metadata.kind == FileKind::File => Ok(file),
            Some(Some(_)) => Err(super::not_a_file(path)),
            Some(None) => Err(super::missing(path)),
            None => self.host.read(&self.stand_in(path)),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let mut names = match self.kept(path) {
            Some(_) => Vec::new(),
            None => self.host.list(&self.stand_in(path))?,
        };
        for (other, file) in &self.notes.borrow().files {
            let name = other.file_name().and_then(|name| name.to_str());
            if let (true, Some(name)) = (other.parent() == Some(path), name) {
                names.retain(|known| known != name);
                names.extend(file.is_some().then(|| name.to_owned()));
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_directory(&self, path: &Path, mode: u32) -> Result<()> {
        if self.metadata(path)?.is_some() {
            return Err(super::exists(path));
        }
        self.note(format!("create directory {} mode {mode:o}", path.display()));
        self.keep(path, Some(self.new_file(FileKind::Directory, b"", mode)));
        Ok(())
    }

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        if self.metadata(path)?.is_some() {
            return Err(super::exists(path));
        }
        self.note(format!("write {} ({} bytes) mode {mode:o}", path.display(), bytes.len()));
        self.keep(path, Some(self.new_file(FileKind::File, bytes, mode)));
        Ok(())
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = self.read(path)?;
        file.bytes.extend_from_slice(bytes);
        file.metadata.length = file.bytes.len() as u64;
        self.note(format!("append to {} ({} bytes)", path.display(), bytes.len()));
        self.keep(path, Some(file));
        Ok(())
    }

    fn sync_file(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let file = self.read(from)?;
        self.note(format!("rename {} to {}", from.display(), to.display()));
        self.keep(from, None);
        self.keep(to, Some(file));
        Ok(())
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.note(format!("set mode {mode:o} of {}", path.display()));
        self.alter(path, |metadata| metadata.mode = mode)
    }

    fn set_owner(&self, path: &Path, user: u32, group: u32) -> Result<()> {
        self.note(format!("set owner {user}:{group} of {}", path.display()));
        self.alter(path, |metadata| (metadata.user, metadata.group) = (user, group))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.metadata(path)?.ok_or_else(|| super::missing(path))?;
        self.note(format!("remove {}", path.display()));
        self.keep(path, None);
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        self.metadata(path)?.ok_or_else(|| super::missing(path))?;
        self.note(format!("remove directory {}", path.display()));
        self.keep(path, None);
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<Lock> {
        self.note(format!("lock {}", path.display()));
        Ok(Lock::new(()))
    }
}
