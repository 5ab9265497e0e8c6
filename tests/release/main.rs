//! What is delivered with the program: its version, completions and man pages,
//! and the check a stranger runs on a Mac.

mod documents;
mod harness;
mod power;
mod recipes;
mod selftest;
mod version;
