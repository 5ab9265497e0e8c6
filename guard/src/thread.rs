//! What the guard keeps for each thread: the calls it is inside of, its counters, and what it waits for.
//!
//! A thread's block is never given back to the allocator; when the thread ends it is handed to the next new one. So the
//! address of a block can stand for the thread in a record, and the watchdog may read any block at any time.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ptr;

use crate::call::Kind;
use crate::counters::Tally;
use crate::event::{Event, Who};
use crate::record::Record;
use crate::stock::Stock;
use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// How a call stands to the lock of its encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// An encoding call that took the lock on the fast path. It changes nothing, so nothing has to be settled after it.
    Fast,
    /// Took the lock.
    Outer,
    /// The thread had the lock already: it is inside another call on the same encoder or command buffer.
    Nested,
    /// Let through without the lock, after a wait that was given up.
    Unlocked,
    /// Concerns no record.
    Bare,
}

/// One call in progress.
#[derive(Clone, Copy)]
pub struct Frame {
    /// Where the call returns to.
    pub caller: usize,
    /// The stack pointer at the call's entry: a frame whose stack is gone was left by `longjmp` or an exception.
    pub stack: usize,
    /// The record of the encoder or command buffer; NULL for [`Role::Bare`].
    pub record: *const Record,
    /// The record whose lock the call took or found taken. Kept here, for `record` may stand for another object when the call ends.
    pub lock: *const Record,
    /// Which hooked method.
    pub slot: u32,
    /// What that method does.
    pub kind: Kind,
    /// See [`Role`].
    pub role: Role,
}

/// The bits of a token that count the lives of a block, below its alignment and above the bit of a free lock.
const LIVES: usize = 0x7e;
/// Blocks that lie idle before one is used again, for findings may still be about the threads that had them.
const MIN_IDLE: usize = 16;

/// Calls of one thread that may be nested before the block allocates, and one for the frame below all.
const INLINE: usize = 16;

#[repr(C)]
struct Frames {
    /// How many calls are noted; the last one's place in `inline`, while it is there.
    depth: usize,
    inline: [Frame; INLINE],
    more: Vec<Frame>,
}

/// A thread's block.
#[repr(C, align(128))]
pub struct Thread {
    frames: UnsafeCell<Frames>,
    /// This thread's share of the counters.
    pub tally: Tally,
    /// The record this thread waits for, for the watchdog and for finding circles.
    pub waits_for: AtomicPtr<Record>,
    /// Since when, in milliseconds of [`crate::sys::now`].
    pub waits_since: AtomicU64,
    /// Who the thread was, and where, at its last creation, end, commit or finding. For findings of other threads.
    pub latest: Event,
    /// The bounds of its stack; 0 while they have not been asked for.
    pub stack: [AtomicUsize; 2],
    /// Room for the records it makes. Owner only.
    pub(crate) stock: Stock,
    /// How many encoders this thread has open under the throttle.
    pub open: AtomicU32,
    /// A place of the throttle taken before a factory was entered, for the encoder that the factory makes.
    reserved: AtomicBool,
    taken: AtomicBool,
    /// See [`Thread::token`]: the block's address, and in the bits it leaves free which of the threads that had the block it is.
    token: AtomicUsize,
    /// When its last thread ended, as the registry counts.
    idle_since: AtomicU64,
    next: AtomicPtr<Thread>,
}

// SAFETY: `frames` and `stock` are touched by the owning thread alone; all else is atomic.
unsafe impl Sync for Thread {}
// SAFETY: as above; a block moves between threads only through `taken`, when it is idle.
unsafe impl Send for Thread {}

/// Lies below all calls: no call's stack is above its, and it is never taken back.
const BELOW_ALL: Frame = Frame {
    caller: 0,
    stack: usize::MAX,
    record: ptr::null(),
    lock: ptr::null(),
    slot: 0,
    kind: Kind::Method,
    role: Role::Bare,
};

impl Thread {
    /// A block no other thread knows of.
    pub fn new() -> Box<Thread> {
        let thread = Box::new(Thread {
            frames: UnsafeCell::new(Frames {
                depth: 0,
                inline: [BELOW_ALL; INLINE],
                more: Vec::new(),
            }),
            tally: Tally::new(),
            waits_for: AtomicPtr::new(ptr::null_mut()),
            waits_since: AtomicU64::new(0),
            latest: Event::none(),
            stack: [AtomicUsize::new(0), AtomicUsize::new(0)],
            stock: Stock::new(),
            open: AtomicU32::new(0),
            reserved: AtomicBool::new(false),
            taken: AtomicBool::new(true),
            token: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
        });
        thread.token.store(ptr::from_ref(&*thread) as usize, Ordering::Relaxed);
        thread
    }

    /// Notes a place of the throttle that the next encoder this thread makes will occupy. Owner only.
    pub fn reserve_place(&self) {
        self.reserved.store(true, Ordering::Relaxed);
    }

    /// Takes the place noted, if there is one. Owner only.
    pub fn take_reserved_place(&self) -> bool {
        let reserved = self.reserved.load(Ordering::Relaxed);
        self.reserved.store(false, Ordering::Relaxed);
        reserved
    }

    /// How many places of the throttle this thread occupies.
    pub fn places(&self) -> u32 {
        self.open.load(Ordering::Relaxed) + u32::from(self.reserved.load(Ordering::Relaxed))
    }

    /// What stands for this thread in a record: even, never 0, and another one than that of the threads that had the block just before.
    #[inline(always)]
    pub fn token(&self) -> usize {
        self.token.load(Ordering::Relaxed)
    }

    /// The thread a token stands for.
    ///
    /// # Safety
    /// `token` is 0 or came from [`Thread::token`] of a block of the registry.
    pub unsafe fn of_token<'a>(token: usize) -> Option<&'a Thread> {
        // SAFETY: blocks are never given back.
        unsafe { ((token & !LIVES) as *const Thread).as_ref() }
    }

    /// Who the thread of a token was at its last creation, end, commit or finding; unknown when another thread has its block.
    ///
    /// # Safety
    /// As for [`Thread::of_token`].
    pub unsafe fn who_was(token: usize) -> Who {
        // SAFETY: by the caller's word.
        let block = unsafe { Thread::of_token(token) };
        let who = block.map_or(Who::UNKNOWN, |block| block.latest.who());
        if block.is_some_and(|block| block.token() == token) { who } else { Who::UNKNOWN }
    }

    /// Notes a call that goes through. Owner only.
    pub fn push(&self, frame: Frame) {
        // SAFETY: only the owning thread gets here, and no reference into the frames outlives this call.
        let frames = unsafe { &mut *self.frames.get() };
        match frames.inline.get_mut(frames.depth + 1) {
            Some(place) => *place = frame,
            None => frames.more.push(frame),
        }
        frames.depth += 1;
    }

    /// Takes back the last call noted. Owner only.
    pub fn pop(&self) -> Option<Frame> {
        // SAFETY: as in `push`.
        let frames = unsafe { &mut *self.frames.get() };
        let last = frames.depth;
        frames.depth = last.checked_sub(1)?;
        match frames.inline.get(last) {
            Some(frame) => Some(*frame),
            None => frames.more.pop(),
        }
    }

    /// Whether a call that enters with `stack` may be noted with [`Thread::push_fast`]: there is room, and the call before it was
    /// plainly not left behind, for its stack lies above.
    #[inline(always)]
    pub fn has_fast_path(&self, stack: usize) -> bool {
        // SAFETY: as in `push`.
        let frames = unsafe { &*self.frames.get() };
        frames.depth < INLINE - 1
            && frames.inline.get(frames.depth).is_some_and(|top| top.stack > stack)
    }

    /// Notes a call where [`Thread::has_fast_path`] just held. Owner only.
    #[inline(always)]
    pub fn push_fast(&self, frame: Frame) {
        // SAFETY: as in `push`.
        let frames = unsafe { &mut *self.frames.get() };
        if let Some(place) = frames.inline.get_mut(frames.depth + 1) {
            *place = frame;
            frames.depth += 1;
        }
    }

    /// The last call noted. Owner only, who copies it before the next call.
    pub fn top(&self) -> Option<Frame> {
        // SAFETY: as in `push`.
        let frames = unsafe { &*self.frames.get() };
        if frames.depth == 0 {
            return None;
        }
        frames.inline.get(frames.depth).or(frames.more.last()).copied()
    }

    /// The last call noted, if it took the fast path. Owner only, who takes it back before the next call.
    #[inline(always)]
    pub fn fast_top(&self) -> Option<&Frame> {
        // SAFETY: as in `push`.
        let frames = unsafe { &*self.frames.get() };
        frames.inline.get(frames.depth).filter(|top| top.role == Role::Fast)
    }

    /// Takes back the frame [`Thread::fast_top`] answered.
    #[inline(always)]
    pub fn pop_fast(&self) {
        // SAFETY: as in `push`.
        unsafe { (*self.frames.get()).depth -= 1 };
    }

    /// Whether the last call noted was left behind by `longjmp` or an exception, seen from a call that enters with `stack`.
    /// A tail call enters with its caller's stack, and returns to `leave`, the address all guarded calls return to.
    pub fn is_top_stale(&self, stack: usize, caller: usize, leave: usize) -> bool {
        // SAFETY: as in `push`.
        let frames = unsafe { &*self.frames.get() };
        let top = frames
            .inline
            .get(frames.depth)
            .or(frames.more.last())
            .map_or(usize::MAX, |frame| frame.stack);
        top <= stack && (top < stack || caller != leave)
    }

    /// The calls this thread is inside of, the outermost first. Owner only, who drops them before the next call.
    fn calls(&self) -> impl DoubleEndedIterator<Item = &mut Frame> {
        // SAFETY: as in `push`.
        let Frames { depth, inline, more } = unsafe { &mut *self.frames.get() };
        let (_, inline) = inline.split_at_mut(1);
        inline.iter_mut().take(*depth).chain(more)
    }

    /// Whether the last call noted is a commit. Owner only.
    pub fn is_top_commit(&self) -> bool {
        // SAFETY: as in `push`.
        let frames = unsafe { &*self.frames.get() };
        frames
            .inline
            .get(frames.depth)
            .or(frames.more.last())
            .is_some_and(|top| top.kind == Kind::Commit)
    }

    /// Whether this thread is inside a commit under `lock`, and inside nothing else there. Owner only.
    pub fn only_commits_under(&self, lock: &Record) -> bool {
        let mut under = self.calls().filter(|call| ptr::eq(call.lock, lock)).peekable();
        under.peek().is_some() && under.all(|call| call.kind == Kind::Commit)
    }

    /// Has the innermost call under `lock` concern no record from here on, and answers the record that it concerned. Owner only.
    pub fn detach_call_under(&self, lock: &Record) -> Option<*const Record> {
        let call = self.calls().rev().find(|call| ptr::eq(call.lock, lock))?;
        let record = call.record;
        (call.record, call.lock, call.role) = (ptr::null(), ptr::null(), Role::Bare);
        Some(record)
    }

    /// How many calls this thread is inside of. Owner only.
    pub fn depth(&self) -> usize {
        // SAFETY: as in `push`.
        unsafe { (*self.frames.get()).depth }
    }

    /// Where the call at this depth returns to, the outermost at 0; 0 for none. Owner only.
    pub fn caller_at(&self, depth: usize) -> usize {
        // SAFETY: as in `push`.
        let frames = unsafe { &*self.frames.get() };
        let place = frames.inline.get(depth + 1);
        let more = || frames.more.get((depth + 1).checked_sub(INLINE)?);
        place.or_else(more).map_or(0, |frame| frame.caller)
    }

    /// Whether this thread is inside any guarded call.
    pub fn is_inside(&self) -> bool {
        // SAFETY: as in `push`.
        unsafe { (*self.frames.get()).depth > 0 }
    }
}

/// All blocks there have ever been.
#[derive(Default)]
pub struct Registry {
    head: AtomicPtr<Thread>,
    /// Threads that have ended.
    ended: AtomicU64,
}

impl Registry {
    /// No threads yet.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Registry { head: AtomicPtr::new(ptr::null_mut()), ended: AtomicU64::new(0) }
    }

    /// A block for the calling thread: one whose thread has ended, or a new one.
    pub fn take(&self) -> &'static Thread {
        let idle = || self.iter().filter(|thread| !thread.taken.load(Ordering::Relaxed));
        if idle().count() >= MIN_IDLE
            && let Some(thread) =
                idle().min_by_key(|thread| thread.idle_since.load(Ordering::Relaxed))
            && thread
                .taken
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            let life = thread.token().wrapping_add(2) & LIVES;
            thread.token.store(ptr::from_ref(thread) as usize | life, Ordering::Relaxed);
            return thread;
        }
        let thread: &'static Thread = Box::leak(Thread::new());
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            thread.next.store(head, Ordering::Relaxed);
            let ours = ptr::from_ref(thread).cast_mut();
            match self.head.compare_exchange(head, ours, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return thread,
                Err(now) => head = now,
            }
        }
    }

    /// Gives a block back at its thread's end. A thread that ends inside a call keeps its block: others may wait for it.
    pub fn give_back(&self, thread: &Thread) {
        if !thread.is_inside() {
            thread.open.store(0, Ordering::Relaxed);
            thread.stack.iter().for_each(|bound| bound.store(0, Ordering::Relaxed));
            thread.reserved.store(false, Ordering::Relaxed);
            let stamp = self.ended.fetch_add(1, Ordering::Relaxed);
            thread.idle_since.store(stamp, Ordering::Relaxed);
            thread.taken.store(false, Ordering::Release);
        }
    }

    /// Every block, in use or not.
    pub fn iter(&self) -> impl Iterator<Item = &'static Thread> + use<> {
        let mut next = self.head.load(Ordering::Acquire);
        core::iter::from_fn(move || {
            // SAFETY: blocks are leaked, never freed.
            let thread = unsafe { next.as_ref()? };
            next = thread.next.load(Ordering::Acquire);
            Some(thread)
        })
    }
}
