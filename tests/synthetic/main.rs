//! The synthetic driver: what it must hold, and what independent readers and an
//! emulated CPU make of it.

mod execution;
mod fixups;
mod harness;
mod machine;
mod phases;
mod published;
mod readers;
mod variants;
