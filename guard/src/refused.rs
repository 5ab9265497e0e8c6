//! Which methods were refused, and how often: the first thing to ask when `refused_…` in the report is not zero, for it says what the
//! program did to an encoder it had ended.

use core::ffi::{CStr, c_char};

use crate::json::Json;
use crate::sync::{AtomicPtr, AtomicU64, Ordering};
use crate::thunk;

/// Most methods that are named in a report.
const NAMED: usize = 16;

struct Method {
    class: AtomicPtr<c_char>,
    selector: AtomicPtr<c_char>,
    times: AtomicU64,
}

static METHODS: [Method; thunk::SLOTS] = [const {
    Method {
        class: AtomicPtr::new(core::ptr::null_mut()),
        selector: AtomicPtr::new(core::ptr::null_mut()),
        times: AtomicU64::new(0),
    }
}; thunk::SLOTS];

/// Notes what a slot's method is called. Both names are the runtime's and live as long as it does.
pub fn name(slot: usize, class: &'static CStr, selector: &'static CStr) {
    if let Some(method) = METHODS.get(slot) {
        method.class.store(class.as_ptr().cast_mut(), Ordering::Relaxed);
        method.selector.store(selector.as_ptr().cast_mut(), Ordering::Relaxed);
    }
}

/// Counts a call to a slot's method that was not dispatched.
#[cold]
pub fn count(slot: usize) {
    if let Some(method) = METHODS.get(slot) {
        method.times.fetch_add(1, Ordering::Relaxed);
    }
}

/// Adds the methods refused most often to a report, the most refused first.
pub fn describe(json: &mut Json) {
    json.open("refused_methods");
    let mut last = (u64::MAX, usize::MAX);
    for _ in 0..NAMED {
        let next = (0..thunk::SLOTS)
            .filter_map(|slot| Some((METHODS.get(slot)?.times.load(Ordering::Relaxed), slot)))
            .filter(|(times, slot)| *times > 0 && (*times, *slot) < last)
            .max();
        let Some((times, slot)) = next else { break };
        last = (times, slot);
        if let Some(method) = METHODS.get(slot) {
            json.number_called(
                &["-[", text(&method.class), " ", text(&method.selector), "]"],
                times,
            );
        }
    }
    json.close();
}

fn text(name: &AtomicPtr<c_char>) -> &'static str {
    let name = name.load(Ordering::Relaxed);
    if name.is_null() {
        return "?";
    }
    // SAFETY: a name of the runtime's, see `name`.
    unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("?")
}
