//! A long training run in a few seconds: a million encoders, one after another from several threads, at a million a minute of a
//! simulated clock. Memory stays flat, the quarantine keeps its bounds, and no live encoder is taken for an ended one although
//! nearly every address is used again.
#![cfg(not(loom))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use agx_guard::call::{Call, Kind, Objects, Verdict};
use agx_guard::calls::Guard;
use agx_guard::counters::Counter;
use agx_guard::record::Record;
use agx_guard::settings::Settings;
use agx_guard::thread::{Registry, Thread};

const THREADS: usize = 4;
const ENCODERS: u64 = 1_000_000;
/// The quarantine's encoders are 1 MB of it, the ledger's records (some 430 bytes each, with who made and ended them) the rest; leaked encoders would be 250 MB.
const MAX_BYTES: i64 = 6_000_000;
const A_MINUTE: u64 = 60_000;

struct Counting;
static IN_USE: AtomicI64 = AtomicI64::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: by the caller's word.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: by the caller's word.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Encoder {
    references: AtomicUsize,
    _rest: [u64; 30],
}

struct Simulated;
type Guarded = Guard<Simulated, 4096>;
static GUARD: OnceLock<Guarded> = OnceLock::new();
static REGISTRY: Registry = Registry::new();
static MADE: AtomicU64 = AtomicU64::new(0);

std::thread_local! {
    static THREAD: Cell<Option<&'static Thread>> = const { Cell::new(None) };
}

fn thread() -> &'static Thread {
    let known = THREAD.get().unwrap_or_else(|| REGISTRY.take());
    THREAD.set(Some(known));
    known
}

fn encoder<'a>(object: usize) -> &'a Encoder {
    // SAFETY: called for encoders that hold a reference.
    unsafe { &*(object as *const Encoder) }
}

impl Objects for Simulated {
    fn retain(&self, object: usize) {
        encoder(object).references.fetch_add(1, Ordering::Relaxed);
    }
    fn release(&self, object: usize) {
        if encoder(object).references.fetch_sub(1, Ordering::AcqRel) == 1 {
            assert!(send(object, Kind::Dealloc), "a dealloc was refused");
            // SAFETY: that was the last reference to a box that `init` leaked.
            drop(unsafe { Box::from_raw(object as *mut Encoder) });
        }
    }
    fn is_held_once(&self, object: usize) -> bool {
        encoder(object).references.load(Ordering::Relaxed) == 1
    }
    fn implementation(&self, _: usize, _: u32) -> usize {
        1
    }
    fn is_driver(&self, _: usize) -> bool {
        false
    }
    fn now(&self) -> u64 {
        MADE.load(Ordering::Relaxed) * A_MINUTE / ENCODERS
    }
    fn long_wait(&self, _: &Record, _: u64) {}
}

/// A call: true when it was dispatched.
fn send(object: usize, kind: Kind) -> bool {
    let (guard, thread) = (GUARD.get().unwrap(), thread());
    let call = Call { object, kind, impl_offset: 8, caller: 0, frame: 0, method: 0 };
    match guard.enter(thread, &call) {
        Verdict::Refuse(_) => false,
        Verdict::Dispatch(entered) => {
            guard.leave(thread, &call, entered, object);
            true
        }
    }
}

fn make_use_and_end() {
    let made = Box::new(Encoder { references: AtomicUsize::new(1), _rest: [0; 30] });
    let object = Box::into_raw(made) as usize;
    assert!(send(object, Kind::Init));
    for _ in 0..3 {
        assert!(send(object, Kind::Method), "a live encoder was refused");
    }
    assert!(send(object, Kind::End));
    assert!(!send(object, Kind::Method), "an ended encoder was used");
    Simulated.release(object);
    MADE.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_million_encoders_leave_memory_as_it_was() {
    let settings = Settings::DEFAULT;
    assert!(GUARD.set(Guarded::new(settings, Simulated)).is_ok());
    let mut in_use = Vec::new();
    for _ in 0..10 {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ENCODERS / 10 / THREADS as u64 {
                        make_use_and_end();
                    }
                    REGISTRY.give_back(thread());
                });
            }
        });
        let kept = GUARD.get().unwrap().quarantine.kept();
        assert!(kept <= (settings.quarantine + THREADS) as u64, "{kept} kept");
        in_use.push(IN_USE.load(Ordering::Relaxed));
    }
    println!("bytes in use after each tenth: {in_use:?}");
    assert!(in_use.iter().all(|bytes| *bytes < MAX_BYTES), "memory grows: {in_use:?}");
    let count = |counter| REGISTRY.iter().map(|thread| thread.tally.get(counter)).sum::<u64>();
    assert_eq!(count(Counter::Tracked), ENCODERS);
    assert_eq!(count(Counter::RefusedEnded), ENCODERS);
    assert_eq!(
        count(Counter::RefusedGone) + count(Counter::RefusedDoubleEnd) + count(Counter::Adopted),
        0
    );
}
