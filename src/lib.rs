//! agxpatch finds, proves and patches the encoder-release race in Apple's GPU
//! driver `AGXMetalG16X`, and puts the result in force on a Mac and takes it
//! back.
//!
//! The library is in two halves. The core (`macho`, `codesign`, `arm64`,
//! `signature`, `patch`, `proof`, `crash`) turns bytes into values and does no
//! I/O at all. Everything that asks a machine a question or changes it goes
//! through [`host`]. Arrows between modules run one way, from the program down
//! to the addresses; `tests/tidy` polices that.

pub mod address;
pub mod arm64;
pub mod check;
pub mod cli;
pub mod codesign;
pub mod crash;
pub mod deploy;
pub mod diagnostics;
pub mod doctor;
pub mod edit;
pub mod error;
pub mod exit;
pub mod host;
pub mod launch;
pub mod macho;
pub mod patch;
pub mod proof;
pub mod report;
pub mod selftest;
pub mod signature;
pub mod simulate;
pub mod storage;
pub mod stress;

pub use error::{Error, Result};
