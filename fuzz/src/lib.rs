//! Damaged input for every parser that reads what others wrote.
//!
//! A [`Target`] has seeds, which are made by code, and hands bytes to one parser as
//! the program does. What it demands is little and holds for any bytes: the parser
//! returns, with a value or an error, does not panic, and stays within [`Limits`].
//! Debug builds check arithmetic, so an overflow is a panic too.
//!
//! `tests/bounded.rs` damages the seeds by a fixed sequence of random numbers, for
//! some seconds in every test run. `scripts/fuzz` searches longer: with coverage as
//! its guide (`coverage/`, libFuzzer), or without.

mod compiled;
pub mod damage;
mod images;
mod limits;
mod machines;
mod targets;

pub use limits::Limits;
pub use targets::{TARGETS, Target, target};
