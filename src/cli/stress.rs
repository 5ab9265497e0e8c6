//! `agxpatch stress`: how often a workload dies, under which configuration.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::interruption::Interruption;
use super::{Session, guarded};
use crate::diagnostics::{self, SETTLE};
use crate::stress::{
    self, Command, Configuration, Counted, Environments, Options, Plan, StressReport, Swept, Trial,
    User, Variant, Verdict, Workload,
};
use crate::{report, storage};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;

/// Run a workload under several configurations and compare how often it crashes
#[derive(clap::Args, Debug)]
#[command(mut_arg("workload", |workload| workload.required_unless_present("command")))]
pub struct Args {
    /// The configurations, the one to compare with first: off; lock and batched, of
    /// the built-in workloads; guard, throttle=N, serialize, observe, no-coalescing, as
    /// agxpatch run has them; patched, with a patched copy of the driver.
    #[arg(long, value_name = "LIST", default_value = "off", value_delimiter = ',',
          value_parser = parse_configuration)]
    compare: Vec<Configuration>,

    /// Compare with a run in which this variable is set as well; several are
    /// configurations of their own.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<Configuration>,

    /// Insert this guard library instead of the built-in one, in configurations other than off.
    #[arg(long, value_name = "FILE")]
    guard_library: Option<PathBuf>,

    /// Write every trial and all computed results to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write the results to this file as a page, with a chart.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Overwrite the files of --out and --html.
    #[arg(long)]
    force: bool,

    /// Compare with the run kept in this file.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,

    #[command(flatten)]
    effort: Effort,
}

/// What is run and how often: also for `agxpatch verify --stress`.
#[derive(clap::Args, Debug)]
pub struct Effort {
    /// Trials under each configuration.
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    trials: u32,

    /// Trials of each with one thread, to measure efficiency against.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(..=100_000))]
    baselines: u32,

    /// Seconds a trial may take: 300, and for a workload that runs for a time that
    /// time more.
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    timeout: Option<f64>,

    /// A built-in workload; all but metal need Python with torch.
    #[arg(long, value_name = "NAME")]
    workload: Option<Workload>,

    /// Threads of the workload, instead of its own number; several, such as
    /// 1,2,4,8,16, are tried in turn.
    #[arg(long, value_name = "LIST", conflicts_with = "command", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Vec<u32>,

    /// Samples an operation, instead of the workload's own number; several, such as
    /// 1,8,64,256, are tried in turn.
    #[arg(long, value_name = "LIST", conflicts_with = "command", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: Vec<u32>,

    /// Let at most N threads into an operation at once, by a semaphore in Python; 1
    /// is a lock.
    #[arg(long, value_name = "N", conflicts_with = "command",
          value_parser = clap::value_parser!(u32).range(1..))]
    permits: Option<u32>,

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

    /// Any command instead of a workload.
    #[arg(last = true, value_name = "CMD", conflicts_with = "workload")]
    command: Vec<OsString>,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let before = args.before.as_deref().map(read_report).transpose()?;
    let out = args.out.clone().unwrap_or_else(default_file);
    let outputs = std::iter::once(&out).chain(&args.html);
    if let Some(there) = outputs.into_iter().find(|path| path.exists() && !args.force) {
        return Err(Error::new(Code::OutputExists, "the report already exists")
            .with("path", there.display())
            .next("name another file, or overwrite this one with --force"));
    }
    let library = args.guard_library.as_deref();
    let guarded = |command: &mut Command| guarded::environments(session, library, command);
    let configurations = [args.compare, args.env].concat();
    let (report, interruption) = args.effort.run(&configurations, &guarded, None)?;
    storage::write(&out, report.to_json()?.as_bytes(), args.force)?;
    if let Some(page) = &args.html {
        storage::write(page, report.counted().page().as_bytes(), args.force)?;
    }
    let exit = session.show(&Counted { kept: Some(out), ..report.counted() })?;
    if let Some(before) = before {
        session.show(&stress::before_after(&before, &report))?;
    }
    interruption.end_program();
    Ok(exit)
}

/// What brings the configurations about for a command, which may become another
/// for it.
pub type Prepare<'p> = dyn Fn(&mut Command) -> Result<Box<dyn Environments + 'p>> + 'p;

impl Effort {
    /// Makes the run, as `user` if one is named.
    pub fn run(
        &self,
        configurations: &[Configuration],
        environments: &Prepare<'_>,
        user: Option<User>,
    ) -> Result<(StressReport, Interruption)> {
        let plan = self.plan(configurations)?;
        let scripts = scripts_folder(user)?;
        let (name, mut command) = self.command(scripts.path(), user)?;
        let environments = environments(&mut command)?;
        let interruption = Interruption::begin()?;
        let options = Options {
            plan,
            command,
            name,
            user,
            timeout: self.timeout(),
            reports: self.report_folders(),
            settle: Duration::from_secs_f64(self.settle),
            stop: &interruption.stop,
        };
        let report = stress::run(&options, environments.as_ref(), &mut tell_progress)?;
        Ok((report, interruption))
    }

    fn plan(&self, configurations: &[Configuration]) -> Result<Plan> {
        let mut distinct = configurations.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != configurations.len() {
            return Err(Error::new(Code::BadConfiguration, "a configuration is named twice")
                .next("name each once with --compare"));
        }
        let variants = self.variants()?;
        let alone = |each: &Variant| each.of == Swept::Batch || each.value == 1;
        // One thread is among the values, or has no one meaning.
        let baselines = if variants.iter().any(alone) { 0 } else { self.baselines };
        let configurations = configurations.to_vec();
        Ok(Plan { configurations, variants, trials: self.trials, baselines })
    }

    /// What the workload is run with in turn.
    fn variants(&self) -> Result<Vec<Variant>> {
        let refuse =
            |message: &str, advice: &str| Err(Error::new(Code::BadArgument, message).next(advice));
        let (of, values) = match (self.threads.as_slice(), self.batch.as_slice()) {
            ([_, _, ..], [_, _, ..]) => {
                return refuse(
                    "only one of --threads and --batch can have several values",
                    "run agxpatch stress for each value of the other",
                );
            }
            (threads @ [_, _, ..], _) => (Swept::Threads, threads),
            (_, batch @ [_, _, ..]) => (Swept::Batch, batch),
            _ => return Ok(Vec::new()),
        };
        if values.iter().collect::<BTreeSet<_>>().len() != values.len() {
            return refuse("a value is named twice", "name each once");
        }
        Ok(values.iter().map(|value| Variant { of, value: *value }).collect())
    }

    /// The command, or the workload written into `scripts`: the one named, or
    /// the published one that crashed.
    fn command(&self, scripts: &Path, user: Option<User>) -> Result<(String, Command)> {
        if let Some((program, words)) = self.command.split_first() {
            let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
            let program = guarded::program(program)?;
            return Ok((name.into_owned(), Command::given(program.into(), words.to_vec())));
        }
        let workload = self.workload.unwrap_or(Workload::Transformer);
        let source = workload.write(scripts)?;
        // Several are the plan's.
        let lone = |values: &[u32]| match values {
            [value] => Some(*value),
            _ => None,
        };
        let numbers = [
            ("threads", lone(&self.threads)),
            ("batch", lone(&self.batch)),
            ("permits", self.permits),
            ("iterations", self.iterations),
            ("duration", self.duration),
        ];
        let given = |(name, number): (_, Option<u32>)| Some((name, number?.to_string()));
        let device = ("device", self.device.clone());
        let options: Vec<_> =
            std::iter::once(device).chain(numbers.into_iter().filter_map(given)).collect();
        let program = if workload.takes_python() {
            guarded::program(&self.python)
                .map_err(|error| error.next("name a Python that has torch with --python"))?
        } else {
            stress::metal::compile(&source)?
        };
        let command = Command::workload(workload, scripts, program.into(), &options);
        check(&command, user)?;
        Ok((workload.id().to_owned(), command))
    }

    fn timeout(&self) -> Duration {
        const USUAL: Duration = Duration::from_secs(300);
        let runs_for = || {
            let own = || self.workload.and_then(Workload::duration);
            self.duration.map(|seconds| Duration::from_secs(seconds.into())).or_else(own)
        };
        match self.timeout {
            Some(seconds) => Duration::from_secs_f64(seconds),
            None => USUAL + runs_for().unwrap_or_default(),
        }
    }

    /// Where crash reports are looked for.
    pub fn report_folders(&self) -> Vec<PathBuf> {
        if self.reports.is_empty() {
            diagnostics::usual_folders(std::env::home_dir().as_deref())
        } else {
            self.reports.clone()
        }
    }
}

/// A folder for the workload's scripts, readable by the user who runs them.
fn scripts_folder(user: Option<User>) -> Result<tempfile::TempDir> {
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    let mut builder = tempfile::Builder::new();
    let folder = match user {
        None => builder.permissions(readable).tempdir(),
        // Root's own temporary folder is closed to all others.
        Some(_) => builder.permissions(readable).tempdir_in("/tmp"),
    };
    folder.map_err(|error| {
        Error::new(Code::WriteFailed, "cannot create a temporary folder").with("reason", error)
    })
}

/// Asks the workload whether it could run, rather than learn it from the
/// failure of every trial.
fn check(command: &Command, user: Option<User>) -> Result<()> {
    let program = || command.program.to_string_lossy().into_owned();
    let mut process = std::process::Command::new(&command.program);
    process.args(&command.arguments).arg("--check");
    if let Some(user) = user {
        user.take(&mut process);
    }
    let output = process.output().map_err(|error| {
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
        .next("name a Python that has torch with --python, or another --device; on a Mac without torch use --workload metal"))
}

/// A line a trial on standard error, where a terminal shows it.
fn tell_progress(trial: &Trial, of: usize) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let word = match (trial.verdict, &trial.reason) {
        (Verdict::Completed, _) => "completed",
        (_, Some(reason)) => reason,
        (_, None) => "failed",
    };
    let word = report::printable(word);
    let (number, label, seconds) = (trial.number, trial.label(), trial.seconds);
    // Progress that cannot be shown is not worth failing for.
    drop(writeln!(anstream::stderr(), "{number:>4}/{of}  {label}  {seconds:.1} s  {word}"));
}

fn default_file() -> PathBuf {
    jiff::Zoned::now().strftime("agxpatch-stress-%Y%m%d-%H%M%S.json").to_string().into()
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

fn parse_variable(text: &str) -> Result<Configuration, String> {
    Configuration::env(text).map_err(|error| error.message().to_owned())
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds from 0 to 1,000,000".to_owned()),
    }
}
