//! Deploying, verifying, reverting and recovering on simulated Macs.

mod bench;
mod faults;
mod kit;
mod life;
mod model;
mod program;
mod refusals;
