//! Functions that get, move and compare memory.

use anyhow::Result;

use super::found;
use crate::emulate::{Cpu, memory};

pub fn call(cpu: &mut Cpu<'_>, name: &str, a: &[u64; 6]) -> Result<Option<u64>> {
    Ok(Some(match name {
        "_malloc" => memory::allocate(cpu, a[0], 16)?,
        "_calloc" => memory::allocate(cpu, a[0] * a[1], 16)?,
        "_aligned_alloc" => memory::allocate(cpu, a[1], a[0])?,
        "_posix_memalign" => {
            let at = memory::allocate(cpu, a[2], a[1])?;
            memory::put(cpu, a[0], &at.to_le_bytes())?;
            0
        }
        "_realloc" => {
            let at = memory::allocate(cpu, a[1], 16)?;
            if a[0] != 0 {
                let kept = memory::size_of(cpu, a[0])?.min(a[1]);
                let content = memory::get(cpu, a[0], kept)?;
                memory::put(cpu, at, &content)?;
            }
            at
        }
        "_free" | "_munmap" | "_mprotect" | "_madvise" => 0,
        // MAP_FIXED is asked for on memory that is there, as a guard page.
        "_mmap" if a[3] & 0x10 != 0 => a[0],
        "_mmap" => memory::allocate(cpu, a[1], 0x4000)?,
        "_memcpy" | "_memmove" | "___memcpy_chk" | "___memmove_chk" => {
            let content = memory::get(cpu, a[1], a[2])?;
            memory::put(cpu, a[0], &content)?;
            a[0]
        }
        "_memset" | "___memset_chk" => {
            memory::put(cpu, a[0], &vec![a[1] as u8; usize::try_from(a[2])?])?;
            a[0]
        }
        "_bzero" | "___bzero" => {
            memory::put(cpu, a[0], &vec![0; usize::try_from(a[1])?])?;
            0
        }
        "_memset_pattern16" => {
            let pattern = memory::get(cpu, a[1], 16)?;
            let filled: Vec<u8> = pattern.into_iter().cycle().take(a[2] as usize).collect();
            memory::put(cpu, a[0], &filled)?;
            0
        }
        "_memcmp" | "_bcmp" => {
            let (left, right) = (memory::get(cpu, a[0], a[2])?, memory::get(cpu, a[1], a[2])?);
            left.cmp(&right) as i64 as u64
        }
        "_memchr" => {
            let content = memory::get(cpu, a[0], a[2])?;
            found(a[0], content.iter().position(|byte| *byte == a[1] as u8))
        }
        _ => return Ok(None),
    }))
}
