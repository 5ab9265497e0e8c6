//! What is taken from a report before anything is concluded from it, and the
//! bounds on how much.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::report::printable;

/// Longest string kept from a report, in bytes.
pub const TEXT: usize = 512;
/// Most frames kept of the thread that died.
pub const FRAMES: usize = 48;
/// Most messages kept.
pub const MESSAGES: usize = 32;

/// The schema a report came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A process died.
    #[default]
    Crash,
    /// The GPU was restarted.
    GpuEvent,
    /// An `.ips` file that tells of something else: a panic, memory pressure.
    Other,
}

/// The AGX driver bundle a process had loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Driver {
    /// The image's name, such as `AGXMetalG16X`.
    pub name: String,
    /// The bundle's version, such as `329.2`.
    pub version: Option<String>,
    /// The image's UUID in lower case.
    pub uuid: Option<String>,
}

/// One frame of the thread that died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Name of the image the code lies in.
    pub image: Option<String>,
    /// Its symbol.
    pub symbol: Option<String>,
    /// Bytes from the symbol to the program counter.
    pub offset: Option<u64>,
    /// Bytes from the image's load address to the program counter.
    pub image_offset: Option<u64>,
}

/// The facts of one report.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Why the report cannot be understood; the other facts are those that
    /// could be read nevertheless.
    pub broken: Option<String>,
    /// The schema.
    pub form: Form,
    /// The type number of an `.ips` header.
    pub bug_type: Option<String>,
    /// macOS's identifier of the incident, in lower case.
    pub incident: Option<String>,
    /// Name of the process.
    pub process: Option<String>,
    /// Its identifier.
    pub pid: Option<u64>,
    /// Its parent's.
    pub parent_pid: Option<u64>,
    /// When it died.
    pub captured: Option<Timestamp>,
    /// macOS version and build.
    pub os: Option<String>,
    /// `EXC_BAD_ACCESS` and the like.
    pub exception: String,
    /// `SIGSEGV` and the like.
    pub signal: String,
    /// The texts that may hold the faulting address, most telling first.
    pub addresses: Vec<String>,
    /// `ESR_EL1` of the thread that died.
    pub esr: Option<u64>,
    /// Name of the thread that died.
    pub thread: Option<String>,
    /// The dispatch queue it was working for.
    pub queue: Option<String>,
    /// Its frames, innermost first.
    pub frames: Vec<Frame>,
    /// Application-specific information, termination reasons, restart reason.
    pub messages: Vec<String>,
    /// Namespace of the termination, such as `SIGNAL` or `DYLD`.
    pub namespace: String,
    /// The AGX driver.
    pub driver: Option<Driver>,
}

impl Facts {
    /// The facts of a report of which nothing can be read.
    pub fn broken(reason: &str) -> Facts {
        Facts { broken: Some(reason.to_owned()), ..Facts::default() }
    }
}

impl Frame {
    /// `symbol + offset`, or the place in the image where there is no symbol.
    pub fn describe(&self) -> String {
        match (&self.symbol, self.offset) {
            (Some(symbol), Some(offset)) => format!("{symbol} + {offset}"),
            (Some(symbol), None) => symbol.clone(),
            (None, _) => match self.image_offset {
                Some(offset) => format!("{offset:#x} in {}", self.image_name()),
                None => format!("unknown place in {}", self.image_name()),
            },
        }
    }

    /// The image's name, or a word for its absence.
    pub fn image_name(&self) -> &str {
        self.image.as_deref().unwrap_or("an unknown image")
    }

    /// The symbol, or nothing.
    pub fn symbol_name(&self) -> &str {
        self.symbol.as_deref().unwrap_or_default()
    }
}

/// How the name of every AGX driver bundle begins.
pub const DRIVER: &str = "AGXMetal";

/// Whether an image of this name is an AGX driver bundle.
pub fn is_driver(image: &str) -> bool {
    image.starts_with(DRIVER)
}

/// A copy of `text` of at most [`TEXT`] bytes without what would act on the
/// terminal it is printed on; nothing if it is empty.
pub fn keep(text: &str) -> Option<String> {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = printable(&text[..end]);
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}
