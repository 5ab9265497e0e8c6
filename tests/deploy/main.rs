//! Deploying, verifying, reverting and recovering on simulated Macs.

mod bench;
mod life;
