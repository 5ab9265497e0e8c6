//! Reading Mach-O: a universal file, its slices, and what a slice says of itself.
//!
//! Responsible for answering "what stands where" about bytes that anyone may
//! have written: slices, segments, sections, symbols, function starts, the
//! range of the code signature, and Objective-C methods by name. It reads and
//! never writes; what a code signature contains, and what the instructions
//! mean, is for others.
//!
//! Three rules hold throughout.
//!
//! * **Checked before it is used.** Every count, size and offset is compared
//!   with the bytes that are there before anything follows it. No input makes this
//!   module panic, and none makes it allocate more than the file is long (plus
//!   a constant): tables are borrowed, never copied.
//! * **Two readers.** goblin decodes the load commands; `object`, which shares
//!   no code with it, reads the same bytes again. Where they differ, the file
//!   is refused: an offset that two readers understand differently is not one
//!   to patch at.
//! * **Nothing is parsed that is not asked for.** [`Image`] looks at the load
//!   commands alone; symbols, function starts and Objective-C metadata are
//!   decoded when called for.
//!
//! Sources of the formats: the public headers `mach-o/fat.h`,
//! `mach-o/loader.h`, `mach-o/nlist.h` and `mach-o/fixup-chains.h`, and the
//! public source of the Objective-C runtime.

mod architecture;
mod bytes;
mod chained_fixups;
mod eh_frame;
mod facts;
mod file_type;
mod function_starts;
mod image;
mod landing_pads;
mod load_commands;
mod method_list;
mod objc;
mod other_processor;
mod pointer;
mod recognise;
mod second_reader;
mod segment;
mod stubs;
mod symbols;
mod universal;
mod version;

pub use architecture::Architecture;
pub use chained_fixups::{ChainedFixups, Fixup};
pub use file_type::FileType;
pub use image::Image;
pub use landing_pads::CallSite;
pub use objc::{Ivar, Method, MethodKind};
pub use pointer::Pointer;
pub use segment::{Section, Segment};
pub use stubs::Stub;
pub use symbols::{Symbol, SymbolIndex, Symbols};
pub use universal::{Container, Slice, Universal};
pub use version::{BuildVersion, PackedVersion, Platform, SourceVersion, Uuid};
