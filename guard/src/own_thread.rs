//! The calling thread's block, found with as little as the system allows: every guarded call needs it twice.

use core::ffi::c_void;

use crate::entry::THREADS;
use crate::left_calls::close_all;
use crate::sync::Ordering;
use crate::sys;
use crate::thread::Thread;

/// A thread ends. One that ends inside calls, by `pthread_exit`, leaves them now.
fn end_of(thread: &Thread) {
    close_all(thread);
    THREADS.give_back(thread);
}

pub use system::{block, is_direct, known, start};

#[cfg(target_os = "linux")]
mod system {
    use super::*;
    use crate::sync::AtomicU32;
    use core::cell::Cell;

    #[thread_local]
    static BLOCK: Cell<*const Thread> = Cell::new(core::ptr::null());
    static KEY: AtomicU32 = AtomicU32::new(0);

    unsafe extern "C" fn gone(block: *mut c_void) {
        // SAFETY: the key's value is a block of the registry.
        end_of(unsafe { &*block.cast::<Thread>() });
        BLOCK.set(core::ptr::null());
    }

    pub fn start() {
        let mut key = 0;
        // SAFETY: `key` is a valid place for the answer, `gone` has the destructor's signature.
        unsafe { sys::pthread_key_create(&mut key, Some(gone)) };
        KEY.store(key, Ordering::Relaxed);
    }

    /// Whether [`known`] answers at all.
    pub fn is_direct() -> bool {
        true
    }

    /// The calling thread's block, if it has one.
    #[inline(always)]
    pub fn known() -> Option<&'static Thread> {
        // SAFETY: NULL or a block of the registry, which is never given back.
        unsafe { BLOCK.get().as_ref() }
    }

    pub fn block() -> &'static Thread {
        known().unwrap_or_else(first_use)
    }

    #[cold]
    #[inline(never)]
    fn first_use() -> &'static Thread {
        let thread = THREADS.take();
        BLOCK.set(thread);
        // SAFETY: the key exists since `start`.
        unsafe {
            sys::pthread_setspecific(
                KEY.load(Ordering::Relaxed),
                core::ptr::from_ref(thread).cast(),
            )
        };
        thread
    }
}

/// On a Mac a thread's specific values lie in an array TPIDRRO_EL0 points to, and
/// `pthread_getspecific` is one load from it. A call to it would cost the short way its registers,
/// so the load is done in place; `start` sees first that it is what the call answers, and where it
/// is not, no call takes the short way.
#[cfg(target_os = "macos")]
mod system {
    use super::*;
    use crate::sync::AtomicU64;

    static KEY: AtomicU64 = AtomicU64::new(0);
    /// The key once more where the load in place is good; 0, which is never our key, where it is not.
    static DIRECT: AtomicU64 = AtomicU64::new(0);

    unsafe extern "C" fn gone(block: *mut c_void) {
        // SAFETY: the key's value is a block of the registry.
        end_of(unsafe { &*block.cast::<Thread>() });
    }

    pub fn start() {
        let mut key = 0;
        // SAFETY: `key` is a valid place for the answer, `gone` has the destructor's signature; the
        // value set is a block.
        unsafe {
            sys::pthread_key_create(&mut key, Some(gone));
            KEY.store(key, Ordering::Relaxed);
            let block = core::ptr::from_ref(first_use());
            if key < 512 && specific(key) == block {
                DIRECT.store(key, Ordering::Relaxed);
            }
        }
    }

    /// Whether [`known`] answers at all.
    pub fn is_direct() -> bool {
        DIRECT.load(Ordering::Relaxed) != 0
    }

    #[inline(always)]
    fn specific(key: u64) -> *const Thread {
        let base: usize;
        // SAFETY: reads a register every thread has; macOS keeps the array of at least 512 values there.
        unsafe {
            core::arch::asm!("mrs {}, tpidrro_el0", out(reg) base, options(nomem, nostack, preserves_flags, pure));
            *((base & !7) as *const *const Thread).add(key as usize)
        }
    }

    /// The calling thread's block, if it has one and the load in place is good.
    #[inline(always)]
    pub fn known() -> Option<&'static Thread> {
        let key = DIRECT.load(Ordering::Relaxed);
        if key == 0 {
            return None;
        }
        // SAFETY: NULL or a block of the registry, which is never given back.
        unsafe { specific(key).as_ref() }
    }

    pub fn block() -> &'static Thread {
        // SAFETY: NULL or a block of the registry, which is never given back.
        unsafe { sys::pthread_getspecific(KEY.load(Ordering::Relaxed)).cast::<Thread>().as_ref() }
            .unwrap_or_else(first_use)
    }

    #[cold]
    #[inline(never)]
    fn first_use() -> &'static Thread {
        let thread = THREADS.take();
        // SAFETY: the key exists since `start`.
        unsafe {
            sys::pthread_setspecific(
                KEY.load(Ordering::Relaxed),
                core::ptr::from_ref(thread).cast(),
            )
        };
        thread
    }
}
