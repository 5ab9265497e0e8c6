//! What is kept when the work is over: the kit for recoveryOS while it may be needed, and
//! the notes that a restart is due and what was taken back.

use super::Work;
use crate::journal::Journal;
use crate::manifest::{self, Change, LiveDriver, Pending, RevertRecord};
use crate::step::Operation;
use crate::{files, kit, layout};
use agxpatch_core::error::Result;
use agxpatch_host::machine;

impl Work<'_> {
    /// Whether the patched driver may come up once more, so that the kit for recoveryOS
    /// is still needed.
    pub(super) fn needs_way_back(&self, operation: Operation) -> Result<bool> {
        let chosen = self.journal.as_ref().is_some_and(|journal| journal.snapshot().is_some());
        let not_restored = self.live.is_some_and(|live| live != LiveDriver::Original);
        Ok(operation == Operation::Revert
            || chosen
            || not_restored
            || self.runs_from_ours()?
            || self.host.metadata(&layout::reverted())?.is_some())
    }

    pub(super) fn remove_kit(&self, operation: Operation) -> Result<()> {
        match self.needs_way_back(operation)? {
            true => kit::remove_unfinished(self.host),
            false => kit::remove(self.host),
        }
    }

    /// Notes what was taken back, which a later command forgets when it sees that
    /// Apple's snapshot runs.
    pub(super) fn note_revert(&self, operation: Operation, session: &str) -> Result<()> {
        if let (true, Some(live)) = (self.needs_way_back(operation)?, self.live) {
            let reverted = RevertRecord {
                schema: RevertRecord::SCHEMA.to_owned(),
                session: session.to_owned(),
                live,
                manifest: self.manifest.clone(),
            };
            manifest::write(self.host, &layout::reverted(), &reverted)?;
        }
        match operation {
            // What was cancelled had not written any, and an older one is still true.
            Operation::Cancel => Ok(()),
            _ => files::remove_if_present(self.host, &layout::manifest()),
        }
    }

    /// A restart is due where another snapshot comes up than the one that runs.
    pub(super) fn note_pending(&self, operation: Operation) -> Result<()> {
        let ours_runs = self.runs_from_ours()?;
        let snapshot = self.journal.as_ref().and_then(Journal::snapshot).map(str::to_owned);
        let session = machine::boot_session(self.host)?;
        let change = match operation {
            Operation::Deploy | Operation::Complete | Operation::Finish => Change::Deploy,
            Operation::Undo | Operation::Cancel | Operation::Revert => Change::Revert,
        };
        // One that was being written when an earlier run ended.
        files::remove_if_present(self.host, &layout::unfinished(&layout::reverted()))?;
        match change {
            Change::Deploy => files::remove_if_present(self.host, &layout::reverted())?,
            Change::Revert => self.note_revert(operation, &session)?,
        }
        if ours_runs == (change == Change::Deploy) {
            files::remove_if_present(self.host, &layout::unfinished(&layout::pending()))?;
            return files::remove_if_present(self.host, &layout::pending());
        }
        let schema = Pending::SCHEMA.to_owned();
        let pending = Pending { schema, change, session, snapshot };
        manifest::write(self.host, &layout::pending(), &pending)
    }
}
