//! `agxpatch run -- CMD…`: a command with the guard, or a copy of the driver.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Session, guarded, recipe, run_clean};
use crate::diagnostics::{self, SETTLE};
use crate::launch::environment::{Way, name};
use crate::launch::{self, Mode, Request, RunReport, Supervision};
use crate::report::style::{BAD, RESET};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;

/// Run a command with the guard library, or with a patched copy of the driver
///
/// Standard input, outputs and signals are the command's own, and agxpatch ends with
/// the command's exit status (128+N for a death by signal N). An exit status of
/// agxpatch itself comes with a line `agxpatch: … [AGX-NNNN]` on standard error, and
/// only before the command has started.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What the guard does: guard, throttle=N (at most N encoders open),
    /// serialize, observe (find races, change nothing), or off. By default what AGX_GUARD says, else
    /// guard.
    #[arg(long, value_name = "MODE", value_parser = recipe::parse_mode)]
    guard: Option<Mode>,

    /// The driver: the system's, or a patched copy of it for this command alone.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Driver::System)]
    driver: Driver,

    /// How to load the patched copy: by Metal's lookup of its bundle, by its file's path, or both.
    #[arg(long, value_name = "WAY", value_enum, default_value_t = Way::Both)]
    driver_way: Way,

    /// UNTESTED on a Mac. Tell the driver not to coalesce encoders, in this command alone: then no
    /// command buffer reads an ended encoder's memory. Its other races stay.
    #[arg(long)]
    no_coalescing: bool,

    /// Start the command again, at most N times, if it dies of SIGSEGV, SIGBUS,
    /// SIGTRAP or SIGABRT.
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,

    /// If the guard refused GPU calls and the command ended with 0, end with 2:
    /// refused calls are lost GPU work.
    #[arg(long)]
    strict: bool,

    /// Do not print the line that says what was guarded. Warnings and refused calls
    /// are still printed.
    #[arg(long, short)]
    quiet: bool,

    /// Write everything known about the run to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Overwrite the file of --report. It keeps its contents if nothing is run.
    #[arg(long, requires = "report")]
    force: bool,

    /// Insert this guard library instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    guard_library: Option<PathBuf>,

    /// Folders where crash reports appear, instead of the usual ones.
    #[arg(long, value_name = "DIR")]
    reports: Vec<PathBuf>,

    /// Seconds to wait for a crash report after a crash.
    #[arg(long, value_name = "S",
          default_value_t = if cfg!(target_os = "macos") { SETTLE.as_secs() } else { 0 })]
    settle: u64,

    /// Run nothing: remove the guard libraries and the copies of drivers that earlier runs
    /// left in your Library.
    #[arg(long, conflicts_with = "command")]
    clean: bool,

    /// The command and its arguments.
    #[arg(
        required_unless_present = "clean",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<OsString>,
}

/// Which driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Driver {
    /// The system's.
    System,
    /// A patched copy.
    Patched,
}

/// Runs the command and ends as it ended.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    if args.clean {
        return run_clean::run(session);
    }
    let report =
        args.report.as_deref().map(|path| Report::reserve(path, args.force)).transpose()?;
    let account = account(&args, session)?;
    if let Some(report) = report {
        report.fill(&account);
    }
    if session.json {
        // Standard output is the command's.
        let line = serde_json::to_string(&account).unwrap_or_default();
        drop(writeln!(std::io::stderr(), "{line}"));
    }
    if let Some(guarded) = account.guarded.as_ref().filter(|guarded| guarded.refused > 0)
        && args.strict
        && account.exit == 0
    {
        return Err(Error::new(Code::CallsRefused, guarded.refusals())
            .with("the command's exit status", 0)
            .next("find the threads that share an encoder: AGX_GUARD_ON_REFUSAL=abort ends the program at the first such call and names both"));
    }
    // The command's own end is not one of these.
    account.end()
}

/// The file for the report, made before the command is started: one that cannot be
/// written is not to be learned of after hours of work.
struct Report<'a> {
    path: &'a Path,
    file: Option<File>,
    /// Whether the file was not there before.
    is_new: bool,
}

impl<'a> Report<'a> {
    fn reserve(path: &'a Path, force: bool) -> Result<Report<'a>> {
        let mut options = OpenOptions::new();
        let made = options.write(true).create_new(true).open(path);
        let is_new = made.is_ok();
        let opened = match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && force => {
                options.create_new(false).open(path)
            }
            made => made,
        };
        match opened {
            Ok(file) => Ok(Report { path, file: Some(file), is_new }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::new(Code::OutputExists, "the report already exists")
                    .with("path", path.display())
                    .next("name another file, or overwrite this one with --force"))
            }
            Err(error) => Err(Error::new(Code::WriteFailed, "the report cannot be written")
                .with("path", path.display())
                .with("reason", error)),
        }
    }

    /// Writes the report. The command has run by now and its end counts, so a
    /// failure is said and no more.
    fn fill(mut self, account: &RunReport) {
        let Some(mut file) = self.file.take() else { return };
        let text = serde_json::to_string_pretty(account).map_err(std::io::Error::from);
        let written = text.and_then(|text| {
            // A pipe or a device has nothing to cut off.
            if file.metadata()?.is_file() {
                file.set_len(0)?;
            }
            file.write_all(format!("{text}\n").as_bytes())
        });
        if let Err(error) = written {
            say(&format!("the report cannot be written: {}: {error}", self.path.display()));
        }
    }
}

impl Drop for Report<'_> {
    /// Nothing was run, so there is nothing to report.
    fn drop(&mut self) {
        if self.is_new && self.file.is_some() {
            // It is empty, and in the way of a second try only.
            drop(std::fs::remove_file(self.path));
        }
    }
}

fn account(args: &Args, session: &Session) -> Result<RunReport> {
    let directory = guarded::directory()?;
    let driver = (args.driver == Driver::Patched).then_some(args.driver_way);
    let scratch =
        tempfile::Builder::new().prefix(launch::live::FOLDER).tempdir().map_err(|error| {
            Error::new(Code::WriteFailed, "cannot create a temporary folder").with("reason", error)
        })?;
    let mode = mode(args)?;
    let no_coalescing = args.no_coalescing
        || std::env::var_os(name::COALESCING).is_some_and(|value| value == "off");
    let told = mode != Mode::Off
        || driver.is_some()
        || no_coalescing
        || args.report.is_some()
        || session.json;
    let request = Request {
        command: &args.command,
        mode,
        driver,
        no_coalescing,
        variables: std::env::vars_os().collect(),
        directory: &directory,
        reports: told.then(|| scratch.path().to_owned()),
    };
    let prepared = guarded::prepare(session, args.guard_library.as_deref(), &request)?;
    let supervision = Supervision {
        retries: args.retries,
        folders: folders(args),
        settle: Duration::from_secs(args.settle),
        quiet: args.quiet,
    };
    launch::supervise(&request, prepared, &supervision, &mut say)
}

/// What was asked for here, else in the library's own variable, else the default.
fn mode(args: &Args) -> Result<Mode> {
    let inherited = || std::env::var(name::MODE).ok().filter(|mode| !mode.is_empty());
    match (args.guard, inherited()) {
        (Some(mode), _) => Ok(mode),
        (None, Some(text)) => text.parse().map_err(|error: Error| error.with("in", name::MODE)),
        (None, None) => Ok(Mode::default()),
    }
}

fn folders(args: &Args) -> Vec<PathBuf> {
    if args.reports.is_empty() {
        diagnostics::usual_folders(std::env::home_dir().as_deref())
    } else {
        args.reports.clone()
    }
}

/// A line on standard error.
fn say(line: &str) {
    // Standard error is closed: there is nowhere to report this.
    drop(writeln!(anstream::stderr(), "{BAD}agxpatch:{RESET} {line}"));
}
