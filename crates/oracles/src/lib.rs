//! The independent judges that the tests share: compilers and linkers, LLVM's tools,
//! and another signer.
//!
//! A test that compares agxpatch with itself proves little. What can be had from
//! elsewhere is found and started here, once: which version of a tool is taken, what
//! happens where it is missing, and how a source becomes a Mach-O file.
//!
//! The edge: nothing here knows agxpatch. What a judge's answer means for agxpatch is
//! for the test that asks. Judges that a single test program has (the emulator, the
//! model checker) stay with that program. Failures panic, as in any test.

pub mod shapes;
#[cfg(feature = "signer")]
pub mod signature_judge;
#[cfg(feature = "signer")]
pub mod signer;
mod toolchain;
pub mod tools;

pub use toolchain::{Kind, Source, Toolchain};
