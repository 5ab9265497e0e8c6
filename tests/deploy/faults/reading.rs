//! Which Macs agxpatch cannot tell apart.
//!
//! Two Macs are the same to it if their journals mean the same and their other files are
//! the same, save those that were never finished, which it replaces or removes without
//! reading them. That this is so is not taken on trust: each Mac that is visited is recovered
//! a second time in a plain form ([`plain`]), and both must come to the same end.

use agxpatch_deploy::journal::Journal;
use agxpatch_deploy::{Operation, Step, layout};
use agxpatch_host::Host;
use agxpatch_simulate::mac::{Reading, SimulatedMac};

/// The steps of a journal that recovery goes by.
const TELLING: [Step; 3] = [Step::StageInPlace, Step::Snapshot, Step::Undoing];

/// How agxpatch reads the files that it keeps.
pub struct OfAgxpatch;

impl Reading for OfAgxpatch {
    /// Each attempt at recovery adds lines to a journal, so that no two would be equal by
    /// their words.
    fn meaning(&self, text: &str) -> Option<String> {
        let journal = Journal::parse(text)?;
        let (begun, head) = (telling(&journal), &journal.head);
        // Only a deployment that may yet be completed depends on whether the Mac was
        // restarted since it began.
        let session = begun.iter().all(|step| *step != Step::Undoing).then_some(&head.session);
        let session = session.filter(|_| head.operation != Operation::Revert);
        let (operation, manifest) = (head.operation, &head.manifest);
        Some(format!("{operation} {session:?} {begun:?} {:?} {manifest:?}", journal.snapshot()))
    }

    fn is_unread(&self, name: &str) -> bool {
        name.ends_with(".new") || (name.starts_with('.') && name.ends_with(".agxpatch"))
    }
}

/// The telling steps that were begun. A revert is always begun again, whatever its journal
/// says; what is being undone goes on being undone, whether its snapshot was made or not.
fn telling(journal: &Journal) -> Vec<Step> {
    let begun = |step: &Step| journal.has_begun(*step);
    let counts = |step: &Step| match journal.head.operation {
        Operation::Revert => false,
        _ => *step != Step::Snapshot || !journal.has_begun(Step::Undoing),
    };
    TELLING.into_iter().filter(|step| begun(step) && counts(step)).collect()
}

/// The same Mac to agxpatch: with the shortest journal of that meaning, and with other words
/// in the files that were never finished.
pub fn plain(mac: &SimulatedMac) -> SimulatedMac {
    let mac = mac.fork().unwrap();
    mac.overwrite_unread(&OfAgxpatch, b"not to be read").unwrap();
    let Some(journal) = Journal::read(&mac).unwrap() else { return mac };
    let snapshot = journal.snapshot().map(str::to_owned);
    mac.remove_file(&layout::journal()).unwrap();
    let begun = telling(&journal);
    let mut short = Journal::create_after(&mac, journal.head, &begun).unwrap();
    if let Some(name) = snapshot {
        short.chosen(&mac, &name).unwrap();
    }
    mac
}
