//! The three depths at which the fix can be put in force.

use serde::Serialize;

use super::{Diagnosis, Finding, Verdict};

/// How deep a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// A library guards the encoders of one process; nothing on disk changes.
    Guard,
    /// One process loads a patched copy of the driver.
    Scoped,
    /// The driver on the system volume, for every process.
    System,
}

impl Depth {
    /// From the one that asks least to the one that asks most.
    pub const ALL: [Depth; 3] = [Depth::Guard, Depth::Scoped, Depth::System];

    /// The word people use.
    pub fn name(self) -> &'static str {
        match self {
            Depth::Guard => "guard",
            Depth::Scoped => "scoped",
            Depth::System => "system",
        }
    }

    /// What changes, and for whom.
    pub fn changes(self) -> &'static str {
        match self {
            Depth::Guard => "nothing on disk; one process",
            Depth::Scoped => "a copy of the driver; one process",
            Depth::System => "the system's driver; every process",
        }
    }

    /// The command that puts it in force.
    pub fn command(self) -> &'static str {
        match self {
            Depth::Guard => "agxpatch run -- python train.py",
            Depth::Scoped => "agxpatch run --driver patched -- python train.py",
            Depth::System => "sudo agxpatch deploy",
        }
    }
}

/// Whether a depth is open on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DepthState {
    /// Which.
    pub depth: Depth,
    /// Whether nothing stands in the way.
    pub open: bool,
    /// Whether it is the one to try first.
    pub recommended: bool,
    /// Whether the driver that is installed makes it unnecessary.
    pub in_force: bool,
    /// The names of the findings that close it.
    pub closed_by: Vec<&'static str>,
    /// The names of the questions whose answers may close it and are not recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_by: Vec<&'static str>,
    /// The command that puts it in force, or looks whether it still is.
    pub command: &'static str,
}

/// The depths, what is in force or else the first open one in front.
pub(super) fn depths(diagnosis: &Diagnosis) -> Vec<DepthState> {
    let patched = matches!(diagnosis.driver, Verdict::Patched { .. });
    let state = |depth: Depth| {
        let (unknown, closing): (Vec<&Finding>, Vec<&Finding>) =
            diagnosis.blockers(depth).partition(|finding| finding.is_unanswered());
        let names = |findings: Vec<&Finding>| findings.iter().map(|one| one.check.name).collect();
        let (closed_by, unknown_by): (Vec<_>, Vec<_>) = (names(closing), names(unknown));
        let in_force = patched && depth == Depth::System;
        DepthState {
            depth,
            open: closed_by.is_empty() && unknown_by.is_empty(),
            recommended: false,
            in_force,
            closed_by,
            unknown_by,
            command: match (in_force, depth, &diagnosis.driver) {
                (true, ..) => "agxpatch verify",
                (_, Depth::System, Verdict::Provable { .. } | Verdict::Derived { .. }) => {
                    "sudo agxpatch deploy --unlisted-build"
                }
                _ => depth.command(),
            },
        }
    };
    let mut states: Vec<DepthState> = Depth::ALL.into_iter().map(state).collect();
    let in_force = states.iter().position(|state| state.in_force);
    if let Some(best) = in_force.or_else(|| states.iter().position(|state| state.open)) {
        states[..=best].rotate_right(1);
        states[0].recommended = true;
    }
    states
}
