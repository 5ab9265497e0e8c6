//! What the race detector found, kept where it outlives the process.
//!
//! The findings lie in a file that is mapped, `PID.races` in the folder AGX_GUARD_REPORTS names,
//! made with the first of them. The kernel keeps what is written there however the process ends,
//! and a race often ends it. Without that folder they lie in memory alone, for the report. A
//! finding is one piece of JSON in a slot of its own, complete before its length says so, with its
//! addresses named already: a dead process cannot name its own. A pair of call sites is one
//! finding, and is counted when it comes again; so names are looked up once for each pair, and
//! never for a call.
//!
//! | at | of the file | of a slot |
//! |---|---|---|
//! | 0 | the 16 bytes of [`MAGIC`] | how often it was met |
//! | 8 | | the length of the JSON; 0 until it is whole |
//! | 16 | how many findings had no slot | the JSON |
//!
//! The first slot begins at [`SLOT`], and each is as long. Numbers are 64 bits, the low byte first.

use core::ffi::{c_int, c_void};
use core::fmt::Write;

use crate::bounded::Bounded;
use crate::entry;
use crate::environment;
use crate::event::{MAX_FRAMES, Who};
use crate::image::MAX_PATH;
use crate::json::Json;
use crate::races::{Finding, Hazard};
use crate::refused;
use crate::sequence::Site;
use crate::symbols;
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Lock, Ordering};
use crate::sys;
use crate::thread::Thread;

/// How the file begins.
const MAGIC: &[u8; 16] = b"agxpatch.races/1";
/// Bytes of a slot, and of the head of the file.
const SLOT: usize = 8192;
/// Pairs of call sites that are told apart.
const MAX_FINDINGS: usize = 64;
const SIZE: usize = SLOT * (MAX_FINDINGS + 1);
/// Where in a slot the JSON begins.
const TEXT: usize = 16;
/// Where in the head it says how many findings had no slot.
const DROPPED: usize = 16;
/// Return addresses of the later call that are kept.
const MAX_STACK: usize = 16;

/// The memory of a process without a folder: never touched where there is no finding.
#[repr(align(16))]
struct Memory(core::cell::UnsafeCell<[u8; SIZE]>);
// SAFETY: reached through `BASE` alone, as the file is: numbers are atomic, and a text is written
// once, before its length is.
unsafe impl Sync for Memory {}
static MEMORY: Memory = Memory(core::cell::UnsafeCell::new([0; SIZE]));

static BASE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
static USED: AtomicUsize = AtomicUsize::new(0);
static KEEPING: Lock = Lock::new();

/// What makes a finding the same as another.
struct Key {
    hazard: AtomicUsize,
    earlier: AtomicUsize,
    later: AtomicUsize,
}
static KEYS: [Key; MAX_FINDINGS] = [const {
    Key { hazard: AtomicUsize::new(0), earlier: AtomicUsize::new(0), later: AtomicUsize::new(0) }
}; MAX_FINDINGS];

/// Counts a finding that is known, or for which there is no room; false for one that is new.
pub fn count_again(hazard: Hazard, earlier: usize, later: usize) -> bool {
    let used = USED.load(Ordering::Acquire);
    let same = |key: &Key| {
        key.earlier.load(Ordering::Relaxed) == earlier
            && key.later.load(Ordering::Relaxed) == later
            && key.hazard.load(Ordering::Relaxed) == hazard as usize
    };
    let count = match KEYS.iter().take(used).position(same) {
        Some(slot) => number(SLOT * (slot + 1)),
        None if used == MAX_FINDINGS => number(DROPPED),
        None => return false,
    };
    if let Some(count) = count {
        count.fetch_add(1, Ordering::Relaxed);
    }
    true
}

/// Keeps a finding. `frames` fills in the later call's return addresses.
pub fn keep(finding: &Finding, who: &Who, frames: impl FnOnce(&mut [usize])) {
    KEEPING.with(|| {
        let (earlier, later) = (finding.earlier.caller, finding.later.caller);
        if count_again(finding.hazard, earlier, later) {
            return;
        }
        let slot = USED.load(Ordering::Relaxed);
        let Some(key) = KEYS.get(slot) else { return };
        if BASE.load(Ordering::Relaxed).is_null() {
            BASE.store(memory(), Ordering::Release);
        }
        let mut stack = [0; MAX_STACK];
        frames(&mut stack);
        write(slot, finding, who, &stack);
        key.hazard.store(finding.hazard as usize, Ordering::Relaxed);
        key.earlier.store(earlier, Ordering::Relaxed);
        key.later.store(later, Ordering::Relaxed);
        USED.store(slot + 1, Ordering::Release);
    });
}

/// Begins without findings: in a forked child, whose findings are not those of the process that was
/// asked about.
pub fn forget() {
    KEEPING.reset();
    USED.store(0, Ordering::Relaxed);
    if !BASE.load(Ordering::Relaxed).is_null() {
        BASE.store(MEMORY.0.get().cast(), Ordering::Relaxed);
    }
}

/// How many pairs of call sites there are.
pub fn count() -> usize {
    USED.load(Ordering::Acquire)
}

/// How many findings had no slot.
pub fn dropped() -> u64 {
    number(DROPPED).map_or(0, |count| count.load(Ordering::Relaxed))
}

/// Each finding: how often it was met, and its JSON.
pub fn each(mut visit: impl FnMut(u64, &str)) {
    for slot in 0..count() {
        let at = SLOT * (slot + 1);
        let (Some(times), Some(length)) = (number(at), number(at + 8)) else { continue };
        let length = (length.load(Ordering::Acquire) as usize).min(SLOT - TEXT);
        // SAFETY: within the slot, written before its length was and not after.
        let text = unsafe {
            core::slice::from_raw_parts(BASE.load(Ordering::Acquire).add(at + TEXT), length)
        };
        if let Ok(text) = core::str::from_utf8(text)
            && !text.is_empty()
        {
            visit(times.load(Ordering::Relaxed), text);
        }
    }
}

fn number(at: usize) -> Option<&'static AtomicU64> {
    let base = BASE.load(Ordering::Acquire);
    // SAFETY: NULL, or memory of SIZE bytes, aligned and never given back; `at` is a multiple of 8 within it.
    (!base.is_null()).then(|| unsafe { &*base.add(at).cast::<AtomicU64>() })
}

/// The file's memory, or the process's own where there is no folder or the file cannot be made.
fn memory() -> *mut u8 {
    let mapped = environment::value(c"AGX_GUARD_REPORTS").and_then(|folder| {
        let mut place = [0; MAX_PATH];
        let mut path = Bounded::new(&mut place);
        path.put(folder.to_bytes());
        // SAFETY: takes nothing.
        let _ = write!(path, "/{}.races", unsafe { sys::getpid() });
        map(path.c_string()?)
    });
    let base = mapped.unwrap_or(MEMORY.0.get().cast());
    // SAFETY: SIZE bytes, which no other code knows of yet.
    unsafe { core::ptr::copy_nonoverlapping(MAGIC.as_ptr(), base, MAGIC.len()) };
    base
}

fn map(path: &core::ffi::CStr) -> Option<*mut u8> {
    // SAFETY: the path is NUL-terminated; the file is as long as the mapping, and stays mapped for
    // as long as the process lives.
    unsafe {
        let file = sys::open(path.as_ptr(), sys::READ_WRITE_NEW, 0o644 as c_int);
        if file < 0 {
            return None;
        }
        let sized = sys::ftruncate(file, SIZE as i64) == 0;
        let base = if sized {
            sys::mmap(core::ptr::null_mut(), SIZE, sys::PROT_READ_WRITE, sys::MAP_SHARED, file, 0)
        } else {
            sys::MAP_FAILED as *mut c_void
        };
        sys::close(file);
        (base as usize != sys::MAP_FAILED).then_some(base.cast())
    }
}

fn write(slot: usize, finding: &Finding, who: &Who, stack: &[usize]) {
    let at = SLOT * (slot + 1);
    // SAFETY: the slot's own bytes; no reader looks at them while its length is 0, and there is one
    // writer, under `KEEPING`.
    let place = unsafe {
        core::slice::from_raw_parts_mut(BASE.load(Ordering::Relaxed).add(at + TEXT), SLOT - TEXT)
    };
    let mut json = Json::new(place);
    json.text("kind", finding.hazard.name());
    describe(&mut json, finding, who, stack);
    let Some(length) = json.finish() else { return };
    if let (Some(times), Some(text)) = (number(at), number(at + 8)) {
        times.store(1, Ordering::Relaxed);
        text.store(length as u64, Ordering::Release);
    }
}

fn describe(json: &mut Json, finding: &Finding, who: &Who, stack: &[usize]) {
    let record = finding.record;
    json.hex("object", record.address());
    json.open("later");
    method(json, finding.later.method);
    thread(json, who);
    frames(json, stack);
    json.close();
    json.open("earlier");
    let Site { thread: token, caller, method: earlier } = finding.earlier;
    match finding.hazard {
        Hazard::UseAfterEnd | Hazard::UseAfterCommit => {
            thread(json, &record.sequence.ended().who());
            frames(json, &record.sequence.ended().frames());
        }
        Hazard::OpenEncoder => {
            thread(json, &record.sequence.born().who());
            frames(json, &record.sequence.born().frames());
        }
        Hazard::Overlap | Hazard::Torn => {
            method(json, earlier);
            // SAFETY: the token of a block, which is never given back.
            thread(json, &unsafe { Thread::who_was(token) });
            frames(json, &[caller]);
        }
    }
    json.close();
    let born: [usize; MAX_FRAMES] = record.sequence.born().frames();
    json.open("created");
    thread(json, &record.sequence.born().who());
    frames(json, &born);
    json.close();
}

fn method(json: &mut Json, method: usize) {
    if let Some(slot) = entry::slot_of(method) {
        let (class, selector) = refused::names(slot);
        json.text_of("method", &["-[", class, " ", selector, "]"]);
    }
}

fn thread(json: &mut Json, who: &Who) {
    json.open("thread");
    json.number("id", who.id);
    json.text("name", label(&who.name));
    json.text("queue", label(&who.queue));
    json.close();
}

fn label(text: &[u8]) -> &str {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let text = text.get(..end).unwrap_or_default();
    core::str::from_utf8(text).unwrap_or_else(|cut| {
        core::str::from_utf8(text.get(..cut.valid_up_to()).unwrap_or_default()).unwrap_or_default()
    })
}

fn frames(json: &mut Json, frames: &[usize]) {
    json.open_list("stack");
    for frame in frames.iter().filter(|frame| **frame != 0) {
        let mut text = [0; symbols::MAX_NAME];
        json.item(symbols::name(*frame, &mut text));
    }
    json.close_list();
}
