//! The address a process faulted at, as the report's texts give it.

use serde::{Deserialize, Serialize};

/// Whether the faulting instruction read or wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
}

impl Access {
    /// Decodes `ESR_EL1` of a data abort from a lower exception level: class
    /// 0x24 in bits 31..26, write-not-read in bit 6 (Arm ARM, ESR_ELx).
    pub fn from_esr(esr: u64) -> Option<Access> {
        const DATA_ABORT_LOWER: u64 = 0x24;
        if esr >> 26 & 0x3f != DATA_ABORT_LOWER {
            return None;
        }
        Some(if esr >> 6 & 1 == 1 { Access::Write } else { Access::Read })
    }
}

/// A faulting address and, where the kernel took it for a pointer whose
/// authentication failed, the address it would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// As the processor saw it.
    pub address: u64,
    /// The address with the failed authentication bits taken away.
    pub authentic: Option<u64>,
}

impl Fault {
    /// The fault at the address in the processor's fault address register.
    pub fn of_register(address: u64) -> Fault {
        Fault { address, authentic: None }
    }

    /// Finds the fault in `texts`, the first that holds an address deciding.
    /// They are `KERN_INVALID_ADDRESS at 0x5c8`; for a pointer that failed
    /// authentication `… at 0x9ba36e2f2650 -> 0x1ba36e2f2650 (possible pointer
    /// authentication failure)`; `0x1, 0x5c8`, the exception's two codes of
    /// which the second is the address; or `0x5c8 is not in any region`.
    pub fn find<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Fault> {
        texts.into_iter().find_map(|text| {
            let (first, rest) = hexadecimal(text)?;
            if let Some((address, _)) = rest.strip_prefix(',').and_then(hexadecimal) {
                return Some(Fault { address, authentic: None });
            }
            let failed = text.contains("pointer authentication failure");
            let right = rest.trim_start().strip_prefix("->").filter(|_| failed);
            let authentic = right.and_then(hexadecimal).map(|(address, _)| address);
            Some(Fault { address: first, authentic })
        })
    }
}

/// Whether the texts call the address unmapped, rather than forbidden: by name,
/// or by the first of the codes, which for a bad access is the kernel's
/// `KERN_INVALID_ADDRESS`, 1.
pub fn is_unmapped<'a>(texts: impl IntoIterator<Item = &'a str>) -> bool {
    texts.into_iter().any(|text| {
        let codes =
            || hexadecimal(text).is_some_and(|(code, rest)| code == 1 && rest.starts_with(','));
        const UNMAPPED: [&str; 3] = ["KERN_INVALID_ADDRESS", "SEGV_MAPERR", "is not in any region"];
        UNMAPPED.iter().any(|name| text.contains(name)) || (text.starts_with("0x") && codes())
    })
}

/// The first `0x…` of `text` and what follows it.
fn hexadecimal(text: &str) -> Option<(u64, &str)> {
    let mut rest = text;
    loop {
        let digits = &rest[rest.find("0x")? + 2..];
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        match u64::from_str_radix(&digits[..end], 16) {
            Ok(value) => return Some((value, &digits[end..])),
            // `0x` without digits, or more digits than an address has.
            Err(_) => rest = digits,
        }
    }
}
