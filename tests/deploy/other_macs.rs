//! Other drivers, other releases of macOS, and what version 0.1.0 left behind.

use std::path::Path;
use std::sync::Arc;

use agxpatch_core::error::Code;
use agxpatch_deploy::doctor::{self, Consent, Depth, Verdict};
use agxpatch_deploy::{self as deploy, Deployed, Recovered, State, layout};
use agxpatch_host::Host;
use agxpatch_simulate::mac::{Boot, DRIVER, Model, Release, Signer, SimulatedMac, driver_path};

use crate::bench::*;
use crate::faults::active_mac;
use crate::kept::Kept;

/// An open Mac with this macOS, whose GPU asks for this driver.
fn mac_with(version: &str, plugin: &str) -> SimulatedMac {
    let release = Release { version: version.into(), build: "24G419".into() };
    let model = Model { release, plugin: plugin.into() };
    let judge = |bytes: &[u8]| if bytes == PATCHED { Signer::AdHoc } else { Signer::Broken };
    let mac = SimulatedMac::of_model(&model, ORIGINAL).with_judge(Arc::new(judge));
    assert!(matches!(mac.open_for_deployment().unwrap(), Boot::Up { .. }));
    mac
}

#[test]
fn the_driver_that_the_gpu_names_is_deployed_and_reverted() {
    for plugin in
        ["AGXMetalG13G", "AGXMetalG13X", "AGXMetalG14G", "AGXMetalG16G_B0", "AGXMetalG17P"]
    {
        let mac = mac_with("15.7.3", plugin);
        let path = driver_path(plugin);
        let Deployed::Done { plan, .. } = deploy(&mac).unwrap() else { panic!("{plugin}") };
        assert_eq!(plan.manifest.driver, path);
        let kit = Path::new(layout::RECOVERY).join(format!("{plugin}.original"));
        assert_eq!(mac.read(&kit).unwrap().bytes, ORIGINAL);
        let script = mac.read(&layout::recovery_script()).unwrap().bytes;
        assert!(String::from_utf8(script).unwrap().contains(&path), "{plugin}");
        reboot(&mac);
        assert_eq!(state(&mac), State::Active, "{plugin}");
        assert_eq!(mac.read(Path::new(&path)).unwrap().bytes, PATCHED);
        assert!(deploy::verify(&mac, &Bench).unwrap().holds, "{plugin}");
        // What was deployed is taken back whatever the I/O registry says by now.
        mac.change(|machine| machine.metal_plugin = None).unwrap();
        assert_eq!(state(&mac), State::Active, "{plugin}");
        revert(&mac).unwrap();
        mac.change(|machine| machine.metal_plugin = Some(plugin.into())).unwrap();
        reboot(&mac);
        assert_eq!(state(&mac), State::Clean, "{plugin}");
        assert_eq!(mac.read(Path::new(&path)).unwrap().bytes, ORIGINAL);
    }
}

#[test]
fn two_drivers_have_two_digests() {
    let digest = |plugin: &str| match deploy(&mac_with("15.7.3", plugin)).unwrap() {
        Deployed::Done { plan, .. } => plan.digest,
        other => panic!("{other:?}"),
    };
    assert_ne!(digest("AGXMetalG16X"), digest("AGXMetalG16G_B0"));
}

#[test]
fn a_gpu_that_is_not_apples_is_refused_with_the_reason() {
    let mac = mac_with("15.7.3", "AMDMTLBronzeDriver");
    let error = deploy(&mac).unwrap_err();
    assert_eq!(error.code(), Code::NotReady);
    assert!(format!("{error:?}").contains("AGXMetal"), "{error:?}");
}

#[test]
fn a_driver_in_the_shared_cache_leaves_only_the_guard() {
    for (version, cached) in
        [("13.6", true), ("14.7", true), ("15.7.3", false), ("26.3.1", false), ("27.0", true)]
    {
        let mac = mac_with(version, "AGXMetalG16X");
        let path = Path::new(DRIVER);
        assert_eq!(mac.shared_cache_contains(path).unwrap(), Some(cached), "{version}");
        assert_eq!(mac.metadata(path).unwrap().is_none(), cached, "{version}");
        let judge = |_: &[u8]| Verdict::Listed { name: "small".into() };
        let diagnosis = doctor::examine(&mac, &judge, Consent::default()).unwrap();
        assert_eq!(diagnosis.is_clean(), !cached, "{version}: {diagnosis:#?}");
        let open = |depth: Depth| diagnosis.depths.iter().any(|d| d.depth == depth && d.open);
        assert!(open(Depth::Guard), "{version}");
        assert_eq!(open(Depth::Scoped), !cached, "{version}");
        assert_eq!(open(Depth::System), !cached, "{version}");
        if cached {
            assert_eq!(diagnosis.depths[0].depth, Depth::Guard);
            let file = diagnosis.findings.iter().find(|f| f.check.name == "driver-file").unwrap();
            assert!(file.check.detail.contains("dyld shared cache"), "{file:?}");
            assert_eq!(deploy(&mac).unwrap_err().code(), Code::NotReady);
        }
    }
}

#[test]
fn the_program_says_why_only_the_guard_is_left_where_there_is_no_driver_file() {
    for version in ["14.7", "27.0"] {
        let mac = Kept { place: tempfile::tempdir().unwrap() };
        assert!(mac.run(&["simulate", "new", "--open", "--macos", version]).status.success());
        let doctor = String::from_utf8(mac.run(&["doctor"]).stdout).unwrap();
        for line in ["the driver in its dyld shared cache", "  guard   open", "  system  closed"] {
            assert!(doctor.contains(line), "{version}: {line} in {doctor}");
        }
        let refusal = mac.json(&["deploy", "--unlisted-build"]);
        assert_eq!(refusal["error"]["next"], "agxpatch run -- python train.py", "{refusal}");
        let verify = mac.json(&["verify"]);
        let status = |answer: &serde_json::Value, name: &str| {
            let checks = answer["result"]["checks"].as_array().unwrap();
            checks.iter().find(|check| check["name"] == name).unwrap()["status"].clone()
        };
        for name in ["driver-hash", "driver-signer"] {
            assert_eq!(status(&verify, name), "SKIPPED", "{version}: {name}");
        }
        assert_eq!(mac.state(), "CLEAN");
        let selftest = mac.run(&["selftest"]);
        assert!(selftest.status.success(), "{selftest:?}");
        let selftest = String::from_utf8(selftest.stdout).unwrap();
        let reason = "the driver is in the dyld shared cache, not in a file: scoped and system are \
                      closed, guard works";
        assert_eq!(selftest.matches(reason).count(), 3, "{selftest}");
        assert!(!selftest.contains("No such file"), "{selftest}");
    }
}

#[test]
fn an_update_to_a_macos_without_the_file_is_survived() {
    let mac = active_mac();
    let release = Release { version: "27.0".into(), build: "26A428".into() };
    mac.install_update(release, ORIGINAL).unwrap();
    assert_eq!(state(&mac), State::UpdatedAway);
    assert_eq!(deploy(&mac).unwrap_err().code(), Code::NotReady);
    assert!(matches!(recover(&mac).unwrap(), Recovered::Nothing { .. }));
    assert!(matches!(revert(&mac).unwrap(), deploy::Reverted::Forgotten));
    assert_eq!(state(&mac), State::Clean);
}

const MANIFEST: &[u8] = include_bytes!("records-0.1.0/manifest.json");
/// The script of that version's kit, with the facts of these small drivers filled in.
const SCRIPT: &[u8] = include_bytes!("records-0.1.0/restore.sh");
const JOURNAL: &[u8] = include_bytes!("records-0.1.0/revert.journal");

/// A Mac with a deployment of version 0.1.0 in force.
fn deployed_by_0_1_0() -> SimulatedMac {
    let mac = active_mac();
    mac.plant(layout::manifest().to_str().unwrap(), MANIFEST).unwrap();
    // The running snapshot carries the same.
    mac.plant(layout::VOLUME_MANIFEST, MANIFEST).unwrap();
    mac.plant_on_live_volume(layout::VOLUME_MANIFEST, MANIFEST).unwrap();
    mac.plant(layout::recovery_script().to_str().unwrap(), SCRIPT).unwrap();
    mac
}

#[test]
fn the_kit_of_version_0_1_0_is_kept_until_clean_was_seen_and_then_removed() {
    let mac = deployed_by_0_1_0();
    let script = layout::recovery_script();
    revert(&mac).unwrap();
    assert_eq!(mac.read(&script).unwrap().bytes, SCRIPT);
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
    assert_eq!(mac.read(&script).unwrap().bytes, SCRIPT);
    let again = revert(&mac).unwrap();
    assert!(matches!(again, deploy::Reverted::Already { kit_removed: true, .. }), "{again:?}");
    assert_eq!(mac.metadata(Path::new(layout::RECOVERY)).unwrap(), None);
}

#[test]
fn this_version_deploys_over_a_deployment_of_version_0_1_0() {
    let mac = deployed_by_0_1_0();
    revert(&mac).unwrap();
    reboot(&mac);
    deploy(&mac).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Active);
    assert_ne!(mac.read(&layout::recovery_script()).unwrap().bytes, SCRIPT);
    revert(&mac).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
}

#[test]
fn with_several_gpus_the_one_driver_of_apples_counts_and_two_are_refused_by_name() {
    let mac = mac_with("15.7.3", "AGXMetalG16X");
    let asks = |mac: &SimulatedMac, plugins: &str| {
        mac.change(|machine| machine.metal_plugin = Some(plugins.into())).unwrap();
    };
    for plugins in ["AGXMetalG16X,AGXMetalG16X", "AMDMTLBronzeDriver,AGXMetalG16X"] {
        let mac = mac.fork().unwrap();
        asks(&mac, plugins);
        deploy(&mac).unwrap_or_else(|error| panic!("{plugins}: {error:?}"));
        reboot(&mac);
        assert_eq!(state(&mac), State::Active, "{plugins}");
    }
    // In either order, and neither is guessed.
    for plugins in ["AGXMetalG16X,AGXMetalG17P", "AGXMetalG17P,AGXMetalG16X"] {
        let other = mac.fork().unwrap();
        asks(&other, plugins);
        let error = deploy(&other).unwrap_err();
        assert_eq!(error.code(), Code::NotReady);
        assert!(format!("{error:?}").contains("different drivers"), "{error:?}");
        let judge = |_: &[u8]| Verdict::Listed { name: "small".into() };
        let diagnosis = doctor::examine(&other, &judge, Consent::default()).unwrap();
        let open: Vec<Depth> =
            diagnosis.depths.iter().filter(|d| d.open).map(|d| d.depth).collect();
        assert_eq!(open, [Depth::Guard], "the guard needs no file");
    }
    // What was deployed while there was one GPU is taken back with two.
    deploy(&mac).unwrap();
    reboot(&mac);
    asks(&mac, "AGXMetalG16X,AGXMetalG17P");
    assert_eq!(state(&mac), State::Active);
    revert(&mac).unwrap();
    assert_eq!(state(&mac), State::RevertPending);
}

#[test]
fn a_deployment_of_version_0_1_0_is_shown_reverted_and_recovered() {
    let mac = deployed_by_0_1_0();
    assert_eq!(state(&mac), State::Active);
    let seen = deploy::verify(&mac, &Bench).unwrap();
    assert!(seen.holds, "{:#?}", seen.checks);
    let recovering = mac.fork().unwrap();
    revert(&mac).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
    assert_eq!(mac.read(Path::new(DRIVER)).unwrap().bytes, ORIGINAL);

    // A revert of 0.1.0 that was interrupted while it removed the kit.
    recovering.plant(layout::journal().to_str().unwrap(), JOURNAL).unwrap();
    assert_eq!(revert(&recovering).unwrap_err().code(), Code::Interrupted);
    let recovered = recover(&recovering).unwrap();
    assert!(matches!(recovered, Recovered::Done { .. }), "{recovered:?}");
    reboot(&recovering);
    assert_eq!(state(&recovering), State::Clean);
}

#[test]
fn only_an_answer_that_was_not_recorded_is_said_not_to_be() {
    let mac = mac_with("15.7.3", "AGXMetalG16X");
    let mut facts = deploy::gather(&mac, &Bench).unwrap();
    facts.missing = vec!["macOS: not recorded".into(), "journal: it cannot be read".into()];
    let known = ["macOS", "journal", "GPU driver"].map(|what| facts.was_not_recorded(what));
    assert_eq!(known, [true, false, false]);
    assert!(!facts.only_not_recorded());
}
