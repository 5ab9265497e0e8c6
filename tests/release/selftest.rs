//! The selftest on a simulated Mac: it asks everything, changes nothing, and
//! its report can be given to strangers.

use std::sync::LazyLock;

use agxpatch::selftest::{self, Inputs, ReportRedactor, Selftest};
use agxpatch_core::address::VmAddr;
use agxpatch_core::check::{Check, Status};
use agxpatch_core::edit;
use agxpatch_core::macho::{Architecture, Universal};
use agxpatch_core::patch::{Engine, Outcome};
use agxpatch_simulate::driver::{Variant, build};
use agxpatch_simulate::mac::{CsrutilForm, SimulatedMac};

use crate::harness::{prints, program};

static DRIVER: LazyLock<Vec<u8>> = LazyLock::new(|| build(&Variant::PUBLISHED).unwrap());

fn selftest(mac: &SimulatedMac) -> Selftest {
    let engine = Engine::built_in().unwrap();
    let redactor = ReportRedactor::new([mac.machine().unwrap().login]);
    selftest::run(mac, &Inputs { engine: &engine, guard: None, redactor })
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

fn named<'s>(selftest: &'s Selftest, name: &str) -> &'s Check {
    checks(selftest).find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn checks_that_need_hardware_are_skipped_and_never_pass() {
    let result = selftest(&SimulatedMac::in_memory(&DRIVER));
    let skipped = checks(&result).filter(|check| check.status == Status::Skipped);
    assert_eq!(
        skipped.map(|check| check.name).collect::<Vec<_>>(),
        [
            "tools",
            "installed-driver-loads",
            "unchanged-copy-loads",
            "patched-copy-loads",
            "guard-loads",
            "metal-device",
            "guard-inserted",
            "encoder-classes-known",
            "coalescing-seen",
            "coalescing-off",
            "copy-by-lookup",
            "copy-by-path",
            "insertion-into-apples-program",
        ]
    );
}

#[test]
fn the_method_is_described_without_its_words() {
    let result = selftest(&SimulatedMac::in_memory(&DRIVER));
    let said = |name| named(&result, name).detail.as_str();
    assert!(said("method-there").contains("destroyImpl] in arm64e at 0x2bdd1c: "));
    assert!(said("method-beginning").starts_with("pacibsp, sub, stp ×7, add, mov, adrp, ldrsw"));
    assert!(said("method-understood").starts_with("the proof knows all "));
    assert!(said("method-instructions").contains("retab"), "{}", said("method-instructions"));
    assert_eq!(said("open-instructions"), "add, str, add");
    let order = said("impl-read-and-lock");
    // Both tests and the destructor read it; the second lock is the pool's.
    let expected = "_impl is read at +0x34, +0x44, +0x324; the lock is taken at +0x58, +0x334";
    assert_eq!(order, expected);
}

#[test]
fn a_method_the_proof_cannot_read_is_named_by_its_instructions() {
    let mut driver = DRIVER.clone();
    let file = Universal::parse(&DRIVER).unwrap();
    let slice = file.slice(Architecture::ARM64E).unwrap();
    let image = slice.image().unwrap();
    // Where `_impl` is tested for nothing: `ptrue p0.b`, of scalable vectors.
    let at = image.offset_of(VmAddr(0x2bdd1c + 0x34)).unwrap().in_file(slice.offset).0 as usize;
    driver[at..at + 4].copy_from_slice(&0x2518_e3e0_u32.to_le_bytes());
    let result = selftest(&SimulatedMac::in_memory(&driver));
    let check = named(&result, "method-understood");
    assert_eq!(check.status, Status::Fail);
    assert!(check.detail.starts_with("the proof does not know 1 of "), "{}", check.detail);
    assert!(check.detail.ends_with(": ptrue"), "{}", check.detail);
}

#[test]
fn the_bundle_is_counted_and_the_mark_on_a_snapshot_told() {
    let result = selftest(&SimulatedMac::in_memory(&DRIVER));
    let bundle = &named(&result, "driver-bundle").detail;
    assert!(bundle.contains(" files of ") && bundle.contains(" 0 that are neither"), "{bundle}");
    let snapshots = &named(&result, "snapshots").detail;
    assert!(snapshots.ends_with("RootTo marks the booted one"), "{snapshots}");
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
fn a_driver_without_the_sequence_fails_and_is_described_all_the_same() {
    let other = Variant::named("no-hit").unwrap();
    let result = selftest(&SimulatedMac::in_memory(&build(other).unwrap()));
    let failed: Vec<&str> = failed(&result).iter().map(|check| check.name).collect();
    assert_eq!(failed, ["sequence-once"]);
    let nearest = &named(&result, "sequence-once").detail;
    assert!(nearest.contains(" lines fit; where `"), "{nearest}");
    assert_eq!(named(&result, "method-there").status, Status::Pass);
    assert!(checks(&result).all(|check| check.name != "proven"));
}

#[test]
fn a_driver_whose_rewrite_is_not_proven_fails() {
    let other = Variant::named("impl-live").unwrap();
    let result = selftest(&SimulatedMac::in_memory(&build(other).unwrap()));
    let failed = failed(&result);
    assert_eq!(failed.iter().map(|check| check.name).collect::<Vec<_>>(), ["proven"]);
    assert!(failed[0].detail.contains("FAIL clobbered-dead"), "{}", failed[0].detail);
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
    let last = String::from_utf8_lossy(&output.stdout).lines().last().unwrap().to_owned();
    assert!(last.ends_with("says all of this, for an issue; look it over first"), "{last}");

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
    let output = program(&arguments).arg(&report).output().unwrap();
    assert!(!output.status.success());
    // No one should wait for a report that cannot be kept.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the report already exists"));
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

#[test]
#[cfg(not(target_os = "macos"))]
fn the_device_child_says_what_is_missing() {
    let output = program(&["selftest", "--device"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("CoreGraphics"));
}
