//! What is demanded of a Mac after a fault.

use std::path::Path;

use agxpatch_core::error::{Code, Error};
use agxpatch_deploy::{State, layout};
use agxpatch_host::{Command, FileKind, Host, Input, Tool};
use agxpatch_simulate::mac::{Boot, DRIVER, SimulatedMac};

use super::Verb;
use crate::bench::*;

/// What `restore.sh` does, by the same tools. The script itself is run in `kit.rs`.
pub fn run_script(mac: &SimulatedMac) {
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

/// What an error promises must hold before `recover` is run.
pub(super) fn at_once(mac: &SimulatedMac, verb: Verb, outcome: &Result<(), Error>, how: &str) {
    let Err(error) = outcome else { return };
    if verb == Verb::Deploy && error.code() == Code::RolledBack {
        assert!(matches!(state(mac), State::Clean | State::UpdatedAway), "{how}");
        nothing_left(mac, how);
    } else {
        assert!(mac.machine().unwrap().mounted_by_hand().is_empty(), "{how}");
    }
}

pub(super) fn restart(mac: &SimulatedMac, how: &str) {
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
