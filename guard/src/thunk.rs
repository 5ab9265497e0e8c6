//! One thunk for each hooked method, whatever its signature.
//!
//! A thunk says which one it is and joins a common path. That path saves all a caller may pass in
//! registers (x0-x8, q0-q7), asks `agx_guard_enter`, and puts everything back. There are two such
//! paths.
//!
//! A method whose arguments all fit in registers, which its type encoding tells, is called from an
//! ordinary frame. The frame has unwind information, so a backtrace keeps every caller and an
//! exception passes through: on its way, [`agx_guard_unwind`] closes the call.
//!
//! Any other method may have arguments on the stack, and their number and types are not known, so
//! the original must find them exactly where they were: the stack pointer is put back too. The
//! address to return to cannot stay on the stack then; `enter` keeps it for the thread. Frame
//! pointers are kept up, so a backtrace goes through, less the one caller whose return address lies
//! elsewhere. No unwind information could say where, so an exception that is thrown through such a
//! method ends the process.
//!
//! When the original returns, its results (x0, x1, q0-q3, and x8's memory) are kept while
//! `agx_guard_leave` closes the call. A refused call returns zero in every result register; `enter`
//! has cleared the memory at x8 where the method returns a structure there.

use core::arch::global_asm;

use crate::entry::{agx_guard_enter, agx_guard_leave};
use crate::left_calls::agx_guard_unwind;

/// How many methods can be hooked.
pub const SLOTS: usize = 4096;
/// The first so many of them are for methods whose arguments fit in registers.
pub const FRAMED: usize = 3072;
/// Bytes of one thunk: two instructions.
pub const THUNK: usize = 8;
/// Bytes the common path takes from the stack on the way in.
pub const SAVED: usize = 224;
/// Where in them x8 lies.
pub const SAVED_X8: usize = 64;
/// Where in them the frame record lies.
pub const SAVED_FRAME: usize = SAVED - 16;
/// Where methods with arguments on the stack return to, from the end of the thunks on: 30 instructions.
const RETURN: usize = 30 * 4;
/// More than the bytes of either path.
const PATH: usize = 256;

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

/// Lines of unwind information. On a Mac they are for the assembler's own kind, which keeps none
/// that names the guard's function for exceptions, so [`compact_unwind`] says it there.
#[cfg(target_os = "macos")]
macro_rules! unwind {
    ($($line:literal),*) => {
        ""
    };
}
#[cfg(not(target_os = "macos"))]
macro_rules! unwind {
    ($($line:literal),*) => {
        concat!($($line, "\n"),*)
    };
}

/// The compact unwind entry of the framed path: where it begins and how long it is, a frame that
/// x29 points to and no other register saved in it, and the function to call for an exception.
#[cfg(target_os = "macos")]
macro_rules! compact_unwind {
    () => {
        concat!(
            ".section __LD,__compact_unwind,regular,debug\n",
            ".p2align 3\n",
            ".quad _agx_guard_framed\n",
            ".long 78b - _agx_guard_framed\n",
            ".long 0x04000000\n",
            ".quad {unwind}\n",
            ".quad 0\n",
            ".text\n",
        )
    };
}
#[cfg(not(target_os = "macos"))]
macro_rules! compact_unwind {
    () => {
        ""
    };
}

/// Returns zero, of whatever type.
macro_rules! zeroes {
    () => {
        "mov x0, xzr\nmov x1, xzr\nmovi v0.2d, #0\nmovi v1.2d, #0\nmovi v2.2d, #0\nmovi v3.2d, #0"
    };
}

/// Saves what a caller may pass in registers, below a frame record, and asks `enter`; then x16 is
/// its answer, all else as it was but the stack, where the frame still is.
macro_rules! ask {
    ($($before:expr),*) => {
        concat!(
            "sub sp, sp, #{saved}\n",
            "stp x29, x30, [sp, #{frame}]\n",
            "add x29, sp, #{frame}\n",
            $($before,)*
            "stp x0, x1, [sp]\n",
            "stp x2, x3, [sp, #16]\n",
            "stp x4, x5, [sp, #32]\n",
            "stp x6, x7, [sp, #48]\n",
            "str x8, [sp, #{x8}]\n",
            "stp q0, q1, [sp, #80]\n",
            "stp q2, q3, [sp, #112]\n",
            "stp q4, q5, [sp, #144]\n",
            "stp q6, q7, [sp, #176]\n",
            "mov x1, x16\n",
            "mov x2, x30\n",
            "mov x3, sp\n",
            "bl {enter}\n",
            "mov x16, x0\n",
            "ldp x0, x1, [sp]\n",
            "ldp x2, x3, [sp, #16]\n",
            "ldp x4, x5, [sp, #32]\n",
            "ldp x6, x7, [sp, #48]\n",
            "ldr x8, [sp, #{x8}]\n",
            "ldp q0, q1, [sp, #80]\n",
            "ldp q2, q3, [sp, #112]\n",
            "ldp q4, q5, [sp, #144]\n",
            "ldp q6, q7, [sp, #176]\n",
        )
    };
}

// The thunks, and the path of those whose arguments may lie on the stack: nothing of the guard's
// may lie below them. The frame is there while `enter` runs.
global_asm!(
    ".text",
    ".p2align 4",
    concat!(".globl ", symbol!("agx_guard_thunks")),
    concat!(symbol!("agx_guard_thunks"), ":"),
    ".rept {framed}",
    "adr x16, .",
    concat!("b ", symbol!("agx_guard_framed")),
    ".endr",
    ".rept {slots} - {framed}",
    "adr x16, .",
    "b 77f",
    ".endr",
    "77:",
    ask!(),
    "ldp x29, x30, [sp, #{frame}]",
    "add sp, sp, #{saved}",
    "cbz x16, 79f",
    "blr x16",
    "78:",
    ".if 78b - 77b - {returns}",
    ".error \"RETURN is not where methods return to\"",
    ".endif",
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
    zeroes!(),
    "ret",
    slots = const SLOTS,
    framed = const FRAMED,
    saved = const SAVED,
    frame = const SAVED_FRAME,
    x8 = const SAVED_X8,
    returns = const RETURN,
    enter = sym agx_guard_enter,
    leave = sym agx_guard_leave,
);

// The path of those whose arguments are in registers: an ordinary frame.
global_asm!(
    ".p2align 2",
    concat!(".globl ", symbol!("agx_guard_framed")),
    concat!(symbol!("agx_guard_framed"), ":"),
    unwind!(".cfi_startproc", ".cfi_personality 27, {unwind}"),
    ask!(unwind!(".cfi_def_cfa w29, 16", ".cfi_offset w30, -8", ".cfi_offset w29, -16")),
    "cbz x16, 79f",
    "blr x16",
    "stp x0, x1, [sp]",
    "stp q0, q1, [sp, #80]",
    "stp q2, q3, [sp, #112]",
    "bl {leave}",
    "ldp x0, x1, [sp]",
    "ldp q0, q1, [sp, #80]",
    "ldp q2, q3, [sp, #112]",
    "77:",
    "ldp x29, x30, [sp, #{frame}]",
    "add sp, sp, #{saved}",
    "ret",
    "79:",
    zeroes!(),
    "b 77b",
    "78:",
    unwind!(".cfi_endproc"),
    compact_unwind!(),
    saved = const SAVED,
    frame = const SAVED_FRAME,
    x8 = const SAVED_X8,
    enter = sym agx_guard_enter,
    leave = sym agx_guard_leave,
    unwind = sym agx_guard_unwind,
);

unsafe extern "C" {
    static agx_guard_thunks: u8;
    static agx_guard_framed: u8;
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
    (table()..address(SLOTS)).contains(&code)
}

/// Where the methods return to whose caller the thread's block keeps.
pub fn return_without_frame() -> usize {
    address(SLOTS) + RETURN
}

/// Whether a guarded method returns to `code`: a call from there is one that such a method made in
/// its own place, a tail call.
pub fn is_return(code: usize) -> bool {
    code == return_without_frame() || is_return_with_frame(code)
}

/// The same for the methods with an ordinary frame.
#[inline(always)]
pub fn is_return_with_frame(code: usize) -> bool {
    code.wrapping_sub(&raw const agx_guard_framed as usize) < PATH
}
