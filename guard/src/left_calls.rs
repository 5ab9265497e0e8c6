//! Calls that are left without a return: by an exception, by `longjmp`, or because their thread
//! ends inside. They are closed all the same, for they hold a lock that another thread may wait
//! for.

use core::ffi::{c_int, c_void};

use crate::counters::Counter;
use crate::entry;
use crate::thread::Thread;
use crate::thunk;

const CLEANUP_PHASE: c_int = 2;
const CONTINUE_UNWIND: c_int = 8;

unsafe extern "C" {
    fn _Unwind_GetCFA(context: *mut c_void) -> usize;
}

/// Called by the unwinder for an exception that passes through a guarded call: nothing here catches
/// it, and once it is certain that it passes, the calls it leaves are closed. So no other thread
/// waits until this one comes to the guard again.
///
/// # Safety
/// Called by the unwinder alone.
pub unsafe extern "C" fn agx_guard_unwind(
    _version: c_int,
    actions: c_int,
    _class: u64,
    _exception: *mut c_void,
    context: *mut c_void,
) -> c_int {
    if actions & CLEANUP_PHASE != 0 {
        // SAFETY: the unwinder's own context. libgcc and libunwind both answer the stack pointer
        // inside the frame, which is the end of the frame it called.
        let stack = unsafe { _Unwind_GetCFA(context) } + thunk::SAVED;
        let thread = entry::current();
        while thread.is_top_stale(stack, 0, 1) {
            close_left_call(thread);
        }
    }
    CONTINUE_UNWIND
}

/// Closes every call a thread is inside of: it has ended there, and no other thread could use its
/// encoders otherwise.
pub fn close_all(thread: &Thread) {
    while thread.is_inside() {
        close_left_call(thread);
    }
}

/// Closes the innermost call of a thread, which is inside of it no more.
#[cold]
#[inline(never)]
pub fn close_left_call(thread: &Thread) {
    if let Some(frame) = thread.pop() {
        thread.tally.add(Counter::Unwound);
        entry::close(thread, &frame, 0);
    }
}
