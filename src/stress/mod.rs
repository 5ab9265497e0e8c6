//! Whether it helps: a workload run again and again, under one configuration
//! and another, and what the counts allow to be said.
//!
//! A trial is one child process. Trials of the configurations take turns within
//! a round and the order turns from round to round, so that a machine growing
//! warm or busy meets all of them alike ([`plan`]). What becomes of a child is
//! never left to its exit code alone: a signal, a shell's 128 + signal, a
//! time-out, an incomplete result, and a crash report of one of its workers
//! after an exit code of 0 all count ([`trial`], [`attribution`]).
//!
//! Crashes are counted with Wilson intervals and compared by Fisher's exact
//! test, throughput by Welch's; with several comparisons the p-values are
//! Holm's ([`statistics`], [`comparison`]). The result, a [`StressReport`],
//! holds every trial, so that a reader can count again.
//!
//! This module starts processes and reads crash reports; it prints nothing.

mod attribution;
mod child;
pub mod comparison;
mod configuration;
pub mod deployment;
pub mod distribution;
pub mod metal;
mod page;
mod plan;
mod record;
mod report;
mod run;
pub mod statistics;
mod text;
mod trial;
mod workload;

pub use attribution::Attributed;
pub use comparison::{BeforeAfter, before_after};
pub use configuration::{Configuration, Environment, Environments, Guarded};
pub use plan::{Plan, Swept, Turn, Variant};
pub use record::{Moment, Recorded};
pub use report::{Counted, Machine, StressReport, Subject};
pub use run::{Options, User, run};
pub use trial::{Ended, Measurement, Trial, Verdict};
pub use workload::{Command, Workload};
