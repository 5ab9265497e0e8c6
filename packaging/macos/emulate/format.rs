//! `printf`, as far as capstone and keystone use it.
//!
//! On arm64 macOS variadic arguments stand on the stack, eight bytes each.

use anyhow::{Result, bail};

use super::{Cpu, memory};

/// The text that `format` makes of the arguments from `at` on.
pub fn text(cpu: &Cpu<'_>, format: &[u8], mut at: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = format.iter().copied().peekable();
    let mut next = |cpu: &Cpu<'_>| {
        let value = memory::number(cpu, at);
        at += 8;
        value
    };
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (mut flags, mut width, mut precision, mut long) = (Vec::new(), 0, None, 0);
        while let Some(flag) = rest.next_if(|byte| b"-+ #0".contains(byte)) {
            flags.push(flag);
        }
        while let Some(digit) = rest.next_if(u8::is_ascii_digit) {
            width = width * 10 + usize::from(digit - b'0');
        }
        if rest.next_if_eq(&b'.').is_some() {
            let mut value = 0;
            while let Some(digit) = rest.next_if(u8::is_ascii_digit) {
                value = value * 10 + usize::from(digit - b'0');
            }
            precision = Some(value);
        }
        while let Some(modifier) = rest.next_if(|byte| b"lhzjt".contains(byte)) {
            long += u32::from(b"lzjt".contains(&modifier));
        }
        let alternate = flags.contains(&b'#');
        let body = match rest.next() {
            Some(b'%') => b"%".to_vec(),
            Some(b'c') => vec![next(cpu)? as u8],
            Some(b's') => {
                let mut string = memory::string(cpu, next(cpu)?)?;
                string.truncate(precision.unwrap_or(usize::MAX));
                string
            }
            Some(b'd' | b'i') => {
                let value = next(cpu)?;
                let value = if long > 0 { value as i64 } else { i64::from(value as i32) };
                value.to_string().into_bytes()
            }
            Some(kind @ (b'u' | b'x' | b'X' | b'p')) => {
                let value = next(cpu)?;
                let value = if long > 0 || kind == b'p' { value } else { value & 0xffff_ffff };
                let mark = if (alternate && value != 0) || kind == b'p' { "0x" } else { "" };
                match kind {
                    b'u' => value.to_string(),
                    b'X' => format!("{}{value:X}", mark.to_uppercase()),
                    _ => format!("{mark}{value:x}"),
                }
                .into_bytes()
            }
            other => bail!("printf with {:?}", other.map(char::from)),
        };
        let fill = if flags.contains(&b'0') && !flags.contains(&b'-') { b'0' } else { b' ' };
        let padding = vec![fill; width.saturating_sub(body.len())];
        match flags.contains(&b'-') {
            true => out.extend([body, padding].concat()),
            false => out.extend([padding, body].concat()),
        }
    }
    Ok(out)
}
