//! The functions around the defect of which something is published.
//!
//! `useResourceCommon` follows its published listing; the others hold the
//! published instruction where the crash reports have it fault, and reach `_impl`
//! as the published idiom does: without the lock and without a test.

use super::frames::{enter, leave, send_to_super};

/// `AGX::ContextCommon<…>::useResourceCommon`, which faults at +100.
pub(super) const USE_RESOURCE_COMMON: &str = concat!(
    enter!(x26),
    "
    mov   x22, x3
    mov   x19, x2
    mov   x21, x1
    mov   x20, x0
    adrp  x8, {previous_cell}
    ldrsw x8, [x8, {previous_cell_low}]
    add   x25, x21, x8
    mov   x23, x22
    ldr   x24, [x21, #0x10]
    cbz   x24, {out}
    ldr   w9, [x24, #0x20]
    tbnz  w9, #0, {out}
    ldr   x26, [x24, #0x28]
    mov   x0, x24
    bl    {objc_retain}
    add   w9, w9, #1
    str   w9, [x24, #0x20]
    mov   x8, x26
    ldr   x0, [x20, #0x5c8]
    cbz   x0, {no_list}
    mov   x1, x24
    bl    {add_metal_resource}
no_list:
    ldr   x0, [x20, #0x638]
    mov   x1, x24
    mov   x2, x22
    bl    {neighbour}
    cbz   x19, {out}
    mov   x1, x24
    ldr   x0, [x20, #0x5d8]
    cbz   x0, {out}
    mov   x2, x23
    bl    {add_iogpu_resource}
out:
",
    leave!(x26),
    "
    retab
",
);

/// `setComputePipelineState:`, which faults at +32.
pub(super) const SET_COMPUTE_PIPELINE_STATE: &str = concat!(
    enter!(x20),
    "
    mov   x19, x2
    adrp  x8, {impl_cell}
    ldrsw x8, [x8, {impl_cell_low}]
    ldr   x20, [x0, x8]
    ldr   x0, [x20, #0x5c8]
    cbz   x0, {no_list}
    ldr   x1, [x19, #0x10]
    bl    {add_metal_resource}
no_list:
    mov   x0, x20
    mov   x1, x19
",
    leave!(x20),
    "
    autibsp
    b     {neighbour}
",
);

/// `deferredEndEncoding`, which ends with a tail call of `destroyImpl`.
pub(super) const DEFERRED_END_ENCODING: &str = concat!(
    enter!(x22),
    "
    mov   x19, x0
    adrp  x8, {impl_cell}
    ldrsw x21, [x8, {impl_cell_low}]
    ldr   x8, [x0, x21]
    cbz   x8, {ended}
    mov   x0, x8
    mov   w1, #1
    bl    {end_compute_pass}
ended:
    mov   x0, x19
",
    leave!(x22),
    "
    autibsp
    b     {send_destroy}
",
);

/// `endEncoding`: gives the block back at once, or leaves the encoder to the
/// command buffer, which may coalesce it with the next one.
pub(super) const END_ENCODING: &str = concat!(
    enter!(super),
    "
    mov   x19, x0
    adrp  x8, {impl_cell}
    ldrsw x8, [x8, {impl_cell_low}]
    ldr   x8, [x0, x8]
    cbz   x8, {now}
    ldrb  w8, [x8, #0x760]
    cbnz  w8, {later}
now:
    bl    {send_deferred_end}
    b     {ended}
later:
    ldr   x0, [x19, #0x10]
    mov   x2, x19
    bl    {send_set_previous}
ended:
",
    send_to_super!("x19", "super_compute", "selector_end_encoding"),
    leave!(super),
    "
    retab
",
);

/// `-[… commitEncoder]`: ends the previous encoder of each kind, releases it,
/// forgets it, and takes no lock.
pub(super) const COMMIT_ENCODER: &str = concat!(
    enter!(x22),
    "
    mov   x19, x0
    adrp  x8, {previous_blit_cell}
    ldrsw x21, [x8, {previous_blit_cell_low}]
    ldr   x20, [x19, x21]
    cbz   x20, {no_blit}
    mov   x0, x20
    bl    {send_deferred_end}
    mov   x0, x20
    bl    {objc_release}
    str   xzr, [x19, x21]
no_blit:
    adrp  x8, {previous_cell}
    ldrsw x21, [x8, {previous_cell_low}]
    ldr   x20, [x19, x21]
    cbz   x20, {no_compute}
    mov   x0, x20
    bl    {send_deferred_end}
    mov   x0, x20
    bl    {objc_release}
    str   xzr, [x19, x21]
no_compute:
    adrp  x8, {previous_render_cell}
    ldrsw x21, [x8, {previous_render_cell_low}]
    ldr   x20, [x19, x21]
    cbz   x20, {no_render}
    mov   x0, x20
    mov   w2, #1
    bl    {send_deferred_end_with}
    mov   x0, x20
    bl    {objc_release}
    str   xzr, [x19, x21]
no_render:
",
    leave!(x22),
    "
    retab
",
);

/// `initWithCommandBuffer:config:`: takes a block from the freelist under the
/// lock and wipes it when the lock is dropped, or makes one.
pub(super) const INIT: &str = concat!(
    enter!(x24),
    "
    mov   x19, x0
    mov   x23, x3
    mov   x0, x2
    bl    {send_device}
    ldr   x22, [x0, {device_field}]
    ldr   x24, [x22, {size}]
    mov   w8, #17376
    cmp   x24, x8
    b.lo  {refused}
    mov   w21, {lock}
    add   x0, x22, x21
    bl    {lock_stub}
    ldr   w8, [x22, {count}]
    cbz   w8, {empty}
    sub   w8, w8, #1
    str   w8, [x22, {count}]
    add   x9, x22, x8, lsl #3
    ldr   x20, [x9, {slots}]
    add   x0, x22, x21
    bl    {unlock}
    cbz   x20, {allocate}
    mov   x0, x20
    mov   x1, x24
    bl    {bzero}
    b     {ready}
empty:
    add   x0, x22, x21
    bl    {unlock}
allocate:
    mov   x0, x24
    mov   w1, #1
    bl    {calloc}
    mov   x20, x0
ready:
    adrp  x8, {impl_cell}
    ldrsw x8, [x8, {impl_cell_low}]
    str   x20, [x19, x8]
    ldr   x9, [x23, #0x10]
    str   x9, [x20, #0x5c8]
    ldr   x9, [x23, #0x18]
    str   x9, [x20, #0x5d8]
    ldr   x9, [x23, #0x20]
    str   x9, [x20, #0x638]
    mov   x0, x19
out:
",
    leave!(x24),
    "
    retab
refused:
    mov   x0, x19
    bl    {objc_release}
    mov   x0, #0
    b     {out}
",
);
