//! `agxpatch --simulate DIR simulate …`: what is done to a Mac from outside.

mod facts;
mod glance;
mod process;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Session;
use crate::storage;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_host::CsrConfig;
use agxpatch_simulate::driver;
use agxpatch_simulate::mac::{
    self, Asking, Boot, Fault, Gone, Loss, Model, Reach, Release, Said, SimulatedMac,
};
use facts::set;
use glance::glance;
use process::{get, put, tool};

/// Create and drive a simulated Mac
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Create a Mac, protected as shipped.
    New {
        /// The driver it gets; without, one is made up.
        #[arg(long)]
        driver: Option<PathBuf>,
        /// Switch off what a deployment needs off, as its owner would have.
        #[arg(long)]
        open: bool,
        /// The version of its macOS. Only 15 and 26 have the driver in a file.
        #[arg(long, default_value = "15.7.3")]
        macos: String,
        /// The build of its macOS.
        #[arg(long)]
        build: Option<String>,
        /// The driver its GPU asks for.
        #[arg(long, default_value = mac::PLUGIN)]
        plugin: String,
    },
    /// Show its state.
    Show,
    /// Shut it down and boot it.
    Reboot {
        /// Boot recoveryOS.
        #[arg(long)]
        recovery: bool,
    },
    /// Cut its power.
    PowerOff {
        /// What of the unforced writes is lost.
        #[arg(long, default_value = "everything")]
        loss: Loss,
    },
    /// Set the bits of System Integrity Protection, such as 0x86f, and reboot.
    Protections {
        /// The bits.
        #[arg(value_parser = bits)]
        bits: u32,
    },
    /// Set a fact: `library-validation on`, `filevault off` (or `on`, `on-after-restart`,
    /// `off-after-restart`, `deferred`, `master-keychain`), `filevault-profile on` (MDM),
    /// `full-disk-access off` (TCC), `external on`, `ownership off`, `boot-args TEXT`,
    /// `terminal none`, `user 501`, `free BYTES`, `plugin NAME`, `csrutil TEXT`,
    /// `installations NAME,NAME`, `system-name NAME`, `data-name NAME`,
    /// `unmounted NAME,NAME` (what recoveryOS does not mount), `loader works`,
    /// `rejects-copy`, `rejects-library` or `absent`. Or the words of a tool:
    /// `"fdesetup status" TEXT`, and its own again with an empty text.
    Set {
        /// Which fact, or the beginning of a tool's command line.
        name: String,
        /// To what; of a tool, what it says on standard output.
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// What the tool says on standard error.
        #[arg(long, value_name = "TEXT")]
        stderr: Option<String>,
        /// The tool's exit code.
        #[arg(long, value_name = "CODE", default_value_t = 0, allow_negative_numbers = true)]
        exit_code: i32,
        /// Let the tool do its work before it says that.
        #[arg(long)]
        after_work: bool,
        /// Let the tool hang.
        #[arg(long)]
        hangs: bool,
    },
    /// Begin to prepare an update.
    StageUpdate {
        /// Such as 15.8.
        version: String,
        /// Such as 24H1.
        build: String,
    },
    /// Install an update and boot it.
    Update {
        /// Such as 15.8.
        version: String,
        /// Such as 24H1.
        build: String,
        /// The driver it brings; without, one of another build is made up.
        #[arg(long)]
        driver: Option<PathBuf>,
    },
    /// Inject a fault at the NTH effect from now.
    Fault {
        /// Counted from 1.
        nth: u64,
        /// What.
        kind: FaultKind,
        /// How far the effect gets.
        #[arg(long, default_value = "after")]
        reach: Reach,
        /// What of the unforced writes is lost with the power.
        #[arg(long, default_value = "everything")]
        loss: Loss,
    },
    /// Write one of its files to standard output.
    Get {
        /// The file's path on the Mac.
        path: PathBuf,
    },
    /// Put standard input into one of its files, replacing it as `cp` would.
    Put {
        /// The file's path on the Mac.
        path: PathBuf,
    },
    /// Run one of its tools.
    #[command(disable_help_flag = true)]
    Tool {
        /// Its name, such as csrutil.
        name: String,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum FaultKind {
    /// EIO.
    Io,
    /// ENOSPC.
    Space,
    /// Power goes.
    Power,
    /// The process is killed.
    Kill,
    /// The process gets what Ctrl-C sends.
    Interrupt,
    /// The process gets what `kill` sends.
    Terminate,
    /// The process gets what a lost connection sends.
    HangUp,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let directory = session.simulate.as_deref().ok_or_else(|| {
        Error::new(Code::BadArgument, "no simulated Mac is named").next("add --simulate DIR")
    })?;
    match args.verb {
        Verb::New { driver, open, macos, build, plugin } => {
            let build = build.unwrap_or_else(|| usual_build(&macos).to_owned());
            let model = Model { release: Release { version: macos, build }, plugin };
            new(session, directory, &model, driver, open)
        }
        Verb::Tool { name, arguments } => {
            tool(&session.open_simulated(directory)?, &name, arguments)
        }
        Verb::Get { path } => get(&session.open_simulated(directory)?, &path),
        Verb::Put { path } => put(&session.open_simulated(directory)?, &path),
        verb => {
            let mac = session.open_simulated(directory)?;
            let boot = handle(&mac, verb)?;
            session.show(&glance(mac.machine()?, boot))
        }
    }
}

/// What a process says whose simulated Mac is gone.
pub fn gone(gone: &Gone) -> Error {
    let error = Error::new(Code::HostIo, gone.to_string());
    let error = match gone.struck {
        Some((fault, effect)) => error.with("effect", effect).with("fault", format!("{fault:?}")),
        None => error.with("state", format!("{:?}", gone.mode)),
    };
    error.next("start it with `agxpatch --simulate DIR simulate reboot`")
}

/// A build of that macOS.
fn usual_build(version: &str) -> &'static str {
    match version.split('.').next() {
        Some("13") => "22G720",
        Some("14") => "23H626",
        Some("26") => "25D125",
        Some("27") => "26A428",
        _ => "24G419",
    }
}

fn new(
    session: &Session,
    directory: &Path,
    model: &Model,
    file: Option<PathBuf>,
    open: bool,
) -> Result<Exit> {
    let driver = driver_bytes(file, &driver::Variant::PUBLISHED)?;
    let mac = SimulatedMac::create_model(directory, model, &driver)?;
    let boot = if open { Some(mac.open_for_deployment()?) } else { None };
    session.show(&glance(mac.machine()?, boot))
}

fn driver_bytes(file: Option<PathBuf>, variant: &driver::Variant) -> Result<Vec<u8>> {
    match file {
        Some(path) => Ok(storage::read(&path)?.bytes.to_vec()),
        None => driver::build(variant),
    }
}

fn handle(mac: &SimulatedMac, verb: Verb) -> Result<Option<Boot>> {
    match verb {
        Verb::Reboot { recovery: false } => return mac.reboot().map(Some),
        Verb::Reboot { recovery: true } => mac.reboot_to_recovery()?,
        Verb::PowerOff { loss } => mac.power_off(loss)?,
        Verb::Protections { bits } => return mac.set_protections(CsrConfig(bits)).map(Some),
        Verb::Set { name, value, stderr, exit_code: rc, after_work, hangs } => {
            let err = stderr.unwrap_or_default();
            let said = Said { rc, out: value.clone(), err, after_work, hangs };
            set(mac, &name, &value, said)?;
        }
        Verb::StageUpdate { version, build } => mac.stage_update(Release { version, build })?,
        Verb::Update { version, build, driver } => {
            let other = driver::Variant::ALL.get(1).unwrap_or(&driver::Variant::PUBLISHED);
            let driver = driver_bytes(driver, other)?;
            return mac.install_update(Release { version, build }, &driver).map(Some);
        }
        Verb::Fault { nth, kind, reach, loss } => mac.inject(nth, fault(kind, reach, loss))?,
        Verb::Show | Verb::New { .. } | Verb::Tool { .. } | Verb::Get { .. } | Verb::Put { .. } => {
        }
    }
    Ok(None)
}

fn fault(kind: FaultKind, reach: Reach, loss: Loss) -> Fault {
    match kind {
        FaultKind::Io => Fault::InputOutput,
        FaultKind::Space => Fault::NoSpace,
        FaultKind::Power => Fault::Power { reach, loss },
        FaultKind::Kill => Fault::Kill { reach },
        FaultKind::Interrupt => Fault::Signal { signal: Asking::Interrupt },
        FaultKind::Terminate => Fault::Signal { signal: Asking::Terminate },
        FaultKind::HangUp => Fault::Signal { signal: Asking::HangUp },
    }
}

fn bits(text: &str) -> std::result::Result<u32, String> {
    let digits = text.trim_start_matches("0x");
    u32::from_str_radix(digits, 16).map_err(|error| error.to_string())
}
