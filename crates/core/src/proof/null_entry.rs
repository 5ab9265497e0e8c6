//! The entry of a destroyer that has no block.
//!
//! The driver's method loads `self->_impl` again before it takes the lock, and
//! where that is NULL it branches to the store that clears `self->_impl`, inside
//! the window. There the store writes NULL over NULL. A rewrite that has the
//! store elsewhere, so that such a thread no longer meets it, changes nothing,
//! as long as the branch is taken only where the field is NULL: it was loaded,
//! the value was compared with zero, and nothing was stored or called since.
//!
//! The comparison may be written in any way and be spread over several branches;
//! what counts is what every way to the branch has shown ([`Values`]). An entry
//! that leads to anything else than the last clear is not looked at here: nothing
//! excuses it.

use super::function::Function;
use super::obligation::{Name, Obligation};
use super::paths::{self, Act, Exit, Trace};
use super::site::Site;
use super::values::{Atom, Values};
use crate::address::VmAddr;
use crate::arm64::semantics::{Event, Register, Terms};
use crate::check::Status;
use crate::error::Result;

/// A branch of the function into the window.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// The branch.
    pub from: VmAddr,
    /// Where it goes.
    pub to: VmAddr,
}

/// What the window does from an address inside it to its end, if there is only
/// one way.
fn only_trace(
    terms: &mut Terms,
    site: &Site<'_>,
    function: Function<'_>,
    from: VmAddr,
) -> Option<Trace> {
    let traces = paths::traces_from(terms, function, from, site.window(), &site.roles).ok()?;
    let mut traces = traces.into_iter();
    traces.next().filter(|_| traces.next().is_none())
}

/// Whether the instruction at `address` clears `self->_impl`, and the old code then
/// goes on behind the window without doing anything else.
pub(super) fn is_last_clear(site: &Site<'_>, before: Function<'_>, address: VmAddr) -> bool {
    only_trace(&mut Terms::new(), site, before, address).is_some_and(|trace| {
        only_clears(site, &trace) && trace.events.iter().all(|seen| seen.at == address)
    })
}

fn only_clears(site: &Site<'_>, trace: &Trace) -> bool {
    let acts: Vec<Act> = trace.events.iter().map(|seen| seen.act).collect();
    acts == [Act::Clear] && trace.path.exit == Exit::To(site.window_end)
}

/// The obligation about `entries`, all of which go to the last clear of the old
/// code.
pub(super) fn obligation(
    site: &Site<'_>,
    before: Function<'_>,
    after: Function<'_>,
    entries: &[Entry],
    values: &mut Values<'_>,
) -> Result<Obligation> {
    let name = Name::NullEntryOnly;
    if entries.is_empty() {
        let detail = "the function does not branch to the last clear from outside the window";
        return Ok(Obligation::new(name, Status::Pass, detail));
    }
    let (mut passed, mut failed, mut at) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        match loaded_null_at(site, before, after, values, *entry)? {
            Ok(load) => {
                at.extend([load, entry.from, entry.to]);
                passed.push(format!(
                    "{} branches to the clear at {} only where self->_impl, loaded at {load}, is NULL",
                    entry.from, entry.to
                ));
            }
            Err(reason) => {
                failed
                    .push((entry.from, format!("{} enters at {}: {reason}", entry.from, entry.to)));
            }
        }
    }
    if failed.is_empty() {
        return Ok(Obligation { at, ..Obligation::new(name, Status::Pass, passed.join("; ")) });
    }
    let (at, details): (Vec<VmAddr>, Vec<String>) = failed.into_iter().unzip();
    Ok(Obligation { at, ..Obligation::new(name, Status::Fail, details.join("; ")) })
}

/// The load that showed `self->_impl` to be NULL where `entry` is taken, or why
/// the entry is refused.
fn loaded_null_at(
    site: &Site<'_>,
    before: Function<'_>,
    after: Function<'_>,
    values: &mut Values<'_>,
    entry: Entry,
) -> Result<std::result::Result<VmAddr, &'static str>> {
    let mut terms = Terms::new();
    let old = only_trace(&mut terms, site, before, entry.to);
    let new = only_trace(&mut terms, site, after, entry.to);
    let (Some(old), Some(new)) = (old, new) else {
        return Ok(Err("the rewritten code has more than one way on from there"));
    };
    if !does_nothing_else(site, &old, &new) {
        return Ok(Err("the rewritten code does something else there than to clear self->_impl"));
    }
    let field = old.events.iter().find_map(|seen| match seen.event {
        Event::Store { address, .. } => Some(address),
        _ => None,
    });
    let point = values.on_the_way(entry.from, entry.to)?;
    let (Some(field), Some(point)) = (field, point) else {
        return Ok(Err("nothing is known of the way to it"));
    };
    let Some(loaded) = point.value(&terms, field).and_then(|field| point.loaded(field)) else {
        return Ok(Err("self->_impl was not loaded after the last store or call before it"));
    };
    Ok(match (point.is_zero(loaded), loaded.as_atom()) {
        (Some(true), Some(Atom::Made(load, _))) => Ok(load),
        _ => Err("the loaded self->_impl is not known to be NULL there"),
    })
}

/// Whether the rewritten code, given that the field is NULL already, leaves
/// everything as the old code does: it clears as well or does nothing.
fn does_nothing_else(site: &Site<'_>, old: &Trace, new: &Trace) -> bool {
    let same_registers = Register::all().all(|r| old.state.get(r) == new.state.get(r))
        && (0..32).all(|number| old.state.vector(number) == new.state.vector(number))
        && old.state.flags == new.state.flags;
    let nothing = new.events.is_empty() && new.path.exit == old.path.exit;
    same_registers && new.faults.is_empty() && (nothing || only_clears(site, new))
}
