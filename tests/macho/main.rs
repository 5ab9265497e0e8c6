//! Reading Mach-O files: real ones built here by clang and lld and judged by
//! LLVM's own tools, small ones written byte by byte, and damaged ones, on which
//! the whole main job is tried.
#![allow(missing_docs)]

mod bad_input;
mod damage;
mod driver;
mod examine;
mod fixups;
mod image;
mod main_job;
mod memory;
mod mini;
mod objective_c;
mod oddities;
mod tools;
mod universal;
