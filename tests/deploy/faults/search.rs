//! The search over all Macs that faults leave.
//!
//! It is closed: a round visits the Macs that the round before left and that were not seen,
//! and the last one leaves none. That it comes to an end is not proven beforehand. It does
//! because each run of agxpatch removes what an earlier one left unfinished before it writes
//! again, so that leavings replace each other and do not add up.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agxpatch_core::error::Code;
use agxpatch_deploy::journal::Journal;
use agxpatch_deploy::{Recovered, State, layout};
use agxpatch_host::Host;
use agxpatch_simulate::mac::{DRIVER, Fault, Fingerprint, Fingerprinter, Machine, SimulatedMac};

use super::demands::{at_once, nothing_left, restart, run_script};
use super::reading::{OfAgxpatch, plain};
use super::{Verb, exhaustive};
use crate::bench::*;

/// A Mac on which `recover` is the next thing, and how it came about.
struct Left {
    mac: SimulatedMac,
    how: String,
    next: Next,
    fingerprint: Fingerprint,
}

/// What is to be done with a Mac that was left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It is a starting state: `recover` is struck on it.
    Strike,
    /// It has to end well.
    End,
}

/// One state in so many is visited where not all are.
const SAMPLED: u8 = 12;
/// After an error at one effect in so many, every later effect is cut off too.
const SECONDS: u64 = 6;

/// Every Mac that faults can leave behind.
struct Search {
    /// The states that are a good end of this search.
    good: &'static [State],
    /// The Macs that were seen, by what was to be done with them.
    seen: [Mutex<HashSet<Fingerprint>>; 2],
    fingerprints: Fingerprinter<OfAgxpatch>,
    /// The ends that were looked at.
    settled: Mutex<HashSet<Fingerprint>>,
    left: Mutex<Vec<Left>>,
    /// Faults that struck the verb, `recover`, and the verb after a first fault.
    points: [AtomicUsize; 3],
}

/// Which of the counters a fault belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Verb,
    Recover,
    Second,
}

impl Search {
    fn new(good: &'static [State]) -> Search {
        Search {
            good,
            seen: Default::default(),
            fingerprints: Fingerprinter::new(OfAgxpatch),
            settled: Mutex::default(),
            left: Mutex::default(),
            points: Default::default(),
        }
    }

    fn count(&self, of: Count) {
        self.points[of as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a Mac, and what a restart makes of it, for a later visit.
    fn leave(&self, mac: SimulatedMac, how: &str, next: Next) {
        if mac.machine().unwrap().is_up() {
            let Some(fingerprint) = self.is_new(&mac, next) else { return };
            let restarted = mac.fork().unwrap();
            self.left.lock().unwrap().push(Left { mac, how: how.to_owned(), next, fingerprint });
            self.leave_restarted(restarted, how, next);
        } else {
            self.leave_restarted(mac, how, next);
        }
    }

    fn leave_restarted(&self, mac: SimulatedMac, how: &str, next: Next) {
        restart(&mac, how);
        if let Some(fingerprint) = self.is_new(&mac, next) {
            let how = format!("{how}, restart");
            self.left.lock().unwrap().push(Left { mac, how, next, fingerprint });
        }
    }

    /// The Mac's fingerprint, if none like it was seen.
    fn is_new(&self, mac: &SimulatedMac, next: Next) -> Option<Fingerprint> {
        let fingerprint = self.fingerprints.of(mac).unwrap();
        let [struck, ended] = &self.seen;
        let struck_too = struck.lock().unwrap().contains(&fingerprint);
        let new = match next {
            Next::Strike => struck.lock().unwrap().insert(fingerprint),
            Next::End => !struck_too && ended.lock().unwrap().insert(fingerprint),
        };
        new.then_some(fingerprint)
    }

    /// Strikes a verb with every fault at each of its effects.
    fn strike(self: &Arc<Search>, start: &SimulatedMac, verb: Verb, how: &str) {
        let kind = if verb == Verb::Recover { Count::Recover } else { Count::Verb };
        let mac = self.witnessed(start, kind, Next::Strike, format!("{how}, {verb:?}"));
        let before = mac.effects().unwrap();
        verb.run(&mac).unwrap_or_else(|error| panic!("{how}: {verb:?}: {error:?}"));
        let effects = mac.effects().unwrap() - before;
        // The visits of recover have all processors already.
        let workers = if verb == Verb::Recover { 1 } else { processors() };
        in_parallel(workers, effects, |nth| self.strike_at(start, verb, nth + 1, how));
    }

    /// Strikes one effect with every error. The errors differ in their words alone, which
    /// agxpatch must not go by: deploy and revert are struck with each and must end at the
    /// very same Mac, recover is struck with one of them, in turn.
    fn strike_at(self: &Arc<Search>, start: &SimulatedMac, verb: Verb, nth: u64, how: &str) {
        let mut first: Option<Machine> = None;
        for (turn, fault) in [Fault::InputOutput, Fault::NoSpace].into_iter().enumerate() {
            if verb == Verb::Recover && nth % 2 != turn as u64 {
                continue;
            }
            let how = format!("{how}, {verb:?} met {fault:?} at {nth}");
            let run = |mac: SimulatedMac| {
                mac.inject(nth, fault).unwrap();
                let outcome = verb.run(&mac);
                assert!(mac.machine().unwrap().fault.is_none(), "{how} was skipped");
                at_once(&mac, verb, &outcome, &how);
                mac
            };
            let mac = run(start.fork().unwrap());
            self.count(if verb == Verb::Recover { Count::Recover } else { Count::Verb });
            let end = mac.machine().unwrap();
            if let Some(first) = &first {
                assert!(*first == end, "{how}: it went another way than with the other error");
                continue;
            }
            first = Some(end);
            self.leave(mac, &how, Next::Strike);
            if verb != Verb::Recover && (exhaustive() || nth % SECONDS == 1) {
                run(self.witnessed(start, Count::Second, Next::End, how.clone()));
            }
        }
    }

    /// A copy of a Mac, at each effect of which every crash is brought about.
    fn witnessed(
        self: &Arc<Search>,
        mac: &SimulatedMac,
        count: Count,
        next: Next,
        how: String,
    ) -> SimulatedMac {
        let search = self.clone();
        let recent: Mutex<VecDeque<Machine>> = Mutex::default();
        let witness = move |at: u64, fault: Fault, mac: SimulatedMac| {
            search.count(count);
            let mut machine = mac.machine().unwrap();
            machine.effects = 0;
            let mut recent = recent.lock().unwrap();
            // Half of most effects is none of them, and what one leaves done the
            // next finds not begun.
            if recent.contains(&machine) {
                return;
            }
            recent.push_back(machine);
            if recent.len() > Fault::all().len() {
                recent.pop_front();
            }
            search.leave(mac, &format!("{how} cut off at {at} by {fault:?}"), next);
        };
        mac.fork().unwrap().witnessed(Arc::new(witness))
    }

    /// One Mac: it ends well, what else people may run does no harm, and `recover`
    /// is struck where this is a starting state.
    fn visit(self: &Arc<Search>, Left { mac, how, next, .. }: &Left) {
        let end = self.ends_well(mac.fork().unwrap(), how);
        if *next == Next::Strike {
            let of_plain = self.ends_well(plain(mac), &format!("{how}, in its plain form"));
            assert_eq!(end, of_plain, "{how}");
            self.others_do_no_harm(mac, how);
            self.script_for_recovery(mac, how);
            self.strike(mac, Verb::Recover, how);
        }
    }

    /// Recovers and restarts, and returns which Mac that comes to.
    fn ends_well(&self, mac: SimulatedMac, how: &str) -> Fingerprint {
        recover(&mac).unwrap_or_else(|error| panic!("{how}: {error:?}"));
        nothing_left(&mac, how);
        restart(&mac, how);
        let end = self.fingerprints.of(&mac).unwrap();
        if self.settled.lock().unwrap().insert(end) {
            self.is_settled(&mac, how);
        }
        end
    }

    /// A good end, and a second look at recovery finds nothing to do.
    fn is_settled(&self, mac: &SimulatedMac, how: &str) {
        let settled = state(mac);
        assert!(self.good.contains(&settled), "{how}: {settled:?}");
        let again = recover(mac).unwrap();
        assert!(matches!(again, Recovered::Nothing { .. }), "{how}: {again:?}");
        nothing_left(mac, how);
        if settled == State::Active {
            assert!(agxpatch_deploy::verify(mac, &Bench).unwrap().holds, "{how}");
            assert!(mac.metadata(&layout::recovery_script()).unwrap().is_some(), "{how}");
        }
    }

    /// Another verb is run where `recover` is due: it is refused and changes
    /// nothing, or there was nothing to recover and it comes to a good end of its own. So
    /// it does where the live volume turns out to hold another driver than the Mac runs:
    /// what was begun is undone, and with it what lay about.
    fn others_do_no_harm(&self, mac: &SimulatedMac, how: &str) {
        let interrupted = Journal::read(mac).unwrap().is_some();
        for verb in [Verb::Deploy, Verb::Revert] {
            let mac = mac.fork().unwrap();
            let before = mac.fingerprint().unwrap();
            match verb.run(&mac) {
                Err(error) if interrupted || error.code() != Code::RolledBack => {
                    assert!(!interrupted || error.code() == Code::Interrupted, "{how}: {error:?}");
                    assert_eq!(mac.fingerprint().unwrap(), before, "{how}: {error:?}");
                }
                Ok(()) if interrupted => panic!("{how}: {verb:?} ran in spite of the journal"),
                Ok(()) | Err(_) => {
                    restart(&mac, how);
                    self.ends_well(mac, &format!("{how}, {verb:?} instead"));
                }
            }
        }
    }

    /// The owner runs the script for recoveryOS, where it has been written.
    fn script_for_recovery(&self, mac: &SimulatedMac, how: &str) {
        let whole = |path: &Path| mac.read(path).is_ok_and(|file| !file.bytes.is_empty());
        if !whole(&layout::recovery_script())
            || !whole(&layout::recovery_original(Path::new(DRIVER)))
        {
            return;
        }
        let how = format!("{how}, script in recoveryOS");
        let mac = mac.fork().unwrap();
        run_script(&mac);
        restart(&mac, &how);
        assert_eq!(mac.read(Path::new(DRIVER)).unwrap().bytes, ORIGINAL, "{how}");
        self.ends_well(mac, &how);
    }

    /// Visits what was left, and what that leaves, until nothing new comes. Returns how many
    /// Macs that were, by round.
    fn close(self: &Arc<Search>, mut all: bool) -> Vec<usize> {
        let mut rounds = Vec::new();
        loop {
            let mut round = std::mem::take(&mut *self.left.lock().unwrap());
            round.retain(|left| all || exhaustive() || left.fingerprint.is_sampled(SAMPLED));
            all = false;
            if round.is_empty() {
                return rounds;
            }
            rounds.push(round.len());
            let strikes = round.iter().filter(|left| left.next == Next::Strike).count();
            println!("round {}: {} Macs, recover struck on {strikes}", rounds.len(), round.len());
            // What is a starting state, too, need not be seen for its end alone.
            round.sort_by_key(|left| left.next == Next::End);
            in_parallel(processors(), round.len() as u64, |at| self.visit(&round[at as usize]));
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does the work of every number below `count`.
fn in_parallel(workers: usize, count: u64, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        number if number < count => work(number),
                        _ => break,
                    }
                }
            });
        }
    });
}

/// Strikes `verb` on `start`, and `recover` on all that this leaves. Returns how many faults
/// struck.
pub fn nothing_leaves_between(
    name: &str,
    start: SimulatedMac,
    verb: Verb,
    good: &'static [State],
) -> usize {
    let search = Arc::new(Search::new(good));
    match verb {
        Verb::Recover => search.leave(start, name, Next::Strike),
        _ => search.strike(&start, verb, name),
    }
    let rounds = search.close(verb == Verb::Recover);
    let [own, recovery, second] = search.points.each_ref().map(|n| n.load(Ordering::Relaxed));
    let [struck, ended] = search.seen.each_ref().map(|seen| seen.lock().unwrap().len());
    let visited: usize = rounds.iter().sum();
    let scope = if exhaustive() { "all" } else { "a fixed part" };
    println!(
        "{verb:?} on {name}: {own} faults in it, {second} more after a first one, {recovery} in \
         recover; {struck} different Macs on which recover is next and {ended} others; {scope} of \
         them visited ({visited}, by round {rounds:?}) until no new one came"
    );
    own + recovery
}
