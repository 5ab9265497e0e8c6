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

/// O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC.
#[cfg(target_os = "macos")]
pub const READ_WRITE_NEW: c_int = 0x2 | 0x200 | 0x400 | 0x100_0000;
/// O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC.
#[cfg(not(target_os = "macos"))]
pub const READ_WRITE_NEW: c_int = 0x2 | 0x40 | 0x200 | 0x8_0000;
/// PROT_READ | PROT_WRITE.
pub const PROT_READ_WRITE: c_int = 3;
/// MAP_SHARED.
pub const MAP_SHARED: c_int = 1;
/// MAP_FAILED.
pub const MAP_FAILED: usize = usize::MAX;

/// `struct sigaction`; `handler` 0 is the default.
#[cfg(target_os = "macos")]
#[repr(C)]
#[derive(Default)]
pub struct Action {
    /// A function of the signal's number, or 0 for the default, or 1 to ignore it.
    pub handler: usize,
    mask: u32,
    /// SA_… flags.
    pub flags: c_int,
}
/// `struct sigaction` of glibc on 64-bit Linux.
#[cfg(not(target_os = "macos"))]
#[repr(C)]
#[derive(Default)]
pub struct Action {
    /// A function of the signal's number, or 0 for the default, or 1 to ignore it.
    pub handler: usize,
    mask: [u64; 16],
    /// SA_… flags.
    pub flags: c_int,
    restorer: usize,
}

/// SA_RESTART.
#[cfg(target_os = "macos")]
pub const SA_RESTART: c_int = 2;
/// SA_RESTART.
#[cfg(not(target_os = "macos"))]
pub const SA_RESTART: c_int = 0x1000_0000;

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
    #[cfg(target_os = "macos")]
    fn pthread_cond_timedwait_relative_np(
        condition: *mut Condition,
        mutex: *mut Mutex,
        time: *const Timespec,
    ) -> c_int;
    #[cfg(not(target_os = "macos"))]
    fn pthread_cond_clockwait(
        condition: *mut Condition,
        mutex: *mut Mutex,
        clock: c_int,
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
    pub fn pthread_self() -> usize;
    pub fn pthread_getname_np(thread: usize, name: *mut c_char, size: usize) -> c_int;
    pub fn sched_yield() -> c_int;
    #[cfg(target_os = "macos")]
    pub fn os_unfair_lock_lock(lock: *mut u32);
    #[cfg(target_os = "macos")]
    pub fn os_unfair_lock_unlock(lock: *mut u32);
    pub fn pthread_atfork(
        before: extern "C" fn(),
        parent: extern "C" fn(),
        child: extern "C" fn(),
    ) -> c_int;
    pub fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    pub fn getenv(name: *const c_char) -> *const c_char;
    pub fn atexit(function: extern "C" fn()) -> c_int;
    pub fn sigaction(number: c_int, new: *const Action, old: *mut Action) -> c_int;
    pub fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    pub fn write(file: c_int, bytes: *const c_void, count: usize) -> isize;
    pub fn close(file: c_int) -> c_int;
    pub fn unlink(path: *const c_char) -> c_int;
    pub fn ftruncate(file: c_int, size: i64) -> c_int;
    pub fn mmap(
        address: *mut c_void,
        size: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: i64,
    ) -> *mut c_void;
    #[cfg(target_os = "macos")]
    fn pthread_threadid_np(thread: usize, id: *mut u64) -> c_int;
    #[cfg(target_os = "macos")]
    fn pthread_get_stackaddr_np(thread: usize) -> usize;
    #[cfg(target_os = "macos")]
    fn pthread_get_stacksize_np(thread: usize) -> usize;
    #[cfg(target_os = "macos")]
    fn dispatch_queue_get_label(queue: *const c_void) -> *const c_char;
    #[cfg(not(target_os = "macos"))]
    fn gettid() -> c_int;
    #[cfg(not(target_os = "macos"))]
    fn pthread_getattr_np(thread: usize, attributes: *mut [u64; 8]) -> c_int;
    #[cfg(not(target_os = "macos"))]
    fn pthread_attr_getstack(
        attributes: *const [u64; 8],
        bottom: *mut usize,
        size: *mut usize,
    ) -> c_int;
    #[cfg(not(target_os = "macos"))]
    fn pthread_attr_destroy(attributes: *mut [u64; 8]) -> c_int;
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

/// Waits for `condition` until `deadline`, in milliseconds of [`now`]; whether the deadline has not passed. The clock is the monotonic
/// one: a wait does not end early, nor last for hours, when the time is set.
///
/// # Safety
/// Both are initialised, and the caller holds `mutex`.
pub unsafe fn wait_until(condition: *mut Condition, mutex: *mut Mutex, deadline: u64) -> bool {
    let time = |milliseconds: u64| Timespec {
        seconds: (milliseconds / 1000) as i64,
        nanoseconds: ((milliseconds % 1000) * 1_000_000) as c_long,
    };
    #[cfg(target_os = "macos")]
    // SAFETY: by the caller's word.
    unsafe {
        let left = deadline.saturating_sub(now());
        left > 0 && pthread_cond_timedwait_relative_np(condition, mutex, &time(left)) == 0
    }
    #[cfg(not(target_os = "macos"))]
    // SAFETY: by the caller's word.
    unsafe {
        pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &time(deadline)) == 0
    }
}

/// The system's number for the calling thread.
pub fn thread_id() -> u64 {
    #[cfg(target_os = "macos")]
    {
        let mut id = 0;
        // SAFETY: NULL stands for the calling thread; `id` is a valid place for the answer.
        unsafe { pthread_threadid_np(0, &mut id) };
        id
    }
    #[cfg(not(target_os = "macos"))]
    // SAFETY: takes nothing.
    unsafe {
        gettid() as u64
    }
}

/// Where the calling thread's stack begins and ends.
pub fn stack() -> [usize; 2] {
    #[cfg(target_os = "macos")]
    // SAFETY: the calling thread is alive.
    unsafe {
        let (this, top) = (pthread_self(), pthread_get_stackaddr_np(pthread_self()));
        [top - pthread_get_stacksize_np(this), top]
    }
    #[cfg(not(target_os = "macos"))]
    // SAFETY: the places are as large as glibc's types: 56 or 64 bytes of attributes.
    unsafe {
        let (mut attributes, mut bottom, mut size) = ([0; 8], 0, 0);
        if pthread_getattr_np(pthread_self(), &mut attributes) == 0 {
            pthread_attr_getstack(&attributes, &mut bottom, &mut size);
            pthread_attr_destroy(&mut attributes);
        }
        [bottom, bottom + size]
    }
}

/// Linux has no dispatch queues; a test sets what answers for them.
#[cfg(not(target_os = "macos"))]
pub static QUEUE_LABEL: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

/// The label of the dispatch queue the calling thread works for, up to the first NUL. Left as it is where there is none.
pub fn queue_label(label: &mut [u8]) {
    #[cfg(target_os = "macos")]
    // SAFETY: NULL stands for the queue of the caller.
    let text = unsafe { dispatch_queue_get_label(core::ptr::null()) };
    #[cfg(not(target_os = "macos"))]
    let text = match QUEUE_LABEL.load(core::sync::atomic::Ordering::Relaxed) {
        0 => return,
        // SAFETY: a test's function of this signature.
        function => unsafe {
            core::mem::transmute::<usize, extern "C" fn() -> *const c_char>(function)()
        },
    };
    if text.is_null() {
        return;
    }
    for (at, place) in label.iter_mut().enumerate() {
        // SAFETY: a NUL-terminated string, read no further than its NUL.
        *place = unsafe { *text.add(at) } as u8;
        if *place == 0 {
            break;
        }
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
