//! Whether the field that the rewrite clears earlier may be the lock itself.
//!
//! The clear moves over the unlock. That changes nothing only if the two do not
//! touch the same bytes. The addresses are sums, and what they are sums of is
//! taken from the whole function ([`Values`]): two parts of one object lie apart
//! where their offsets do, and parts of two objects do where one address comes
//! from the function's own argument and the other from a load or a call. That
//! objects of different origin do not overlap is the one thing taken for granted,
//! and the obligation says so.

use super::obligation::{Name, Obligation};
use super::paths::{Act, Trace};
use super::rewrite::Origins;
use super::site::Site;
use super::values::{Atom, Value, Values};
use crate::address::VmAddr;
use crate::arm64::semantics::{Event, Register, Terms};
use crate::check::Status;
use crate::error::Result;

/// Bytes of an `os_unfair_lock`.
const LOCK_BYTES: u64 = 4;
/// Bytes of the cleared field.
const FIELD_BYTES: u64 = 8;

/// How two places are told apart, or why they cannot be.
pub(super) type Apart = std::result::Result<String, String>;

/// The obligation, for the old paths through the window and what is known where
/// it begins.
pub(super) fn obligation(
    terms: &Terms,
    old: &[Trace],
    values: &Values<'_>,
    start: VmAddr,
) -> Obligation {
    let name = Name::LockApartFromField;
    let start = values.before(start);
    let mut reason = None;
    for trace in old {
        let passed = trace.events.iter().take_while(|seen| seen.act != Act::Clear);
        let cleared = trace.events.iter().find(|seen| seen.act == Act::Clear);
        for unlock in passed.filter(|seen| seen.act == Act::Unlock) {
            let (Some(clear), Event::Call { arguments, .. }) = (cleared, &unlock.event) else {
                continue;
            };
            let Event::Store { address, .. } = clear.event else { continue };
            let value = |term| start.and_then(|point| point.value(terms, term));
            let lock = arguments.first().and_then(|&lock| value(lock));
            match apart(values, value(address), lock, LOCK_BYTES) {
                Ok(how) => reason = Some(how),
                Err(why) => {
                    let at = vec![unlock.at, clear.at];
                    return Obligation { at, ..Obligation::new(name, Status::Fail, why) };
                }
            }
        }
    }
    let detail = reason.unwrap_or_else(|| "the clear passes no unlock".to_owned());
    Obligation::new(name, Status::Pass, detail)
}

/// Whether a field and so many bytes at the address of a lock, or of anything else,
/// share none.
pub(super) fn apart(
    values: &dyn Origins,
    field: Option<Value>,
    lock: Option<Value>,
    bytes: u64,
) -> Apart {
    let (Some(field), Some(lock)) = (field, lock) else {
        return Err("cannot determine the address of the cleared field or of the lock".into());
    };
    if field.is_offset_of(lock) {
        let from_field = lock.constant.wrapping_sub(field.constant);
        let from_lock = field.constant.wrapping_sub(lock.constant);
        return match from_field >= FIELD_BYTES && from_lock >= bytes {
            true => Ok("the lock and the cleared field are at different offsets".into()),
            false => Err("the cleared field overlaps the lock".into()),
        };
    }
    match (origin(field), origin(lock)) {
        (Some(field_origin), Some(lock_origin)) if field_origin == lock_origin => {
            let (field_cells, lock_cells) = (cells(field), cells(lock));
            match !field_cells.is_empty() && !lock_cells.is_empty() && field_cells != lock_cells {
                true => {
                    Ok("the lock and the cleared field are different instance variables".into())
                }
                false => Err("the lock may be the cleared field, in one object".into()),
            }
        }
        (Some(Atom::Argument(_) | Atom::Captured(_)), Some(object)) if values.is_object(object) => {
            let at = match object {
                Atom::Made(at, _) | Atom::Joined(at, _) => at.to_string(),
                _ => "the caller".to_owned(),
            };
            Ok(format!(
                "the cleared field is in self and the lock in what {at} got; objects do not overlap"
            ))
        }
        (Some(Atom::Captured(_)), Some(Atom::Argument(register))) if register.index() == 0 => {
            Ok("the cleared field is in what the block captured, which is not the block".into())
        }
        (Some(_), Some(_)) | (None, _) | (_, None) => {
            Err("the objects of the cleared field and of the lock cannot be told apart".into())
        }
    }
}

/// The one unknown that is not the offset of an instance variable.
fn origin(address: Value) -> Option<Atom> {
    let mut objects = address.atoms().filter(|atom| !matches!(atom, Atom::Cell(_)));
    match (objects.next(), objects.next()) {
        (Some(object), None) => Some(object),
        _ => None,
    }
}

fn cells(address: Value) -> Vec<VmAddr> {
    let cell = |atom| match atom {
        Atom::Cell(cell) => Some(cell),
        _ => None,
    };
    address.atoms().filter_map(cell).collect()
}

/// The obligation that what the signature captured plays the parts it is taken
/// for.
pub(super) fn roles(site: &Site<'_>, values: &Values<'_>) -> Result<Obligation> {
    let (name, roles) = (Name::RolesDerived, &site.roles);
    let fail = |detail: String| Ok(Obligation::new(name, Status::Fail, detail));
    let Some(point) = values.before(site.window_start).cloned() else {
        return fail("no path through the function reaches the window".into());
    };
    if point.get(roles.self_) != Value::atom(Atom::Argument(Register::new(0))) {
        return fail(format!("{} does not hold the method's receiver", roles.self_));
    }
    let field = point.get(roles.self_).plus(point.get(roles.ivar));
    if let Some(Atom::Made(at, register)) = point.get(roles.impl_).as_atom()
        && field.is_some()
        && values.loaded_from(at, register)? == field
    {
        let detail = format!("{} is self, {} what {at} loaded from it", roles.self_, roles.impl_);
        return Ok(Obligation { at: vec![at], ..Obligation::new(name, Status::Pass, detail) });
    }
    fail(format!(
        "{} is not known to hold what was loaded from {} plus {}",
        roles.impl_, roles.self_, roles.ivar
    ))
}
