//! The proof of a rewrite, held against an emulator, wrong rewrites and every
//! word that could be mistaken for a right one.

mod emulation;
mod exhaustive;
mod fixture;
mod inbound;
mod refinement;
mod refusals;
mod wrong_rewrites;
