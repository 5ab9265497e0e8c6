//! What a file is, when it is not what was hoped for.
//!
//! "Not a Mach-O" does not help a user who holds a library archive, a shared cache or
//! a download page saved as a driver. The first bytes usually tell.

use crate::error::{Code, Error, Result};

/// `MH_MAGIC_64` as it stands in a little-endian file.
pub const MACHO64: [u8; 4] = [0xcf, 0xfa, 0xed, 0xfe];
/// `FAT_MAGIC`; universal headers are big-endian.
pub const FAT32: [u8; 4] = [0xca, 0xfe, 0xba, 0xbe];
/// `FAT_MAGIC_64`.
pub const FAT64: [u8; 4] = [0xca, 0xfe, 0xba, 0xbf];

/// First bytes, what they stand for, and what to do instead.
const KNOWN: &[(&[u8], &str, &str)] = &[
    (b"!<arch>\n", "the file is a static archive, not a linked image", EXTRACT),
    (b"!<thin>\n", "the file is a thin static archive, not a linked image", EXTRACT),
    (
        &[0xfe, 0xed, 0xfa, 0xcf],
        "the file is a big-endian 64-bit Mach-O, which is not supported",
        LITTLE,
    ),
    (
        &[0xfe, 0xed, 0xfa, 0xce],
        "the file is a big-endian 32-bit Mach-O, which is not supported",
        LITTLE,
    ),
    (&[0xce, 0xfa, 0xed, 0xfe], "the file is a 32-bit Mach-O, which is not supported", LITTLE),
    (&[0xbe, 0xba, 0xfe, 0xca], "the universal header is byte-swapped, which no tool writes", COPY),
    (&[0xbf, 0xba, 0xfe, 0xca], "the universal header is byte-swapped, which no tool writes", COPY),
    (&FAT32, "the slice is itself a universal file", COPY),
    (&FAT64, "the slice is itself a universal file", COPY),
    (
        b"dyld_v1",
        "the file is a dyld shared cache, not one image",
        "name the driver's own file in its bundle's Contents/MacOS",
    ),
    (b"\x7fELF", "the file is an ELF image, not a Mach-O", DRIVER),
    (b"MZ", "the file is a Windows image, not a Mach-O", DRIVER),
    (b"bplist", "the file is a binary property list, not a Mach-O", DRIVER),
    (
        b"PK\x03\x04",
        "the file is a zip archive, not a Mach-O",
        "unpack it and name the driver inside",
    ),
];

const EXTRACT: &str = "name a linked image; `ar x` takes an archive apart";
const LITTLE: &str = "name a 64-bit little-endian image (x86_64, arm64 or arm64e)";
const COPY: &str = "take the file from its source again; this copy is damaged";
const DRIVER: &str =
    "name the driver's own file, such as AGXMetalG16X in its bundle's Contents/MacOS";

/// Accepts the beginning of a 64-bit little-endian Mach-O and names anything
/// else for what it is.
pub fn macho64(bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(&MACHO64) { Ok(()) } else { Err(something_else(bytes)) }
}

fn something_else(bytes: &[u8]) -> Error {
    let known = KNOWN.iter().find(|(magic, _, _)| bytes.starts_with(magic));
    let (what, next) = match known {
        Some((_, what, next)) => (*what, *next),
        None if bytes.is_empty() => ("the file is empty", COPY),
        None if is_text(bytes) => ("the file is text, not a Mach-O", DRIVER),
        None => ("the file is not a Mach-O", DRIVER),
    };
    let first: Vec<u8> = bytes.iter().copied().take(4).collect();
    let error = Error::new(Code::NotMachO, what);
    let error =
        if first.is_empty() { error } else { error.with("first-bytes", crate::edit::Hex(&first)) };
    error.next(next)
}

fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(512)];
    start.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
}
