//! `agxpatch selftest`: ask this Mac everything the program believes about it.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::launch::library;
use crate::report::style::{BAD, GOOD, RESET, STRONG};
use crate::report::{self, Report};
use crate::selftest::{self, Inputs, Loaded, ReportRedactor, Selftest};
use crate::storage;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_core::patch::Engine;
use agxpatch_deploy::doctor::{self, Consent, EngineJudge};
use agxpatch_deploy::{self as deploy, EnginePatcher, LiveVolume};
use agxpatch_host::Host;
use agxpatch_host::recording::Recorder;
use agxpatch_host::redact::Redactor;

use super::version::Version;
use super::{Session, files};

/// Check what only a Mac can show, without changing anything
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Also write the result to this new file, to be attached to an issue: it contains no personal
    /// names and no bytes of the driver.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Record what this Mac answers to every question of doctor, check-sip and status in this new
    /// file, without names, serial numbers or UUIDs.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// The guard library, if it is not where an installation puts it.
    #[arg(long, value_name = "FILE")]
    guard_library: Option<PathBuf>,

    /// Load this library and do nothing else.
    #[arg(long, hide = true, value_name = "FILE", exclusive = true)]
    load: Option<PathBuf>,

    /// Make a Metal device and do nothing else.
    #[arg(long, hide = true, exclusive = true)]
    device: bool,
}

#[derive(Serialize)]
struct Selftested {
    program: Version,
    #[serde(flatten)]
    result: Selftest,
    /// The name of the file this is also in; of no interest to who reads that.
    #[serde(skip)]
    written: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    if let Some(library) = &args.load {
        return in_a_child(selftest::load_here(library), library);
    }
    if args.device {
        return in_a_child(selftest::device_here(), Path::new("Metal"));
    }
    if let Some(path) = args.report.as_deref().filter(|path| path.symlink_metadata().is_ok()) {
        return Err(Error::new(Code::OutputExists, "the report already exists")
            .with("path", path.display())
            .next("remove it, or name another file with --report"));
    }
    let host = session.host()?;
    let engine = files::engine(session)?;
    if let Some(path) = &args.record {
        return record(host.as_ref(), &engine, path, session);
    }
    let inputs = Inputs {
        engine: &engine,
        guard: guard(args.guard_library.as_deref())?,
        redactor: ReportRedactor::new(names()),
    };
    let result = selftest::run(host.as_ref(), &inputs);
    let written = args.report.as_ref().map(|path| path.display().to_string());
    let report = Selftested { program: Version::of_this_program()?, result, written };
    if let Some(path) = &args.report {
        let text = report::json(&report)?;
        storage::write(path, text.as_bytes(), false)?;
    }
    session.show(&report)
}

/// Where a recording went.
#[derive(Serialize)]
struct Recorded {
    file: String,
    questions: usize,
}

/// Asks what doctor, check-sip and status ask, and keeps the answers.
fn record(host: &dyn Host, engine: &Engine, path: &Path, session: &Session) -> Result<Exit> {
    let recorder = Recorder::new(host);
    // What could not be asked is not recorded, which is all there is to say of it.
    drop(doctor::examine(&recorder, &EngineJudge { engine }, Consent::default()));
    let patcher = EnginePatcher::new(engine);
    if let Ok(facts) = deploy::gather(&recorder, &patcher) {
        let live = LiveVolume::NotLooked("not recorded".to_owned());
        drop(deploy::next_start(&recorder, &facts, facts.state(), &live));
    }
    drop(recorder.trusted_gpu_bundle("AGXMetalG16X"));
    let mut recording = Redactor::new(names()).recording(&recorder.recording())?;
    recording.source = format!("agxpatch {} selftest --record", env!("CARGO_PKG_VERSION"));
    storage::write(path, &recording.to_json()?, false)?;
    let questions = recording.said.len() + recording.files.len() + recording.answers.len();
    session.show(&Recorded { file: path.display().to_string(), questions })
}

impl Report for Recorded {
    const SCHEMA: &'static str = "agxpatch.recorded/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} answers are in {}", self.questions, report::printable(&self.file))?;
        writeln!(
            out,
            "Look it over before you publish it. Ask it again: agxpatch --replay FILE doctor"
        )
    }
}

/// How a child that tries something ends.
fn in_a_child(loaded: Loaded, library: &Path) -> Result<Exit> {
    match loaded {
        Loaded::Yes => Ok(Exit::Success),
        Loaded::No(reason) => {
            Err(Error::new(Code::NotLoaded, reason).with("library", library.display()))
        }
    }
}

/// The guard that was named, the one this program carries, or one beside it.
pub(super) fn guard(named: Option<&Path>) -> Result<Option<Cow<'static, [u8]>>> {
    if let Some(path) = named {
        return Ok(Some(storage::read(path)?.bytes.to_vec().into()));
    }
    if let Ok(embedded) = library::embedded() {
        return Ok(Some(embedded.into()));
    }
    installed_guard().map(|path| Ok(storage::read(&path)?.bytes.to_vec().into())).transpose()
}

/// The guard beside the program, or in the `lib` next to its `bin`.
fn installed_guard() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.canonicalize().ok()?;
    let directory = program.parent()?;
    let places = ["libagx_guard.dylib", "../lib/libagx_guard.dylib"];
    places.iter().map(|place| directory.join(place)).find(|path| path.exists())
}

/// The names of the person at this machine and of the machine.
fn names() -> Vec<String> {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // As often as not it is the name and a domain.
    let short = machine.split('.').next().unwrap_or_default().to_owned();
    ["USER", "LOGNAME", "SUDO_USER", "HOSTNAME", "HOST"]
        .iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .chain([machine, short])
        .collect()
}

impl Report for Selftested {
    const SCHEMA: &'static str = "agxpatch.selftest/1";

    fn exit(&self) -> Exit {
        if self.result.passed { Exit::Success } else { Exit::Mismatch }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for section in &self.result.sections {
            writeln!(out, "{STRONG}{}{RESET}", section.title)?;
            report::checks(out, &section.checks)?;
            writeln!(out)?;
        }
        write!(out, "{}", self.program)?;
        match self.result.passed {
            true => writeln!(out, "{GOOD}nothing failed{RESET}")?,
            false => writeln!(out, "{BAD}something failed{RESET}")?,
        }
        match &self.written {
            Some(path) => {
                writeln!(out, "{path} says all of this, for an issue; look it over first")
            }
            None => writeln!(out, "--report FILE writes all of this to a file, for an issue"),
        }
    }
}
