//! Putting a patched driver in force on a Mac's system volume, and taking it back.
//!
//! A change of the system volume is a transaction of steps ([`step`], the one
//! table of them). A journal ([`journal`]) has each on the disk before it begins;
//! a step that fails has everything undone; a process that is killed, or a Mac
//! that loses power, leaves what `recover` can finish or undo, and in between the
//! Mac always boots: into Apple's snapshot, or into one that holds the whole
//! patched driver.
//!
//! What a plan rests on is looked at before anything is written, shown, agreed to
//! and looked at once more under the lock. The transaction knows nothing of
//! Mach-O or proofs: it asks a [`driver_patcher`].
//!
//! Nothing here talks to a person, and everything that touches the machine goes
//! through [`agxpatch_host`]. No protection is ever switched off here.

// A user can reach none of these: an error is a value. Tests may.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

mod bless;
mod by_meaning;
mod command_log;
mod deploy;
pub mod doctor;
mod driver_patcher;
pub mod files;
pub mod journal;
pub mod kit;
pub mod layout;
mod live_look;
mod loading;
pub mod manifest;
mod next_start;
mod plan;
mod recover;
mod revert;
mod state;
pub mod step;
mod verify;
mod volume;
mod work;

pub use bless::Owner;
pub use command_log::{CommandLog, LogState};
pub use deploy::{Deployed, deploy};
pub use driver_patcher::{Content, DriverPatcher, EnginePatcher, Patched};
pub use live_look::{LiveVolume, look as look_at_live_volume};
pub use manifest::{LiveDriver, Manifest, RevertRecord};
pub use next_start::{Expected, NextStart, next_start, protections_off};
pub use plan::{Options, Plan, PlannedStep, Prepared, planned, prepare, require_root, wrong_state};
pub use recover::{Recovered, decide, recover};
pub use revert::{Reverted, revert};
pub use state::{Driver, Facts, Journaled, State, gather};
pub use step::{Operation, Progress, Step};
pub use verify::{Verification, verify};
