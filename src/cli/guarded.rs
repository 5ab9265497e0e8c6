//! Preparing a command for the guard: on this Mac, on a simulated one, or nowhere.
//!
//! `run` and `stress` start what [`launch::prepare`](fn@launch::prepare) prepared,
//! so that what is measured is what is used.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{Session, files, recipe};
use crate::launch::environment::{Way, changes};
use crate::launch::files::Disk;
use crate::launch::{self, Mac, Mode, Prepared, Request, Scene, library};
use crate::storage;
use crate::stress::{self, Configuration, Environment, Environments};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::{Host, Kind};

/// Prepares a command, with the guard library in the file `named` or else the one
/// this program carries.
///
/// # Errors
/// Those of [`launch::prepare`](fn@launch::prepare), `NoGuardLibrary`, and
/// `ReadFailed` for the file.
pub fn prepare(session: &Session, named: Option<&Path>, request: &Request<'_>) -> Result<Prepared> {
    if !request.needs_mac() {
        return launch::prepare(request, None);
    }
    if !has_mac(session) {
        return Err(launch::needs_a_mac());
    }
    let host = session.host()?;
    let home = home(host.as_ref())?;
    let given = named.map(storage::read).transpose()?;
    let library = match &given {
        Some(file) => &file.bytes[..],
        None => library::embedded()?,
    };
    let engine = || files::engine(session);
    let mac = Mac { host: host.as_ref(), home: &home, library, engine: &engine };
    launch::prepare(request, Some(&mac))
}

/// Whether there is a Mac, or one is simulated.
fn has_mac(session: &Session) -> bool {
    session.simulate.is_some() || cfg!(target_os = "macos")
}

/// The user's home. A host follows no link, and a home may lie behind one.
///
/// # Errors
/// `ReadFailed` where it cannot be found.
pub fn home(host: &dyn Host) -> Result<PathBuf> {
    let home = recipe::home()?;
    match host.kind() {
        Kind::Data => Ok(home),
        Kind::Real => std::fs::canonicalize(&home).map_err(|error| {
            Error::new(Code::ReadFailed, "the user's home cannot be found")
                .with("home", home.display())
                .with("reason", error)
        }),
    }
}

/// The working directory.
///
/// # Errors
/// `ReadFailed` where it is gone.
pub fn directory() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| {
        Error::new(Code::ReadFailed, "the working directory is gone").with("reason", error)
    })
}

/// The program a word of a command line stands for, by its absolute path: what is
/// run is what was found, whatever the PATH of a child.
///
/// # Errors
/// `CommandNotFound`, `NotExecutable`, and those of [`directory`].
pub fn program(word: &OsStr) -> Result<PathBuf> {
    let scene = Scene { files: &Disk, directory: &directory()? };
    scene.find(word, &std::env::vars_os().collect())
}

/// What brings the configurations of a stress run about. On a Mac `command` becomes
/// the program that `run` would start, for a shim in front of it would drop the
/// library and the comparison would be one of nothing with nothing.
///
/// # Errors
/// Those of [`prepare`].
pub fn environments<'s>(
    session: &'s Session,
    named: Option<&'s Path>,
    command: &mut stress::Command,
) -> Result<Box<dyn Environments + 's>> {
    if !has_mac(session) {
        return Ok(Box::new(stress::Guarded { library: None, macos: false }));
    }
    let program = std::iter::once(command.program.clone());
    let words = program.chain(command.arguments.iter().cloned()).collect();
    let launched = Launched { session, named, words, directory: directory()? };
    let target = launched.prepare(Mode::Off, None, false)?.target;
    command.program = target.program.into();
    command.arguments = target.arguments;
    Ok(Box::new(launched))
}

struct Launched<'s> {
    session: &'s Session,
    named: Option<&'s Path>,
    words: Vec<OsString>,
    directory: PathBuf,
}

impl Launched<'_> {
    fn prepare(&self, mode: Mode, driver: Option<Way>, no_coalescing: bool) -> Result<Prepared> {
        let request = Request {
            command: &self.words,
            mode,
            driver,
            no_coalescing,
            variables: std::env::vars_os().collect(),
            directory: &self.directory,
            reports: None,
        };
        prepare(self.session, self.named, &request)
    }
}

impl Environments for Launched<'_> {
    fn environment(&self, configuration: &Configuration) -> Result<Environment> {
        let (mode, driver) = match configuration {
            Configuration::Off
            | Configuration::Lock
            | Configuration::Batched
            | Configuration::Env(..) => (Mode::Off, None),
            Configuration::Guarded(mode) => (*mode, None),
            Configuration::NoCoalescing => (Mode::Off, None),
            Configuration::Patched => (Mode::Off, Some(Way::Both)),
        };
        let no_coalescing = *configuration == Configuration::NoCoalescing;
        let prepared = self.prepare(mode, driver, no_coalescing)?;
        let mut environment = Environment::default();
        for (name, value) in changes(&std::env::vars_os().collect(), &prepared.variables) {
            match value {
                Some(value) => environment.set.push((name, value)),
                None => environment.removed.push(name),
            }
        }
        Ok(environment.with(configuration))
    }
}
