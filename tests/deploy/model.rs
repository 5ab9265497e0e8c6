//! The code held against `tla/journal.tla`: its sequences are those of the
//! specification, and what it does to a Mac, under faults as without, is made of
//! transitions of the specification.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use agxpatch_deploy::journal::Journal;
use agxpatch_deploy::manifest::Pending;
use agxpatch_deploy::{self as deploy, Operation, Options, Owner, Plan, Progress, Step, layout};
use agxpatch_host::{Command, Host, Tool};
use agxpatch_simulate::mac::{DRIVER, Fault, Loss, Reach, SimulatedMac, survive};
use tla_checker::checker::{CheckResult, check};
use tla_checker::load::prepare_from_path;

use crate::bench::*;
use crate::faults::{Verb, active_mac, effects};

const SPECIFICATION: &str = include_str!("../../tla/journal.tla");

/// The steps of an operation in the specification's words.
fn modelled(operation: Operation) -> Vec<&'static str> {
    operation.steps().iter().flat_map(|step| step.model()).copied().collect()
}

#[test]
fn the_sequences_of_the_code_are_those_of_the_specification() {
    for operation in Operation::ALL {
        let name = operation.name();
        let head = format!("{}{}Steps == <<", name[..1].to_uppercase(), &name[1..]);
        let at = SPECIFICATION.find(&head).unwrap_or_else(|| panic!("no {head}")) + head.len();
        let body = SPECIFICATION[at..].split(">>").next().unwrap();
        let steps: Vec<&str> = body.split(',').map(|word| word.trim().trim_matches('"')).collect();
        assert_eq!(modelled(operation), steps, "{name}");
    }
}

/// Puts each state of the Mac down as the specification's variables.
struct Observer<'m> {
    mac: &'m SimulatedMac,
    seen: RefCell<Vec<String>>,
}

impl Observer<'_> {
    fn note(&self, operation: Option<Operation>, position: usize) {
        let state = abstracted(self.mac, operation, position);
        let mut seen = self.seen.borrow_mut();
        if seen.last() != Some(&state) {
            seen.push(state);
        }
    }
}

/// How many of the model's steps come before a step of an operation.
fn position(operation: Operation, step: Step) -> usize {
    let before = operation.steps().iter().take_while(|other| **other != step);
    before.map(|step| step.model().len()).sum::<usize>() + 1
}

impl Progress for Observer<'_> {
    fn begins(&self, operation: Operation, step: Step) {
        self.note(Some(operation), position(operation, step));
    }

    fn ends(&self, operation: Operation, step: Step) {
        match step {
            Step::Close => self.note(None, 0),
            _ => self.note(Some(operation), position(operation, step) + step.model().len()),
        }
    }
}

/// The Mac in the variables of the specification.
fn abstracted(mac: &SimulatedMac, operation: Option<Operation>, step: usize) -> String {
    let mac = mac.fork().unwrap();
    mac.change(|machine| machine.fault = None).unwrap();
    let truth = |holds: bool| if holds { "TRUE" } else { "FALSE" };
    let machine = mac.machine().unwrap();
    let ours = |name: &str| if name.starts_with("com.apple.bless") { "ours" } else { "sealed" };
    let journal = Journal::read(&mac).unwrap();
    let going_on = match &journal {
        None => "none",
        Some(journal) if journal.has_begun(Step::Undoing) => "undo",
        Some(journal) => journal.head.operation.name(),
    };
    let exists = |path: &Path| mac.metadata(path).unwrap().is_some();
    let filled =
        |path: &Path| exists(path) && !mac.list(path).unwrap().iter().all(|n| n.ends_with(".new"));
    let (backup, staged) = (filled(&layout::backups()), filled(&layout::staging()));
    let mounted = !machine.mounted_by_hand().is_empty();
    let pending: Option<Pending> = deploy::manifest::read(&mac, &layout::pending()).unwrap();
    let pending = pending.is_some_and(|pending| pending.session == machine.boot_session());
    let newest =
        machine.snapshots.iter().rfind(|s| ours(&s.name) == "ours").map(|s| s.name.clone());
    let root = if mounted { layout::mount_point() } else { "/System/Volumes/Update/mnt1".into() };
    if !mounted {
        let mount = ["-o", "nobrowse", "-t", "apfs", "/dev/disk3s1"];
        mac.ask(&Command::effect(Tool::Mount, mount).argument(&root)).unwrap();
    }
    let driver_in = |root: &Path| {
        let driver = mac.read(&layout::on_volume(root, Path::new(DRIVER))).unwrap().bytes;
        if driver == ORIGINAL { "original" } else { "patched" }
    };
    let marked = |root: &Path| exists(&layout::on_volume(root, Path::new(layout::VOLUME_MANIFEST)));
    let live = driver_in(&root);
    let manifest = marked(&root);
    let beside = exists(&layout::beside(&layout::on_volume(&root, Path::new(DRIVER))));
    let inside = match &newest {
        None => ("original", false),
        Some(newest) => {
            mac.change(|machine| machine.tagged = Some(newest.clone())).unwrap();
            mac.reboot().unwrap();
            (driver_in(Path::new("/")), marked(Path::new("/")))
        }
    };
    format!(
        "<< \"{}\", {step}, \"{}\", \"{going_on}\", {}, {}, {}, {}, \"{live}\", {}, {}, \
         [driver |-> \"{}\", manifest |-> {}], \"{}\", \"{}\", {} >>",
        operation.map_or("none", Operation::name),
        if operation.is_some() && step > 1 { "ours" } else { "free" },
        truth(backup),
        truth(staged),
        truth(mounted),
        truth(beside),
        truth(manifest),
        if newest.is_some() { "{\"sealed\", \"ours\"}" } else { "{\"sealed\"}" },
        inside.0,
        truth(inside.1),
        machine.tagged.as_deref().map_or("sealed", ours),
        ours(&machine.booted),
        truth(pending),
    )
}

/// What a run of `verb` struck by `fault` and its recovery look like.
fn trace(start: &SimulatedMac, verb: Verb, nth: u64, fault: Option<Fault>) -> Vec<String> {
    let mac = start.fork().unwrap();
    if let Some(fault) = fault {
        mac.inject(nth, fault).unwrap();
    }
    let observer = Observer { mac: &mac, seen: RefCell::default() };
    observer.note(None, 0);
    // How it comes out is not asked here, only what it did.
    let _ = survive(|| match verb {
        Verb::Revert => {
            deploy::revert(&mac, &Bench, Owner::AtTerminal, &mut |_| Ok(()), &observer).map(drop)
        }
        _ => deploy::deploy(&mac, &Bench, Options::default(), &mut |_: &Plan| Ok(()), &observer)
            .map(drop),
    });
    let mut seen = observer.seen.into_inner();
    let mac = mac.process();
    if !mac.machine().unwrap().is_up() {
        mac.reboot().unwrap();
    }
    let observer = Observer { mac: &mac, seen: RefCell::default() };
    observer.note(None, 0);
    deploy::recover(&mac, &Bench, Owner::AtTerminal, &observer).unwrap();
    mac.reboot().unwrap();
    observer.note(None, 0);
    seen.extend(observer.seen.into_inner());
    seen.dedup();
    seen
}

/// Whether the specification leads from one state to the other in a few steps.
fn allowed(from: &str, to: &str) -> bool {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::write(path("journal.tla"), SPECIFICATION).unwrap();
    let names = [
        "op",
        "step",
        "lock",
        "journal",
        "backup",
        "staged",
        "mounted",
        "beside",
        "live",
        "manifest",
        "snapshots",
        "inside",
        "tag",
        "booted",
        "pending",
    ];
    let begins: Vec<String> =
        names.iter().enumerate().map(|(i, name)| format!("/\\ {name} = From[{}]", i + 1)).collect();
    let module = format!(
        "---- MODULE replay ----\nEXTENDS journal\nVARIABLE left\nFrom == {from}\nTo == {to}\n\
         ReplayInit ==\n    {}\n    /\\ left = 4\n\
         ReplayNext == left > 0 /\\ left' = left - 1 /\\ Next\n\
         ReplaySpec == ReplayInit /\\ [][ReplayNext]_<<vars, left>>\n\
         NotReached == vars # To\n====\n",
        begins.join("\n    ")
    );
    fs::write(path("replay.tla"), module).unwrap();
    let constants: Vec<String> = ["Deploy", "Undo", "Cancel", "Complete", "Finish", "Revert"]
        .map(|name| format!("    {name} <- {name}Steps"))
        .to_vec();
    let configuration = format!(
        "SPECIFICATION ReplaySpec\nCHECK_DEADLOCK FALSE\nCONSTANTS\n{}\nINVARIANT NotReached\n",
        constants.join("\n")
    );
    fs::write(path("replay.cfg"), configuration).unwrap();
    let (module, configuration) = (path("replay.tla"), path("replay.cfg"));
    let prepared = prepare_from_path(&module, Some(&configuration), &[]).unwrap();
    match check(&prepared.spec, &prepared.domains, &prepared.checker_config) {
        CheckResult::Ok(_) => false,
        CheckResult::InvariantViolation(..) => true,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_step_under_faults_is_a_transition_of_the_specification() {
    let faults = [
        Fault::InputOutput,
        Fault::Kill { reach: Reach::After },
        Fault::Power { reach: Reach::After, loss: Loss::Everything },
    ];
    let mut pairs = BTreeSet::new();
    let mut traces = 0;
    for (start, verb) in [(open_mac(), Verb::Deploy), (active_mac(), Verb::Revert)] {
        let mut kept = vec![trace(&start, verb, 0, None)];
        for nth in 1..=effects(&start, verb) {
            kept.extend(faults.map(|fault| trace(&start, verb, nth, Some(fault))));
        }
        traces += kept.len();
        pairs.extend(kept.iter().flat_map(|t| t.windows(2)).map(|p| (p[0].clone(), p[1].clone())));
    }
    println!("{traces} traces, {} different pairs of states", pairs.len());
    assert!(pairs.len() > 50);
    for (from, to) in &pairs {
        assert!(allowed(from, to), "not a transition of the specification:\n{from}\n{to}");
    }
}

#[test]
fn the_replay_notices_what_the_specification_forbids() {
    let mac = open_mac();
    let before = abstracted(&mac, None, 0);
    // Patched without a backup, from one moment to the next.
    mac.plant_on_live_volume(DRIVER, PATCHED).unwrap();
    let after = abstracted(&mac, None, 0);
    assert!(!allowed(&before, &after));
}
