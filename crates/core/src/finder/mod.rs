//! What a function does with its block, whatever the compiler wrote.
//!
//! A signature says how one compiler wrote the release once. This module reads the
//! code instead: it follows every path of a function over a small abstract domain
//! (an object's field, the block the field held, addresses of locks, constants) and
//! says whether the field is cleared before the lock is dropped under which the
//! block was given back.
//!
//! No verdict calls a function correct, and none is guessed. What the analysis does
//! not follow is [`Verdict::NotUnderstood`], with the place and the reason; the list
//! of reasons is [`Reason`].
//!
//! One idea a file: [`image`] (what is known about the file), `decode` (words),
//! `function` (liveness), `value` and `state` (the domain), `explore` (the paths),
//! `step`, `branch`, `calls`, `memory`, `elsewhere`, `fill` (the effects), `events` (what
//! is noted), `verdict`, `scan` (which functions to look at where no name says so), and `story`
//! (what other threads see of each path).
//!
//! What is assumed, and not seen: the cell does not change through other pointers
//! while the function runs, nor in functions of other images that get the object
//! but not the cell's address; a pointer that is loaded twice from one place without
//! a store to it in between is the same pointer; functions of other images keep the
//! calling convention.

mod branch;
mod calls;
mod decode;
mod elsewhere;
mod events;
mod explore;
mod fill;
mod function;
mod image;
mod meaning;
mod memory;
mod rewrite;
mod scan;
mod state;
mod step;
mod story;
mod value;
mod verdict;
mod worth;

pub use events::{GivenTo, Reason, Witness};
pub use explore::Budget;
pub use image::Program;
pub use rewrite::{Accept, Change, Refusal, RewriteKind, Rewritten, Way, rewrite, rewrite_as};
pub use scan::candidates;
pub use story::{FieldStories, Happening, Moment, Story, stories};
pub use verdict::{Answer, Findings, Remaining, Verdict, examine};

/// Whether an address is executable and belongs to no section.
pub fn is_padding(image: &crate::macho::Image<'_>, at: crate::address::VmAddr) -> bool {
    Program::new(image).is_ok_and(|program| program.is_padding(at.0))
}
