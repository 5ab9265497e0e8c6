//! Stress: children that die in every way, and the statistics of it.

mod attribution;
mod children;
mod comparison;
mod effect;
mod interruption;
mod metal_alone;
mod program;
#[path = "../schema/mod.rs"]
mod schema;
mod schemas;
#[path = "../signals/mod.rs"]
mod signals;
mod statistics;
#[path = "../terminal/mod.rs"]
mod terminal;
mod workloads;
