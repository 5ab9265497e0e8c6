//! The emulator as an independent judge: of every instruction the semantics
//! knows, and of whole functions before and after.

mod authentication;
mod evaluate;
mod functions;
mod instructions;
mod machine;
mod random;

pub use functions::agree;
