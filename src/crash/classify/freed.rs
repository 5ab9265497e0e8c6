//! Objects and memory that were freed while they were in use.
//!
//! The runtimes meet a freed object first: they read its class or its count. Where its
//! memory holds another object by then, that one is sent a message it does not know.
//! Memory that is freed twice is found by malloc, which ends the process.

use super::super::class::Class;
use super::super::evidence::{Ground, Sureness};
use super::super::facts::Frame;
use super::super::stack::Layer;
use super::bad_access::MAX_NULL_OFFSET;
use super::{Case, Verdict};

/// What `objc_msgSend` and the functions it goes on to do.
const MESSAGED: &str = "sent a message to";

/// Functions of the runtimes that read an object's class or count, and what they do.
const OBJECT_CODE: [(&str, &str); 24] = [
    ("objc_msgSend", MESSAGED),
    // Where a message goes whose class is not in the cache, as that of freed memory.
    ("_objc_msgSend_uncached", MESSAGED),
    ("lookUpImpOrForward", MESSAGED),
    ("objc_opt_", "used"),
    ("object_getClass", "used"),
    ("object_isClass", "used"),
    ("objc_destructInstance", "destroyed"),
    ("objc_loadWeak", "loaded a weak reference to"),
    ("weak_", "dropped a weak reference to"),
    ("objc_retain", "retained"),
    ("objc_release", "released"),
    ("_objc_rootRelease", "released"),
    ("_objc_release", "released"),
    ("NSObject release]", "released"),
    ("NSObject retain]", "retained"),
    ("objc_storeStrong", "stored"),
    ("objc_autoreleasePoolPop", "released, with its autorelease pool,"),
    ("AutoreleasePoolPage", "released, with its autorelease pool,"),
    ("objc_object::", "used"),
    ("CF_IS_OBJC", "used"),
    ("CFRelease", "released"),
    ("CFRetain", "retained"),
    ("swift_release", "released"),
    ("swift_retain", "retained"),
];

/// Selectors that only encoders and command buffers have.
const ENCODER_SELECTORS: [&str; 16] = [
    "setComputePipelineState:",
    "setRenderPipelineState:",
    "setBuffer:offset:atIndex:",
    "setBytes:length:atIndex:",
    "setTexture:atIndex:",
    "setThreadgroupMemoryLength:atIndex:",
    "dispatchThreads:",
    "dispatchThreadgroups:",
    "useResource:usage:",
    "endEncoding",
    "deferredEndEncoding",
    "computeCommandEncoder",
    "blitCommandEncoder",
    "addCompletedHandler:",
    "encodeSignalEvent:",
    "encodeWaitForEvent:",
];

/// How the names of Metal's classes begin.
const METAL_CLASSES: [&str; 6] = ["AGX", "_MTL", "MTL", "IOGPU", "MPS", "_MPS"];

impl Case<'_> {
    /// A runtime function of which nil is not a bad access: what it met was an object once.
    pub(super) fn freed_object(&self) -> Option<Verdict> {
        let name = self.top.trim_start_matches("(anonymous namespace)::");
        let name = name.strip_prefix("_CF").map_or(name, |_| &name[1..]);
        let name = name.trim_start_matches(['-', '+', '[']);
        let (_, done) = OBJECT_CODE.iter().find(|(start, _)| name.starts_with(start))?;
        let (caller, layer) = self.culprit.filter(|_| self.blames_gpu_code())?;
        let pointer = match self.fault {
            Some(fault) if fault.authentic.is_some() => "whose class pointer failed authentication",
            Some(fault) if fault.address < MAX_NULL_OFFSET => "whose memory is zero by now",
            _ => "that is no longer one",
        };
        let owner = if layer == Layer::Backend { "the GPU back end" } else { "GPU code" };
        let by = caller.describe();
        let because = format!("{owner} {done} an object {pointer}; called by {by}");
        let class = match *done {
            MESSAGED => Class::FreedEncoder,
            _ => Class::FreedObject,
        };
        let grounds = [Ground::Address, Ground::Frame, Ground::Callers];
        Some(Verdict::new(class, Sureness::Likely, because).resting_on(grounds))
    }

    /// A message that says of itself that its receiver was freed, or was another object.
    pub(super) fn misdirected(&self) -> Option<Verdict> {
        let texts = || self.facts.messages.iter();
        let freed = texts().find_map(|text| {
            let (before, _) = text.split_once(": message sent to deallocated instance")?;
            before.rsplit_once('[').map(|(_, method)| method.trim_end_matches(']'))
        });
        if let Some(method) = freed.filter(|method| is_metal_class(method)) {
            let because = format!("an object was sent a message after it was freed: {method}");
            return Some(
                Verdict::new(Class::FreedEncoder, Sureness::Certain, because)
                    .resting_on([Ground::Text]),
            );
        }
        let unknown = texts().find_map(|text| {
            let (before, _) = text.split_once("]: unrecognized selector sent to")?;
            before.rsplit_once('[').map(|(_, method)| method)
        })?;
        let (receiver, selector) = unknown.split_once(' ')?;
        let (class, sure, because) = if is_metal_class(receiver) {
            let because = format!("{receiver} has no method {selector} on this macOS");
            (Class::GpuException, Sureness::Likely, because)
        } else if ENCODER_SELECTORS.iter().any(|name| selector.starts_with(name)) {
            let because = format!(
                "{receiver} was sent {selector}, a method of Metal's: it stands where an encoder \
                 or command buffer was before it was freed"
            );
            (Class::FreedEncoder, Sureness::Likely, because)
        } else {
            return None;
        };
        Some(Verdict::new(class, sure, because).resting_on([Ground::Text]))
    }

    /// malloc found its own lists damaged, or memory freed twice, and ended the process.
    pub(super) fn heap(&self) -> Option<Verdict> {
        let (caller, _) = self.culprit.filter(|_| self.blames_gpu_code())?;
        let above = self.frames.iter().take_while(|frame| *frame != caller);
        let malloc = |frame: &Frame| frame.image.as_deref() == Some("libsystem_malloc.dylib");
        above.filter(|frame| malloc(frame)).count().checked_sub(1)?;
        let because = format!(
            "malloc found memory that was freed twice or written after it was freed; called by {}",
            caller.describe()
        );
        let verdict = Verdict::new(Class::FreedObject, Sureness::Likely, because);
        Some(verdict.resting_on([Ground::Frame, Ground::Callers]))
    }
}

fn is_metal_class(name: &str) -> bool {
    METAL_CLASSES.iter().any(|start| name.starts_with(start))
}
