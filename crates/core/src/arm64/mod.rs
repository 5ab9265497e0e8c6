//! AArch64 words to text and back.
//!
//! Text becomes words through keystone and words become text through capstone,
//! two programs that share no code, so that each can be held against the other.
//! What instructions *mean* is not here but with the proof that needs it.

mod assemble;
mod disassemble;
pub mod extensions;
mod read_back;
pub mod semantics;

pub use assemble::Assembler;
pub use disassemble::{Disassembler, Instruction};
pub use read_back::assemble_and_read_back;
