//! What may have been put on the live volume, beside the driver, where it is not
//! seen before the volume is mounted; and a person who wants it given up.

use std::cell::Cell;
use std::path::Path;

use agxpatch_core::error::{Code, Error};
use agxpatch_deploy::{self as deploy, Operation, Options, Plan, Progress, State, Step, layout};
use agxpatch_host::{Command, Host, Tool};
use agxpatch_simulate::mac::{DRIVER, Said, SimulatedMac};

use crate::bench::{deploy, *};
use crate::faults::nothing_left;

const AT: &str = "/System/Volumes/Update/mnt1";

/// Changes the live volume as root could, with it mounted elsewhere.
fn on_live_volume(mac: &SimulatedMac, change: impl FnOnce(&SimulatedMac)) {
    let words = ["-o", "nobrowse", "-t", "apfs", "/dev/disk3s1", AT];
    mac.ask(&Command::effect(Tool::Mount, words)).unwrap();
    change(mac);
    mac.ask(&Command::effect(Tool::Umount, [AT])).unwrap();
}

/// Demands that a deployment is refused and that nothing of it remains but the
/// kept original.
fn is_refused_and_undone(mac: &SimulatedMac, how: &str) -> Error {
    let volume = |mac: &SimulatedMac| {
        let machine = serde_json::to_value(mac.machine().unwrap()).unwrap();
        ["live", "snapshots", "tagged", "booted", "mounts"].map(|name| machine[name].clone())
    };
    let before = volume(mac);
    let error = deploy(mac).unwrap_err();
    assert_eq!(error.code(), Code::RolledBack, "{how}: {error:?}");
    assert!(volume(mac) == before, "{how}: the system volume is not as it was");
    assert_eq!(state(mac), State::Clean, "{how}");
    nothing_left(mac, how);
    error
}

#[test]
fn files_planted_beside_the_driver_are_refused_and_left_alone() {
    let driver = format!("{AT}{DRIVER}");
    let manifest = format!("{AT}{}", layout::VOLUME_MANIFEST);
    let beside = layout::beside(Path::new(&driver)).display().to_string();
    let unfinished = layout::unfinished(Path::new(&manifest)).display().to_string();
    type Plant = fn(&SimulatedMac, &str);
    let plants: [(&str, Plant); 4] = [
        ("file", |mac, path| mac.plant(path, b"another's").unwrap()),
        ("symbolic link", |mac, path| {
            mac.plant_link(path, "/private/var/root/secret").unwrap();
        }),
        ("hard link", |mac, path| {
            let other = format!("{AT}/System/Library/CoreServices/SystemVersion.plist");
            if mac.metadata(Path::new(path)).unwrap().is_some() {
                mac.remove_file(Path::new(path)).unwrap();
            }
            mac.plant_hard_link(&other, path).unwrap();
        }),
        ("directory", |mac, path| {
            if mac.metadata(Path::new(path)).unwrap().is_some() {
                mac.remove_file(Path::new(path)).unwrap();
            }
            mac.plant_directory(path, 0, 0o755).unwrap();
        }),
    ];
    for path in [&driver, &beside, &manifest, &unfinished] {
        for (kind, plant) in &plants {
            let mac = open_mac();
            on_live_volume(&mac, |mac| plant(mac, path));
            let how = format!("{kind} at {path}");
            let error = is_refused_and_undone(&mac, &how);
            assert!(error.context().contains(&("step", "recheck".into())), "{how}: {error:?}");
        }
    }
}

#[test]
fn directories_of_the_live_volume_that_others_may_write_to_are_refused() {
    for directory in [
        "/System",
        "/System/Library/Extensions",
        "/System/Library/Extensions/AGXMetalG16X.bundle/Contents/MacOS",
        "/System/Library/CoreServices",
    ] {
        for (user, mode) in [(501, 0o755), (0, 0o777), (0, 0o775)] {
            let mac = open_mac();
            on_live_volume(&mac, |mac| {
                mac.plant_directory(&format!("{AT}{directory}"), user, mode).unwrap();
            });
            is_refused_and_undone(&mac, &format!("{directory} of {user} with {mode:o}"));
        }
    }
    let mac = open_mac();
    on_live_volume(&mac, |mac| {
        let bundle = format!("{AT}/System/Library/Extensions/AGXMetalG16X.bundle");
        mac.plant_link(&bundle, "/private/tmp").unwrap();
    });
    is_refused_and_undone(&mac, "the bundle is a link");
}

#[test]
fn files_in_the_private_mount_directory_are_neither_used_nor_removed() {
    let mac = open_mac();
    let kept = layout::mount_point().join("kept").display().to_string();
    mac.plant_directory(layout::mount_point().to_str().unwrap(), 0, 0o700).unwrap();
    mac.plant(&kept, b"another's").unwrap();
    deploy(&mac).unwrap();
    assert_eq!(mac.read(Path::new(&kept)).unwrap().bytes, b"another's");
    reboot(&mac);
    assert_eq!(state(&mac), State::Active);
}

/// Gives up at the step that was counted to.
struct GivesUp {
    left: Cell<u32>,
}

impl Progress for GivesUp {
    fn begins(&self, _: Operation, _: Step) {
        self.left.set(self.left.get().saturating_sub(1));
    }

    fn gives_up(&self) -> Option<&'static str> {
        (self.left.get() == 0).then_some("Ctrl-C")
    }
}

#[test]
fn a_deployment_that_is_given_up_before_the_snapshot_is_undone_and_later_is_finished() {
    let steps = Operation::Deploy.steps();
    for (at, step) in steps.iter().enumerate().skip(1) {
        let mac = open_mac();
        let progress = GivesUp { left: Cell::new(at as u32 + 1) };
        let consent = &mut |_: &Plan| Ok(());
        let outcome = deploy::deploy(&mac, &Bench, Options::default(), consent, &progress);
        if *step <= Step::Snapshot {
            let error = outcome.unwrap_err();
            assert_eq!(error.code(), Code::RolledBack, "{step}: {error:?}");
            assert!(error.context().contains(&("reason", "Ctrl-C".into())), "{step}: {error:?}");
            assert_eq!(state(&mac), State::Clean, "{step}");
            nothing_left(&mac, step.name());
        } else {
            outcome.unwrap();
            assert_eq!(state(&mac), State::PendingReboot, "{step}");
        }
    }
}

#[test]
fn a_volume_that_is_busy_for_some_seconds_is_waited_for() {
    let mac = open_mac();
    mac.change(|machine| machine.busy = 3).unwrap();
    deploy(&mac).unwrap();
    assert!(mac.machine().unwrap().mounted_by_hand().is_empty());

    let mac = open_mac();
    mac.change(|machine| machine.busy = 1000).unwrap();
    deploy(&mac).unwrap();
    assert!(mac.machine().unwrap().mounted_by_hand().is_empty(), "by force in the end");

    let mac = open_mac();
    let err = "umount: unmount(/private/var/db/agxpatch/mount): Resource busy\n".to_owned();
    let said = Said { rc: 1, err, ..Said::default() };
    mac.change(|machine| machine.said = [("umount".to_owned(), said)].into()).unwrap();
    let error = deploy(&mac).unwrap_err();
    assert_eq!(error.code(), Code::HalfDone, "{error:?}");
    assert_eq!(error.advice(), Some("sudo agxpatch recover"));
    mac.change(|machine| machine.said.clear()).unwrap();
    recover(&mac).unwrap();
    assert_eq!(state(&mac), State::PendingReboot);
}
