//! Slices for processors whose code is not looked at: 32-bit ones, and 64-bit ones
//! that are neither arm64 nor x86_64.
//!
//! A file is signed as a whole, so a patch makes their signatures ad hoc too. For
//! that their header and the one load command that says where the signature stands
//! are read, and nothing else.

use std::ops::Range;

use crate::address::SliceOffset;
use crate::error::{Code, Error, Result};

use super::Architecture;
use super::bytes::{array, malformed};

/// `LC_CODE_SIGNATURE`.
const CODE_SIGNATURE: u32 = 0x1d;

/// How the numbers of an image stand in the file, and how long its header is.
#[derive(Clone, Copy)]
struct Layout {
    big_endian: bool,
    header: u64,
}

impl Layout {
    fn of(bytes: &[u8]) -> Option<Layout> {
        match bytes.get(..4)? {
            [0xce, 0xfa, 0xed, 0xfe] => Some(Layout { big_endian: false, header: 28 }),
            [0xcf, 0xfa, 0xed, 0xfe] => Some(Layout { big_endian: false, header: 32 }),
            [0xfe, 0xed, 0xfa, 0xce] => Some(Layout { big_endian: true, header: 28 }),
            [0xfe, 0xed, 0xfa, 0xcf] => Some(Layout { big_endian: true, header: 32 }),
            _ => None,
        }
    }

    fn number(self, bytes: &[u8], at: u64) -> Option<u32> {
        let number = array(bytes, at)?;
        Some(if self.big_endian { u32::from_be_bytes(number) } else { u32::from_le_bytes(number) })
    }
}

/// The processor that an image is for, whatever its word size and byte order.
pub(super) fn architecture(bytes: &[u8]) -> Option<Architecture> {
    let layout = Layout::of(bytes)?;
    let (cpu_type, cpu_subtype) = (layout.number(bytes, 4)?, layout.number(bytes, 8)?);
    Some(Architecture { cpu_type, cpu_subtype })
}

/// Where the code signature of such a slice stands.
///
/// # Errors
/// If the slice is not a Mach-O image, or its load commands contradict themselves.
pub(super) fn code_signature(bytes: &[u8]) -> Result<Option<Range<SliceOffset>>> {
    let Some(layout) = Layout::of(bytes) else {
        return Err(Error::new(Code::NotMachO, "the slice is not a Mach-O image"));
    };
    let short = || malformed("the slice ends inside its load commands");
    let number = |at| layout.number(bytes, at).ok_or_else(short);
    let (count, size) = (number(16)?, number(20)?);
    let end = layout.header + u64::from(size);
    let (mut at, mut found) = (layout.header, None);
    for _ in 0..count {
        let (command, length) = (number(at)?, u64::from(number(at + 4)?));
        if length < 8 || at + length > end {
            return Err(malformed("a load command reaches past the end of all load commands"));
        }
        if command == CODE_SIGNATURE {
            let (start, size) = (u64::from(number(at + 8)?), u64::from(number(at + 12)?));
            if length < 16 || found.is_some() || start + size > bytes.len() as u64 {
                return Err(malformed("the load command of the signature contradicts itself"));
            }
            found = Some(SliceOffset(start)..SliceOffset(start + size));
        }
        at += length;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image whose only load command is `command` with these numbers.
    fn image(magic: [u8; 4], header: usize, command: [u32; 4], size: usize) -> Vec<u8> {
        let big = magic[0] == 0xfe;
        let mut bytes = vec![0; size];
        let mut put = |at: usize, number: u32| {
            let four = if big { number.to_be_bytes() } else { number.to_le_bytes() };
            bytes[at..at + 4].copy_from_slice(&four);
        };
        put(16, 1);
        put(20, 16);
        for (index, number) in command.into_iter().enumerate() {
            put(header + 4 * index, number);
        }
        bytes[..4].copy_from_slice(&magic);
        bytes
    }

    #[test]
    fn the_signature_is_found_in_every_layout() {
        let command = [CODE_SIGNATURE, 16, 0x60, 0x20];
        for (magic, header) in [
            ([0xce, 0xfa, 0xed, 0xfe], 28),
            ([0xcf, 0xfa, 0xed, 0xfe], 32),
            ([0xfe, 0xed, 0xfa, 0xce], 28),
            ([0xfe, 0xed, 0xfa, 0xcf], 32),
        ] {
            let found = code_signature(&image(magic, header, command, 0x80)).unwrap();
            assert_eq!(found, Some(SliceOffset(0x60)..SliceOffset(0x80)), "{magic:x?}");
        }
    }

    #[test]
    fn an_image_without_the_command_is_unsigned() {
        let other = image([0xce, 0xfa, 0xed, 0xfe], 28, [2, 16, 0, 0], 0x80);
        assert_eq!(code_signature(&other).unwrap(), None);
    }

    #[test]
    fn commands_that_leave_their_room_are_refused() {
        for command in [[CODE_SIGNATURE, 16, 0x60, 0x21], [CODE_SIGNATURE, 17, 0, 0], [2, 0, 0, 0]]
        {
            let bytes = image([0xce, 0xfa, 0xed, 0xfe], 28, command, 0x80);
            assert!(code_signature(&bytes).is_err(), "{command:x?}");
        }
        assert!(code_signature(b"text").is_err());
        assert!(code_signature(&[0xce, 0xfa, 0xed, 0xfe]).is_err());
    }
}
