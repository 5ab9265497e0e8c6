//! Configuration for those who start a program themselves: launchd and Jupyter.
//!
//! Both start programs without a shell and with an environment of their own, so a
//! configuration names everything in full: this program, the command behind it, and
//! the `PATH` it was made with. A recipe is a value; writing it is for the command.

mod jupyter;
mod launchd;

pub use jupyter::Kernel;
pub use launchd::Service;

use std::ffi::OsString;

use crate::launch::Mode;

/// The words that run `command` with the guard, by the program at `agxpatch`.
fn guarded(agxpatch: &str, mode: Option<Mode>, command: &[String]) -> Vec<String> {
    let mode = mode.map(|mode| ["--guard".to_owned(), mode.to_string()]);
    [agxpatch, "run"]
        .map(str::to_owned)
        .into_iter()
        .chain(mode.into_iter().flatten())
        .chain(["--".to_owned()])
        .chain(command.iter().cloned())
        .collect()
}

/// The words as text; none if one of them is not Unicode, which neither form can hold.
pub fn as_text(words: &[OsString]) -> Option<Vec<String>> {
    words.iter().map(|word| word.to_str().map(str::to_owned)).collect()
}
