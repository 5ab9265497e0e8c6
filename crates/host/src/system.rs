//! The computer this program runs on.
//!
//! Paths are walked one name at a time with `openat` and `O_NOFOLLOW`, so that no
//! link is followed anywhere, and every operation is made relative to the open
//! directory. Nearly all of this is the same on every Unix and is tested wherever
//! the program is built; the one system call only macOS has is in [`super::csr`].

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{
    Command, CommandKind, CsrConfig, File, FileKind, Host, Input, Kind, LoadTrial, Loading, Lock,
    Metadata, Output, process,
};
use agxpatch_core::error::{Code, Error, Result};

/// How long a tool may take that only tells something.
const MAX_QUESTION: Duration = Duration::from_secs(60);
/// How long a tool may take that changes something.
const MAX_EFFECT: Duration = Duration::from_secs(600);

/// The computer this program runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl System {
    /// This computer, if it is a Mac.
    pub fn mac() -> Result<System> {
        if cfg!(target_os = "macos") {
            Ok(System)
        } else {
            Err(Error::new(Code::NotAMac, "this computer is not a Mac").next(
                "run this on the Mac in question, or try it on a simulated one: agxpatch \
                 --simulate DIR simulate new",
            ))
        }
    }
}

/// An open directory and the last name of a path in it. The root has no name.
struct Place<'a> {
    directory: OwnedFd,
    name: &'a str,
}

/// Opens the directory a path ends in, name by name.
fn parent(path: &Path) -> Result<Place<'_>> {
    let names = super::plain(path)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let failed = |errno| failure(path, errno);
    let mut directory = rustix::fs::open("/", flags, Mode::empty()).map_err(failed)?;
    let Some((last, way)) = names.split_last() else {
        return Ok(Place { directory, name: "." });
    };
    for name in way {
        directory = rustix::fs::openat(&directory, *name, flags, Mode::empty())
            .map_err(|errno| not_a_directory(path, &directory, name, errno))?;
    }
    Ok(Place { directory, name: last })
}

/// `O_DIRECTORY | O_NOFOLLOW` says `ENOTDIR` or `ELOOP` for a link, depending on
/// the system; a look at the name tells the two cases apart.
fn not_a_directory(path: &Path, directory: &OwnedFd, name: &str, errno: Errno) -> Error {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    match stat.map(|stat| kind(&stat)) {
        Ok(FileKind::Link) => super::is_link(path),
        _ => failure(path, errno),
    }
}

fn failure(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::NOENT => super::missing(path),
        Errno::EXIST => super::exists(path),
        Errno::LOOP => super::is_link(path),
        _ => Error::new(Code::HostIo, "file I/O failed")
            .with("path", path.display())
            .with("reason", std::io::Error::from(errno)),
    }
}

fn io_failure(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::HostIo, "file I/O failed").with("path", path.display()).with("reason", error)
}

#[allow(clippy::unnecessary_cast, reason = "the width of st_mode differs between systems")]
fn kind(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode as _) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Other,
    }
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between systems")]
fn describe(stat: &Stat) -> Metadata {
    #[cfg(target_os = "macos")]
    let flags = stat.st_flags;
    #[cfg(not(target_os = "macos"))]
    let flags = 0;
    Metadata {
        kind: kind(stat),
        mode: stat.st_mode as u32 & 0o7777,
        user: stat.st_uid,
        group: stat.st_gid,
        links: stat.st_nlink as u64,
        length: stat.st_size as u64,
        flags,
        inode: stat.st_ino as u64,
        device: stat.st_dev as u64,
    }
}

/// Opens what a path leads to, and checks that it is of the kind wanted.
fn open(path: &Path, flags: OFlags, wanted: FileKind) -> Result<(fs::File, Metadata)> {
    let place = parent(path)?;
    // NONBLOCK: a pipe planted here must not hold the program up.
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat(&place.directory, place.name, flags, Mode::empty())
        .map_err(|errno| not_a_directory(path, &place.directory, place.name, errno))?;
    let metadata = rustix::fs::fstat(&file).map_err(|errno| failure(path, errno))?;
    let metadata = describe(&metadata);
    if metadata.kind == wanted {
        Ok((file.into(), metadata))
    } else if wanted == FileKind::File {
        Err(super::not_a_file(path))
    } else {
        Err(failure(path, Errno::NOTDIR))
    }
}

/// Forces a file to the platter: on a Mac std's `sync_all` is `F_FULLFSYNC`.
fn sync(path: &Path, wanted: FileKind) -> Result<()> {
    let (file, _) = open(path, OFlags::RDONLY, wanted)?;
    file.sync_all().map_err(|error| io_failure(path, &error))
}

impl Host for System {
    fn kind(&self) -> Kind {
        Kind::Real
    }

    fn run(&self, command: &Command) -> Result<Output> {
        if command.input == Input::Terminal && !self.has_terminal() {
            return Err(Error::new(
                Code::NoTerminal,
                "the tool needs input, but there is no terminal",
            )
            .with("command", command)
            .next("run this from a terminal"));
        }
        let limit = match command.kind {
            CommandKind::Question => MAX_QUESTION,
            CommandKind::Effect => MAX_EFFECT,
        };
        let path = command.tool.path();
        process::spawn(path, &command.arguments, &command.input, limit).map_err(|error| {
            if error.kind() == std::io::ErrorKind::TimedOut {
                return super::timed_out(command);
            }
            Error::new(Code::ToolFailed, format!("{} cannot be run", command.tool.name()))
                .with("command", command)
                .with("reason", error)
        })
    }

    fn csr_active_config(&self) -> Result<Option<CsrConfig>> {
        Ok(super::csr::active())
    }

    fn shared_cache_contains(&self, path: &Path) -> Result<Option<bool>> {
        Ok(super::loader::shared_cache_contains(path))
    }

    fn trusted_gpu_bundle(&self, name: &str) -> Result<Option<Option<PathBuf>>> {
        Ok(super::loader::trusted_gpu_bundle(name))
    }

    fn try_load(&self, trial: &LoadTrial<'_>) -> Result<Loading> {
        Ok(super::load_trial::try_here(trial))
    }

    fn effective_user(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn has_terminal(&self) -> bool {
        rustix::termios::isatty(rustix::stdio::stdin())
            && rustix::termios::isatty(rustix::stdio::stderr())
    }

    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        let absent = |error: Error| {
            if error.code() == Code::PathMissing { Ok(None) } else { Err(error) }
        };
        let place = match parent(path) {
            Ok(place) => place,
            Err(error) => return absent(error),
        };
        match rustix::fs::statat(&place.directory, place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(describe(&stat))),
            Err(errno) => absent(failure(path, errno)),
        }
    }

    fn read(&self, path: &Path) -> Result<File> {
        let (mut file, metadata) = open(path, OFlags::RDONLY, FileKind::File)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| io_failure(path, &error))?;
        Ok(File { bytes, metadata })
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let (directory, _) = open(path, OFlags::RDONLY, FileKind::Directory)?;
        let entries = rustix::fs::Dir::read_from(&directory);
        let mut names = Vec::new();
        for entry in entries.map_err(|errno| failure(path, errno))? {
            let entry = entry.map_err(|errno| failure(path, errno))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_directory(&self, path: &Path, mode: u32) -> Result<()> {
        let place = parent(path)?;
        let failed = |errno| failure(path, errno);
        rustix::fs::mkdirat(&place.directory, place.name, Mode::from_raw_mode(mode as _))
            .map_err(failed)?;
        // The process's umask may have taken bits away.
        self.set_mode(path, mode)
    }

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        let place = parent(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode as _);
        // No other user may open it while it is being written.
        let file = rustix::fs::openat(&place.directory, place.name, flags, mode & Mode::RWXU)
            .map_err(|errno| failure(path, errno))?;
        let mut file = fs::File::from(file);
        file.write_all(bytes).map_err(|error| io_failure(path, &error))?;
        rustix::fs::fchmod(&file, mode).map_err(|errno| failure(path, errno))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let (mut file, metadata) = open(path, OFlags::WRONLY | OFlags::APPEND, FileKind::File)?;
        if metadata.links > 1 {
            return Err(super::hard_link(path));
        }
        file.write_all(bytes).map_err(|error| io_failure(path, &error))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        sync(path, FileKind::File)
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        sync(path, FileKind::Directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let (source, target) = (parent(from)?, parent(to)?);
        rustix::fs::renameat(&source.directory, source.name, &target.directory, target.name)
            .map_err(|errno| failure(from, errno))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        let file = open_any(path)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode as _))
            .map_err(|errno| failure(path, errno))
    }

    fn set_owner(&self, path: &Path, user: u32, group: u32) -> Result<()> {
        let file = open_any(path)?;
        let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
        rustix::fs::fchown(&file, Some(user), Some(group)).map_err(|errno| failure(path, errno))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        let place = parent(path)?;
        rustix::fs::unlinkat(&place.directory, place.name, AtFlags::empty())
            .map_err(|errno| failure(path, errno))
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        let place = parent(path)?;
        rustix::fs::unlinkat(&place.directory, place.name, AtFlags::REMOVEDIR)
            .map_err(|errno| failure(path, errno))
    }

    fn lock(&self, path: &Path) -> Result<Lock> {
        let place = parent(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&place.directory, place.name, flags, mode)
            .map_err(|errno| not_a_directory(path, &place.directory, place.name, errno))?;
        let metadata = rustix::fs::fstat(&file).map_err(|errno| failure(path, errno))?;
        if kind(&metadata) != FileKind::File {
            return Err(super::not_a_file(path));
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock::new(file)),
            Err(Errno::WOULDBLOCK) => Err(super::locked(path)),
            Err(errno) => Err(failure(path, errno)),
        }
    }
}

/// Opens a file or a directory to change its metadata.
fn open_any(path: &Path) -> Result<fs::File> {
    match open(path, OFlags::RDONLY, FileKind::Directory) {
        Ok((file, _)) => Ok(file),
        Err(_) => open(path, OFlags::RDONLY, FileKind::File).map(|(file, _)| file),
    }
}
