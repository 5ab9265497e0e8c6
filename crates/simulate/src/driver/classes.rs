//! The driver's classes: which there are, what they answer to, what they hold.
//!
//! Class names, selectors and the addresses beside them are published; methods
//! without an address are spread over the filler. Offsets of instance variables
//! are invented.

use super::variant::Build;
use agxpatch_core::address::VmAddr;

/// A class, without the family's prefix.
pub(super) struct ClassShape {
    pub(super) name: &'static str,
    pub(super) superclass: Superclass,
    pub(super) selectors: &'static [&'static str],
    /// Instance variables and their offsets.
    pub(super) variables: &'static [(&'static str, u32)],
}

#[derive(Clone, Copy)]
pub(super) enum Superclass {
    /// Of another image, by its whole name.
    Imported(&'static str),
    /// Of this image, without the prefix.
    Own(&'static str),
}

pub(super) const COMPUTE: &str = "ComputeContext";
pub(super) const RENDER: &str = "RenderContext";
pub(super) const COMMAND_BUFFER: &str = "CommandBuffer";
pub(super) const DESTROY: &str = "destroyImpl";
pub(super) const IMPL: &str = "_impl";
pub(super) const FRAMEBUFFER: &str = "_framebuffer";
pub(super) const PREVIOUS_COMPUTE: &str = "_previousComputeCommandEncoder";
pub(super) const PREVIOUS_BLIT: &str = "_previousBlitCommandEncoder";
pub(super) const PREVIOUS_RENDER: &str = "_previousRenderCommandEncoder";

const COMPUTE_SELECTORS: &[&str] = &[
    "setComputePipelineState:",
    "deferredEndEncoding",
    DESTROY,
    "initWithCommandBuffer:config:",
    "reInitWithCommandBuffer:",
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
    "deferredEndEncoding:",
    DESTROY,
    "endEncoding",
    "dealloc",
    "setRenderPipelineState:",
    "setVertexBuffer:offset:atIndex:",
    "setFragmentBuffer:offset:atIndex:",
    "drawPrimitives:vertexStart:vertexCount:",
];

/// Of an encoder with a block of its own that is no more than an encoder.
const OTHER_SELECTORS: &[&str] = &["deferredEndEncoding", DESTROY, "endEncoding", "dealloc"];
/// Of an encoder that inherits what becomes of its block.
const SAMPLED_SELECTORS: &[&str] = &["sampleCountersInBuffer:atSampleIndex:withBarrier:"];
/// Of a Metal 4 encoder, whose memory belongs to the command allocator.
const NEXT_SELECTORS: &[&str] =
    &["endEncoding", "dealloc", "barrierAfterQueueStages:beforeStages:"];

const COMMAND_BUFFER_SELECTORS: &[&str] = &[
    "computeCommandEncoderWithConfig:",
    "commitEncoder",
    "dealloc",
    "setPreviousComputeCommandEncoder:",
    "tryCoalescingPreviousComputeCommandEncoderWithConfig:nextEncoderClass:",
    "blitCommandEncoderCommon:",
    "computeCommandEncoder",
    "blitCommandEncoder",
    "renderCommandEncoderWithDescriptor:",
    "resourceStateCommandEncoder",
    "accelerationStructureCommandEncoder",
    "commit",
    "encodeSignalEvent:value:",
    "encodeWaitForEvent:value:",
];

const ONE_BLOCK: &[(&str, u32)] = &[(IMPL, 0x1b8)];
const NO_VARIABLES: &[(&str, u32)] = &[];

const CLASSES: &[ClassShape] = &[
    imported(COMPUTE, "IOGPUMetalComputeCommandEncoder", COMPUTE_SELECTORS, ONE_BLOCK),
    imported("BlitContext", "IOGPUMetalBlitCommandEncoder", BLIT_SELECTORS, ONE_BLOCK),
    imported(
        RENDER,
        "IOGPUMetalRenderCommandEncoder",
        RENDER_SELECTORS,
        &[(IMPL, 0x1b8), (FRAMEBUFFER, 0x1c0)],
    ),
    imported(
        "ResourceStateContext",
        "IOGPUMetalResourceStateCommandEncoder",
        OTHER_SELECTORS,
        ONE_BLOCK,
    ),
    imported(
        "RayTracingGPUBuilder",
        "IOGPUMetalAccelerationStructureCommandEncoder",
        OTHER_SELECTORS,
        ONE_BLOCK,
    ),
    imported("MLContext", "IOGPUMetalComputeCommandEncoder", OTHER_SELECTORS, ONE_BLOCK),
    imported(
        "ThreadedRenderPass",
        "IOGPUMetalParallelRenderCommandEncoder",
        &["endEncoding", "dealloc", "renderCommandEncoder"],
        NO_VARIABLES,
    ),
    own("SampledComputeContext", COMPUTE, SAMPLED_SELECTORS),
    own("SampledRenderContext", RENDER, SAMPLED_SELECTORS),
    imported(
        COMMAND_BUFFER,
        "IOGPUMetalCommandBuffer",
        COMMAND_BUFFER_SELECTORS,
        &[
            (PREVIOUS_COMPUTE, 0x2f0),
            (PREVIOUS_BLIT, 0x2f8),
            (PREVIOUS_RENDER, 0x300),
            (IMPL, 0x308),
        ],
    ),
    imported("Device", "IOGPUMetalDevice", &["newCommandQueue", "name", "dealloc"], NO_VARIABLES),
];

/// What the drivers of macOS 26 have beside these.
const NEXT_CLASSES: &[ClassShape] = &[
    imported("ComputeContext_mtlnext", "IOGPUMTL4ComputeCommandEncoder", NEXT_SELECTORS, ONE_BLOCK),
    imported("RenderContext_mtlnext", "IOGPUMTL4RenderCommandEncoder", NEXT_SELECTORS, ONE_BLOCK),
    imported("CommandBuffer_mtlnext", "IOGPUMTL4CommandBuffer", &["dealloc"], NO_VARIABLES),
    imported("CommandQueue_mtlnext", "IOGPUMTL4CommandQueue", &["dealloc"], NO_VARIABLES),
    imported("CommandAllocator_mtlnext", "IOGPUMTL4CommandAllocator", &["reset"], NO_VARIABLES),
];

const fn imported(
    name: &'static str,
    superclass: &'static str,
    selectors: &'static [&'static str],
    variables: &'static [(&'static str, u32)],
) -> ClassShape {
    ClassShape { name, superclass: Superclass::Imported(superclass), selectors, variables }
}

const fn own(
    name: &'static str,
    superclass: &'static str,
    selectors: &'static [&'static str],
) -> ClassShape {
    let superclass = Superclass::Own(superclass);
    ClassShape { name, superclass, selectors, variables: NO_VARIABLES }
}

/// The classes of a build.
pub(super) fn classes(build: Build) -> impl Iterator<Item = &'static ClassShape> {
    let next = if build == Build::Later { NEXT_CLASSES } else { &[] };
    CLASSES.iter().chain(next)
}

/// Every instance variable of a build with its class and its offset.
pub(super) fn variables(build: Build) -> impl Iterator<Item = (&'static str, &'static str, u32)> {
    classes(build).flat_map(|class| {
        class.variables.iter().map(move |&(variable, offset)| (class.name, variable, offset))
    })
}

/// The classes whose superclass the code sends messages to, in the order of the
/// references to them.
pub(super) const SENT_TO_SUPER: [&str; 2] = [COMPUTE, COMMAND_BUFFER];

/// What the code sends to objects of other images' classes.
const SENT: &[&str] = &["device"];

/// Every selector of a build, each once, in order.
pub(super) fn selectors(build: Build) -> Vec<&'static str> {
    let own = classes(build).flat_map(|class| class.selectors);
    let mut selectors: Vec<&'static str> = own.chain(SENT).copied().collect();
    selectors.sort_unstable();
    selectors.dedup();
    selectors
}

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

/// Methods that are written out and whose address is not published.
pub(super) const WRITTEN: [(&str, &str, VmAddr); 2] =
    [(COMPUTE, "endEncoding", VmAddr(0x2b_d840)), (COMPUTE, "dealloc", VmAddr(0x2b_e128))];
