//! What a Rust library without std has to bring itself: an allocator and an end for panics.

use core::alloc::{GlobalAlloc, Layout};

use crate::sys;

struct CLibrary;

// SAFETY: posix_memalign answers blocks of at least the size and alignment asked for, and free takes them back.
unsafe impl GlobalAlloc for CLibrary {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut block = core::ptr::null_mut();
        let align = layout.align().max(size_of::<usize>());
        // SAFETY: `block` is a valid place for the answer; the alignment is a power of two and a multiple of a pointer's size.
        let failed = unsafe { sys::posix_memalign(&mut block, align, layout.size()) };
        if failed == 0 { block.cast() } else { core::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the block came from `alloc`.
        unsafe { sys::free(block.cast()) }
    }
}

#[global_allocator]
static ALLOCATOR: CLibrary = CLibrary;

/// A panic is a defect of the guard. Nothing may unwind through the driver, so the process ends, and says why.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    crate::say::say_always(format_args!("internal error: {info}"));
    // SAFETY: abort takes nothing and does not return.
    unsafe { sys::abort() }
}
