//! The Python behind a console script whose `#!` line could not name it.
//!
//! The kernel splits that line at blanks and cuts it, so for an interpreter with a
//! blank in its path, or a very long one, installers write a script that is both
//! shell and Python. Its first line is `#!/bin/sh`; the second starts the
//! interpreter, and is a string to Python:
//!
//! ```text
//! '''exec' "/Users/me/my project/.venv/bin/python3" "$0" "$@"
//! ' '''
//! ```
//!
//! pip (by distlib) quotes twice, uv once; a relocatable environment of uv's has
//! the interpreter beside the script.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::env_words;
use super::files::Files;

/// Longer second lines than any path there may be.
const MAX_SCRIPT: u64 = 8 << 10;
/// How a relocatable script finds its own folder.
const BESIDE: &[u8] = br#""$(dirname -- "$(realpath -- "$0")")"/"#;

/// The interpreter and the words before the script; none where `script` is no
/// such script.
pub fn interpreter(files: &dyn Files, script: &Path) -> Option<(PathBuf, Vec<OsString>)> {
    let head = files.head(script, MAX_SCRIPT)?;
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.next().filter(|first| first.starts_with(b"#!"))?;
    let words = lines.next()?.strip_prefix(b"'''exec' ")?.strip_suffix(br#" "$0" "$@""#)?;
    let (folder, words) = match words.strip_prefix(BESIDE) {
        Some(rest) => (files.canonical(script)?.parent()?.to_owned(), rest),
        None => (PathBuf::new(), words),
    };
    let mut words = env_words::split(words)?.into_iter();
    let name = words.next()?;
    let path = folder.join(OsStr::from_bytes(name.as_bytes()));
    path.is_absolute().then(|| (path, words.collect()))
}
