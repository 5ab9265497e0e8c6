//! Deploying, verifying, reverting and recovering on simulated Macs.

mod asked;
mod bench;
mod by_meaning;
mod command_log;
mod dialogues;
mod faults;
mod hangs;
mod hostile;
mod kept;
mod killed;
mod kit;
mod life;
mod listed;
mod live_volume;
mod loading;
mod model;
mod other_macs;
mod program;
mod refusals;
mod refused_by_macos;
mod replayed;
#[path = "../signals/mod.rs"]
mod signals;
#[path = "../terminal/mod.rs"]
mod terminal;
#[path = "../unknown_build/mod.rs"]
mod unknown_build;
mod way_back;
