//! What a command is resolved against: the files of a machine, read only.
//!
//! Unlike a [`Host`](agxpatch_host::Host), which follows no link because it
//! changes things, this follows links as the kernel does when it starts a
//! program. The trait is small so that whole trees of shims can be made up.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// What a name stands for, links not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file with these permission bits.
    File {
        /// `st_mode & 07777`.
        mode: u32,
    },
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Link(PathBuf),
    /// A device, a socket, a pipe.
    Other,
}

/// The files of a machine.
pub trait Files {
    /// What `path` stands for; none where there is nothing or it cannot be seen.
    fn entry(&self, path: &Path) -> Option<Entry>;

    /// The first `most` bytes of a regular file, links followed; none where it
    /// cannot be read.
    fn head(&self, path: &Path, most: u64) -> Option<Vec<u8>>;

    /// The names in a directory, sorted.
    fn names(&self, path: &Path) -> Vec<String>;

    /// The path with every link followed; none where it leads nowhere.
    fn canonical(&self, path: &Path) -> Option<PathBuf> {
        let mut links = 0;
        let mut rest: Vec<PathBuf> = parts(path);
        let mut at = PathBuf::from("/");
        while let Some(part) = rest.pop() {
            if part == Path::new("..") {
                at.pop();
                continue;
            }
            at.push(&part);
            if let Entry::Link(target) = self.entry(&at)? {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                at.pop();
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                rest.extend(parts(&target));
            }
        }
        Some(at)
    }

    /// The permission bits of the regular file `path` leads to.
    fn mode(&self, path: &Path) -> Option<u32> {
        match self.entry(&self.canonical(path)?)? {
            Entry::File { mode } => Some(mode),
            _ => None,
        }
    }

    /// Whether `path` leads to a regular file with an execute permission.
    fn is_program(&self, path: &Path) -> bool {
        self.mode(path).is_some_and(|mode| mode & 0o111 != 0)
    }
}

/// As many links as XNU follows (`MAXSYMLINKS`).
const MAX_LINKS: usize = 32;

/// The names of a path, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let named = |part: Component<'_>| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    let mut parts: Vec<PathBuf> = path.components().filter_map(named).collect();
    parts.reverse();
    parts
}

/// The files of this computer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn entry(&self, path: &Path) -> Option<Entry> {
        let metadata = fs::symlink_metadata(path).ok()?;
        let kind = metadata.file_type();
        Some(if kind.is_symlink() {
            Entry::Link(fs::read_link(path).ok()?)
        } else if kind.is_dir() {
            Entry::Directory
        } else if kind.is_file() {
            Entry::File { mode: metadata.mode() & 0o7777 }
        } else {
            Entry::Other
        })
    }

    fn head(&self, path: &Path, most: u64) -> Option<Vec<u8>> {
        // A pipe in the place of a program must not hold us up.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn names(&self, path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}
