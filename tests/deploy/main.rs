//! Deploying, verifying, reverting and recovering on simulated Macs.

mod asked;
mod bench;
mod dialogues;
mod faults;
mod hangs;
mod hostile;
mod kept;
mod killed;
mod kit;
mod life;
mod live_volume;
mod loading;
mod model;
mod other_macs;
mod program;
mod refusals;
#[path = "../signals/mod.rs"]
mod signals;
#[path = "../terminal/mod.rs"]
mod terminal;
mod way_back;
