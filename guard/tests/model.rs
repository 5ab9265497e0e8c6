//! The ledger, the rules and the quarantine under every interleaving loom can make of a few threads.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --test model --release`. Each property is held against a ledger with a fault put in, which
//! the model must find: a model that finds nothing may be one that looks at nothing.
#![cfg(loom)]

use std::sync::Arc as Shared;

use agx_guard::call::{Call, Entered, Kind, Objects, Verdict};
use agx_guard::calls::Guard;
use agx_guard::counters::Counter;
use agx_guard::record::Record;
use agx_guard::settings::Settings;
use agx_guard::sync::{Fault, put_in};
use agx_guard::thread::{Frame, Role, Thread};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// One simulated encoder at an address: its references, whether it is freed, whether it has its `_impl`.
struct Encoder {
    references: AtomicUsize,
    freed: AtomicBool,
    implementation: AtomicUsize,
    inside: AtomicUsize,
}

const ADDRESS: usize = 0x1000;
const OFFSET: u32 = 8;

struct Simulated(Arc<Encoder>);

impl Objects for Simulated {
    fn retain(&self, object: usize) {
        if object != ADDRESS {
            return;
        }
        assert!(!self.0.freed.load(Ordering::SeqCst), "retained after it was freed");
        self.0.references.fetch_add(1, Ordering::SeqCst);
    }
    fn release(&self, _: usize) {
        assert_ne!(self.0.references.fetch_sub(1, Ordering::SeqCst), 0, "released once too often");
    }
    fn is_held_once(&self, _: usize) -> bool {
        self.0.references.load(Ordering::SeqCst) == 1
    }
    fn implementation(&self, _: usize, _: u32) -> usize {
        self.0.implementation.load(Ordering::SeqCst)
    }
    fn is_driver(&self, _: usize) -> bool {
        false
    }
    fn now(&self) -> u64 {
        0
    }
    fn long_wait(&self, _: &Record, _: u64) {}
}

struct World {
    guard: Guard<Simulated, 1>,
    encoder: Arc<Encoder>,
}

fn call(kind: Kind) -> Call {
    Call { object: ADDRESS, kind, impl_offset: OFFSET, caller: 0, frame: 0, method: 0 }
}

impl World {
    /// A world with one live encoder, which the application owns.
    fn new(quarantine: usize, thread: &Thread) -> Shared<World> {
        let encoder = Arc::new(Encoder {
            references: AtomicUsize::new(1),
            freed: AtomicBool::new(false),
            implementation: AtomicUsize::new(1),
            inside: AtomicUsize::new(0),
        });
        let settings = Settings { quarantine, ..Settings::DEFAULT };
        let world =
            Shared::new(World { guard: Guard::new(settings, Simulated(encoder.clone())), encoder });
        world.run(thread, Kind::Init, || {});
        world
    }

    /// A call: true when it was dispatched.
    fn run(&self, thread: &Thread, kind: Kind, body: impl FnOnce()) -> bool {
        let call = call(kind);
        match self.guard.enter(thread, &call) {
            Verdict::Refuse(_) => false,
            Verdict::Dispatch(entered) => {
                body();
                let result = if kind == Kind::Init { ADDRESS } else { 0 };
                self.guard.leave(thread, &call, entered, result);
                true
            }
        }
    }

    /// What an encoding method does: it must be alone, on an object that is there and has its `_impl`.
    fn encode(&self) {
        assert_eq!(self.encoder.inside.fetch_add(1, Ordering::SeqCst), 0, "two threads inside");
        assert!(!self.encoder.freed.load(Ordering::SeqCst), "use after free");
        assert_ne!(self.encoder.implementation.load(Ordering::SeqCst), 0, "NULL _impl");
        self.encoder.inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn end(&self, thread: &Thread) -> bool {
        self.run(thread, Kind::End, || {
            self.run(thread, Kind::Destroy, || {
                self.encoder.implementation.store(0, Ordering::SeqCst)
            });
        })
    }

    fn dealloc(&self, thread: &Thread) {
        self.run(thread, Kind::Dealloc, || self.encoder.freed.store(true, Ordering::SeqCst));
    }
}

fn model(fault: Option<Fault>, body: impl Fn() + Sync + Send + 'static) {
    put_in(fault);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
    put_in(None);
}

/// Runs `body` on a thread whose block lives until it is joined: other threads read it while they look for a circle.
fn spawn(
    world: &Shared<World>,
    body: impl FnOnce(&World, &Thread) + 'static,
) -> loom::thread::JoinHandle<Box<Thread>> {
    let world = world.clone();
    loom::thread::spawn(move || {
        let thread = Thread::new();
        body(&world, &thread);
        thread
    })
}

/// One thread encodes while another ends: the call is dispatched before the end, or refused after it.
fn calls_against_an_end() {
    let main = Thread::new();
    let world = World::new(8, &main);
    let other = spawn(&world, |world, thread| {
        world.run(thread, Kind::Method, || world.encode());
    });
    world.run(&main, Kind::End, || world.encoder.implementation.store(0, Ordering::SeqCst));
    other.join().unwrap();
    assert!(!world.run(&main, Kind::Method, || world.encode()), "an ended encoder was used");
    assert_eq!(
        world.encoder.references.load(Ordering::SeqCst),
        2,
        "the quarantine holds one reference"
    );
}

#[test]
fn a_call_runs_before_the_end_or_not_at_all() {
    model(None, calls_against_an_end);
}

#[test]
#[should_panic]
fn a_lock_for_everybody_is_found() {
    model(Some(Fault::LockForAll), calls_against_an_end);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_lost_wake_up_is_found() {
    model(Some(Fault::EarlyLook), calls_against_an_end);
}

/// A thread is inside a call, another is about to call, when a third deallocates.
fn a_dealloc_against_calls() {
    let main = Thread::new();
    let world = World::new(0, &main);
    let Verdict::Dispatch(entered) = world.guard.enter(&main, &call(Kind::Method)) else {
        panic!("refused")
    };
    assert!(entered.role == Role::Fast);
    let other = spawn(&world, |world, thread| world.dealloc(thread));
    world.encode();
    world.guard.leave(&main, &call(Kind::Method), entered, 0);
    other.join().unwrap();
}

#[test]
fn dealloc_waits_for_who_is_inside() {
    model(None, a_dealloc_against_calls);
}

#[test]
#[should_panic]
fn a_dealloc_that_does_not_wait_is_found() {
    model(Some(Fault::LockForAll), a_dealloc_against_calls);
}

/// The encoder is deallocated while another thread waits to call it, and its record goes to an encoder at another address.
fn waiting_for_what_goes_away() {
    let main = Thread::new();
    let world = World::new(0, &main);
    let call_of_dealloc = call(Kind::Dealloc);
    let Verdict::Dispatch(entered) = world.guard.enter(&main, &call_of_dealloc) else {
        panic!("refused")
    };
    let late = spawn(&world, |world, thread| {
        world.run(thread, Kind::Method, || {
            // Adopted after the record was free again: the call found no encoder to wait for. Only a quarantine helps then.
            if thread.tally.get(Counter::Adopted) == 0 {
                world.encode();
            }
        });
    });
    world.encoder.freed.store(true, Ordering::SeqCst);
    world.guard.leave(&main, &call_of_dealloc, entered, 0);
    let next = Call { object: 2 * ADDRESS, ..call(Kind::Init) };
    let Verdict::Dispatch(entered) = world.guard.enter(&main, &next) else { panic!("refused") };
    world.guard.leave(&main, &next, entered, next.object);
    late.join().unwrap();
}

#[test]
fn a_thread_that_waited_for_a_deallocated_encoder_is_refused() {
    model(None, waiting_for_what_goes_away);
}

#[test]
#[should_panic(expected = "use after free")]
fn not_looking_again_after_a_wait_is_found() {
    model(Some(Fault::NoSecondLook), waiting_for_what_goes_away);
}

#[test]
fn an_encoder_is_ended_once() {
    model(None, || {
        let main = Thread::new();
        let world = World::new(8, &main);
        let ended = Arc::new(AtomicUsize::new(0));
        let also = ended.clone();
        let other = spawn(&world, move |world, thread| {
            also.fetch_add(usize::from(world.end(thread)), Ordering::SeqCst);
        });
        ended.fetch_add(usize::from(world.end(&main)), Ordering::SeqCst);
        other.join().unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn an_address_used_again_is_never_refused() {
    model(None, || {
        let main = Thread::new();
        let world = World::new(0, &main);
        let stale = spawn(&world, |world, thread| {
            world.run(thread, Kind::Method, || {});
        });
        world.end(&main);
        world.dealloc(&main);
        world.encoder.freed.store(false, Ordering::SeqCst);
        world.encoder.implementation.store(1, Ordering::SeqCst);
        world.encoder.references.store(1, Ordering::SeqCst);
        assert!(world.run(&main, Kind::Init, || {}));
        assert!(world.run(&main, Kind::Method, || ()), "a live encoder was refused");
        stale.join().unwrap();
    });
}

/// An encoder is ended, and so put into a quarantine that keeps nothing, while the driver begins it again.
fn reopening_against_the_quarantine() {
    let main = Thread::new();
    let world = World::new(0, &main);
    let other = spawn(&world, |world, thread| {
        world.run(thread, Kind::Reinit, || {});
    });
    world.run(&main, Kind::End, || {});
    other.join().unwrap();
    let live = world.run(&main, Kind::Method, || world.encode());
    let references = world.encoder.references.load(Ordering::SeqCst);
    assert_eq!(
        references,
        if live { 2 } else { 1 },
        "a live encoder is held, an ended one was let go"
    );
}

#[test]
fn a_reopened_encoder_keeps_its_reference() {
    model(None, reopening_against_the_quarantine);
}

#[test]
#[should_panic(expected = "a live encoder is held")]
fn an_entry_out_of_date_is_found() {
    model(Some(Fault::OldEntry), reopening_against_the_quarantine);
}

const BUFFER: usize = 0x2000;

impl World {
    /// A method of the command buffer.
    fn in_buffer(&self, thread: &Thread, kind: Kind, body: impl FnOnce()) {
        self.in_buffer_at(BUFFER, thread, kind, body);
    }

    /// A method of a command buffer, with the frame that the thunk's entry notes for it.
    fn in_buffer_at(&self, object: usize, thread: &Thread, kind: Kind, body: impl FnOnce()) {
        let call = Call { object, ..call(kind) };
        let Verdict::Dispatch(entered) = self.guard.enter(thread, &call) else {
            panic!("a command buffer was refused")
        };
        let Entered { record, lock, role } = entered;
        thread.push(Frame { caller: 0, stack: 0x1000, record, lock, slot: 0, kind, role });
        body();
        let Some(Frame { record, lock, role, .. }) = thread.pop() else {
            panic!("no call is left")
        };
        self.guard.leave(thread, &call, Entered { record, lock, role }, 0);
    }

    /// A world whose encoder was made by a factory of the command buffer.
    fn from_factory(thread: &Thread) -> Shared<World> {
        let encoder = Arc::new(Encoder {
            references: AtomicUsize::new(1),
            freed: AtomicBool::new(false),
            implementation: AtomicUsize::new(1),
            inside: AtomicUsize::new(0),
        });
        let settings = Settings { quarantine: 8, ..Settings::DEFAULT };
        let world =
            Shared::new(World { guard: Guard::new(settings, Simulated(encoder.clone())), encoder });
        world.in_buffer(thread, Kind::Factory, || {
            world.run(thread, Kind::Init, || {});
        });
        world
    }

    /// What `commit` does: reads the encoder, and ends it.
    fn commit(&self, thread: &Thread) {
        self.in_buffer(thread, Kind::Buffer, || {
            assert_eq!(self.encoder.inside.fetch_add(1, Ordering::SeqCst), 0, "two threads inside");
            self.run(thread, Kind::DeferredEnd, || {
                self.encoder.implementation.store(0, Ordering::SeqCst);
            });
            self.encoder.inside.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn commit_against_a_call() {
    let main = Thread::new();
    let world = World::from_factory(&main);
    let other = spawn(&world, |world, thread| world.commit(thread));
    world.run(&main, Kind::Method, || world.encode());
    other.join().unwrap();
    assert!(!world.run(&main, Kind::Method, || world.encode()), "an ended encoder was used");
}

#[test]
fn a_command_buffer_and_its_encoder_have_one_lock() {
    model(None, commit_against_a_call);
}

#[test]
#[should_panic]
fn a_command_buffer_without_a_lock_is_found() {
    model(Some(Fault::LockForAll), commit_against_a_call);
}

/// `endEncoding` goes from the encoder to the buffer, `commit` from the buffer to the encoder.
#[test]
fn a_buffer_and_its_encoder_may_call_each_other() {
    model(None, || {
        let main = Thread::new();
        let world = World::from_factory(&main);
        let other = spawn(&world, |world, thread| world.commit(thread));
        world.run(&main, Kind::End, || world.in_buffer(&main, Kind::Buffer, || {}));
        other.join().unwrap();
    });
}

const OTHER_BUFFER: usize = 0x3000;

impl World {
    /// A commit, as the driver makes it: ends its encoders, then submits, and calls handlers.
    fn commit_and(&self, buffer: usize, thread: &Thread, submit: impl FnOnce()) {
        self.in_buffer_at(buffer, thread, Kind::Commit, || {
            self.in_buffer_at(buffer, thread, Kind::CommitEncoder, || {});
            submit();
        });
    }

    /// A commit whose handler uses another command buffer.
    fn commit_with_handler(&self, buffer: usize, thread: &Thread, other: usize) {
        self.commit_and(buffer, thread, || self.in_buffer_at(other, thread, Kind::Buffer, || {}));
    }
}

fn handlers_that_use_each_others_buffers() {
    let main = Thread::new();
    let world = World::from_factory(&main);
    let other = spawn(&world, |world, thread| {
        world.commit_with_handler(OTHER_BUFFER, thread, BUFFER);
    });
    world.commit_with_handler(BUFFER, &main, OTHER_BUFFER);
    let other = other.join().unwrap();
    let circles = [&main, &other].map(|thread| thread.tally.get(Counter::Circles));
    assert_eq!(circles, [0, 0], "waited in a circle");
}

#[test]
fn handlers_inside_commit_may_use_each_others_buffers() {
    model(None, handlers_that_use_each_others_buffers);
}

#[test]
#[should_panic(expected = "waited in a circle")]
fn a_commit_that_keeps_its_lock_is_found() {
    model(Some(Fault::CommitsUnderLock), handlers_that_use_each_others_buffers);
}

/// A commit blocks on a full queue until another thread has used what the commit's own lock guards.
fn a_full_queue() {
    let main = Thread::new();
    let world = World::from_factory(&main);
    world.run(&main, Kind::End, || {});
    let room = Shared::new((loom::sync::Mutex::new(false), loom::sync::Condvar::new()));
    let made = room.clone();
    let other = spawn(&world, move |world, thread| {
        world.dealloc(thread);
        *made.0.lock().unwrap() = true;
        made.1.notify_all();
    });
    world.commit_and(BUFFER, &main, || {
        let mut has_room = room.0.lock().unwrap();
        while !*has_room {
            has_room = room.1.wait(has_room).unwrap();
        }
    });
    other.join().unwrap();
}

#[test]
fn a_commit_may_wait_for_a_thread_that_lets_go_of_its_encoder() {
    model(None, a_full_queue);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_commit_that_waits_under_its_lock_is_found() {
    model(Some(Fault::CommitsUnderLock), a_full_queue);
}
