//! The selftest on a simulated Mac: it asks everything, changes nothing, and
//! its report can be given to strangers.

use std::sync::LazyLock;

use agxpatch::check::{Check, Status};
use agxpatch::edit;
use agxpatch::macho::Universal;
use agxpatch::patch::{Engine, Outcome};
use agxpatch::selftest::{self, Means, Private, Selftest};
use agxpatch::simulate::driver::{Variant, build};
use agxpatch::simulate::mac::{CsrutilForm, SimulatedMac};

use crate::harness::{prints, program};

static DRIVER: LazyLock<Vec<u8>> = LazyLock::new(|| build(&Variant::PUBLISHED).unwrap());

fn selftest(mac: &SimulatedMac) -> Selftest {
    let engine = Engine::built_in().unwrap();
    let private = Private::new([mac.machine().unwrap().login]);
    selftest::run(mac, &Means { engine: &engine, guard: None, private }).unwrap()
}

fn checks(selftest: &Selftest) -> impl Iterator<Item = &Check> {
    selftest.sections.iter().flat_map(|section| &section.checks)
}

fn failed(selftest: &Selftest) -> Vec<&Check> {
    checks(selftest).filter(|check| check.status == Status::Fail).collect()
}

#[test]
fn a_mac_as_shipped_passes_and_is_left_as_it_was() {
    let mac = SimulatedMac::in_memory(&DRIVER);
    let before = mac.machine().unwrap();
    let result = selftest(&mac);
    assert_eq!(failed(&result), Vec::<&Check>::new());
    assert!(result.passed);
    assert_eq!(mac.machine().unwrap(), before);
    assert_eq!(mac.effects().unwrap(), 0);
}

#[test]
fn what_only_hardware_can_show_is_skipped_and_never_passes() {
    let result = selftest(&SimulatedMac::in_memory(&DRIVER));
    for name in ["installed-driver-loads", "patched-copy-loads", "guard-loads", "bless"] {
        let check = checks(&result).find(|check| check.name == name).unwrap();
        assert_eq!(check.status, Status::Skipped, "{name}");
    }
}

#[test]
fn an_answer_in_an_unknown_form_fails_alone_and_is_quoted() {
    let mac = SimulatedMac::in_memory(&DRIVER);
    let text = "System Integrity Protection status: perhaps.\n".to_owned();
    mac.change(|machine| machine.csrutil = CsrutilForm::Fixed(text)).unwrap();
    let result = selftest(&mac);
    let failed = failed(&result);
    assert_eq!(failed.iter().map(|check| check.name).collect::<Vec<_>>(), ["csrutil"]);
    assert!(failed[0].detail.contains("status: perhaps."), "{}", failed[0].detail);
}

#[test]
fn a_driver_without_the_sequence_fails_and_is_not_loaded() {
    let other = Variant::named("no-hit").unwrap();
    let result = selftest(&SimulatedMac::in_memory(&build(other).unwrap()));
    let failed: Vec<&str> = failed(&result).iter().map(|check| check.name).collect();
    assert_eq!(failed, ["sequence-once"]);
}

#[test]
fn a_driver_whose_rewrite_is_not_proven_fails() {
    let other = Variant::named("impl-live").unwrap();
    let result = selftest(&SimulatedMac::in_memory(&build(other).unwrap()));
    let failed: Vec<&str> = failed(&result).iter().map(|check| check.name).collect();
    assert_eq!(failed, ["proven"]);
}

#[test]
fn a_patched_driver_passes_too() {
    let engine = Engine::built_in().unwrap();
    let mut patched = DRIVER.clone();
    let outcome = engine.plan(&Universal::parse(&DRIVER).unwrap(), None).unwrap();
    let Outcome::Plan(plan) = outcome else { panic!("the synthetic driver is not original") };
    edit::apply(&mut patched, &plan.edits).unwrap();
    let result = selftest(&SimulatedMac::in_memory(&patched));
    assert_eq!(failed(&result), Vec::<&Check>::new());
}

#[test]
fn the_report_holds_nothing_private_and_no_code() {
    let place = tempfile::tempdir().unwrap();
    let (at, report) = (place.path().join("mac"), place.path().join("report.json"));
    let mac = SimulatedMac::create(&at, &DRIVER).unwrap();
    mac.change(|machine| {
        machine.login = "janedoe".to_owned();
        machine.boot_args = Some("serial=C02XL0GTJGH5 owner=janedoe".to_owned());
    })
    .unwrap();
    let ids: Vec<String> = mac.machine().unwrap().snapshots.into_iter().map(|s| s.uuid).collect();
    drop(mac);
    let arguments = ["--simulate", at.to_str().unwrap(), "selftest", "--report"];
    let output = program(&arguments).arg(&report).env("USER", "janedoe").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let text = std::fs::read_to_string(&report).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["schema"], "agxpatch.selftest/1");
    assert!(json["result"]["program"]["catalogue"].is_string());
    for private in ids.iter().map(String::as_str).chain(["janedoe", "C02XL0GTJGH5"]) {
        assert!(!text.contains(private), "{private}");
    }
    // The published window, and how a dump would write it.
    for word in ["f90d3534", "34350df9", "8b150320", "2003158b", "94105a5c", "5c5a1094"] {
        assert!(!text.to_lowercase().contains(word), "{word}");
    }
}

#[test]
fn a_report_never_replaces_a_file() {
    let place = tempfile::tempdir().unwrap();
    let (at, report) = (place.path().join("mac"), place.path().join("mine.txt"));
    SimulatedMac::create(&at, &DRIVER).unwrap();
    std::fs::write(&report, "mine").unwrap();
    let arguments = ["--simulate", at.to_str().unwrap(), "selftest", "--report"];
    assert!(!program(&arguments).arg(&report).status().unwrap().success());
    assert_eq!(std::fs::read_to_string(&report).unwrap(), "mine");
}

#[test]
fn the_loading_child_says_whether_the_loader_took_the_library() {
    let missing = program(&["selftest", "--load", "/nowhere/library"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere/library"));
    // The C library is loaded already, wherever this runs.
    let present =
        if cfg!(target_os = "macos") { "/usr/lib/libSystem.B.dylib" } else { "libc.so.6" };
    assert_eq!(prints(&["selftest", "--load", present]), "");
}
