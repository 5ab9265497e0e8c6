//! Every blocker alone, and in pairs: named, and nothing changed.

use agxpatch_deploy::doctor::{Consent, Depth, Diagnosis, Verdict, examine};
use agxpatch_host::{CsrConfig, Host, Input};
use agxpatch_simulate::mac::{
    CsrutilForm, DRIVER as PATH, FileVault, Release, SYSTEM_VERSION, Signer, SimulatedMac, survive,
};

use super::{DRIVER, bless, mount, open_mac, umount};

/// What stands in the way: the names it must be found under, what it is about
/// (two of one kind undo each other), and how it comes about. Those that need a
/// working machine come first.
struct Blocker {
    names: &'static [&'static str],
    about: &'static str,
    bring_about: fn(&SimulatedMac),
}

fn blocker(
    names: &'static [&'static str],
    about: &'static str,
    bring_about: fn(&SimulatedMac),
) -> Blocker {
    Blocker { names, about, bring_about }
}

fn foreign_snapshot(mac: &SimulatedMac) {
    assert!(mount(mac).succeeded());
    assert!(bless(mac, "--create-snapshot", Input::Nothing).succeeded());
    assert!(umount(mac).succeeded());
    mac.reboot().unwrap();
}

fn switch_on(mac: &SimulatedMac, bit: CsrConfig) {
    mac.change(|machine| machine.active_csr &= !bit.0).unwrap();
}

/// The running system names another version of itself.
fn set_version(mac: &SimulatedMac, version: &str) {
    let text = format!(
        "<plist version=\"1.0\"><dict><key>ProductBuildVersion</key><string>24G419</string>\
         <key>ProductVersion</key><string>{version}</string></dict></plist>"
    );
    mac.plant(SYSTEM_VERSION, text.as_bytes()).unwrap();
}

fn other_driver(mac: &SimulatedMac, bytes: &[u8], signer: Signer) {
    mac.declare_signer(bytes, signer).unwrap();
    mac.plant(PATH, bytes).unwrap();
}

fn blockers() -> Vec<Blocker> {
    vec![
        blocker(&["booted-snapshot"], "snapshot", foreign_snapshot),
        blocker(&["sealed-snapshot", "booted-snapshot"], "snapshot", |mac| {
            foreign_snapshot(mac);
            mac.change(|machine| machine.snapshots.retain(|one| !one.sealed)).unwrap();
        }),
        blocker(&["system-volume"], "mount", |mac| assert!(mount(mac).succeeded())),
        blocker(&["staged-update"], "update", |mac| {
            mac.stage_update(Release { version: "15.8".into(), build: "24H1".into() }).unwrap();
        }),
        blocker(&["sip-agreement"], "text", |mac| {
            let text = "System Integrity Protection status: enabled.\n".to_owned();
            mac.change(|machine| machine.csrutil = CsrutilForm::Fixed(text)).unwrap();
        }),
        blocker(&["sip"], "text", |mac| {
            // Neither the kernel nor csrutil says anything.
            mac.change(|machine| {
                machine.csrutil = CsrutilForm::Fixed("ok\n".into());
                machine.csr_syscall = false;
            })
            .unwrap();
        }),
        blocker(&["sip-filesystem"], "bit 2", |mac| switch_on(mac, CsrConfig::UNRESTRICTED_FS)),
        blocker(&["sip-debugging"], "bit 4", |mac| switch_on(mac, CsrConfig::TASK_FOR_PID)),
        blocker(&["authenticated-root"], "bit 800", |mac| {
            switch_on(mac, CsrConfig::UNAUTHENTICATED_ROOT);
        }),
        blocker(&["filevault"], "filevault", |mac| {
            mac.change(|machine| machine.filevault = FileVault::On).unwrap();
        }),
        blocker(&["filevault"], "filevault", |mac| {
            mac.change(|machine| machine.filevault = FileVault::Decrypting(3)).unwrap();
        }),
        blocker(&["library-validation"], "validation", |mac| {
            mac.set_library_validation(true).unwrap();
        }),
        blocker(&["macos"], "release", |mac| {
            set_version(mac, "14.3");
        }),
        blocker(&["macos"], "release", |mac| {
            set_version(mac, "27.0");
        }),
        blocker(&["metal-plugin"], "plugin", |mac| {
            mac.change(|machine| machine.metal_plugin = Some("AMDMTLBronzeDriver".into())).unwrap();
        }),
        blocker(&["metal-plugin"], "plugin", |mac| {
            mac.change(|machine| machine.metal_plugin = None).unwrap();
        }),
        blocker(&["driver-file"], "driver", |mac| mac.plant(PATH, b"").unwrap()),
        blocker(&["driver-file"], "driver", |mac| mac.plant_link(PATH, "/etc/passwd").unwrap()),
        blocker(&["driver-build"], "driver", |mac| {
            other_driver(mac, b"unlisted", Signer::Apple);
        }),
        blocker(&["driver-build"], "driver", |mac| other_driver(mac, b"no hit", Signer::Apple)),
        blocker(&["driver-signature"], "driver", |mac| {
            mac.declare_signer(DRIVER, Signer::Broken).unwrap();
        }),
        blocker(&["driver-signature"], "driver", |mac| {
            mac.declare_signer(DRIVER, Signer::AdHoc).unwrap();
        }),
        blocker(&["free-space"], "space", |mac| {
            mac.change(|machine| machine.free = 1 << 20).unwrap();
        }),
        blocker(&["boot-args"], "arguments", |mac| {
            let arguments = Some("-v amfi_get_out_of_my_way=1".to_owned());
            mac.change(|machine| machine.boot_args = arguments).unwrap();
        }),
    ]
}

fn judge(bytes: &[u8]) -> Verdict {
    match bytes {
        DRIVER => Verdict::Listed { name: "329.2".into() },
        b"unlisted" => Verdict::Provable { found: "one hit".into() },
        b"patched" => Verdict::Patched { patch: "agx-encoder-release".into() },
        _ => Verdict::Refused { reason: "no hit".into() },
    }
}

/// Examines, and sees to it that the machine is as it was, to the byte.
fn look(mac: &SimulatedMac, consent: Consent) -> Diagnosis {
    let state = || serde_json::to_vec(&mac.machine().unwrap()).unwrap();
    let before = state();
    let diagnosis = examine(mac, &judge, consent).unwrap();
    assert_eq!(state(), before, "the doctor changed the machine");
    diagnosis
}

fn names(mac: &SimulatedMac) -> Vec<&'static str> {
    let diagnosis = look(mac, Consent::default());
    diagnosis.blockers(Depth::System).map(|finding| finding.check.name).collect()
}

#[test]
fn an_open_mac_has_no_blocker_and_a_shipped_one_names_all_of_its_own() {
    assert_eq!(names(&open_mac()), [""; 0]);
    let shipped = SimulatedMac::in_memory(DRIVER);
    let all = [
        "sip-filesystem",
        "sip-debugging",
        "authenticated-root",
        "filevault",
        "library-validation",
    ];
    assert_eq!(names(&shipped), all);
}

#[test]
fn every_blocker_alone_is_named_and_nothing_else() {
    for blocker in blockers() {
        let mac = open_mac();
        (blocker.bring_about)(&mac);
        let mut seen = names(&mac);
        let mut expected = blocker.names.to_vec();
        seen.sort_unstable();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }
}

#[test]
fn every_pair_of_blockers_is_named_whole() {
    let all = blockers();
    let mut pairs = 0;
    for (at, first) in all.iter().enumerate() {
        for second in &all[at + 1..] {
            // Without csrutil's text there is no telling of the bits either.
            let hidden = first.names == ["sip"] && second.about.starts_with("bit");
            // Where no driver is asked for there is none to look at.
            let no_driver = first.about == "plugin" && second.about == "driver";
            if first.about == second.about || hidden || no_driver {
                continue;
            }
            let mac = open_mac();
            (first.bring_about)(&mac);
            (second.bring_about)(&mac);
            let seen = names(&mac);
            for name in first.names.iter().chain(second.names) {
                assert!(seen.contains(name), "{name} is missing in {seen:?}");
            }
            pairs += 1;
        }
    }
    assert!(pairs > 200, "{pairs}");
}

#[test]
fn the_recommended_depth_comes_first_and_the_command_stands_by_it() {
    let shipped = look(&SimulatedMac::in_memory(DRIVER), Consent::default());
    assert_eq!(shipped.depths[0].depth, Depth::Guard);
    assert!(shipped.depths[0].recommended && shipped.depths[0].open);
    let scoped = shipped.depths.iter().find(|state| state.depth == Depth::Scoped).unwrap();
    assert!(scoped.open, "a copy for one process needs no protection off");
    let system = shipped.depths.iter().find(|state| state.depth == Depth::System).unwrap();
    assert_eq!(system.closed_by.len(), 5);
    let other = open_mac();
    other.change(|machine| machine.metal_plugin = None).unwrap();
    assert!(look(&other, Consent::default()).depths.iter().all(|state| !state.open));
}

#[test]
fn an_unlisted_driver_goes_ahead_only_with_its_own_consent() {
    let mac = open_mac();
    other_driver(&mac, b"unlisted", Signer::Apple);
    assert!(!look(&mac, Consent::default()).is_clean());
    assert!(look(&mac, Consent { unlisted_build: true }).is_clean());
    // Consent covers neither another signer nor a refusal.
    mac.declare_signer(b"unlisted", Signer::AdHoc).unwrap();
    assert!(!look(&mac, Consent { unlisted_build: true }).is_clean());
    other_driver(&mac, b"no hit", Signer::Apple);
    assert!(!look(&mac, Consent { unlisted_build: true }).is_clean());
}

#[test]
fn our_patched_driver_is_not_a_foreign_modification() {
    let mac = open_mac();
    super::deploy(&mac, b"patched");
    mac.declare_signer(b"patched", Signer::AdHoc).unwrap();
    mac.reboot().unwrap();
    let diagnosis = look(&mac, Consent::default());
    assert!(diagnosis.is_clean());
    let first = &diagnosis.depths[0];
    assert!(first.in_force && first.recommended);
    assert_eq!(first.command, "agxpatch verify");
}

#[test]
fn a_machine_that_is_gone_ends_the_examination() {
    let mac = open_mac();
    mac.power_off(agxpatch_simulate::mac::Loss::Nothing).unwrap();
    survive(|| examine(&mac, &judge, Consent::default())).unwrap_err();
    assert_eq!(mac.effective_user(), 0);
}
