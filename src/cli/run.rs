//! `agxpatch run -- CMD…`: a command with the guard, or a copy of the driver.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Session, files};
use crate::diagnostics::{self, SETTLE};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::host::{Host, Kind};
use crate::launch::environment::Way;
use crate::launch::{self, Account, Mac, Mode, Prepared, Request, Supervision, library};
use crate::report::style::{BAD, RESET};
use crate::storage;

/// Run a command with the guard library, or with a patched copy of the driver.
///
/// Standard input, outputs, signals and the exit status are the command's own; a
/// death by signal N is exit status 128+N, as a shell has it. Exit statuses of
/// agxpatch itself come with a line `agxpatch: … [AGX-NNNN]` on standard error,
/// and only before the command was started.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What the guard does: guard, throttle=N (at most N encoders open),
    /// serialize, observe (count only), or off.
    #[arg(long, value_name = "MODE", default_value = "guard", value_parser = parse_mode)]
    guard: Mode,

    /// The driver: the system's, or a patched copy of it for this command alone.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Driver::System)]
    driver: Driver,

    /// By which way the copy is brought in: by the plug-in's name, or by its
    /// file's path.
    #[arg(long, value_name = "WAY", value_enum, default_value_t = Way::Name)]
    driver_way: Way,

    /// Start the command again, at most N times, if it dies of SIGSEGV, SIGBUS,
    /// SIGTRAP or SIGABRT.
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,

    /// Write all that is known of the run into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Insert this guard library instead of the one this program carries.
    #[arg(long, value_name = "FILE")]
    guard_library: Option<PathBuf>,

    /// Folders where crash reports appear, instead of the usual ones.
    #[arg(long, value_name = "DIR")]
    reports: Vec<PathBuf>,

    /// Seconds to wait for a crash report after a crash.
    #[arg(long, value_name = "S",
          default_value_t = if cfg!(target_os = "macos") { SETTLE.as_secs() } else { 0 })]
    settle: u64,

    /// The command and its arguments.
    #[arg(
        required = true,
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
    if let Some(path) = args.report.as_deref().filter(|path| path.exists()) {
        return Err(Error::new(Code::OutputExists, "the report exists already")
            .with("path", path.display())
            .next("name another file with --report"));
    }
    let account = account(&args, session)?;
    tell(&args, session, &account)?;
    // The command's own status is not one of ours.
    std::process::exit(account.exit);
}

fn account(args: &Args, session: &Session) -> Result<Account> {
    let directory = std::env::current_dir().map_err(|error| {
        Error::new(Code::ReadFailed, "the working directory is gone").with("reason", error)
    })?;
    let driver = (args.driver == Driver::Patched).then_some(args.driver_way);
    let mut request = Request {
        command: &args.command,
        mode: args.guard,
        driver,
        variables: std::env::vars_os().collect(),
        directory: &directory,
        report: None,
    };
    let scratch = tempfile::tempdir().map_err(|error| {
        Error::new(Code::WriteFailed, "no temporary folder can be made").with("reason", error)
    })?;
    if driver.is_some() || args.report.is_some() || session.json {
        request.report = Some(launch::report_place(&request, &scratch.path().join("guard.json")));
    }
    let prepared = prepare(args, session, &request)?;
    let supervision = Supervision {
        retries: args.retries,
        folders: folders(args),
        settle: Duration::from_secs(args.settle),
        report: request.report.clone(),
    };
    launch::supervise(&request, prepared, &supervision, &mut say)
}

fn prepare(args: &Args, session: &Session, request: &Request<'_>) -> Result<Prepared> {
    if !launch::needs_mac(request.mode, request.driver) {
        return launch::prepare(request, None);
    }
    if session.simulate.is_none() && !cfg!(target_os = "macos") {
        return Err(launch::needs_a_mac());
    }
    let host = session.host()?;
    let home = home(host.as_ref())?;
    let given = args.guard_library.as_deref().map(storage::read).transpose()?;
    let library = match &given {
        Some(file) => &file.bytes[..],
        None => library::embedded()?,
    };
    let engine = || files::engine(session);
    let mac = Mac { host: host.as_ref(), home: &home, library, engine: &engine };
    launch::prepare(request, Some(&mac))
}

/// The user's home. A host follows no link, and a home may lie behind one.
fn home(host: &dyn Host) -> Result<PathBuf> {
    let home = std::env::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or_else(|| Error::new(Code::BadArgument, "the user has no home").next("set HOME"))?;
    match host.kind() {
        Kind::Simulated => Ok(home),
        Kind::Real => std::fs::canonicalize(&home).map_err(|error| {
            Error::new(Code::ReadFailed, "the user's home cannot be found")
                .with("home", home.display())
                .with("reason", error)
        }),
    }
}

fn folders(args: &Args) -> Vec<PathBuf> {
    if args.reports.is_empty() {
        diagnostics::usual_folders(std::env::home_dir().as_deref())
    } else {
        args.reports.clone()
    }
}

fn tell(args: &Args, session: &Session, account: &Account) -> Result<()> {
    if let Some(path) = &args.report {
        keep(path, account)?;
    }
    if session.json {
        // Standard output is the command's.
        let line = serde_json::to_string(account).unwrap_or_default();
        drop(writeln!(std::io::stderr(), "{line}"));
    }
    Ok(())
}

fn keep(path: &Path, account: &Account) -> Result<()> {
    let text = serde_json::to_string_pretty(account).map_err(|error| {
        Error::new(Code::Bug, "the report cannot be written as JSON").with("reason", error)
    })?;
    storage::write(path, format!("{text}\n").as_bytes(), false)
}

/// A line for whoever looks at standard error.
fn say(line: &str) {
    // Nobody is left to tell that nobody reads.
    drop(writeln!(anstream::stderr(), "{BAD}agxpatch:{RESET} {line}"));
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    text.parse().map_err(|error: Error| match error.advice() {
        Some(advice) => format!("{}; {advice}", error.message()),
        None => error.message().to_owned(),
    })
}
