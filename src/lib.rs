//! The program: what a person asks, and how the answer is shown.
//!
//! The work is in the crates below it, and Cargo.toml holds their arrows:
//! `agxpatch-core` (bytes to values), `agxpatch-host` (the one border to a
//! machine), `agxpatch-deploy` (the system volume, and the doctor) and
//! `agxpatch-simulate` (a driver and a Mac that exist only as data, for `demo`,
//! `synth` and `--simulate`). This crate adds what runs and reads other
//! programs: [`launch`], [`recipes`], [`crash`], [`diagnostics`], [`stress`], [`selftest`].

// A user can reach none of these: an error is a value. Tests may.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

pub mod cli;
pub mod crash;
pub mod diagnostics;
pub mod launch;
pub mod recipes;
pub mod report;
pub mod selftest;
pub mod storage;
pub mod stress;
