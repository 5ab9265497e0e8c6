//! Which classes are guarded, which of their methods are left alone and why, and what the others do.
//!
//! Everything here is decided by name, so that it can be read and tested anywhere. Facts: the
//! encoder classes of the AGX drivers are `AGX<family>Family<kind>Context`; their command buffers
//! `AGX<family>FamilyCommandBuffer`.

use crate::call::Kind;
use crate::races::Part;

/// The kinds of encoder, as they stand between `Family` and `Context` in a class name. `Sampled…`
/// are the subclasses used when counters are sampled.
pub const ENCODER_KINDS: &[&str] = &[
    "Compute",
    "Blit",
    "Render",
    "ResourceState",
    "AccelerationStructure",
    "Debug",
    "SampledCompute",
    "SampledBlit",
    "SampledRender",
    "ParallelRender",
];

/// Encoder classes whose names are built in another way: the builder of acceleration structures and
/// the parallel render encoder.
pub const OTHER_ENCODERS: &[&str] = &["RayTracingGPUBuilder", "ThreadedRenderPass"];

/// The suffix of the classes of Metal 4.
const METAL_4: &str = "_mtlnext";

/// Methods of the encoder classes that are not guarded, and why.
///
/// All of them are answered by the runtime or by `NSObject` without a look at `_impl`, and most are
/// called by the runtime in places where waiting for a lock, or being refused, would break it.
pub const EXCEPTED: &[(&str, &str)] = &[
    ("retain", "reference counting: called under every lock there is, must never wait"),
    ("release", "reference counting; dealloc, which may follow, is guarded"),
    ("autorelease", "reference counting"),
    ("retainCount", "reference counting"),
    ("retainWeakReference", "reference counting, called by the runtime under its weak-table lock"),
    ("allowsWeakReference", "reference counting, called by the runtime under its weak-table lock"),
    ("_tryRetain", "reference counting, called by the runtime under its weak-table lock"),
    ("_isDeallocating", "reference counting, called by the runtime under its weak-table lock"),
    (".cxx_construct", "called by the runtime inside alloc, before the object is one"),
    (".cxx_destruct", "called by the runtime inside dealloc, which is guarded"),
    ("finalize", "garbage collection, never called"),
    ("class", "asked of any object at any time, reads the isa alone"),
    ("superclass", "reads the class alone"),
    ("self", "returns its receiver"),
    ("isProxy", "reads nothing"),
    ("zone", "reads nothing"),
    ("hash", "the address; containers ask it of ended encoders"),
    ("isEqual:", "compares addresses; containers ask it of ended encoders"),
    ("isKindOfClass:", "reads the class alone"),
    ("isMemberOfClass:", "reads the class alone"),
    ("conformsToProtocol:", "reads the class alone"),
    ("respondsToSelector:", "reads the class alone"),
    ("methodForSelector:", "reads the class alone"),
    ("methodSignatureForSelector:", "reads the class alone"),
    ("doesNotRecognizeSelector:", "reports an error about the class"),
    ("forwardInvocation:", "runtime support for methods that do not exist"),
    ("forwardingTargetForSelector:", "runtime support for methods that do not exist"),
    ("performSelector:", "sends a message, which is guarded itself"),
    ("performSelector:withObject:", "sends a message, which is guarded itself"),
    ("performSelector:withObject:withObject:", "sends a message, which is guarded itself"),
];

/// Methods that tell who an encoder is, in Metal's words properties that may be read after its end.
/// They run under its lock and are never refused: `nil` for the device of an ended encoder would
/// break a program that is right.
pub const PASSIVE: &[&str] = &[
    "device",
    "label",
    "setLabel:",
    "commandBuffer",
    "description",
    "debugDescription",
    "formattedDescription:",
    "globalTraceObjectID",
];

/// What a class of the driver is to the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Every method is guarded.
    Encoder,
    /// The methods that make, end or read encoders are guarded.
    CommandBuffer,
}

/// Whether, and as what, a class is hooked.
pub fn role_of_class(name: &str) -> Option<Role> {
    let family = name.strip_prefix("AGX")?;
    let rest = family.get(position(family, "Family")? + "Family".len()..)?;
    let rest = rest.strip_suffix(METAL_4).unwrap_or(rest);
    if rest == "CommandBuffer" {
        return Some(Role::CommandBuffer);
    }
    if OTHER_ENCODERS.contains(&rest) {
        return Some(Role::Encoder);
    }
    let kind = rest.strip_suffix("Context")?;
    ENCODER_KINDS.contains(&kind).then_some(Role::Encoder)
}

/// Whether a method is left alone.
pub fn is_excepted(selector: &str) -> bool {
    EXCEPTED.iter().any(|(name, _)| *name == selector)
}

/// What a method of an encoder class does; `None` for one that is left alone.
pub fn encoder_method(selector: &str) -> Option<Kind> {
    if is_excepted(selector) {
        return None;
    }
    Some(match selector {
        "endEncoding" => Kind::End,
        "deferredEndEncoding" | "deferredEndEncoding:" => Kind::DeferredEnd,
        "destroyImpl" => Kind::Destroy,
        "dealloc" => Kind::Dealloc,
        "reInitWithCommandBuffer:" => Kind::Reinit,
        _ if is_init(selector) => Kind::Init,
        _ if PASSIVE.contains(&selector) => Kind::Passive,
        _ => Kind::Method,
    })
}

/// What a method of a command buffer class is to the guard: one that hands out an encoder, one that
/// ends or reads encoders or changes what the buffer keeps, or one that is left alone. `waitUntil…`
/// is: it would keep the lock for as long as the GPU works.
pub fn command_buffer_method(selector: &str, encoding: &[u8]) -> Option<Kind> {
    if selector == "dealloc" {
        return Some(Kind::BufferDealloc);
    }
    if has(selector, "ommandEncoder") && encoding.first() == Some(&b'@') {
        return Some(Kind::Factory);
    }
    let adds_handler = selector.starts_with("add") && selector.ends_with("Handler:");
    let encodes_event = selector.starts_with("encode") && has(selector, "Event");
    if ["commit", "commitWithDeadline:"].contains(&selector) {
        return Some(Kind::Commit);
    }
    if selector == "commitEncoder" {
        return Some(Kind::CommitEncoder);
    }
    // Metal 4's queue commits; its buffers are begun and ended.
    if encodes_event || selector == "endCommandBuffer" {
        return Some(Kind::Event);
    }
    let named = selector == "enqueue" || selector.starts_with("beginCommandBuffer");
    (named || adds_handler).then_some(Kind::Buffer)
}

/// Whether a method may be called from a frame of the guard's: not one with variable arguments. On
/// a Mac those lie on the stack, and no encoding tells of them. By Cocoa's convention such a method
/// is named for a format; Metal's encoders have none.
pub fn may_have_frame(selector: &str) -> bool {
    !has(selector, "ormat")
}

/// Where a part of a name begins. The library's own search, made for long texts, is 3 kB of code.
fn position(name: &str, part: &str) -> Option<usize> {
    name.as_bytes().windows(part.len()).position(|window| window == part.as_bytes())
}

/// Whether a name has a part.
pub(crate) fn has(name: &str, part: &str) -> bool {
    position(name, part).is_some()
}

/// How the selectors begin that encode work.
const ENCODING: &[&str] =
    &["dispatch", "draw", "copy", "fill", "execute", "generate", "build", "refit", "optimize"];

/// What a method of an encoder class is in a sequence of encoding calls.
pub fn part_of(selector: &str) -> Part {
    let sets =
        selector.strip_prefix("set").is_some_and(|rest| rest.starts_with(char::is_uppercase));
    match sets {
        true => Part::Sets,
        false if ENCODING.iter().any(|begin| selector.starts_with(begin)) => Part::Encodes,
        false => Part::Other,
    }
}

/// The `init` family by Objective-C's own rule: `init`, not followed by a lower-case letter.
fn is_init(selector: &str) -> bool {
    let Some(rest) = selector.trim_start_matches('_').strip_prefix("init") else { return false };
    !rest.starts_with(|next: char| next.is_ascii_lowercase())
}
