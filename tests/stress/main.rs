//! Stress: children that die in every way, and the statistics of it.

mod attribution;
mod children;
mod comparison;
mod effect;
mod program;
mod statistics;
mod workloads;
