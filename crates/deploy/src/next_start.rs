//! What the next start of the Mac is expected to be.
//!
//! A deployment that runs well today may end at a black screen or a panic tomorrow:
//! library validation switched on again, FileVault, a protection, a sealed snapshot that
//! is gone. So the conditions of the next start are looked at, not only what runs now.
//! macOS does not tell which snapshot it boots next; that is inferred from what `bless`
//! was made to choose, and said to be.

use serde::Serialize;

use super::driver_patcher::Content;
use super::live_look::LiveVolume;
use super::manifest::{LiveDriver, Manifest};
use super::state::{Facts, State};
use agxpatch_core::check::{self, Check};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::machine::{self, FileVault, LibraryValidation};
use agxpatch_host::sip::Sip;
use agxpatch_host::volume::{self, Snapshot};
use agxpatch_host::{CsrConfig, Host};

/// What is expected to come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// macOS with Apple's driver.
    AppleDriver,
    /// macOS with the patched driver.
    PatchedDriver,
    /// macOS whose window server has no driver: only `ssh` gets in.
    BlackScreen,
    /// A panic, or recoveryOS.
    NoStart,
    /// Not known.
    Unknown,
}

impl Expected {
    /// In a sentence.
    pub fn about(self) -> &'static str {
        match self {
            Expected::AppleDriver => "Apple's driver",
            Expected::PatchedDriver => "the patched driver",
            Expected::BlackScreen => "a black screen: the window server will reject the driver",
            Expected::NoStart => "no macOS: the patched snapshot will not boot",
            Expected::Unknown => "not known",
        }
    }
}

/// The next start, and the conditions it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextStart {
    /// What is expected to come up.
    pub expected: Expected,
    /// What the expectation rests on.
    pub certainty: &'static str,
    /// The conditions.
    pub checks: Vec<Check>,
    /// What the owner would type before restarting.
    pub remedies: Vec<String>,
}

impl NextStart {
    /// Whether no condition failed.
    pub fn is_sound(&self) -> bool {
        check::none_failed(&self.checks)
    }
}

/// How certain an expectation is.
const INFERRED: &str = "inferred from the records and from what runs; macOS does not say which \
                        snapshot it boots next";
const REVERT: &str = "sudo agxpatch revert";

/// Looks at what the next start depends on, and changes nothing. `live` is what the live
/// volume was seen to hold.
pub fn next_start(host: &dyn Host, facts: &Facts, state: State, live: &LiveVolume) -> NextStart {
    let mut examination = Examination { host, live, checks: Vec::new(), remedies: Vec::new() };
    let expected = match state {
        State::Active | State::ActiveOther | State::PendingReboot => examination.patched(facts),
        State::Clean | State::RevertPending | State::UpdatedAway => examination.apple(facts, state),
        State::Foreign | State::Unknown => examination.unknown(facts),
    };
    let Examination { checks, mut remedies, .. } = examination;
    remedies.dedup();
    NextStart { expected, certainty: INFERRED, checks, remedies }
}

struct Examination<'a> {
    host: &'a dyn Host,
    live: &'a LiveVolume,
    checks: Vec<Check>,
    remedies: Vec<String>,
}

impl Examination<'_> {
    /// agxpatch's snapshot boots next.
    fn patched(&mut self, facts: &Facts) -> Expected {
        let sip = Sip::ask(self.host);
        let starts = self.snapshot_boots(&sip);
        let windows = self.driver_is_accepted(&sip);
        self.way_back(facts);
        self.update(facts);
        match (starts, windows) {
            (false, _) => Expected::NoStart,
            (true, false) => Expected::BlackScreen,
            (true, true) => Expected::PatchedDriver,
        }
    }

    /// Whether a protection is off, as the next start needs it. A missing answer is not
    /// taken for on.
    fn protection_off(
        &mut self,
        name: &'static str,
        sip: &Result<Sip>,
        bit: CsrConfig,
        on: &str,
    ) -> bool {
        match sip {
            Ok(sip) => {
                let off = sip.bits.allows(bit);
                self.check(name, off, if off { "off" } else { on }, REVERT);
                off
            }
            Err(error) => {
                self.checks.push(unanswered(name, error));
                true
            }
        }
    }

    /// Whether the kernel boots an unsealed snapshot.
    fn snapshot_boots(&mut self, sip: &Result<Sip>) -> bool {
        let mut boots = self.protection_off(
            "next-authenticated-root",
            sip,
            CsrConfig::UNAUTHENTICATED_ROOT,
            "on: the kernel boots only sealed snapshots",
        );
        if let Some(state) = self.answered("next-filevault", machine::filevault(self.host)) {
            let off = state == FileVault::Off;
            let detail = match state {
                FileVault::Off => "off".to_owned(),
                FileVault::NotOff(said) => {
                    format!("\"{said}\": Macs with a broken seal and FileVault did not boot")
                }
            };
            self.check("next-filevault", off, detail, REVERT);
            boots &= off;
        }
        boots
    }

    /// Whether the window server takes a driver that Apple did not sign.
    fn driver_is_accepted(&mut self, sip: &Result<Sip>) -> bool {
        let mut accepted = self.protection_off(
            "next-sip-debugging",
            sip,
            CsrConfig::TASK_FOR_PID,
            "on: the switch for library validation does not count",
        );
        let name = "next-library-validation";
        if let Some(state) = self.answered(name, machine::library_validation(self.host)) {
            let off = state == LibraryValidation::Off;
            let on = "on: the window server will reject the patched driver";
            let remedy = machine::library_validation_off();
            self.check(name, off, if off { "off" } else { on }, &remedy);
            accepted &= off;
        }
        accepted
    }

    /// Whether the sealed snapshot that a revert goes back to still exists.
    fn way_back(&mut self, facts: &Facts) {
        const NAME: &str = "way-back";
        let Some(snapshots) = self.answered(NAME, listed(self.host)) else { return };
        let records = facts.booted_manifest.as_ref().or(facts.manifest.as_ref());
        let recorded = records.and_then(Manifest::way_back);
        let sealed: Vec<&str> = snapshots
            .iter()
            .filter(|snapshot| snapshot.is_sealed_release())
            .map(|snapshot| snapshot.name.as_str())
            .collect();
        let detail = match (recorded, sealed.as_slice()) {
            (Some(name), listed) if listed.contains(&name) => {
                self.checks.push(Check::pass(NAME, name));
                return;
            }
            (None, [name, ..]) => {
                self.checks.push(Check::pass(NAME, format!("{name}, by no record")));
                return;
            }
            (Some(name), [other, ..]) => format!("{name} is gone; a revert boots {other}"),
            (_, []) => "no sealed snapshot is left: a revert has nothing to boot".to_owned(),
        };
        self.check(NAME, false, detail, "reinstall macOS, which keeps your data and makes one");
    }

    /// Whether an update waits that would replace what is deployed.
    fn update(&mut self, facts: &Facts) {
        const NAME: &str = "prepared-update";
        let running = facts.release.as_ref().map(|release| release.build.as_str());
        let staged = volume::staged_update(self.host, running);
        let Some(staged) = self.answered(NAME, staged) else { return };
        match staged.filter(|update| !update.is_left_over(running)) {
            None => self.checks.push(Check::pass(NAME, "none")),
            Some(update) => {
                let build = update.build.as_deref().unwrap_or("not named");
                let detail = format!("build {build}: it replaces the patched driver");
                self.check(NAME, false, detail, REVERT);
            }
        }
    }

    /// Apple's snapshot boots next.
    fn apple(&mut self, facts: &Facts, state: State) -> Expected {
        self.live_volume(facts, state);
        const NAME: &str = "next-snapshot";
        let Some(snapshots) = self.answered(NAME, listed(self.host)) else {
            return Expected::Unknown;
        };
        // `RootTo` presumably marks what boots next: good enough to warn by.
        let marked = snapshots.iter().find(|s| s.is_blessed() && s.root_to == Some(true));
        let running = facts.snapshot.as_deref().filter(|name| volume::is_sealed_release(name));
        let is_back = |snapshot: &Snapshot| match running {
            Some(running) => snapshot.name == running,
            None => snapshot.is_sealed_release(),
        };
        if let Some(marked) = marked {
            let detail = format!("diskutil marks {} as the next root (RootTo)", marked.name);
            self.check(NAME, false, detail, REVERT);
            return Expected::Unknown;
        }
        match snapshots.iter().find(|snapshot| is_back(snapshot)) {
            Some(snapshot) => {
                self.checks.push(Check::pass(NAME, snapshot.name.clone()));
                Expected::AppleDriver
            }
            None => {
                let remedy = "reinstall macOS, which keeps your data and makes one";
                self.check(NAME, false, "the sealed snapshot is not listed any more", remedy);
                Expected::NoStart
            }
        }
    }

    /// What runs is not known, so neither is what comes up.
    fn unknown(&mut self, facts: &Facts) -> Expected {
        const NAME: &str = "next-start";
        self.checks.push(match facts.only_not_recorded() {
            true => Check::skipped(NAME, "not recorded"),
            false => Check::fail(NAME, "not known: what runs now cannot be told"),
        });
        Expected::Unknown
    }

    /// What the next snapshot of the live volume would hold: by what was seen there, else
    /// by the record of a revert.
    fn live_volume(&mut self, facts: &Facts, state: State) {
        const NAME: &str = "live-volume";
        let recorded = facts.reverted.as_ref().map(|reverted| reverted.live);
        let (passed, detail, remedy) = match (self.live, recorded) {
            (LiveVolume::Holds { build, driver }, _) => seen(build, driver.as_ref(), facts),
            (_, Some(LiveDriver::Original)) => (true, "the original was put back".to_owned(), ""),
            (_, Some(LiveDriver::NotRestored)) => {
                let remedy = match state {
                    State::RevertPending => "sudo shutdown -r now; then sudo agxpatch recover",
                    _ => "sudo agxpatch recover",
                };
                (false, "the patched driver may still be on it".to_owned(), remedy)
            }
            (_, Some(LiveDriver::Unknown)) => {
                (false, format!("an unknown driver {LATENT}"), REPLACE)
            }
            (LiveVolume::NotLooked(reason), None) => {
                self.checks.push(Check::skipped(NAME, reason.clone()));
                return;
            }
        };
        self.check(NAME, passed, detail, remedy);
    }

    fn check(&mut self, name: &'static str, passed: bool, detail: impl Into<String>, remedy: &str) {
        self.checks.push(Check::from(name, passed, detail));
        if !passed {
            self.remedies.push(remedy.to_owned());
        }
    }

    /// An answer, or a check that says why there is none.
    fn answered<T>(&mut self, name: &'static str, answer: Result<T>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.checks.push(unanswered(name, &error));
                None
            }
        }
    }
}

/// Why it matters what lies where nothing runs from.
const LATENT: &str = "is on it, which comes up with the next snapshot that anybody makes of it";
const REPLACE: &str = "sudo softwareupdate --install --all --restart (an update of macOS replaces the \
                       volume; so does reinstalling macOS)";

/// What was seen on the live volume as a check: whether it holds, the detail, the remedy.
fn seen(
    build: &str,
    driver: Option<&(String, Content)>,
    facts: &Facts,
) -> (bool, String, &'static str) {
    let running = facts.driver.as_ref().map(|driver| driver.sha256.as_str());
    let same_build = facts.release.as_ref().is_some_and(|release| release.build == build);
    match driver {
        Some((_, Content::Patched { .. })) => (false, format!("a patched driver {LATENT}"), REVERT),
        _ if !same_build => (true, format!("it holds build {build}, an update being prepared"), ""),
        Some((sha256, _)) if Some(sha256.as_str()) == running => {
            (true, "it holds the driver that runs".to_owned(), "")
        }
        None if facts.driver_in_shared_cache => (true, "it holds no driver file".to_owned(), ""),
        Some(_) => (false, format!("an unknown driver {LATENT}"), REPLACE),
        None => (false, "the driver is missing on it".to_owned(), REPLACE),
    }
}

fn unanswered(name: &'static str, error: &Error) -> Check {
    match error.code() {
        Code::NotRecorded => Check::skipped(name, "not recorded"),
        _ => Check::fail(name, error.to_string()),
    }
}

fn listed(host: &dyn Host) -> Result<Vec<Snapshot>> {
    let device = volume::system_volume(host)?.device;
    volume::snapshots(host, &device)
}

/// The protections that are off, and how each is switched on again. In this order, and
/// only once Apple's snapshot runs: with a patched one chosen, the Mac would not boot.
pub fn protections_off(host: &dyn Host) -> Vec<String> {
    let mut lines = Vec::new();
    if let Ok(LibraryValidation::Off) = machine::library_validation(host) {
        lines.push(format!(
            "library validation: sudo defaults delete {}.plist {}",
            machine::LIBRARY_VALIDATION_DOMAIN,
            machine::LIBRARY_VALIDATION_KEY
        ));
    }
    if let Ok(sip) = Sip::ask(host) {
        if sip.bits.allows(CsrConfig::UNAUTHENTICATED_ROOT) {
            lines.push(
                "authenticated root: in recoveryOS: csrutil authenticated-root enable".into(),
            );
        }
        if sip.bits.missing(CsrConfig::DISABLED) != CsrConfig::DISABLED {
            lines.push("System Integrity Protection: in recoveryOS: csrutil enable".into());
        }
    }
    lines
}
