//! The race detector: which calls of two threads to one encoder or command buffer must not have
//! been, told while they happen.
//!
//! | finding | when |
//! |---|---|
//! | overlap | a thread calls while another is inside the same encoder or its command buffer |
//! | use after end | a call to an encoder that was ended |
//! | use after commit | a call to a command buffer that was committed |
//! | open encoder | a factory, event or commit call while another thread's encoder on the buffer is open |
//! | torn sequence | a dispatch, draw or copy whose state a call of another thread set, or changed in between |
//!
//! A change of thread anywhere else is how programs use a serial queue: it is counted as handed
//! over and is not a finding. What only asks who an object is, and `dealloc`, which comes with the
//! last release on whatever thread, take part in none.
//!
//! Mode `observe` sees every call and is exact. In mode `guard` calls of one thread in a row take
//! the fast path, which keeps the last call site: there a method that neither sets state nor
//! encodes hides a state-setting call right before it, and such a sequence, torn at just that
//! place, is not found. In mode `serialize` one lock orders all encoders, so neither an overlap nor
//! a torn sequence can be told, and neither is looked for.

use crate::call::{Call, Kind, Objects};
use crate::calls::Guard;
use crate::counters::Counter;
use crate::event::{Event, MAX_FRAMES};
use crate::record::{COMMITTED, Record, State};
use crate::sequence::Site;
use crate::settings::Mode;
use crate::thread::Thread;

/// What kind of race a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hazard {
    /// Two threads inside at once.
    Overlap = 1,
    /// A call after the end.
    UseAfterEnd = 2,
    /// A call after the commit.
    UseAfterCommit = 3,
    /// State of one thread, work of another.
    Torn = 4,
    /// A command buffer is used while another thread's encoder on it is open.
    OpenEncoder = 5,
}

impl Hazard {
    /// What it is called in a report.
    pub fn name(self) -> &'static str {
        match self {
            Hazard::Overlap => "overlap",
            Hazard::UseAfterEnd => "use-after-end",
            Hazard::UseAfterCommit => "use-after-commit",
            Hazard::Torn => "torn-sequence",
            Hazard::OpenEncoder => "open-encoder",
        }
    }

    fn counter(self) -> Counter {
        match self {
            Hazard::Overlap => Counter::RacesOverlap,
            Hazard::UseAfterEnd => Counter::RacesAfterEnd,
            Hazard::UseAfterCommit => Counter::RacesAfterCommit,
            Hazard::Torn => Counter::RacesTorn,
            Hazard::OpenEncoder => Counter::RacesOpenEncoder,
        }
    }
}

/// What a method is in a sequence of encoding calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// Neither of the others.
    #[default]
    Other = 0,
    /// Sets state for what is encoded next.
    Sets = 1,
    /// Encodes work: a dispatch, draw or copy.
    Encodes = 2,
}

/// Two calls that must not have been.
pub struct Finding<'a> {
    /// Of which kind.
    pub hazard: Hazard,
    /// The encoder or command buffer of the later call. The caller holds its lock, or has met
    /// another thread inside.
    pub record: &'a Record,
    /// The call before; for a use after an end or commit, `record.ended` says more.
    pub earlier: Site,
    /// The call that is being made.
    pub later: &'a Call,
}

impl Kind {
    fn takes_part(self) -> bool {
        !matches!(self, Kind::Passive | Kind::Dealloc | Kind::BufferDealloc | Kind::Init)
    }
}

impl<O: Objects, const BUCKETS: usize> Guard<O, BUCKETS> {
    /// Before a lock is waited for, or passed by: whether another thread is inside, which is a finding.
    #[inline(always)]
    pub(crate) fn meets_another(
        &self,
        thread: &Thread,
        call: &Call,
        record: &Record,
        lock: &Record,
    ) -> bool {
        let holder = lock.owner();
        holder != 0 && holder != thread.token() && self.meets(thread, call, record, lock, holder)
    }

    fn meets(
        &self,
        thread: &Thread,
        call: &Call,
        record: &Record,
        lock: &Record,
        holder: usize,
    ) -> bool {
        let met = call.kind.takes_part();
        if met && self.settings.mode != Mode::Serialize {
            self.note_thread(thread, call);
            self.found(thread, Hazard::Overlap, record, lock.sequence.in_progress(holder), call);
        }
        met
    }

    /// An outermost call that goes through, under its lock: where it stands in the sequence.
    pub(crate) fn follow(&self, thread: &Thread, call: &Call, record: &Record, lock: &Record) {
        let here = Site { thread: thread.token(), caller: call.caller, method: call.method };
        let sequence = &lock.sequence;
        let part = match call.kind {
            Kind::Method => self.objects.part(call.method),
            Kind::End => Part::Other,
            _ => return sequence.set_aside(here),
        };
        let last = sequence.last();
        if call.kind == Kind::Method && part == Part::Other && last.thread != 0 {
            return sequence.set_aside(here);
        }
        if self.settings.mode == Mode::Serialize {
            return sequence.note(here);
        }
        if last.thread != 0 && last.thread != here.thread {
            self.note_thread(thread, call);
            if self.objects.part(last.method) == Part::Sets && part != Part::Other {
                sequence.set_torn(last);
            } else {
                thread.tally.add(Counter::HandedOver);
            }
        }
        let torn = sequence.torn();
        if part != Part::Sets {
            sequence.set_torn(Site::default());
        }
        sequence.note(here);
        if part == Part::Encodes && torn.thread != 0 && torn.thread != here.thread {
            self.found(thread, Hazard::Torn, record, torn, call);
        }
    }

    /// A call to an encoder that has been ended. The driver's own are not findings: it coalesces.
    pub(crate) fn comes_after_end(&self, thread: &Thread, call: &Call, record: &Record) {
        let ended = matches!(record.state(), State::Ended | State::Destroyed);
        if ended && call.kind.takes_part() && !self.objects.is_driver(call.caller) {
            self.comes_after(thread, Hazard::UseAfterEnd, call, record);
        }
    }

    /// An outermost call to a command buffer: whether it was committed before. Notes a commit.
    pub(crate) fn note_buffer_call(&self, thread: &Thread, call: &Call, record: &Record) {
        let committed = record.status() & COMMITTED != 0;
        if committed && !self.objects.is_driver(call.caller) {
            self.comes_after(thread, Hazard::UseAfterCommit, call, record);
        }
        if record.sequence.is_opened_by_another(thread) && call.kind.needs_encoders_ended() {
            self.meets_open_encoder(thread, call, record);
        }
        if call.kind == Kind::Commit && !committed {
            record.set(COMMITTED);
            self.note_event(thread, call, record.sequence.ended());
        }
    }

    /// Metal asserts here where an encoder of the buffer is open. One that this thread made is the
    /// program's plain mistake; one of another thread's is a race. In mode `serialize` all encoders
    /// have one lock, which does not tell whose this is.
    #[cold]
    #[inline(never)]
    fn meets_open_encoder(&self, thread: &Thread, call: &Call, buffer: &Record) {
        let (earlier, encoder) = buffer.sequence.opened();
        let can_be_told = self.settings.mode != Mode::Serialize;
        if can_be_told
            && !self.objects.is_driver(call.caller)
            && let Some(record) = self.ledger.find(encoder)
            && record.is_guarded_by(buffer.lock())
            && record.state() == State::Live
        {
            self.found(thread, Hazard::OpenEncoder, record, earlier, call);
        }
    }

    fn comes_after(&self, thread: &Thread, hazard: Hazard, call: &Call, record: &Record) {
        let [caller, ..] = record.sequence.ended().frames();
        self.found(thread, hazard, record, Site { thread: 0, caller, method: 0 }, call);
    }

    fn found(&self, thread: &Thread, hazard: Hazard, record: &Record, earlier: Site, call: &Call) {
        thread.tally.add(hazard.counter());
        if !self.objects.has_found(hazard, earlier.caller, call.caller) {
            self.objects.find(&Finding { hazard, record, earlier, later: call });
        }
    }

    /// An encoder begins, or begins again: what was encoded under its lock before is another's.
    pub(crate) fn begin_sequence(&self, thread: &Thread, call: &Call, record: &Record) {
        self.note_event(thread, call, record.sequence.born());
        record.lock().sequence.begin(thread);
    }

    /// Notes who does something to an object, and from where.
    pub(crate) fn note_event(&self, thread: &Thread, call: &Call, event: &Event) {
        self.note_thread(thread, call);
        event.copy(&thread.latest);
    }

    /// Notes who this thread is now, for the findings of others: its queue changes, and so may its name.
    pub(crate) fn note_thread(&self, thread: &Thread, call: &Call) {
        let mut frames = [0; MAX_FRAMES];
        self.objects.frames(call, &mut frames);
        thread.latest.note(&self.objects.who(), &frames);
    }
}
