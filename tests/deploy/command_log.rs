//! The record of commands, and that no failure within a deployment is kept silent.

use std::cell::RefCell;

use agxpatch_deploy::{self as deploy, CommandLog, Deployed, LogState, Options, Plan};
use agxpatch_host::logging_host::{Entry, Logged, Sink};
use agxpatch_simulate::mac::Fault;

use crate::bench::*;
use crate::kept::Kept;

/// Hears what the record of commands hears.
struct Both<'a> {
    log: &'a CommandLog<'a>,
    entries: &'a RefCell<Vec<Entry>>,
}

impl Sink for Both<'_> {
    fn record(&self, entry: Entry) {
        self.entries.record(entry.clone());
        self.log.record(entry);
    }
}

/// What failed and was tried again at once, which changes nothing.
fn is_tried_again(entry: &Entry) -> bool {
    let again = ["/sbin/umount ", "remove /private/var/db/agxpatch/journal", "sync directory "];
    again.iter().any(|what| entry.what.starts_with(what))
}

#[test]
fn a_deployment_that_succeeds_although_something_failed_says_what() {
    let start = open_mac();
    let (mut undone, mut noted, mut incomplete, mut again) = (0, 0, 0, 0);
    for nth in 1.. {
        let mac = start.fork().unwrap();
        mac.inject(nth, Fault::NoSpace).unwrap();
        let log = CommandLog::new(&mac);
        let entries = RefCell::default();
        let both = Both { log: &log, entries: &entries };
        let host = Logged::new(&mac, &both);
        let consent = &mut |_: &Plan| Ok(());
        let outcome = deploy::deploy(&host, &Bench, Options::default(), consent, &());
        let state = log.finish();
        if mac.machine().unwrap().fault.is_some() {
            break;
        }
        let Ok(Deployed::Done { notes, .. }) = outcome else {
            undone += 1;
            continue;
        };
        let failed = |entry: &&Entry| !entry.done || entry.stderr.contains("No space left");
        let entries = entries.borrow();
        let failed: Vec<&Entry> = entries.iter().filter(failed).collect();
        match (state, failed.as_slice()) {
            (LogState::Incomplete(reason), []) => {
                assert_eq!(reason, "No space left on device");
                incomplete += 1;
            }
            (LogState::Kept, [..]) if !notes.is_empty() => noted += 1,
            (LogState::Kept, [one]) if is_tried_again(one) => again += 1,
            other => panic!("effect {nth} failed in silence: {other:?}"),
        }
    }
    println!(
        "{undone} undone, {noted} with a note, {incomplete} with an incomplete record, {again} \
         tried again at once"
    );
    assert!(undone > 30 && noted > 3 && incomplete > 3 && again > 0);
}

#[test]
fn the_program_says_that_its_record_is_incomplete() {
    let digest = Kept::new().digest();
    let says = |nth: &u64| {
        let mac = Kept::new();
        assert!(mac.run(&["simulate", "fault", &nth.to_string(), "space"]).status.success());
        let output = mac.deploy(&digest);
        let text = String::from_utf8(output.stdout).unwrap();
        text.contains("note: /private/var/db/agxpatch/last.log is incomplete: No space left")
    };
    assert!((1..12).any(|nth| says(&nth)));
}
