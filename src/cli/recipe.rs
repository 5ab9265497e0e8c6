//! What `launchd` and `jupyter` share: full paths for what they name, and a file that
//! must not be there yet.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::Session;
use crate::launch::files::Disk;
use crate::launch::{Mode, Scene};
use crate::recipes;
use agxpatch_core::error::{Code, Error, Result};

/// A mode of the guard, for clap.
pub fn parse_mode(text: &str) -> Result<Mode, String> {
    text.parse().map_err(|error: Error| match error.advice() {
        Some(advice) => format!("{}; {advice}", error.message()),
        None => error.message().to_owned(),
    })
}

/// The user's home.
pub fn home() -> Result<PathBuf> {
    std::env::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or_else(|| Error::new(Code::BadArgument, "the user has no home").next("set HOME"))
}

/// Where this program is.
pub fn own_path() -> Result<String> {
    let path = std::env::current_exe().map_err(|reason| {
        Error::new(Code::ReadFailed, "the path of this program cannot be found")
            .with("reason", reason)
    })?;
    path.into_os_string().into_string().map_err(|_| not_unicode())
}

/// `words` with the first one by its absolute path.
pub fn command(directory: &Path, words: &[OsString]) -> Result<Vec<String>> {
    let scene = Scene { files: &Disk, directory };
    let mut words = words.to_vec();
    if let Some(first) = words.first_mut() {
        *first = scene.find(first, &std::env::vars_os().collect())?.into();
    }
    recipes::as_text(&words).ok_or_else(not_unicode)
}

/// Writes a file into the user's home that is not there yet, with the directories above it.
///
/// # Errors
/// `BadArgument` with another Mac than this one, whose home this is not; `OutputExists` and
/// `WriteFailed`.
pub fn write_new(session: &Session, path: &Path, text: &str) -> Result<()> {
    if session.simulate.is_some() || session.replay.is_some() {
        return Err(Error::new(Code::BadArgument, "--write is for this computer's home alone")
            .with("path", path.display())
            .next("leave out --write, to print the text"));
    }
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => Error::new(Code::OutputExists, "the file already exists")
            .with("path", path.display())
            .next("remove it first, or choose another name"),
        _ => Error::new(Code::WriteFailed, "the file cannot be written")
            .with("path", path.display())
            .with("reason", error),
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut file = fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn not_unicode() -> Error {
    Error::new(Code::BadArgument, "an argument of the command is not Unicode")
        .next("use names that are valid UTF-8")
}
