//! How the written functions save and restore registers, as a compiler for arm64e has
//! it: the pairs from x19 up to the one named, the frame record on top.
//!
//! Macros and not functions, so that a listing stays one constant.

/// The beginning of a function. `super` leaves room for an `objc_super` below the
/// saved registers, `all` for the destructor's block.
macro_rules! enter {
    (super) => {
        "
    pacibsp
    sub   sp, sp, #0x30
    stp   x20, x19, [sp, #0x10]
    stp   x29, x30, [sp, #0x20]
    add   x29, sp, #0x20
"
    };
    (x20) => {
        "
    pacibsp
    stp   x20, x19, [sp, #-0x20]!
    stp   x29, x30, [sp, #0x10]
    add   x29, sp, #0x10
"
    };
    (x22) => {
        "
    pacibsp
    stp   x22, x21, [sp, #-0x30]!
    stp   x20, x19, [sp, #0x10]
    stp   x29, x30, [sp, #0x20]
    add   x29, sp, #0x20
"
    };
    (x24) => {
        "
    pacibsp
    stp   x24, x23, [sp, #-0x40]!
    stp   x22, x21, [sp, #0x10]
    stp   x20, x19, [sp, #0x20]
    stp   x29, x30, [sp, #0x30]
    add   x29, sp, #0x30
"
    };
    (x26) => {
        "
    pacibsp
    stp   x26, x25, [sp, #-0x50]!
    stp   x24, x23, [sp, #0x10]
    stp   x22, x21, [sp, #0x20]
    stp   x20, x19, [sp, #0x30]
    stp   x29, x30, [sp, #0x40]
    add   x29, sp, #0x40
"
    };
    (all) => {
        "
    pacibsp
    sub   sp, sp, #0xa0
    stp   d9, d8, [sp, #0x30]
    stp   x28, x27, [sp, #0x40]
    stp   x26, x25, [sp, #0x50]
    stp   x24, x23, [sp, #0x60]
    stp   x22, x21, [sp, #0x70]
    stp   x20, x19, [sp, #0x80]
    stp   x29, x30, [sp, #0x90]
    add   x29, sp, #0x90
"
    };
}

/// The end of a function up to its return, or up to a tail call's branch.
macro_rules! leave {
    (super) => {
        "
    ldp   x29, x30, [sp, #0x20]
    ldp   x20, x19, [sp, #0x10]
    add   sp, sp, #0x30
"
    };
    (x20) => {
        "
    ldp   x29, x30, [sp, #0x10]
    ldp   x20, x19, [sp], #0x20
"
    };
    (x22) => {
        "
    ldp   x29, x30, [sp, #0x20]
    ldp   x20, x19, [sp, #0x10]
    ldp   x22, x21, [sp], #0x30
"
    };
    (x24) => {
        "
    ldp   x29, x30, [sp, #0x30]
    ldp   x20, x19, [sp, #0x20]
    ldp   x22, x21, [sp, #0x10]
    ldp   x24, x23, [sp], #0x40
"
    };
    (x26) => {
        "
    ldp   x29, x30, [sp, #0x40]
    ldp   x20, x19, [sp, #0x30]
    ldp   x22, x21, [sp, #0x20]
    ldp   x24, x23, [sp, #0x10]
    ldp   x26, x25, [sp], #0x50
"
    };
    // The frame record comes first; the published `destroyImpl` ends so.
    (all) => {
        concat!("\n    ldp   x29, x30, [sp, #0x90]\n", leave!(all but the record))
    };
    (all but the record) => {
        "
    ldp   x20, x19, [sp, #0x80]
    ldp   x22, x21, [sp, #0x70]
    ldp   x24, x23, [sp, #0x60]
    ldp   x26, x25, [sp, #0x50]
    ldp   x28, x27, [sp, #0x40]
    ldp   d9, d8, [sp, #0x30]
    add   sp, sp, #0xa0
"
    };
}

/// Sends the message `selector` to the superclass's implementation of `self`, which
/// the register `this` holds; `class` names the reference to the class.
macro_rules! send_to_super {
    ($this:literal, $class:literal, $selector:literal) => {
        concat!(
            "
    adrp  x8, {",
            $class,
            "}
    ldr   x8, [x8, {",
            $class,
            "_low}]
    stp   ",
            $this,
            ", x8, [sp]
    adrp  x8, {",
            $selector,
            "}
    ldr   x1, [x8, {",
            $selector,
            "_low}]
    mov   x0, sp
    bl    {send_super}
"
        )
    };
}

pub(super) use {enter, leave, send_to_super};
