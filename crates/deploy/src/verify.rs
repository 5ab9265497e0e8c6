//! Judging a machine: its state, and every sign it was judged by as a check.

use serde::Serialize;

use super::driver_patcher::{Content, DriverPatcher};
use super::next_start::{NextStart, next_start};
use super::state::{self, Driver, Facts, State};
use super::{files, layout, live_look};
use agxpatch_core::check::{self, Check};
use agxpatch_core::error::Result;
use agxpatch_host::in_use::{processes_mapping, rejections_since_start};
use agxpatch_host::machine::Signer;
use agxpatch_host::volume::{self, BLESSED_PREFIX};
use agxpatch_host::{Host, Kind};

/// What was found of a machine.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// The state.
    pub state: State,
    /// Whether the patched driver runs and no check failed.
    pub holds: bool,
    /// Every sign that was looked at.
    pub checks: Vec<Check>,
    /// What the next start is expected to be.
    pub next_start: NextStart,
    /// What they were read from.
    pub facts: Facts,
}

/// Looks at everything and changes nothing.
pub fn verify(host: &dyn Host, patcher: &dyn DriverPatcher) -> Result<Verification> {
    let facts = state::gather(host, patcher)?;
    let state = facts.state();
    let mut checks = vec![
        interrupted(&facts),
        legible(&facts),
        snapshot(&facts, state),
        hash(&facts, state),
        signature(&facts, state),
        manifests(&facts, state),
        restart(&facts, state),
        backup(host, &facts),
    ];
    let is_patched = |driver: &Driver| matches!(driver.content, Content::Patched { .. });
    if let Some(path) = &facts.driver_path
        && facts.driver.as_ref().is_some_and(is_patched)
    {
        checks.extend(patcher.check(&host.read(path)?.bytes));
    }
    let live = live_look::look(host, patcher, &facts, state);
    let next_start = next_start(host, &facts, state, &live);
    checks.extend(in_use(host, &facts, state));
    checks.extend(next_start.checks.iter().cloned());
    checks.push(on_hardware(host));
    let holds = state == State::Active && check::none_failed(&checks);
    Ok(Verification { state, holds, checks, next_start, facts })
}

fn interrupted(facts: &Facts) -> Check {
    const NAME: &str = "nothing-interrupted";
    match &facts.journal {
        None if facts.was_not_recorded("journal") => Check::skipped(NAME, "not recorded"),
        None => Check::pass(NAME, "no journal is open"),
        Some(journal) => {
            let step = journal.step.map_or("none", |step| step.name());
            Check::fail(NAME, format!("{} stopped at {step}", journal.operation))
        }
    }
}

fn legible(facts: &Facts) -> Check {
    if facts.only_not_recorded() {
        return Check::skipped("signs-legible", facts.missing.join("; "));
    }
    let detail = match facts.missing.is_empty() {
        true => "every question was answered".to_owned(),
        false => facts.missing.join("; "),
    };
    Check::from("signs-legible", facts.missing.is_empty(), detail)
}

fn snapshot(facts: &Facts, state: State) -> Check {
    const NAME: &str = "boot-snapshot";
    let Some(name) = &facts.snapshot else {
        if facts.was_not_recorded("system volume") {
            return Check::skipped(NAME, "not recorded");
        }
        return Check::fail(NAME, "macOS does not run from a snapshot, or does not tell");
    };
    let expected = match state {
        State::Active | State::ActiveOther | State::RevertPending => {
            name.starts_with(BLESSED_PREFIX)
        }
        State::Clean | State::PendingReboot | State::UpdatedAway => volume::is_sealed_release(name),
        State::Unknown if facts.only_not_recorded() => return Check::skipped(NAME, name.clone()),
        State::Foreign | State::Unknown => false,
    };
    Check::from(NAME, expected, name.clone())
}

fn hash(facts: &Facts, state: State) -> Check {
    const NAME: &str = "driver-hash";
    let Some(driver) = &facts.driver else {
        if facts.driver_in_shared_cache {
            return Check::skipped(NAME, "the driver is in the dyld shared cache, not in a file");
        }
        return match facts.was_not_recorded("driver") || facts.was_not_recorded("GPU driver") {
            true => Check::skipped(NAME, "not recorded"),
            false => Check::fail(NAME, "no driver could be read"),
        };
    };
    let booted = facts.booted_manifest.as_ref();
    let (expected, whose) = match state {
        State::Active | State::ActiveOther | State::RevertPending => {
            (booted.map(|m| &m.patched_sha256), "the one deployed")
        }
        State::PendingReboot => {
            (facts.manifest.as_ref().map(|m| &m.original_sha256), "the original")
        }
        _ => return Check::skipped(NAME, format!("nothing to compare {} with", driver.sha256)),
    };
    let holds = expected == Some(&driver.sha256);
    let not = if holds { "" } else { "not " };
    Check::from(NAME, holds, format!("{} is {not}{whose}", driver.sha256))
}

fn signature(facts: &Facts, state: State) -> Check {
    const NAME: &str = "driver-signer";
    let signer = facts.driver.as_ref().and_then(|driver| driver.signer.as_ref());
    let Some(signer) = signer else {
        return Check::skipped(
            NAME,
            match facts.driver_in_shared_cache {
                true => "the driver is in the dyld shared cache, which Apple signs as a whole",
                false => "codesign could not be asked",
            },
        );
    };
    let patched = matches!(state, State::Active | State::ActiveOther | State::RevertPending);
    match (signer, patched) {
        (Signer::AdHoc, true) => Check::pass(NAME, "ad hoc, as a patched driver's is"),
        (Signer::Apple, false) => Check::pass(NAME, "Apple"),
        (Signer::Apple, true) => Check::fail(NAME, "Apple, which no patched driver's can be"),
        (Signer::AdHoc, false) => Check::fail(NAME, "ad hoc: not the driver Apple shipped"),
        (Signer::Other, _) => Check::fail(NAME, "another signer"),
        (Signer::Invalid(said), _) => Check::fail(NAME, said.lines().next().unwrap_or_default()),
    }
}

fn manifests(facts: &Facts, state: State) -> Check {
    const NAME: &str = "manifests-agree";
    match (&facts.booted_manifest, &facts.manifest) {
        (Some(booted), Some(kept)) => Check::from(
            NAME,
            booted.same_deployment(kept),
            format!("{} by agxpatch {}", kept.patch, kept.tool),
        ),
        (None, None) => match state {
            State::Clean => Check::pass(NAME, "there is none, and none is due"),
            _ => Check::skipped(NAME, "there is none"),
        },
        (None, Some(_)) if state == State::PendingReboot => {
            Check::skipped(NAME, "the snapshot that carries the other does not run yet")
        }
        (None, Some(kept)) => {
            Check::fail(NAME, format!("only the data volume has one, of macOS {}", kept.build))
        }
        (Some(_), None) if state == State::RevertPending => {
            Check::skipped(NAME, "the snapshot that carries one still runs")
        }
        (Some(_), None) => Check::fail(NAME, "only the snapshot that runs has one"),
    }
}

fn restart(facts: &Facts, state: State) -> Check {
    const NAME: &str = "no-restart-due";
    match state {
        State::PendingReboot => Check::fail(NAME, "the patched driver waits for a restart"),
        State::RevertPending => Check::fail(NAME, "Apple's driver waits for a restart"),
        _ => match &facts.pending {
            None => Check::pass(NAME, "none is on record"),
            Some(_) => Check::pass(NAME, "the one on record has happened"),
        },
    }
}

fn backup(host: &dyn Host, facts: &Facts) -> Check {
    const NAME: &str = "backup";
    let manifest = facts.manifest.as_ref().or(facts.booted_manifest.as_ref());
    let Some(manifest) = manifest else { return Check::skipped(NAME, "nothing is deployed") };
    if host.effective_user() != 0 {
        return Check::skipped(NAME, "only root may read it: sudo agxpatch verify");
    }
    let path = layout::backup(&manifest.original_sha256);
    match files::read_exactly(host, &path, &manifest.original_sha256) {
        Ok(_) => Check::pass(NAME, path.display().to_string()),
        Err(error) => Check::fail(NAME, format!("{}: {error}", path.display())),
    }
}

/// Whether the driver that runs is used, and nothing is kept from it.
fn in_use(host: &dyn Host, facts: &Facts, state: State) -> Vec<Check> {
    const IN_USE: &str = "driver-in-use";
    const ACCEPTED: &str = "driver-accepted";
    let runs = matches!(state, State::Active | State::ActiveOther);
    let Some(path) = facts.driver_path.as_deref().filter(|_| runs) else { return Vec::new() };
    let used = answered(IN_USE, processes_mapping(host, path), &|names| match names {
        [] if host.effective_user() != 0 => Check::skipped(
            IN_USE,
            "only root is shown the processes of others: sudo agxpatch verify",
        ),
        [] => Check::fail(IN_USE, "no process maps the driver"),
        names => Check::pass(IN_USE, format!("mapped by {}", some_of(names))),
    });
    let log = answered(ACCEPTED, rejections_since_start(host, path), &|names| match names {
        [] => Check::pass(ACCEPTED, "the log has no rejection since the start"),
        names => Check::fail(ACCEPTED, format!("Library Validation failed for {}", some_of(names))),
    });
    vec![used, log]
}

/// The first few names, and how many more there are.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// An answer as a check; one that could not be had is skipped.
fn answered(
    name: &'static str,
    answer: Result<Vec<String>>,
    judge: &dyn Fn(&[String]) -> Check,
) -> Check {
    match answer {
        Ok(names) => judge(&names),
        Err(error) => Check::skipped(name, error.to_string()),
    }
}

/// What no file can show.
fn on_hardware(host: &dyn Host) -> Check {
    let reason = match host.kind() {
        Kind::Data => "this Mac exists only as data",
        Kind::Real => "not looked at: run a Metal program, and see windows drawn",
    };
    Check::skipped("metal-works", reason)
}
