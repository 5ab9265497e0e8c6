//! The command line: one file a command, this one to choose among them.
//!
//! A command's file holds its arguments, the call into the library, and nothing
//! that another command would want.

mod check_sip;
mod counter;
mod crashes;
mod demo;
mod deploy;
mod doctor;
mod effect;
mod files;
mod generate;
mod guard;
mod guarded;
mod inspect;
mod interruption;
mod jupyter;
mod launchd;
mod limits;
mod machine;
mod patch;
mod prove;
mod recipe;
mod recover;
mod revert;
mod run;
mod run_clean;
mod selftest;
mod signatures;
mod simulate;
mod status;
mod steps;
mod stress;
mod synth;
mod verify;
mod version;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{ColorChoice, Parser, Subcommand};

use crate::report::{self, Format, Report};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_host::recording::{self, Recording, Replay};
use agxpatch_host::{Host, system::System};
use agxpatch_simulate::mac::SimulatedMac;

/// Options every command takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Session {
    /// Print one JSON object instead of text.
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,

    /// When to colour the output.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub color: ColorChoice,

    /// Add signatures and patches from this directory's `signatures/` and
    /// `patches/`, wherever a command looks for any.
    #[arg(long, global = true, help_heading = "Global options", value_name = "DIR")]
    pub catalog: Option<PathBuf>,

    /// Work on the simulated Mac kept in this directory instead of this one.
    #[arg(long, global = true, help_heading = "Global options", value_name = "DIR")]
    pub simulate: Option<PathBuf>,

    /// Answer questions about the Mac from this recording (`selftest --record`).
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "FILE",
        conflicts_with = "simulate"
    )]
    pub replay: Option<PathBuf>,
}

impl Session {
    /// How results are shown.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }

    /// The machine to work on: the simulated one that was asked for, or this
    /// computer, which must be a Mac.
    pub fn host(&self) -> Result<Box<dyn Host>> {
        Ok(match (&self.simulate, &self.replay) {
            (Some(directory), _) => Box::new(self.open_simulated(directory)?),
            (None, Some(file)) => Box::new(Replay::new(recording(file)?)),
            (None, None) => Box::new(System::mac()?),
        })
    }

    /// The simulated Mac in a directory. A process on it that loses its Mac says so and
    /// ends, like one that was not answered.
    fn open_simulated(&self, directory: &Path) -> Result<SimulatedMac> {
        let format = self.format();
        let mac = SimulatedMac::open(directory)?;
        Ok(mac.ended_by(Arc::new(move |gone| {
            let exit = report::show_error(&simulate::gone(gone), format);
            std::process::exit(exit.code().into())
        })))
    }

    /// Shows a result and returns how to end.
    pub fn show(&self, report: &impl Report) -> Result<Exit> {
        report::show(report, self.format())
    }
}

/// Reads a recording, which no device and no endless file is.
fn recording(path: &Path) -> Result<Recording> {
    let unreadable = |reason: std::io::Error| {
        Error::new(Code::BadRecording, "the recording cannot be read").with("reason", reason)
    };
    let metadata = std::fs::metadata(path).map_err(unreadable);
    let metadata = metadata.map_err(|error| error.with("path", path.display()))?;
    if !metadata.is_file() || metadata.len() > recording::MAX_BYTES {
        return Err(Error::new(Code::BadRecording, "the file is not a recording of a Mac")
            .with("path", path.display())
            .with("bytes", metadata.len())
            .next("make one with: agxpatch selftest --record FILE"));
    }
    let bytes = std::fs::read(path).map_err(unreadable);
    bytes
        .and_then(|bytes| Recording::parse(&bytes))
        .map_err(|error| error.with("path", path.display()))
}

#[derive(Parser, Debug)]
#[command(name = "agxpatch", version, about, disable_help_subcommand = true)]
struct Program {
    #[command(flatten)]
    session: Session,
    #[command(subcommand)]
    command: Command,
}

// The help of a command is the documentation of its `Args`; a comment on a variant
// would replace it.
macro_rules! commands {
    ($($(#[$attribute:meta])* $name:ident($file:ident))*) => {
        #[derive(Subcommand, Debug)]
        enum Command {
            $($(#[$attribute])* $name($file::Args),)*
        }

        impl Command {
            fn run(self, session: &Session) -> Result<Exit> {
                match self {
                    $(Command::$name(args) => $file::run(args, session),)*
                }
            }
        }
    };
}

// In the order of the help: what a person whose program crashes needs comes first, then what
// is for one driver file, then what is for the system volume.
commands! {
    Crashes(crashes)
    Run(run)
    Guard(guard)
    Launchd(launchd)
    Jupyter(jupyter)
    Stress(stress)
    Doctor(doctor)
    Selftest(selftest)
    Inspect(inspect)
    Patch(patch)
    Prove(prove)
    Verify(verify)
    Signatures(signatures)
    Synth(synth)
    Demo(demo)
    CheckSip(check_sip)
    Deploy(deploy)
    Status(status)
    Revert(revert)
    Recover(recover)
    #[command(hide = true)]
    Simulate(simulate)
    #[command(hide = true)]
    Generate(generate)
}

/// Runs a command line within another command, in the same form of output.
fn run_words(mut words: Vec<OsString>, session: &Session) -> Result<Exit> {
    if session.json {
        words.push("--json".into());
    }
    if let Some(directory) = &session.catalog {
        words.extend(["--catalog".into(), directory.into()]);
    }
    let program = Program::try_parse_from(words)
        .map_err(|error| Error::new(Code::Bug, "a step is not a command").with("reason", error))?;
    program.command.run(&program.session)
}

/// Prints what the parser of command lines says. It repeats the words it was
/// given as they are, so where one acts on a terminal its colours are left out.
fn show_usage(error: &clap::Error) {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let acting: Vec<String> = words.filter(|word| report::printable(word) != *word).collect();
    let printed = if acting.is_empty() {
        error.print()
    } else {
        let text = error.render().ansi().to_string();
        let text =
            acting.iter().fold(text, |text, word| text.replace(word, &report::printable(word)));
        let plain = anstream::adapter::strip_str(&text).to_string();
        write!(std::io::stderr(), "{}", report::screened(&plain))
    };
    // A reader that went away while help was printed is not an error.
    drop(printed);
}

/// A mistake in the command line as an error for scripts.
fn usage_error(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    Error::new(Code::BadArgument, report::printable(first)).next("agxpatch --help")
}

/// Parses the command line, runs the command, prints what went wrong.
pub fn main() -> Exit {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(error) if error.kind() == ErrorKind::DisplayVersion => return version::print(),
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            if error.use_stderr() && std::env::args_os().any(|word| word == "--json") {
                return report::show_error(&usage_error(&error), Format::Json);
            }
            show_usage(&error);
            return exit;
        }
    };
    match program.session.color {
        ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
        ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
        ColorChoice::Auto => {}
    }
    let format = program.session.format();
    match program.command.run(&program.session) {
        Ok(exit) => exit,
        Err(error) => report::show_error(&error, format),
    }
}
