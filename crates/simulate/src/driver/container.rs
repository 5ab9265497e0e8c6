//! The universal file around the slices (mach-o/fat.h, big-endian).

use super::load_commands::Cpu;

/// A slice and where it goes.
pub(super) struct Placed {
    pub(super) cpu: Cpu,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// Binary logarithm of the slices' alignment, 16 KiB.
const ALIGN: u32 = 14;

/// A universal file of those slices, which must be in ascending order.
pub(super) fn universal(slices: &[Placed], wide: bool) -> Vec<u8> {
    let magic: u32 = if wide { 0xcafe_babf } else { 0xcafe_babe };
    let mut file =
        Vec::with_capacity(slices.last().map_or(0, |last| last.offset as usize + last.bytes.len()));
    file.extend_from_slice(&magic.to_be_bytes());
    file.extend_from_slice(&(slices.len() as u32).to_be_bytes());
    for slice in slices {
        file.extend_from_slice(&slice.cpu.kind.to_be_bytes());
        file.extend_from_slice(&slice.cpu.subtype.to_be_bytes());
        let size = slice.bytes.len() as u64;
        if wide {
            file.extend_from_slice(&slice.offset.to_be_bytes());
            file.extend_from_slice(&size.to_be_bytes());
            file.extend_from_slice(&ALIGN.to_be_bytes());
            file.extend_from_slice(&0u32.to_be_bytes());
        } else {
            for field in [slice.offset as u32, size as u32, ALIGN] {
                file.extend_from_slice(&field.to_be_bytes());
            }
        }
    }
    for slice in slices {
        file.resize(slice.offset as usize, 0);
        file.extend_from_slice(&slice.bytes);
    }
    file
}
