//! The questions to the system, each held against the form this program knows.
//!
//! That a tool answers in a known form is what is checked, not whether the
//! answer is a good one: a Mac with every protection on passes.

use std::path::Path;

use crate::check::Check;
use crate::doctor;
use crate::error::{Error, Result};
use crate::host::machine::{self, FileVault, LibraryValidation, Signer};
use crate::host::sip::Sip;
use crate::host::{FileKind, Host, Kind, Tool, flag, volume};

use super::private::Private;

/// Every question.
pub(super) fn checks(host: &dyn Host, private: &Private) -> Vec<Check> {
    let known = |name, answer: Result<String>| form(name, answer, private);
    let mut checks = vec![
        tools(host),
        known("macos", machine::release(host).map(|r| format!("{} ({})", r.version, r.build))),
        same_release(host, private),
    ];
    checks.extend(sip(host, private));
    checks.extend([
        known("filevault", machine::filevault(host).map(filevault)),
        known("library-validation", machine::library_validation(host).map(library_validation)),
        known("boot-args", machine::boot_args(host).map(boot_args)),
        known("boot-session", machine::boot_session(host).map(|_| "a UUID".to_owned())),
        known("metal-plugin", plugins(host)),
        known("system-volume", system_volume(host)),
        known("snapshots", snapshots(host)),
        known("booted-seal", volume::booted_seal_intact(host).map(seal)),
        known("staged-update", volume::staged_update(host).map(|update| staged(update.as_ref()))),
        driver_file(host, private),
        known("driver-signer", machine::signer(host, &doctor::driver_path()).map(signer)),
        Check::skipped("bless", "only a deployment runs it; no question of its own is needed"),
    ]);
    checks
}

/// The bytes of the driver that is installed.
pub(super) fn installed_driver(host: &dyn Host) -> Result<Vec<u8>> {
    host.read(&doctor::driver_path()).map(|file| file.bytes)
}

/// PASS with the answer, or FAIL with what came instead.
fn form(name: &'static str, answer: Result<String>, private: &Private) -> Check {
    match answer {
        Ok(text) => Check::pass(name, private.without(&text)),
        Err(error) => Check::fail(name, told(&error, private)),
    }
}

/// An error with the answer that was not understood, which is what a maintainer
/// needs: of a text its words, of a property list only the keys.
fn told(error: &Error, private: &Private) -> String {
    let mut text = error.to_string();
    for (name, value) in error.context() {
        let value = if value.contains("<plist") { keys(value) } else { value.clone() };
        let line: Vec<&str> = value.lines().map(str::trim).collect();
        text.push_str(&format!("; {name}: {}", line.join(" | ")));
    }
    private.without(&text)
}

/// The keys of a property list, without what they stand for.
fn keys(plist: &str) -> String {
    let keys = plist.split("<key>").skip(1).filter_map(|rest| rest.split("</key>").next());
    format!("a property list with the keys {}", keys.collect::<Vec<_>>().join(", "))
}

fn tools(host: &dyn Host) -> Check {
    if host.kind() == Kind::Simulated {
        return Check::skipped("tools", "a simulated Mac has its tools in itself");
    }
    let there = |tool: &&Tool| matches!(host.metadata(tool.path()), Ok(Some(_)));
    let missing: Vec<&str> =
        Tool::ALL.iter().filter(|tool| !there(tool)).map(|tool| tool.name()).collect();
    match missing.is_empty() {
        true => Check::pass("tools", format!("all {} are where they should be", Tool::ALL.len())),
        false => Check::fail("tools", format!("not there: {}", missing.join(", "))),
    }
}

/// `sw_vers` and the file that a deployment looks at must say the same.
fn same_release(host: &dyn Host, private: &Private) -> Check {
    const NAME: &str = "system-version-file";
    let on_disk = machine::release_on(host, Path::new("/"));
    match on_disk.and_then(|on_disk| Ok((on_disk, machine::release(host)?))) {
        Ok((on_disk, running)) => Check::from(
            NAME,
            on_disk == running,
            format!("{} ({})", on_disk.version, on_disk.build),
        ),
        Err(error) => Check::fail(NAME, told(&error, private)),
    }
}

fn filevault(state: FileVault) -> String {
    match state {
        FileVault::Off => "off".to_owned(),
        FileVault::NotOff(said) => said,
    }
}

fn library_validation(state: LibraryValidation) -> String {
    match state {
        LibraryValidation::On => "on",
        LibraryValidation::Off => "off for the whole machine",
    }
    .to_owned()
}

fn signer(signer: Signer) -> String {
    match signer {
        Signer::Apple => "Apple, by codesign".to_owned(),
        Signer::AdHoc => "ad hoc, by codesign".to_owned(),
        Signer::Other => "somebody else, by codesign".to_owned(),
        Signer::Invalid(said) => said.lines().collect::<Vec<_>>().join(" | "),
    }
}

fn sip(host: &dyn Host, private: &Private) -> Vec<Check> {
    let bits = match host.csr_active_config() {
        Ok(Some(bits)) => Check::pass("csr-system-call", bits.to_string()),
        Ok(None) => Check::skipped("csr-system-call", "this system has no such call"),
        Err(error) => Check::fail("csr-system-call", told(&error, private)),
    };
    let sip = match Sip::ask(host) {
        Ok(sip) => sip,
        Err(error) => return vec![bits, Check::fail("csrutil", told(&error, private))],
    };
    let root = if sip.authenticated_root { "enabled" } else { "disabled" };
    let lines = sip.csrutil.items.len();
    let answer = format!("{:?}, {lines} lines; authenticated root {root}", sip.csrutil.word);
    let differing: Vec<&str> = sip.disagreements.iter().map(|one| one.bit).collect();
    let agree = match (sip.from_kernel, differing.is_empty()) {
        (false, _) => Check::skipped("csrutil-and-kernel", "the kernel could not be asked"),
        (true, true) => Check::pass("csrutil-and-kernel", "they say the same"),
        (true, false) => {
            let detail = format!("they contradict each other on {}", differing.join(", "));
            Check::fail("csrutil-and-kernel", detail)
        }
    };
    vec![bits, Check::pass("csrutil", answer), agree]
}

/// Boot arguments can say anything about their owner; only ours are named.
fn boot_args(arguments: Option<String>) -> String {
    let Some(arguments) = arguments else { return "none".to_owned() };
    let loosening = machine::loosening(&arguments);
    let count = arguments.split_whitespace().count();
    match loosening.is_empty() {
        true => format!("{count}, none about code signing"),
        false => format!("{count}, among them {}", loosening.join(" ")),
    }
}

fn plugins(host: &dyn Host) -> Result<String> {
    let plugins = machine::metal_plugins(host)?;
    let named = |plugin: &machine::MetalPlugin| {
        format!("{} ({})", plugin.name, plugin.class.as_deref().unwrap_or("no class named"))
    };
    let names: Vec<String> = plugins.iter().map(named).collect();
    Ok(if names.is_empty() { "no accelerator".to_owned() } else { names.join(", ") })
}

fn system_volume(host: &dyn Host) -> Result<String> {
    let volume = volume::system_volume(host)?;
    let runs = if volume.snapshot.is_some() { "a snapshot of " } else { "" };
    let mounted = if volume.mounted_at.is_some() { "mounted" } else { "not mounted" };
    Ok(format!("macOS runs from {runs}{}, which is {mounted}", volume.device))
}

fn snapshots(host: &dyn Host) -> Result<String> {
    let volume = volume::system_volume(host)?;
    let snapshots = volume::snapshots(host, &volume.device)?;
    let sealed = snapshots.iter().filter(|snapshot| snapshot.is_sealed_release()).count();
    let blessed =
        snapshots.iter().filter(|one| one.name.starts_with(volume::BLESSED_PREFIX)).count();
    Ok(format!("{}: {sealed} of Apple's, {blessed} made by bless", snapshots.len()))
}

fn seal(intact: Option<bool>) -> String {
    match intact {
        Some(true) => "intact",
        Some(false) => "broken",
        None => "diskutil does not say",
    }
    .to_owned()
}

fn staged(update: Option<&volume::StagedUpdate>) -> String {
    match update {
        None => "none".to_owned(),
        Some(update) => format!("build {}", update.build.as_deref().unwrap_or("not named")),
    }
}

fn driver_file(host: &dyn Host, private: &Private) -> Check {
    let path = doctor::driver_path();
    let answer = host.metadata(&path).map(|metadata| match metadata {
        None => "not there".to_owned(),
        Some(found) => {
            let restricted = found.flags & flag::RESTRICTED != 0;
            format!(
                "{} bytes, mode {:o}, owner {}:{}, {} name(s){}{}",
                found.length,
                found.mode,
                found.user,
                found.group,
                found.links,
                if restricted { ", restricted" } else { "" },
                if found.kind == FileKind::File { "" } else { ", not a regular file" },
            )
        }
    });
    form("driver-file", answer, private)
}
