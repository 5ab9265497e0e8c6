//! Bounded little-endian reads, and the error for what does not hold together.

use std::ffi::CStr;
use std::ops::Range;

use crate::error::{Code, Error};

/// The `N` bytes at `at`, if they are all there.
pub fn array<const N: usize>(bytes: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The 16-bit number at `at`.
pub fn u16_at(bytes: &[u8], at: u64) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// The 32-bit number at `at`.
pub fn u32_at(bytes: &[u8], at: u64) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// The 64-bit number at `at`.
pub fn u64_at(bytes: &[u8], at: u64) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The range of `size` bytes at `at`, if it lies within `limit` bytes.
pub fn range(at: u64, size: u64, limit: usize) -> Option<Range<u64>> {
    let end = at.checked_add(size)?;
    (end <= limit as u64).then_some(at..end)
}

/// The bytes of a range, if they are all there.
pub fn slice(bytes: &[u8], range: Range<u64>) -> Option<&[u8]> {
    bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

/// The bytes before the first NUL, or all of them.
pub fn before_nul(bytes: &[u8]) -> &[u8] {
    CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes)
}

/// The text before the first NUL, or all of it; `None` if it is not UTF-8.
pub fn text_before_nul(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(before_nul(bytes)).ok()
}

/// A number that means a place, shown as such.
pub fn hex(value: impl Into<u64>) -> String {
    format!("{:#x}", value.into())
}

/// An error for a structure that contradicts itself or leaves the file.
pub fn malformed(message: impl Into<String>) -> Error {
    Error::new(Code::Malformed, message)
        .next("take the file from its source again; this copy is damaged or was never complete")
}

/// Refuses a list that claims more than the file has room for, before it is
/// built: `count` entries of `size` bytes each must not outgrow `limit` bytes.
pub fn room_for(what: &str, count: usize, size: usize, limit: usize) -> Result<(), Error> {
    match count.checked_mul(size) {
        Some(total) if total <= limit => Ok(()),
        _ => Err(malformed(format!("the file claims more {what} than it has room for"))
            .with("claimed", count)),
    }
}
