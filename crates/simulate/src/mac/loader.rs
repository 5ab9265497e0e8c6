//! The loader as it answers a trial: by who signed the image, what the protections
//! allow, and the release of macOS.

use serde::{Deserialize, Serialize};

use super::SignatureJudge;
use super::boot::library_validation_off;
use super::machine::{Machine, Signer};
use super::store::{self, Held};
use agxpatch_host::{CsrConfig, LoadTrial, Loading};

/// How the loader answers trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// By the rules.
    #[default]
    Works,
    /// It rejects the copy of the driver in a process of the program's own.
    RejectsCopy,
    /// It rejects the library in a program of Apple's.
    RejectsLibrary,
    /// No child process can be started.
    Absent,
}

/// The words of the kernel and of dyld.
pub(super) const NOT_PLATFORM: &str =
    "mapping process is a platform binary, but mapped file is not";

pub(super) fn answer(held: &Held, judge: &SignatureJudge, trial: &LoadTrial<'_>) -> Loading {
    let machine = &held.machine;
    let rejected = |reason: &str| Loading::Rejected(format!("dyld[1]: {reason}"));
    match (machine.loader, trial) {
        (Loader::Absent, _) => Loading::NotTried("no child process can be started".to_owned()),
        (Loader::RejectsCopy, LoadTrial::OwnProcess { .. }) => rejected("code signature invalid"),
        (Loader::RejectsLibrary, LoadTrial::PlatformProcess { .. }) => rejected(NOT_PLATFORM),
        (_, LoadTrial::OwnProcess { image }) => {
            let declared = machine.signed.get(&store::name_of(image)).copied();
            match declared.unwrap_or_else(|| judge(image)) {
                Signer::Broken => rejected("code signature invalid (errno = 1)"),
                Signer::Apple | Signer::AdHoc if loads_arm64e(machine) => Loading::Accepted,
                Signer::Apple | Signer::AdHoc => {
                    rejected("incompatible architecture (have 'arm64e', need 'arm64')")
                }
            }
        }
        (_, LoadTrial::PlatformProcess { .. }) => match honours_switch(machine) {
            None => Loading::NotTried("dyld ignored the library in silence".to_owned()),
            Some(true) => Loading::Accepted,
            Some(false) => rejected(NOT_PLATFORM),
        },
    }
}

/// Whether dyld loads arm64e images that are not Apple's: since macOS 14.4.
fn loads_arm64e(machine: &Machine) -> bool {
    let numbers = machine.release.version.split('.').map(|number| number.parse().unwrap_or(0));
    numbers.take(2).collect::<Vec<u32>>() >= vec![14, 4]
}

/// Whether library validation is off; none where dyld ignores its variables in a
/// program of Apple's, as it does with the protections on.
fn honours_switch(machine: &Machine) -> Option<bool> {
    let open = CsrConfig(machine.active_csr).allows(CsrConfig::TASK_FOR_PID);
    open.then(|| library_validation_off(machine))
}
