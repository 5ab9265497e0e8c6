//! What the owner would do about FileVault, for each state that `fdesetup` tells.

use agxpatch_host::machine::{FileVault, NotOff};

use super::depth::Depth::System;
use super::{Finding, Remedy};

const NAME: &str = "filevault";
/// An organisation's profile may switch FileVault on again.
const MDM: &str = "General > Device Management: a profile that requires FileVault switches it on \
                   again; ask who manages this Mac";

/// FileVault as a finding: only exactly off is good.
pub(super) fn finding(state: &FileVault) -> Finding {
    let (FileVault::NotOff(said), Some(kind)) = (state, state.not_off()) else {
        return Finding::good(NAME, "off");
    };
    let blocker = Finding::bad(
        NAME,
        format!("not off: \"{said}\" (Macs with a broken seal and FileVault did not boot)"),
        &[System],
    );
    let disable = Remedy::terminal("sudo fdesetup disable");
    match kind {
        NotOff::On => blocker.remedy(disable).remedy(Remedy::settings(MDM)),
        NotOff::Decrypting => blocker
            .remedy(Remedy::terminal("fdesetup status (until it says \"FileVault is Off.\")")),
        NotOff::OffAfterRestart => blocker.remedy(Remedy::terminal("sudo shutdown -r now")),
        NotOff::OnAfterRestart => blocker.remedy(disable).remedy(Remedy::settings(MDM)),
        NotOff::Deferred => blocker
            .remedy(Remedy::settings(MDM))
            .remedy(Remedy::terminal("sudo fdesetup disable (ends the deferred enablement)")),
        NotOff::MasterKeychain => blocker.remedy(Remedy::settings(MDM)).remedy(Remedy::terminal(
            "sudo mv /Library/Keychains/FileVaultMaster.keychain \
                 /Library/Keychains/FileVaultMaster.keychain.off",
        )),
        NotOff::Unknown => blocker.remedy(Remedy::settings(
            "Privacy & Security > FileVault: see what it says, and report the text above",
        )),
    }
}
