//! Where things are: the published build, one nobody has seen, and one of any
//! size.

use super::classes::{COMMAND_BUFFER, COMPUTE, DESTROY, DEVICE, ENCODERS, PUBLISHED};
use super::destroy::Registers;
use super::variant::Build;
use super::{facts, names};
use agxpatch_core::address::VmAddr;

/// Size of one stub of an imported function.
pub(super) const STUB: u64 = 16;

/// Where things are in one build of the driver.
pub(super) struct Places {
    /// Distance of every published function from its published address.
    pub(super) shift: u64,
    pub(super) text: VmAddr,
    pub(super) text_end: VmAddr,
    pub(super) stubs: VmAddr,
    pub(super) text_segment_end: VmAddr,
    pub(super) cells: VmAddr,
    pub(super) impl_cell: VmAddr,
    pub(super) registers: Registers,
    pub(super) slots: u32,
}

impl Places {
    pub(super) fn of(build: Build) -> Places {
        let free = names::STUBS.iter().position(|stub| *stub == "_free").unwrap_or_default();
        let stubs = VmAddr(facts::FREE_STUB.0 - STUB * free as u64);
        let published = Places {
            shift: 0,
            text: VmAddr(0x4000),
            text_end: stubs,
            stubs,
            text_segment_end: VmAddr(0x73_8000),
            cells: VmAddr(0x75_8000),
            impl_cell: facts::IMPL_CELL,
            registers: Registers::PUBLISHED,
            slots: facts::SLOTS,
        };
        match build {
            Build::Published => published,
            Build::Other => Places {
                shift: 0x5c40,
                text_end: stubs.plus(0x2344),
                stubs: stubs.plus(0x2344),
                impl_cell: facts::IMPL_CELL.plus(0x54),
                registers: Registers::OTHER,
                slots: 0x1b20,
                ..published
            },
        }
    }

    /// The published build with a `__text` of `size` bytes. Its stubs stand
    /// before the code, within reach of the published functions.
    pub(super) fn scaled(size: u64) -> Places {
        let text = VmAddr(0x8000);
        let text_end = text.plus(size.next_multiple_of(4));
        let end = VmAddr((text_end.0 + 0x2_0000).next_multiple_of(0x4000));
        Places {
            text,
            text_end,
            stubs: VmAddr(0x4000),
            text_segment_end: end,
            cells: VmAddr(end.0 + 0x2_0000),
            impl_cell: VmAddr(end.0 + 0x2_0300),
            ..Places::of(Build::Published)
        }
    }

    pub(super) fn stub(&self, name: &str) -> VmAddr {
        let index = names::STUBS.iter().position(|stub| *stub == name).unwrap_or_default();
        self.stubs.plus(STUB * index as u64)
    }

    pub(super) fn method(&self, class: &str, selector: &str) -> Option<VmAddr> {
        if selector == DESTROY && class != COMPUTE {
            let index = ENCODERS.iter().position(|encoder| encoder.name == class)?;
            return Some(VmAddr(0x2d_0000 + 0x2000 * index as u64).plus(self.shift));
        }
        let published = PUBLISHED.iter().find(|(c, s, _)| (*c, *s) == (class, selector));
        published.map(|(_, _, address)| address.plus(self.shift))
    }

    /// Offset cells: the two published ones, and the others in order.
    pub(super) fn cell(&self, class: &str, variable: &str) -> VmAddr {
        match (class, variable) {
            (COMPUTE, "_impl") => self.impl_cell,
            (COMMAND_BUFFER, _) => self.cells.plus(0x98),
            (DEVICE, _) => self.cells.plus(0x14),
            _ => {
                let index = ENCODERS.iter().position(|encoder| encoder.name == class);
                let index = index.unwrap_or_default() as u64;
                self.cells.plus(0x100 + 8 * index + if variable == "_impl" { 4 } else { 0 })
            }
        }
    }
}
