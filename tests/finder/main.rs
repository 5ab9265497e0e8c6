//! The finder, judged by compilers.
//!
//! Sources of our own (`crates/oracles/shapes`) are compiled by every clang that is installed, at
//! five levels and with flags that change the code's form, and linked for macOS. The
//! name of each function says what the finder must say about it. With
//! `AGXPATCH_FULL=1` every version and every combination is tried; otherwise two
//! versions, and each set of flags once.

mod hostile;
mod interleavings;
mod mutations;
mod processor;
mod published;
mod rewrites;
mod stronger;
mod table;
mod unwinding;
mod verdicts;
mod wrong_fills;
mod wrong_rewrites;
