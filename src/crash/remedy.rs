//! What to do about a crash: whose fault it is, as far as the report tells, and what
//! to type.
//!
//! The order is that in which to try. A known fault of a program that was loaded comes
//! first, because it explains the crash without the driver.

use serde::Serialize;

use super::class::{Class, Family};
use super::command_failure::CommandFailure;
use super::known_faults::{self, KnownFault};
use super::{CrashReport, Program};

/// Whose fault a crash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The program, or a library it uses.
    Program,
    /// Two threads used one object: the program lets them, or the driver should have
    /// kept them apart. The report does not decide it.
    ProgramOrDriver,
    /// Apple's software or the GPU.
    System,
    /// The report does not say.
    Unknown,
}

/// A kind of remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemedyKind {
    /// Install another version.
    Upgrade,
    /// One lock around all GPU work, or one thread.
    Lock,
    /// Run with the guard library.
    Guard,
    /// Run with the guard watching, to see which threads meet.
    Observe,
    /// Run without coalescing of encoders.
    NoCoalescing,
    /// Change a setting or how the program is used.
    Setting,
    /// Correct the program.
    Correct,
    /// Report it.
    FileBug,
    /// Get a report that tells more.
    Ask,
    /// Nothing in user space reaches it.
    Nothing,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// What kind it is.
    pub action: RemedyKind,
    /// What to do, in a sentence.
    pub text: String,
    /// What to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Where this is published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// What to do about one class of crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Whose fault it is.
    pub fault: Blame,
    /// The same in a sentence.
    pub says: String,
    /// What to try, in this order.
    pub remedies: Vec<Remedy>,
}

/// What to do about the crash that `report` tells of.
pub fn advice(report: &CrashReport) -> Advice {
    let known = known_faults(report);
    // A fault of what was only loaded may have nothing to do with it.
    let sure = report.programs.iter().any(|program| program.on_stack);
    let (mut fault, mut says) = whose(report);
    if let Some(first) = known.first().filter(|_| fault == Blame::ProgramOrDriver) {
        let named = named(report, &first.program);
        if sure {
            fault = Blame::Program;
        }
        let known = report
            .programs
            .iter()
            .any(|program| program.name == first.program && program.version.is_some());
        let explains = match (sure, known) {
            (true, true) => "alone explains it".to_owned(),
            (true, false) => format!("explains it, if it is {}", first.range()),
            (false, _) => format!("is loaded and may explain it, if it is {}", first.range()),
        };
        says = format!("{named} {explains}: {}", first.summary);
    }
    let mut remedies: Vec<Remedy> = known.iter().map(|fault| upgrade(fault)).collect();
    let locked = remedies.iter().any(|remedy| remedy.action == RemedyKind::Lock);
    remedies.extend(by_class(report).into_iter().filter(|remedy| {
        // The known fault says so already.
        !(locked && remedy.action == RemedyKind::Lock)
    }));
    if report.class.family().counts() {
        remedies.extend(look_up_version(&report.programs));
    }
    Advice { fault, says, remedies }
}

/// The faults that `report` can be explained by.
fn known_faults(report: &CrashReport) -> Vec<&'static KnownFault> {
    let frames = [&report.evidence.frame, &report.evidence.called_by];
    let any_on_stack = report.programs.iter().any(|program| program.on_stack);
    let fits = |fault: &&KnownFault| {
        let frame = |part: &String| frames.iter().any(|frame| holds(frame, part));
        fault.families.contains(&report.class.family())
            && report
                .programs
                .iter()
                .any(|program| (program.on_stack || !any_on_stack) && fault.affects(program))
            && (fault.when.is_empty() || fault.when.iter().any(frame))
    };
    known_faults::all().iter().filter(fits).collect()
}

fn holds(frame: &Option<String>, part: &str) -> bool {
    frame.as_ref().is_some_and(|frame| frame.contains(part))
}

/// `torch 2.9.1`.
fn named(report: &CrashReport, program: &str) -> String {
    let version = report.programs.iter().find(|each| each.name == program);
    match version.and_then(|program| program.version.as_deref()) {
        Some(version) => format!("{program} {version}"),
        None => format!("{program} (version unknown)"),
    }
}

fn upgrade(fault: &KnownFault) -> Remedy {
    let command = match (&fault.setting, &fault.before) {
        (Some(setting), _) => Some(format!("export {setting}")),
        (None, Some(version)) => {
            Some(format!("pip install --upgrade '{}>={version}'", fault.program))
        }
        (None, None) => None,
    };
    let action = match (&fault.setting, &fault.before) {
        (Some(_), _) => RemedyKind::Setting,
        (None, Some(_)) => RemedyKind::Upgrade,
        (None, None) => RemedyKind::Lock,
    };
    let text = format!("{}: {}", fault.program, fault.remedy);
    Remedy { action, text, command, sources: fault.sources.clone() }
}

/// A version that is not in the report can be looked up.
fn look_up_version(programs: &[Program]) -> Option<Remedy> {
    let unknown = programs.iter().find(|program| program.version.is_none())?;
    let text = format!(
        "{}: version unknown; name the Python it runs in, or look with `pip show {}`",
        unknown.name, unknown.name
    );
    let command = "agxpatch crashes --python PATH".to_owned();
    Some(Remedy { action: RemedyKind::Ask, text, command: Some(command), sources: Vec::new() })
}

/// Whose fault it is where no fault of a program is known.
fn whose(report: &CrashReport) -> (Blame, String) {
    use Class as C;
    let (fault, says) = match report.class {
        C::NilPipeline => (Blame::Program, "the program passed nil for a pipeline"),
        C::Assertion | C::CommandStorage => (
            Blame::Program,
            "Metal forbids what was done, mostly two threads on one command buffer or encoder; \
             the program has to keep them apart",
        ),
        C::CommandFailed => return command_failed(report),
        C::GpuBackend => (Blame::Program, "the code that crashed is not Apple's"),
        C::ProgramCode => (Blame::Program, "the code that crashed is the program's own"),
        C::LaunchAbort => (Blame::Program, "the process never ran: no GPU code was reached"),
        C::GpuRestart | C::GpuPanic => {
            (Blame::System, "the GPU, its firmware or the kernel failed, not this process")
        }
        C::ShaderCompiler => (Blame::System, "Apple's compiler crashed on a shader"),
        C::GpuException => {
            (Blame::Unknown, "GPU code threw an exception, mostly for an argument it was given")
        }
        C::Trap | C::OtherGpu => (Blame::Unknown, "the report does not say why"),
        C::Unrelated => (Blame::Unknown, "no GPU code was at work"),
        C::Unreadable => (Blame::Unknown, "the report could not be read"),
        _ => (
            Blame::ProgramOrDriver,
            "one thread used an encoder or its memory after another had ended or freed it; Metal \
             leaves it to programs to keep threads apart",
        ),
    };
    (fault, says.into())
}

fn command_failed(report: &CrashReport) -> (Blame, String) {
    let (fault, says) = match report.evidence.failure {
        Some(CommandFailure::InnocentVictim) => {
            (Blame::Unknown, "another process, or other work of this one, made the GPU fail")
        }
        Some(CommandFailure::OutOfMemory) => {
            (Blame::Program, "the GPU work needed more memory than there was")
        }
        Some(CommandFailure::Timeout) => (Blame::Program, "one piece of GPU work ran too long"),
        _ => (Blame::Unknown, "the GPU ended the work, and the program then ended itself"),
    };
    (fault, says.into())
}

fn by_class(report: &CrashReport) -> Vec<Remedy> {
    use Class as C;
    match report.class {
        C::NullAtCoalescing => vec![no_coalescing(), guard(), lock(), observe()],
        C::FreedEncoder | C::FreedObject => vec![lock(), observe(), bug()],
        C::Assertion => vec![lock(), observe(), bug()],
        C::CommandStorage | C::WildPointer => vec![lock(), guard(), observe()],
        C::HandledBadAccess => vec![no_handler(), lock(), guard()],
        C::Metal4Context => vec![
            lock(),
            remedy(
                RemedyKind::Nothing,
                "the patch does not touch Metal 4 encoders: they take no block from a pool",
            ),
        ],
        C::Trap | C::OtherGpu => vec![observe(), lock(), bug()],
        C::NilPipeline => vec![remedy(
            RemedyKind::Correct,
            "check the error of newComputePipelineState… where the pipeline is made; no guard or \
             patch helps",
        )],
        C::CommandFailed => failure_remedies(report.evidence.failure),
        C::GpuBackend => vec![lock(), bug()],
        C::GpuException => vec![remedy(
            RemedyKind::Correct,
            "read the exception's text in the report: it names the argument that was refused",
        )],
        C::GpuRestart | C::GpuPanic => vec![remedy(
            RemedyKind::Nothing,
            "nothing in user space reaches it: update macOS, and send the report to Apple with \
             Feedback Assistant",
        )],
        C::ShaderCompiler => vec![remedy(
            RemedyKind::FileBug,
            "update macOS; else find the shader by leaving out parts, and send it to Apple with \
             Feedback Assistant",
        )],
        C::ProgramCode => vec![remedy(RemedyKind::Correct, "correct the frame that is named")],
        C::LaunchAbort => vec![remedy(
            RemedyKind::Correct,
            "read the loader's message in the report: mostly a library is missing or not signed",
        )],
        C::Unreadable => {
            vec![remedy(
                RemedyKind::Ask,
                "ask for the .ips file in ~/Library/Logs/DiagnosticReports",
            )]
        }
        C::Unrelated => Vec::new(),
        _ if report.class.family() == Family::NullImpl => vec![lock(), guard(), observe(), bug()],
        _ => vec![lock(), guard()],
    }
}

fn failure_remedies(failure: Option<CommandFailure>) -> Vec<Remedy> {
    let (action, text) = match failure {
        Some(CommandFailure::OutOfMemory) => (
            RemedyKind::Setting,
            "ask for less at once: a smaller batch, context or model; fewer programs on the GPU",
        ),
        Some(CommandFailure::Timeout) => (
            RemedyKind::Setting,
            "divide the work: a smaller batch or context, more command buffers",
        ),
        Some(CommandFailure::InnocentVictim | CommandFailure::Ignored) => (
            RemedyKind::Setting,
            "start it again, alone: find the GPU's own report of that time (gpuEvent-*.ips) for \
             the process that failed first",
        ),
        Some(CommandFailure::NotPermitted) => {
            (RemedyKind::Setting, "keep the program in the foreground while it uses the GPU")
        }
        _ => (
            RemedyKind::FileBug,
            "report it to the program with its error text; no guard or patch in user space \
             reaches the GPU",
        ),
    };
    vec![remedy(action, text)]
}

fn remedy(action: RemedyKind, text: &str) -> Remedy {
    Remedy { action, text: text.into(), command: None, sources: Vec::new() }
}

fn typed(action: RemedyKind, text: &str, command: &str) -> Remedy {
    Remedy { command: Some(command.into()), ..remedy(action, text) }
}

fn lock() -> Remedy {
    remedy(
        RemedyKind::Lock,
        "put one lock around all GPU work, or do it on one thread (Python: agxpatch.lock() or \
         agxpatch.serialize_torch())",
    )
}

fn guard() -> Remedy {
    typed(
        RemedyKind::Guard,
        "run it with the guard, which keeps threads apart in the driver's methods",
        "agxpatch run -- CMD",
    )
}

fn observe() -> Remedy {
    typed(
        RemedyKind::Observe,
        "see which threads meet in which encoder, without changing anything",
        "agxpatch run --guard observe -- CMD",
    )
}

fn no_coalescing() -> Remedy {
    typed(
        RemedyKind::NoCoalescing,
        "switch coalescing off for this program, so that no command buffer reads an ended encoder (untested; \
         where no library can enter: `defaults write com.apple.Metal disableEncoderCoalescing -bool YES` for \
         every program of yours, until `defaults delete com.apple.Metal disableEncoderCoalescing`)",
        "agxpatch run --no-coalescing -- CMD",
    )
}

fn no_handler() -> Remedy {
    remedy(
        RemedyKind::Ask,
        "run it again without the signal handler (Python: without faulthandler), so that the \
         report keeps the address",
    )
}

fn bug() -> Remedy {
    typed(
        RemedyKind::FileBug,
        "report it to the program, with this text",
        "agxpatch crashes --list FILE",
    )
}

impl Blame {
    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Blame::Program => "the program's fault",
            Blame::ProgramOrDriver => "the program's fault or the driver's",
            Blame::System => "Apple's software or the GPU",
            Blame::Unknown => "fault unknown",
        }
    }
}
