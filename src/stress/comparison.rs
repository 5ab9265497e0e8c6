//! Counts and rates of each configuration, and what sets two of them apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::configuration::Configuration;
use super::plan::{Swept, Variant, label};
use super::report::StressReport;
use super::statistics::{
    Corrected, Interval, Proportion, SIGNIFICANCE, Sample, difference, fisher, holm, ratio, welch,
};
use super::trial::{Ended, Trial, Verdict};

/// What the trials of one configuration, and one value where there are several, come
/// to. Baselines, which have one thread, are in `one_thread` alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// The configuration.
    pub configuration: Configuration,
    /// The value, where the workload is run with several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
    /// Trials in which a process died, of all.
    pub crashes: Proportion,
    /// Wilson's interval for the rate of crashes.
    pub crash_interval: Interval,
    /// Trials that did not complete for any reason: a guard that turns crashes
    /// into time-outs does not help.
    pub failures: Proportion,
    /// Wilson's interval for the rate of failures.
    pub failure_interval: Interval,
    /// Crashes that exit code 0 would have hidden.
    pub silent: u64,
    /// Trials whose time was up.
    pub timed_out: u64,
    /// Crashes per signal.
    pub signals: BTreeMap<String, u64>,
    /// Crash reports per class.
    pub classes: BTreeMap<String, u64>,
    /// Operations a second, of the trials that completed.
    pub throughput: Option<Sample>,
    /// The same with one thread.
    pub one_thread: Option<Sample>,
    /// Failed trials with one thread, of all.
    pub one_thread_failures: Proportion,
    /// Throughput a thread against that of one thread alone; 1 is ideal.
    pub efficiency: Option<Efficiency>,
}

/// Throughput a thread against one thread alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Efficiency {
    /// Threads of the trials.
    pub threads: u32,
    /// 1 where each thread is as fast as one alone.
    pub value: f64,
    /// With more than one trial of each.
    pub interval: Option<Interval>,
}

/// One configuration against another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What is compared with.
    pub reference: String,
    /// What is compared.
    pub configuration: String,
    /// Rates of crashes.
    pub crashes: Difference,
    /// Rates of failures of any kind.
    pub failures: Difference,
    /// Throughput of the second over the first, with its interval and Welch's
    /// p-value.
    pub throughput: Option<Ratio>,
}

/// Two rates set apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The second rate less the first.
    pub value: f64,
    /// Newcombe's interval, corrected as the p-value is.
    pub interval: Interval,
    /// Fisher's exact p-value.
    pub p: f64,
    /// The same with Holm's correction for the number of comparisons.
    pub adjusted_p: f64,
    /// The number of comparisons that are corrected for.
    #[serde(default)]
    pub comparisons: usize,
    /// Whether the corrected value is below 0.05.
    pub significant: bool,
}

/// Two rates divided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The second over the first.
    pub value: f64,
    /// With more than one value of each; corrected as the p-value is.
    pub interval: Option<Interval>,
    /// Welch's p-value, uncorrected.
    pub p: Option<f64>,
    /// The same with Holm's correction for the number of ratios that have one.
    #[serde(default)]
    pub adjusted_p: Option<f64>,
}

/// A run before a change and one after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeforeAfter {
    /// What each configuration came to before.
    pub before: Vec<Account>,
    /// And after.
    pub after: Vec<Account>,
    /// After against before, for each configuration that both have.
    pub comparisons: Vec<Comparison>,
    /// Why the two may not be comparable.
    pub caveats: Vec<String>,
    /// Whether rates are of operations that the command counted, or of its runs.
    #[serde(default)]
    pub measures: bool,
}

impl Account {
    /// What it is of, as people are told.
    pub fn label(&self) -> String {
        label(&self.configuration, self.variant)
    }

    /// Of the trials of `configuration` with `variant` among `trials`.
    pub fn of(
        configuration: &Configuration,
        variant: Option<Variant>,
        trials: &[Trial],
    ) -> Account {
        let mine = || trials.iter().filter(move |trial| trial.configuration == *configuration);
        let full: Vec<&Trial> =
            mine().filter(|trial| !trial.baseline && trial.variant == variant).collect();
        let single: Vec<&Trial> = mine().filter(|trial| trial.baseline).collect();
        let alone = Some(Variant { of: Swept::Threads, value: 1 });
        let with_one_thread = mine().filter(|trial| trial.baseline || trial.variant == alone);
        let one_thread = rates(&with_one_thread.collect::<Vec<_>>());
        let crashes = proportion(&full, |trial| trial.verdict.is_crash());
        let failures = proportion(&full, |trial| trial.verdict != Verdict::Completed);
        let throughput = rates(&full);
        let count = |verdict| full.iter().filter(|trial| trial.verdict == verdict).count() as u64;
        Account {
            configuration: configuration.clone(),
            variant,
            crashes,
            crash_interval: crashes.interval(),
            failures,
            failure_interval: failures.interval(),
            silent: count(Verdict::CrashedSilently),
            timed_out: count(Verdict::TimedOut),
            signals: tally(full.iter().filter_map(|trial| signal(trial))),
            classes: tally(
                full.iter()
                    .flat_map(|trial| trial.reports.iter().map(|report| report.class.to_string())),
            ),
            // Against itself one thread would only seem to be measured.
            efficiency: (variant != alone)
                .then(|| efficiency(&full, throughput.as_ref(), one_thread.as_ref()))
                .flatten(),
            throughput,
            one_thread,
            one_thread_failures: proportion(&single, |trial| trial.verdict != Verdict::Completed),
        }
    }
}

fn proportion(trials: &[&Trial], happened: impl Fn(&Trial) -> bool) -> Proportion {
    let count = trials.iter().filter(|trial| happened(trial)).count() as u64;
    Proportion { count, of: trials.len() as u64 }
}

fn rates(trials: &[&Trial]) -> Option<Sample> {
    let rates: Vec<f64> = trials.iter().filter_map(|trial| trial.rate()).collect();
    Sample::of(&rates)
}

fn signal(trial: &Trial) -> Option<String> {
    match &trial.ended {
        Ended::Signalled { name, .. } => Some(format!("SIG{name}")),
        _ => None,
    }
}

fn tally(names: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

fn efficiency(full: &[&Trial], many: Option<&Sample>, one: Option<&Sample>) -> Option<Efficiency> {
    let threads = full.iter().find_map(|trial| Some(trial.measured.as_ref()?.threads))?;
    let (value, interval) = ratio(many?, one?, SIGNIFICANCE)?;
    let share = |value: f64| value / f64::from(threads.max(1));
    let interval = interval.map(|i| Interval { low: share(i.low), high: share(i.high) });
    Some(Efficiency { threads, value: share(value), interval })
}

/// Every other configuration against the first, with the same value.
pub fn against_first(accounts: &[Account]) -> Vec<Comparison> {
    let Some(first) = accounts.first() else { return Vec::new() };
    let is_first = |account: &&Account| account.configuration == first.configuration;
    let pairs = accounts.iter().filter(|account| !is_first(account)).filter_map(|other| {
        let same = |account: &&Account| account.variant == other.variant;
        let reference = accounts.iter().filter(is_first).find(same)?;
        Some(((reference.label(), other.label()), reference, other))
    });
    compare(pairs.collect())
}

/// Sets a run before a change and one after it side by side.
pub fn before_after(before: &StressReport, after: &StressReport) -> BeforeAfter {
    let (first, second) = (before.accounts(), after.accounts());
    let pairs = first.iter().filter_map(|old| {
        let same =
            |new: &&Account| (&new.configuration, new.variant) == (&old.configuration, old.variant);
        let new = second.iter().find(same)?;
        let name = |when: &str| format!("{} {when}", old.label());
        Some(((name("before"), name("after")), old, new))
    });
    BeforeAfter {
        comparisons: compare(pairs.collect()),
        caveats: caveats(before, after),
        measures: before.subject.measures && after.subject.measures,
        before: first.clone(),
        after: second,
    }
}

fn caveats(before: &StressReport, after: &StressReport) -> Vec<String> {
    let mut caveats = Vec::new();
    if before.subject.name != after.subject.name || before.subject.command != after.subject.command
    {
        caveats.push("the two runs are of different commands".to_owned());
    }
    if before.machine != after.machine {
        caveats.push("the two runs are of different machines or systems".to_owned());
    }
    if before.subject.timeout_seconds != after.subject.timeout_seconds {
        caveats.push("the two runs allowed different times".to_owned());
    }
    for (which, run) in [("before", before), ("after", after)] {
        if run.interrupted {
            let (made, planned) = (run.trials.len(), run.plan.turns().len());
            caveats.push(format!("the run {which} was interrupted: {made} of {planned} trials"));
        }
    }
    // Interleaving is what makes configurations of one run comparable.
    caveats.push("the runs were made one after the other, so what else changed counts too".into());
    caveats
}

type Pair<'a> = ((String, String), &'a Account, &'a Account);

fn compare(pairs: Vec<Pair>) -> Vec<Comparison> {
    let p_values = |of: fn(&Account) -> Proportion| -> Vec<Corrected> {
        holm(&pairs.iter().map(|(_, a, b)| fisher(of(a), of(b))).collect::<Vec<_>>())
    };
    let crashes = p_values(|account| account.crashes);
    let failures = p_values(|account| account.failures);
    let ratios = ratios(&pairs);
    let adjusted = crashes.into_iter().zip(failures).zip(ratios);
    let count = pairs.len();
    pairs
        .iter()
        .zip(adjusted)
        .map(|(((reference, configuration), a, b), ((crash, failure), throughput))| Comparison {
            reference: reference.clone(),
            configuration: configuration.clone(),
            crashes: set_apart(a.crashes, b.crashes, crash, count),
            failures: set_apart(a.failures, b.failures, failure, count),
            throughput,
        })
        .collect()
}

fn set_apart(a: Proportion, b: Proportion, corrected: Corrected, comparisons: usize) -> Difference {
    Difference {
        value: b.rate() - a.rate(),
        interval: difference(b, a, corrected.level),
        p: fisher(a, b),
        adjusted_p: corrected.p,
        comparisons,
        significant: corrected.p < SIGNIFICANCE,
    }
}

/// Throughput of each pair; those that can be tested are corrected for each other.
fn ratios(pairs: &[Pair]) -> Vec<Option<Ratio>> {
    let test = |(_, a, b): &Pair| welch(a.throughput.as_ref()?, b.throughput.as_ref()?);
    let p_values: Vec<Option<f64>> = pairs.iter().map(test).collect();
    let tested: Vec<f64> = p_values.iter().copied().flatten().collect();
    let mut corrected = holm(&tested).into_iter();
    let each = pairs.iter().zip(p_values).map(|((_, a, b), p)| {
        let corrected = p.and_then(|_| corrected.next());
        let level = corrected.map_or(SIGNIFICANCE, |corrected| corrected.level);
        let (value, interval) = ratio(b.throughput.as_ref()?, a.throughput.as_ref()?, level)?;
        let adjusted_p = corrected.map(|corrected| corrected.p);
        Some(Ratio { value, interval, p, adjusted_p })
    });
    each.collect()
}
