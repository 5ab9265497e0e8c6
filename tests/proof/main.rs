//! The proof of a rewrite, held against an emulator, wrong rewrites and every
//! word that could be mistaken for a right one.

mod by_meaning;
mod emulation;
mod exhaustive;
mod fixture;
mod inbound;
mod null_entry;
mod refinement;
mod refusals;
mod understanding;
mod wrong_rewrites;
