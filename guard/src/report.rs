//! The report: the mode, what is hooked, what was seen of the driver, and every counter, as one JSON object.
//!
//! It is written to the file AGX_GUARD_REPORT names when the process exits, and by the watchdog's
//! thread when SIGUSR1 asks for it.

use core::ffi::{CStr, c_int};
use core::fmt::Write;

use crate::abandoned;
use crate::bounded::Bounded;
use crate::coalescing;
use crate::counters::COUNTERS;
use crate::entry;
use crate::environment;
use crate::findings;
use crate::hooks;
use crate::image::MAX_PATH;
use crate::json::Json;
use crate::refused;
use crate::settings::Mode;
use crate::sync::{AtomicBool, Ordering};
use crate::sys;
use crate::unknown;

/// Room for a report: some 2 kB of its own, and the names of the methods that were refused.
const MAX_REPORT: usize = 16384;
/// Room for one finding more.
const FINDING: usize = 8192;

/// Set in a forked child, which is not the process that was asked about.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Stops writing reports.
pub fn write_nowhere() {
    SILENT.store(true, Ordering::Relaxed);
}

/// Writes the report where it is wanted: in the file AGX_GUARD_REPORT names, and in one of this
/// process alone in the folder AGX_GUARD_REPORTS names. A process without a driver, such as a
/// helper that inherited the environment, writes the former only where there is no report yet.
pub fn write() {
    const ONLY_IF_NEW: c_int = if cfg!(target_os = "macos") { 0x800 } else { 0x80 };
    let file = environment::value(c"AGX_GUARD_REPORT");
    let folder = environment::value(c"AGX_GUARD_REPORTS");
    if SILENT.load(Ordering::Relaxed) || (file.is_none() && folder.is_none()) {
        return;
    }
    // A process that is over within the watchdog's period has its driver hooked, and told of, too.
    #[cfg(target_os = "macos")]
    crate::driver::retry();
    let mut buffer = alloc::vec![0; MAX_REPORT + findings::count() * FINDING];
    let Some(length) = compose(&mut buffer) else { return };
    let report = buffer.get(..length).unwrap_or_default();
    if let Some(place) = file {
        let flags = if has_seen_driver() { 0 } else { ONLY_IF_NEW };
        write_to(place, sys::WRITE_NEW | flags, report);
    }
    // SAFETY: takes nothing.
    let process = unsafe { sys::getpid() };
    let mut place = [0; MAX_PATH];
    if let Some(place) = folder.and_then(|folder| own_place(folder, process, "json", &mut place)) {
        write_to(place, sys::WRITE_NEW, report);
    }
}

/// Writes the report if a file `PROCESS.ask` in the folder AGX_GUARD_REPORTS names asks for it, and
/// removes that file afterwards.
pub fn answer() {
    let Some(folder) = environment::value(c"AGX_GUARD_REPORTS") else { return };
    let mut place = [0; MAX_PATH];
    // SAFETY: takes nothing.
    let process = unsafe { sys::getpid() };
    let Some(question) = own_place(folder, process, "ask", &mut place) else { return };
    // SAFETY: the path is NUL-terminated; what is opened is closed. 0 is O_RDONLY.
    unsafe {
        let file = sys::open(question.as_ptr(), 0);
        if file >= 0 {
            sys::close(file);
            write();
            sys::unlink(question.as_ptr());
        }
    }
}

/// `FOLDER/PROCESS.SUFFIX`.
fn own_place<'a>(
    folder: &CStr,
    process: c_int,
    suffix: &str,
    buffer: &'a mut [u8],
) -> Option<&'a CStr> {
    let mut path = Bounded::new(buffer);
    path.put(folder.to_bytes());
    let _ = write!(path, "/{process}.{suffix}");
    path.c_string()
}

fn write_to(place: &CStr, flags: c_int, report: &[u8]) {
    // SAFETY: the path is NUL-terminated.
    let file = unsafe { sys::open(place.as_ptr(), flags, 0o644 as c_int) };
    if file >= 0 {
        sys::write_all(file, report);
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

/// Composes the report in `buffer`; how many bytes, `None` when it does not fit.
pub fn compose(buffer: &mut [u8]) -> Option<usize> {
    let guard = entry::guard();
    let mut json = Json::new(buffer);
    json.text("schema", "agxpatch.guard/1");
    json.text("version", env!("CARGO_PKG_VERSION"));
    // SAFETY: takes nothing.
    json.number("pid", unsafe { sys::getpid() } as u64);
    let (mode, limit) = match guard.map_or(Mode::Off, |guard| guard.settings().mode) {
        Mode::Guard => ("guard", 0),
        Mode::Serialize => ("serialize", 1),
        Mode::Throttle(limit) => ("throttle", limit),
        Mode::Observe => ("observe", 0),
        Mode::Off => ("off", 0),
    };
    json.text("mode", mode);
    json.number("limit", u64::from(limit));
    json.number("hooked_classes", hooks::classes() as u64);
    json.number("hooked_methods", hooks::methods() as u64);
    json.number("classes_hooked_on_sight", hooks::hooked_on_sight() as u64);
    json.number("methods_not_understood", hooks::methods_not_understood() as u64);
    json.number("methods_without_room", hooks::methods_without_room() as u64);
    unknown::describe(&mut json, hooks::is_hooked);
    coalescing::describe(&mut json);
    #[cfg(target_os = "macos")]
    crate::driver::describe(&mut json);
    if let Some(guard) = guard {
        json.open("encoders");
        let names = ["live", "ending", "ended", "destroyed", "leaving"];
        for (name, count) in names.iter().zip(guard.ledger.census()) {
            json.number(name, count);
        }
        json.number("quarantined", guard.quarantine.kept());
        json.number("abandoned", abandoned::count());
        json.number("open", u64::from(guard.throttle.open()));
        json.close();
    }
    refused::describe(&mut json);
    json.open("counters");
    for (counter, name, _) in COUNTERS {
        json.number(name, entry::total(*counter));
    }
    json.close();
    json.number("findings_dropped", findings::dropped());
    json.open_list("findings");
    findings::each(|times, finding| json.object_before("times", times, finding));
    json.close_list();
    json.finish()
}
