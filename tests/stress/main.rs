//! Stress: children that die in every way, and the statistics of it.

mod attribution;
mod children;
mod comparison;
mod effect;
mod program;
#[path = "../schema/mod.rs"]
mod schema;
mod schemas;
mod statistics;
mod workloads;
