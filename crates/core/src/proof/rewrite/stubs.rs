//! What the functions are for that an image calls, by their names.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::VmAddr;
use crate::error::Result;
use crate::macho::Image;

/// Where the functions are called that take a lock or give a lock or memory back: the
/// addresses of stubs, and of the cells through which code calls that does without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stubs {
    /// Stubs of the functions that take a lock.
    pub lock: BTreeSet<VmAddr>,
    /// Stubs of those that take it by an option, their second argument.
    pub lock_with_options: BTreeSet<VmAddr>,
    /// Stubs of the functions that release a lock.
    pub unlock: BTreeSet<VmAddr>,
    /// Stubs of `free` and of the deletes that take nothing but a pointer.
    pub free: BTreeSet<VmAddr>,
    /// Stubs of the deletes that take a size as well.
    pub free_sized: BTreeSet<VmAddr>,
    /// Stubs of functions that end the program.
    pub ends: BTreeSet<VmAddr>,
    /// Stubs of functions that throw.
    pub throws: BTreeSet<VmAddr>,
    /// Stubs of functions of the system that use nothing but their arguments.
    pub inert: BTreeSet<VmAddr>,
    /// Stubs of functions that copy as many bytes as their third argument says, from where
    /// their second points to where their first does.
    pub copies: BTreeSet<VmAddr>,
    /// Stubs of functions that fill memory where their first argument points.
    pub fills: BTreeMap<VmAddr, Fills>,
}

/// Which arguments of a function that fills memory say how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fills {
    /// The register with the byte; none for a function that fills with zeroes.
    pub byte: Option<u8>,
    /// The register with the number of bytes.
    pub count: u8,
    /// Whether it returns its first argument; else nothing.
    pub returns: bool,
}

/// Functions that take the lock that is their argument, and do nothing else.
const LOCKS: [&str; 6] = [
    "_os_unfair_lock_lock",
    "_pthread_mutex_lock",
    "_pthread_rwlock_wrlock",
    "_OSSpinLockLock",
    "__ZNSt3__15mutex4lockEv",
    "__ZNSt3__115recursive_mutex4lockEv",
];
/// The same, with an option as the second argument.
const LOCKS_WITH_OPTIONS: [&str; 3] = [
    "_os_unfair_lock_lock_with_options",
    "_os_unfair_lock_lock_with_flags",
    "_os_unfair_recursive_lock_lock_with_options",
];
/// Functions that release the lock that is their argument, and do nothing else.
const UNLOCKS: [&str; 7] = [
    "_os_unfair_lock_unlock",
    "_os_unfair_recursive_lock_unlock",
    "_pthread_mutex_unlock",
    "_pthread_rwlock_unlock",
    "_OSSpinLockUnlock",
    "__ZNSt3__15mutex6unlockEv",
    "__ZNSt3__115recursive_mutex6unlockEv",
];
/// Functions that give back the memory their argument points to, or do nothing for NULL.
const FREES: [&str; 3] = ["_free", "__ZdlPv", "__ZdaPv"];
/// The same, with a size as the second argument.
const FREES_SIZED: [&str; 2] = ["__ZdlPvm", "__ZdaPvm"];
/// Functions that end the program.
const ENDS: [&str; 6] = [
    "_abort",
    "_exit",
    "___stack_chk_fail",
    "___assert_rtn",
    "__ZSt9terminatev",
    "_objc_terminate",
];
/// Functions that throw and do not return.
const THROWS: [&str; 4] =
    ["__Unwind_Resume", "___cxa_throw", "___cxa_rethrow", "_objc_exception_throw"];
/// Functions that copy memory.
const COPIES: [&str; 4] = ["_memcpy", "_memmove", "___memcpy_chk", "___memmove_chk"];
/// Functions of the system that neither keep nor change an object of the program: they
/// look at a lock, at the clock, or at what is to be logged, or wake other threads.
const INERT: [&str; 17] = [
    "_os_unfair_lock_assert_owner",
    "_os_unfair_lock_assert_not_owner",
    "___cxa_begin_catch",
    "__os_log_impl",
    "__os_log_debug_impl",
    "__os_log_error_impl",
    "__os_log_fault_impl",
    "_os_log_type_enabled",
    "_mach_absolute_time",
    "_mach_continuous_time",
    "_clock_gettime_nsec_np",
    "_os_signpost_enabled",
    "__os_signpost_emit_with_name_impl",
    "_kdebug_trace",
    "_pthread_cond_signal",
    "_pthread_cond_broadcast",
    "_dispatch_semaphore_signal",
];
/// Functions that fill memory.
const FILLS: [(&str, Fills); 6] = [
    ("_bzero", ZEROES),
    ("___bzero", ZEROES),
    ("__platform_bzero", ZEROES),
    ("_memset", BYTES),
    ("___memset_chk", BYTES),
    ("__platform_memset", BYTES),
];
const ZEROES: Fills = Fills { byte: None, count: 1, returns: false };
const BYTES: Fills = Fills { byte: Some(1), count: 2, returns: true };

impl Stubs {
    /// The stubs of an image, by name.
    pub fn of(image: &Image<'_>) -> Result<Stubs> {
        let mut stubs = Stubs::default();
        for stub in image.stubs()?.into_iter().chain(image.pointers()?) {
            if let Some((_, fills)) = FILLS.iter().find(|(name, _)| *name == stub.name) {
                stubs.fills.insert(stub.address, *fills);
            }
            let of_kind = match stub.name {
                name if UNLOCKS.contains(&name) => &mut stubs.unlock,
                name if LOCKS.contains(&name) => &mut stubs.lock,
                name if LOCKS_WITH_OPTIONS.contains(&name) => &mut stubs.lock_with_options,
                name if ENDS.contains(&name) => &mut stubs.ends,
                name if THROWS.contains(&name) => &mut stubs.throws,
                name if INERT.contains(&name) => &mut stubs.inert,
                name if FREES.contains(&name) => &mut stubs.free,
                name if COPIES.contains(&name) => &mut stubs.copies,
                name if FREES_SIZED.contains(&name) => &mut stubs.free_sized,
                _ => continue,
            };
            of_kind.insert(stub.address);
        }
        Ok(stubs)
    }
}
