//! Which trial comes when.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::configuration::Configuration;

/// What a workload is run with several values of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Swept {
    /// Its number of threads.
    Threads,
    /// The samples of an operation.
    Batch,
}

impl Swept {
    /// The workload's option for it.
    pub fn option(self) -> &'static str {
        match self {
            Swept::Threads => "--threads",
            Swept::Batch => "--batch",
        }
    }
}

/// One of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Of what.
    pub of: Swept,
    /// The value.
    pub value: u32,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.of, self.value) {
            (Swept::Threads, 1) => f.write_str("1 thread"),
            (Swept::Threads, value) => write!(f, "{value} threads"),
            (Swept::Batch, value) => write!(f, "batch {value}"),
        }
    }
}

/// `guard, 4 threads`: what trials have in common.
pub fn label(configuration: &Configuration, variant: Option<Variant>) -> String {
    match variant {
        Some(variant) => format!("{configuration}, {variant}"),
        None => configuration.to_string(),
    }
}

/// How many trials of which configurations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The configurations, the one to compare with first.
    pub configurations: Vec<Configuration>,
    /// The values the workload is run with in turn; empty where it is run in one
    /// way alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Variant>,
    /// Trials of each configuration and value.
    pub trials: u32,
    /// Trials of each configuration with one thread, to measure efficiency against.
    pub baselines: u32,
}

/// One trial to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The round it belongs to, from 0.
    pub round: u32,
    /// What to run under.
    pub configuration: Configuration,
    /// Which of the values, unless it is a baseline.
    pub variant: Option<Variant>,
    /// With one thread only.
    pub baseline: bool,
}

impl Plan {
    /// The values one by one, or none once.
    pub fn each_variant(&self) -> Vec<Option<Variant>> {
        match self.variants.as_slice() {
            [] => vec![None],
            variants => variants.iter().copied().map(Some).collect(),
        }
    }

    /// The trials in the order to run them, which follows from the plan alone. Each
    /// round holds every configuration once with each value, first its baseline
    /// while there are any left, and begins with another configuration and another
    /// value than the round before.
    pub fn turns(&self) -> Vec<Turn> {
        let (configurations, variants) = (&self.configurations, self.each_variant());
        let mut turns = Vec::new();
        for round in 0..self.trials.max(self.baselines) {
            for configuration in turned(configurations, round) {
                let turn = |variant, baseline| Turn {
                    round,
                    configuration: configuration.clone(),
                    variant,
                    baseline,
                };
                turns.extend((round < self.baselines).then(|| turn(None, true)));
                if round < self.trials {
                    turns.extend(turned(&variants, round).map(|variant| turn(variant, false)));
                }
            }
        }
        turns
    }
}

/// All of `items`, from another one on in each round.
fn turned<T: Clone>(items: &[T], round: u32) -> impl Iterator<Item = T> {
    let first = round as usize % items.len().max(1);
    items.iter().cycle().skip(first).take(items.len()).cloned()
}
