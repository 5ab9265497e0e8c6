//! The questions, each a function from answers to findings.

use agxpatch_core::codesign::HashType;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::machine::{self, FileVault, LibraryValidation, Signer};
use agxpatch_host::sip::Sip;
use agxpatch_host::{CsrConfig, FileKind, Host};

use super::depth::Depth::{self, Scoped, System};
use super::{Consent, Diagnosis, Finding, Judge, PLUGIN, Remedy, Verdict, driver_path};

/// Since macOS 14.4 dyld loads arm64e images that are not Apple's.
const SCOPED_SINCE: (u32, u32) = (14, 4);
/// What has been looked at: releases whose driver is a file on disk.
const SYSTEM_SINCE: (u32, u32) = (15, 0);
const LAST_KNOWN_MAJOR: u32 = 26;

pub(super) struct Examination<'a> {
    pub(super) host: &'a dyn Host,
    findings: Vec<Finding>,
}

/// Asks everything. The depths are for the caller to work out.
pub(super) fn machine(host: &dyn Host, judge: &dyn Judge, consent: Consent) -> Result<Diagnosis> {
    let mut examination = Examination { host, findings: Vec::new() };
    let release = examination.answer("macos", machine::release(host), &Depth::ALL)?;
    examination.protections()?;
    examination.filevault()?;
    examination.library_validation()?;
    if let Some(release) = &release {
        examination.findings.push(macos(&release.version, &release.build));
    }
    examination.plugin()?;
    let (driver_sha256, driver) = examination.driver(judge, consent)?;
    examination.system_volume(&driver)?;
    examination.boot_args()?;
    let findings = examination.findings;
    Ok(Diagnosis { release, driver_sha256, driver, findings, depths: Vec::new() })
}

impl Examination<'_> {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// An answer, or a finding that says why there is none. A machine that is
    /// gone ends the examination.
    pub(super) fn answer<T>(
        &mut self,
        name: &'static str,
        answer: Result<T>,
        blocks: &[Depth],
    ) -> Result<Option<T>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.code() == Code::MachineGone => Err(error),
            Err(error) => {
                self.add(Finding::bad(name, told(&error), blocks));
                Ok(None)
            }
        }
    }

    fn protections(&mut self) -> Result<()> {
        let Some(sip) = self.answer("sip", Sip::ask(self.host), &[System])? else { return Ok(()) };
        self.findings.extend(sip_bits(&sip));
        let needed = sip.bits.allows(CsrConfig::UNAUTHENTICATED_ROOT);
        self.add(if needed && !sip.authenticated_root {
            Finding::good("authenticated-root", "off: an unsealed snapshot may be booted")
        } else {
            Finding::bad(
                "authenticated-root",
                "on: the kernel boots only a snapshot whose seal is intact",
                &[System],
            )
            .remedy(Remedy::recovery("csrutil authenticated-root disable"))
        });
        Ok(())
    }

    fn filevault(&mut self) -> Result<()> {
        let state = self.answer("filevault", machine::filevault(self.host), &[System])?;
        let Some(state) = state else { return Ok(()) };
        self.add(match state {
            FileVault::Off => Finding::good("filevault", "off"),
            FileVault::NotOff(said) => Finding::bad(
                "filevault",
                format!("not off: \"{said}\" (Macs with a broken seal and FileVault did not boot)"),
                &[System],
            )
            .remedy(Remedy::terminal("sudo fdesetup disable")),
        });
        Ok(())
    }

    fn library_validation(&mut self) -> Result<()> {
        let name = "library-validation";
        let state = self.answer(name, machine::library_validation(self.host), &[System])?;
        let Some(state) = state else { return Ok(()) };
        self.add(match state {
            LibraryValidation::Off => Finding::good(name, "off for the whole machine"),
            LibraryValidation::On => Finding::bad(
                name,
                "on: the window server would turn a re-signed driver away, and the screen would \
                 stay black",
                &[System],
            )
            .remedy(Remedy::terminal(format!(
                "sudo defaults write {}.plist {} -bool true",
                machine::LIBRARY_VALIDATION_DOMAIN,
                machine::LIBRARY_VALIDATION_KEY
            ))),
        });
        Ok(())
    }

    fn plugin(&mut self) -> Result<()> {
        let plugins =
            self.answer("metal-plugin", machine::metal_plugins(self.host), &Depth::ALL)?;
        let Some(plugins) = plugins else { return Ok(()) };
        let names: Vec<&str> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        self.add(if names.contains(&PLUGIN) {
            Finding::good("metal-plugin", format!("the GPU asks for {PLUGIN}"))
        } else {
            let asked = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            let detail = format!("the GPU asks for {asked}, and this patch is for {PLUGIN}");
            Finding::bad("metal-plugin", detail, &Depth::ALL)
        });
        Ok(())
    }

    /// The driver file: there, whose, and what can be done about it.
    fn driver(&mut self, judge: &dyn Judge, consent: Consent) -> Result<(Option<String>, Verdict)> {
        let unjudged = |reason: &str| Verdict::Unjudged { reason: reason.to_owned() };
        let path = driver_path();
        let closes = [Scoped, System];
        let looked = self.answer("driver-file", self.host.metadata(&path), &closes)?;
        let present = match looked {
            None => return Ok((None, unjudged("the file could not be looked at"))),
            Some(metadata) => metadata.filter(|m| m.kind == FileKind::File && m.length > 0),
        };
        if present.is_none() {
            let detail = format!("{} is not there or empty", path.display());
            self.add(Finding::bad("driver-file", detail, &closes));
            return Ok((None, unjudged("there is no file")));
        }
        let Some(file) = self.answer("driver-file", self.host.read(&path), &closes)? else {
            return Ok((None, unjudged("the file could not be read")));
        };
        let digest = HashType::Sha256.digest([file.bytes.as_slice()]).to_string();
        self.add(Finding::good("driver-file", format!("on disk, {} bytes", file.bytes.len())));
        let verdict = judge.judge(&file.bytes);
        self.add(judged(&verdict, consent));
        let signer = machine::signer(self.host, &path);
        if let Some(signer) = self.answer("driver-signature", signer, &closes)? {
            self.add(signature(&signer, &verdict));
        }
        Ok((Some(digest), verdict))
    }

    fn boot_args(&mut self) -> Result<()> {
        let arguments = self.answer("boot-args", machine::boot_args(self.host), &[System])?;
        let Some(arguments) = arguments else { return Ok(()) };
        let text = arguments.unwrap_or_default();
        let loosening = machine::loosening(&text);
        self.add(if !loosening.is_empty() {
            let detail = format!(
                "{}: what loads with it may be turned away when it is gone",
                loosening.join(" ")
            );
            Finding::bad("boot-args", detail, &[System])
                .remedy(Remedy::terminal("sudo nvram -d boot-args"))
        } else if text.is_empty() {
            Finding::good("boot-args", "none")
        } else {
            Finding::good("boot-args", format!("{text} (not about code signing)"))
        });
        Ok(())
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
    if !sip.disagreements.is_empty() {
        let bits: Vec<&str> = sip.disagreements.iter().map(|d| d.bit).collect();
        let detail = format!("the kernel and csrutil contradict each other on {}", bits.join(", "));
        findings.push(Finding::bad("sip-agreement", detail, &[System]));
    } else if !sip.from_kernel {
        findings.push(Finding::skipped(
            "sip-agreement",
            "the kernel could not be asked; csrutil's text alone decides",
        ));
    }
    findings
}

fn macos(version: &str, build: &str) -> Finding {
    let parsed = parse_version(version);
    let detail = format!("{version} ({build})");
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
            format!("{detail}: before 15 nobody has seen where this driver is kept"),
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
        Signer::Other => Finding::bad(name, "somebody else's, not Apple's", &[Scoped, System]),
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
