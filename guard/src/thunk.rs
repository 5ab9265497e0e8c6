//! One thunk for each hooked method, whatever its signature.
//!
//! A thunk says which one it is and joins a common path. That path saves all a caller may pass in registers (x0-x8, q0-q7),
//! asks `agx_guard_enter`, puts everything back, the stack pointer too, and calls the original with its arguments exactly where
//! they were: those on the stack are not touched, so their number and types need not be known. The address to return to cannot
//! stay on the stack for the same reason; `enter` keeps it for the thread. When the original returns, its results (x0, x1, q0-q3,
//! and x8's memory) are kept while `agx_guard_leave` closes the call and says where to return to.
//!
//! A refused call returns zero in every result register; `enter` has cleared the memory at x8 where the method returns a
//! structure there.
//!
//! Frame pointers are kept up, so a backtrace goes through, less the one caller whose return address lies elsewhere. There is no
//! unwind information: an exception thrown through a guarded method ends the process, as the driver's own would.

use core::arch::global_asm;

use crate::entry::{agx_guard_enter, agx_guard_leave};

/// How many methods can be hooked.
pub const SLOTS: usize = 4096;
/// Bytes of one thunk: two instructions.
pub const THUNK: usize = 8;
/// Bytes the common path takes from the stack on the way in.
pub const SAVED: usize = 224;
/// Where in them x8 lies.
pub const SAVED_X8: usize = 80;

#[cfg(target_os = "macos")]
macro_rules! symbol {
    ($name:literal) => {
        concat!("_", $name)
    };
}
#[cfg(not(target_os = "macos"))]
macro_rules! symbol {
    ($name:literal) => {
        $name
    };
}

global_asm!(
    ".text",
    ".p2align 4",
    concat!(".globl ", symbol!("agx_guard_thunks")),
    concat!(symbol!("agx_guard_thunks"), ":"),
    ".rept {slots}",
    "adr x16, .",
    "b 77f",
    ".endr",
    "77:",
    "stp x29, x30, [sp, #-{saved}]!",
    "mov x29, sp",
    "stp x0, x1, [sp, #16]",
    "stp x2, x3, [sp, #32]",
    "stp x4, x5, [sp, #48]",
    "stp x6, x7, [sp, #64]",
    "str x8, [sp, #{x8}]",
    "stp q0, q1, [sp, #96]",
    "stp q2, q3, [sp, #128]",
    "stp q4, q5, [sp, #160]",
    "stp q6, q7, [sp, #192]",
    "mov x1, x16",
    "mov x2, x30",
    "mov x3, sp",
    "adr x4, 78f",
    "bl {enter}",
    "mov x16, x0",
    "ldp x0, x1, [sp, #16]",
    "ldp x2, x3, [sp, #32]",
    "ldp x4, x5, [sp, #48]",
    "ldp x6, x7, [sp, #64]",
    "ldr x8, [sp, #{x8}]",
    "ldp q0, q1, [sp, #96]",
    "ldp q2, q3, [sp, #128]",
    "ldp q4, q5, [sp, #160]",
    "ldp q6, q7, [sp, #192]",
    "ldp x29, x30, [sp], #{saved}",
    "cbz x16, 79f",
    "blr x16",
    "78:",
    "stp x29, x30, [sp, #-96]!",
    "mov x29, sp",
    "stp x0, x1, [sp, #16]",
    "stp q0, q1, [sp, #32]",
    "stp q2, q3, [sp, #64]",
    "bl {leave}",
    "mov x30, x0",
    "ldp x0, x1, [sp, #16]",
    "ldp q0, q1, [sp, #32]",
    "ldp q2, q3, [sp, #64]",
    "ldr x29, [sp], #96",
    "ret",
    "79:",
    "mov x0, xzr",
    "mov x1, xzr",
    "movi v0.2d, #0",
    "movi v1.2d, #0",
    "movi v2.2d, #0",
    "movi v3.2d, #0",
    "ret",
    slots = const SLOTS,
    saved = const SAVED,
    x8 = const SAVED_X8,
    enter = sym agx_guard_enter,
    leave = sym agx_guard_leave,
);

unsafe extern "C" {
    static agx_guard_thunks: u8;
}

/// The first thunk's address.
#[inline(always)]
pub fn table() -> usize {
    &raw const agx_guard_thunks as usize
}

/// The address of a slot's thunk.
pub fn address(slot: usize) -> usize {
    table() + slot * THUNK
}

/// Whether some code is a thunk.
pub fn is_thunk(code: usize) -> bool {
    (table()..table() + SLOTS * THUNK).contains(&code)
}
