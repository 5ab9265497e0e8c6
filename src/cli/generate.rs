//! `agxpatch generate`: what a package puts beside the program, made from the
//! same definitions the program parses its command line with.

use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;

use super::{Program, Session};

/// Write shell completions and man pages
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Print the completions for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write one man page a command.
    Man {
        /// The directory for them, which must exist.
        directory: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: Args, _: &Session) -> Result<Exit> {
    match args.what {
        What::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Program::command(), "agxpatch", &mut text);
            let written = std::io::stdout().write_all(&text);
            written.map_err(|reason| cannot_write("standard output", reason))?;
        }
        What::Man { directory } => clap_mangen::generate_to(Program::command(), &directory)
            .map_err(|reason| cannot_write(&directory.display().to_string(), reason))?,
    }
    Ok(Exit::Success)
}

fn cannot_write(what: &str, reason: std::io::Error) -> Error {
    Error::new(Code::WriteFailed, "the output cannot be written")
        .with("output", what)
        .with("reason", reason)
}
