//! What other classes do with their blocks.
//!
//! The render encoder has a pool of its own, and a compiler wrote its method in
//! another way: it does the same thing in the same order and fits no signature.
//! On an older family it shares the compute encoders' pool and gives a second
//! block to a second pool. A command buffer ends as the compute encoder does, in
//! `dealloc`, where no other thread can hold it. A blit encoder has no pool.

use super::frames::{enter, leave, send_to_super};

/// `-[… RenderContext destroyImpl]`: the destructor is called, and the address of
/// the lock is kept in a register.
const RENDER: &str = concat!(
    enter!(x24),
    "
    mov   x19, x0
    adrp  x8, {impl_cell}
    ldrsw x20, [x8, {impl_cell_low}]
    ldr   x8, [x0, x20]
    cbz   x8, {done}
    bl    {send_device}
    ldr   x22, [x0, {device_field}]
    ldr   x0, [x19, x20]
    bl    {render_destructor}
    ldr   x21, [x19, x20]
    cbz   x21, {clear}
    mov   w8, {lock}
    add   x23, x22, x8
    mov   x0, x23
    bl    {lock_stub}
    ldr   w8, [x22, {count}]
    cmp   w8, {last}
    b.ls  {push}
    mov   x0, x23
    bl    {unlock}
    mov   x0, x21
    bl    {free}
    b     {clear}
push:
    add   w9, w8, #1
    str   w9, [x22, {count}]
    add   x8, x22, x8, lsl #3
    str   x21, [x8, {slots}]
    mov   x0, x23
    bl    {unlock}
clear:
    str   xzr, [x19, x20]
done:
",
    leave!(x24),
    "
    retab
",
);

/// The method as it is, or with the clear directly after the lock is taken.
pub(super) fn render(correct: bool) -> String {
    const LOCK: &str = "    bl    {lock_stub}\n";
    const CLEAR: &str = "    str   xzr, [x19, x20]\n";
    if !correct {
        return RENDER.to_owned();
    }
    RENDER
        .replace(&format!("clear:\n{CLEAR}"), "")
        .replace("{clear}", "{done}")
        .replace(LOCK, &format!("{LOCK}{CLEAR}"))
}

/// `destroyImpl` of an encoder whose block comes from the allocator and goes
/// back there.
pub(super) const WITHOUT_A_POOL: &str = concat!(
    enter!(x22),
    "
    mov   x19, x0
    adrp  x8, {impl_cell}
    ldrsw x21, [x8, {impl_cell_low}]
    ldr   x0, [x0, x21]
    cbz   x0, {done}
    bl    {render_destructor}
    ldr   x20, [x19, x21]
    cbz   x20, {clear}
    mov   x0, x20
    bl    {free}
clear:
    str   xzr, [x19, x21]
done:
",
    leave!(x22),
    "
    retab
",
);

/// `-[… CommandBuffer dealloc]` up to the return of its block to the pool.
pub(super) const COMMAND_BUFFER_DEALLOC: &str = concat!(
    enter!(all),
    "
    mov   {this}, x0
    bl    {send_commit_encoder}
    mov   x0, {this}
    bl    {send_device}
    ldr   {device}, [x0, {device_field}]
    adrp  x8, {impl_cell}
    ldrsw {ivar}, [x8, {impl_cell_low}]
",
);

/// And behind it: `[super dealloc]`.
pub(super) const SUPER_DEALLOC: &str =
    concat!(send_to_super!("{this}", "super_command_buffer", "selector_dealloc"),);

/// Behind the first block's return, on a family whose render encoder has a second
/// one: loads that.
pub(super) const SECOND_BLOCK: &str = "
    adrp  x8, {framebuffer_cell}
    ldrsw {ivar}, [x8, {framebuffer_cell_low}]
";

/// `-[… ComputeContext dealloc]`.
pub(super) const COMPUTE_DEALLOC: &str = concat!(
    enter!(super),
    "
    mov   x19, x0
    bl    {send_destroy}
",
    send_to_super!("x19", "super_compute", "selector_dealloc"),
    leave!(super),
    "
    retab
",
);
