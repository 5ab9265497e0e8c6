//! The smallest Mach-O that makes a point, written byte by byte.

/// Size of `mach_header_64`.
pub const HEADER: usize = 32;

/// A 64-bit little-endian image: load commands, then bytes at chosen offsets.
#[derive(Clone, Default)]
pub struct Mini {
    pub cpu: (u32, u32),
    pub file_type: u32,
    pub commands: Vec<Vec<u8>>,
    pub contents: Vec<(usize, Vec<u8>)>,
    pub size: usize,
}

pub const ARM64: (u32, u32) = (0x0100_000c, 0);
pub const ARM64E: (u32, u32) = (0x0100_000c, 0x8000_0002);
pub const X86_64: (u32, u32) = (0x0100_0007, 3);

impl Mini {
    /// A bundle of `size` bytes with one `__TEXT` segment over all of it, in
    /// which `__text` takes the bytes from 0x400 to 0x800.
    pub fn with_text(cpu: (u32, u32), size: usize) -> Mini {
        let text = segment("__TEXT", 0, 0, size as u64, &[("__text", 0x400, 0x400)]);
        Mini { cpu, file_type: 8, commands: vec![text], contents: vec![], size }
    }

    pub fn command(mut self, number: u32, body: &[u8]) -> Mini {
        self.commands.push(command(number, body));
        self
    }

    pub fn content(mut self, at: usize, bytes: impl Into<Vec<u8>>) -> Mini {
        self.contents.push((at, bytes.into()));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let commands = self.commands.concat();
        let words = [
            0xfeed_facf,
            self.cpu.0,
            self.cpu.1,
            self.file_type,
            self.commands.len() as u32,
            commands.len() as u32,
            0,
            0,
        ];
        let mut bytes = le32(&words);
        bytes.extend(commands);
        bytes.resize(self.size.max(bytes.len()), 0);
        for (at, content) in &self.contents {
            bytes[*at..at + content.len()].copy_from_slice(content);
        }
        bytes
    }
}

pub fn le32(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub fn le64(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub fn command(number: u32, body: &[u8]) -> Vec<u8> {
    let padding = body.len().next_multiple_of(8) - body.len();
    let mut bytes = le32(&[number, (8 + body.len() + padding) as u32]);
    bytes.extend(body);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

fn name16(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// `LC_SEGMENT_64` whose sections are given as name, offset and size.
pub fn segment(
    name: &str,
    address: u64,
    offset: u64,
    size: u64,
    sections: &[(&str, u64, u64)],
) -> Vec<u8> {
    let mut body = name16(name);
    body.extend(le64(&[address, size, offset, size]));
    body.extend(le32(&[7, 5, sections.len() as u32, 0]));
    for (section, at, size) in sections {
        body.extend(name16(section));
        body.extend(name16(name));
        body.extend(le64(&[address + at - offset, *size]));
        body.extend(le32(&[*at as u32, 0, 0, 0, 0, 0, 0, 0]));
    }
    command(0x19, &body)
}

/// One entry of a universal file: processor, alignment, offset, bytes.
pub type Entry<'a> = ((u32, u32), u32, u64, &'a [u8]);

/// A universal file with its slices just where the entries say.
pub fn universal(wide: bool, entries: &[Entry]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let magic: u32 = if wide { 0xcafe_babf } else { 0xcafe_babe };
    bytes.extend(magic.to_be_bytes());
    bytes.extend((entries.len() as u32).to_be_bytes());
    for ((cpu, subtype), align, offset, body) in entries {
        bytes.extend(cpu.to_be_bytes());
        bytes.extend(subtype.to_be_bytes());
        let size = body.len() as u64;
        if wide {
            bytes.extend(offset.to_be_bytes());
            bytes.extend(size.to_be_bytes());
            bytes.extend(align.to_be_bytes());
            bytes.extend(0u32.to_be_bytes());
        } else {
            bytes.extend((*offset as u32).to_be_bytes());
            bytes.extend((size as u32).to_be_bytes());
            bytes.extend(align.to_be_bytes());
        }
    }
    // The table is written last, so that a slice may claim to lie over it.
    let mut file = vec![0; bytes.len()];
    for (_, _, offset, body) in entries {
        let end = *offset as usize + body.len();
        file.resize(file.len().max(end), 0);
        file[*offset as usize..end].copy_from_slice(body);
    }
    file[..bytes.len()].copy_from_slice(&bytes);
    file
}
