//! Crash reports, from bytes to classes and from folders to incidents.

mod classes;
mod folders;
mod hostile;
mod program;
#[path = "../schema/mod.rs"]
mod schema;
