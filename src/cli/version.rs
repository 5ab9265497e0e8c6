//! `agxpatch --version`: which program this is, down to the commit it was built
//! from and the catalogue it carries.

use std::fmt;
use std::io::Write;

use serde::Serialize;

use crate::report::{self, Format};
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_core::patch::Catalogue;

/// What a report needs to say to be traced to its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// As in `Cargo.toml`.
    pub version: &'static str,
    /// The commit, or none in a development build.
    pub commit: Option<&'static str>,
    /// SHA-256 over the catalogue's files.
    pub catalogue: String,
}

impl Version {
    /// This program with its built-in catalogue.
    pub fn of_this_program() -> Result<Version> {
        Ok(Version {
            version: env!("CARGO_PKG_VERSION"),
            commit: Some(env!("AGXPATCH_COMMIT")).filter(|commit| !commit.is_empty()),
            catalogue: Catalogue::built_in()?.digest(),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "agxpatch {}", self.version)?;
        writeln!(f, "commit {}", self.commit.unwrap_or("unknown (a development build)"))?;
        writeln!(f, "catalogue {}", self.catalogue)
    }
}

/// Prints it.
pub fn print() -> Exit {
    match Version::of_this_program() {
        Ok(version) => {
            // A reader that went away is not an error.
            drop(write!(anstream::stdout(), "{version}"));
            Exit::Success
        }
        Err(error) => report::show_error(&error, Format::Text),
    }
}
