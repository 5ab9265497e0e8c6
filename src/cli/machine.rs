//! What the commands that change a machine share: the record of commands, the
//! rehearsal, the question whether to go ahead, whose password is passed on.

use std::io::{self, IsTerminal, Read};

use super::steps::Steps;
use super::{Session, files, selftest};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_deploy::{
    CommandLog, DriverPatcher, EnginePatcher, LogState, Manifest, Owner, Progress, layout,
};
use agxpatch_host::Host;
use agxpatch_host::command::quoted;
use agxpatch_host::dry_run::DryRun;
use agxpatch_host::logging_host::Logged;
use agxpatch_host::recording;

/// What came of work on a machine.
pub struct Worked<T> {
    /// The result.
    pub result: T,
    /// In a rehearsal, what would have been done.
    pub rehearsal: Option<Vec<String>>,
    /// What a person should hear of the record of commands.
    pub record_note: Option<String>,
}

/// Works on the session's machine, or rehearses on it. What was run is recorded
/// beside the journal if the work got as far as changing something.
pub fn work<T>(
    session: &Session,
    dry_run: bool,
    work: impl FnOnce(&dyn Host, &dyn DriverPatcher, &dyn Progress) -> Result<T>,
) -> Result<Worked<T>> {
    if session.replay.is_some() && !dry_run {
        return Err(recording::refused("a change of the system volume"));
    }
    let machine = session.host()?;
    let engine = files::engine(session)?;
    let canary = selftest::guard(None).ok().flatten();
    let patcher = EnginePatcher { engine: &engine, canary: canary.as_deref() };
    if dry_run {
        let rehearsal = DryRun::new(machine.as_ref());
        let result = work(&rehearsal, &patcher, &());
        let result = result.map_err(|error| match error.code() {
            Code::NotRoot => error.next(as_root()),
            _ => error,
        })?;
        return Ok(Worked { result, rehearsal: Some(rehearsal.plan()), record_note: None });
    }
    let log = CommandLog::new(machine.as_ref());
    let logged = Logged::new(machine.as_ref(), &log);
    let result = work(&logged, &patcher, &Steps::new(session.json));
    let state = log.finish();
    let path = layout::log().display().to_string();
    let record_note = match &state {
        LogState::Incomplete(reason) => Some(format!("{path} is incomplete: {reason}")),
        LogState::Kept | LogState::NotBegun => None,
    };
    match (result, state) {
        (Ok(result), _) => Ok(Worked { result, rehearsal: None, record_note }),
        (Err(error), _) if error.code() == Code::NotRoot => Err(error.next(as_root())),
        (Err(error), LogState::NotBegun) => Err(error),
        (Err(error), _) => Err(error.with("log", record_note.unwrap_or(path))),
    }
}

/// This command line, for root.
fn as_root() -> String {
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ");
    format!("sudo agxpatch {words}")
}

/// Has a person type the name of the driver. `otherwise` is what a script would type.
pub fn ask(question: &str, manifest: &Manifest, otherwise: &str) -> Result<()> {
    let refused = |why: &str| Error::new(Code::NoConsent, why).next(otherwise.to_owned());
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(refused("confirmation needed, but stdin is not a terminal"));
    }
    let name = manifest.driver.rsplit('/').next().unwrap_or_default();
    let prompt = format!("{question} Type {name} to go ahead");
    let typed = dialoguer::Input::<String>::new().with_prompt(prompt).allow_empty(true);
    match typed.interact_text() {
        Ok(typed) if typed.trim() == name => Ok(()),
        Ok(_) => Err(refused("another name was typed; nothing was changed")),
        Err(_) => Err(refused("the answer could not be read; nothing was changed")),
    }
}

/// Whose password `bless` gets.
#[derive(clap::Args, Debug)]
pub struct OwnerArgs {
    /// Authenticate as this local owner; the password is read from standard
    /// input. Without it, bless asks at the terminal.
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    user: Option<String>,

    /// Read the owner's password from standard input.
    #[arg(long, requires = "user")]
    password_stdin: bool,
}

impl OwnerArgs {
    /// The command line with these options that a script would run.
    pub fn scripted(&self, command: &str) -> String {
        match &self.user {
            None => format!("sudo agxpatch {command}"),
            Some(user) => format!(
                "printf '%s\\n' \"$PASSWORD\" | sudo agxpatch {command} --user {} --password-stdin",
                quoted(user)
            ),
        }
    }

    /// Reads the password if one is to be read.
    pub fn owner(&self) -> Result<Owner> {
        let Some(user) = self.user.clone() else { return Ok(Owner::AtTerminal) };
        let mut password = Vec::new();
        io::stdin().lock().read_to_end(&mut password).map_err(|reason| {
            Error::new(Code::ReadFailed, "the password cannot be read").with("reason", reason)
        })?;
        Ok(Owner::Named { user, password })
    }
}
