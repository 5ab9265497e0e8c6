//! What functions of other images mean, by their names.

/// What a function of another image means to the analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Takes the lock its first argument points to.
    Lock,
    /// Tries to; the result that means it was taken.
    TryLock(u64),
    /// Drops it.
    Unlock,
    /// Does not return.
    Ends,
    /// Fills memory: where its first argument points to, with the byte in one argument,
    /// or with zeroes, as many bytes as another says.
    Fills(Option<u8>, u8),
    /// Reads and writes what its arguments point to, and keeps none of them.
    Plain,
    /// The same, and gives back the memory that its first argument points to.
    Frees,
    /// Returns its argument.
    Same,
    /// Anything.
    Opaque,
}

/// The functions that are known, by symbol.
const KNOWN: &[(&str, Meaning)] = &[
    ("_os_unfair_lock_lock", Meaning::Lock),
    ("_os_unfair_lock_lock_with_options", Meaning::Lock),
    ("_os_unfair_lock_lock_with_flags", Meaning::Lock),
    ("_os_unfair_recursive_lock_lock_with_options", Meaning::Lock),
    ("_pthread_mutex_lock", Meaning::Lock),
    ("_pthread_rwlock_wrlock", Meaning::Lock),
    ("_objc_sync_enter", Meaning::Lock),
    ("_OSSpinLockLock", Meaning::Lock),
    ("__ZNSt3__15mutex4lockEv", Meaning::Lock),
    ("__ZNSt3__115recursive_mutex4lockEv", Meaning::Lock),
    ("_os_unfair_lock_trylock", Meaning::TryLock(1)),
    ("_OSSpinLockTry", Meaning::TryLock(1)),
    ("_pthread_mutex_trylock", Meaning::TryLock(0)),
    ("__ZNSt3__15mutex8try_lockEv", Meaning::TryLock(1)),
    ("_os_unfair_lock_unlock", Meaning::Unlock),
    ("_os_unfair_recursive_lock_unlock", Meaning::Unlock),
    ("_pthread_mutex_unlock", Meaning::Unlock),
    ("_pthread_rwlock_unlock", Meaning::Unlock),
    ("_objc_sync_exit", Meaning::Unlock),
    ("_OSSpinLockUnlock", Meaning::Unlock),
    ("__ZNSt3__15mutex6unlockEv", Meaning::Unlock),
    ("__ZNSt3__115recursive_mutex6unlockEv", Meaning::Unlock),
    ("_abort", Meaning::Ends),
    ("_exit", Meaning::Ends),
    ("___stack_chk_fail", Meaning::Ends),
    ("___assert_rtn", Meaning::Ends),
    ("__Unwind_Resume", Meaning::Ends),
    ("___cxa_throw", Meaning::Ends),
    ("___cxa_rethrow", Meaning::Ends),
    ("_objc_exception_throw", Meaning::Ends),
    ("_objc_terminate", Meaning::Ends),
    ("__ZSt9terminatev", Meaning::Ends),
    ("_free", Meaning::Frees),
    ("__ZdlPv", Meaning::Frees),
    ("__ZdlPvm", Meaning::Frees),
    ("__ZdaPv", Meaning::Frees),
    ("__ZdaPvm", Meaning::Frees),
    ("_bzero", Meaning::Fills(None, 1)),
    ("___bzero", Meaning::Fills(None, 1)),
    ("__platform_bzero", Meaning::Fills(None, 1)),
    ("_memset", Meaning::Fills(Some(1), 2)),
    ("___memset_chk", Meaning::Fills(Some(1), 2)),
    ("__platform_memset", Meaning::Fills(Some(1), 2)),
    ("_memset_s", Meaning::Fills(Some(2), 3)),
    ("_os_unfair_lock_assert_owner", Meaning::Plain),
    ("_os_unfair_lock_assert_not_owner", Meaning::Plain),
    ("_objc_retain", Meaning::Same),
    ("_objc_retainAutoreleasedReturnValue", Meaning::Same),
    ("_objc_autorelease", Meaning::Same),
];

/// The name as the table has it; empty for a function that is not in it.
pub fn known(name: &str) -> &'static str {
    KNOWN.iter().find(|(known, _)| *known == name).map_or("", |(known, _)| known)
}

/// What a function means.
pub fn meaning(name: &str) -> Meaning {
    KNOWN.iter().find(|(known, _)| *known == name).map_or(Meaning::Opaque, |(_, meaning)| *meaning)
}
