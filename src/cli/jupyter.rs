//! `agxpatch jupyter`: a Jupyter kernel that is Python with the guard.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::{Session, guarded, recipe};
use crate::launch::Mode;
use crate::recipes::Kernel;
use crate::report::Report;
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;

/// Print a Jupyter kernel specification for Python with the guard
///
/// With --write it goes to the user's kernels, where Jupyter lists it. The Python
/// needs the package ipykernel.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The Python of the kernel
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: OsString,

    /// The kernel's name
    #[arg(long, value_name = "NAME", default_value = "agxpatch")]
    name: String,

    /// The guard's mode, as for `agxpatch run`
    #[arg(long, value_name = "MODE", value_parser = recipe::parse_mode)]
    guard: Option<Mode>,

    /// Write the specification for Jupyter to find instead of printing it
    #[arg(long)]
    write: bool,
}

#[derive(Serialize)]
struct Specification {
    kernel: String,
    path: PathBuf,
    written: bool,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    Kernel::check_name(&args.name)?;
    let python = recipe::command(&guarded::directory()?, &[args.python])?;
    let kernel = Kernel {
        name: args.name,
        agxpatch: recipe::own_path()?,
        mode: args.guard,
        python: python.concat(),
    };
    let (text, path) = (kernel.specification(), kernel.place(&recipe::home()?));
    if args.write {
        recipe::write_new(session, &path, &text)?;
    }
    session.show(&Specification { kernel: text, path, written: args.write })
}

impl Report for Specification {
    const SCHEMA: &'static str = "agxpatch.jupyter/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if !self.written {
            return out.write_all(self.kernel.as_bytes());
        }
        writeln!(out, "wrote {}", self.path.display())?;
        writeln!(
            out,
            "Jupyter lists the kernel from its next start on; remove the directory to undo this."
        )
    }
}
