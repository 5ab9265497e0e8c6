//! Damaged input for every parser that reads what others wrote.
//!
//! A [`Target`] has seeds, which are made by code, and hands bytes to one parser as
//! the program does. What it demands is little and holds for any bytes: the parser
//! returns, with a value or an error, and neither panics nor hangs. Debug builds
//! check arithmetic, so an overflow is a panic too.
//!
//! `tests/bounded.rs` damages the seeds by a fixed sequence of random numbers, for
//! some seconds in every test run. `scripts/fuzz` searches longer: with coverage as
//! its guide (`coverage/`, libFuzzer), or without.

pub mod damage;
mod machines;
mod targets;

pub use targets::{TARGETS, Target, target};
