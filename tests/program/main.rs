//! The program as its users run it, on files.

mod authors;
mod bad_input;
mod by_meaning;
mod harness;
mod hostile;
mod main_job;
mod memory;
mod options;
mod page;
mod places;
mod reports;
mod rewrites;
#[path = "../schema/mod.rs"]
mod schema;
mod seals;
mod transcripts;
#[path = "../unprivileged/mod.rs"]
mod unprivileged;
mod variants;
