//! Stand-ins for what is missing here: Apple's driver and a Mac to put it on.
//!
//! Nothing here holds a byte of Apple's. What is simulated is built from
//! published facts, so that the whole program can be run, tested and shown
//! anywhere.

// A user can reach none of these: an error is a value. Tests may.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

pub mod crash_report;
pub mod driver;
pub mod mac;
