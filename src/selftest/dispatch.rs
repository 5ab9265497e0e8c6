//! Compute work from two threads at once, each with command buffers and encoders of its own, and
//! its results checked.
//!
//! This is what crashes on the Macs this program is for, where nothing guards it. The threads share
//! a device, a queue and a pipeline, as Metal allows. Each round fills a buffer by a kernel whose
//! every value tells thread, round and place, so a result that is missing, old or another thread's
//! is seen. What to run and what must come of it is apart from Metal ([`on_two_threads`]), so that
//! it can be tested where there is none.

use std::ffi::{CStr, c_void};
use std::sync::Barrier;

use super::encode::Object;

/// Rounds of each thread. Both together need fewer command buffers than a queue has, should none be
/// given back.
const ROUNDS: u32 = 24;
/// Values a round computes.
const VALUES: usize = 4096;
/// Of them in one group of the GPU's threads.
const GROUP: usize = 64;

const KERNEL: &CStr = c"#include <metal_stdlib>
kernel void fill(device uint *values [[buffer(0)]], constant uint &seed [[buffer(1)]], uint at [[thread_position_in_grid]]) {
    values[at] = at * 2654435761u + seed;
}";

/// What tells a round of a thread from all others.
fn seed(thread: u32, round: u32) -> u32 {
    (thread << 16) | round
}

fn value(at: usize, seed: u32) -> u32 {
    (at as u32).wrapping_mul(2_654_435_761).wrapping_add(seed)
}

/// Runs `fill` with the seeds of two threads' rounds, at the same time.
///
/// # Errors
/// The first of `fill`'s, or which value of which round is wrong.
fn on_two_threads(fill: &(dyn Fn(u32) -> Result<Vec<u32>, String> + Sync)) -> Result<(), String> {
    let together = Barrier::new(2);
    let run = |thread: u32| {
        together.wait();
        (0..ROUNDS).try_for_each(|round| check(thread, round, &fill(seed(thread, round))?))
    };
    std::thread::scope(|scope| {
        let [one, two] = [0, 1].map(|thread| scope.spawn(move || run(thread)));
        [one, two].into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))
        })
    })
}

fn check(thread: u32, round: u32, values: &[u32]) -> Result<(), String> {
    let where_it_was = format!("two threads dispatched, and in round {round} of thread {thread}");
    if values.len() != VALUES {
        return Err(format!("{where_it_was} {} of {VALUES} values came back", values.len()));
    }
    let wanted = |at| value(at, seed(thread, round));
    match values.iter().enumerate().find(|(at, value)| **value != wanted(*at)) {
        None => Ok(()),
        Some((at, value)) => {
            Err(format!("{where_it_was} value {at} is {value:#x}, not {:#x}", wanted(at)))
        }
    }
}

/// Two threads' work on a Metal device of this process.
///
/// # Errors
/// Those of [`on_two_threads`], and what of the runtime or of Metal is missing.
///
/// # Safety
/// `device` is a Metal device.
#[allow(unsafe_code)]
pub(super) unsafe fn dispatch_here(device: Object) -> Result<(), String> {
    // SAFETY: by the caller's word; every object is retained to the end of the process.
    let work = unsafe { Work::prepare(device)? };
    // SAFETY: a queue and a pipeline may be used by several threads; all else is made in the call.
    on_two_threads(&|seed| unsafe { work.fill(seed) })
}

/// `MTLSize`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Size([usize; 3]);

/// Sends a message whose arguments have these types, and answers an object or whatever the register holds.
macro_rules! message {
    ($runtime:expr, $object:expr, $selector:literal $(, $argument:expr => $kind:ty)*) => {{
        let runtime: &Runtime = $runtime;
        let send: unsafe extern "C" fn(Object, *const c_void $(, $kind)*) -> Object = std::mem::transmute(runtime.send);
        send($object, (runtime.register)($selector.as_ptr()) $(, $argument)*)
    }};
}

/// The functions of the Objective-C runtime that are needed, by objc/runtime.h and objc/message.h.
struct Runtime {
    send: *mut c_void,
    register: Register,
    class: Class,
    push: Push,
    pop: Pop,
}

type Register = unsafe extern "C" fn(*const libc::c_char) -> *const c_void;
type Class = unsafe extern "C" fn(*const libc::c_char) -> Object;
type Push = unsafe extern "C" fn() -> *mut c_void;
type Pop = unsafe extern "C" fn(*mut c_void);

impl Runtime {
    #[allow(unsafe_code)]
    fn find() -> Result<Runtime, String> {
        let find = |name: &CStr| {
            // SAFETY: the name is a C string.
            let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            let missing = || format!("this process has no {}", name.to_string_lossy());
            if found.is_null() { Err(missing()) } else { Ok(found) }
        };
        // SAFETY: the functions have these types.
        unsafe {
            Ok(Runtime {
                send: find(c"objc_msgSend")?,
                register: std::mem::transmute::<*mut c_void, Register>(find(c"sel_registerName")?),
                class: std::mem::transmute::<*mut c_void, Class>(find(c"objc_getClass")?),
                push: std::mem::transmute::<*mut c_void, Push>(find(c"objc_autoreleasePoolPush")?),
                pop: std::mem::transmute::<*mut c_void, Pop>(find(c"objc_autoreleasePoolPop")?),
            })
        }
    }

    /// An `NSString`.
    #[allow(unsafe_code)]
    unsafe fn text(&self, text: &CStr) -> Object {
        // SAFETY: the class is Foundation's, which Metal brings; the text is a C string.
        unsafe {
            let class = (self.class)(c"NSString".as_ptr());
            message!(self, class, c"stringWithUTF8String:", text.as_ptr() => *const libc::c_char)
        }
    }
}

/// What the threads share.
struct Work {
    runtime: Runtime,
    device: Object,
    queue: Object,
    pipeline: Object,
}

// SAFETY: a device, a queue and a pipeline may be used from several threads, by Metal's
// documentation; the runtime's functions too.
#[allow(unsafe_code)]
unsafe impl Sync for Work {}

impl Work {
    #[allow(unsafe_code)]
    unsafe fn prepare(device: Object) -> Result<Work, String> {
        let runtime = Runtime::find()?;
        let nil: Object = std::ptr::null_mut();
        let none: *mut Object = std::ptr::null_mut();
        // SAFETY: the methods have these arguments, by MTLDevice.h and MTLLibrary.h; an error is
        // not asked for.
        unsafe {
            let pool = (runtime.push)();
            let source = runtime.text(KERNEL);
            let library = message!(&runtime, device, c"newLibraryWithSource:options:error:",
                source => Object, nil => Object, none => *mut Object);
            let library = made(library, "newLibraryWithSource:options:error:")?;
            let name = runtime.text(c"fill");
            let function = message!(&runtime, library, c"newFunctionWithName:", name => Object);
            let function = made(function, "newFunctionWithName:")?;
            let pipeline = message!(&runtime, device, c"newComputePipelineStateWithFunction:error:",
                function => Object, none => *mut Object);
            let pipeline = made(pipeline, "newComputePipelineStateWithFunction:error:")?;
            let queue = made(message!(&runtime, device, c"newCommandQueue"), "newCommandQueue")?;
            (runtime.pop)(pool);
            Ok(Work { runtime, device, queue, pipeline })
        }
    }

    /// One round: makes a buffer, a command buffer and an encoder, waits for the GPU, and reads the buffer.
    #[allow(unsafe_code)]
    unsafe fn fill(&self, seed: u32) -> Result<Vec<u32>, String> {
        let runtime = &self.runtime;
        // SAFETY: the methods have these arguments, by MTLDevice.h, MTLCommandQueue.h,
        // MTLCommandBuffer.h and MTLComputeCommandEncoder.h; the buffer is shared memory of that
        // length, which the GPU has left when the wait is over.
        unsafe {
            let pool = (runtime.push)();
            let result = made(
                message!(runtime, self.device, c"newBufferWithLength:options:",
                    4 * VALUES => usize, 0 => usize),
                "newBufferWithLength:options:",
            )?;
            let buffer = made(message!(runtime, self.queue, c"commandBuffer"), "commandBuffer")?;
            let encoder =
                made(message!(runtime, buffer, c"computeCommandEncoder"), "computeCommandEncoder")?;
            message!(runtime, encoder, c"setComputePipelineState:", self.pipeline => Object);
            message!(runtime, encoder, c"setBuffer:offset:atIndex:",
                result => Object, 0 => usize, 0 => usize);
            message!(runtime, encoder, c"setBytes:length:atIndex:",
                (&raw const seed).cast() => *const c_void, 4 => usize, 1 => usize);
            message!(runtime, encoder, c"dispatchThreadgroups:threadsPerThreadgroup:",
                Size([VALUES / GROUP, 1, 1]) => Size, Size([GROUP, 1, 1]) => Size);
            message!(runtime, encoder, c"endEncoding");
            message!(runtime, buffer, c"commit");
            message!(runtime, buffer, c"waitUntilCompleted");
            let contents = made(message!(runtime, result, c"contents"), "contents")?;
            let values = std::slice::from_raw_parts(contents.cast::<u32>(), VALUES).to_vec();
            message!(runtime, result, c"release");
            (runtime.pop)(pool);
            Ok(values)
        }
    }
}

fn made(object: Object, by: &str) -> Result<Object, String> {
    if object.is_null() { Err(format!("Metal's {by} answers nil")) } else { Ok(object) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn filled(seed: u32) -> Vec<u32> {
        (0..VALUES).map(|at| value(at, seed)).collect()
    }

    #[test]
    fn both_threads_run_every_round_with_a_seed_of_its_own() {
        let seen = std::sync::Mutex::new(Vec::new());
        let result = on_two_threads(&|seed| {
            seen.lock().unwrap().push(seed);
            Ok(filled(seed))
        });
        assert_eq!(result, Ok(()));
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        let wanted: Vec<u32> = (0..2).flat_map(|t| (0..ROUNDS).map(move |r| seed(t, r))).collect();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn another_rounds_value_is_named_with_its_place() {
        let result = on_two_threads(&|asked| {
            let mut values = filled(asked);
            if asked == seed(1, 3) {
                values[17] = value(17, seed(0, 3));
            }
            Ok(values)
        });
        let says = "two threads dispatched, and in round 3 of thread 1 value 17 is ";
        assert!(result.as_ref().is_err_and(|error| error.starts_with(says)), "{result:?}");
    }

    #[test]
    fn what_metal_lacks_ends_the_thread_and_is_said() {
        let calls = AtomicU32::new(0);
        let result = on_two_threads(&|_| {
            calls.fetch_add(1, Ordering::Relaxed);
            made(std::ptr::null_mut(), "contents").map(|_| Vec::new())
        });
        assert_eq!(result, Err("Metal's contents answers nil".to_owned()));
        assert_eq!(calls.into_inner(), 2);
    }
}
