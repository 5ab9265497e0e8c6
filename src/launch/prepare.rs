//! Everything that is decided before the command is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::Engine;
use agxpatch_host::{CsrConfig, Host, machine};

use super::environment::{self, Wanted, Way};
use super::files::Disk;
use super::mode::Mode;
use super::resolve::{Scene, Target, Variables, resolve};
use super::scoped::{self, Copy};
use super::verdict::{Outcome, Surroundings, Verdict};
use super::{advice, library};

/// What is to be run.
pub struct Request<'a> {
    /// The command; the first word is looked for along the PATH.
    pub command: &'a [OsString],
    /// The guard's mode.
    pub mode: Mode,
    /// Whether the patched copy of the driver is loaded, and by which way.
    pub driver: Option<Way>,
    /// Whether the driver is told not to coalesce encoders.
    pub no_coalescing: bool,
    /// The variables it would be started with.
    pub variables: Variables,
    /// The working directory.
    pub directory: &'a Path,
    /// The folder where the guard library reports.
    pub reports: Option<PathBuf>,
}

impl Request<'_> {
    /// Whether anything that only a Mac has is asked for.
    pub fn needs_mac(&self) -> bool {
        self.mode != Mode::Off || self.driver.is_some() || self.no_coalescing
    }
}

/// The Mac a guarded command runs on.
pub struct Mac<'a> {
    /// The machine.
    pub host: &'a dyn Host,
    /// The user's home.
    pub home: &'a Path,
    /// The guard library's bytes.
    pub library: &'a [u8],
    /// The patch engine; needed for a copy of the driver.
    pub engine: &'a dyn Fn() -> Result<Engine>,
}

/// A command ready to be started.
pub struct Prepared {
    /// The program.
    pub target: Target,
    /// Its variables.
    pub variables: Variables,
    /// What is expected of the library.
    pub verdict: Option<Verdict>,
    /// The copy of the driver.
    pub copy: Option<Copy>,
}

/// Resolves the command, foretells what will become of the library, puts
/// library and copy of the driver in place, and composes the variables. Nothing
/// is written where the answer is no.
///
/// # Errors
/// Those of [`resolve`]; `GuardNeedsMac` without a `mac`; `GuardDropped` and
/// `GuardKills`; those of [`library::unpack`] and [`scoped::prepare`].
pub fn prepare(request: &Request<'_>, mac: Option<&Mac<'_>>) -> Result<Prepared> {
    let scene = Scene { files: &Disk, directory: request.directory };
    let target = resolve(&scene, request.command, request.variables.clone())?;
    let Request { mode, no_coalescing, .. } = *request;
    let mut wanted = Wanted { mode, no_coalescing, ..Wanted::default() };
    let (mut verdict, mut copy) = (None, None);
    if request.needs_mac() {
        let mac = mac.ok_or_else(needs_a_mac)?;
        let around = surroundings(mac)?;
        verdict = Some(admit(&scene, &target, &around)?);
        if let Some(way) = request.driver {
            copy = Some(scoped::prepare(mac.host, mac.home, &(mac.engine)()?, way)?);
        }
        wanted.driver = copy.as_ref().map(|copy: &Copy| copy.driver.clone());
        wanted.library = Some(library::unpack(mac.host, mac.home, mac.library)?);
        wanted.reports = request.reports.clone();
    }
    let variables = environment::compose(target.variables.clone(), &wanted);
    Ok(Prepared { target, variables, verdict, copy })
}

/// The error for a guard asked for where there can be none.
pub fn needs_a_mac() -> Error {
    Error::new(Code::GuardNeedsMac, "the guard and the patched driver run on macOS only").next(
        "run this on the Mac in question; here the command can only be run as it is, with \
         --guard off, or with a simulated Mac, with --simulate DIR",
    )
}

fn surroundings(mac: &Mac<'_>) -> Result<Surroundings> {
    let sip = match mac.host.csr_active_config()? {
        Some(bits) => !bits.allows(CsrConfig::TASK_FOR_PID),
        None => true,
    };
    // As shipped, no answer is needed.
    let validation_off =
        !sip && machine::library_validation(mac.host)? == machine::LibraryValidation::Off;
    let file =
        Universal::parse(mac.library).map_err(|error| error.with("file", "the guard library"))?;
    let library = file.slices.iter().map(|slice| slice.architecture).collect();
    Ok(Surroundings { sip, validation_off, library })
}

/// The verdict, or an error where the library would not get in.
fn admit(scene: &Scene<'_>, target: &Target, around: &Surroundings) -> Result<Verdict> {
    let verdict = advice::judge_target(scene.files, target, around);
    let (code, message) = match verdict.outcome {
        Outcome::Dropped => {
            (Code::GuardDropped, "macOS would drop the guard library in this program")
        }
        Outcome::Kills => {
            (Code::GuardKills, "the program would be killed at its start with the guard library")
        }
        Outcome::Fine | Outcome::Unknown | Outcome::Idle => return Ok(verdict),
    };
    let mut error = Error::new(code, message).with("program", target.program.display());
    if target.image != target.program {
        error = error.with("which is", target.image.display());
    }
    for reason in &verdict.reasons {
        error = error.with("because", reason);
    }
    Err(error.next(advice::instead(scene, target, around)))
}
