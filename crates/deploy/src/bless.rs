//! Choosing what the next start boots from, with `bless`.
//!
//! `bless` says which snapshot it made on standard error, without a newline, so that
//! other text may follow on the same line; and it may fail after it has made and chosen
//! one. So its words are a hint, and the difference between the lists of snapshots
//! before and after is what counts.

use std::path::Path;

use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::volume::{self, BLESSED_PREFIX};
use agxpatch_host::{Command, Host, Input, Output, Tool, tool_failed};

/// What came of making a snapshot.
#[derive(Debug)]
pub enum SnapshotMade {
    /// It is made, and the next start boots from it.
    Chosen(String),
    /// It is made, and `bless` failed afterwards: the next start may boot from it.
    MaybeChosen {
        /// Its name.
        name: String,
        /// What `bless` said.
        cause: Error,
    },
}

/// Makes a snapshot of the live volume, mounted at `mount`, and chooses it for the next
/// start. `bless` asks for nothing here.
pub fn create_snapshot(host: &dyn Host, device: &str, mount: &Path) -> Result<SnapshotMade> {
    let command = Command::effect(Tool::Bless, ["--mount"])
        .argument(mount)
        .argument("--create-snapshot")
        .argument("--verbose");
    let before = blessed(host, device)?;
    let answer = host.run(&command);
    let made: Vec<String> =
        blessed(host, device)?.into_iter().filter(|name| !before.contains(name)).collect();
    let said = answer.as_ref().ok().and_then(named);
    let named = made.iter().find(|name| said.as_ref() == Some(name)).or(made.last()).cloned();
    match (answer, named) {
        (Ok(output), Some(name)) if output.succeeded() => Ok(SnapshotMade::Chosen(name)),
        (Ok(output), None) if output.succeeded() => {
            Err(Error::new(Code::SnapshotMissing, "bless succeeded, but no new snapshot is listed")
                .with("command", command)
                .with("stderr", output.complaint().trim_end()))
        }
        (Ok(output), name) => maybe(name, tool_failed(&command, &output)),
        (Err(error), name) => maybe(name, error),
    }
}

fn maybe(name: Option<String>, cause: Error) -> Result<SnapshotMade> {
    match name {
        Some(name) => Ok(SnapshotMade::MaybeChosen { name, cause }),
        None => Err(cause),
    }
}

/// The snapshots that `bless` made, in diskutil's order.
fn blessed(host: &dyn Host, device: &str) -> Result<Vec<String>> {
    let snapshots = volume::snapshots(host, device)?.into_iter();
    Ok(snapshots.filter(volume::Snapshot::is_blessed).map(|snapshot| snapshot.name).collect())
}

/// The snapshot that `bless` names: its prefix and a UUID, whatever follows.
fn named(output: &Output) -> Option<String> {
    const UUID: usize = 36;
    let text = output.text() + &output.complaint();
    let (_, rest) = text.split_once("will boot from snapshot ")?;
    rest.starts_with(BLESSED_PREFIX)
        .then(|| rest.get(..BLESSED_PREFIX.len() + UUID))?
        .map(Into::into)
}

/// Whose password `bless` is given when it goes back to Apple's snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// The person at the terminal types it, asked by `bless` itself.
    #[default]
    AtTerminal,
    /// A local owner of the machine and the password.
    Named {
        /// The short name.
        user: String,
        /// The password, passed on and kept nowhere.
        password: Vec<u8>,
    },
}

/// How often a person may mistype the password.
const MAX_PASSWORDS: u32 = 3;

/// How going back to Apple's snapshot went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// As it should.
    Chosen,
    /// The choice of our snapshot was cleared, which is what counts, and what `bless`
    /// does next with an owner's password failed. The sentence says how.
    ClearedOnly(String),
}

/// Chooses Apple's sealed snapshot for the next start. `bless` clears the choice of any
/// other first and asks for the owner's password afterwards.
///
/// # Errors
/// Where the choice was not cleared.
pub fn choose_sealed(host: &dyn Host, mount: &Path, owner: &Owner) -> Result<Sealed> {
    let command = Command::effect(Tool::Bless, ["--mount"])
        .argument(mount)
        .argument("--last-sealed-snapshot");
    let command = match owner {
        Owner::AtTerminal => command.input(Input::Terminal),
        Owner::Named { user, password } => {
            let command = command.argument("--user").argument(user).argument("--stdinpass");
            command.input(Input::Secret(password.clone()))
        }
    };
    let mut attempts = if *owner == Owner::AtTerminal { MAX_PASSWORDS } else { 1 };
    loop {
        let output = host.run(&command)?;
        if output.succeeded() {
            return Ok(Sealed::Chosen);
        }
        attempts -= 1;
        let complaint = output.complaint();
        match Refusal::of(&complaint) {
            None => return Err(tool_failed(&command, &output)),
            Some(Refusal::NotOwner) if attempts > 0 => {}
            Some(refusal) => return Ok(Sealed::ClearedOnly(refusal.told(owner, &complaint))),
        }
    }
}

/// The number in `Error Domain=BYErrorDomain Code=103`.
fn bootability_code(complaint: &str) -> Option<u32> {
    let (_, rest) = complaint.split_once("BYErrorDomain Code=")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What `bless` fails at after it has cleared the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// `BYErrorDomain Code=103`.
    NotOwner,
    /// It could read no password, or did not know whose.
    NoPassword,
    /// `BYErrorDomain Code=302`.
    SigningServer,
    /// Another error of `BYErrorDomain`.
    Other,
}

impl Refusal {
    /// None where the complaint is not known to come after the clearing.
    fn of(complaint: &str) -> Option<Refusal> {
        let has = |text: &str| complaint.contains(text);
        let code = bootability_code(complaint);
        if code == Some(103) || has("Owner authentication is required") {
            Some(Refusal::NotOwner)
        } else if has("Failed to authenticate owner") || has("getlogin() failed") {
            Some(Refusal::NoPassword)
        } else if code == Some(302) {
            Some(Refusal::SigningServer)
        } else if code.is_some() || has("Bootability failed") {
            Some(Refusal::Other)
        } else {
            None
        }
    }

    fn told(self, owner: &Owner, complaint: &str) -> String {
        let who = match owner {
            Owner::AtTerminal => "the user who logged in",
            Owner::Named { user, .. } => user,
        };
        let said = complaint.trim();
        match self {
            Refusal::NotOwner => format!(
                "the password was wrong, or {who} is not an owner of this Mac (bless: \"{said}\")"
            ),
            Refusal::NoPassword => format!("bless could not read a password (\"{said}\")"),
            Refusal::SigningServer => format!(
                "the password was accepted, but Apple's signing server could not be used; connect \
                 this Mac to the internet (bless: \"{said}\")"
            ),
            Refusal::Other => format!("bless failed afterwards (\"{said}\")"),
        }
    }
}
