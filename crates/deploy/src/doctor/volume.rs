//! The questions about the system volume: its space, its snapshots, and whether
//! another program is at work on it.

use std::path::Path;

use agxpatch_host::driver::DriverBundle;
use agxpatch_host::machine;
use agxpatch_host::volume::{self, Snapshot, StagedUpdate, SystemVolume};

use super::depth::Depth::System;
use super::examine::Examination;
use super::{Finding, Remedy, Verdict};
use crate::layout;

/// Where Apple's updater mounts volumes.
const UPDATER: &str = "/System/Volumes/Update/";
/// Bytes that must be free beside the copies of the driver.
const SPACE: u64 = 1 << 30;
/// Copies of the driver that a deployment keeps at one time: backup, loose
/// copy, the file beside the old one, and the recovery script's.
const COPIES: u64 = 4;

impl Examination<'_> {
    pub(super) fn system_volume(&mut self, driver: &Verdict) {
        let volume = volume::system_volume(self.host);
        let Some(volume) = self.answer("system-volume", volume, &[System]) else {
            return;
        };
        self.live_volume(&volume);
        if volume.external {
            self.add(external(&volume));
        }
        self.space(&volume);
        self.booted_snapshot(&volume, driver);
        let snapshots = volume::snapshots(self.host, &volume.device);
        if let Some(snapshots) = self.answer("sealed-snapshot", snapshots, &[System]) {
            self.sealed_snapshot(&volume, &snapshots);
        }
        let running = machine::release(self.host).ok();
        let running = running.as_ref().map(|release| release.build.as_str());
        let staged = volume::staged_update(self.host, running);
        if let Some(staged) = self.answer("staged-update", staged, &[System]) {
            self.add(staged_update(staged.as_ref(), running));
        }
    }

    /// The way back is the sealed snapshot that runs; where a patched one runs, the one
    /// of the records, which is theirs to check.
    fn sealed_snapshot(&mut self, volume: &SystemVolume, snapshots: &[Snapshot]) {
        let name = "sealed-snapshot";
        let running = volume.snapshot.as_deref().filter(|name| volume::is_sealed_release(name));
        let back = snapshots
            .iter()
            .filter(|snapshot| snapshot.is_sealed_release())
            .find(|snapshot| running.is_none_or(|running| snapshot.name == running));
        self.add(match (back, running) {
            (Some(snapshot), _) => Finding::good(name, format!("{} to go back to", snapshot.name)),
            (None, Some(running)) => Finding::bad(
                name,
                format!("{running} runs, and diskutil does not list it"),
                &[System],
            )
            .remedy(Remedy::terminal("sudo shutdown -r now")),
            (None, None) => Finding::bad(
                name,
                "there is none to go back to: only reinstalling macOS makes one",
                &[System],
            )
            .remedy(Remedy::recovery("Reinstall macOS, in the first window (keeps your data)")),
        });
    }

    fn live_volume(&mut self, volume: &SystemVolume) {
        let name = "system-volume";
        let device = &volume.device;
        self.add(match volume.mounted_at.as_deref() {
            None => Finding::good(name, format!("{device}, not mounted")),
            Some(at) if Path::new(at) == layout::look_point() => {
                let detail = format!("{device}, mounted by a look that was cut off");
                Finding::good(name, format!("{detail}; deploy and recover unmount it"))
            }
            Some(at) if at.starts_with(UPDATER) => {
                let detail = format!(
                    "{device} is mounted at {at} by Apple's updater, which prepares an update or \
                     did so last; leave it mounted"
                );
                Finding::bad(name, detail, &[System])
                    .remedy(Remedy::settings("General > Software Update: let it finish"))
                    .remedy(Remedy::terminal("sudo shutdown -r now"))
            }
            Some(at) => {
                let detail = format!("{device} is mounted at {at}: another program works on it");
                let umount = format!("sudo umount {}", agxpatch_host::command::quoted(at));
                Finding::bad(name, detail, &[System]).remedy(Remedy::terminal(umount))
            }
        });
    }

    fn space(&mut self, volume: &SystemVolume) {
        let path = self.bundle.as_ref().map(DriverBundle::executable);
        let metadata = path.map(|path| self.host.metadata(&path));
        let length = match metadata {
            Some(Ok(Some(metadata))) => metadata.length,
            _ => 0,
        };
        let needed = SPACE.saturating_add(length.saturating_mul(COPIES));
        self.add(if volume.free >= needed {
            Finding::good("free-space", format!("{} MiB free", volume.free >> 20))
        } else {
            let detail = format!("{} MiB free, {} MiB needed", volume.free >> 20, needed >> 20);
            Finding::bad("free-space", detail, &[System])
                .remedy(Remedy::settings("General > Storage: remove what is not needed"))
        });
    }

    /// Whether macOS runs from Apple's snapshot, or from agxpatch's.
    fn booted_snapshot(&mut self, volume: &SystemVolume, driver: &Verdict) {
        let name = "booted-snapshot";
        let ours = matches!(driver, Verdict::Patched { .. });
        let intact = self.answer(name, volume::booted_seal_intact(self.host), &[System]);
        let Some(intact) = intact else { return };
        self.add(match &volume.snapshot {
            Some(booted) if volume::is_sealed_release(booted) && intact != Some(false) => {
                Finding::good(name, booted.clone())
            }
            Some(booted) if ours => {
                Finding::good(name, format!("{booted}, which holds a patched driver"))
            }
            booted => {
                let booted = booted.as_deref().unwrap_or("the volume itself");
                Finding::bad(
                    name,
                    format!("macOS runs from {booted}: another program changed the system volume"),
                    &[System],
                )
            }
        });
    }
}

/// Whether ownership counts on a volume shows only where it is mounted, and the live volume
/// is not. External disks are shipped without.
fn external(volume: &SystemVolume) -> Finding {
    let name = "volume-ownership";
    let remedy = format!("sudo diskutil enableOwnership {}", volume.device);
    if volume.ownership_ignored {
        let detail = "ignored on this external disk: no file on it would be root's";
        return Finding::bad(name, detail, &[System]).remedy(Remedy::terminal(remedy));
    }
    let detail = "macOS runs from an external disk; deploy looks whether ownership is ignored on it, \
                  and changes nothing if so";
    Finding::skipped(name, format!("{detail} ({remedy} ends that)"))
}

/// A plan of an update, compared with what runs: the updater leaves old ones behind.
fn staged_update(staged: Option<&StagedUpdate>, running: Option<&str>) -> Finding {
    let name = "staged-update";
    let Some(update) = staged else { return Finding::good(name, "none is being prepared") };
    if update.is_left_over(running) {
        let build = update.build.as_deref().unwrap_or_default();
        let detail = format!("none; {} is left over from the update to {build}", update.file);
        return Finding::good(name, detail);
    }
    let build = update.build.as_deref().unwrap_or("not named");
    let detail = format!(
        "an update (build {build}) is being prepared and has changed the live volume already; see \
         {}",
        update.file
    );
    Finding::bad(name, detail, &[System])
        .remedy(Remedy::settings("General > Software Update: install it, then run doctor again"))
}
