//! The questions to the system, each held against the form this program knows.
//!
//! That a tool answers in a known form is what is checked, not whether the
//! answer is a good one: a Mac with every protection on passes.

use agxpatch_core::check::Check;
use agxpatch_core::error::{Error, Result};
use agxpatch_host::driver::DriverBundle;
use agxpatch_host::machine::{self, FileVault, LibraryValidation, Signer};
use agxpatch_host::sip::Sip;
use agxpatch_host::{Command, FileKind, Host, Kind, Tool, flag, unknown_answer, volume};

use super::report_redactor::ReportRedactor;

/// Every question.
pub(super) fn checks(host: &dyn Host, redactor: &ReportRedactor) -> Vec<Check> {
    let known = |name, answer: Result<String>| form(name, answer, redactor);
    let mut checks = vec![
        tools(host),
        known("hardware", hardware(host)),
        process(host),
        known("macos", machine::release(host).map(|release| release.to_string())),
        same_release(host, redactor),
    ];
    checks.extend(sip(host, redactor));
    checks.extend([
        known("filevault", machine::filevault(host).map(filevault)),
        known("library-validation", machine::library_validation(host).map(library_validation)),
        known("boot-args", machine::boot_args(host).map(boot_args)),
        known("boot-session", machine::boot_session(host).map(|_| "a UUID".to_owned())),
        known("metal-plugin", plugins(host)),
        known("system-volume", system_volume(host)),
        known("snapshots", snapshots(host)),
        known("booted-seal", volume::booted_seal_intact(host).map(seal)),
        known(
            "staged-update",
            volume::staged_update(host, None).map(|update| staged(update.as_ref())),
        ),
        driver_file(host, redactor),
        driver_signer(host, redactor),
        known("bless", bless(host)),
    ]);
    checks
}

/// PASS with the answer, or FAIL with what came instead.
fn form(name: &'static str, answer: Result<String>, redactor: &ReportRedactor) -> Check {
    match answer {
        Ok(text) => Check::pass(name, redactor.without(&text)),
        Err(error) => Check::fail(name, told(&error, redactor)),
    }
}

/// An error with the answer that was not understood, which is what a maintainer
/// needs: of a text its words, of a property list only the keys.
fn told(error: &Error, redactor: &ReportRedactor) -> String {
    let mut text = error.to_string();
    for (name, value) in error.context() {
        let value = if value.contains("<plist") { keys(value) } else { value.clone() };
        let line: Vec<&str> = value.lines().map(str::trim).collect();
        text.push_str(&format!("; {name}: {}", line.join(" | ")));
    }
    redactor.without(&text)
}

/// The keys of a property list, without what they stand for.
fn keys(plist: &str) -> String {
    let keys = plist.split("<key>").skip(1).filter_map(|rest| rest.split("</key>").next());
    format!("a property list with the keys {}", keys.collect::<Vec<_>>().join(", "))
}

fn tools(host: &dyn Host) -> Check {
    if host.kind() != Kind::Real {
        return Check::skipped("tools", "this Mac exists only as data");
    }
    let there = |tool: &&Tool| matches!(host.metadata(tool.path()), Ok(Some(_)));
    let missing: Vec<&str> =
        Tool::ALL.iter().filter(|tool| !there(tool)).map(|tool| tool.name()).collect();
    match missing.is_empty() {
        true => Check::pass("tools", format!("all {} are where they should be", Tool::ALL.len())),
        false => Check::fail("tools", format!("not there: {}", missing.join(", "))),
    }
}

/// The model and the chip: neither is a single machine's.
fn hardware(host: &dyn Host) -> Result<String> {
    let words = ["-n", "hw.model", "machdep.cpu.brand_string"];
    let output = host.ask(&Command::question(Tool::Sysctl, words))?;
    Ok(output.text().lines().map(str::trim).collect::<Vec<_>>().join(", "))
}

/// What this program runs as. Under Rosetta it is shown other slices of everything
/// than the programs are that it is for.
fn process(host: &dyn Host) -> Check {
    const TRANSLATED: bool = cfg!(all(target_os = "macos", target_arch = "x86_64"));
    let user = if host.effective_user() == 0 { "root" } else { "a user" };
    let advice = if TRANSLATED { "; run it as arch -arm64 agxpatch selftest" } else { "" };
    let detail = format!("{}, as {user}{advice}", std::env::consts::ARCH);
    Check::from("this-process", !TRANSLATED, detail)
}

/// The version of bless, which is all it can be asked that changes nothing.
fn bless(host: &dyn Host) -> Result<String> {
    let command = Command::question(Tool::Bless, ["--version"]);
    let output = host.ask(&command)?;
    let text = output.text().trim().to_owned();
    let is_version = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if is_version { Ok(text) } else { Err(unknown_answer(&command, "a version", &output)) }
}

/// `sw_vers` and the file that a deployment goes by must name the same version; the
/// builds differ where a Background Security Improvement is installed.
fn same_release(host: &dyn Host, redactor: &ReportRedactor) -> Check {
    const NAME: &str = "system-version-file";
    let on_disk = machine::release(host);
    match on_disk.and_then(|disk| Ok((disk, machine::sw_vers(host, "-productVersion")?))) {
        Ok((on_disk, said)) => {
            Check::from(NAME, on_disk.version == said, format!("{on_disk}; sw_vers: {said}"))
        }
        Err(error) => Check::fail(NAME, told(&error, redactor)),
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

/// Who signed the driver's file, where there is one.
fn driver_signer(host: &dyn Host, redactor: &ReportRedactor) -> Check {
    const NAME: &str = "driver-signer";
    match DriverBundle::installed(host) {
        Ok(bundle) if is_in_shared_cache(host, &bundle) => Check::skipped(NAME, IN_SHARED_CACHE),
        Ok(bundle) => {
            let signed = machine::signer(host, &bundle.executable()).map(signer);
            form(NAME, signed, redactor)
        }
        Err(error) => Check::fail(NAME, told(&error, redactor)),
    }
}

/// Why there is no file, on macOS 14 and older and from 27 on.
pub(super) const IN_SHARED_CACHE: &str = "the driver is in the dyld shared cache, not in a file: \
                                          scoped and system are closed, guard works";

/// Whether the driver is in the dyld shared cache. What cannot be asked is not.
pub(super) fn is_in_shared_cache(host: &dyn Host, bundle: &DriverBundle) -> bool {
    host.shared_cache_contains(&bundle.executable()).is_ok_and(|cached| cached == Some(true))
}

fn signer(signer: Signer) -> String {
    match signer {
        Signer::Apple => "Apple, by codesign".to_owned(),
        Signer::AdHoc => "ad hoc, by codesign".to_owned(),
        Signer::Other => "another signer, by codesign".to_owned(),
        Signer::Invalid(said) => said.lines().collect::<Vec<_>>().join(" | "),
    }
}

fn sip(host: &dyn Host, redactor: &ReportRedactor) -> Vec<Check> {
    let bits = match host.csr_active_config() {
        Ok(Some(bits)) => Check::pass("csr-system-call", bits.to_string()),
        Ok(None) => Check::skipped("csr-system-call", "this system has no such call"),
        Err(error) => Check::fail("csr-system-call", told(&error, redactor)),
    };
    let sip = match Sip::ask(host) {
        Ok(sip) => sip,
        Err(error) => return vec![bits, Check::fail("csrutil", told(&error, redactor))],
    };
    let root = if sip.authenticated_root { "enabled" } else { "disabled" };
    let said = match &sip.csrutil {
        None => unheard(redactor.without(&sip.unanswered.join("; "))),
        Some(csrutil) => {
            let qualifier = csrutil.qualifier.as_ref();
            let qualifier = qualifier.map_or_else(String::new, |words| format!(" ({words})"));
            let on = csrutil.items.iter().filter(|item| item.enabled);
            let on = on.map(|item| item.name.as_str()).collect::<Vec<_>>().join(", ");
            let on = if on.is_empty() { "none" } else { &on };
            let (word, lines) = (csrutil.word, csrutil.items.len());
            Check::pass(
                "csrutil",
                format!(
                    "{word:?}{qualifier}, {lines} lines, enabled among them: {on}; authenticated \
                     root {root}"
                ),
            )
        }
    };
    let differing: Vec<&str> = sip.disagreements.iter().map(|one| one.bit).collect();
    let agree = match (sip.from_kernel, differing.is_empty()) {
        (false, _) => Check::skipped("csrutil-and-kernel", "the kernel could not be asked"),
        (true, true) => Check::pass("csrutil-and-kernel", "they say the same"),
        (true, false) => {
            let detail = format!("they contradict each other on {}", differing.join(", "));
            Check::fail("csrutil-and-kernel", detail)
        }
    };
    vec![bits, said, agree]
}

/// A csrutil whose words are in an unknown form is what this looks for; one that did not
/// answer at all says nothing of its form.
fn unheard(why: String) -> Check {
    if why.contains("unexpected output from csrutil") {
        Check::fail("csrutil", why)
    } else {
        Check::skipped("csrutil", why)
    }
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
    let marked: Vec<&str> = snapshots
        .iter()
        .filter(|one| one.root_to == Some(true))
        .map(|one| match volume.snapshot.as_deref() == Some(&one.name) {
            true => "the booted one",
            false => "another one",
        })
        .collect();
    let told = snapshots.iter().any(|one| one.root_to.is_some());
    let root_to = match (told, marked.is_empty()) {
        (false, _) => "not told".to_owned(),
        (true, true) => "none".to_owned(),
        (true, false) => marked.join(", "),
    };
    Ok(format!(
        "{}: {sealed} of Apple's, {blessed} made by bless; RootTo marks {root_to}",
        snapshots.len()
    ))
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

fn driver_file(host: &dyn Host, redactor: &ReportRedactor) -> Check {
    const NAME: &str = "driver-file";
    let bundle = DriverBundle::installed(host);
    if bundle.as_ref().is_ok_and(|bundle| is_in_shared_cache(host, bundle)) {
        return Check::pass(NAME, IN_SHARED_CACHE);
    }
    let metadata = bundle.and_then(|bundle| host.metadata(&bundle.executable()));
    let answer = metadata.map(|metadata| match metadata {
        None => "not there".to_owned(),
        Some(found) => {
            let restricted = found.flags & flag::RESTRICTED != 0;
            format!(
                "{} bytes, mode {:o}, owner {}:{}, {} name(s), flags {:#x}{}{}",
                found.length,
                found.mode,
                found.user,
                found.group,
                found.links,
                found.flags,
                if restricted { ", restricted" } else { "" },
                if found.kind == FileKind::File { "" } else { ", not a regular file" },
            )
        }
    });
    form(NAME, answer, redactor)
}
