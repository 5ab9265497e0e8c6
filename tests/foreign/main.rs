//! Files and judges from elsewhere.
//!
//! Programs are compiled and linked by LLVM, signed by the `apple-codesign`
//! crate, changed and resealed by agxpatch, and then read again by
//! `apple-codesign` and by LLVM's tools. With `AGXPATCH_CORPUS=DIR` the same is
//! done to every Mach-O in a directory of one's own, such as a Mac's drivers.

mod catalog;
mod corpus;
mod engine;
mod extensions;
mod reseal;
