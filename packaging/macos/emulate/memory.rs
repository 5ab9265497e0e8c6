//! The heap of the emulated process, and reading and writing its memory.

use anyhow::{Context, Result, anyhow};
use unicorn_engine::Prot;

use super::Cpu;

const HEAP: u64 = 0x8_0000_0000;
const HEAP_SIZE: u64 = 1 << 30;
/// Before each block stands its size.
const HEADER: u64 = 16;

pub fn map_heap(cpu: &mut Cpu<'_>) -> Result<()> {
    cpu.get_data_mut().heap = HEAP + HEADER;
    cpu.mem_map(HEAP, HEAP_SIZE, Prot::ALL).map_err(|error| anyhow!("the heap: {error:?}"))
}

/// Memory that was never used, and is therefore zero. Nothing is given back:
/// a run is short.
pub fn allocate(cpu: &mut Cpu<'_>, size: u64, align: u64) -> Result<u64> {
    let at = (cpu.get_data().heap + HEADER).next_multiple_of(align.max(16));
    let end = at.checked_add(size).filter(|end| *end < HEAP + HEAP_SIZE);
    cpu.get_data_mut().heap = end.context("the heap is used up")?;
    put(cpu, at - HEADER, &size.to_le_bytes())?;
    Ok(at)
}

/// The size a block was allocated with.
pub fn size_of(cpu: &Cpu<'_>, at: u64) -> Result<u64> {
    number(cpu, at - HEADER)
}

pub fn put(cpu: &mut Cpu<'_>, at: u64, bytes: &[u8]) -> Result<()> {
    cpu.mem_write(at, bytes).map_err(|error| anyhow!("writing {at:#x}: {error:?}"))
}

pub fn get(cpu: &Cpu<'_>, at: u64, size: u64) -> Result<Vec<u8>> {
    let size = usize::try_from(size)?;
    cpu.mem_read_as_vec(at, size).map_err(|error| anyhow!("reading {at:#x}: {error:?}"))
}

pub fn number(cpu: &Cpu<'_>, at: u64) -> Result<u64> {
    let bytes = get(cpu, at, 8)?;
    Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| anyhow!("short read"))?))
}

/// The bytes before the NUL.
pub fn string(cpu: &Cpu<'_>, at: u64) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        // Never across a page that may not be there.
        let next = at + text.len() as u64;
        let piece = get(cpu, next, 0x40 - next % 0x40)?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&piece[..end]);
            return Ok(text);
        }
        text.extend(piece);
    }
}
