//! FileVault: exactly off, or anything else in `fdesetup`'s words.

use serde::Serialize;

use super::{Command, Host, Tool, unknown_answer};
use agxpatch_core::error::Result;

/// Whether FileVault is exactly off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "filevault", content = "said")]
pub enum FileVault {
    /// `FileVault is Off.` and nothing else.
    Off,
    /// Anything else, in fdesetup's words.
    NotOff(String),
}

/// What is known of a state that is not exactly off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOff {
    /// On, or on its way on.
    On,
    /// On its way off.
    Decrypting,
    /// Off, and on again with the next restart.
    OnAfterRestart,
    /// Off as soon as the Mac was restarted.
    OffAfterRestart,
    /// Off until a user logs in or out, who is then asked to switch it on.
    Deferred,
    /// Off; a key of the organisation's is installed, for when it is switched on.
    MasterKeychain,
    /// A text that is not known.
    Unknown,
}

impl FileVault {
    /// Which state the text stands for; none where FileVault is off.
    pub fn not_off(&self) -> Option<NotOff> {
        let FileVault::NotOff(said) = self else { return None };
        let has = |words: &str| said.contains(words);
        // A second line adds to the first: on is on, whatever keys are installed besides.
        Some(if has("Decryption in progress") || has("will be disabled after the next restart") {
            NotOff::Decrypting
        } else if said.starts_with("FileVault is On") || has("Encryption in progress") {
            NotOff::On
        } else if has("will be enabled after the next restart") {
            NotOff::OnAfterRestart
        } else if has("needs to be restarted to finish") {
            NotOff::OffAfterRestart
        } else if has("Deferred enablement") {
            NotOff::Deferred
        } else if has("master keychain") {
            NotOff::MasterKeychain
        } else {
            NotOff::Unknown
        })
    }
}

/// The state of FileVault.
pub fn filevault(host: &dyn Host) -> Result<FileVault> {
    let command = Command::question(Tool::Fdesetup, ["status"]);
    let output = host.ask(&command)?;
    let text = output.text();
    match text.trim() {
        "" => Err(unknown_answer(&command, "FileVault is Off. or On.", &output)),
        "FileVault is Off." => Ok(FileVault::Off),
        text => Ok(FileVault::NotOff(text.lines().map(str::trim).collect::<Vec<_>>().join(" "))),
    }
}
