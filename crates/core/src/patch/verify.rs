//! Judging a finished file from the file alone.

use crate::check::Check;
use crate::codesign::{self, EmbeddedSignature, Kind};
use crate::error::{Code, Error, Result};
use crate::macho::{Slice, Universal};

use super::engine::Engine;
use super::find::Selection;
use super::match_result::{MatchResult, Place, Site, Sites, State};
use super::meaning::{Examined, Extent};
use super::original::OriginalCode;

/// Everything that must hold of a patched driver, each with what was seen.
///
/// # Errors
/// If the bytes are not a Mach-O at all, so that there is nothing to check.
pub fn verify(
    engine: &Engine,
    bytes: &[u8],
    selection: &Selection,
) -> Result<(Vec<Check>, Option<Sites>)> {
    let file = Universal::parse(bytes)?;
    let mut checks = vec![readers(&file)];
    let sighting = engine.find_any_selected(&file, selection);
    let sites = windows(engine, &file, sighting, &mut checks);
    for slice in &file.slices {
        checks.push(sealed(slice));
    }
    checks.push(one_signer(&file));
    Ok((checks, sites))
}

fn readers(file: &Universal<'_>) -> Check {
    const NAME: &str = "readers-agree";
    let (searched, others): (Vec<&Slice<'_>>, Vec<&Slice<'_>>) =
        file.slices.iter().partition(|slice| slice.is_searched());
    for slice in &searched {
        if let Err(error) = slice.image() {
            return Check::fail(NAME, error.to_string());
        }
    }
    let names = |slices: &[&Slice<'_>]| {
        let names: Vec<String> = slices.iter().map(|s| s.architecture.to_string()).collect();
        names.join(" and ")
    };
    let read = format!("goblin and object read the same in {}", names(&searched));
    match others.as_slice() {
        [] => Check::pass(NAME, read),
        others => Check::pass(NAME, format!("{read}; {} not looked at", names(others))),
    }
}

/// That the sequence of a signature occurs as often as it must.
const FOUND: &str = "sequence-once";

/// The checks of the windows themselves.
fn windows(
    engine: &Engine,
    file: &Universal<'_>,
    sighting: Result<MatchResult>,
    checks: &mut Vec<Check>,
) -> Option<Sites> {
    let found = match sighting.and_then(MatchResult::sites) {
        Ok(found) => found,
        Err(error) => {
            checks.extend(rewritten(engine, file, &error));
            return None;
        }
    };
    for site in &found.sites {
        let Place { window, architecture, .. } = &site.place;
        let seen = format!("{} in {architecture}, {}", window.start, site.state);
        checks.push(Check::pass(FOUND, seen));
        checks.push(patched(engine, site));
        checks.push(reads_back(engine, site));
    }
    Some(found)
}

/// The checks of a file in which no signature's sequence is, for `reason`: whether its
/// methods clear in time, and whether it keeps the code they had before.
fn rewritten(engine: &Engine, file: &Universal<'_>, reason: &Error) -> Vec<Check> {
    const NAME: &str = "clears-under-lock";
    if reason.code() != Code::NoMatch {
        return vec![Check::fail(FOUND, reason.to_string())];
    }
    let examined = engine.examine(file, Extent::Shaped).unwrap_or_default();
    let named = |wanted: fn(&Examined) -> bool| {
        let wanted = examined.functions.iter().filter(|one| wanted(one));
        let names: Vec<String> =
            wanted.map(|one| format!("{} at {}", one.verdict.name(), one.function)).collect();
        names.join(", ")
    };
    let late = named(Examined::clears_late_for_others);
    if !late.is_empty() {
        return vec![Check::fail(NAME, late)];
    }
    let in_time = named(Examined::clears_in_time);
    if in_time.is_empty() {
        return vec![Check::fail(FOUND, reason.to_string())];
    }
    let mut checks = vec![Check::pass(NAME, in_time)];
    checks.extend(file.slices.iter().filter(|slice| slice.architecture.is_aarch64()).map(kept));
    checks
}

/// The check that a slice keeps its original code.
pub const KEPT: &str = "original-kept";

/// Whether a slice keeps the original code, and whether that is what it was.
fn kept(slice: &Slice<'_>) -> Check {
    const NAME: &str = KEPT;
    let kept = OriginalCode::read(slice).and_then(|kept| match kept {
        Some(kept) => kept.put_back(slice).map(|_| Some(kept.places())),
        None => Ok(None),
    });
    let architecture = slice.architecture;
    match kept {
        Ok(Some(places)) => Check::pass(
            NAME,
            format!("{architecture}: {places} places, and with them the code has its digest"),
        ),
        Ok(None) => Check::skipped(
            NAME,
            format!("{architecture}: only the file it was made from brings the original code back"),
        ),
        Err(error) => Check::fail(NAME, format!("{architecture}: {error}")),
    }
}

fn patched(engine: &Engine, site: &Site) -> Check {
    const NAME: &str = "rewrite-in-place";
    let State::Patched { patch } = &site.state else {
        return Check::fail(NAME, "the window holds the original code");
    };
    match engine.catalogue().patch(patch) {
        Ok(patch) if patch.defects.is_empty() => Check::pass(NAME, patch.summary.clone()),
        Ok(patch) => Check::fail(
            NAME,
            format!("{}, with known defects: {}", patch.name, patch.defects.join(", ")),
        ),
        Err(error) => Check::fail(NAME, error.to_string()),
    }
}

/// The window disassembled once more: no word of it may be unreadable.
fn reads_back(engine: &Engine, site: &Site) -> Check {
    const NAME: &str = "window-decodes";
    let start = site.place.window.start;
    let read = engine.disassembler.disassemble(&site.place.words, start);
    match read.iter().find(|instruction| instruction.text.starts_with(".word")) {
        Some(unread) => Check::fail(NAME, format!("{} is not an instruction", unread.address)),
        None => Check::pass(NAME, format!("{} instructions", read.len())),
    }
}

fn sealed(slice: &Slice<'_>) -> Check {
    const NAME: &str = "signature-fits";
    let architecture = slice.architecture;
    let signature = match slice.code_signature() {
        Ok(Some(signature)) => signature,
        Ok(None) if !architecture.is_aarch64() => {
            return Check::skipped(NAME, format!("{architecture}: unsigned, and may be"));
        }
        Ok(None) => return Check::fail(NAME, format!("{architecture}: unsigned")),
        Err(error) => return Check::fail(NAME, error.to_string()),
    };
    let findings = codesign::check(slice.bytes, signature);
    match findings.split_first() {
        None => Check::pass(NAME, format!("{architecture}: ad hoc, every digest right")),
        Some((first, [])) => Check::fail(NAME, format!("{architecture}: {first}")),
        Some((first, rest)) => {
            Check::fail(NAME, format!("{architecture}: {first}; and {} more", rest.len()))
        }
    }
}

/// The kernel registers the slices of one file under one signer.
fn one_signer(file: &Universal<'_>) -> Check {
    const NAME: &str = "one-signer";
    let kinds: Vec<(String, Kind)> =
        file.slices.iter().map(|slice| (slice.architecture.to_string(), kind(slice))).collect();
    let no_signer = |kind: &Kind| matches!(kind, Kind::AdHoc | Kind::LinkerSigned | Kind::Unsigned);
    let detail: Vec<String> = kinds.iter().map(|(name, kind)| format!("{name}: {kind}")).collect();
    Check::from(NAME, kinds.iter().all(|(_, kind)| no_signer(kind)), detail.join(", "))
}

/// Whose signature a slice carries.
pub fn kind(slice: &Slice<'_>) -> Kind {
    let Ok(Some(range)) = slice.code_signature() else {
        return Kind::Unsigned;
    };
    let bytes = usize::try_from(range.start.0)
        .ok()
        .zip(usize::try_from(range.end.0).ok())
        .and_then(|(start, end)| slice.bytes.get(start..end));
    match bytes.map(EmbeddedSignature::parse) {
        Some(Ok(signature)) => signature.kind(),
        _ => Kind::Incomplete,
    }
}
