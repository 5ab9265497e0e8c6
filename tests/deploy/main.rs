//! Deploying, verifying, reverting and recovering on simulated Macs.

mod bench;
mod faults;
mod hostile;
mod kept;
mod killed;
mod kit;
mod life;
mod model;
mod program;
mod refusals;
mod terminal;
