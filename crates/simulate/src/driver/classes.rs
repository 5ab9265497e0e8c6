//! The driver's classes: which encoders there are, and what they answer to.
//!
//! Class names, selectors and the addresses beside them are published; methods
//! without an address are spread over the filler.

use agxpatch_core::address::VmAddr;

/// An encoder's class, without the family's prefix.
pub(super) struct Encoder {
    pub(super) name: &'static str,
    pub(super) superclass: &'static str,
    pub(super) selectors: &'static [&'static str],
}

pub(super) const COMPUTE: &str = "ComputeContext";
pub(super) const RENDER: &str = "RenderContext";
pub(super) const COMMAND_BUFFER: &str = "CommandBuffer";
pub(super) const DEVICE: &str = "Device";
pub(super) const DESTROY: &str = "destroyImpl";

const COMPUTE_SELECTORS: &[&str] = &[
    "setComputePipelineState:",
    "deferredEndEncoding",
    DESTROY,
    "initWithCommandBuffer:config:",
    "endEncoding",
    "dealloc",
    "setBuffer:offset:atIndex:",
    "setBuffers:offsets:withRange:",
    "setBufferOffset:atIndex:",
    "setBytes:length:atIndex:",
    "setTexture:atIndex:",
    "setTextures:withRange:",
    "setSamplerState:atIndex:",
    "setThreadgroupMemoryLength:atIndex:",
    "dispatchThreads:threadsPerThreadgroup:",
    "dispatchThreadgroups:threadsPerThreadgroup:",
    "useResource:usage:",
    "useResources:count:usage:",
    "useHeap:",
    "useHeaps:count:",
    "memoryBarrierWithScope:",
    "updateFence:",
    "waitForFence:",
];

const BLIT_SELECTORS: &[&str] = &[
    "deferredEndEncoding",
    DESTROY,
    "endEncoding",
    "dealloc",
    "fillBuffer:range:value:",
    "synchronizeResource:",
    "generateMipmapsForTexture:",
    "updateFence:",
    "waitForFence:",
];

const RENDER_SELECTORS: &[&str] = &[
    "deferredEndEncoding",
    DESTROY,
    "endEncoding",
    "dealloc",
    "setRenderPipelineState:",
    "setVertexBuffer:offset:atIndex:",
    "setFragmentBuffer:offset:atIndex:",
    "drawPrimitives:vertexStart:vertexCount:",
];

const OTHER_SELECTORS: &[&str] = &["deferredEndEncoding", DESTROY, "endEncoding", "dealloc"];

/// The encoders' classes. All but the compute encoder's are siblings of it.
pub(super) const ENCODERS: [Encoder; 7] = [
    encoder(COMPUTE, "IOGPUMetalComputeCommandEncoder", COMPUTE_SELECTORS),
    encoder("BlitContext", "IOGPUMetalBlitCommandEncoder", BLIT_SELECTORS),
    encoder(RENDER, "IOGPUMetalRenderCommandEncoder", RENDER_SELECTORS),
    encoder("ResourceStateContext", "IOGPUMetalResourceStateCommandEncoder", OTHER_SELECTORS),
    encoder(
        "AccelerationStructureContext",
        "IOGPUMetalAccelerationStructureCommandEncoder",
        OTHER_SELECTORS,
    ),
    encoder("SampledComputeContext", "IOGPUMetalComputeCommandEncoder", OTHER_SELECTORS),
    encoder("SampledRenderContext", "IOGPUMetalRenderCommandEncoder", OTHER_SELECTORS),
];

const fn encoder(
    name: &'static str,
    superclass: &'static str,
    selectors: &'static [&'static str],
) -> Encoder {
    Encoder { name, superclass, selectors }
}

pub(super) const COMMAND_BUFFER_SELECTORS: &[&str] = &[
    "computeCommandEncoderWithConfig:",
    "commitEncoder",
    "dealloc",
    "computeCommandEncoder",
    "blitCommandEncoder",
    "renderCommandEncoderWithDescriptor:",
    "resourceStateCommandEncoder",
    "accelerationStructureCommandEncoder",
    "commit",
    "encodeSignalEvent:value:",
    "encodeWaitForEvent:value:",
];

pub(super) const DEVICE_SELECTORS: &[&str] = &["newCommandQueue", "name", "dealloc"];

/// Methods whose address is published, by class without prefix and selector.
pub(super) const PUBLISHED: [(&str, &str, VmAddr); 7] = [
    (COMPUTE, "setComputePipelineState:", VmAddr(0x2b_d2b0)),
    (COMPUTE, "deferredEndEncoding", VmAddr(0x2b_d8dc)),
    (COMPUTE, DESTROY, VmAddr(0x2b_dd1c)),
    (COMPUTE, "initWithCommandBuffer:config:", VmAddr(0x2b_e1f4)),
    (COMMAND_BUFFER, "computeCommandEncoderWithConfig:", VmAddr(0x24_d694)),
    (COMMAND_BUFFER, "commitEncoder", VmAddr(0x24_cc34)),
    (COMMAND_BUFFER, "dealloc", VmAddr(0x25_0440)),
];
