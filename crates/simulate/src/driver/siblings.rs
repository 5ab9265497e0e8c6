//! The functions around the defect of which something is published.
//!
//! `useResourceCommon` follows its published listing; the others hold the
//! published instruction where the crash reports have it fault, and reach `_impl`
//! as the published idiom does: without the lock and without a test.

/// `AGX::ContextCommon<…>::useResourceCommon`, which faults at +100.
pub(super) const USE_RESOURCE_COMMON: &str = "
    pacibsp
    stp   x26, x25, [sp, #-0x50]!
    stp   x24, x23, [sp, #0x10]
    stp   x22, x21, [sp, #0x20]
    stp   x20, x19, [sp, #0x30]
    stp   x29, x30, [sp, #0x40]
    add   x29, sp, #0x40
    mov   x22, x3
    mov   x19, x2
    mov   x21, x1
    mov   x20, x0
    adrp  x8, {device_cell}
    ldrsw x8, [x8, {device_cell_low}]
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
    ldp   x29, x30, [sp, #0x40]
    ldp   x20, x19, [sp, #0x30]
    ldp   x22, x21, [sp, #0x20]
    ldp   x24, x23, [sp, #0x10]
    ldp   x26, x25, [sp], #0x50
    retab
";

/// `setComputePipelineState:`, which faults at +32.
pub(super) const SET_COMPUTE_PIPELINE_STATE: &str = "
    pacibsp
    stp   x20, x19, [sp, #-0x20]!
    stp   x29, x30, [sp, #0x10]
    add   x29, sp, #0x10
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
    ldp   x29, x30, [sp, #0x10]
    ldp   x20, x19, [sp], #0x20
    autibsp
    b     {neighbour}
";

/// `deferredEndEncoding`, which ends with a tail call of `destroyImpl`.
pub(super) const DEFERRED_END_ENCODING: &str = "
    pacibsp
    stp   x22, x21, [sp, #-0x30]!
    stp   x20, x19, [sp, #0x10]
    stp   x29, x30, [sp, #0x20]
    add   x29, sp, #0x20
    mov   x19, x0
    adrp  x8, {impl_cell}
    ldrsw x21, [x8, {impl_cell_low}]
    ldr   x8, [x0, x21]
    cbz   x8, {ended}
    mov   x0, x8
    mov   w1, #1
    bl    {neighbour}
ended:
    mov   x0, x19
    ldp   x29, x30, [sp, #0x20]
    ldp   x20, x19, [sp, #0x10]
    ldp   x22, x21, [sp], #0x30
    autibsp
    b     {send_destroy}
";

/// `-[… commitEncoder]`: ends the previous encoder, releases it, forgets it.
pub(super) const COMMIT_ENCODER: &str = "
    pacibsp
    stp   x22, x21, [sp, #-0x30]!
    stp   x20, x19, [sp, #0x10]
    stp   x29, x30, [sp, #0x20]
    add   x29, sp, #0x20
    mov   x19, x0
    adrp  x8, {previous_cell}
    ldrsw x21, [x8, {previous_cell_low}]
    ldr   x20, [x0, x21]
    cbz   x20, {none}
    mov   x0, x20
    bl    {send_deferred_end}
    mov   x0, x20
    bl    {objc_release}
    str   xzr, [x19, x21]
none:
    ldp   x29, x30, [sp, #0x20]
    ldp   x20, x19, [sp, #0x10]
    ldp   x22, x21, [sp], #0x30
    retab
";

/// `initWithCommandBuffer:config:`: takes a block from the freelist under the
/// lock and clears it, or makes one.
pub(super) const INIT: &str = "
    pacibsp
    stp   x24, x23, [sp, #-0x40]!
    stp   x22, x21, [sp, #0x10]
    stp   x20, x19, [sp, #0x20]
    stp   x29, x30, [sp, #0x30]
    add   x29, sp, #0x30
    mov   x19, x0
    mov   x23, x3
    ldr   x22, [x2, #0x18]
    adrp  x8, {device_cell}
    ldrsw x8, [x8, {device_cell_low}]
    str   x22, [x0, x8]
    adrp  x8, {pool_cell}
    ldrsw x21, [x8, {pool_cell_low}]
    add   x0, x22, x21
    bl    {lock_stub}
    add   x9, x22, x21
    ldr   w8, [x9, {count}]
    cbz   w8, {empty}
    sub   w8, w8, #1
    str   w8, [x9, {count}]
    add   x9, x9, w8, uxtw #3
    ldr   x20, [x9, {slots}]
    add   x0, x22, x21
    bl    {unlock}
    mov   x0, x20
    mov   w1, #0x700
    bl    {bzero}
    b     {ready}
empty:
    add   x0, x22, x21
    bl    {unlock}
    mov   w0, #1
    mov   w1, #0x700
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
    ldp   x29, x30, [sp, #0x30]
    ldp   x20, x19, [sp, #0x20]
    ldp   x22, x21, [sp, #0x10]
    ldp   x24, x23, [sp], #0x40
    retab
";
