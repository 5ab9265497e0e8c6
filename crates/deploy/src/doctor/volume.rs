//! The questions about the system volume: its space, its snapshots, and whether
//! somebody else is at work on it.

use agxpatch_core::error::{Code, Result};
use agxpatch_host::volume::{self, SystemVolume};

use super::depth::Depth::System;
use super::examine::Examination;
use super::{Finding, Remedy, Verdict, driver_path};

/// Bytes that must be free beside the copies of the driver.
const SPACE: u64 = 1 << 30;
/// Copies of the driver that a deployment keeps at one time: backup, loose
/// copy, the file beside the old one, and the recovery script's.
const COPIES: u64 = 4;

impl Examination<'_> {
    pub(super) fn system_volume(&mut self, driver: &Verdict) -> Result<()> {
        let volume = volume::system_volume(self.host);
        let Some(volume) = self.answer("system-volume", volume, &[System])? else {
            return Ok(());
        };
        self.live_volume(&volume);
        self.space(&volume)?;
        self.booted_snapshot(&volume, driver)?;
        let snapshots = volume::snapshots(self.host, &volume.device);
        if let Some(snapshots) = self.answer("sealed-snapshot", snapshots, &[System])? {
            let sealed = snapshots.iter().find(|snapshot| snapshot.is_sealed_release());
            self.add(match sealed {
                Some(snapshot) => {
                    Finding::good("sealed-snapshot", format!("{} to go back to", snapshot.name))
                }
                None => Finding::bad(
                    "sealed-snapshot",
                    "there is none to go back to: only reinstalling macOS makes one",
                    &[System],
                ),
            });
        }
        let staged = volume::staged_update(self.host);
        if let Some(staged) = self.answer("staged-update", staged, &[System])? {
            self.add(match staged {
                None => Finding::good("staged-update", "none is being prepared"),
                Some(update) => {
                    let build = update.build.as_deref().unwrap_or("not named");
                    let detail = format!(
                        "an update (build {build}) is being prepared and has changed the live \
                         volume already; see {}",
                        update.file
                    );
                    Finding::bad("staged-update", detail, &[System]).remedy(Remedy::settings(
                        "General > Software Update: install it, then look again",
                    ))
                }
            });
        }
        Ok(())
    }

    fn live_volume(&mut self, volume: &SystemVolume) {
        self.add(match &volume.mounted_at {
            None => Finding::good("system-volume", format!("{}, not mounted", volume.device)),
            Some(at) => Finding::bad(
                "system-volume",
                format!("{} is mounted at {at}: somebody is at work on it", volume.device),
                &[System],
            )
            .remedy(Remedy::terminal(format!(
                "sudo umount {}",
                agxpatch_host::command::quoted(at)
            ))),
        });
    }

    fn space(&mut self, volume: &SystemVolume) -> Result<()> {
        let metadata = self.host.metadata(&driver_path());
        let length = match metadata {
            Err(error) if error.code() == Code::MachineGone => return Err(error),
            Ok(Some(metadata)) => metadata.length,
            _ => 0,
        };
        let needed = SPACE.saturating_add(length.saturating_mul(COPIES));
        self.add(if volume.free >= needed {
            Finding::good("free-space", format!("{} MiB free", volume.free >> 20))
        } else {
            let detail = format!("{} MiB free, {} MiB needed", volume.free >> 20, needed >> 20);
            Finding::bad("free-space", detail, &[System])
        });
        Ok(())
    }

    /// Whether macOS runs from a snapshot of Apple's, or of ours.
    fn booted_snapshot(&mut self, volume: &SystemVolume, driver: &Verdict) -> Result<()> {
        let name = "booted-snapshot";
        let ours = matches!(driver, Verdict::Patched { .. });
        let intact = self.answer(name, volume::booted_seal_intact(self.host), &[System])?;
        let Some(intact) = intact else { return Ok(()) };
        self.add(match &volume.snapshot {
            Some(booted) if booted.starts_with(volume::SEALED_PREFIX) && intact != Some(false) => {
                Finding::good(name, booted.clone())
            }
            Some(booted) if ours => {
                Finding::good(name, format!("{booted}, which holds a patched driver"))
            }
            booted => {
                let booted = booted.as_deref().unwrap_or("the volume itself");
                Finding::bad(
                    name,
                    format!("macOS runs from {booted}: somebody else changed the system volume"),
                    &[System],
                )
            }
        });
        Ok(())
    }
}
