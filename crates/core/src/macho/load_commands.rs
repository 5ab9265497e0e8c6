//! The header and the list of load commands, checked before anyone decodes one.
//!
//! The header says how many commands there are and how many bytes they take;
//! each command says its own size. All three must agree with each other and
//! with the file before a parser is let loose on a command, and then it gets
//! that command's bytes and no others.

use goblin::mach::load_command::{CommandVariant, LoadCommand};

use crate::error::Result;

use super::bytes::{hex, malformed, slice, u32_at};
use super::{Architecture, recognise};

/// Size of `mach_header_64`.
pub const HEADER: u64 = 32;

/// The fields of `mach_header_64` that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Processor.
    pub architecture: Architecture,
    /// `MH_…` kind of file.
    pub file_type: u32,
    /// Number of load commands.
    pub count: u32,
    /// Bytes all load commands take together.
    pub size: u32,
}

/// One load command: its number and all its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Place in the list, for errors.
    pub index: u32,
    /// `LC_…`.
    pub number: u32,
    /// Where it begins in the slice.
    pub at: u64,
    /// The command, from its number to its last byte.
    pub bytes: &'a [u8],
}

/// Reads the header and checks that the commands fit the file.
pub fn header(bytes: &[u8]) -> Result<Header> {
    recognise::macho64(bytes)?;
    let short = || malformed("the file ends inside its Mach-O header");
    let word = |at| u32_at(bytes, at).ok_or_else(short);
    let header = Header {
        architecture: Architecture { cpu_type: word(4)?, cpu_subtype: word(8)? },
        file_type: word(12)?,
        count: word(16)?,
        size: word(20)?,
    };
    word(28)?;
    if HEADER + u64::from(header.size) > bytes.len() as u64 {
        return Err(malformed("the file ends inside its load commands")
            .with("load-commands", format!("{} bytes", header.size))
            .with("size", hex(bytes.len() as u64)));
    }
    if u64::from(header.count) * 8 > u64::from(header.size) {
        return Err(malformed("the header counts more load commands than fit their size")
            .with("count", header.count)
            .with("load-commands", format!("{} bytes", header.size)));
    }
    Ok(header)
}

/// The load commands one by one; the first that does not fit is an error and
/// the last item.
pub fn each<'a>(bytes: &'a [u8], header: Header) -> impl Iterator<Item = Result<Command<'a>>> {
    let end = HEADER + u64::from(header.size);
    let mut at = HEADER;
    let mut index = 0;
    std::iter::from_fn(move || {
        if index >= header.count {
            return None;
        }
        let command = command(bytes, index, at, end);
        match &command {
            Ok(command) => (index, at) = (index + 1, at + command.bytes.len() as u64),
            Err(_) => index = header.count,
        }
        Some(command)
    })
}

fn command(bytes: &[u8], index: u32, at: u64, end: u64) -> Result<Command<'_>> {
    let describe =
        |message: &str| malformed(message).with("load-command", index).with("at", hex(at));
    let room = end - at;
    let (Some(number), Some(size)) = (u32_at(bytes, at), u32_at(bytes, at + 4)) else {
        return Err(describe("the file ends inside a load command"));
    };
    let size = u64::from(size);
    if room < 8 || size > room {
        return Err(
            describe("a load command reaches past the end of all load commands").with("size", size)
        );
    }
    if size < 8 || size % 8 != 0 {
        return Err(describe("a load command's size is not a multiple of eight").with("size", size));
    }
    let body = slice(bytes, at..at + size)
        .ok_or_else(|| describe("the file ends inside a load command"))?;
    Ok(Command { index, number, at, bytes: body })
}

impl Command<'_> {
    /// Decodes the command with goblin, which sees these bytes only.
    pub fn decode(&self) -> Result<CommandVariant> {
        LoadCommand::parse(self.bytes, &mut 0, goblin::container::Endian::Little)
            .map(|decoded| decoded.command)
            .map_err(|error| self.malformed(format!("a load command cannot be read: {error}")))
    }

    /// An error that names this command.
    pub fn malformed(&self, message: impl Into<String>) -> crate::Error {
        malformed(message).with("load-command", self.index).with("at", hex(self.at))
    }
}
