//! Functions on strings, the C locale's classes of characters, and `printf`.

use anyhow::Result;
use unicorn_engine::RegisterARM64 as R;

use super::found;
use crate::emulate::{Cpu, format, memory};

pub fn call(cpu: &mut Cpu<'_>, name: &str, a: &[u64; 6]) -> Result<Option<u64>> {
    let string = |at| memory::string(cpu, at);
    Ok(Some(match name {
        "_strlen" => string(a[0])?.len() as u64,
        "_strnlen" => string(a[0])?.len().min(a[1] as usize) as u64,
        "_strcmp" => string(a[0])?.cmp(&string(a[1])?) as i64 as u64,
        "_strncmp" => {
            let (mut left, mut right) = (string(a[0])?, string(a[1])?);
            left.truncate(a[2] as usize);
            right.truncate(a[2] as usize);
            left.cmp(&right) as i64 as u64
        }
        "_strcasecmp" => {
            let (left, right) = (string(a[0])?, string(a[1])?);
            left.to_ascii_lowercase().cmp(&right.to_ascii_lowercase()) as i64 as u64
        }
        "_strchr" => {
            let text = [string(a[0])?, vec![0]].concat();
            found(a[0], text.iter().position(|byte| *byte == a[1] as u8))
        }
        "_strrchr" => {
            let text = [string(a[0])?, vec![0]].concat();
            found(a[0], text.iter().rposition(|byte| *byte == a[1] as u8))
        }
        "_strstr" => {
            let (text, wanted) = (string(a[0])?, string(a[1])?);
            let at = (0..=text.len()).find(|at| text[*at..].starts_with(&wanted));
            found(a[0], at)
        }
        "_strcpy" | "___strcpy_chk" => {
            let text = [string(a[1])?, vec![0]].concat();
            memory::put(cpu, a[0], &text)?;
            a[0]
        }
        "_strncpy" | "___strncpy_chk" => {
            let mut text = string(a[1])?;
            text.resize(a[2] as usize, 0);
            memory::put(cpu, a[0], &text)?;
            a[0]
        }
        "_strcat" | "___strcat_chk" => {
            let end = a[0] + string(a[0])?.len() as u64;
            let text = [string(a[1])?, vec![0]].concat();
            memory::put(cpu, end, &text)?;
            a[0]
        }
        "___maskrune" => u64::from(rune_type(a[0] as u8)) & a[1],
        "_strerror_r" => {
            let text = format!("error {}\0", a[0]);
            memory::put(cpu, a[1], text.as_bytes())?;
            0
        }
        "_strdup" => {
            let text = [string(a[0])?, vec![0]].concat();
            let at = memory::allocate(cpu, text.len() as u64, 16)?;
            memory::put(cpu, at, &text)?;
            at
        }
        "_strtol" | "_strtoul" | "_strtoull" | "_strtoll" => number_in(cpu, a)?,
        "___tolower" | "_tolower" => u64::from((a[0] as u8).to_ascii_lowercase()),
        "___toupper" | "_toupper" => u64::from((a[0] as u8).to_ascii_uppercase()),
        "_snprintf" => printed(cpu, a[0], Some(a[1]), a[2], None)?,
        "___snprintf_chk" => printed(cpu, a[0], Some(a[1]), a[4], None)?,
        "_sprintf" => printed(cpu, a[0], None, a[1], None)?,
        "___sprintf_chk" => printed(cpu, a[0], None, a[3], None)?,
        "_vsnprintf" => printed(cpu, a[0], Some(a[1]), a[2], Some(a[3]))?,
        "___vsnprintf_chk" => printed(cpu, a[0], Some(a[1]), a[4], Some(a[5]))?,
        _ => return Ok(None),
    }))
}

/// The class of an ASCII character, as `_CTYPE_*` bits of `runetype.h`.
pub fn rune_type(byte: u8) -> u32 {
    let bits = [
        (byte.is_ascii_alphabetic(), 0x100),
        (byte.is_ascii_control(), 0x200),
        (byte.is_ascii_digit(), 0x400),
        (byte.is_ascii_graphic(), 0x800),
        (byte.is_ascii_lowercase(), 0x1000),
        (byte.is_ascii_punctuation(), 0x2000),
        (byte.is_ascii_whitespace() || byte == 11, 0x4000),
        (byte.is_ascii_uppercase(), 0x8000),
        (byte.is_ascii_hexdigit(), 0x1_0000),
        (matches!(byte, b' ' | b'\t'), 0x2_0000),
        (matches!(byte, b' '..=b'~'), 0x4_0000),
    ];
    bits.iter().filter(|(is, _)| *is).map(|(_, bit)| bit).sum()
}

fn number_in(cpu: &mut Cpu<'_>, a: &[u64; 6]) -> Result<u64> {
    let text = String::from_utf8_lossy(&memory::string(cpu, a[0])?).into_owned();
    let (digits, radix) = match (text.strip_prefix("0x"), a[2]) {
        (Some(rest), 0 | 16) => (rest, 16),
        (_, 0) => (text.as_str(), 10),
        (_, base) => (text.as_str(), base as u32),
    };
    let length = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if a[1] != 0 {
        let end = a[0] + (text.len() - digits.len() + length) as u64;
        memory::put(cpu, a[1], &end.to_le_bytes())?;
    }
    Ok(u64::from_str_radix(&digits[..length], radix).unwrap_or(0))
}

/// Writes what `printf` makes of the format into `at`, cut to `room`.
fn printed(
    cpu: &mut Cpu<'_>,
    at: u64,
    room: Option<u64>,
    format: u64,
    list: Option<u64>,
) -> Result<u64> {
    let stack = cpu.reg_read(R::SP).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let format = memory::string(cpu, format)?;
    let mut text = format::text(cpu, &format, list.unwrap_or(stack))?;
    let length = text.len() as u64;
    if room != Some(0) {
        text.truncate(room.map_or(usize::MAX, |room| room as usize - 1));
        text.push(0);
        memory::put(cpu, at, &text)?;
    }
    Ok(length)
}
