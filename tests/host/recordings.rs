//! Recorded Macs: what their answers mean. Each file of `recordings/` says where its
//! answers were published.

use std::path::{Path, PathBuf};

use agxpatch_core::check::Status;
use agxpatch_core::error::Code;
use agxpatch_deploy::doctor::{Consent, Diagnosis, Finding, Verdict, examine};
use agxpatch_host::driver::DriverBundle;
use agxpatch_host::machine::{self, FileVault, LibraryValidation, NotOff, Signer};
use agxpatch_host::recording::{Recorder, Recording, Replay};
use agxpatch_host::redact::Redactor;
use agxpatch_host::sip::Sip;
use agxpatch_host::{Command, CsrConfig, Host, Tool, volume};

use super::{DRIVER, open_mac};

fn recording(name: &str) -> Recording {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/recordings").join(name);
    Recording::parse(&std::fs::read(path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e:?}"))
}

fn replay(name: &str) -> Replay {
    Replay::new(recording(&format!("{name}.json")))
}

fn diagnosed(host: &dyn Host) -> Diagnosis {
    let judge = |_: &[u8]| Verdict::Listed { name: "any".into() };
    examine(host, &judge, Consent::default()).unwrap()
}

fn finding(diagnosis: &Diagnosis, name: &str) -> Finding {
    let found = diagnosis.findings.iter().find(|finding| finding.check.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {diagnosis:#?}")).clone()
}

#[test]
fn every_recording_is_read_names_its_source_and_fails_nothing_it_lacks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/recordings");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let recording = recording(&name);
        assert!(!recording.source.is_empty(), "{name}");
        let diagnosis = diagnosed(&Replay::new(recording.clone()));
        for finding in &diagnosis.findings {
            let lacks = finding.check.detail.contains("not recorded");
            assert!(!lacks || finding.check.status == Status::Skipped, "{name}: {finding:?}");
        }
        seen += 1;
    }
    assert!(seen >= 30, "{seen}");
}

#[test]
fn protections_are_read_in_every_recorded_form() {
    for (name, bits, root) in [
        ("csrutil-1657", 0xa6f, false),
        ("csrutil-apple-internal", 0x87f, false),
        ("csrutil-legacy-67", 0x867, false),
        ("csrutil-several-installs", 0x86f, false),
        ("csrutil-yabai1800", 0x46, true),
        ("csrutil-openradar5820", 0x867, false),
    ] {
        let sip = Sip::ask(&replay(name)).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(sip.disagreements, [], "{name}");
        assert_eq!(sip.authenticated_root, root, "{name}");
        if sip.from_kernel {
            assert_eq!(sip.bits, CsrConfig(bits), "{name}");
        } else {
            assert!(sip.bits.allows(CsrConfig::NEEDED_FOR_SYSTEM), "{name}: {}", sip.bits);
        }
    }
}

#[test]
fn each_state_of_filevault_has_a_remedy_of_its_own() {
    let mut remedies = Vec::new();
    for (name, expected) in [
        ("fv-encrypting", NotOff::On),
        ("fv-decrypting", NotOff::Decrypting),
        ("fv-deferred", NotOff::Deferred),
        ("fv-off-master-keychain", NotOff::MasterKeychain),
        ("fv-off-restart-finish", NotOff::OffAfterRestart),
        ("fv-off-restart-on", NotOff::OnAfterRestart),
    ] {
        let replay = replay(name);
        let state = machine::filevault(&replay).unwrap();
        assert_eq!(state.not_off(), Some(expected), "{name}");
        let finding = finding(&diagnosed(&replay), "filevault");
        assert!(finding.is_blocker() && !finding.remedies.is_empty(), "{name}");
        remedies.push(format!("{:?}", finding.remedies));
    }
    remedies.sort();
    remedies.dedup();
    // On, and on after the restart, are both ended by the same command.
    assert_eq!(remedies.len(), 5, "{remedies:#?}");
    for (said, expected) in [
        // A second line adds to the first.
        ("FileVault is On. FileVault master keychain appears to be installed.", NotOff::On),
        ("FileVault is On. Deferred enablement appears to be active for user 'x'.", NotOff::On),
        ("FileVault is On, but needs to be restarted to finish.", NotOff::On),
        ("FileVault is On, but will be disabled after the next restart.", NotOff::Decrypting),
        ("FileVault is On. Decryption in progress: Percent completed = 1", NotOff::Decrypting),
    ] {
        assert_eq!(FileVault::NotOff(said.into()).not_off(), Some(expected), "{said}");
    }
    let unknown = FileVault::NotOff("FileVault is Resting.".into());
    assert_eq!(unknown.not_off(), Some(NotOff::Unknown));
    assert_eq!(FileVault::Off.not_off(), None);
}

#[test]
fn the_driver_is_the_one_that_apples_gpu_asks_for() {
    for (name, driver) in [
        ("ioreg-m4", "AGXMetalG16G_B0"),
        ("ioreg-m4pro", "AGXMetalG16X"),
        ("ioreg-two", "AGXMetalG16X"),
    ] {
        let bundle = DriverBundle::installed(&replay(name)).unwrap();
        assert_eq!(bundle.name(), driver, "{name}");
        assert_eq!(bundle.executable().file_name().unwrap(), driver);
    }
}

#[test]
fn volumes_and_snapshots_are_read() {
    let crystal = volume::system_volume(&replay("diskutil-crystal")).unwrap();
    assert_eq!((crystal.device.as_str(), crystal.mounted_at), ("disk1s5", None));
    let mounted = replay("diskutil-mnt1");
    let mount = volume::system_volume(&mounted).unwrap().mounted_at;
    assert_eq!(mount.as_deref(), Some("/System/Volumes/Update/mnt1"));
    let finding = finding(&diagnosed(&mounted), "system-volume");
    assert!(finding.check.detail.contains("Apple's updater"), "{finding:?}");
    assert!(!format!("{:?}", finding.remedies).contains("umount"), "{finding:?}");

    let sealed = |name: &str| {
        let snapshots = volume::snapshots(&replay(name), "disk3s1").unwrap();
        snapshots.iter().filter(|s| s.is_sealed_release()).count()
    };
    assert_eq!(sealed("snapshots-msuprepare"), 2);
    assert_eq!(sealed("snapshots-real"), 1);
}

#[test]
fn the_base_build_is_that_of_the_system_volume() {
    let release = machine::release(&replay("sw_vers-rsr")).unwrap();
    assert_eq!(
        release.to_string(),
        "13.3.1 (22E261) with the Background Security Improvement 22E772610a"
    );
}

#[test]
fn only_the_meant_boot_arguments_would_be_removed() {
    let arguments = machine::boot_args(&replay("nvram-args")).unwrap().unwrap();
    assert_eq!(machine::loosening(&arguments), [""; 0]);
    let command = machine::command_without_loosening(&format!("{arguments} amfi=0x80"));
    assert!(command.contains("alcid=11 shikigva=32") && !command.contains("amfi"), "{command}");
    assert_eq!(machine::boot_args(&replay("nvram-none")).unwrap(), None);
}

#[test]
fn library_validation_and_signers_are_read() {
    let state = machine::library_validation(&replay("defaults-missing")).unwrap();
    assert_eq!(state, LibraryValidation::On);
    let signer = |name| machine::signer(&replay(name), Path::new("/f")).unwrap();
    assert_eq!(signer("codesign-adhoc-linker"), Signer::AdHoc);
    assert_eq!(signer("codesign-platform-no-authority"), Signer::Apple);
}

#[test]
fn a_plan_left_over_from_the_update_that_runs_blocks_nothing() {
    const PLAN: &str = "/System/Volumes/Update/Preflight.plist";
    let plan = |build: &str| {
        format!(
            "<plist version=\"1.0\"><dict><key>update-asset-attributes</key><dict><key>Build</key>\
             <string>{build}</string></dict></dict></plist>"
        )
    };
    let mac = open_mac();
    mac.plant(PLAN, plan("24G419").as_bytes()).unwrap();
    assert!(!finding(&diagnosed(&mac), "staged-update").is_blocker());
    // So does one of an update before it: the updater prepares no way down.
    mac.plant(PLAN, plan("24G325").as_bytes()).unwrap();
    assert!(!finding(&diagnosed(&mac), "staged-update").is_blocker());
    for build in ["24H1", "25A354", "24G5054d", "unreadable"] {
        mac.plant(PLAN, plan(build).as_bytes()).unwrap();
        assert!(finding(&diagnosed(&mac), "staged-update").is_blocker(), "{build}");
    }
}

#[test]
fn a_recording_answers_as_the_mac_it_is_of() {
    let mac = open_mac();
    let recorder = Recorder::new(&mac);
    let whole = diagnosed(&recorder);
    let recording = recorder.recording();
    let again = Recording::parse(&recording.to_json().unwrap()).unwrap();
    assert_eq!(again, recording);
    let replayed = diagnosed(&Replay::new(again));
    assert_eq!(whole, replayed);
    // The driver's own bytes are in this one only because they are a few words.
    assert!(recording.files.len() > 3);
    let redacted = Redactor::new(["owner".to_owned()]).recording(&recording).unwrap();
    let redacted = diagnosed(&Replay::new(redacted));
    for (one, other) in whole.findings.iter().zip(&redacted.findings) {
        assert_eq!(one.check.status, other.check.status, "{one:?} {other:?}");
    }
    assert_eq!(mac.read(Path::new(agxpatch_simulate::mac::DRIVER)).unwrap().bytes, DRIVER);
}

#[test]
fn a_recorded_mac_refuses_every_effect_and_invents_no_answer() {
    let replay = replay("nvram-none");
    let effect = Command::effect(Tool::Umount, ["/x"]);
    assert_eq!(replay.run(&effect).unwrap_err().code(), Code::ReplayOnly);
    assert_eq!(replay.write_new(Path::new("/x"), b"", 0).unwrap_err().code(), Code::ReplayOnly);
    let question = Command::question(Tool::Fdesetup, ["status"]);
    assert_eq!(replay.run(&question).unwrap_err().code(), Code::NotRecorded);
    assert_eq!(replay.metadata(Path::new("/x")).unwrap_err().code(), Code::NotRecorded);
    assert_eq!(replay.shared_cache_contains(&PathBuf::from("/x")).unwrap(), None);
}

#[test]
fn files_that_are_not_recordings_are_refused_by_name() {
    for bytes in [
        &b""[..],
        b"{",
        b"[]",
        b"{\"version\": 2}",
        b"{\"version\": \"1\"}",
        b"{\"said\": {\"x\": 3}}",
        b"\xff\xfe",
        &vec![b' '; 17 << 20],
    ] {
        let error = Recording::parse(bytes).unwrap_err();
        assert_eq!(error.code(), Code::BadRecording, "{error:?}");
    }
    let unknown = br#"{"moon": "waning", "file": "/f"}"#;
    assert_eq!(Recording::parse(unknown).unwrap().version, 1);
}
