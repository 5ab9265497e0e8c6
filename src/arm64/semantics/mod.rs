//! What AArch64 instructions mean.

mod register;

pub use register::Register;
