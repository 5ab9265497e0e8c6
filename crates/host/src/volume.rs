//! The system volume as questions to a host.
//!
//! macOS runs from a snapshot of the system volume. The volume itself, the live
//! volume, is what can be changed; it is found by taking the snapshot's suffix
//! off the device that runs, and believed only when diskutil's other answers
//! agree. The seal of the volume says nothing (`Broken` is normal on untouched
//! Macs): only a snapshot's name and seal do.

use std::path::Path;

use plist::{Dictionary, Value};
use serde::Serialize;

use super::{Command, Host, Output, Tool, tool_failed, unknown_answer};
use agxpatch_core::error::{Error, Result};

/// How the sealed snapshots Apple's installer makes are named.
pub const SEALED_PREFIX: &str = "com.apple.os.update-";
/// How the snapshots `bless` makes are named.
pub const BLESSED_PREFIX: &str = "com.apple.bless.";

/// The running system volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SystemVolume {
    /// The device of the live volume, such as `disk3s1`.
    pub device: String,
    /// The snapshot macOS runs from, or none where it runs from the volume.
    pub snapshot: Option<String>,
    /// The volume group system and data volume share.
    pub group: String,
    /// Free bytes in the container.
    pub free: u64,
    /// Where the live volume is mounted, if it is.
    pub mounted_at: Option<String>,
    /// Whether it is on an external disk.
    pub external: bool,
    /// Whether "Ignore ownership on this volume" is set for the live volume, where it is
    /// mounted: new files on it then belong to `_unknown`, whatever root asks for.
    pub ownership_ignored: bool,
}

/// A snapshot of the system volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Its UUID, where diskutil tells it.
    pub uuid: Option<String>,
    /// Its transaction number, where diskutil tells it; later is larger.
    pub xid: Option<u64>,
    /// Whether diskutil marks it as the next root. What the mark means is
    /// inferred, not documented: report it, decide nothing by it.
    pub root_to: Option<bool>,
}

impl Snapshot {
    /// Whether it is the sealed snapshot of a release of macOS, by its name.
    pub fn is_sealed_release(&self) -> bool {
        is_sealed_release(&self.name)
    }

    /// Whether `bless` made it.
    pub fn is_blessed(&self) -> bool {
        self.name.starts_with(BLESSED_PREFIX)
    }
}

/// Whether a snapshot is the sealed one of a release of macOS: the prefix and the
/// root hash in hexadecimal. The updater keeps others under the same prefix, such as
/// `com.apple.os.update-MSUPrepareUpdate`, and none of those can be booted.
pub fn is_sealed_release(name: &str) -> bool {
    let hash = name.strip_prefix(SEALED_PREFIX).unwrap_or_default();
    hash.len() >= MIN_ROOT_HASH && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The shortest root hash seen in the name of a sealed snapshot is 16 digits long.
const MIN_ROOT_HASH: usize = 16;

/// An update that is being prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StagedUpdate {
    /// The file that tells of it.
    pub file: &'static str,
    /// The build it brings, where the file says.
    pub build: Option<String>,
}

/// The snapshot macOS runs from, or none where it runs from the volume: one question
/// where [`system_volume`] has three.
pub fn booted_snapshot(host: &dyn Host) -> Result<Option<String>> {
    let command = Command::question(Tool::Diskutil, ["info", "-plist", "/"]);
    let (root, _) = property_list(host, &command)?;
    let is_snapshot = boolean(&root, "APFSSnapshot").unwrap_or(false);
    Ok(string(&root, "APFSSnapshotName").filter(|_| is_snapshot).map(str::to_owned))
}

/// The name of the volume that is mounted there, such as `Data`.
pub fn volume_name(host: &dyn Host, at: &str) -> Result<Option<String>> {
    let command = Command::question(Tool::Diskutil, ["info", "-plist", at]);
    let (volume, _) = property_list(host, &command)?;
    Ok(string(&volume, "VolumeName").map(str::to_owned))
}

/// Finds the system volume that runs.
pub fn system_volume(host: &dyn Host) -> Result<SystemVolume> {
    let command = Command::question(Tool::Diskutil, ["info", "-plist", "/"]);
    let (root, output) = property_list(host, &command)?;
    let unknown = |expected: &str| unknown_answer(&command, expected, &output);
    let is_snapshot = boolean(&root, "APFSSnapshot").unwrap_or(false);
    let device = live_device(&root, &unknown)?;
    let group = string(&root, "APFSVolumeGroupID").ok_or_else(|| unknown("APFSVolumeGroupID"))?;
    let free = unsigned(&root, "APFSContainerFree").ok_or_else(|| unknown("APFSContainerFree"))?;
    let live_command = Command::question(Tool::Diskutil, ["info", "-plist", device]);
    let (live, live_output) = property_list(host, &live_command)?;
    if string(&live, "APFSVolumeGroupID") != Some(group) {
        return Err(unknown_answer(&live_command, "the volume group of /", &live_output));
    }
    check_role(host, device)?;
    let mounted_at = mount_point(&live);
    Ok(SystemVolume {
        device: device.to_owned(),
        snapshot: string(&root, "APFSSnapshotName").filter(|_| is_snapshot).map(str::to_owned),
        group: group.to_owned(),
        free,
        mounted_at: mounted_at.map(str::to_owned),
        external: boolean(&root, "Internal") == Some(false),
        ownership_ignored: mounted_at.is_some()
            && boolean(&live, "GlobalPermissionsEnabled") == Some(false),
    })
}

/// Where the live volume is mounted, if it is: two questions where [`system_volume`] has
/// three, for one that is known to be the right one.
pub fn live_mount(host: &dyn Host) -> Result<Option<String>> {
    let command = Command::question(Tool::Diskutil, ["info", "-plist", "/"]);
    let (root, output) = property_list(host, &command)?;
    let device = live_device(&root, &|expected| unknown_answer(&command, expected, &output))?;
    let command = Command::question(Tool::Diskutil, ["info", "-plist", device]);
    let (live, _) = property_list(host, &command)?;
    Ok(mount_point(&live).map(str::to_owned))
}

/// The device of the live volume, by what diskutil tells of `/`.
fn live_device<'d>(root: &'d Dictionary, unknown: &dyn Fn(&str) -> Error) -> Result<&'d str> {
    let running = string(root, "DeviceIdentifier").ok_or_else(|| unknown("DeviceIdentifier"))?;
    match boolean(root, "APFSSnapshot") {
        Some(true) => without_snapshot(running).ok_or_else(|| unknown("a device like disk3s1s1")),
        _ => Ok(running),
    }
}

fn mount_point(volume: &Dictionary) -> Option<&str> {
    string(volume, "MountPoint").filter(|at| !at.is_empty() && *at != "/")
}

/// `disk3s1s1` without the snapshot's suffix, however many digits it has.
fn without_snapshot(device: &str) -> Option<&str> {
    let (volume, suffix) = device.rsplit_once('s')?;
    let (disk, slice) = volume.strip_prefix("disk")?.split_once('s')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(suffix) && digits(disk) && digits(slice)).then_some(volume)
}

/// Demands that diskutil gives the device the role `System`.
fn check_role(host: &dyn Host, device: &str) -> Result<()> {
    let command = Command::question(Tool::Diskutil, ["apfs", "list", "-plist"]);
    let (list, output) = property_list(host, &command)?;
    let volume = volumes(&list).find(|volume| string(volume, "DeviceIdentifier") == Some(device));
    let roles = volume.and_then(|volume| volume.get("Roles")).and_then(Value::as_array);
    let system = |role: &Value| role.as_string() == Some("System");
    if roles.is_some_and(|roles| roles.iter().any(system)) {
        Ok(())
    } else {
        Err(unknown_answer(&command, &format!("{device} in the role System"), &output))
    }
}

fn volumes(list: &Dictionary) -> impl Iterator<Item = &Dictionary> {
    let containers = list.get("Containers").and_then(Value::as_array).into_iter().flatten();
    let volumes = containers
        .filter_map(Value::as_dictionary)
        .filter_map(|container| container.get("Volumes").and_then(Value::as_array));
    volumes.flatten().filter_map(Value::as_dictionary)
}

/// Whether the seal of the snapshot that runs is intact, or none where diskutil
/// does not tell.
pub fn booted_seal_intact(host: &dyn Host) -> Result<Option<bool>> {
    let command = Command::question(Tool::Diskutil, ["apfs", "list", "-plist"]);
    let (list, output) = property_list(host, &command)?;
    let mounted = volumes(&list)
        .filter_map(|volume| volume.get("MountedSnapshots").and_then(Value::as_array))
        .flatten()
        .filter_map(Value::as_dictionary)
        .find(|snapshot| string(snapshot, "SnapshotMountPoint") == Some("/"));
    match mounted.and_then(|snapshot| string(snapshot, "Sealed")) {
        None => Ok(None),
        Some("Yes") => Ok(Some(true)),
        Some("No" | "Broken") => Ok(Some(false)),
        Some(_) => Err(unknown_answer(&command, "Sealed: Yes, No or Broken", &output)),
    }
}

/// The snapshots of the live volume `device`, in diskutil's order.
pub fn snapshots(host: &dyn Host, device: &str) -> Result<Vec<Snapshot>> {
    let command = Command::question(Tool::Diskutil, ["apfs", "listSnapshots", "-plist", device]);
    let (list, output) = property_list(host, &command)?;
    let entries = list.get("Snapshots").and_then(Value::as_array);
    let entries = entries.ok_or_else(|| unknown_answer(&command, "Snapshots", &output))?;
    let snapshot = |entry: &Value| {
        let entry = entry.as_dictionary()?;
        Some(Snapshot {
            name: string(entry, "SnapshotName")?.to_owned(),
            uuid: string(entry, "SnapshotUUID").map(str::to_owned),
            xid: unsigned(entry, "SnapshotXID"),
            root_to: boolean(entry, "RootTo"),
        })
    };
    let all: Option<Vec<Snapshot>> = entries.iter().map(snapshot).collect();
    all.ok_or_else(|| unknown_answer(&command, "a SnapshotName for each", &output))
}

/// The plan of an update, if there is one; one that brings another build than `running`
/// goes before one that is left over from the update to it.
pub fn staged_update(host: &dyn Host, running: Option<&str>) -> Result<Option<StagedUpdate>> {
    let mut found = None;
    for file in ["/System/Volumes/Update/Update.plist", "/System/Volumes/Update/Preflight.plist"] {
        let Some(content) = host.read_if_present(Path::new(file))? else { continue };
        let plan = Value::from_reader(std::io::Cursor::new(content.bytes)).ok();
        let build = plan
            .as_ref()
            .and_then(Value::as_dictionary)
            .and_then(|plan| plan.get("update-asset-attributes")?.as_dictionary())
            .and_then(|attributes| string(attributes, "Build"))
            .map(str::to_owned);
        let update = StagedUpdate { file, build };
        let left_over = update.is_left_over(running);
        if !left_over || found.is_none() {
            found = Some(update);
        }
        if !left_over {
            break;
        }
    }
    Ok(found)
}

impl StagedUpdate {
    /// Whether the plan is of an update to the macOS that runs, or to an older one: the
    /// updater leaves plans behind, and prepares no way down.
    pub fn is_left_over(&self, running: Option<&str>) -> bool {
        let builds = self.build.as_deref().zip(running);
        builds.is_some_and(|(plan, running)| plan == running || is_older(plan, running))
    }
}

/// Whether a build such as `24G325` is older than another. Of builds of a beta, whose numbers
/// begin at 5000 and say nothing about those of the release, it is not told.
fn is_older(build: &str, other: &str) -> bool {
    const BETA: u32 = 5000;
    let parts = |build: &str| {
        let train = build.find(|c: char| c.is_ascii_uppercase())?;
        let (major, rest) = build.split_at(train);
        let (letter, rest) = rest.split_at(1);
        let digits = rest.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let number = digits.parse::<u32>().ok().filter(|number| *number < BETA)?;
        Some((major.parse::<u32>().ok()?, letter.to_owned(), number))
    };
    matches!((parts(build), parts(other)), (Some(one), Some(other)) if one < other)
}

/// Runs a question that is answered with a property list, whose top is a
/// dictionary. diskutil reports its failures in one, too.
pub(super) fn property_list(host: &dyn Host, command: &Command) -> Result<(Dictionary, Output)> {
    let output = host.run(command)?;
    let value = Value::from_reader(std::io::Cursor::new(&output.stdout)).ok();
    let dictionary = value.and_then(Value::into_dictionary);
    if !output.succeeded() {
        let said = dictionary.as_ref().and_then(|failure| string(failure, "ErrorMessage"));
        let error = tool_failed(command, &output);
        return Err(match said {
            Some(message) => error.with("message", message),
            None => error,
        });
    }
    match dictionary {
        Some(dictionary) => Ok((dictionary, output)),
        None => Err(unknown_answer(command, "a property list", &output)),
    }
}

pub(super) fn string<'d>(dictionary: &'d Dictionary, key: &str) -> Option<&'d str> {
    dictionary.get(key)?.as_string()
}

fn boolean(dictionary: &Dictionary, key: &str) -> Option<bool> {
    dictionary.get(key)?.as_boolean()
}

fn unsigned(dictionary: &Dictionary, key: &str) -> Option<u64> {
    dictionary.get(key)?.as_unsigned_integer()
}

#[cfg(test)]
mod tests {
    use super::{is_older, without_snapshot};

    #[test]
    fn builds_are_older_by_train_and_number_and_those_of_betas_are_not_told() {
        for (older, newer) in [("24G325", "24G419"), ("24F74", "24G84"), ("24G419", "25A354")] {
            assert!(is_older(older, newer), "{older} {newer}");
            assert!(!is_older(newer, older), "{newer} {older}");
        }
        for (one, other) in [("24G419", "24G5054d"), ("24G419", "24G419"), ("", "24G419")] {
            assert!(!is_older(one, other) && !is_older(other, one), "{one} {other}");
        }
    }

    #[test]
    fn the_snapshot_suffix_goes_whatever_its_length() {
        assert_eq!(without_snapshot("disk3s1s1"), Some("disk3s1"));
        assert_eq!(without_snapshot("disk12s34s10"), Some("disk12s34"));
        assert_eq!(without_snapshot("disk3s1"), None);
        assert_eq!(without_snapshot("disk3s1s"), None);
        assert_eq!(without_snapshot("rdisk3s1s1"), None);
    }
}
