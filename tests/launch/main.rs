//! `agxpatch run`: which program, with what, and what becomes of it.

mod applications;
mod bench;
mod children;
mod deaths;
mod forest;
mod job_control;
mod mac;
mod programs;
mod relayed_signals;
mod resolution;
mod scoped;
#[path = "../signals/mod.rs"]
mod signals;
mod simulated;
#[path = "../terminal/mod.rs"]
mod terminal;
#[path = "../unknown_build/mod.rs"]
mod unknown_build;
mod unpacking;
mod variables;
mod verdicts;
mod wrappers;
