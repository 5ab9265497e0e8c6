//! What the rules ask about this process and do to its objects: [`Objects`], by the Objective-C
//! runtime and the system.

use crate::backtrace;
use crate::call::{Call, Objects};
use crate::driver_code;
use crate::entry;
use crate::event::{MAX_NAME, Who};
use crate::findings;
use crate::hooks;
use crate::races::{Finding, Hazard, Part};
use crate::record::Record;
use crate::runtime;
use crate::say::say;
use crate::slot::{SLOTS, Slot};
use crate::sys;
use crate::thunk;
use crate::watchdog;

/// The objects of this process.
pub struct Process;

impl Objects for Process {
    fn retain(&self, object: usize) {
        runtime::retain(object);
    }

    fn release(&self, object: usize) {
        runtime::release(object);
    }

    fn is_held_once(&self, object: usize) -> bool {
        runtime::references(object) == 1
    }

    #[inline(always)]
    fn implementation(&self, object: usize, offset: u32) -> usize {
        // SAFETY: a method of the object is being called, so it is an object of a class whose
        // `_impl` lies there.
        unsafe { ((object + offset as usize) as *const usize).read_volatile() }
    }

    fn is_driver(&self, caller: usize) -> bool {
        driver_code::contains(caller) || thunk::is_return(caller)
    }

    fn now(&self) -> u64 {
        sys::now()
    }

    fn who(&self) -> Who {
        let mut who = Who { id: sys::thread_id(), ..Who::UNKNOWN };
        // SAFETY: the place is as long as it is said to be; the call ends the name within it.
        unsafe {
            sys::pthread_getname_np(sys::pthread_self(), who.name.as_mut_ptr().cast(), MAX_NAME)
        };
        sys::queue_label(&mut who.queue);
        who
    }

    fn frames(&self, call: &Call, frames: &mut [usize]) {
        if call.frame == 0 {
            frames.iter_mut().take(1).for_each(|frame| *frame = call.caller);
            return;
        }
        backtrace::walk(entry::current(), call.frame, frames, |caller| {
            !driver_code::contains(caller)
        });
    }

    fn part(&self, method: usize) -> Part {
        entry::slot_of(method).and_then(|slot| SLOTS.get(slot)).map_or(Part::Other, Slot::part)
    }

    fn has_found(&self, hazard: Hazard, earlier: usize, later: usize) -> bool {
        findings::count_again(hazard, earlier, later)
    }

    fn find(&self, finding: &Finding) {
        findings::keep(finding, &self.who(), |frames| self.frames(finding.later, frames));
    }

    fn is_new_kind(&self, object: usize) -> bool {
        hooks::hook_on_sight(object)
    }

    fn sweeps_elsewhere(&self) -> bool {
        watchdog::ask_for_sweep();
        true
    }

    fn give_way(&self) {
        // SAFETY: takes nothing and touches none of this library's memory.
        unsafe { sys::sched_yield() };
    }

    fn long_wait(&self, record: &Record, milliseconds: u64) {
        let encoder = record.address();
        let owner = record.owner();
        say(format_args!(
            "waited {milliseconds} ms for encoder or command buffer {encoder:#x}, held by thread block {owner:#x}"
        ));
    }
}
