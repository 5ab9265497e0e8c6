//! Whether the loader takes what it is given, tried in a child process.
//!
//! A library that the system turns away can take its process down with it, so
//! the loading is done by another run of this program, which does that and
//! nothing else. The copy of the driver is a loose file in a temporary
//! directory that is removed again; nothing asks for a GPU.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::check::Check;
use crate::doctor;
use crate::host::{Host, Kind};

use super::Means;
use super::private::Private;

/// What the child was started with, so that [`crate::cli`] and this agree.
const LOAD: [&str; 2] = ["selftest", "--load"];

/// What came of loading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It is in the process, with its initialisers run.
    Yes,
    /// The loader said this.
    No(String),
}

/// The checks: the driver as installed for comparison, the patched copy, and
/// the guard.
pub(super) fn checks(host: &dyn Host, patched: Option<Vec<u8>>, means: &Means<'_>) -> Vec<Check> {
    const COPY: &str = "patched-copy-loads";
    const GUARD: &str = "guard-loads";
    if host.kind() == Kind::Simulated {
        let reason = "a simulated Mac has no loader";
        return vec![
            Check::skipped("installed-driver-loads", reason),
            Check::skipped(COPY, reason),
            Check::skipped(GUARD, reason),
        ];
    }
    let private = &means.private;
    let installed = child("installed-driver-loads", &doctor::driver_path(), private);
    let copy = match patched {
        None => Check::skipped(COPY, "there is no patched copy to load"),
        Some(bytes) => match Copy::new(&bytes) {
            Ok(copy) => child(COPY, &copy.path, private),
            Err(reason) => Check::skipped(COPY, format!("the copy cannot be written: {reason}")),
        },
    };
    let guard = match &means.guard {
        Some(guard) => child(GUARD, guard, private),
        None => Check::skipped(GUARD, "no libagx_guard.dylib was found; name it with --guard"),
    };
    vec![installed, copy, guard]
}

/// A file in a directory of its own, gone when this is.
struct Copy {
    _directory: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl Copy {
    fn new(bytes: &[u8]) -> std::io::Result<Copy> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(doctor::PLUGIN);
        std::fs::write(&path, bytes)?;
        Ok(Copy { _directory: directory, path })
    }
}

fn child(name: &'static str, library: &Path, private: &Private) -> Check {
    let started = std::env::current_exe().and_then(|program| {
        Command::new(program).args(LOAD).arg(library).stdin(Stdio::null()).output()
    });
    let output = match started {
        Ok(output) => output,
        Err(reason) => return Check::skipped(name, format!("no child process: {reason}")),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Check::pass(name, "loaded, and its initialisers ran"),
        false => {
            let said = said.trim().lines().next().unwrap_or("it said nothing");
            Check::fail(name, private.without(&format!("{}: {said}", output.status)))
        }
    }
}

/// Loads a library into this process and leaves it there: what the child does.
pub fn load_here(library: &Path) -> Loaded {
    use std::ffi::{CStr, CString, c_char, c_int, c_void};
    use std::os::unix::ffi::OsStrExt;

    // dlopen(3): every symbol is bound at once. The same number on every Unix.
    const RTLD_NOW: c_int = 2;
    #[allow(unsafe_code)]
    // SAFETY: the signatures are those of POSIX `dlopen` and `dlerror`.
    unsafe extern "C" {
        fn dlopen(path: *const c_char, mode: c_int) -> *mut c_void;
        fn dlerror() -> *const c_char;
    }
    let Ok(path) = CString::new(library.as_os_str().as_bytes()) else {
        return Loaded::No("the path holds a NUL".to_owned());
    };
    // SAFETY: the path is a C string that outlives the call. What the library's
    // initialisers do is why this runs in a process of its own.
    #[allow(unsafe_code)]
    let handle = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
    if !handle.is_null() {
        return Loaded::Yes;
    }
    // SAFETY: no other thread loads anything; dlerror returns null or a C string
    // that stays until the next call.
    #[allow(unsafe_code)]
    let said = unsafe {
        let said = dlerror();
        (!said.is_null()).then(|| CStr::from_ptr(said).to_string_lossy().into_owned())
    };
    Loaded::No(said.unwrap_or_else(|| "the loader gives no reason".to_owned()))
}
