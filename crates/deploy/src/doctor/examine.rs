//! The questions, each a function from answers to findings.

use agxpatch_core::edit::sha256;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::driver::DriverBundle;
use agxpatch_host::machine::{self, LibraryValidation, Release, Signer};
use agxpatch_host::sip::{Disagreement, Sip};
use agxpatch_host::{CsrConfig, FileKind, Host};

use super::depth::Depth::{self, Scoped, System};
use super::filevault;
use super::{Consent, Diagnosis, Finding, Judge, Remedy, Verdict};

/// Since macOS 14.4 dyld loads arm64e images that are not Apple's.
const SCOPED_SINCE: (u32, u32) = (14, 4);
/// What has been looked at: releases whose driver is a file on disk.
const SYSTEM_SINCE: (u32, u32) = (15, 0);
const LAST_KNOWN_MAJOR: u32 = 26;

/// Why nothing on the disk can be patched on macOS 14 and older, and from 27 on.
pub(super) const IN_SHARED_CACHE: &str = "this macOS has the driver in its dyld shared cache and not in a file, \
                               so there is nothing to patch or to copy; guard still works";

pub(super) struct Examination<'a> {
    pub(super) host: &'a dyn Host,
    /// The driver bundle that the GPU asks for, once that was asked.
    pub(super) bundle: Option<DriverBundle>,
    findings: Vec<Finding>,
}

/// Asks everything. The depths are for the caller to work out.
pub(super) fn machine(host: &dyn Host, judge: &dyn Judge, consent: Consent) -> Result<Diagnosis> {
    let mut examination = Examination { host, bundle: None, findings: Vec::new() };
    let release = examination.answer("macos", machine::release(host), &Depth::ALL);
    examination.protections();
    examination.filevault();
    examination.library_validation();
    if let Some(release) = &release {
        examination.findings.push(macos(release));
    }
    examination.plugin();
    let (driver_sha256, driver) = examination.driver(judge, consent)?;
    examination.system_volume(&driver);
    examination.boot_args();
    let Examination { bundle: plugin, findings, .. } = examination;
    Ok(Diagnosis { release, plugin, driver_sha256, driver, findings, depths: Vec::new() })
}

impl Examination<'_> {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// An answer, or a finding that says why there is none.
    pub(super) fn answer<T>(
        &mut self,
        name: &'static str,
        answer: Result<T>,
        blocks: &[Depth],
    ) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error) if error.code() == Code::NotRecorded => {
                let skipped = Finding::skipped(name, "not recorded");
                self.add(Finding { blocks: blocks.to_vec(), ..skipped });
                None
            }
            Err(error) => {
                self.add(Finding::bad(name, told(&error), blocks));
                None
            }
        }
    }

    fn protections(&mut self) {
        let Some(sip) = self.answer("sip", Sip::ask(self.host), &[System]) else { return };
        self.findings.extend(sip_bits(&sip));
        self.add(if sip.authenticated_root {
            Finding::bad(
                "authenticated-root",
                "on: the kernel boots only a snapshot whose seal is intact. Switching it off left \
                 some M1 and M2 Macs (macOS 12.3 to 13.0) at \"macOS needs to be reinstalled\"; \
                 switching it on again helped (three reports)",
                &[System],
            )
            .remedy(Remedy::recovery("csrutil authenticated-root disable"))
        } else {
            Finding::good("authenticated-root", "off: an unsealed snapshot may be booted")
        });
    }

    fn filevault(&mut self) {
        let state = self.answer("filevault", machine::filevault(self.host), &[System]);
        let Some(state) = state else { return };
        self.add(filevault::finding(&state));
    }

    fn library_validation(&mut self) {
        let name = "library-validation";
        let state = self.answer(name, machine::library_validation(self.host), &[System]);
        let Some(state) = state else { return };
        self.add(match state {
            LibraryValidation::Off => Finding::good(name, "off for the whole machine"),
            LibraryValidation::On => Finding::bad(
                name,
                "on: the window server would turn a re-signed driver away, and the screen would \
                 stay black",
                &[System],
            )
            .remedy(Remedy::terminal(machine::library_validation_off())),
        });
    }

    fn plugin(&mut self) {
        let name = "metal-plugin";
        let plugins = machine::metal_plugins(self.host);
        // The guard needs no file, so several drivers of Apple's do not speak against it.
        let several = plugins.as_ref().is_ok_and(|plugins| DriverBundle::among(plugins).len() > 1);
        let installed = plugins.and_then(|plugins| DriverBundle::the_one(&plugins));
        let closed: &[Depth] = if several { &[Scoped, System] } else { &Depth::ALL };
        let bundle = self.answer(name, installed, closed);
        if let Some(bundle) = &bundle {
            self.add(Finding::good(name, format!("the GPU asks for {bundle}")));
        }
        self.bundle = bundle;
    }

    /// The driver file: there, whose, and what can be done about it.
    fn driver(&mut self, judge: &dyn Judge, consent: Consent) -> Result<(Option<String>, Verdict)> {
        let unjudged = |reason: &str| Verdict::Unjudged { reason: reason.to_owned() };
        let Some(path) = self.bundle.as_ref().map(DriverBundle::executable) else {
            return Ok((None, unjudged("no driver of Apple's is asked for")));
        };
        let closes = [Scoped, System];
        let cached = self.host.shared_cache_contains(&path)?;
        if cached == Some(true) {
            self.add(Finding::bad("driver-file", IN_SHARED_CACHE, &closes));
            return Ok((None, unjudged("the driver is not a file on this macOS")));
        }
        let looked = self.answer("driver-file", self.host.metadata(&path), &closes);
        let present = match looked {
            None => return Ok((None, unjudged("the file could not be looked at"))),
            Some(metadata) => metadata.filter(|m| m.kind == FileKind::File && m.length > 0),
        };
        if present.is_none() {
            let asked = if cached.is_none() {
                "; whether the dyld shared cache has it is not known"
            } else {
                ""
            };
            let detail = format!("{} does not exist or is empty{asked}", path.display());
            self.add(Finding::bad("driver-file", detail, &closes));
            return Ok((None, unjudged("there is no file")));
        }
        let Some(file) = self.answer("driver-file", self.host.read(&path), &closes) else {
            return Ok((None, unjudged("the file could not be read")));
        };
        let digest = sha256(&file.bytes);
        self.add(Finding::good("driver-file", format!("on disk, {} bytes", file.bytes.len())));
        let verdict = judge.judge(&file.bytes);
        self.add(judged(&verdict, consent));
        let signer = machine::signer(self.host, &path);
        if let Some(signer) = self.answer("driver-signature", signer, &closes) {
            self.add(signature(&signer, &verdict));
        }
        Ok((Some(digest), verdict))
    }

    fn boot_args(&mut self) {
        let arguments = self.answer("boot-args", machine::boot_args(self.host), &[System]);
        let Some(arguments) = arguments else { return };
        let text = arguments.unwrap_or_default();
        let loosening = machine::loosening(&text);
        self.add(if !loosening.is_empty() {
            let detail = format!(
                "{}: what loads with it may be turned away when it is gone",
                loosening.join(" ")
            );
            Finding::bad("boot-args", detail, &[System])
                .remedy(Remedy::terminal(machine::command_without_loosening(&text)))
        } else if text.is_empty() {
            Finding::good("boot-args", "none")
        } else {
            Finding::good("boot-args", format!("{text} (not about code signing)"))
        });
    }
}

/// The bits but for that of the authenticated root, and whether the witnesses
/// agree.
fn sip_bits(sip: &Sip) -> Vec<Finding> {
    let mut findings = Vec::new();
    let bit = |name, mask: CsrConfig, on: &str, off: &str| {
        if sip.bits.allows(mask) {
            Finding::good(name, format!("{off} (bits {})", sip.bits))
        } else {
            Finding::bad(name, format!("{on} (bits {})", sip.bits), &[System])
                .remedy(Remedy::recovery("csrutil disable"))
        }
    };
    findings.push(bit(
        "sip-filesystem",
        CsrConfig::UNRESTRICTED_FS,
        "Filesystem Protections are on: the system volume cannot be written",
        "Filesystem Protections are off",
    ));
    findings.push(bit(
        "sip-debugging",
        CsrConfig::TASK_FOR_PID,
        "Debugging Restrictions are on: library validation cannot be switched off",
        "Debugging Restrictions are off",
    ));
    let needed = |d: &&Disagreement| CsrConfig::NEEDED_FOR_SYSTEM.bits().any(|b| b.name == d.bit);
    let names = |d: &Disagreement| d.bit;
    if !sip.disagreements.is_empty() {
        let bits: Vec<&str> = sip.disagreements.iter().map(names).collect();
        let detail = format!("the kernel and csrutil contradict each other on {}", bits.join(", "));
        let blocks: &[Depth] =
            if sip.disagreements.iter().any(|d| needed(&d)) { &[System] } else { &[] };
        findings.push(Finding::bad("sip-agreement", detail, blocks));
    } else if !sip.from_kernel {
        findings.push(Finding::skipped(
            "sip-agreement",
            "the kernel could not be asked; csrutil's text alone decides",
        ));
    } else if !sip.unanswered.is_empty() {
        let detail =
            format!("the kernel's bits decide; no second opinion: {}", sip.unanswered.join("; "));
        findings.push(Finding::skipped("sip-agreement", detail));
    }
    findings
}

fn macos(release: &Release) -> Finding {
    let parsed = parse_version(&release.version);
    let detail = release.to_string();
    match parsed {
        None => {
            Finding::bad("macos", format!("{detail}: no version this tool can read"), &Depth::ALL)
        }
        Some(at) if at < SCOPED_SINCE => Finding::bad(
            "macos",
            format!("{detail}: before 14.4 dyld loads no arm64e image that is not Apple's"),
            &[Scoped, System],
        ),
        Some(at) if at < SYSTEM_SINCE => Finding::bad(
            "macos",
            format!("{detail}: before 15 the driver is in the dyld shared cache, not in a file"),
            &[System],
        ),
        Some((major, _)) if major > LAST_KNOWN_MAJOR => Finding::bad(
            "macos",
            format!("{detail}: newer than anything this tool was checked against"),
            &[System],
        ),
        Some(_) => Finding::good("macos", detail),
    }
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let major = numbers.next()?.ok()?;
    let minor = numbers.next().map_or(Some(0), std::result::Result::ok)?;
    numbers.all(|number| number.is_ok()).then_some((major, minor))
}

/// The detail shown for a rewrite that only this program has derived.
const DERIVED: &str = "the rewrite was derived for this build and proven; it is not published";

fn judged(verdict: &Verdict, consent: Consent) -> Finding {
    let name = "driver-build";
    match verdict {
        Verdict::Listed { name: listed } => Finding::good(name, format!("listed as {listed}")),
        Verdict::Patched { patch } => Finding::good(name, format!("patched already, by {patch}")),
        Verdict::Provable { found } if consent.unlisted_build => {
            Finding::good(name, format!("not listed, accepted by the proof: {found}"))
        }
        Verdict::Provable { found } => Finding::bad(
            name,
            format!("not listed; {found}, and the proof accepts the rewrite"),
            &[System],
        )
        .remedy(Remedy::terminal("sudo agxpatch deploy --unlisted-build")),
        Verdict::Derived { found } if consent.unlisted_build => {
            Finding::good(name, format!("{found}; {DERIVED}"))
        }
        Verdict::Derived { found } => Finding::bad(name, format!("{found}; {DERIVED}"), &[System])
            .remedy(Remedy::terminal("sudo agxpatch deploy --unlisted-build")),
        Verdict::Unrestorable { found } => {
            let detail = format!("{found}, but its signature leaves no room for the original code");
            Finding::bad(name, detail, &[System])
        }
        Verdict::Refused { reason } => Finding::bad(name, reason.clone(), &[Scoped, System]),
        Verdict::Unjudged { reason } => Finding::bad(name, reason.clone(), &[Scoped, System]),
    }
}

fn signature(signer: &Signer, verdict: &Verdict) -> Finding {
    let name = "driver-signature";
    let patched = matches!(verdict, Verdict::Patched { .. });
    match signer {
        Signer::Apple => Finding::good(name, "Apple's, and intact"),
        Signer::AdHoc if patched => Finding::good(name, "ad hoc, as a patched driver's is"),
        Signer::AdHoc => {
            Finding::bad(name, "ad hoc: not the driver Apple shipped", &[Scoped, System])
        }
        Signer::Other => Finding::bad(name, "another signer's, not Apple's", &[Scoped, System]),
        Signer::Invalid(said) => {
            let said = said.lines().next().unwrap_or_default();
            Finding::bad(name, format!("not valid: {said}"), &[Scoped, System])
        }
    }
}

/// An error as the detail of a finding.
fn told(error: &Error) -> String {
    let context = |name: &str| error.context().iter().find(|(n, _)| *n == name);
    let mut text = error.message().to_owned();
    for name in ["answer", "reason", "stderr", "message", "path"] {
        if let Some((name, value)) = context(name) {
            text.push_str(&format!("; {name}: {}", value.lines().next().unwrap_or_default()));
            break;
        }
    }
    text
}
