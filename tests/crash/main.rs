//! Crash reports, from bytes to classes and from folders to incidents.

mod classes;
mod evidence;
mod folders;
mod forms;
mod hostile;
mod permission;
mod program;
#[path = "../schema/mod.rs"]
mod schema;
mod transport;
#[path = "../unprivileged/mod.rs"]
mod unprivileged;
