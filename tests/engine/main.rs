//! The engine that finds, rewrites and reseals, through its public interface.

mod scan;
mod signature;
