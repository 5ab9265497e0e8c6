//! The steps that decide which snapshot the next start boots from.

use super::Work;
use crate::bless::{self, Sealed, SnapshotMade};
use crate::journal::Journal;
use crate::layout;
use crate::step::Operation;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::volume;

impl Work<'_> {
    /// Makes the snapshot, once more where `bless` failed after making one: another does
    /// no harm, and settles which one the next start boots from.
    pub(super) fn snapshot(&mut self) -> Result<()> {
        let device = volume::system_volume(self.host)?.device;
        let root = layout::mount_point();
        let name = match bless::create_snapshot(self.host, &device, &root)? {
            SnapshotMade::Chosen(name) => name,
            SnapshotMade::MaybeChosen { name, cause } => {
                self.note_chosen(&name)?;
                let SnapshotMade::Chosen(name) = bless::create_snapshot(self.host, &device, &root)?
                else {
                    return Err(cause);
                };
                self.notes.push(format!("bless failed at first and was run once more: {cause}"));
                name
            }
        };
        self.note_chosen(&name)
    }

    pub(super) fn note_chosen(&mut self, name: &str) -> Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        match journal.chosen(self.host, name) {
            Err(error) => {
                // The next boot is decided. Without the line a crash from here on
                // has the snapshot made once more, which does no harm.
                self.notes.push(format!("the snapshot's name was not noted: {error}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn confirm(&mut self) -> Result<()> {
        let device = volume::system_volume(self.host)?.device;
        let name = self.journal.as_ref().and_then(Journal::snapshot).unwrap_or_default();
        let listed = volume::snapshots(self.host, &device)?;
        if listed.iter().any(|snapshot| snapshot.name == name) {
            return Ok(());
        }
        Err(Error::new(Code::SnapshotMissing, "bless created a snapshot that is not listed")
            .with("snapshot", name))
    }

    /// Undoing a deployment whose snapshot was never chosen leaves nothing to do,
    /// and no one to ask for a password.
    pub(super) fn seal(&mut self, operation: Operation) -> Result<()> {
        let chosen = self.journal.as_ref().is_some_and(|journal| journal.snapshot().is_some());
        if operation != Operation::Revert && !chosen && !self.runs_from_ours()? {
            return Ok(());
        }
        let mount = self.unmountable.clone().unwrap_or_else(layout::mount_point);
        if let Sealed::ClearedOnly(why) = bless::choose_sealed(self.host, &mount, &self.owner)? {
            self.notes.push(format!(
                "bless cleared the choice of the patched snapshot, and then {why}; after the \
                 restart, agxpatch verify shows which snapshot runs"
            ));
        }
        Ok(())
    }
}
