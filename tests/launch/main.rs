//! `agxpatch run`: which program, with what, and what becomes of it.

mod children;
mod forest;
mod mac;
mod programs;
mod resolution;
mod scoped;
mod simulated;
mod unpacking;
mod variables;
mod verdicts;
mod wrappers;
