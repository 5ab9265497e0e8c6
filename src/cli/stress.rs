//! `agxpatch stress`: how often a workload dies, under which configuration.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::Session;
use crate::diagnostics::{self, SETTLE};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::stress::{
    self, Command, Configuration, Guarded, Options, Plan, StressReport, Trial, Verdict, Workload,
};

/// Arguments of `agxpatch stress`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Trials under each configuration.
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    trials: u32,

    /// Trials of each with one thread, to measure efficiency against.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(..=100_000))]
    baselines: u32,

    /// Seconds a trial may take.
    #[arg(long, value_name = "S", default_value_t = 300.0, value_parser = parse_seconds)]
    timeout: f64,

    /// A workload that comes along; needs Python with torch.
    #[arg(long, value_name = "NAME", required_unless_present = "command")]
    workload: Option<Workload>,

    /// The configurations, the one to compare with first: off, guard,
    /// throttle=N, serialize.
    #[arg(long, value_name = "LIST", default_value = "off", value_delimiter = ',',
          value_parser = parse_configuration)]
    compare: Vec<Configuration>,

    /// The guard library that configurations other than off insert.
    #[arg(long, value_name = "FILE")]
    guard_library: Option<PathBuf>,

    /// Threads of the workload.
    #[arg(long, value_name = "N", default_value_t = 8, conflicts_with = "command",
          value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,

    /// Operations a thread, instead of the workload's own number.
    #[arg(long, value_name = "N", conflicts_with = "command")]
    iterations: Option<u32>,

    /// Seconds the workload runs for, where it runs for a time.
    #[arg(long, value_name = "S", conflicts_with = "command")]
    duration: Option<u32>,

    /// The torch device.
    #[arg(long, value_name = "NAME", conflicts_with = "command",
          default_value = if cfg!(target_os = "macos") { "mps" } else { "cpu" })]
    device: String,

    /// The Python to run the workload with.
    #[arg(long, value_name = "FILE", default_value = "python3", conflicts_with = "command")]
    python: OsString,

    /// Folders where crash reports appear, instead of the usual ones.
    #[arg(long, value_name = "DIR")]
    reports: Vec<PathBuf>,

    /// Seconds to wait for crash reports after the last trial.
    #[arg(long, value_name = "S", value_parser = parse_seconds,
          default_value_t = if cfg!(target_os = "macos") { SETTLE.as_secs_f64() } else { 0.0 })]
    settle: f64,

    /// Keep every trial in this file, with all that was computed from them.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Compare with the run kept in this file.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,

    /// Any command instead of a workload.
    #[arg(last = true, value_name = "CMD", conflicts_with = "workload")]
    command: Vec<OsString>,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let before = args.before.as_deref().map(read_report).transpose()?;
    let out = args.out.clone().unwrap_or_else(default_file);
    if out.exists() {
        return Err(Error::new(Code::OutputExists, "the report exists already")
            .with("path", out.display())
            .next("name another file with --out"));
    }
    let scripts = tempfile::tempdir().map_err(|error| {
        Error::new(Code::WriteFailed, "no temporary folder can be made").with("reason", error)
    })?;
    let (name, command) = command(&args, scripts.path())?;
    let stop = stop_on_interrupt()?;
    let options = Options {
        plan: plan(&args)?,
        command,
        name,
        timeout: Duration::from_secs_f64(args.timeout),
        reports: report_folders(&args),
        settle: Duration::from_secs_f64(args.settle),
        stop: &stop,
    };
    let guarded = Guarded { library: args.guard_library, macos: cfg!(target_os = "macos") };
    let report = stress::run(&options, &guarded, &mut tell_progress)?;
    keep(&out, &report)?;
    let exit = session.show(&report)?;
    if let Some(before) = before {
        session.show(&stress::before_after(&before, &report))?;
    }
    Ok(exit)
}

fn plan(args: &Args) -> Result<Plan> {
    let mut configurations = args.compare.clone();
    configurations.sort_unstable();
    configurations.dedup();
    if configurations.len() != args.compare.len() {
        return Err(Error::new(Code::BadConfiguration, "a configuration is named twice")
            .next("name each once with --compare"));
    }
    Ok(Plan {
        configurations: args.compare.clone(),
        trials: args.trials,
        baselines: args.baselines,
    })
}

fn command(args: &Args, scripts: &Path) -> Result<(String, Command)> {
    let Some(workload) = args.workload else {
        let mut words = args.command.iter().cloned();
        let program = words.next().unwrap_or_default();
        let name = Path::new(&program).file_name().unwrap_or(&program).to_string_lossy();
        return Ok((name.into_owned(), Command::given(program.clone(), words.collect())));
    };
    workload.write(scripts)?;
    let mut options = vec![("device", args.device.clone()), ("threads", args.threads.to_string())];
    options.extend(args.iterations.map(|count| ("iterations", count.to_string())));
    options.extend(args.duration.map(|seconds| ("duration", seconds.to_string())));
    let command = Command::workload(workload, scripts, args.python.clone(), &options);
    check(&command)?;
    Ok((workload.id().to_owned(), command))
}

/// Asks the workload whether it could run, rather than learn it from the
/// failure of every trial.
fn check(command: &Command) -> Result<()> {
    let program = || command.program.to_string_lossy().into_owned();
    let output = std::process::Command::new(&command.program)
        .args(&command.arguments)
        .arg("--check")
        .output()
        .map_err(|error| {
            Error::new(Code::ChildNotStarted, "Python cannot be started")
                .with("program", program())
                .with("reason", error)
                .next("name a Python that has torch with --python")
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::new(Code::ChildNotStarted, "the workload cannot run here")
        .with("program", program())
        .with("reason", String::from_utf8_lossy(&output.stderr).trim())
        .next("name a Python that has torch with --python, or another --device"))
}

fn report_folders(args: &Args) -> Vec<PathBuf> {
    if args.reports.is_empty() {
        diagnostics::usual_folders(std::env::home_dir().as_deref())
    } else {
        args.reports.clone()
    }
}

/// An interrupted run ends its child and reports what it has; a second
/// interrupt ends the program.
fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| {
                Error::new(Code::Bug, "interrupts cannot be handled").with("reason", error)
            })?;
    }
    Ok(stop)
}

/// A line a trial on standard error, for whoever watches.
fn tell_progress(trial: &Trial, of: usize) {
    let word = match (trial.verdict, &trial.reason) {
        (Verdict::Completed, _) => "completed",
        (_, Some(reason)) => reason,
        (_, None) => "failed",
    };
    let threads = if trial.baseline { " with one thread" } else { "" };
    let (number, configuration, seconds) = (trial.number, trial.configuration, trial.seconds);
    // Progress nobody can see is not worth failing for.
    drop(writeln!(
        anstream::stderr(),
        "{number:>4}/{of}  {configuration}{threads}  {seconds:.1} s  {word}"
    ));
}

fn default_file() -> PathBuf {
    jiff::Zoned::now().strftime("agxpatch-stress-%Y%m%d-%H%M%S.json").to_string().into()
}

fn keep(path: &Path, report: &StressReport) -> Result<()> {
    let text = report.to_json()?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| {
            Error::new(Code::WriteFailed, "the report cannot be written")
                .with("path", path.display())
                .with("reason", error)
        })
}

fn read_report(path: &Path) -> Result<StressReport> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::new(Code::ReadFailed, "the earlier run cannot be read")
            .with("path", path.display())
            .with("reason", error)
    })?;
    StressReport::from_json(&text).map_err(|error| error.with("path", path.display()))
}

fn parse_configuration(text: &str) -> Result<Configuration, String> {
    text.parse().map_err(|error: Error| match error.advice() {
        Some(advice) => format!("{}: {advice}", error.message()),
        None => error.message().to_owned(),
    })
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds from 0 to 1,000,000".to_owned()),
    }
}
