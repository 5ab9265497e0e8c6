//! Names: libraries, imported functions, and C++ functions by the thousand.
//!
//! Those of the published crash reports are spelled as there; the others follow
//! the same scheme and mean nothing.

use super::variant::Build;

/// The libraries linked, in the order of their load commands.
pub(super) const LIBRARIES: &[&str] = &[
    "/usr/lib/libSystem.B.dylib",
    "/usr/lib/libobjc.A.dylib",
    "/System/Library/Frameworks/CoreFoundation.framework/Versions/A/CoreFoundation",
    "/System/Library/Frameworks/Metal.framework/Versions/A/Metal",
    "/System/Library/PrivateFrameworks/IOGPU.framework/Versions/A/IOGPU",
];

pub(super) const SYSTEM: u8 = 1;
pub(super) const OBJC: u8 = 2;
pub(super) const CORE_FOUNDATION: u8 = 3;
pub(super) const METAL: u8 = 4;
pub(super) const IOGPU: u8 = 5;

/// The imported functions in the order of their stubs, which is the alphabet's.
/// `free` and `os_unfair_lock_unlock` are fifty apart, as published.
pub(super) const STUBS: &[&str] = &[
    "_CFArrayGetCount",
    "_CFArrayGetValueAtIndex",
    "_CFDictionaryGetValue",
    "_CFRelease",
    "_CFRetain",
    "_IOGPUResourceListAddResource",
    "_MTLResourceListAddResource",
    "__Block_copy",
    "__Block_release",
    "__ZdlPv",
    "___assert_rtn",
    "___error",
    "_abort",
    "_bzero",
    "_calloc",
    "_dispatch_async",
    "_dispatch_once",
    "_dispatch_queue_create",
    "_dispatch_release",
    "_dispatch_semaphore_signal",
    "_dispatch_semaphore_wait",
    "_dispatch_sync",
    "_fclose",
    "_fopen",
    "_fprintf",
    "_free",
    "_fwrite",
    "_getenv",
    "_getpid",
    "_mach_absolute_time",
    "_mach_error_string",
    "_mach_port_deallocate",
    "_mach_vm_allocate",
    "_mach_vm_deallocate",
    "_malloc",
    "_malloc_size",
    "_memchr",
    "_memcmp",
    "_memcpy",
    "_memmove",
    "_memset",
    "_memset_pattern16",
    "_mmap",
    "_munmap",
    "_objc_alloc",
    "_objc_alloc_init",
    "_objc_autorelease",
    "_objc_autoreleasePoolPop",
    "_objc_autoreleasePoolPush",
    "_objc_autoreleaseReturnValue",
    "_objc_destroyWeak",
    "_objc_enumerationMutation",
    "_objc_getProperty",
    "_objc_initWeak",
    "_objc_loadWeakRetained",
    "_objc_msgSend",
    "_objc_msgSendSuper2",
    "_objc_opt_class",
    "_objc_opt_isKindOfClass",
    "_objc_opt_new",
    "_objc_opt_respondsToSelector",
    "_objc_release",
    "_objc_retain",
    "_objc_retainAutorelease",
    "_objc_retainAutoreleaseReturnValue",
    "_objc_retainAutoreleasedReturnValue",
    "_objc_setProperty_atomic",
    "_objc_setProperty_nonatomic_copy",
    "_objc_storeStrong",
    "_objc_storeWeak",
    "_os_log_create",
    "_os_log_type_enabled",
    "_os_signpost_enabled",
    "_os_unfair_lock_assert_owner",
    "_os_unfair_lock_lock",
    "_os_unfair_lock_unlock",
    "_pthread_getspecific",
    "_pthread_mutex_lock",
    "_pthread_mutex_unlock",
    "_pthread_once",
    "_pthread_setspecific",
    "_snprintf",
    "_strcmp",
    "_strdup",
    "_strlen",
    "_strncmp",
    "_strtol",
    "_sysctlbyname",
];

/// The library an imported function comes from.
pub(super) fn library(name: &str) -> u8 {
    match name {
        _ if name.starts_with("_objc_") || name.starts_with("__objc_") => OBJC,
        _ if name.starts_with("_CF") => CORE_FOUNDATION,
        _ if name.starts_with("_MTL") => METAL,
        _ if name.contains("IOGPU") => IOGPU,
        _ if name.starts_with("_OBJC_") => OBJC,
        _ => SYSTEM,
    }
}

/// The class object of blocks on the stack.
pub(super) const STACK_BLOCK: &str = "__NSConcreteStackBlock";

/// The function of the block in `destroyImpl`.
pub(super) const BLOCK_INVOKE: &str =
    "___42-[AGXG16XFamilyComputeContext destroyImpl]_block_invoke";
/// The destructor of a deque of words.
pub(super) const DEQUE_DESTRUCTOR: &str = "__ZNSt3__15dequeIyNS_9allocatorIyEEED1Ev";
/// `AGX::ComputeContext<…>::~ComputeContext()`, where it is not inlined into its caller.
pub(super) const COMPUTE_DESTRUCTOR: &str = "__ZN3AGX14ComputeContextINS_6HAL2008EncodersENS1_7ClassesENS1_10ObjClassesENS1_28EncoderComputeServiceClassesEED1Ev";
/// `AGX::RenderContext<…>::~RenderContext()`.
pub(super) const RENDER_DESTRUCTOR: &str =
    "__ZN3AGX13RenderContextINS_6HAL2008EncodersENS1_7ClassesENS1_10ObjClassesEED1Ev";
/// `AGX::ComputeContext<…>::endComputePass(…)`.
pub(super) const END_COMPUTE_PASS: &str = "__ZN3AGX14ComputeContextINS_6HAL2008EncodersENS1_7ClassesENS1_10ObjClassesENS1_28EncoderComputeServiceClassesEE14endComputePassEb";
/// `AGX::ContextCommon<…>::useResourceCommon(…)`.
pub(super) const USE_RESOURCE_COMMON: &str = "__ZN3AGX13ContextCommonINS_6HAL2008EncodersENS1_7ClassesENS1_10ObjClassesEE17useResourceCommonEPvmmm";
/// `AGX::ComputeContext<…>::prepareForEnqueue(bool)`.
pub(super) const PREPARE_FOR_ENQUEUE: &str = "__ZN3AGX14ComputeContextINS_6HAL2008EncodersENS1_7ClassesENS1_10ObjClassesENS1_28EncoderComputeServiceClassesEE17prepareForEnqueueEb";
/// `AGX::SpillInfoGen3<…>::allocateUSCSpillBuffer(…)`.
pub(super) const ALLOCATE_USC_SPILL_BUFFER: &str =
    "__ZN3AGX13SpillInfoGen3INS_6HAL2008EncodersENS1_7ClassesEE22allocateUSCSpillBufferEPvj";

/// Mangled name of the filler function of that number.
pub(super) fn function(number: usize) -> String {
    const CLASSES: [&str; 8] = [
        "ContextCommon",
        "ComputeContext",
        "RenderContext",
        "BlitContext",
        "Device",
        "Heap",
        "ResourceGroupUsage",
        "UserCommonShaderFactory",
    ];
    const VERBS: [&str; 8] =
        ["bind", "emit", "encode", "flush", "prepare", "reserve", "resolve", "update"];
    const NOUNS: [&str; 8] =
        ["Buffer", "Descriptor", "Fence", "Sampler", "Segment", "State", "Texture", "Uniform"];
    let pick = |from: &[&'static str; 8], by: usize| from[by % 8];
    let class = pick(&CLASSES, number / 64);
    let name = format!("{}{}{number}", pick(&VERBS, number), pick(&NOUNS, number / 8));
    format!("__ZN3AGX{}{class}{}{name}Ejb", class.len(), name.len())
}

/// Build 329.2, or one that came after it.
pub(super) fn source_version(build: Build) -> u64 {
    match build {
        Build::Published => super::facts::SOURCE_VERSION,
        Build::Other => 331 << 40 | 4 << 30,
        Build::Later => 347 << 40 | 6 << 30,
    }
}

/// LC_UUID of a build: the published one, or one made up.
pub(super) fn uuid_of(build: Build) -> [u8; 16] {
    match build {
        Build::Published => super::facts::UUID,
        Build::Other => uuid(0x330),
        Build::Later => uuid(0x347),
    }
}

/// A UUID of version 4 made up from a number.
pub(super) fn uuid(seed: u64) -> [u8; 16] {
    let mut random = super::random::Random::new(seed);
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = random.next() as u8;
    }
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

#[cfg(test)]
mod tests {
    use super::STUBS;

    #[test]
    fn the_published_stubs_are_as_far_apart_as_published() {
        let index = |name| STUBS.iter().position(|stub| *stub == name).unwrap();
        let apart = index("_os_unfair_lock_unlock") - index("_free");
        assert_eq!(apart * 16, 0x6d_49e4 - 0x6d_46c4);
    }
}
