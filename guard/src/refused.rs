//! Which methods were refused, and how often: the first thing to ask when `refused_…` in the report is not zero, for it says what the
//! program did to an encoder it had ended.

use core::ffi::{CStr, c_char};

use crate::event::MAX_NAME;
use crate::json::Json;
use crate::say::{say, say_always};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use crate::thunk;

static SAID: AtomicBool = AtomicBool::new(false);

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

/// Says that a call was refused and who had ended its encoder: lost GPU work must not go unnoticed. Once in a process, since the
/// report counts them all; with `last` always, for the process is about to end.
#[cold]
pub fn say_lost(slot: usize, by: &[u8; MAX_NAME], ended_by: &[u8; MAX_NAME], last: bool) {
    if SAID.swap(true, Ordering::Relaxed) && !last {
        return;
    }
    let (class, selector) = names(slot);
    let consequence =
        if last { "ending the process" } else { "this GPU call is lost, and results may be wrong" };
    let line = format_args!(
        "refused -[{class} {selector}] in {}: {} had ended the encoder; {consequence}",
        text(by),
        text(ended_by)
    );
    if last { say_always(line) } else { say(line) }
}

/// A thread's name.
pub fn text(name: &[u8; MAX_NAME]) -> &str {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
    match core::str::from_utf8(name.get(..end).unwrap_or_default()) {
        Ok("") | Err(_) => "a thread without a name",
        Ok(name) => name,
    }
}

/// A slot's class and selector.
pub fn names(slot: usize) -> (&'static str, &'static str) {
    let text = |name: &AtomicPtr<c_char>| {
        let name = name.load(Ordering::Relaxed);
        // SAFETY: NULL, or a name of the runtime's, which lives as long as it does.
        let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
        name.and_then(|name| name.to_str().ok()).unwrap_or("?")
    };
    METHODS.get(slot).map_or(("?", "?"), |method| (text(&method.class), text(&method.selector)))
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
        let (class, selector) = names(slot);
        json.number_called(&["-[", class, " ", selector, "]"], times);
    }
    json.close();
}
