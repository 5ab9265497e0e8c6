//! `mount` and `umount`, with the errors of `mount_apfs`.

use std::path::Path;

use super::super::effects::Extent;
use super::super::files;
use super::super::machine::{Machine, Mode, Mount, Place, device};
use super::{answer, usage};
use agxpatch_host::{CsrConfig, Output, Tool};

/// The calls known are the ones that list, that mount a volume at a directory, and that
/// make a mounted volume writable.
pub(super) fn mount(machine: &mut Machine, words: &[&str], extent: Extent) -> Output {
    // Mounting is indivisible: half of it is none of it.
    let halfway = extent == Extent::Midway;
    match words {
        [] => answer(0, listing(machine), ""),
        _ if halfway => answer(1, "", ""),
        ["-uw", at] => make_writable(machine, at),
        ["-o", "nobrowse", "-t", "apfs", node, at] => mount_at(machine, node, at, false),
        ["-o", "rdonly,nobrowse", "-t", "apfs", node, at] => mount_at(machine, node, at, true),
        _ => usage(Tool::Mount),
    }
}

fn failed(at: &str, code: i32, reason: &str) -> Output {
    let text = format!(
        "mount_apfs: volume could not be mounted: {reason}\nmount: {at} failed with {code}\n"
    );
    answer(code, "", text)
}

fn mount_at(machine: &mut Machine, node: &str, at: &str, read_only: bool) -> Output {
    if machine.mode == Mode::Safe {
        return answer(1, "", format!("mount: {at}: invalid file system.\n"));
    }
    if machine.user != 0 {
        return failed(at, 77, "Operation not permitted");
    }
    let device = node.trim_start_matches("/dev/");
    let place = match device {
        device::SYSTEM => Place::Live,
        device::DATA => Place::Data,
        device::PREBOOT => Place::Preboot,
        device::UPDATE => Place::Update,
        _ => return failed(at, 66, "No such file or directory"),
    };
    if !files::is_directory(machine, Path::new(at)) {
        return failed(at, 66, "No such file or directory");
    }
    let writable = CsrConfig(machine.active_csr).allows(CsrConfig::UNRESTRICTED_FS);
    if !writable || machine.no_full_disk_access {
        return failed(at, 77, "Operation not permitted");
    }
    if machine.update_preparing {
        return failed(at, 75, "Operation already in progress");
    }
    if machine.mounts.iter().any(|mount| mount.device == device || mount.at == at) {
        return failed(at, 75, "Resource busy");
    }
    machine.mounts.push(Mount {
        place,
        device: device.to_owned(),
        at: at.to_owned(),
        read_only,
        by_system: false,
    });
    answer(0, "", "")
}

/// `diskutil mount NAME`: read-only for the system volume, as recoveryOS mounts it.
pub(super) fn by_name(machine: &mut Machine, name: &str) -> Output {
    let volumes = [
        (machine.system_name.clone(), Place::Live, device::SYSTEM, true),
        (machine.data_name.clone(), Place::Data, device::DATA, false),
    ];
    let named = volumes.into_iter().find(|(known, _, node, _)| known == name || *node == name);
    let Some((name, place, node, read_only)) = named else {
        return answer(1, "", format!("Unable to find disk for {name}\n"));
    };
    if machine.mounts.iter().all(|mount| mount.device != node) {
        let at = format!("/Volumes/{name}");
        let device = node.to_owned();
        machine.mounts.push(Mount { place, device, at, read_only, by_system: true });
    }
    answer(0, format!("Volume {name} on {node} mounted\n"), "")
}

fn make_writable(machine: &mut Machine, at: &str) -> Output {
    match machine.mounts.iter_mut().find(|mount| mount.at == at) {
        Some(Mount { place: Place::Snapshot(_), .. }) | None => failed(at, 66, "Permission denied"),
        Some(mount) => {
            mount.read_only = false;
            answer(0, "", "")
        }
    }
}

pub(super) fn umount(machine: &mut Machine, words: &[&str], extent: Extent) -> Output {
    let (at, by_force) = match words {
        [at] => (at, false),
        ["-f", at] => (at, true),
        _ => return usage(Tool::Umount),
    };
    if extent == Extent::Midway {
        return answer(1, "", "");
    }
    let Some(index) = machine.mounts.iter().position(|mount| mount.at == *at) else {
        return answer(1, "", format!("umount: {at}: not currently mounted\n"));
    };
    if machine.user != 0 || machine.mounts[index].by_system {
        return answer(1, "", format!("umount({at}): Operation not permitted\n"));
    }
    if machine.busy > 0 && !by_force {
        machine.busy -= 1;
        return answer(1, "", format!("umount({at}): Resource busy -- try 'diskutil unmount'\n"));
    }
    let mount = machine.mounts.remove(index);
    if let Some(volume) = machine.volume_mut(&mount.place) {
        volume.sync_all();
    }
    answer(0, "", "")
}

fn listing(machine: &Machine) -> String {
    let line = |mount: &Mount| {
        let sealed = matches!(&mount.place, Place::Snapshot(name)
            if machine.snapshot(name).is_some_and(|snapshot| snapshot.sealed));
        let flags = [
            ("apfs", true),
            ("sealed", sealed),
            ("local", true),
            ("read-only", mount.read_only),
            ("journaled", true),
            ("nobrowse", mount.at != "/"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|(_, on)| *on).map(|(flag, _)| *flag).collect();
        format!("/dev/{} on {} ({})\n", mount.device, mount.at, flags.join(", "))
    };
    machine.mounts.iter().map(line).collect()
}
