//! `agxpatch verify --stress`: whether the deployment helped, by the runs of a
//! workload and by the crash reports before it and after it.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::Session;
use super::stress::Effort;
use crate::crash::Apart;
use crate::diagnostics::{self, Limits};
use crate::report::style::{FAINT, RESET, STRONG};
use crate::report::{self, Report};
use crate::stress::{
    BeforeAfter, Command, Configuration, Environments, Guarded, Moment, User, deployment,
};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_deploy::Verification;
use agxpatch_host::Host;

/// Both comparisons, and where they are kept.
#[derive(Serialize)]
struct Effect {
    /// Crash reports before the deployment and since.
    reports: Option<Apart>,
    /// The workload's runs.
    stress: Option<BeforeAfter>,
}

/// Where the run was kept.
#[derive(Serialize)]
struct Kept {
    moment: &'static str,
    /// None for one that was interrupted.
    files: Vec<PathBuf>,
}

/// Runs the workload, keeps the run in the manifest's folder and shows it.
pub fn run(
    host: &dyn Host,
    found: &Verification,
    effort: &Effort,
    session: &Session,
) -> Result<Exit> {
    let standing = deployment::Standing::of(host, found)?;
    let user = workload_user()?;
    let nothing = |_: &mut Command| -> Result<Box<dyn Environments>> {
        Ok(Box::new(Guarded { library: None, macos: cfg!(target_os = "macos") }))
    };
    let (report, interruption) = effort.run(&[Configuration::Off], &nothing, user)?;
    if report.interrupted {
        let exit = session.show(&report.counted())?;
        // A whole run that was kept earlier is worth more than part of one.
        session.show(&Kept { moment: standing.moment.name(), files: Vec::new() })?;
        interruption.end_program();
        return Ok(exit);
    }
    let mut recorded = standing.record(report);
    let reports = standing.deployed.map(|moment| reports_apart(effort, moment, host.now()));
    let effect = Effect { reports: reports.transpose()?, stress: recorded.comparison.take() };
    let is_after = recorded.moment == Moment::After;
    let forms = is_after.then(|| forms(&effect)).transpose()?;
    let forms = forms.as_ref().map(|[json, text]| [json.as_str(), text.as_str()]);
    let files = deployment::keep(host, &recorded, forms)?;

    let exit = session.show(&recorded.report.counted())?;
    if is_after {
        session.show(&effect)?;
    }
    session.show(&Kept { moment: recorded.moment.name(), files })?;
    Ok(exit)
}

/// The user behind `sudo`: a workload is never run as root.
fn workload_user() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let number = |name| env::var(name).ok()?.parse::<u32>().ok().filter(|number| *number != 0);
    match (number("SUDO_UID"), number("SUDO_GID")) {
        (Some(user), Some(group)) => Ok(Some(User { user, group })),
        _ => Err(Error::new(Code::WorkloadAsRoot, "the workload would run as root")
            .with("reason", "SUDO_UID and SUDO_GID name no user behind this root shell")
            .next("use sudo agxpatch verify --stress from the account that uses the GPU")),
    }
}

fn reports_apart(effort: &Effort, moment: Timestamp, now: Timestamp) -> Result<Apart> {
    let mut folders = effort.report_folders();
    folders.retain(|folder| folder.is_dir());
    let found = diagnostics::collect(&folders, &Limits::default())?;
    Ok(Apart::at(moment, now, found.incidents.iter().map(|incident| &incident.report)))
}

/// The comparison for scripts, and for people without colours.
fn forms(effect: &Effect) -> Result<[String; 2]> {
    let mut plain = anstream::StripStream::new(Vec::new());
    effect.text(&mut plain).map_err(|error| {
        Error::new(Code::Bug, "the comparison cannot be written").with("reason", error)
    })?;
    let text = String::from_utf8_lossy(&plain.into_inner()).into_owned();
    Ok([report::json(effect)?, text])
}

impl Report for Effect {
    const SCHEMA: &'static str = "agxpatch.effect/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(stress) = &self.stress {
            writeln!(out)?;
            stress.text(out)?;
        } else {
            writeln!(out, "\nno run was kept before the deployment: nothing to compare with")?;
        }
        self.reports.as_ref().map_or(Ok(()), |apart| table(out, apart))
    }
}

fn table(out: &mut dyn Write, apart: &Apart) -> io::Result<()> {
    let Apart { before, after, classes, undated } = apart;
    writeln!(out, "\n{STRONG}crash reports, deployed {:.0}{RESET}\n", before.to)?;
    writeln!(out, "{:<24}{:>8}{:>8}", "", "before", "since")?;
    writeln!(out, "{:<24}{:>8.1}{:>8.1}", "days", before.days, after.days)?;
    writeln!(out, "{:<24}{:>8}{:>8}", "incidents", before.incidents, after.incidents)?;
    writeln!(out, "{:<24}{:>8}{:>8}", "in GPU code", before.gpu, after.gpu)?;
    for row in classes {
        writeln!(out, "  {:<22}{:>8}{:>8}", row.class, row.before, row.after)?;
    }
    if *undated > 0 {
        writeln!(out, "{undated} reports give no time")?;
    }
    writeln!(
        out,
        "\n{FAINT}counts of whatever ran then, from reports macOS has not deleted: no test{RESET}"
    )
}

impl Report for Kept {
    const SCHEMA: &'static str = "agxpatch.kept/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.files.is_empty() {
            return writeln!(out, "\nnothing was kept of it, and what was kept earlier stands");
        }
        writeln!(out)?;
        for file in &self.files {
            writeln!(out, "kept: {}", file.display())?;
        }
        match self.moment {
            "before" => writeln!(
                out,
                "next: {STRONG}deploy, restart, and run the same again to compare{RESET}"
            ),
            _ => Ok(()),
        }
    }
}
