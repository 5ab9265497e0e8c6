//! `diskutil info`, `apfs list` and `apfs listSnapshots`, as property lists.

use plist::{Dictionary, Value};

use super::super::machine::{Machine, Mode, Place, Snapshot, device};
use super::{answer, usage};
use agxpatch_host::{Output, Tool};

pub(super) fn run(machine: &Machine, words: &[&str]) -> Output {
    match words {
        ["info", "-plist", what] => info(machine, what),
        ["apfs", "list", "-plist"] => answer(0, xml(apfs_list(machine)), ""),
        ["apfs", "listSnapshots", "-plist", what] => match what.trim_start_matches("/dev/") {
            device::SYSTEM => answer(0, xml(snapshots(machine)), ""),
            _ => unknown(what),
        },
        _ => usage(Tool::Diskutil),
    }
}

/// diskutil tells of its failures in a property list, too.
fn unknown(what: &str) -> Output {
    let failure = dictionary([
        ("Error", true.into()),
        ("ErrorMessage", format!("Could not find disk: {what}").into()),
        ("ExitCode", 1.into()),
    ]);
    answer(1, xml(failure), "")
}

fn dictionary<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
    Value::Dictionary(pairs.collect::<Dictionary>())
}

fn xml(value: Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing a property list of plain values to memory cannot fail.
    drop(value.to_writer_xml(&mut bytes));
    bytes
}

fn info(machine: &Machine, what: &str) -> Output {
    let recovery = machine.mode == Mode::Recovery;
    let named = what.trim_start_matches("/dev/");
    let mounted = machine.mounts.iter().find(|mount| mount.at == what);
    let device = mounted.map_or(named, |mount| mount.device.as_str());
    match device {
        device::BOOTED if !recovery => answer(0, xml(booted_info(machine)), ""),
        device::SYSTEM => answer(0, xml(live_info(machine)), ""),
        device::DATA => {
            answer(0, xml(volume_info(machine, device::DATA, &machine.data_name, "No")), "")
        }
        _ => unknown(what),
    }
}

fn booted_info(machine: &Machine) -> Value {
    let snapshot = machine.snapshot(&machine.booted);
    let uuid = snapshot.map(|snapshot| snapshot.uuid.clone()).unwrap_or_default();
    let sealed = snapshot.is_some_and(|snapshot| snapshot.sealed);
    let mut value = volume_info(
        machine,
        device::BOOTED,
        &machine.system_name,
        if sealed && !machine.volume_seal_broken { "Yes" } else { "Broken" },
    );
    if let Value::Dictionary(pairs) = &mut value {
        pairs.insert("APFSSnapshot".into(), true.into());
        pairs.insert("APFSSnapshotName".into(), machine.booted.clone().into());
        pairs.insert("APFSSnapshotUUID".into(), uuid.clone().into());
        pairs.insert("IORegistryEntryName".into(), machine.booted.clone().into());
        pairs.insert("VolumeUUID".into(), uuid.into());
        pairs.insert("MountPoint".into(), "/".into());
    }
    value
}

fn live_info(machine: &Machine) -> Value {
    let broken = machine.volume_seal_broken || machine.snapshots.iter().any(|s| !s.sealed);
    let sealed = if broken { "Broken" } else { "Yes" };
    volume_info(machine, device::SYSTEM, &machine.system_name, sealed)
}

fn volume_info(machine: &Machine, device: &str, name: &str, sealed: &str) -> Value {
    let mounted = machine.mounts.iter().find(|mount| mount.device == device);
    let at = mounted.map_or("", |mount| mount.at.as_str());
    let writable = mounted.is_some_and(|mount| !mount.read_only);
    let owners =
        mounted.is_some_and(|mount| mount.place != Place::Live || !machine.ownership_ignored);
    dictionary([
        ("APFSContainerFree", machine.free.into()),
        ("APFSContainerReference", device::CONTAINER.into()),
        ("APFSContainerSize", 494_384_795_648_u64.into()),
        ("APFSSnapshot", false.into()),
        ("APFSVolumeGroupID", device::GROUP.into()),
        ("Bootable", true.into()),
        ("BooterDeviceIdentifier", device::PREBOOT.into()),
        ("DeviceBlockSize", 4096.into()),
        ("DeviceIdentifier", device.into()),
        ("DeviceNode", format!("/dev/{device}").into()),
        ("Encryption", true.into()),
        ("FileVault", machine.filevault.is_encrypted().into()),
        ("FilesystemName", "APFS".into()),
        ("FilesystemType", "apfs".into()),
        ("FreeSpace", 0.into()),
        ("GlobalPermissionsEnabled", owners.into()),
        ("Internal", (!machine.external).into()),
        ("Locked", false.into()),
        ("MountPoint", at.into()),
        ("ParentWholeDisk", device::CONTAINER.into()),
        ("Sealed", sealed.into()),
        ("SolidState", true.into()),
        ("VolumeName", name.into()),
        ("WholeDisk", false.into()),
        ("Writable", writable.into()),
        ("WritableVolume", writable.into()),
    ])
}

fn apfs_list(machine: &Machine) -> Value {
    let volume = |device: &str, name: &str, role: &str, snapshots: Vec<Value>| {
        dictionary([
            ("DeviceIdentifier", device.into()),
            ("Name", name.into()),
            ("Roles", Value::Array(vec![role.into()])),
            ("Sealed", if role == "System" { "Broken" } else { "No" }.into()),
            ("MountedSnapshots", Value::Array(snapshots)),
        ])
    };
    let booted = machine.snapshot(&machine.booted).map(|snapshot| {
        dictionary([
            ("Sealed", if snapshot.sealed { "Yes" } else { "Broken" }.into()),
            ("SnapshotBSD", device::BOOTED.into()),
            ("SnapshotMountPoint", "/".into()),
            ("SnapshotName", snapshot.name.clone().into()),
            ("SnapshotUUID", snapshot.uuid.clone().into()),
        ])
    });
    let volumes = vec![
        volume(device::SYSTEM, &machine.system_name, "System", booted.into_iter().collect()),
        volume(device::PREBOOT, "Preboot", "Preboot", Vec::new()),
        volume(device::UPDATE, "Update", "Update", Vec::new()),
        volume(device::DATA, &machine.data_name, "Data", Vec::new()),
    ];
    let container = dictionary([
        ("APFSContainerUUID", "0F0F0F0F-1111-4222-8333-444455556666".into()),
        ("CapacityFree", machine.free.into()),
        ("ContainerReference", device::CONTAINER.into()),
        ("Volumes", Value::Array(volumes)),
    ]);
    dictionary([("Containers", Value::Array(vec![container]))])
}

fn snapshots(machine: &Machine) -> Value {
    let next = machine.tagged.as_ref().or(machine.last_sealed().map(|snapshot| &snapshot.name));
    let entry = |snapshot: &Snapshot| {
        dictionary([
            ("LimitingContainerShrink", false.into()),
            ("Purgeable", (!snapshot.sealed).into()),
            ("RevertTo", false.into()),
            ("RootTo", (next == Some(&snapshot.name)).into()),
            ("SnapshotName", snapshot.name.clone().into()),
            ("SnapshotUUID", snapshot.uuid.clone().into()),
            ("SnapshotXID", snapshot.xid.into()),
        ])
    };
    let entries = machine.snapshots.iter().map(entry).collect();
    dictionary([("Snapshots", Value::Array(entries))])
}
