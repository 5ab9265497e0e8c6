//! Bad accesses: a NULL `_impl`, a nil pipeline, an invalid pointer.
//!
//! The instruction decides where the report has it: a load through a register that is
//! zero is a NULL pointer at whatever offset, on whatever driver. Without it, the
//! method and the address have to be those that are published, or the class says that
//! this driver's offsets are not known.

use super::super::address::is_unmapped;
use super::super::class::Class;
use super::super::evidence::{Ground, Sureness};
use super::super::instruction::{self, MemoryAccess};
use super::super::stack::{self, Layer};
use super::{Case, Verdict};

/// Faults below this may be NULL with an offset. The first 4 GB are never mapped; the
/// largest block known, that of a render encoder of macOS 26, is some 80 kB.
pub(super) const MAX_NULL_OFFSET: u64 = 0x4_0000;

/// Offsets into `_impl` that methods of driver 329.2 are known to use.
const IMPL_OFFSETS: [u64; 6] = [0x98, 0x184, 0x5c8, 0x5d8, 0x5f4, 0x638];

/// Where a NULL `_impl` is known to be met: part of the innermost frame's
/// symbol, the address where it is known, the class.
const NULL_IMPL: [(&str, Option<u64>, Class); 5] = [
    ("FamilyComputeContext setComputePipelineState:]", Some(0x5c8), Class::NullAtSetPipeline),
    ("::prepareForEnqueue(", Some(0x98), Class::NullAtPrepare),
    ("::allocateUSCSpillBuffer", Some(0x184), Class::NullAtSpill),
    ("dispatchThreads:threadsPerThreadgroup:]", Some(0x5f4), Class::NullAtDispatch),
    ("FamilyComputeContext setBuffer:offset:atIndex:]", None, Class::NullAtSetBuffer),
];

/// Methods of the command buffer that read the `_impl` of the encoder before.
const COALESCING: [&str; 3] =
    ["tryCoalescing", "FamilyCommandBuffer blitCommandEncoderCommon:", "reInitWithCommandBuffer:"];

/// Parts of symbols of code that works on an encoder's `_impl`.
const ENCODER_CODE: [&str; 12] = [
    "FamilyComputeContext ",
    "FamilyRenderContext ",
    "FamilyBlitContext ",
    "FamilySampledComputeContext ",
    "FamilySampledRenderContext ",
    "FamilyResourceStateContext ",
    "FamilyRayTracingGPUBuilder ",
    "AGX::ComputeContext",
    "AGX::RenderContext",
    "AGX::BlitContext",
    "AGX::ContextCommon",
    "AGX::SpillInfo",
];

/// Methods that test `_impl` before they use it, so that a NULL there is another one.
const TESTED: [&str; 5] =
    ["endComputePass", "destroyImpl", "deferredEndEncoding", " endEncoding]", "::~"];

/// Where a nil pipeline faults: part of the symbol, and offsets that are known, of the
/// drivers of M3 and M4 (HAL200) and of M5 (HAL300).
const NIL_PIPELINE: [&str; 2] = ["setPipelineCommon", "setRenderPipelineCommon"];
const NIL_PIPELINE_OFFSETS: [u64; 2] = [0x124, 0x9cc];

/// Whether a NULL `_impl` is known to be met in this method.
pub fn meets_null_impl(symbol: &str) -> bool {
    NULL_IMPL.iter().any(|(part, ..)| stack::names(symbol, part))
}

impl Case<'_> {
    pub(super) fn bad_access(&self) -> Verdict {
        if let Some(verdict) = self.freed_object() {
            return verdict;
        }
        let invalid = is_unmapped(self.facts.addresses.iter().map(String::as_str));
        let in_driver = self.frames.first().is_some_and(|top| stack::layer(top) == Layer::Driver);
        // The first page is forbidden in some processes, and unmapped in others.
        let reached = |address: &u64| in_driver && (invalid || *address < MAX_NULL_OFFSET);
        if let Some(address) = self.fault.map(|fault| fault.address).filter(reached) {
            let found = match self.null_pointer(address) {
                true => self.null_in_driver(address),
                false => self.wild_pointer(address),
            };
            if let Some(verdict) = found {
                return verdict;
            }
        }
        if let Some(verdict) = self.storage("a bad access") {
            return verdict;
        }
        self.unknown("a bad access of no known form")
    }

    /// The load or store that faulted, where the report has its code.
    pub(super) fn memory_access(&self) -> Option<MemoryAccess> {
        instruction::decode(self.facts.instruction?)
    }

    /// Whether the instruction shows a zero base, or another one; nothing where the
    /// report has no instruction or no registers.
    fn base_is_zero(&self) -> Option<bool> {
        let memory = self.memory_access()?;
        let base = self.facts.registers.get(memory.base)?;
        Some(base == 0)
    }

    fn null_pointer(&self, address: u64) -> bool {
        self.base_is_zero().unwrap_or(address < MAX_NULL_OFFSET)
    }

    /// What shows that a NULL pointer was followed, and how surely.
    fn null_grounds(&self, known: bool) -> (Sureness, Vec<Ground>) {
        match (self.base_is_zero(), known) {
            (Some(true), _) => (
                Sureness::Certain,
                vec![Ground::Instruction, Ground::Registers, Ground::Address, Ground::Frame],
            ),
            (_, true) => (Sureness::Likely, vec![Ground::Address, Ground::Frame]),
            (_, false) => (Sureness::Possible, vec![Ground::Address, Ground::Frame]),
        }
    }

    fn null_in_driver(&self, address: u64) -> Option<Verdict> {
        let top = self.top;
        let verdict = |class, known, because: String| {
            let (sureness, grounds) = self.null_grounds(known);
            Some(Verdict::new(class, sureness, because + &self.through()).resting_on(grounds))
        };
        if top.contains("_mtlnext") {
            let because =
                "a NULL pointer in an encoder of Metal 4, which takes no block from a pool";
            return verdict(Class::Metal4Context, true, because.into());
        }
        let known_offset = IMPL_OFFSETS.contains(&address);
        if NIL_PIPELINE.iter().any(|part| top.contains(part)) && !known_offset {
            let because = "a pipeline that was nil; the encoder itself was alive".to_owned();
            return verdict(Class::NilPipeline, NIL_PIPELINE_OFFSETS.contains(&address), because);
        }
        if COALESCING.iter().any(|part| top.contains(part)) {
            let because = format!("the _impl of the encoder before was NULL: {address:#x} past it");
            return verdict(Class::NullAtCoalescing, false, because);
        }
        if TESTED.iter().any(|part| top.contains(part)) {
            return None;
        }
        let shown = self.base_is_zero() == Some(true);
        let method = NULL_IMPL.iter().find(|(part, ..)| stack::names(top, part));
        if let Some((_, at, class)) = method
            && (shown || at.is_none_or(|at| at == address))
        {
            let because = format!("_impl was NULL: the fault is {address:#x} past it");
            return verdict(*class, true, because);
        }
        if !ENCODER_CODE.iter().any(|part| stack::names(top, part)) && method.is_none() {
            return None;
        }
        if known_offset {
            let because = format!("{address:#x} is where other methods meet a NULL _impl");
            return verdict(Class::NullElsewhere, true, because);
        }
        let because = format!(
            "a NULL pointer at {address:#x} in an encoder's method: probably _impl, but the \
             offsets of this driver are not known"
        );
        verdict(Class::NullAtUnknownOffset, false, because)
    }

    /// The register the NULL was in.
    fn through(&self) -> String {
        match (self.base_is_zero(), self.memory_access()) {
            (Some(true), Some(memory)) => format!(" (x{} was zero)", memory.base),
            _ => String::new(),
        }
    }

    fn wild_pointer(&self, address: u64) -> Option<Verdict> {
        if self.top.contains("_mtlnext") {
            let because = format!("{address:#x}, no address, in an encoder of Metal 4");
            return Some(Verdict::new(Class::Metal4Context, Sureness::Likely, because));
        }
        let failed = self.fault.is_some_and(|fault| fault.authentic.is_some());
        let because = match failed {
            true => "the driver followed a pointer that failed authentication: its memory was \
                     freed and used again, or overwritten"
                .to_owned(),
            false => format!(
                "the driver followed {address:#x}, which is not an address: the memory it came \
                 from was freed and used again, or overwritten"
            ),
        };
        let grounds = [Ground::Address, Ground::Frame];
        Some(Verdict::new(Class::WildPointer, Sureness::Likely, because).resting_on(grounds))
    }
}
