//! The few C library calls the guard makes, with the sizes and constants of the systems it runs on.
//!
//! Declared by hand because the shipped library has no std and wants no dependency; each line can be held against the
//! system's header. The opaque types are as large as the largest of the two systems' (macOS: mutex 64, condition 48 bytes).

use core::ffi::{c_char, c_int, c_long, c_void};

/// `pthread_mutex_t`.
#[repr(C, align(8))]
pub struct Mutex([u64; 8]);
/// `pthread_cond_t`.
#[repr(C, align(8))]
pub struct Condition([u64; 8]);

/// `struct timespec`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Timespec {
    /// Whole seconds.
    pub seconds: i64,
    /// The rest, in nanoseconds.
    pub nanoseconds: c_long,
}

#[cfg(target_os = "macos")]
impl Mutex {
    /// PTHREAD_MUTEX_INITIALIZER of macOS, `pthread_impl.h`.
    pub const fn new() -> Self {
        Mutex([0x32AA_ABA7, 0, 0, 0, 0, 0, 0, 0])
    }
}
#[cfg(target_os = "macos")]
impl Condition {
    /// PTHREAD_COND_INITIALIZER of macOS.
    pub const fn new() -> Self {
        Condition([0x3CB0_B1BB, 0, 0, 0, 0, 0, 0, 0])
    }
}
#[cfg(not(target_os = "macos"))]
impl Mutex {
    /// PTHREAD_MUTEX_INITIALIZER of glibc: all zero.
    pub const fn new() -> Self {
        Mutex([0; 8])
    }
}
#[cfg(not(target_os = "macos"))]
impl Condition {
    /// PTHREAD_COND_INITIALIZER of glibc: all zero.
    pub const fn new() -> Self {
        Condition([0; 8])
    }
}
impl Default for Mutex {
    fn default() -> Self {
        Self::new()
    }
}
impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

/// `pthread_key_t`: unsigned long on macOS, unsigned int on Linux.
#[cfg(target_os = "macos")]
pub type Key = core::ffi::c_ulong;
/// `pthread_key_t`: unsigned long on macOS, unsigned int on Linux.
#[cfg(not(target_os = "macos"))]
pub type Key = core::ffi::c_uint;

/// CLOCK_REALTIME, the clock `pthread_cond_timedwait` uses.
pub const CLOCK_REALTIME: c_int = 0;
/// CLOCK_MONOTONIC.
#[cfg(target_os = "macos")]
pub const CLOCK_MONOTONIC: c_int = 6;
/// CLOCK_MONOTONIC.
#[cfg(not(target_os = "macos"))]
pub const CLOCK_MONOTONIC: c_int = 1;

/// O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC.
#[cfg(target_os = "macos")]
pub const WRITE_NEW: c_int = 0x1 | 0x200 | 0x400 | 0x100_0000;
/// O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC.
#[cfg(not(target_os = "macos"))]
pub const WRITE_NEW: c_int = 0x1 | 0x40 | 0x200 | 0x8_0000;

/// SIGUSR1.
#[cfg(target_os = "macos")]
pub const SIGUSR1: c_int = 30;
/// SIGUSR1.
#[cfg(not(target_os = "macos"))]
pub const SIGUSR1: c_int = 10;

#[allow(missing_docs)]
unsafe extern "C" {
    pub fn pthread_mutex_lock(mutex: *mut Mutex) -> c_int;
    pub fn pthread_mutex_unlock(mutex: *mut Mutex) -> c_int;
    pub fn pthread_cond_timedwait(
        condition: *mut Condition,
        mutex: *mut Mutex,
        until: *const Timespec,
    ) -> c_int;
    pub fn pthread_cond_broadcast(condition: *mut Condition) -> c_int;
    pub fn pthread_key_create(
        key: *mut Key,
        gone: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> c_int;
    pub fn pthread_getspecific(key: Key) -> *mut c_void;
    pub fn pthread_setspecific(key: Key, value: *const c_void) -> c_int;
    pub fn pthread_create(
        thread: *mut usize,
        attributes: *const c_void,
        start: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int;
    pub fn pthread_detach(thread: usize) -> c_int;
    pub fn sched_yield() -> c_int;
    pub fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    pub fn nanosleep(time: *const Timespec, rest: *mut Timespec) -> c_int;
    pub fn getenv(name: *const c_char) -> *const c_char;
    pub fn strlen(text: *const c_char) -> usize;
    pub fn atexit(function: extern "C" fn()) -> c_int;
    pub fn signal(number: c_int, handler: usize) -> usize;
    pub fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    pub fn write(file: c_int, bytes: *const c_void, count: usize) -> isize;
    pub fn close(file: c_int) -> c_int;
    pub fn rename(from: *const c_char, to: *const c_char) -> c_int;
    pub fn getpid() -> c_int;
    pub fn abort() -> !;
    pub fn free(block: *mut c_void);
    pub fn posix_memalign(block: *mut *mut c_void, alignment: usize, size: usize) -> c_int;
}

/// Milliseconds of the monotonic clock.
pub fn now() -> u64 {
    let mut time = Timespec::default();
    // SAFETY: `time` is a valid timespec to write to.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &mut time) };
    (time.seconds as u64) * 1000 + (time.nanoseconds as u64) / 1_000_000
}

/// The value of an environment variable; `name` ends in NUL. The bytes live as long as nobody changes the environment: copy them.
pub fn environment(name: &core::ffi::CStr) -> Option<&'static [u8]> {
    // SAFETY: `name` is NUL-terminated; getenv answers NULL or a NUL-terminated string.
    unsafe {
        let value = getenv(name.as_ptr());
        (!value.is_null()).then(|| core::slice::from_raw_parts(value.cast(), strlen(value)))
    }
}

/// Writes all of `bytes` to a file descriptor; a failure is dropped, for there is nowhere to report it.
pub fn write_all(file: c_int, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the pointer and the length are those of a live slice.
        let written = unsafe { write(file, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(count) if count > 0 => bytes = bytes.get(count..).unwrap_or_default(),
            _ => return,
        }
    }
}
