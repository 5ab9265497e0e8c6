//! What is taken from a report before anything is concluded from it, and the
//! bounds on how much.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::report::printable;

/// Longest string kept from a report, in bytes.
pub const MAX_TEXT: usize = 512;
/// Most frames kept of the thread that died.
pub const MAX_FRAMES: usize = 64;
/// Most messages kept.
pub const MAX_MESSAGES: usize = 32;
/// Most notes kept on what was left out.
pub const MAX_NOTES: usize = 8;
/// Most programs whose version is kept.
pub const MAX_PROGRAMS: usize = 8;

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
    /// Where its code was loaded from, if the report tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// Where an image's code was loaded from. Only a file can be patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Location {
    /// A file of its own.
    File,
    /// The shared cache, which holds no file to patch.
    SharedCache,
}

/// What a report says about the protections of the Mac.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protections {
    /// `enabled` or `disabled`, as written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sip: Option<String>,
    /// 0 on Intel, 1 on M1 and M2, 2 where the Trusted Execution Monitor runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code_signing_monitor: Option<u64>,
}

/// A program that brings GPU work to the driver, with the version the report gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Program {
    /// `torch`, `mlx`, `onnxruntime` or `llama.cpp`.
    pub name: String,
    /// Its version, if known.
    pub version: Option<String>,
    /// How the version is known: `path`, `bundle`, `uuid` or `dist-info`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
    /// Its code is among the frames of the thread that died.
    #[serde(default)]
    pub on_stack: bool,
}

/// Registers of the thread that died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// x0 to x28, then fp and lr, as far as the report has them.
    pub x: Vec<Option<u64>>,
    /// Program counter.
    pub pc: Option<u64>,
    /// Fault address register.
    pub far: Option<u64>,
    /// Exception syndrome register.
    pub esr: Option<u64>,
}

impl Registers {
    /// Register `number`; 31 is the stack pointer or zero, and has no value here.
    pub fn get(&self, number: u8) -> Option<u64> {
        self.x.get(usize::from(number)).copied().flatten()
    }

    /// Sets register `number` if it is one of those kept.
    pub fn set(&mut self, number: usize, value: u64) {
        const MAX_REGISTER: usize = 30;
        if number > MAX_REGISTER {
            return;
        }
        if self.x.len() <= number {
            self.x.resize(number + 1, None);
        }
        self.x[number] = Some(value);
    }
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
    /// Registers of the thread that died.
    pub registers: Registers,
    /// The instruction that faulted.
    pub instruction: Option<u32>,
    /// Name of the thread that died.
    pub thread: Option<String>,
    /// The dispatch queue it was working for.
    pub queue: Option<String>,
    /// Its frames, innermost first.
    pub frames: Vec<Frame>,
    /// Where the exception was thrown that ended the process, innermost first.
    pub thrown: Vec<Frame>,
    /// Application-specific information, termination reasons, restart reason.
    pub messages: Vec<String>,
    /// Namespace of the termination, such as `SIGNAL` or `DYLD`.
    pub namespace: String,
    /// The AGX driver.
    pub driver: Option<Driver>,
    /// Programs whose images were loaded and that are known to use the GPU.
    pub programs: Vec<Program>,
    /// Protections of the Mac.
    pub protections: Protections,
    /// What is missing from a report that can be judged nevertheless.
    pub incomplete: Option<String>,
    /// What was left out of the file, in sentences.
    pub notes: Vec<String>,
    /// The report is the text form.
    pub is_text: bool,
    /// A header or body was read: fields of another belong to another report.
    pub headed: bool,
    /// The exception or the GPU event was read.
    pub bodied: bool,
}

impl Facts {
    /// The facts of a report of which nothing can be read.
    pub fn broken(reason: &str) -> Facts {
        Facts { broken: Some(reason.to_owned()), ..Facts::default() }
    }

    /// Adds a sentence on what was left out.
    pub fn note(&mut self, note: impl Into<String>) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note.into());
        }
    }

    /// Process, number and millisecond: the same in every form of a report. A text
    /// report writes fewer digits of the time than JSON may.
    pub fn death(&self) -> Option<(&str, u64, i64)> {
        Some((self.process.as_deref()?, self.pid?, self.captured?.as_millisecond()))
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
    image.strip_prefix(DRIVER).is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit())
    })
}

/// The name of an image where a report gives its bundle identifier: macOS 11 and
/// older write `com.apple.AGXMetalG13X` in frames. Identifiers write `-` where
/// images have `_`.
pub fn image_name(name: &str) -> String {
    let Some(rest) = name.strip_prefix("com.apple.") else { return name.to_owned() };
    let last = rest.rsplit('.').next().filter(|last| !last.is_empty()).unwrap_or(rest);
    if is_driver(last) { last.replace('-', "_") } else { last.to_owned() }
}

/// A copy of `text` of at most [`MAX_TEXT`] bytes without what would act on the
/// terminal it is printed on; nothing if it is empty.
pub fn keep(text: &str) -> Option<String> {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = printable(&text[..end]);
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}
