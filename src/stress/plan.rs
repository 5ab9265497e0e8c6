//! Which trial comes when.

use serde::{Deserialize, Serialize};

use super::configuration::Configuration;

/// How many trials of which configurations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The configurations, the one to compare with first.
    pub configurations: Vec<Configuration>,
    /// Trials of each.
    pub trials: u32,
    /// Trials of each with one thread, to measure efficiency against.
    pub baselines: u32,
}

/// One trial to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The round it belongs to, from 0.
    pub round: u32,
    /// What to run under.
    pub configuration: Configuration,
    /// With one thread only.
    pub baseline: bool,
}

impl Plan {
    /// The trials in the order to run them. Each round holds every configuration
    /// once, first its baseline while there are any left, and begins with
    /// another configuration than the round before.
    pub fn turns(&self) -> Vec<Turn> {
        let count = self.configurations.len();
        let mut turns = Vec::new();
        for round in 0..self.trials.max(self.baselines) {
            for place in 0..count {
                let configuration = self.configurations[(round as usize + place) % count];
                let turn = |baseline| Turn { round, configuration, baseline };
                turns.extend((round < self.baselines).then(|| turn(true)));
                turns.extend((round < self.trials).then(|| turn(false)));
            }
        }
        turns
    }
}
