//! Everything that may go wrong, at every effect, in every starting state.
//!
//! A test takes a starting state and strikes at every effect of a verb with every
//! fault. Each Mac that leaves is a starting state for `recover`, with and without a
//! restart before, in which `recover` is struck at every effect with every fault in
//! turn. Of each Mac on the way it is demanded that `recover` and a restart bring it
//! to a good end: as Apple made it or with the patch in force,
//! running from a snapshot that exists, nothing left mounted or lying about, the
//! kept original unharmed. What the faults of `recover` leave are starting states of
//! `recover` again, until nothing new comes.
//!
//! Every effect of the verb is struck, always. Of the states that leaves, a fixed part is
//! visited, and after a fixed part of the errors every later effect is cut off; all of both
//! with `AGXPATCH_KILL_ALL`. Of what the faults of `recover` leave, it is always that part.
//!
//! A process that is cut off hears nothing more, so the Macs it may leave are seen
//! by cutting copies off at each effect of one run. An error is heard and answered,
//! so each has a run of its own, within which every later effect is cut off too.
//! Macs that agxpatch cannot tell apart are visited once.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agxpatch_core::error::{Code, Error};
use agxpatch_deploy::journal::Journal;
use agxpatch_deploy::{Recovered, State, Step, layout};
use agxpatch_host::{Command, FileKind, Host, Input, Tool};
use agxpatch_simulate::mac::{
    Boot, DRIVER, Fault, Fingerprint, Machine, Release, SimulatedMac, survive,
};

use crate::bench::*;

/// What is run when the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verb {
    Deploy,
    Revert,
    Recover,
}

impl Verb {
    pub fn run(self, mac: &SimulatedMac) -> Result<(), Error> {
        match self {
            Verb::Deploy => deploy(mac).map(drop),
            Verb::Revert => revert(mac).map(drop),
            Verb::Recover => recover(mac).map(drop),
        }
    }
}

/// Whether everything is tried, as once before a release, or a fixed part of it.
pub fn exhaustive() -> bool {
    std::env::var_os("AGXPATCH_KILL_ALL").is_some()
}

/// How many effects a verb has where nothing goes wrong.
pub fn effects(start: &SimulatedMac, verb: Verb) -> u64 {
    let mac = start.fork().unwrap();
    let before = mac.effects().unwrap();
    verb.run(&mac).unwrap();
    mac.effects().unwrap() - before
}

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
        let fingerprint = mac.fingerprint_by(&meaning).unwrap();
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
        let (kind, next) = match verb {
            // What its own faults leave is a starting state of recover again.
            Verb::Recover => (Count::Recover, Next::Strike),
            _ => (Count::Verb, Next::Strike),
        };
        let mac = self.witnessed(start, kind, next, format!("{how}, {verb:?}"));
        let before = mac.effects().unwrap();
        verb.run(&mac).unwrap_or_else(|error| panic!("{how}: {verb:?}: {error:?}"));
        for nth in 1..=mac.effects().unwrap() - before {
            for fault in [Fault::InputOutput, Fault::NoSpace] {
                let how = format!("{how}, {verb:?} met {fault:?} at {nth}");
                let mac = match verb {
                    Verb::Recover => start.fork().unwrap(),
                    _ if exhaustive() || nth % SECONDS == 1 => {
                        self.witnessed(start, Count::Second, Next::End, how.clone())
                    }
                    _ => start.fork().unwrap(),
                };
                mac.inject(nth, fault).unwrap();
                let outcome = verb.run(&mac);
                assert!(mac.machine().unwrap().fault.is_none(), "{how} was skipped");
                at_once(&mac, verb, &outcome, &how);
                self.count(kind);
                self.leave(mac.fork().unwrap(), &how, next);
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
        self.ends_well(mac.fork().unwrap(), how);
        if *next == Next::Strike {
            self.others_do_no_harm(mac, how);
            self.script_for_recovery(mac, how);
            self.strike(mac, Verb::Recover, how);
        }
    }

    fn ends_well(&self, mac: SimulatedMac, how: &str) {
        recover(&mac).unwrap_or_else(|error| panic!("{how}: {error:?}"));
        nothing_left(&mac, how);
        restart(&mac, how);
        self.is_settled(&mac, how);
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
    /// nothing, or there was nothing to recover and it comes to its own good end.
    fn others_do_no_harm(&self, mac: &SimulatedMac, how: &str) {
        let interrupted = Journal::read(mac).unwrap().is_some();
        for verb in [Verb::Deploy, Verb::Revert] {
            let mac = mac.fork().unwrap();
            let before = mac.fingerprint().unwrap();
            let outcome = verb.run(&mac);
            if outcome.is_err() || interrupted {
                let error = outcome.unwrap_err();
                assert!(!interrupted || error.code() == Code::Interrupted, "{how}: {error:?}");
                assert_eq!(mac.fingerprint().unwrap(), before, "{how}: {error:?}");
            } else {
                restart(&mac, how);
                self.ends_well(mac, &format!("{how}, {verb:?} instead"));
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
}

/// What recovery goes by in a journal: its head, which steps were begun, and the snapshot
/// that was chosen last. Each attempt adds lines, so that no two would be equal by words.
fn meaning(text: &str) -> Option<String> {
    let journal = Journal::parse(text)?;
    let begun: Vec<&Step> = Step::ALL.iter().filter(|step| journal.has_begun(**step)).collect();
    Some(format!("{:?} {begun:?} {:?}", journal.head, journal.snapshot()))
}

/// What `restore.sh` does, by the same tools. The script itself is run in `kit.rs`.
fn run_script(mac: &SimulatedMac) {
    let volume = "/Volumes/Macintosh HD";
    let data = Path::new("/Volumes/Data");
    let driver = format!("{volume}{DRIVER}");
    let beside = layout::beside(Path::new(&driver));
    mac.reboot_to_recovery().unwrap();
    mac.ask(&Command::effect(Tool::Mount, ["-uw", volume])).unwrap();
    let remove = |path: &Path| {
        if mac.metadata(path).unwrap().is_some() {
            mac.remove_file(path).unwrap();
        }
    };
    remove(&beside);
    mac.write_new(&beside, ORIGINAL, 0o755).unwrap();
    mac.rename(&beside, Path::new(&driver)).unwrap();
    remove(&layout::on_volume(Path::new(volume), Path::new(layout::VOLUME_MANIFEST)));
    let words = ["--mount", volume, "--last-sealed-snapshot"];
    mac.ask(&Command::effect(Tool::Bless, words).input(Input::Terminal)).unwrap();
    for path in [layout::manifest(), layout::pending(), layout::reverted(), layout::journal()] {
        remove(&layout::on_volume(data, &path));
    }
}

/// What an error promises must hold before anybody recovers anything.
fn at_once(mac: &SimulatedMac, verb: Verb, outcome: &Result<(), Error>, how: &str) {
    let Err(error) = outcome else { return };
    if verb == Verb::Deploy && error.code() == Code::RolledBack {
        assert!(matches!(state(mac), State::Clean | State::UpdatedAway), "{how}");
        nothing_left(mac, how);
    } else {
        assert!(mac.machine().unwrap().mounted_by_hand().is_empty(), "{how}");
    }
}

fn restart(mac: &SimulatedMac, how: &str) {
    match mac.reboot().unwrap() {
        Boot::Up { snapshot } => {
            assert!(mac.machine().unwrap().snapshot(&snapshot).is_some(), "{how}");
        }
        other => panic!("{how}: {other:?}"),
    }
}

/// Nothing mounted, no file half written, the kept original as it was.
pub fn nothing_left(mac: &SimulatedMac, how: &str) {
    assert!(mac.machine().unwrap().mounted_by_hand().is_empty(), "{how}: mounted");
    for path in [layout::journal(), layout::mount_point(), layout::staging()] {
        assert_eq!(mac.metadata(&path).unwrap(), None, "{how}: {}", path.display());
    }
    if mac.metadata(&layout::backups()).unwrap().is_some() {
        for name in mac.list(&layout::backups()).unwrap() {
            let kept = mac.read(&layout::backup(&name)).unwrap();
            assert_eq!(kept.bytes, ORIGINAL, "{how}: backup {name}");
            assert_eq!(kept.metadata.kind, FileKind::File);
        }
    }
    let everything = [layout::STATE, layout::RECOVERY].map(Path::new);
    for directory in everything.into_iter().filter(|d| mac.metadata(d).unwrap().is_some()) {
        for name in mac.list(directory).unwrap() {
            assert!(!name.ends_with(".new"), "{how}: {name} in {}", directory.display());
        }
    }
}

/// A Mac on which the patch is in force.
pub fn active_mac() -> SimulatedMac {
    let mac = open_mac();
    deploy(&mac).unwrap();
    reboot(&mac);
    mac
}

/// Strikes `verb` on `start`, and `recover` on all that this leaves.
fn nothing_leaves_between(
    name: &str,
    start: SimulatedMac,
    verb: Verb,
    good: &'static [State],
) -> usize {
    let search = Arc::new(Search {
        good,
        seen: Default::default(),
        left: Mutex::default(),
        points: Default::default(),
    });
    if verb == Verb::Recover {
        search.leave(start, name, Next::Strike);
    } else {
        search.strike(&start, verb, name);
    }
    let mut visited = 0;
    // The start itself, or what the verb's own faults left.
    let mut all = verb == Verb::Recover || exhaustive();
    loop {
        let mut round = std::mem::take(&mut *search.left.lock().unwrap());
        round.retain(|left| all || left.fingerprint.is_sampled(SAMPLED));
        all = false;
        if round.is_empty() {
            break;
        }
        visited += round.len();
        // What is a starting state, too, need not be seen for its end alone.
        round.sort_by_key(|left| left.next == Next::End);
        let next = AtomicUsize::new(0);
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(left) = round.get(next.fetch_add(1, Ordering::Relaxed)) {
                        search.visit(left);
                    }
                });
            }
        });
    }
    let [own, recovery, second] = search.points.each_ref().map(|n| n.load(Ordering::Relaxed));
    let [struck, ended] = search.seen.each_ref().map(|seen| seen.lock().unwrap().len());
    println!(
        "{verb:?} on {name}: {own} injection points, {second} more after a first fault; {struck} \
         different states in which recover is next, {ended} others; {visited} of them visited; \
         recover: {recovery} injection points"
    );
    own + recovery
}

const ENDS: &[State] = &[State::Clean, State::Active];

#[test]
fn faults_in_a_first_deployment_leave_the_mac_clean_or_active() {
    assert!(nothing_leaves_between("CLEAN", open_mac(), Verb::Deploy, ENDS) > 1000);
}

#[test]
fn faults_in_a_later_deployment_leave_the_mac_clean_or_active() {
    let mac = active_mac();
    revert(&mac).unwrap();
    reboot(&mac);
    assert!(nothing_leaves_between("CLEAN after a revert", mac, Verb::Deploy, ENDS) > 1000);
}

#[test]
fn faults_in_a_deployment_after_an_update_leave_the_mac_clean_or_active() {
    let mac = updated_mac();
    let ends = &[State::Clean, State::Active, State::UpdatedAway];
    assert!(nothing_leaves_between("UPDATED_AWAY", mac, Verb::Deploy, ends) > 1000);
}

#[test]
fn faults_in_a_revert_leave_the_mac_clean_or_active() {
    assert!(nothing_leaves_between("ACTIVE", active_mac(), Verb::Revert, ENDS) > 500);
}

#[test]
fn faults_in_a_revert_before_the_restart_leave_the_mac_clean_or_active() {
    let mac = open_mac();
    deploy(&mac).unwrap();
    assert!(nothing_leaves_between("PENDING_REBOOT", mac, Verb::Revert, ENDS) > 500);
}

#[test]
fn faults_in_a_revert_without_records_leave_the_mac_clean_or_active() {
    let mac = active_mac();
    mac.remove_file(&layout::manifest()).unwrap();
    reboot(&mac);
    let ends = &[State::Clean, State::ActiveOther, State::Active];
    assert!(nothing_leaves_between("ACTIVE_OTHER", mac, Verb::Revert, ends) > 500);
}

#[test]
fn faults_in_the_removal_of_old_records_leave_the_mac_clean_or_active() {
    let ends = &[State::Clean, State::UpdatedAway, State::Active];
    assert!(nothing_leaves_between("UPDATED_AWAY", updated_mac(), Verb::Revert, ends) > 50);
}

#[test]
fn faults_in_a_recovery_of_records_leave_the_mac_clean_or_active() {
    let mac = active_mac();
    mac.change(|machine| machine.tagged = None).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Unknown);
    let name = "records that contradict the Mac";
    assert!(nothing_leaves_between(name, mac, Verb::Recover, ENDS) > 500);
}

/// A Mac whose patched driver an update has replaced by the next original.
fn updated_mac() -> SimulatedMac {
    let mac = active_mac();
    let release = Release { version: "15.8".into(), build: "24H1".into() };
    assert!(matches!(mac.install_update(release, ORIGINAL).unwrap(), Boot::Up { .. }));
    assert_eq!(state(&mac), State::UpdatedAway);
    mac
}

#[test]
fn a_crash_that_is_witnessed_is_the_crash_that_strikes() {
    for (start, verb) in [(open_mac(), Verb::Deploy), (active_mac(), Verb::Revert)] {
        let shown: Arc<Mutex<Vec<(u64, Fault, Fingerprint)>>> = Arc::default();
        let keep = shown.clone();
        let before = start.effects().unwrap();
        let mac = start.fork().unwrap().witnessed(Arc::new(move |at, fault, mac| {
            keep.lock().unwrap().push((at - before, fault, mac.fingerprint().unwrap()));
        }));
        verb.run(&mac).unwrap();
        let shown = shown.lock().unwrap();
        assert_eq!(shown.len() as u64, 12 * effects(&start, verb));
        // Neighbours differ in the fault or the effect, so a stride meets all of both.
        let stride = if exhaustive() { 1 } else { 7 };
        for (nth, fault, fingerprint) in shown.iter().step_by(stride) {
            let mac = start.fork().unwrap();
            mac.inject(*nth, *fault).unwrap();
            survive(|| verb.run(&mac)).unwrap_err();
            assert_eq!(mac.fingerprint().unwrap(), *fingerprint, "{verb:?} {nth} {fault:?}");
        }
    }
}

#[test]
fn a_fingerprint_tells_macs_apart_by_what_a_program_can_see() {
    let mac = active_mac();
    let same = |other: &SimulatedMac| mac.fingerprint().unwrap() == other.fingerprint().unwrap();
    let other = mac.fork().unwrap();
    reboot(&other);
    reboot(&other);
    assert!(same(&other), "another session with the same past");
    other.write_new(Path::new("/private/var/db/x"), b"", 0o600).unwrap();
    let unforced = other.fork().unwrap();
    assert!(!same(&other));
    other.sync_file(Path::new("/private/var/db/x")).unwrap();
    assert_ne!(other.fingerprint().unwrap(), unforced.fingerprint().unwrap(), "what is forced");
    other.remove_file(Path::new("/private/var/db/x")).unwrap();
    other.sync_directory(Path::new("/private/var/db")).unwrap();
    assert!(same(&other), "inodes that are gone");
    other.change(|machine| machine.tagged = None).unwrap();
    assert!(!same(&other), "another snapshot for the next boot");
}
