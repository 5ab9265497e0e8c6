//! How the program ends: one number per kind of ending, for scripts to rely on.

use std::process::{ExitCode, Termination};

use serde::{Serialize, Serializer};

/// The exit codes of `agxpatch`. `docs/json.md` carries the same table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done, or was done already.
    Success = 0,
    /// The command line is wrong, or consent was not given.
    Usage = 1,
    /// The file or machine is not in the state asked about.
    Mismatch = 2,
    /// A protection or another condition of this machine blocks the command.
    Blocked = 3,
    /// The sequence was not found, or found more than once.
    NotFound = 4,
    /// The input or the macOS build is not one this tool can work on.
    Unsupported = 5,
    /// A change failed, or was given up, and was undone.
    RolledBack = 6,
    /// The proof refused the rewrite.
    Unproven = 7,
    /// Reading or writing failed.
    Io = 8,
    /// The command of `run` was found but cannot be executed, as a shell says it.
    CommandNotExecutable = 126,
    /// The command of `run` does not exist, as a shell says it.
    CommandMissing = 127,
    /// A defect of agxpatch itself.
    Bug = 70,
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}
