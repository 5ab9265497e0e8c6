//! Where hooked methods meet the rules: the two functions the thunks call, the process's one guard,
//! and its threads.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use crate::call::{Entered, Fast, Kind, Objects, Verdict};
use crate::calls::Guard;
use crate::counters::{COUNTERS, Counter};
use crate::event::Who;
use crate::left_calls::close_left_call;
use crate::own_thread;
use crate::process::Process;
use crate::record::Record;
use crate::refused;
use crate::say::say_always;
use crate::settings::{Mode, Settings};
use crate::slot::{SLOTS, Slot};
use crate::sync::{AtomicBool, Ordering};
use crate::sys;
use crate::thread::{Frame, Registry, Role, Thread};
use crate::thunk;

/// Chains of the ledger: far more than encoders are ever alive at once.
const BUCKETS: usize = 4096;

/// The slot of a method, which the core knows by its thunk's address; 0 stands for none.
pub fn slot_of(method: usize) -> Option<usize> {
    (method != 0).then(|| method.wrapping_sub(thunk::table()) / thunk::THUNK)
}

/// The process's guard.
struct Only(UnsafeCell<MaybeUninit<Guard<Process, BUCKETS>>>);
// SAFETY: written once in `start`, before any thunk is installed; shared reads after.
unsafe impl Sync for Only {}
static GUARD: Only = Only(UnsafeCell::new(MaybeUninit::uninit()));
static STARTED: AtomicBool = AtomicBool::new(false);
static OBSERVES: AtomicBool = AtomicBool::new(false);

/// Whether calls may take the fast path: in a mode that locks, where a thread's block is found
/// without a call.
pub fn has_fast_path() -> bool {
    !OBSERVES.load(Ordering::Relaxed) && own_thread::is_direct()
}

/// Every thread that has called a hooked method.
pub static THREADS: Registry = Registry::new();

/// Makes the guard. Once, before any hook.
pub fn start(settings: Settings) {
    OBSERVES.store(settings.mode == Mode::Observe, Ordering::Relaxed);
    // SAFETY: no thread reads it before `STARTED`, and there is one caller, the library's initialiser.
    unsafe { (*GUARD.0.get()).write(Guard::new(settings, Process)) };
    own_thread::start();
    STARTED.store(true, Ordering::Release);
}

/// The guard, once started.
pub fn guard() -> Option<&'static Guard<Process, BUCKETS>> {
    // SAFETY: written before `STARTED` was set.
    STARTED.load(Ordering::Acquire).then(|| unsafe { started() })
}

/// # Safety
/// A thunk is installed, or `STARTED` is set.
#[inline(always)]
unsafe fn started() -> &'static Guard<Process, BUCKETS> {
    // SAFETY: by the caller's word it has been written.
    unsafe { (*GUARD.0.get()).assume_init_ref() }
}

/// One counter over all threads.
pub fn total(counter: Counter) -> u64 {
    THREADS.iter().map(|thread| thread.tally.get(counter)).sum()
}

/// One counter over all threads, by its name in the report.
pub fn total_named(name: &str) -> Option<u64> {
    COUNTERS.iter().find(|(_, known, _)| *known == name).map(|(counter, _, _)| total(*counter))
}

/// The calling thread's block.
pub fn current() -> &'static Thread {
    own_thread::block()
}

/// Called by the thunks before a hooked method: answers the code to run, or 0 to return zero.
///
/// The common case is decided here, without a call and without touching the stack; everything else
/// in [`enter_slow`].
///
/// # Safety
/// Called by the common path in [`thunk`] alone: `thunk` is the address of an installed thunk,
/// `saved` points to the registers saved there.
pub unsafe extern "C" fn agx_guard_enter(
    object: usize,
    thunk: usize,
    caller: usize,
    saved: *const u8,
) -> usize {
    let index = (thunk - thunk::table()) / thunk::THUNK;
    // SAFETY: the thunk is one of the table's, which has as many as there are slots.
    let slot = unsafe { SLOTS.get_unchecked(index) };
    let stack = saved as usize + thunk::SAVED;
    let mut locked = core::ptr::null();
    if slot.has_fast_path()
        && let Some(thread) = own_thread::known()
        && thread.has_fast_path(stack)
    {
        // SAFETY: a thunk is installed.
        match unsafe { started() }.enter_fast(thread, &slot.call(object, caller, 0, thunk)) {
            Fast::Taken(record, lock) => {
                thread.push_fast(Frame {
                    caller,
                    stack,
                    record,
                    lock,
                    slot: index as u32,
                    kind: Kind::Method,
                    role: Role::Fast,
                });
                return slot.original.load(Ordering::Relaxed);
            }
            Fast::Locked(lock) => locked = lock,
            Fast::No => {}
        }
    }
    // SAFETY: the arguments are this function's own.
    unsafe { enter_slow(object, thunk, caller, saved, locked) }
}

/// # Safety
/// As for [`agx_guard_enter`]; `locked` is NULL or a record whose lock the fast path took.
#[cold]
#[inline(never)]
unsafe fn enter_slow(
    object: usize,
    thunk: usize,
    caller: usize,
    saved: *const u8,
    locked: *const Record,
) -> usize {
    let index = (thunk - thunk::table()) / thunk::THUNK;
    // SAFETY: the index is a thunk's.
    let slot = unsafe { SLOTS.get_unchecked(index) };
    // SAFETY: records are never given back; a thunk is installed.
    if let Some(record) = unsafe { locked.as_ref() } {
        // SAFETY: as above.
        unsafe { started() }.ledger.unlock(record);
    }
    let thread = current();
    let stack = saved as usize + thunk::SAVED;
    while thread.is_top_stale(stack, caller, thunk::return_without_frame()) {
        close_left_call(thread);
    }
    let call = slot.call(object, caller, saved as usize + thunk::SAVED_FRAME, thunk);
    // SAFETY: a thunk is installed.
    let guard = unsafe { started() };
    let verdict = if OBSERVES.load(Ordering::Relaxed) {
        guard.observe_entry(thread, &call)
    } else {
        guard.enter(thread, &call)
    };
    match verdict {
        Verdict::Dispatch(Entered { record, lock, role }) => {
            let slot_number = index as u32;
            thread.push(Frame {
                caller,
                stack,
                record,
                lock,
                slot: slot_number,
                kind: call.kind,
                role,
            });
            slot.original.load(Ordering::Relaxed)
        }
        Verdict::Refuse(_) => {
            refused::count(index);
            tell_refusal(guard, index, object);
            // SAFETY: x8 was saved at that offset.
            unsafe { clear_result(slot, saved.add(thunk::SAVED_X8).cast::<*mut u8>().read()) };
            0
        }
    }
}

/// A refused call is lost GPU work: says so, and ends the process where that was asked for.
#[cold]
#[inline(never)]
fn tell_refusal(guard: &Guard<Process, BUCKETS>, slot: usize, object: usize) {
    let abort = guard.settings().abort_on_refusal;
    let ended_by =
        guard.ledger.find(object).map_or(Who::UNKNOWN, |record| record.sequence.ended().who());
    refused::say_lost(slot, &guard.objects.who().name, &ended_by.name, abort);
    if abort {
        // SAFETY: takes nothing.
        unsafe { sys::abort() }
    }
}

/// Called by the thunks after a hooked method: closes the call and answers where to return to.
///
/// # Safety
/// Called by the common path in [`thunk`] alone, on the thread whose last open call has just returned.
pub unsafe extern "C" fn agx_guard_leave(result: usize) -> usize {
    if let Some(thread) = own_thread::known()
        && let Some(frame) = thread.fast_top()
    {
        // SAFETY: a call on the fast path has a lock, and records are never given back.
        let lock = unsafe { &*frame.lock };
        let caller = frame.caller;
        thread.pop_fast();
        // SAFETY: a thunk is installed.
        return if unsafe { started() }.ledger.unlock_fast(lock, thread) {
            wake_and_answer(lock, caller)
        } else {
            caller
        };
    }
    leave_slow(result)
}

#[cold]
#[inline(never)]
fn wake_and_answer(record: &Record, caller: usize) -> usize {
    // SAFETY: a thunk is installed.
    unsafe { started() }.ledger.wake(record);
    // Hidden, so that this is called last: were the answer known to be the argument, every call
    // would keep it on the stack.
    core::hint::black_box(caller)
}

#[cold]
#[inline(never)]
fn leave_slow(result: usize) -> usize {
    let thread = current();
    let Some(frame) = thread.pop() else {
        say_always(format_args!("a guarded method returned that was never called"));
        // SAFETY: there is nowhere to return to.
        unsafe { sys::abort() }
    };
    close(thread, &frame, result);
    frame.caller
}

/// Closes a call that has been taken from the thread.
pub(crate) fn close(thread: &Thread, frame: &Frame, result: usize) {
    // SAFETY: the frame's slot was in range when it was pushed; records are never given back; a
    // thunk is installed.
    unsafe {
        let entered = Entered { record: frame.record, lock: frame.lock, role: frame.role };
        let object = frame.record.as_ref().map_or(0, Record::address);
        let method = thunk::address(frame.slot as usize);
        let slot = SLOTS.get_unchecked(frame.slot as usize);
        let call = slot.call(object, frame.caller, 0, method);
        if OBSERVES.load(Ordering::Relaxed) {
            started().observe_exit(thread, &call, entered, result);
        } else {
            started().leave(thread, &call, entered, result);
        }
    }
}

/// # Safety
/// `result` is x8 as the caller set it: for a method that returns through memory, a place of that many bytes.
#[cold]
#[inline(never)]
unsafe fn clear_result(slot: &Slot, result: *mut u8) {
    let bytes = slot.returned_bytes();
    if bytes != 0 {
        // SAFETY: by the caller's word.
        unsafe { core::ptr::write_bytes(result, 0, bytes) };
    }
}
