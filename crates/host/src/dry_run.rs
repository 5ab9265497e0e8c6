//! A rehearsal on any host: questions go through, changes are only noted.
//!
//! Changes are kept in an overlay, and questions are answered from it: files that would
//! have been written are read back, a volume that would have been mounted is where it
//! would be, with the contents of the running one, and a snapshot that would have been
//! made is listed. So what is rehearsed need not know that it is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plist::{Dictionary, Value};

use super::{
    Command, CommandKind, CsrConfig, File, FileKind, Host, Kind, LoadTrial, Loading, Lock,
    Metadata, Output, Status, Tool,
};
use agxpatch_core::error::Result;

/// The snapshot a rehearsed `bless` makes.
pub const REHEARSED_SNAPSHOT: &str = "com.apple.bless.00000000-0000-4000-8000-000000000000";

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
    /// The devices that would be mounted, and where. The running system stands in for
    /// what is on them.
    mounted: Vec<(String, PathBuf)>,
    /// Whether a snapshot would have been made.
    blessed: bool,
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
        let below = notes.mounted.iter().find_map(|(_, at)| path.strip_prefix(at).ok());
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
        let words = words(command);
        let mut notes = self.notes.borrow_mut();
        notes.plan.push(command.to_string());
        match (command.tool, words.as_slice()) {
            (Tool::Mount, [.., device, at]) => {
                let device = device.trim_start_matches("/dev/").to_owned();
                notes.mounted.push((device, PathBuf::from(at)));
            }
            (Tool::Umount, [at]) => notes.mounted.retain(|(_, mounted)| mounted != Path::new(at)),
            (Tool::Bless, words) => {
                notes.blessed |= words.iter().any(|word| word == "--create-snapshot");
            }
            _ => {}
        }
        succeeded(Vec::new(), "")
    }

    /// What a tool would answer after the effects that were kept from the machine.
    fn overlay(&self, command: &Command, output: Output) -> Output {
        let words = words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (command.tool, words.as_slice()) {
            (Tool::Diskutil, ["info", "-plist", device]) => {
                let notes = self.notes.borrow();
                match notes.mounted.iter().find(|(mounted, _)| mounted == device) {
                    Some((_, at)) => edited(output, |volume| {
                        volume.insert("MountPoint".into(), at.to_string_lossy().as_ref().into());
                        // It shows only where the volume really is mounted.
                        volume.remove("GlobalPermissionsEnabled");
                    }),
                    None => output,
                }
            }
            (Tool::Diskutil, ["apfs", "listSnapshots", "-plist", _])
                if self.notes.borrow().blessed =>
            {
                edited(output, |list| {
                    let mut snapshot = Dictionary::new();
                    snapshot.insert("SnapshotName".into(), REHEARSED_SNAPSHOT.into());
                    if let Some(Value::Array(snapshots)) = list.get_mut("Snapshots") {
                        snapshots.push(Value::Dictionary(snapshot));
                    }
                })
            }
            // It was signed by this program, and no tool can be asked about it.
            (Tool::Codesign, [.., path]) if self.kept(Path::new(path)).is_some() => {
                succeeded(Vec::new(), "Signature=adhoc\n")
            }
            _ => output,
        }
    }
}

fn words(command: &Command) -> Vec<String> {
    command.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn succeeded(stdout: Vec<u8>, stderr: &str) -> Output {
    Output { status: Status::Code(0), stdout, stderr: stderr.as_bytes().to_vec() }
}

/// A property list with a change made to it; any other answer as it is.
fn edited(output: Output, edit: impl FnOnce(&mut Dictionary)) -> Output {
    let value = Value::from_reader(std::io::Cursor::new(&output.stdout)).ok();
    let Some(mut dictionary) = value.and_then(Value::into_dictionary) else { return output };
    edit(&mut dictionary);
    let mut stdout = Vec::new();
    match Value::Dictionary(dictionary).to_writer_xml(&mut stdout) {
        Ok(()) => Output { stdout, ..output },
        Err(_) => output,
    }
}

impl Host for DryRun<'_> {
    fn kind(&self) -> Kind {
        self.host.kind()
    }

    fn run(&self, command: &Command) -> Result<Output> {
        match command.kind {
            CommandKind::Question => Ok(self.overlay(command, self.host.run(command)?)),
            CommandKind::Effect => Ok(self.rehearse(command)),
        }
    }

    fn csr_active_config(&self) -> Result<Option<CsrConfig>> {
        self.host.csr_active_config()
    }

    fn shared_cache_contains(&self, path: &Path) -> Result<Option<bool>> {
        self.host.shared_cache_contains(path)
    }

    fn trusted_gpu_bundle(&self, name: &str) -> Result<Option<Option<PathBuf>>> {
        self.host.trusted_gpu_bundle(name)
    }

    fn try_load(&self, trial: &LoadTrial<'_>) -> Result<Loading> {
        self.host.try_load(trial)
    }

    /// The rehearsal is of what root would do.
    fn effective_user(&self) -> u32 {
        0
    }

    /// Nothing is asked in a rehearsal, so that nothing stands in the way of asking.
    fn has_terminal(&self) -> bool {
        true
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
