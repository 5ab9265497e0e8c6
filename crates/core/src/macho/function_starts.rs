//! `LC_FUNCTION_STARTS`: where each function begins.
//!
//! The table is a list of distances in ULEB128, the first from the image's
//! base, ended by a zero or by the end of its bytes. It survives stripping,
//! which makes it the one thing that always tells one function from the next.

use std::ops::Range;

use crate::address::VmAddr;
use crate::error::Result;

use super::bytes::{malformed, room_for};
use super::image::{Image, bytes_of};
use super::second_reader;

/// Every start, ascending.
pub fn all(image: &Image) -> Result<Vec<VmAddr>> {
    let mut count = 0;
    for start in each(image) {
        start?;
        count += 1;
    }
    room_for("functions", count, size_of::<VmAddr>(), image.bytes().len())?;
    second_reader::compare_function_starts(image, each(image))?;
    let mut starts = Vec::with_capacity(count);
    for start in each(image) {
        starts.push(start?);
    }
    Ok(starts)
}

/// The function around an address.
pub fn containing(image: &Image, address: VmAddr) -> Result<Option<Range<VmAddr>>> {
    let section = image
        .sections()
        .iter()
        .find(|section| section.range().contains(&address) && !section.bytes.is_empty());
    let Some(section) = section else { return Ok(None) };
    let (mut start, mut end) = (None, section.range().end);
    for next in each(image) {
        let next = next?;
        if next > address {
            end = end.min(next);
            break;
        }
        start = Some(next).filter(|start| section.range().contains(start));
    }
    Ok(start.map(|start| start..end))
}

/// The starts one by one; the first that cannot be read is an error and the
/// last item.
fn each<'a>(image: &Image<'a>) -> impl Iterator<Item = Result<VmAddr>> + use<'a> {
    let table = image.facts.function_starts.clone();
    let mut rest = table.map_or(&[][..], |range| bytes_of(image.bytes(), range));
    let mut address = image.base().0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let distance = uleb128(&mut rest).and_then(|distance| match distance {
            0 => Some(None),
            _ => address.checked_add(distance).map(Some),
        });
        match distance {
            Some(Some(next)) => {
                address = next;
                Some(Ok(VmAddr(next)))
            }
            Some(None) => {
                rest = &[];
                None
            }
            None => {
                rest = &[];
                Some(Err(malformed("the table of function starts cannot be read")
                    .with("after", VmAddr(address))))
            }
        }
    })
}

/// Takes one number off the front; `None` if it does not end or does not fit.
fn uleb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    let mut shift = 0;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift >= 64 || (low << shift) >> shift != low {
            return None;
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}
