//! What the names in the written functions stand for.

use super::arm64e::{Builder, OBJC_STUB};
use super::assembly::Bindings;
use super::classes::{
    COMMAND_BUFFER, COMPUTE, DESTROY, FRAMEBUFFER, PREVIOUS_BLIT, PREVIOUS_COMPUTE,
    PREVIOUS_RENDER, RENDER,
};
use agxpatch_core::address::VmAddr;
use agxpatch_core::driver_logic::Freelist;

/// The function of `destroyImpl`'s block, which follows the method.
pub(super) const BLOCK_INVOKE: VmAddr = VmAddr(0x2b_e0f4);
/// The destructor of a compute encoder's block, in builds that call it.
pub(super) const COMPUTE_DESTRUCTOR: VmAddr = VmAddr(0x2b_de40);
pub(super) const DEQUE_DESTRUCTOR: VmAddr = VmAddr(0x2b_f800);
pub(super) const RENDER_DESTRUCTOR: VmAddr = VmAddr(0x2c_0400);
pub(super) const END_COMPUTE_PASS: VmAddr = VmAddr(0x2b_7400);
const USE_RESOURCE_COMMON: VmAddr = VmAddr(0x26_430c);

/// Imported functions by the names the written functions call them by.
const STUBS: [(&str, &str); 12] = [
    ("objc_retain", "_objc_retain"),
    ("objc_release", "_objc_release"),
    ("send_super", "_objc_msgSendSuper2"),
    ("add_metal_resource", "_MTLResourceListAddResource"),
    ("add_iogpu_resource", "_IOGPUResourceListAddResource"),
    ("lock_stub", "_os_unfair_lock_lock"),
    ("unlock", "_os_unfair_lock_unlock"),
    ("free", "_free"),
    ("bzero", "_bzero"),
    ("calloc", "_calloc"),
    ("operator_delete", "__ZdlPv"),
    ("dispatch_sync", "_dispatch_sync"),
];

/// Messages, by the names the written functions send them by.
const MESSAGES: [(&str, &str); 6] = [
    ("send_destroy", DESTROY),
    ("send_deferred_end", "deferredEndEncoding"),
    ("send_deferred_end_with", "deferredEndEncoding:"),
    ("send_set_previous", "setPreviousComputeCommandEncoder:"),
    ("send_commit_encoder", "commitEncoder"),
    ("send_device", "device"),
];

/// Functions of the driver itself.
const FUNCTIONS: [(&str, VmAddr); 5] = [
    ("neighbour", USE_RESOURCE_COMMON),
    ("compute_destructor", COMPUTE_DESTRUCTOR),
    ("deque_destructor", DEQUE_DESTRUCTOR),
    ("render_destructor", RENDER_DESTRUCTOR),
    ("end_compute_pass", END_COMPUTE_PASS),
];

impl Builder {
    /// The names that every written function may use.
    pub(super) fn bindings(&self, objc_stubs: VmAddr, selectors: &[&str]) -> Bindings {
        let places = &self.places;
        let mut bindings = Bindings::default();
        for (name, import) in STUBS {
            bindings.address(name, places.stub(import));
        }
        for (name, selector) in MESSAGES {
            let index = selectors.iter().position(|known| *known == selector);
            let at = objc_stubs.plus(OBJC_STUB * index.unwrap_or_default() as u64);
            bindings.address(name, at);
        }
        for (name, address) in FUNCTIONS {
            bindings.address(name, address.plus(places.shift));
        }
        bindings
            .cell("impl_cell", places.impl_cell)
            .cell("previous_cell", places.cell(COMMAND_BUFFER, PREVIOUS_COMPUTE))
            .cell("previous_blit_cell", places.cell(COMMAND_BUFFER, PREVIOUS_BLIT))
            .cell("previous_render_cell", places.cell(COMMAND_BUFFER, PREVIOUS_RENDER))
            .cell("framebuffer_cell", places.cell(RENDER, FRAMEBUFFER))
            .cell("super_compute", places.super_reference(COMPUTE))
            .cell("super_command_buffer", places.super_reference(COMMAND_BUFFER))
            .cell("selector_dealloc", places.selector_reference("dealloc"))
            .cell("selector_end_encoding", places.selector_reference("endEncoding"))
            .cell("block_invoke", BLOCK_INVOKE.plus(places.shift))
            .cell("block_flags", places.literals(selectors.len()))
            .cell("block_descriptor", places.block_descriptor())
            .cell("stack_block", places.got())
            .text("device_field", format!("#{}", places.device_field));
        freelist(&mut bindings, "", &places.pools.compute);
        freelist(&mut bindings, "part_", &places.pools.part);
        bindings
    }
}

/// Binds the offsets of a freelist under names that begin with `prefix`.
pub(super) fn freelist(bindings: &mut Bindings, prefix: &str, list: &Freelist) {
    let mut bind = |name: &str, number: u32| {
        bindings.text(&format!("{prefix}{name}"), format!("#{number:#x}"));
    };
    bind("size", list.size);
    bind("count", list.count);
    bind("lock", list.lock);
    bind("slots", list.slots);
    bind("last", list.capacity - 1);
}
