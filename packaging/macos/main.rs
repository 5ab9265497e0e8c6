//! `artifact`: signs and examines what was built for macOS, on any machine.
//!
//!     artifact sign FILE --identifier ID [--entitlements PLIST]
//!     artifact inspect FILE [--program | --library]
//!
//! The program itself reseals signatures that are there and never adds one, and
//! never is a Mac at hand; so a signature is made by `apple-codesign` and judged
//! by our own reader and by that one. Part of the build, not of the product.

mod inspect;
mod sign;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use agxpatch::check;
use agxpatch::report;

use inspect::Expected;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    /// Sign every slice ad hoc, with the hardened runtime.
    Sign {
        file: std::path::PathBuf,
        #[arg(long)]
        identifier: String,
        #[arg(long)]
        entitlements: Option<std::path::PathBuf>,
    },
    /// Check what a Mac would demand of the file, and what we promise of it.
    Inspect {
        file: std::path::PathBuf,
        /// It is the guard library and not the program.
        #[arg(long)]
        library: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("artifact: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.step {
        Step::Sign { file, identifier, entitlements } => {
            let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let entitlements = entitlements.map(std::fs::read_to_string).transpose()?;
            let signed = sign::ad_hoc(&bytes, &identifier, entitlements.as_deref())?;
            // Written over the name and not into the file: a Mac remembers the
            // signature of an inode it has run.
            let beside = file.with_extension("signed");
            std::fs::write(&beside, signed)?;
            std::fs::set_permissions(&beside, std::fs::metadata(&file)?.permissions())?;
            std::fs::rename(&beside, &file)?;
        }
        Step::Inspect { file, library } => {
            let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let expected = if library { Expected::LIBRARY } else { Expected::PROGRAM };
            let checks = inspect::all(&bytes, &expected)?;
            report::checks(&mut anstream::stdout(), &checks)?;
            if !check::none_failed(&checks) {
                bail!("{} is not what it should be", file.display());
            }
        }
    }
    Ok(())
}
