//! A run as people read it.

use std::io::{self, Write};

use super::comparison::{Account, BeforeAfter, Comparison, Difference};
use super::configuration::Configuration;
use super::page;
use super::report::{Counted, StressReport};
use super::statistics::Interval;
use super::trial::{Trial, Verdict};
use crate::report::{Report, printable, style};
use agxpatch_core::exit::Exit;

impl Report for Counted<'_> {
    const SCHEMA: &'static str = "agxpatch.stress/1";

    /// Anything but success if a trial did not complete: a child that died is
    /// never hidden.
    fn exit(&self) -> Exit {
        if self.report.is_clean() { Exit::Success } else { Exit::Mismatch }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Counted { accounts, report, .. } = self;
        let style = if report.interrupted { style::WARN } else { style::STRONG };
        writeln!(out, "{style}{}{}", report.headline(), style::RESET)?;
        table(out, accounts, report.subject.measures)?;
        kinds(out, accounts)?;
        comparisons(out, &self.comparisons)?;
        failures(out, &report.trials)?;
        notes(out, &report.notes(accounts))?;
        match &self.kept {
            Some(path) => writeln!(out, "every trial is in {}", printable(&path.to_string_lossy())),
            None => Ok(()),
        }
    }
}

impl Counted<'_> {
    /// The run as a page.
    pub fn page(&self) -> String {
        page::html(self, &self.report.headline())
    }
}

impl StressReport {
    fn headline(&self) -> String {
        let Self { subject, plan, trials, .. } = self;
        let configurations = match plan.configurations.len() {
            1 => "one configuration".to_owned(),
            count => format!("{count} configurations in turn"),
        };
        let (name, made, planned) = (printable(&subject.name), trials.len(), plan.turns().len());
        let trials = match (self.interrupted, made) {
            (true, _) => format!("{made} of {planned} trials"),
            (false, 1) => "one trial".to_owned(),
            (false, _) => format!("{made} trials"),
        };
        let lasted = duration(self.ended.duration_since(self.began).as_secs_f64());
        let end = if self.interrupted { ": interrupted" } else { "" };
        format!("{name}: {configurations}, {trials} in {lasted}{end}")
    }

    /// What a reader has to know before believing the figures.
    pub fn notes(&self, accounts: &[Account]) -> Vec<String> {
        let mut notes = Vec::new();
        if self.report_folders.is_empty() {
            notes.push(
                "no folder of crash reports here: a worker that died behind an exit code of 0 \
                 would not have been seen"
                    .to_owned(),
            );
        }
        let guarded = |each: &Configuration| *each != Configuration::Off;
        if self.machine.system != "Darwin" && self.plan.configurations.iter().any(guarded) {
            notes.push(
                "not macOS: nothing was inserted, the configurations differ in variables alone"
                    .to_owned(),
            );
        }
        if accounts.len() > 1 && accounts.iter().all(|account| account.crashes.count == 0) {
            notes.push(
                "no configuration crashed: this cannot tell whether any of them helps".to_owned(),
            );
        }
        if !self.unattributed.is_empty() {
            let count = self.unattributed.len();
            notes.push(format!("{count} crash reports of this time belong to no trial"));
        }
        notes.push("throughput is that of the trials that completed".to_owned());
        if accounts.len() > 2 {
            notes.push(
                "p-values and intervals of the comparisons are corrected for their number (Holm)"
                    .to_owned(),
            );
        }
        notes
    }
}

impl Report for BeforeAfter {
    const SCHEMA: &'static str = "agxpatch.stress-before-after/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}before{}", style::STRONG, style::RESET)?;
        table(out, &self.before, self.measures)?;
        kinds(out, &self.before)?;
        writeln!(out, "\n{}after{}", style::STRONG, style::RESET)?;
        table(out, &self.after, self.measures)?;
        kinds(out, &self.after)?;
        comparisons(out, &self.comparisons)?;
        notes(out, &self.caveats)
    }
}

fn duration(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.0} s") } else { format!("{:.1} min", seconds / 60.0) }
}

fn percent(rate: f64) -> String {
    format!("{:.1} %", rate * 100.0)
}

/// `4.2 to 33.9 %`, or nothing.
fn range(interval: Option<Interval>, unit: &str, scale: f64) -> String {
    match interval {
        Some(Interval { low, high }) => {
            format!("{:.1} to {:.1}{unit}", low * scale, high * scale)
        }
        None => String::new(),
    }
}

/// `measures` is whether rates are of the command's operations, or of its runs.
fn table(out: &mut dyn Write, accounts: &[Account], measures: bool) -> io::Result<()> {
    let rates = if measures { "ops a second" } else { "runs a second" };
    let names = accounts.iter().map(|account| account.label().len());
    let width = names.max().unwrap_or(0).max("configuration".len()) + 1;
    writeln!(
        out,
        "\n{:<width$}{:>10}  {:<17}{:>12}  {:>13}  {:<19}efficiency",
        "configuration", "crashed", "95 %", "incomplete", rates, "95 %"
    )?;
    for account in accounts {
        let crashed = format!("{} of {}", account.crashes.count, account.crashes.of);
        let failed = format!("{} of {}", account.failures.count, account.failures.of);
        let rate = account.throughput.map_or("-".to_owned(), |rate| format!("{:.1}", rate.mean));
        let efficiency = account.efficiency.map_or("-".to_owned(), |efficiency| {
            let range = range(efficiency.interval, " %", 100.0);
            format!("{} at {} threads  {range}", percent(efficiency.value), efficiency.threads)
        });
        let colour = if account.crashes.count > 0 { style::BAD } else { anstyle::Style::new() };
        writeln!(
            out,
            "{:<width$}{colour}{crashed:>10}{}  {:<17}{failed:>12}  {rate:>13}  {:<19}{}",
            account.label(),
            style::RESET,
            range(Some(account.crash_interval), " %", 100.0),
            range(account.throughput.and_then(|rate| rate.interval), "", 1.0),
            efficiency.trim_end(),
        )?;
    }
    Ok(())
}

/// Crashes by signal and by class, for the configurations that have any.
fn kinds(out: &mut dyn Write, accounts: &[Account]) -> io::Result<()> {
    for account in accounts {
        let named = account.signals.iter().chain(&account.classes);
        let mut parts: Vec<String> = named.map(|(name, count)| format!("{name} {count}")).collect();
        let counted = [
            ("silent", account.silent),
            ("timed out", account.timed_out),
            ("with one thread", account.one_thread_failures.count),
        ];
        parts.extend(
            counted
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(what, count)| format!("{what} {count}")),
        );
        if !parts.is_empty() {
            writeln!(out, "  {}: {}", account.label(), parts.join(", "))?;
        }
    }
    Ok(())
}

fn comparisons(out: &mut dyn Write, comparisons: &[Comparison]) -> io::Result<()> {
    for Comparison { reference, configuration, crashes, failures, throughput } in comparisons {
        writeln!(out, "\n{}{configuration} against {reference}{}", style::STRONG, style::RESET)?;
        writeln!(out, "  crashes     {}", tell(crashes))?;
        writeln!(out, "  incomplete  {}", tell(failures))?;
        if let Some(ratio) = throughput {
            let range = match ratio.interval {
                Some(Interval { low, high }) => format!(" ({low:.2} to {high:.2})"),
                None => String::new(),
            };
            let p = ratio.adjusted_p.or(ratio.p);
            let p = p.map(|p| format!(", {}", p_value(p, crashes.comparisons))).unwrap_or_default();
            writeln!(out, "  throughput  x {:.2}{range}{p}", ratio.value)?;
        }
    }
    Ok(())
}

fn tell(difference: &Difference) -> String {
    let (colour, word) = match difference {
        Difference { significant: false, .. } => (style::FAINT, "not significant"),
        Difference { value, .. } if *value < 0.0 => (style::GOOD, "significantly fewer"),
        _ => (style::BAD, "significantly more"),
    };
    format!(
        "{:+.1} points ({:+.1} to {:+.1}), {}: {colour}{word}{}",
        difference.value * 100.0,
        difference.interval.low * 100.0,
        difference.interval.high * 100.0,
        p_value(difference.adjusted_p, difference.comparisons),
        style::RESET
    )
}

/// Of several comparisons the p-values are corrected, and the text says so.
fn p_value(p: f64, comparisons: usize) -> String {
    let name = if comparisons > 1 { "corrected p" } else { "p" };
    format!("{name} = {}", p_number(p))
}

/// A p-value to four places, or as a power of ten where those are all zero.
pub(super) fn p_number(p: f64) -> String {
    if p < 0.0001 { format!("{p:.1e}") } else { format!("{p:.4}") }
}

fn failures(out: &mut dyn Write, trials: &[Trial]) -> io::Result<()> {
    const SHOWN: usize = 12;
    let failed: Vec<&Trial> =
        trials.iter().filter(|trial| trial.verdict != Verdict::Completed).collect();
    if failed.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}did not complete{}", style::WARN, style::RESET)?;
    for trial in failed.iter().take(SHOWN) {
        let reason = printable(trial.reason.as_deref().unwrap_or("unknown"));
        write!(out, "  trial {}, {}: {reason}", trial.number, trial.label())?;
        match trial.assertion {
            Some(assertion) => writeln!(out, "; Metal: {}", assertion.title())?,
            None => writeln!(out)?,
        }
    }
    match failed.len().checked_sub(SHOWN) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "  and {more} more; all in the report"),
    }
}

fn notes(out: &mut dyn Write, notes: &[String]) -> io::Result<()> {
    writeln!(out)?;
    notes.iter().try_for_each(|note| writeln!(out, "{}{note}{}", style::FAINT, style::RESET))
}
