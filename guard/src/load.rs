//! The library's beginning: reads the environment, once, and sets everything up. Nothing else reads it later, for a program may
//! change its environment while other threads run.
//!
//! In mode `off` nothing is hooked, and only a report that is asked for is prepared. In a process that authenticates pointers the
//! library says so and stays idle, whatever was asked.

use core::ffi::{CStr, c_int};

use crate::coalescing;
use crate::entry;
use crate::environment;
use crate::fork;
use crate::report;
use crate::say::{be_quiet, say};
use crate::settings::{Mode, Settings};
use crate::sys;
use crate::watchdog;

/// Runs once, when the library is loaded.
extern "C" fn load() {
    environment::remember();
    if environment::value(c"AGX_GUARD_QUIET").is_some() {
        be_quiet();
    }
    let variable = |name| environment::value(name).map(CStr::to_bytes);
    let settings = Settings::read(variable, say_not_understood);
    let wants_report =
        [c"AGX_GUARD_REPORT", c"AGX_GUARD_REPORTS"].map(environment::value) != [None; 2];
    let names_plugin = environment::value(c"AGX_GUARD_PLUGIN").is_some();
    if settings.mode == Mode::Off && !wants_report && !names_plugin && !settings.no_coalescing {
        return;
    }
    if cfg!(target_os = "macos") && agx_guard_authenticates_pointers() != 0 {
        say(format_args!(
            "this process authenticates pointers (arm64e); the guard is loaded and does nothing"
        ));
        return;
    }
    if settings.no_coalescing {
        coalescing::switch_off();
    }
    #[cfg(target_os = "macos")]
    crate::interpose::answer_from_now_on();
    if settings.mode != Mode::Off {
        entry::start(settings);
    }
    if wants_report {
        offer_report();
    }
    fork::prepare();
    #[cfg(target_os = "macos")]
    crate::driver::watch();
}

#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func,mod_init_funcs"))]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static LOAD: extern "C" fn() = load;

fn say_not_understood(name: &CStr, value: &[u8]) {
    let name = name.to_str().unwrap_or_default();
    let value = core::str::from_utf8(value).unwrap_or("?");
    say(format_args!("{name} is \"{value}\", which is not understood; its default is used"));
}

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

/// The report is written at exit, and by the watchdog when SIGUSR1 was seen; a program's own handler of that signal stays.
fn offer_report() {
    let mut action = sys::Action::default();
    // SAFETY: the functions have the signatures asked for; `action` is a valid place to read from and write to.
    unsafe {
        sys::atexit(at_exit);
        if sys::sigaction(sys::SIGUSR1, core::ptr::null(), &mut action) == 0 && action.handler == 0
        {
            action.handler = on_signal as *const () as usize;
            action.flags = sys::SA_RESTART;
            sys::sigaction(sys::SIGUSR1, &action, core::ptr::null_mut());
        }
    }
    watchdog::start();
}

extern "C" fn at_exit() {
    report::write();
}

/// Runs wherever the thread happens to be, so it only leaves word.
extern "C" fn on_signal(_: c_int) {
    watchdog::ask_for_report();
}
