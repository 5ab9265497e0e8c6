//! `agxpatch run`: a command with the guard library inserted, or with a patched
//! copy of the driver, and nothing changed on the system.
//!
//! [`prepare`](fn@prepare) decides everything beforehand: which program the
//! command comes to ([`resolve`](fn@resolve) follows scripts, `env` and shims by
//! reading files), whether that program can be given a library
//! ([`verdict`]), and which variables it starts with ([`environment`]). It
//! puts the guard library ([`library`]) and the copy of the driver
//! ([`scoped`]) in place, in folders that are the user's alone.
//! [`supervise`](fn@supervise) then runs it: signals and exit status pass
//! through, crash reports are told by class, and what the library reports from
//! inside is held against what was asked for.
//!
//! What this cannot know is whether dyld, AMFI and Metal do on a Mac what is
//! published of them, and untested. So the library reports from
//! inside the process which driver was loaded, and where that is not the one
//! asked for, it is said.

mod advice;
mod aftermath;
mod bundle;
mod child;
mod clean;
mod coalescing;
mod console_script;
mod env_words;
pub mod environment;
pub mod files;
pub mod guard_report;
mod image;
pub mod library;
pub mod live;
mod mode;
mod prepare;
mod private_dir;
mod pyenv;
mod races;
mod resolve;
mod run_report;
pub mod scoped;
mod summary;
mod supervise;
pub mod verdict;

pub use advice::{instead, judge_file, judge_target};
pub use aftermath::Crash;
pub use child::{Ended, Relay, is_ignored};
pub use clean::clean;
pub use coalescing::CoalescingOff;
pub use image::Facts;
pub use mode::Mode;
pub use prepare::{Mac, Prepared, Request, needs_a_mac, prepare};
pub use resolve::{Scene, Step, Target, Variables, resolve};
pub use run_report::{Attempt, RunReport};
pub use summary::GuardSummary;
pub use supervise::{Supervision, supervise};
