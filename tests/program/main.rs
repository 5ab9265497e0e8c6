//! The program as its users run it, on files.

mod authors;
mod bad_input;
mod harness;
mod main_job;
#[path = "../schema/mod.rs"]
mod schema;
mod transcripts;
mod variants;
