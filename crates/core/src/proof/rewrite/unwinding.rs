//! Whether both versions are unwound alike.
//!
//! An exception and a stack walk look up the address of a call: in the exception
//! table, which a rewrite that moves code writes again, and among the rules of
//! `__eh_frame`, which stay as they are. The proof by paths does not say which call of
//! one version is which of the other, so it is good only where no entry begins or ends
//! among the words that differ. The proof instruction by instruction compares what
//! holds at each call.

use std::collections::BTreeSet;

use super::Rewrite;
use crate::address::VmAddr;
use crate::macho::CallSite;

/// Whether all words that differ are unwound by one entry of each table, the same in
/// both versions.
pub(super) fn is_uniform(rewrite: &Rewrite<'_>, changed: &BTreeSet<VmAddr>) -> bool {
    let entry = |site: &CallSite| (site.calls.clone(), site.pad);
    if let Some([before, after]) = rewrite.call_sites
        && !before.iter().map(entry).eq(after.iter().map(entry))
    {
        return false;
    }
    let (Some(&first), Some(&last)) = (changed.first(), changed.last()) else { return true };
    let (Some([_, after]), Some(steps)) = (rewrite.call_sites, steps(rewrite)) else {
        return false;
    };
    let bounds = after.iter().flat_map(|site| [site.calls.start, site.calls.end]);
    bounds.chain(steps).all(|bound| bound <= first || last < bound)
}

/// The instructions of the function before which other rules hold; `None` if that is
/// not known.
pub(super) fn steps(rewrite: &Rewrite<'_>) -> Option<Vec<VmAddr>> {
    let end = rewrite.entry.instruction(rewrite.after.len());
    rewrite.surroundings.unwind_steps(rewrite.entry..end)
}
