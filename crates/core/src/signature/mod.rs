//! Finding a sequence of instructions whatever registers and addresses a
//! compiler chose for it.
//!
//! A signature is a pattern of assembly with captures (`syntax`), compiled into
//! words with holes (`template`) by asking the assembler, whose answers for the
//! built-in catalogue are kept (`encodings`), and looked for word by word (`scan`). A
//! pattern can be written from code (`generalise`). This module rests on the assembler
//! and the disassembler alone: it knows nothing of files, slices or patches. Whether one
//! match is the right one is decided by the caller.

mod anchors;
mod captures;
mod encodings;
mod generalise;
mod pattern;
mod prefilter;
mod scan;
mod syntax;
mod template;
mod word_map;

pub use captures::{Captures, Kind, Value};
pub use generalise::{Generalised, generalise};
pub use pattern::Pattern;
pub use scan::{Code, Many, Match, Misfit, NearMiss, find, nearest};
pub use syntax::{Line, Rendered, Source};
pub use template::{Field, Template};
