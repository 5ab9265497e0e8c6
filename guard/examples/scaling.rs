//! How calls scale with threads, each on an encoder of its own: bare, under the guard's core, and under the published design (one
//! recursive mutex and a map lookup in every call). Runs on the host's own processor, where the emulator's cost does not hide what
//! threads do to each other. `scaling ROUNDS MILLISECONDS` prints, for each round, contestant and number of threads, one line:
//! `contestant threads calls-per-second calls-per-second-of-processor-time`. The contestants take turns.

use std::collections::HashMap;
use std::ffi::{c_int, c_long};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agx_guard::call::{Call, Fast, Kind, Objects, Verdict};
use agx_guard::calls::Guard;
use agx_guard::record::Record;
use agx_guard::settings::Settings;
use agx_guard::sys::{Mutex, pthread_mutex_lock, pthread_mutex_unlock};
use agx_guard::thread::{Frame, Role, Thread};

const THREADS: [usize; 5] = [1, 2, 4, 8, 16];

/// An encoder, as far as the contestants look at it, on lines of its own.
#[repr(align(256))]
struct Encoder {
    implementation: usize,
    sum: u64,
}

/// The method: what every contestant calls in the end.
#[inline(never)]
fn method(encoder: &Encoder) -> u64 {
    black_box(encoder).sum
}

struct Real;

impl Objects for Real {
    fn retain(&self, _: usize) {}
    fn release(&self, _: usize) {}
    fn is_held_once(&self, _: usize) -> bool {
        true
    }
    fn implementation(&self, object: usize, _: u32) -> usize {
        // SAFETY: the objects of this program are encoders that live as long as it does.
        unsafe { &*(object as *const Encoder) }.implementation
    }
    fn is_driver(&self, _: usize) -> bool {
        false
    }
    fn now(&self) -> u64 {
        0
    }
    fn long_wait(&self, _: &Record, _: u64) {}
}

type Guarded = Guard<Real, 4096>;

/// What the thunk and the two functions it calls do on the fast path.
fn call_guarded(guard: &Guarded, thread: &Thread, encoder: &Encoder) -> u64 {
    let object = std::ptr::from_ref(encoder) as usize;
    let stack = 1;
    assert!(thread.has_fast_path(stack));
    let call = Call { object, kind: Kind::Method, impl_offset: 8, caller: 0, frame: 0, method: 0 };
    let Fast::Taken(record, lock) = guard.enter_fast(thread, &call) else {
        return first_call(guard, thread, &call, encoder);
    };
    thread.push_fast(Frame {
        caller: 0,
        stack,
        record,
        lock,
        slot: 0,
        kind: Kind::Method,
        role: Role::Fast,
    });
    let result = method(encoder);
    if thread.fast_top().is_some() {
        thread.pop_fast();
        if guard.ledger.unlock_fast(lock, thread) {
            guard.ledger.wake(lock);
        }
    }
    result
}

/// The first call of a thread to an encoder that another made takes the slow path.
#[cold]
fn first_call(guard: &Guarded, thread: &Thread, call: &Call, encoder: &Encoder) -> u64 {
    let Verdict::Dispatch(entered) = guard.enter(thread, call) else {
        unreachable!("no thread ends this encoder")
    };
    let result = method(encoder);
    guard.leave(thread, call, entered, 0);
    result
}

/// The published design.
struct Published {
    mutex: Mutex,
    encoders: HashMap<usize, bool>,
}

#[repr(transparent)]
struct Shared(std::cell::UnsafeCell<Published>);
// SAFETY: reached under its own mutex alone.
unsafe impl Sync for Shared {}

unsafe extern "C" {
    fn pthread_mutexattr_init(attributes: *mut c_int) -> c_int;
    fn pthread_mutexattr_settype(attributes: *mut c_int, kind: c_int) -> c_int;
    fn pthread_mutex_init(mutex: *mut Mutex, attributes: *const c_int) -> c_int;
    fn getrusage(who: c_int, usage: *mut [c_long; 18]) -> c_int;
}

impl Shared {
    fn new(encoders: &[Encoder]) -> Box<Shared> {
        let encoders =
            encoders.iter().map(|encoder| (std::ptr::from_ref(encoder) as usize, true)).collect();
        let published = Box::new(Shared(Published { mutex: Mutex::new(), encoders }.into()));
        let mut attributes = [0; 4];
        // SAFETY: the places are as large as glibc's types; PTHREAD_MUTEX_RECURSIVE is 1 there.
        unsafe {
            pthread_mutexattr_init(attributes.as_mut_ptr());
            pthread_mutexattr_settype(attributes.as_mut_ptr(), 1);
            pthread_mutex_init(&raw mut (*published.0.get()).mutex, attributes.as_ptr());
        }
        published
    }

    fn call(&self, encoder: &Encoder) -> u64 {
        let object = std::ptr::from_ref(encoder) as usize;
        // SAFETY: the mutex is taken around the look at the map, and let go once.
        unsafe {
            let published = self.0.get();
            pthread_mutex_lock(&raw mut (*published).mutex);
            let live = (*published).encoders.get(&object) == Some(&true);
            let result = if live { method(encoder) } else { 0 };
            pthread_mutex_unlock(&raw mut (*published).mutex);
            result
        }
    }
}

/// User and system time of this process.
fn processor_time() -> Duration {
    let mut usage = [0; 18];
    // SAFETY: `struct rusage` has 18 longs, the two times first.
    unsafe { getrusage(0, &mut usage) };
    Duration::from_secs((usage[0] + usage[2]) as u64)
        + Duration::from_micros((usage[1] + usage[3]) as u64)
}

/// Calls a second, and a second of processor time, of so many threads.
fn measure(
    threads: usize,
    time: Duration,
    call: impl Fn(usize, &Thread) -> u64 + Sync,
) -> (f64, f64) {
    let (stop, ready) = (AtomicBool::new(false), Barrier::new(threads + 1));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let (stop, ready, call) = (&stop, &ready, &call);
                scope.spawn(move || {
                    let thread = Thread::new();
                    ready.wait();
                    let mut calls = 0u64;
                    while !stop.load(Ordering::Relaxed) {
                        for _ in 0..100 {
                            black_box(call(number, &thread));
                        }
                        calls += 100;
                    }
                    calls
                })
            })
            .collect();
        ready.wait();
        let (from, used) = (Instant::now(), processor_time());
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let calls: u64 = workers.into_iter().map(|worker| worker.join().unwrap_or(0)).sum();
        let used = processor_time() - used;
        (calls as f64 / from.elapsed().as_secs_f64(), calls as f64 / used.as_secs_f64())
    })
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse().expect("a number"));
    let (rounds, milliseconds) = (numbers.next().unwrap_or(3), numbers.next().unwrap_or(100));
    let encoders: Vec<Encoder> = (0..16).map(|sum| Encoder { implementation: 1, sum }).collect();
    let guard = Guarded::new(Settings::DEFAULT, Real);
    let main_thread = Thread::new();
    for encoder in &encoders {
        let object = std::ptr::from_ref(encoder) as usize;
        let call =
            Call { object, kind: Kind::Init, impl_offset: 8, caller: 0, frame: 0, method: 0 };
        if let Verdict::Dispatch(entered) = guard.enter(&main_thread, &call) {
            guard.leave(&main_thread, &call, entered, object);
        }
    }
    let published = Shared::new(&encoders);
    let time = Duration::from_millis(milliseconds);
    for _ in 0..rounds {
        for threads in THREADS {
            let print = |contestant: &str, (wall, used): (f64, f64)| {
                println!("{contestant} {threads} {wall:.0} {used:.0}");
            };
            print("bare", measure(threads, time, |number, _| method(&encoders[number])));
            print(
                "guard",
                measure(threads, time, |number, thread| {
                    call_guarded(&guard, thread, &encoders[number])
                }),
            );
            print(
                "published",
                measure(threads, time, |number, _| published.call(&encoders[number])),
            );
        }
    }
}
