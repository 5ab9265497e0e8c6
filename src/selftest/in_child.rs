//! What a child does that tries something: it, and nothing else.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What came of loading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It is in the process, with its initialisers run.
    Yes,
    /// The loader said this.
    No(String),
}

/// Loads a library into this process and leaves it there.
pub fn load_here(library: &Path) -> Loaded {
    let Ok(path) = CString::new(library.as_os_str().as_bytes()) else {
        return Loaded::No("the path holds a NUL".to_owned());
    };
    // SAFETY: the path is a C string that outlives the call. What the library's
    // initialisers do is why this runs in a process of its own.
    #[allow(unsafe_code)]
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    if !handle.is_null() {
        return Loaded::Yes;
    }
    // SAFETY: no other thread loads anything; dlerror returns null or a C string
    // that stays until the next call.
    #[allow(unsafe_code)]
    let said = unsafe {
        let said = libc::dlerror();
        (!said.is_null()).then(|| CStr::from_ptr(said).to_string_lossy().into_owned())
    };
    Loaded::No(said.unwrap_or_else(|| "the loader gives no reason".to_owned()))
}

/// Makes a Metal device in this process and lets it encode empty work, and then two threads compute. Metal gives a program without windows
/// its default device only where Core Graphics is loaded.
pub fn device_here() -> Loaded {
    const FRAMEWORKS: [&str; 2] = [
        "/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics",
        "/System/Library/Frameworks/Metal.framework/Metal",
    ];
    for framework in FRAMEWORKS {
        if let Loaded::No(reason) = load_here(Path::new(framework)) {
            return Loaded::No(reason);
        }
    }
    // SAFETY: the name is a C string.
    #[allow(unsafe_code)]
    let make = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"MTLCreateSystemDefaultDevice".as_ptr()) };
    if make.is_null() {
        return Loaded::No("Metal has no MTLCreateSystemDefaultDevice".to_owned());
    }
    // SAFETY: `id<MTLDevice> MTLCreateSystemDefaultDevice(void)`, by MTLDevice.h. The
    // device is kept to the end of the process.
    #[allow(unsafe_code)]
    let device = unsafe {
        let make: extern "C" fn() -> *mut libc::c_void = std::mem::transmute(make);
        make()
    };
    if device.is_null() {
        return Loaded::No("Metal has no device".to_owned());
    }
    // SAFETY: what Metal answered is a device.
    #[allow(unsafe_code)]
    let encoded = unsafe {
        super::encode::encode_here(device).and_then(|()| super::dispatch::dispatch_here(device))
    };
    encoded.map_or_else(Loaded::No, |()| Loaded::Yes)
}
