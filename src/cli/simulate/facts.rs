//! `simulate set`: facts of a Mac, and the words of its tools.

use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::Tool;
use agxpatch_simulate::mac::{
    CsrutilForm, FileVault, Loader, Machine, Said, SimulatedMac, Terminal,
};

/// Whether this is the beginning of the command line of a tool.
fn names_tool(name: &str) -> bool {
    let first = name.split(' ').next().unwrap_or_default();
    Tool::ALL.iter().any(|tool| tool.name() == first)
}

/// Gives a tool other words, or its own again.
fn set_words(mac: &SimulatedMac, name: &str, said: Said) -> Result<()> {
    mac.change(|machine| match said == Said::default() {
        true => drop(machine.said.remove(name)),
        false => drop(machine.said.insert(name.to_owned(), said)),
    })
}

/// The names in a list with commas.
fn listed(value: &str) -> Vec<String> {
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A state of FileVault by its name.
fn filevault(name: &str) -> Option<FileVault> {
    Some(match name {
        "on" => FileVault::On,
        "off" => FileVault::Off,
        "on-after-restart" => FileVault::OnAfterRestart,
        "off-after-restart" => FileVault::OffAfterRestart,
        "deferred" => FileVault::Deferred,
        "master-keychain" => FileVault::MasterKeychain,
        _ => return None,
    })
}

/// Sets a fact, or gives a tool other words.
pub(super) fn set(mac: &SimulatedMac, name: &str, value: &str, said: Said) -> Result<()> {
    // A bare `csrutil` is the older fact of this name.
    if names_tool(name)
        && (name != "csrutil" || said != Said { out: value.into(), ..Said::default() })
    {
        return set_words(mac, name, said);
    }
    let wrong = || {
        Error::new(Code::BadArgument, "this fact cannot have that value")
            .with("fact", name)
            .with("value", value)
            .next("agxpatch simulate set --help")
    };
    let number = || value.parse::<u64>().map_err(|_| wrong());
    let on = match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    };
    let text = Some(value.to_owned()).filter(|text| !text.is_empty());
    match name {
        "library-validation" => mac.set_library_validation(on.ok_or_else(wrong)?),
        "filevault" => {
            let state = filevault(value).ok_or_else(wrong)?;
            mac.change(|machine| machine.filevault = state)
        }
        "boot-args" => mac.change(|machine| machine.boot_args = text),
        "plugin" => mac.change(|machine| machine.metal_plugin = text),
        "csrutil" => {
            let form = text.map_or(CsrutilForm::Modern, CsrutilForm::Fixed);
            mac.change(|machine| machine.csrutil = form)
        }
        "installations" => {
            let names = listed(value);
            mac.change(|machine| machine.other_installations = names)
        }
        "unmounted" => {
            let names = listed(value);
            mac.change(|machine| machine.unmounted_in_recovery = names)
        }
        "system-name" => mac.change(|machine| machine.system_name = value.to_owned()),
        "data-name" => mac.change(|machine| machine.data_name = value.to_owned()),
        "loader" => {
            let loader = <Loader as clap::ValueEnum>::from_str(value, true);
            let loader = loader.map_err(|_| wrong())?;
            mac.change(|machine| machine.loader = loader)
        }
        "free" => {
            let free = number()?;
            mac.change(|machine| machine.free = free)
        }
        "user" => {
            let user = u32::try_from(number()?).map_err(|_| wrong())?;
            mac.change(|machine| machine.user = user)
        }
        "terminal" => {
            let terminal = <Terminal as clap::ValueEnum>::from_str(value, true);
            let terminal = terminal.map_err(|_| wrong())?;
            mac.change(|machine| machine.terminal = terminal)
        }
        _ => {
            let on = on.ok_or_else(wrong)?;
            match mac.change(|machine| switch(machine, name, on))? {
                true => Ok(()),
                false => Err(wrong()),
            }
        }
    }
}

/// Sets a fact that is on or off. Returns whether there is one of that name.
fn switch(machine: &mut Machine, name: &str, on: bool) -> bool {
    match name {
        "external" => machine.external = on,
        "ownership" => machine.ownership_ignored = !on,
        "full-disk-access" => machine.no_full_disk_access = !on,
        "filevault-profile" => machine.profile_requires_filevault = on,
        _ => return false,
    }
    true
}
