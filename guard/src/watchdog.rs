//! The library's beginning and end, and the thread that looks after it in between.
//!
//! At load: read the settings, watch for the driver; in mode `off` only when a report is asked for, and nothing is hooked then. While hooks are in place a thread lets go of quarantined encoders that
//! are over age, for nobody else may end an encoder for a long time. At exit, and on SIGUSR1: the report.

use core::ffi::{CStr, c_char, c_int, c_void};

use crate::counters::COUNTERS;
use crate::entry::{self, say};
use crate::hooks;
use crate::report::Json;
use crate::settings::{Mode, Settings};
use crate::sync::{AtomicBool, Ordering};
use crate::sys;

/// Milliseconds between two looks.
const PERIOD: i64 = 100;

static WATCHING: AtomicBool = AtomicBool::new(false);

/// Runs once, when the library is loaded.
extern "C" fn load() {
    let (settings, wrong) = Settings::read(sys::environment);
    if let Some(name) = wrong {
        let name = name.to_str().unwrap_or_default();
        say(format_args!(
            "agx-guard: the value of {name} is not understood, its default is used\n"
        ));
    }
    let idle = settings.mode == Mode::Off && sys::environment(c"AGX_GUARD_REPORT").is_none();
    if idle {
        return;
    }
    if cfg!(target_os = "macos") && agx_guard_authenticates_pointers() != 0 {
        say(format_args!(
            "agx-guard: this process authenticates pointers (arm64e); the guard is loaded and does nothing\n"
        ));
        return;
    }
    if settings.mode != Mode::Off {
        entry::start(settings);
    }
    if sys::environment(c"AGX_GUARD_REPORT").is_some() {
        offer_report();
    }
    #[cfg(target_os = "macos")]
    crate::driver::watch();
}

#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func,mod_init_funcs"))]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static LOAD: extern "C" fn() = load;

/// Whether this process signs pointers: then the guard must do nothing, for on an arm64e Mac it would hand the runtime code
/// addresses without a signature. PACIA1716 lies among the hints, so it does nothing where the keys are off, as they are in an
/// arm64 process. A signature may be zero by chance, hence several tries.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_authenticates_pointers() -> c_int {
    let signs = (1..=8usize).any(|salt| {
        let plain = load as *const () as usize;
        let mut signed = plain;
        // SAFETY: changes x17 alone, or nothing.
        unsafe { core::arch::asm!("hint #8", inout("x17") signed, in("x16") salt, options(nomem, nostack, preserves_flags)) };
        signed != plain
    });
    c_int::from(signs)
}

/// Starts the thread that looks after the quarantine, once.
pub fn start() {
    if WATCHING.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut thread = 0;
    // SAFETY: the function has the signature and takes no argument; the thread is never joined.
    unsafe {
        if sys::pthread_create(&mut thread, core::ptr::null(), watch, core::ptr::null_mut()) == 0 {
            sys::pthread_detach(thread);
        }
    }
}

unsafe extern "C" fn watch(_: *mut c_void) -> *mut c_void {
    let period =
        sys::Timespec { seconds: 0, nanoseconds: (PERIOD * 1_000_000) as core::ffi::c_long };
    loop {
        // SAFETY: a valid time to read; no rest is asked for.
        unsafe { sys::nanosleep(&period, core::ptr::null_mut()) };
        if let Some(guard) = entry::guard() {
            guard.sweep(entry::current());
        }
        #[cfg(target_os = "macos")]
        crate::driver::retry();
    }
}

fn offer_report() {
    // SAFETY: both functions have the signatures asked for; a handler somebody else installed is put back.
    unsafe {
        sys::atexit(at_exit);
        let before = sys::signal(sys::SIGUSR1, on_signal as *const () as usize);
        if before != 0 {
            sys::signal(sys::SIGUSR1, before);
        }
    }
}

extern "C" fn at_exit() {
    write_report();
}

extern "C" fn on_signal(_: c_int) {
    write_report();
}

/// Writes the report to the file AGX_GUARD_REPORT names. A process without a driver, such as a helper that inherited the
/// environment, writes only where there is no report yet.
fn write_report() {
    const ONLY_IF_NEW: c_int = if cfg!(target_os = "macos") { 0x800 } else { 0x80 };
    let Some(path) = sys::environment(c"AGX_GUARD_REPORT") else { return };
    let mut buffer = [0; 4096];
    let Some(length) = compose(&mut buffer) else { return };
    let flags = if has_seen_driver() { sys::WRITE_NEW } else { sys::WRITE_NEW | ONLY_IF_NEW };
    // SAFETY: the environment's strings are NUL-terminated.
    let file = unsafe { sys::open(path.as_ptr().cast(), flags, 0o644 as c_int) };
    if file >= 0 {
        sys::write_all(file, buffer.get(..length).unwrap_or_default());
        // SAFETY: opened above.
        unsafe { sys::close(file) };
    }
}

fn has_seen_driver() -> bool {
    #[cfg(target_os = "macos")]
    if crate::driver::is_loaded() {
        return true;
    }
    hooks::classes() > 0
}

fn compose(buffer: &mut [u8]) -> Option<usize> {
    let guard = entry::guard();
    let mut json = Json::new(buffer);
    json.text("schema", "agxpatch.guard/1");
    // SAFETY: takes nothing.
    json.number("pid", unsafe { sys::getpid() } as u64);
    let (mode, limit) = match guard.map_or(Mode::Off, |guard| guard.settings().mode) {
        Mode::Guard => ("guard", 0),
        Mode::Throttle(1) => ("serialize", 1),
        Mode::Throttle(limit) => ("throttle", limit),
        Mode::Observe => ("observe", 0),
        Mode::Off => ("off", 0),
    };
    json.text("mode", mode);
    json.number("limit", u64::from(limit));
    json.number("hooked_classes", hooks::classes() as u64);
    json.number("hooked_methods", hooks::methods() as u64);
    json.number("methods_without_room", hooks::methods_without_room() as u64);
    #[cfg(target_os = "macos")]
    crate::driver::describe(&mut json);
    if let Some(guard) = guard {
        json.open("encoders");
        let names = ["live", "ending", "ended", "destroyed", "leaving"];
        for (name, count) in names.iter().zip(guard.ledger.census()) {
            json.number(name, count);
        }
        json.number("quarantined", guard.quarantine.kept());
        json.number("open", u64::from(guard.throttle.open()));
        json.close();
    }
    json.open("counters");
    for (counter, name, _) in COUNTERS {
        json.number(name, entry::total(*counter));
    }
    json.close();
    json.finish()
}

/// The value of a counter by its name in the report; `UINT64_MAX` for a name that is not one.
///
/// # Safety
/// `name` is a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agx_guard_counter(name: *const c_char) -> u64 {
    // SAFETY: by the caller's word.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().ok().and_then(entry::total_named).unwrap_or(u64::MAX)
}

/// How many counters there are.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_counter_count() -> c_int {
    COUNTERS.len() as c_int
}

/// The value of a counter by its place, from 0; `UINT64_MAX` beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_counter_at(index: c_int) -> u64 {
    let known = usize::try_from(index).ok().and_then(|index| COUNTERS.get(index));
    known.map_or(u64::MAX, |(counter, _, _)| entry::total(*counter))
}

/// How many methods are hooked: 0 while the driver is not loaded.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_hooked_methods() -> c_int {
    hooks::methods() as c_int
}

/// How many encoders are known now.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_known_encoders() -> u64 {
    entry::guard().map_or(0, |guard| guard.ledger.census().iter().sum())
}

/// Whether the guard is in force in this process.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_is_active() -> c_int {
    c_int::from(entry::guard().is_some() && hooks::methods() > 0)
}

/// Lets go of every quarantined encoder that is over age now.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_sweep() {
    if let Some(guard) = entry::guard() {
        guard.sweep(entry::current());
    }
}

/// Writes the report as a buffer of the caller's; how many bytes, 0 when it does not fit.
///
/// # Safety
/// `buffer` has room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agx_guard_report(buffer: *mut u8, size: usize) -> usize {
    // SAFETY: by the caller's word.
    compose(unsafe { core::slice::from_raw_parts_mut(buffer, size) }).unwrap_or(0)
}

/// Notes code as the driver's own, as `driver` does for the driver's images on a Mac.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_trust(start: usize, end: usize) {
    entry::trust(start, end);
}
