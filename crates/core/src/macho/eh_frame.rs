//! How functions are unwound that compact unwind information cannot describe.
//!
//! A function that signs its return address, or sets up its frame in an unusual
//! order, is unwound by DWARF rules in `__TEXT,__eh_frame`. Each of its entries
//! names a function, where its language-specific data is, and a program that says
//! from which instruction on which rules hold. Only the places where the rules
//! change are taken from that program: code that moves must not pass one.
//!
//! Sources: "Linux Standard Base Core Specification", 10.6 (the section), and
//! "DWARF Debugging Information Format", version 5, 6.4 and 7.24 (the programs).

use std::ops::Range;

use crate::address::VmAddr;

use super::bytes::u32_at;
use super::image::Image;
use super::landing_pads::Reader;

/// One function's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The function.
    pub function: Range<VmAddr>,
    /// Its language-specific data.
    pub data: Option<VmAddr>,
    /// The instructions from which on other rules hold, ascending.
    pub steps: Vec<VmAddr>,
}

/// The entries for functions that lie in a range; `None` if the section cannot be read.
pub(super) fn frames(image: &Image<'_>, range: &Range<VmAddr>) -> Option<Vec<Frame>> {
    let Some(section) = image.section("__TEXT", "__eh_frame") else { return Some(Vec::new()) };
    let mut frames = Vec::new();
    let mut at = 0u64;
    while at < section.bytes.len() as u64 {
        let length = u64::from(u32_at(section.bytes, at)?);
        // Zero ends the section; a length of 64 bits is not for code of this size.
        if length == 0 {
            break;
        }
        let end = at.checked_add(4)?.checked_add(length)?;
        let entry = section.bytes.get(usize::try_from(at + 4).ok()?..usize::try_from(end).ok()?)?;
        let back = u64::from(u32_at(entry, 0)?);
        if back != 0 {
            let common = Common::read(section.bytes, (at + 4).checked_sub(back)?)?;
            let mut reader = Placed { reader: Reader(&entry[4..]), end: section.address.plus(end) };
            let start = reader.pointer(common.pointers)?;
            if range.contains(&start) {
                frames.push(reader.frame(&common, start)?);
            }
        }
        at = end;
    }
    Some(frames)
}

/// What several entries have in common.
struct Common {
    code_unit: u64,
    /// Whether the entries say how long their augmentation is.
    augmented: bool,
    /// How addresses of code are written.
    pointers: u8,
    /// How addresses of language-specific data are written.
    data: Option<u8>,
}

impl Common {
    fn read(section: &[u8], at: u64) -> Option<Common> {
        let length = u64::from(u32_at(section, at)?);
        let end = at.checked_add(4)?.checked_add(length)?;
        let bytes = section.get(usize::try_from(at + 4).ok()?..usize::try_from(end).ok()?)?;
        if u32_at(bytes, 0)? != 0 {
            return None;
        }
        let mut reader = Reader(&bytes[4..]);
        let version = reader.byte()?;
        let mut augmentation = Vec::new();
        loop {
            match reader.byte()? {
                0 => break,
                letter => augmentation.push(letter),
            }
        }
        let code_unit = reader.uleb()?;
        // The unit of data and the column of the return address.
        reader.uleb()?;
        match version {
            1 => u64::from(reader.byte()?),
            3 => reader.uleb()?,
            _ => return None,
        };
        let mut common = Common { code_unit, augmented: false, pointers: 0, data: None };
        let mut letters = augmentation.into_iter();
        if let Some(first) = letters.next() {
            if first != b'z' {
                return None;
            }
            common.augmented = true;
            reader.uleb()?;
        }
        for letter in letters {
            match letter {
                b'R' => common.pointers = reader.byte()?,
                b'L' => common.data = Some(reader.byte()?),
                b'P' => {
                    let encoding = reader.byte()?;
                    reader.skip(width(encoding)?)?;
                }
                b'S' | b'B' => {}
                _ => return None,
            }
        }
        Some(common)
    }
}

/// Bytes of a pointer in one of the encodings of fixed width.
fn width(encoding: u8) -> Option<usize> {
    match encoding & 0xf {
        0x0 | 0x4 | 0xc => Some(8),
        0x2 | 0xa => Some(2),
        0x3 | 0xb => Some(4),
        _ => None,
    }
}

/// A reader that knows at which address it reads.
struct Placed<'a> {
    reader: Reader<'a>,
    /// The address of the end of what it reads.
    end: VmAddr,
}

impl Placed<'_> {
    fn number(&mut self, encoding: u8) -> Option<u64> {
        let width = width(encoding)?;
        let bytes = self.reader.0.get(..width)?;
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(bytes);
        self.reader.skip(width)?;
        let spare = 64 - 8 * width as u32;
        let value = u64::from_le_bytes(wide);
        let signed = encoding & 8 != 0;
        Some(if signed { ((value << spare) as i64 >> spare) as u64 } else { value })
    }

    /// An address that is written as it is or as a distance from where it is written.
    fn pointer(&mut self, encoding: u8) -> Option<VmAddr> {
        let here = self.end.0.checked_sub(self.reader.0.len() as u64)?;
        let value = self.number(encoding)?;
        match encoding & 0xf0 {
            0x00 => Some(VmAddr(value)),
            0x10 => Some(VmAddr(here.wrapping_add(value))),
            _ => None,
        }
    }

    /// The rest of an entry, behind the address of its function.
    fn frame(&mut self, common: &Common, start: VmAddr) -> Option<Frame> {
        let size = self.number(common.pointers & 0xf)?;
        let mut data = None;
        if common.augmented {
            let length = usize::try_from(self.reader.uleb()?).ok()?;
            let rest = self.reader.0.get(length..)?;
            if let Some(encoding) = common.data {
                let null = self.reader.0.get(..width(encoding)?)?.iter().all(|byte| *byte == 0);
                data = if null { None } else { Some(self.pointer(encoding)?) };
            }
            self.reader = Reader(rest);
        }
        let end = VmAddr(start.0.checked_add(size)?);
        let steps = self.steps(common.code_unit, start)?;
        Some(Frame { function: start..end, data, steps })
    }

    /// Where a program's rules change.
    fn steps(&mut self, code_unit: u64, start: VmAddr) -> Option<Vec<VmAddr>> {
        let mut steps = Vec::new();
        let mut at = start;
        while !self.reader.0.is_empty() {
            let opcode = self.reader.byte()?;
            let distance = match (opcode >> 6, opcode & 0x3f) {
                (1, distance) => u64::from(distance),
                (2, _) => {
                    self.reader.uleb()?;
                    continue;
                }
                (3, _) => continue,
                (_, 0x02) => u64::from(self.reader.byte()?),
                (_, 0x03) => self.number(0x2)?,
                (_, 0x04) => self.number(0x3)?,
                (_, rule) => {
                    self.skip_rule(rule)?;
                    continue;
                }
            };
            at = VmAddr(at.0.checked_add(distance.checked_mul(code_unit)?)?);
            steps.push(at);
        }
        Some(steps)
    }

    /// Passes over what stands behind the opcode of a rule.
    fn skip_rule(&mut self, opcode: u8) -> Option<()> {
        let (numbers, block) = match opcode {
            // Nothing, a remembered state, a restored one, a signed return address.
            0x00 | 0x0a | 0x0b | 0x2c | 0x2d => (0, false),
            // One register or offset.
            0x06..=0x08 | 0x0d | 0x0e | 0x13 | 0x2e => (1, false),
            // A register and another, or an offset.
            0x05 | 0x09 | 0x0c | 0x11 | 0x12 | 0x14 | 0x15 => (2, false),
            // An expression, by itself or for a register.
            0x0f => (0, true),
            0x10 | 0x16 => (1, true),
            _ => return None,
        };
        for _ in 0..numbers {
            self.reader.uleb()?;
        }
        if block {
            let length = usize::try_from(self.reader.uleb()?).ok()?;
            self.reader.skip(length)?;
        }
        Some(())
    }
}
