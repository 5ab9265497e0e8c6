//! Files named on the command line: read whole, written whole or not at all.
//!
//! A large one of which little is wanted is read in parts (`parts`).
//!
//! Only `cli` uses this, for files a person named. What is done to a machine
//! goes through `host`.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use agxpatch_core::error::{Code, Error, Result};

mod draft;
mod file_buffer;
mod sparse_file;

pub use draft::Draft;
pub use file_buffer::FileBuffer;
pub use sparse_file::SparseFile;

/// A file that was read, and what it takes to write one like it.
pub struct Input {
    /// Its bytes.
    pub bytes: FileBuffer,
    path: PathBuf,
    permissions: Permissions,
    identity: (u64, u64),
}

impl Input {
    /// Begins a copy of this file, with its permissions, that is to be `output`.
    pub fn draft(&self, output: &Path) -> Result<Draft> {
        Draft::begin(output, &self.bytes, self.permissions.clone())
    }
}

/// Reads a regular file. Pipes and devices are refused without waiting for
/// them.
pub fn read(path: &Path) -> Result<Input> {
    let (mut file, metadata) = open_regular(path)?;
    let bytes = FileBuffer::of(&mut file, metadata.len());
    let bytes = bytes.map_err(|reason| read_failed(path, &reason))?;
    Ok(Input {
        bytes,
        path: path.to_owned(),
        permissions: metadata.permissions(),
        identity: (metadata.dev(), metadata.ino()),
    })
}

/// Opens a file to read it, if it is a regular one.
fn open_regular(path: &Path) -> Result<(File, Metadata)> {
    let failed = |reason: io::Error| read_failed(path, &reason);
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file =
        OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a directory" } else { "a pipe or device" };
        return Err(Error::new(Code::ReadFailed, format!("expected a file, found {what}"))
            .with("file", path.display())
            .next("name the Mach-O file itself, inside the bundle: Contents/MacOS/NAME"));
    }
    Ok((file, metadata))
}

/// Memory for all of a file.
fn room_for(path: &Path, metadata: &Metadata) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let size = usize::try_from(metadata.len()).unwrap_or(0);
    bytes.try_reserve_exact(size).map_err(|_| {
        let reason = io::Error::other("the file is larger than the memory that is left");
        read_failed(path, &reason)
    })?;
    Ok(bytes)
}

fn read_failed(path: &Path, reason: &io::Error) -> Error {
    Error::new(Code::ReadFailed, "the file cannot be read")
        .with("file", path.display())
        .with("reason", plain(reason))
        .next("check that the path exists, is complete, and is readable")
}

/// Refuses an output that is the `input` it would be made from, that is no
/// regular file, or that exists unless `replace`.
pub fn check_output(output: &Path, input: Option<&Input>, replace: bool) -> Result<()> {
    let Ok(itself) = std::fs::symlink_metadata(output) else { return Ok(()) };
    // A link is replaced and not followed, but what it leads to tells whether
    // someone means a device or the input by it.
    let metadata = std::fs::metadata(output).unwrap_or(itself);
    let refuse = |message: &str, advice: &str| {
        Err(Error::new(Code::OutputExists, message).with("output", output.display()).next(advice))
    };
    let same = |input: &&Input| (metadata.dev(), metadata.ino()) == input.identity;
    if let Some(input) = input.filter(same) {
        let advice = "name another output; the input is never written to";
        return refuse("the output is the input", advice)
            .map_err(|error| error.with("input", input.path.display()));
    }
    if metadata.is_dir() {
        return refuse("the output is a directory", "name a file in it");
    }
    if !metadata.is_file() && !metadata.is_symlink() {
        return refuse("the output is a pipe or device", "name a file; it is replaced as a whole");
    }
    if !replace {
        return refuse(
            "the output already exists",
            "remove it, name another, or replace it with --force",
        );
    }
    Ok(())
}

/// Writes a complete file beside its final place, syncs it, and renames it, so
/// that the name never stands for anything but the whole.
pub fn write(output: &Path, bytes: &[u8], replace: bool) -> Result<()> {
    Draft::begin(output, bytes, Permissions::from_mode(0o644))?.finish(replace)
}

/// No text that people wrote is longer, in bytes.
const MAX_TEXT: u64 = 64 << 20;

/// Reads a text file that was found in a directory, such as one of a catalogue.
pub fn read_text(path: &Path) -> Result<String> {
    let advised = |error: Error| error.next("make it a readable text file, or move it away");
    let refused =
        |what: &str| Err(advised(Error::new(Code::ReadFailed, what).with("file", path.display())));
    let (file, metadata) = open_regular(path).map_err(advised)?;
    if metadata.len() > MAX_TEXT {
        return refused("the file is too large to be text");
    }
    let mut text = String::with_capacity(metadata.len() as usize);
    match file.take(MAX_TEXT).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(reason) if reason.kind() == io::ErrorKind::InvalidData => {
            refused("the file is not UTF-8 text")
        }
        Err(reason) => Err(advised(read_failed(path, &reason))),
    }
}

/// The paths of the `.toml` files in a directory, by name; none if there is no
/// such directory.
pub fn toml_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other,
    };
    let listed: io::Result<Vec<PathBuf>> =
        entries.and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    let mut paths = listed.map_err(|reason| {
        Error::new(Code::ReadFailed, "the directory cannot be listed")
            .with("directory", directory.display())
            .with("reason", plain(&reason))
            .next("check that it is a directory that you can list")
    })?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    Ok(paths)
}

/// The system's words without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
