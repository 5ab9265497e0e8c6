//! The pure core of agxpatch: bytes in, values out.
//!
//! [`macho`] reads a universal file and its slices, [`signature`] finds a sequence
//! of instructions in one, [`finder`] says what a function does with its block
//! whatever the instructions are, [`patch`] plans a rewrite of it, [`proof`] decides
//! whether that rewrite is right, and [`codesign`] makes the file's signature fit
//! again. Nothing here does input or output, asks the machine anything or prints:
//! a caller reads the bytes, applies the planned [`edit`]s and writes the result.

// A user can reach none of these: an error is a value. Tests may.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

pub mod address;
pub mod arm64;
pub mod check;
pub mod codesign;
pub mod driver_logic;
pub mod edit;
pub mod error;
pub mod exit;
pub mod finder;
pub mod macho;
pub mod patch;
pub mod proof;
pub mod signature;

pub use error::{Error, Result};
