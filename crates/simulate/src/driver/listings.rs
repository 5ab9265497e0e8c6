//! The text of `destroyImpl`, part by part.
//!
//! The method is a C++ template's: a test, a destructor inlined, the block's
//! return to its pool. The window is published; the rest is code of our own
//! that does what the same template is known to do in other builds, in a
//! compiler's idiom for arm64e. `{s0}` to `{s3}` are registers that the method
//! has no other use for and that calls leave alone.

use super::frames::{enter, leave};

pub(super) const PROLOGUE: &str = concat!(
    enter!(all),
    "
    mov   {this}, x0
    adrp  x8, {impl_cell}
    ldrsw {ivar}, [x8, {impl_cell_low}]
    ldr   x8, [x0, {ivar}]
    cbz   x8, {done}                 // the first test
    bl    {send_device}
    ldr   {device}, [x0, {device_field}]
    ldr   {impl}, [{this}, {ivar}]
",
);

/// A part of the block goes to a freelist of sixteen: another push, under another
/// lock, and no store to an instance variable.
pub(super) const PART: &str = "
    ldr   {s0}, [{impl}, #0x6a0]
    cbz   {s0}, {no_part}
    mov   {s1_w}, {part_lock}
    add   x0, {device}, {s1}
    bl    {lock_stub}
    ldr   w8, [{device}, {part_count}]
    cmp   w8, {part_last}
    b.hi  {part_full}
    add   w10, w8, #1
    str   w10, [{device}, {part_count}]
    add   x9, {device}, x8, lsl #3
    str   {s0}, [x9, {part_slots}]
    add   x0, {device}, {s1}
    bl    {unlock}
    b     {part_gone}
part_full:
    add   x0, {device}, {s1}
    bl    {unlock}
    mov   x0, {s0}
    bl    {free}
part_gone:
    str   xzr, [{impl}, #0x6a0]
no_part:
";

/// For every bit of four masks a block runs on the device's queue. The block
/// lies on the stack, its pointers signed as the arm64e ABI has it.
pub(super) const FENCES: &str = "
    adrp  x8, {block_flags}
    ldr   d8, [x8, {block_flags_low}]
    add   {s0}, {impl}, #0x700
    mov   {s1}, #0
fence_mask:
    ldr   {s2}, [{s0}, {s1}, lsl #3]
    cbz   {s2}, {next_fence_mask}
fence:
    rbit  x8, {s2}
    clz   {s3}, x8
    adrp  x16, {stack_block}
    ldr   x16, [x16, {stack_block_low}]
    mov   x17, sp
    movk  x17, #0x6ae1, lsl #48
    pacda x16, x17
    adrp  x8, {block_invoke}
    add   x8, x8, {block_invoke_low}
    add   x17, sp, #0x10
    pacia x8, x17
    adrp  x9, {block_descriptor}
    add   x9, x9, {block_descriptor_low}
    add   x17, sp, #0x18
    movk  x17, #0xc0bb, lsl #48
    pacda x9, x17
    str   x16, [sp]
    str   d8, [sp, #0x8]
    stp   x8, x9, [sp, #0x10]
    add   x8, {s3}, {s1}, lsl #6
    stp   {impl}, x8, [sp, #0x20]
    ldr   x0, [{device}, #0x2f8]
    mov   x1, sp
    bl    {dispatch_sync}
    sub   x8, {s2}, #1
    ands  {s2}, {s2}, x8
    b.ne  {fence}
next_fence_mask:
    add   {s1}, {s1}, #1
    cmp   {s1}, #4
    b.ne  {fence_mask}
";

/// A vector of owned pointers, and its storage.
pub(super) const VECTOR: &str = "
    ldr   {s0}, [{impl}, #0x7c0]
    ldr   {s1}, [{impl}, #0x7c8]
    cmp   {s0}, {s1}
    b.eq  {no_owned}
owned:
    ldr   x0, [{s0}], #8
    cbz   x0, {next_owned}
    bl    {operator_delete}
next_owned:
    cmp   {s0}, {s1}
    b.ne  {owned}
no_owned:
    ldr   x0, [{impl}, #0x7c0]
    cbz   x0, {no_storage}
    str   x0, [{impl}, #0x7c8]
    bl    {operator_delete}
no_storage:
";

/// A list's nodes.
pub(super) const LIST: &str = "
    ldr   {s0}, [{impl}, #0x808]
    cbz   {s0}, {no_nodes}
node:
    ldr   {s1}, [{s0}]
    mov   x0, {s0}
    bl    {operator_delete}
    mov   {s0}, {s1}
    cbnz  {s0}, {node}
no_nodes:
";

/// A deque, whose destructor is called.
pub(super) const DEQUE: &str = "
    add   x0, {impl}, #0x820
    bl    {deque_destructor}
";

/// An array of plain allocations.
pub(super) const ARRAY: &str = "
    ldr   {s1_w}, [{impl}, #0x8f8]
    cbz   {s1_w}, {no_array}
    add   {s0}, {impl}, #0x900
entry:
    ldr   x0, [{s0}], #8
    bl    {free}
    subs  {s1_w}, {s1_w}, #1
    b.ne  {entry}
no_array:
";

/// The destructor, called, as the drivers of macOS 26 have it.
pub(super) const CALL: &str = "
    mov   x0, {impl}
    bl    {compute_destructor}
";

/// The destructor's beginning, where it is a function of its own.
pub(super) const DESTRUCTOR_PROLOGUE: &str = concat!(
    enter!(all),
    "
    mov   {impl}, x0
    ldr   {device}, [x0, #0x10]
",
);

/// Loads the block again. This test is the third way to the clear.
pub(super) const RELOAD: &str = "
    ldr   {impl}, [{this}, {ivar}]
    cbz   {impl}, {third}
";

/// The same with a call between the load and the test.
pub(super) const RELOAD_BEFORE_A_CALL: &str = "
    ldr   {impl}, [{this}, {ivar}]
    mov   x0, {device}
    bl    {objc_release}
    cbz   {impl}, {third}
";

/// The same with a test of something else.
pub(super) const RELOAD_WITHOUT_A_TEST: &str = "
    ldr   {impl}, [{this}, {ivar}]
    ldr   x8, [{device}, #0x2f8]
    cbz   x8, {third}
";

/// Takes the pool's lock and compares its count with what the pool can hold.
pub(super) const TAKE: &str = "
    mov   {lock_w}, {lock_offset}
    add   x0, {device}, {lock}
    bl    {lock_stub}
    ldr   w8, [{device}, {count}]
    cmp   w8, {last}
";

/// The published words and, between the first and the second, three added ones.
pub(super) const ORIGINAL: &str = "
    b.hi  {full}
    add   w10, w8, #1
    str   w10, [{device}, {count}]
    add   {slot}, {device}, x8, lsl #3
    str   {impl}, [{slot}, {slots}]
    add   x0, {device}, {lock}
    bl    {unlock}
    b     {clear}
full:
    add   x0, {device}, {lock}
    bl    {unlock}
    mov   x0, {impl}
    bl    {free}
clear:
    str   xzr, [{this}, {ivar}]
";

/// The published rewrite: clears first on both paths, and has no room for `free`.
pub(super) const LEGACY: &str = "
    b.hi  {full}
    add   w10, w8, #1
    str   w10, [{device}, {count}]
    add   {slot}, {device}, x8, lsl #3
    str   {impl}, [{slot}, {slots}]
    str   xzr, [{this}, {ivar}]
    add   x0, {device}, {lock}
    bl    {unlock}
    b     {done}
full:
    str   xzr, [{this}, {ivar}]
    add   x0, {device}, {lock}
    bl    {unlock}
clear:
    b     {done}
";

/// What a compiler makes of source that clears the field under the lock.
pub(super) const CORRECT: &str = "
    b.hi  {full}
    add   w10, w8, #1
    str   w10, [{device}, {count}]
    add   {slot}, {device}, x8, lsl #3
    str   {impl}, [{slot}, {slots}]
    str   xzr, [{this}, {ivar}]
    add   x0, {device}, {lock}
    bl    {unlock}
    b     {done}
full:
    str   xzr, [{this}, {ivar}]
    add   x0, {device}, {lock}
    bl    {unlock}
    mov   x0, {impl}
    bl    {free}
";

pub(super) const EPILOGUE: &str = concat!(
    leave!(all),
    "
    retab
",
);

/// The same, of a method that returns the pointer it gave away.
pub(super) const EPILOGUE_IMPL_LIVE: &str = concat!(
    "
    ldp   x29, x30, [sp, #0x90]
    mov   x0, {impl}
",
    leave!(all but the record),
    "
    retab
",
);

/// The function of the block that the fence loop runs.
pub(super) const BLOCK_INVOKE: &str = concat!(
    enter!(x20),
    "
    ldp   x19, x20, [x0, #0x20]
    mov   x0, x19
    mov   x1, x20
    bl    {neighbour}
",
    leave!(x20),
    "
    retab
",
);

/// What is destroyed, in order.
pub(super) fn destructor() -> String {
    [PART, FENCES, VECTOR, LIST, DEQUE, ARRAY].concat()
}
