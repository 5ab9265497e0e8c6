//! Where things are: the published build, one never seen, and one of any
//! size.

use super::arm64e::OBJC_STUB;
use super::classes::{
    COMMAND_BUFFER, COMPUTE, DESTROY, IMPL, PREVIOUS_COMPUTE, PUBLISHED, SENT_TO_SUPER, WRITTEN,
    classes, selectors, variables,
};
use super::destroy::Registers;
use super::variant::Build;
use super::{facts, names};
use agxpatch_core::address::VmAddr;
use agxpatch_core::driver_logic::{self, Freelist};

/// Size of one stub of an imported function.
pub(super) const STUB: u64 = 16;

/// Where things are in one build of the driver.
pub(super) struct Places {
    pub(super) build: Build,
    /// Distance of every published function from its published address.
    pub(super) shift: u64,
    pub(super) text: VmAddr,
    pub(super) text_end: VmAddr,
    pub(super) stubs: VmAddr,
    pub(super) text_segment_end: VmAddr,
    pub(super) cells: VmAddr,
    pub(super) impl_cell: VmAddr,
    pub(super) registers: Registers,
    pub(super) pools: Pools,
    /// Where the Objective-C device keeps the C++ device.
    pub(super) device_field: u32,
}

/// The freelists of the C++ device.
#[derive(Clone, Copy)]
pub(super) struct Pools {
    pub(super) command_buffer: Freelist,
    pub(super) compute: Freelist,
    pub(super) part: Freelist,
    pub(super) render: Freelist,
}

impl Pools {
    const PUBLISHED: Pools = Pools {
        command_buffer: driver_logic::COMMAND_BUFFER_POOL,
        compute: driver_logic::COMPUTE_POOL,
        part: driver_logic::PART_POOL,
        render: driver_logic::RENDER_POOL,
    };

    /// The same in a device with more fields before them.
    const fn moved(&self, bytes: u32) -> Pools {
        Pools {
            command_buffer: self.command_buffer.moved(bytes),
            compute: self.compute.moved(bytes),
            part: self.part.moved(bytes),
            render: self.render.moved(bytes),
        }
    }
}

impl Places {
    pub(super) fn of(build: Build) -> Places {
        let free = names::STUBS.iter().position(|stub| *stub == "_free").unwrap_or_default();
        let stubs = VmAddr(facts::FREE_STUB.0 - STUB * free as u64);
        let published = Places {
            build,
            shift: 0,
            text: VmAddr(0x5000),
            text_end: stubs,
            stubs,
            text_segment_end: VmAddr(0x73_8000),
            cells: VmAddr(0x75_8000),
            impl_cell: facts::IMPL_CELL,
            registers: Registers::PUBLISHED,
            pools: Pools::PUBLISHED,
            device_field: driver_logic::DEVICE_FIELD,
        };
        match build {
            Build::Published => published,
            Build::Other => Places {
                shift: 0x5c40,
                text_end: stubs.plus(0x2344),
                stubs: stubs.plus(0x2344),
                impl_cell: facts::IMPL_CELL.plus(0x54),
                registers: Registers::OTHER,
                pools: Pools::PUBLISHED.moved(0xb8),
                ..published
            },
            Build::Later => Places {
                shift: 0x7b80,
                text_end: stubs.plus(0x3150),
                stubs: stubs.plus(0x3150),
                impl_cell: facts::IMPL_CELL.plus(0x68),
                registers: Registers::LATER,
                pools: Pools::PUBLISHED.moved(0x170),
                device_field: driver_logic::DEVICE_FIELD_26,
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

    /// Where the stubs that send a message begin.
    pub(super) fn objc_stubs(&self) -> VmAddr {
        let end = self.stubs.plus(STUB * names::STUBS.len() as u64);
        VmAddr(end.0.next_multiple_of(32))
    }

    /// The literals, which follow the stubs of so many selectors.
    pub(super) fn literals(&self, selectors: usize) -> VmAddr {
        self.objc_stubs().plus(OBJC_STUB * selectors as u64)
    }

    /// The table of imported data, with which the constants begin.
    pub(super) fn got(&self) -> VmAddr {
        self.text_segment_end
    }

    /// The constants with signed pointers; the table of imported functions is first.
    pub(super) fn signed_constants(&self) -> VmAddr {
        self.text_segment_end.plus(0x4000)
    }

    /// The data with signed pointers.
    pub(super) fn signed_data(&self) -> VmAddr {
        self.text_segment_end.plus(0x1_4000)
    }

    /// The first constant.
    pub(super) fn block_descriptor(&self) -> VmAddr {
        self.got().plus(8)
    }

    /// Where the data begins: the references to selectors.
    pub(super) fn data(&self) -> VmAddr {
        self.text_segment_end.plus(0x1_8000)
    }

    pub(super) fn selector_reference(&self, selector: &str) -> VmAddr {
        let index = selectors(self.build).iter().position(|known| *known == selector);
        self.data().plus(8 * index.unwrap_or_default() as u64)
    }

    /// The reference through which a class's superclass is sent messages.
    pub(super) fn super_reference(&self, class: &str) -> VmAddr {
        let index = SENT_TO_SUPER.iter().position(|known| *known == class);
        self.cells.plus(0x400 + 8 * index.unwrap_or_default() as u64)
    }

    /// Where a method begins that is more than filler.
    pub(super) fn method(&self, class: &str, selector: &str) -> Option<VmAddr> {
        if selector == DESTROY && class != COMPUTE {
            let index = classes(self.build).position(|shape| shape.name == class)?;
            return Some(VmAddr(0x2d_0000 + 0x2000 * index as u64).plus(self.shift));
        }
        let known = PUBLISHED.iter().chain(&WRITTEN);
        let found = known.copied().find(|(c, s, _)| (*c, *s) == (class, selector));
        found.map(|(_, _, address)| address.plus(self.shift))
    }

    /// Offset cells: the two published ones, and the others in order.
    pub(super) fn cell(&self, class: &str, variable: &str) -> VmAddr {
        match (class, variable) {
            (COMPUTE, IMPL) => self.impl_cell,
            (COMMAND_BUFFER, PREVIOUS_COMPUTE) => self.cells.plus(0x98),
            _ => {
                let known = variables(self.build).position(|(c, v, _)| (c, v) == (class, variable));
                self.cells.plus(0x100 + 4 * known.unwrap_or_default() as u64)
            }
        }
    }
}
