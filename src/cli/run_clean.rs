//! `agxpatch run --clean`: removes what `run` keeps in the user's Library.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::{Session, guarded};
use crate::launch;
use crate::report::Report;
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;

/// What was removed.
#[derive(Serialize)]
struct Cleaned {
    removed: Vec<PathBuf>,
}

impl Report for Cleaned {
    const SCHEMA: &'static str = "agxpatch.run-clean/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.removed.is_empty() {
            return writeln!(out, "nothing to remove");
        }
        self.removed.iter().try_for_each(|folder| writeln!(out, "removed {}", folder.display()))
    }
}

/// Removes the guard libraries and the copies of drivers.
pub fn run(session: &Session) -> Result<Exit> {
    let host = session.host()?;
    let home = guarded::home(host.as_ref())?;
    session.show(&Cleaned { removed: launch::clean(host.as_ref(), &home)? })
}
