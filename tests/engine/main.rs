//! The engine that finds, rewrites and reseals, through its public interface.

mod known;
mod scan;
mod signature;
