//! The callers of a guarded call, by the chain of frame records that every arm64 platform of Apple's keeps.
//!
//! A record is believed only within the stack of the thread and above the one before it; code without frame records ends the walk, it
//! does not lead it astray. The address that some guarded calls return to lies with the guard, see [`crate::thunk`]: where the chain
//! comes through such a call, it is put back in.

use crate::sync::Ordering;
use crate::sys;
use crate::thread::Thread;
use crate::thunk;

/// Return addresses may carry a signature above these bits.
const ADDRESS: usize = (1 << 47) - 1;

/// The return addresses from the frame record at `frame` outwards, the innermost first. How many.
pub fn walk(
    thread: &Thread,
    frame: usize,
    frames: &mut [usize],
    is_wanted: impl Fn(usize) -> bool,
) -> usize {
    let [bottom, top] = stack_of(thread);
    let leave = thunk::return_without_frame();
    let mut record = frame;
    let mut inside = thread.depth();
    let mut count = 0;
    while record >= bottom && record < top.saturating_sub(16) && record.is_multiple_of(8) {
        // SAFETY: both words lie in this thread's own stack, which no one else changes.
        let [next, mut caller] = unsafe { (record as *const [usize; 2]).read() };
        while caller == leave && inside > 0 {
            inside -= 1;
            caller = thread.caller_at(inside);
        }
        caller &= ADDRESS;
        if caller == 0 {
            break;
        }
        if thunk::is_return_with_frame(caller) {
            // Into an ordinary frame of the guard's, whose own record has the caller.
            inside = inside.saturating_sub(1);
        } else if (count > 0 || is_wanted(caller))
            && let Some(place) = frames.get_mut(count)
        {
            *place = caller;
            count += 1;
        }
        if next <= record || count == frames.len() {
            break;
        }
        record = next;
    }
    count
}

fn stack_of(thread: &Thread) -> [usize; 2] {
    let [bottom, top] = &thread.stack;
    if top.load(Ordering::Relaxed) == 0 {
        let [from, to] = sys::stack();
        bottom.store(from, Ordering::Relaxed);
        top.store(to, Ordering::Relaxed);
    }
    [bottom.load(Ordering::Relaxed), top.load(Ordering::Relaxed)]
}
