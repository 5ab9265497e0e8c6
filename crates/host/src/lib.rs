//! The one border to a machine: every question to it and every change of it.
//!
//! Whatever asks a Mac something or alters it takes a [`Host`] and nothing else
//! of the outside world. There are three kinds. [`system::System`] is the computer
//! this program runs on. [`dry_run::DryRun`] wraps another host, passes the
//! questions on and keeps the changes to itself. `agxpatch_simulate::mac` is a
//! Mac that exists only as data, can lose its power at any moment, and lets the
//! rest of the program be tried without a Mac. [`logging_host::Logged`] wraps
//! any of them and keeps a record of each command with its output.
//!
//! The grain of the trait is the grain at which machines fail. Writing a file,
//! forcing it to disk, giving it its name and forcing that name to disk are four
//! effects, because power may go between any two of them. The caller composes
//! them; the host adds no cleverness of its own.
//!
//! # Paths
//!
//! A deployment runs as root in directories others may reach, so a host follows
//! **no symbolic link at any component** of any path it is given: a link on the
//! way is [`Code::PathRefused`]. Paths are absolute, without `.` or `..`
//! ([`plain`] is the test). On a Mac this means saying `/private/var`, not
//! `/var`. New files are created exclusively and never opened over an existing
//! name. [`trust`] judges owners and modes of a whole path, which is what makes
//! a later use of the same path safe: only root can change it in between.
//!
//! # What is not here
//!
//! A host never talks to the person; dialogs belong to the command line. The
//! one exception is a tool that asks a question of its own, such as `bless` for
//! a password: see [`Input::Terminal`].

// A user can reach none of these: an error is a value. Tests may.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

mod boot_args;
pub mod command;
pub mod csr;
pub mod driver;
pub mod dry_run;
mod filevault;
pub mod in_use;
pub mod load_trial;
pub mod loader;
pub mod logging_host;
pub mod machine;
pub(crate) mod process;
pub mod recording;
pub mod redact;
pub mod sip;
pub mod system;
pub mod trust;
pub mod volume;

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

pub use command::{Command, CommandKind, Input, Output, Status, Tool};
pub use csr::CsrConfig;
pub use load_trial::{LoadTrial, Loading};

use agxpatch_core::error::{Code, Error, Result};

/// Which kind of machine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The computer this program runs on.
    Real,
    /// A Mac that is there only as data: simulated, or by what one answered once.
    Data,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a socket, a pipe.
    Other,
}

/// What `lstat` tells about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// The permission bits, `st_mode & 07777`.
    pub mode: u32,
    /// The owner; 0 is root.
    pub user: u32,
    /// The group; 0 is wheel.
    pub group: u32,
    /// How many names the file has. More than one is a hard link.
    pub links: u64,
    /// The length in bytes.
    pub length: u64,
    /// BSD file flags, such as [`flag::RESTRICTED`]; 0 where there are none.
    pub flags: u32,
    /// The inode, to tell whether two looks saw the same file.
    pub inode: u64,
    /// The device the file is on; a mount point differs from its parent here.
    pub device: u64,
}

/// BSD file flags (`sys/stat.h`) that matter for files of the system volume.
pub mod flag {
    /// `SF_RESTRICTED`: guarded by System Integrity Protection.
    pub const RESTRICTED: u32 = 0x0008_0000;
    /// `SF_NOUNLINK`: may not be removed.
    pub const NO_UNLINK: u32 = 0x0010_0000;
    /// `UF_COMPRESSED`: stored compressed.
    pub const COMPRESSED: u32 = 0x0000_0020;
}

/// A file as it was read: content and metadata of one and the same open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The whole content.
    pub bytes: Vec<u8>,
    /// What `fstat` told of the file the bytes came from.
    pub metadata: Metadata,
}

/// A lock that is held until this is dropped or the process ends, whichever
/// comes first, a `kill -9` included.
#[must_use = "the lock is given up as soon as this is dropped"]
pub struct Lock(#[allow(dead_code, reason = "held for its Drop")] Box<dyn Send>);

impl Lock {
    /// `held` gives the lock up when it is dropped.
    pub fn new(held: impl Send + 'static) -> Lock {
        Lock(Box::new(held))
    }
}

/// A machine.
///
/// All methods take `&self`: a host is shared. Those under "effects" change the
/// machine; each is durable when it returns only as far as its text says.
///
/// Errors: [`Code::PathMissing`] where a name does not exist,
/// [`Code::PathExists`] where one must not, [`Code::PathRefused`] for links and
/// for paths that are not plain, and [`Code::HostIo`] for the rest.
pub trait Host {
    // Questions about the machine.

    /// Which kind of machine this is.
    fn kind(&self) -> Kind;

    /// Runs a tool by its absolute path with a clean environment (`LC_ALL=C`,
    /// the `PATH` macOS ships with, nothing inherited) in `/`.
    ///
    /// A tool that ran and failed is an `Ok` with its status; an error means it
    /// could not be run. [`Host::ask`] is for tools that must succeed.
    fn run(&self, command: &Command) -> Result<Output>;

    /// The bits of System Integrity Protection by `csr_get_active_config`, or
    /// none where there is no such system call.
    fn csr_active_config(&self) -> Result<Option<CsrConfig>>;

    /// Whether the dyld shared cache has an image of this path
    /// (`_dyld_shared_cache_contains_path`), or none where that cannot be asked.
    fn shared_cache_contains(&self, path: &Path) -> Result<Option<bool>>;

    /// Which bundle Metal would take for a `MetalPluginName`
    /// (`gpu_bundle_find_trusted`): a path, or none where it would take none. None of
    /// the two where that cannot be asked.
    fn trusted_gpu_bundle(&self, name: &str) -> Result<Option<Option<PathBuf>>>;

    /// Whether the loader takes an image, tried in a child process. It changes nothing
    /// but for a temporary file.
    fn try_load(&self, trial: &LoadTrial<'_>) -> Result<Loading> {
        let _ = trial;
        Ok(Loading::NotTried("this machine only answers questions".to_owned()))
    }

    /// The user this process acts as; 0 is root.
    fn effective_user(&self) -> u32;

    /// Whether a person can be asked: standard input and error are terminals.
    fn has_terminal(&self) -> bool;

    /// The time.
    fn now(&self) -> jiff::Timestamp;

    /// Lets time pass.
    fn pause(&self, time: Duration);

    // Questions about files. None follows a link.

    /// What a name stands for, the last component not followed; none where the
    /// name, or a directory on the way, does not exist.
    fn metadata(&self, path: &Path) -> Result<Option<Metadata>>;

    /// Reads a regular file. Anything else at that name is refused.
    fn read(&self, path: &Path) -> Result<File>;

    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> Result<Vec<String>>;

    // Effects. None follows a link.

    /// Creates a directory with exactly this mode, owned by the acting user.
    /// Its name is durable after [`Host::sync_directory`] of its parent.
    fn create_directory(&self, path: &Path, mode: u32) -> Result<()>;

    /// Creates a file that must not exist yet and writes `bytes` into it. The
    /// mode is exactly `mode`. Content is durable after [`Host::sync_file`], the
    /// name after [`Host::sync_directory`]. A failure may leave part of it.
    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()>;

    /// Adds `bytes` to the end of an existing regular file that has only one
    /// name. A failure may leave part of them.
    fn append(&self, path: &Path, bytes: &[u8]) -> Result<()>;

    /// Forces a file's content and metadata to the disk (on a Mac
    /// `F_FULLFSYNC`, because `fsync` stops at the drive's cache).
    fn sync_file(&self, path: &Path) -> Result<()>;

    /// Forces the names in a directory to the disk.
    fn sync_directory(&self, path: &Path) -> Result<()>;

    /// Gives a file another name on the same volume, replacing in one step what
    /// had that name: a link there is replaced, never followed. Durable after
    /// [`Host::sync_directory`] of the directory, or of both.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Sets the permission bits of a file or directory.
    fn set_mode(&self, path: &Path, mode: u32) -> Result<()>;

    /// Sets owner and group of a file or directory.
    fn set_owner(&self, path: &Path, user: u32, group: u32) -> Result<()>;

    /// Removes the name of a file or of a link, the link itself.
    fn remove_file(&self, path: &Path) -> Result<()>;

    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> Result<()>;

    /// Takes the one lock at this path, creating the file (mode 0600) where it
    /// is missing. Held by another process: [`Code::Locked`], at once.
    fn lock(&self, path: &Path) -> Result<Lock>;

    // Conveniences.

    /// Runs a tool that must succeed.
    fn ask(&self, command: &Command) -> Result<Output> {
        let output = self.run(command)?;
        if output.succeeded() { Ok(output) } else { Err(tool_failed(command, &output)) }
    }

    /// The content of a file, or none where it does not exist.
    fn read_if_present(&self, path: &Path) -> Result<Option<File>> {
        match self.read(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.code() == Code::PathMissing => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The error for a tool that ran and did not succeed.
pub fn tool_failed(command: &Command, output: &Output) -> Error {
    let mut error =
        Error::new(Code::ToolFailed, format!("{} did not succeed", command.tool.name()))
            .with("command", command)
            .with("status", output.status);
    for (name, text) in [("stdout", output.text()), ("stderr", output.complaint())] {
        if !text.trim().is_empty() {
            error = error.with(name, text.trim_end());
        }
    }
    error
}

/// The error for a tool that did not end in time.
pub fn timed_out(command: &Command) -> Error {
    let name = command.tool.name();
    Error::new(Code::ToolTimedOut, format!("{name} did not end in time and was killed"))
        .with("command", command)
        .next("sudo shutdown -r now; then run this again")
}

/// The error for a tool that answered in a form this program does not know.
pub fn unknown_answer(command: &Command, expected: &str, output: &Output) -> Error {
    Error::new(Code::UnknownAnswer, format!("unexpected output from {}", command.tool.name()))
        .with("command", command)
        .with("expected", expected)
        .with("answer", output.text().trim_end())
}

/// The names of an absolute path from the root down, or a refusal where the
/// path is relative, holds `.` or `..`, or is not UTF-8.
pub fn plain(path: &Path) -> Result<Vec<&str>> {
    let refused = |why: &str| {
        Error::new(Code::PathRefused, "the path is not a plain absolute path")
            .with("path", path.display())
            .with("reason", why)
    };
    let mut names = Vec::new();
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return Err(refused("it does not start at the root"));
    }
    for component in components {
        let Component::Normal(name) = component else {
            return Err(refused("it holds `.` or `..`"));
        };
        names.push(name.to_str().ok_or_else(|| refused("it is not UTF-8"))?);
    }
    Ok(names)
}

/// The error for a name that does not exist.
pub fn missing(path: &Path) -> Error {
    Error::new(Code::PathMissing, "there is no such file or directory").with("path", path.display())
}

/// The error for a name that must not exist yet.
pub fn exists(path: &Path) -> Error {
    Error::new(Code::PathExists, "something with that name already exists")
        .with("path", path.display())
}

/// The refusal of a symbolic link.
pub fn is_link(path: &Path) -> Error {
    refused(path, "it is a symbolic link, or leads through one")
}

/// The refusal of a file with several names.
pub fn hard_link(path: &Path) -> Error {
    refused(path, "the file has more than one name (a hard link)")
}

/// The refusal of what is not a regular file.
pub fn not_a_file(path: &Path) -> Error {
    refused(path, "it is not a regular file")
}

/// The error for a lock another process holds.
pub fn locked(path: &Path) -> Error {
    Error::new(Code::Locked, "another agxpatch is running")
        .with("lock", path.display())
        .next("wait for the other agxpatch; ps -ax | grep agxpatch shows it")
}

/// What shows who made a thing that is in the way, and what removes it.
pub fn look_at(path: &Path) -> String {
    let path = command::quoted(&path.to_string_lossy());
    format!("sudo ls -ldeO@ {path} shows whose it is; sudo rm -r {path} removes it")
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::new(Code::PathRefused, "the path is refused")
        .with("path", path.display())
        .with("reason", reason)
        .next(look_at(path))
}
