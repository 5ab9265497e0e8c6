//! Objective-C method lists, in the three forms found in images.
//!
//! *Absolute* entries are three pointers: selector, type string, implementation.
//! *Relative* entries are three 32-bit distances, each from its own field; the
//! first leads to a pointer to the selector. Where the list is flagged
//! *direct*, it leads to the selector itself. The list's first word holds the
//! size of an entry and these flags.

use crate::address::VmAddr;
use crate::error::Result;

use super::bytes::{hex, malformed, u32_at};
use super::objc::Metadata;

const RELATIVE: u32 = 0x8000_0000;
const DIRECT: u32 = 0x4000_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Absolute,
    Relative,
    RelativeDirect,
}

/// A list of methods, its entries known to be all there.
#[derive(Clone, Copy, Debug)]
pub struct MethodList<'a> {
    entries_at: VmAddr,
    entries: &'a [u8],
    form: Form,
}

impl<'a> MethodList<'a> {
    /// Reads the list's head and checks that its entries lie in one segment.
    pub fn read(metadata: &Metadata<'_, 'a>, at: VmAddr) -> Result<MethodList<'a>> {
        let describe = |message: &str| malformed(message).with("method-list", at);
        if !at.0.is_multiple_of(4) {
            return Err(describe("a method list is not aligned"));
        }
        let bytes = metadata.bytes_from(at)?;
        let (Some(head), Some(count)) = (u32_at(bytes, 0), u32_at(bytes, 4)) else {
            return Err(describe("a method list ends inside its header"));
        };
        let form = match (head & RELATIVE != 0, head & DIRECT != 0) {
            (false, _) => Form::Absolute,
            (true, false) => Form::Relative,
            (true, true) => Form::RelativeDirect,
        };
        let size = form.entry_size();
        if head & 0xfffc != size {
            return Err(
                describe("a method list has entries of an unknown size").with("head", hex(head))
            );
        }
        let length = usize::try_from(u64::from(count) * u64::from(size)).unwrap_or(usize::MAX);
        let entries = bytes.get(8..).and_then(|bytes| bytes.get(..length));
        let entries = entries.ok_or_else(|| {
            describe("a method list reaches past the end of its segment").with("methods", count)
        })?;
        Ok(MethodList { entries_at: at.plus(8), entries, form })
    }

    /// Number of methods.
    pub fn len(&self) -> usize {
        self.entries.len() / self.form.entry_size() as usize
    }

    /// Selector and implementation of the method at `index`, which must be less
    /// than [`Self::len`].
    pub fn method(&self, metadata: &Metadata<'_, 'a>, index: usize) -> Result<(&'a str, VmAddr)> {
        let entry = index as u64 * u64::from(self.form.entry_size());
        let at = self.entries_at.plus(entry);
        if self.form == Form::Absolute {
            let selector = metadata.required(at, "a method has no selector")?;
            let implementation =
                metadata.required(at.plus(16), "a method has no implementation")?;
            return Ok((metadata.text(selector)?, implementation));
        }
        let target = |field: u64| {
            let distance = u32_at(self.entries, entry + field).unwrap_or(0) as i32;
            at.plus(field).plus(i64::from(distance) as u64)
        };
        let selector = match self.form {
            Form::RelativeDirect => target(0),
            _ => metadata.required(target(0), "a method has no selector")?,
        };
        Ok((metadata.text(selector)?, target(8)))
    }
}

impl Form {
    fn entry_size(self) -> u32 {
        if self == Form::Absolute { 24 } else { 12 }
    }
}
