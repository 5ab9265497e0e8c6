//! The installed driver, read, planned, proven and patched in memory.
//!
//! What is told of it are places, counts, digests and names; the words of its
//! code stay out.

use crate::check::Check;
use crate::codesign::{self, Concern, EmbeddedSignature, HashType};
use crate::edit;
use crate::error::{Error, Result};
use crate::macho::{Slice, Universal};
use crate::patch::{self, Engine, Outcome, Plan, Sighting, Site};
use crate::proof;

/// The checks, and the patched driver if there can be one.
pub(super) fn checks(engine: &Engine, bytes: Result<Vec<u8>>) -> (Vec<Check>, Option<Vec<u8>>) {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => return (vec![Check::fail("readable", plain(&error))], None),
    };
    let mut checks = vec![known(engine, &bytes)];
    let file = match Universal::parse(&bytes) {
        Ok(file) => file,
        Err(error) => {
            checks.push(Check::fail("readers-agree", plain(&error)));
            return (checks, None);
        }
    };
    for slice in &file.slices {
        checks.push(slice_read(slice));
        checks.push(slice_sealed(slice));
    }
    let site = match engine.look_for_any(&file).and_then(Sighting::site) {
        Ok(site) => site,
        Err(error) => {
            checks.push(Check::fail("sequence-once", plain(&error)));
            return (checks, None);
        }
    };
    checks.push(Check::pass("sequence-once", whereabouts(&site)));
    checks.push(proven(engine, &file, &site));
    let patched = match engine.plan(&file, None) {
        Ok(Outcome::Already(_)) => bytes,
        Ok(Outcome::Plan(plan)) => {
            checks.push(planned(&plan));
            let mut patched = bytes.clone();
            if let Err(error) = edit::apply(&mut patched, &plan.edits) {
                checks.push(Check::fail("patched-in-memory", plain(&error)));
                return (checks, None);
            }
            patched
        }
        Err(error) => {
            checks.push(Check::fail("planned", plain(&error)));
            return (checks, None);
        }
    };
    checks.push(verified(engine, &patched));
    (checks, Some(patched))
}

/// An error without its context, which may quote code.
fn plain(error: &Error) -> String {
    error.to_string()
}

fn known(engine: &Engine, bytes: &[u8]) -> Check {
    let digest = HashType::Sha256.digest([bytes]).to_string();
    let listed = match engine.catalogue().known_build(&digest) {
        Some(known) => format!("listed: {} {} of {}", known.driver, known.version, known.macos),
        None => "not listed".to_owned(),
    };
    Check::pass("build", format!("SHA-256 {digest}, {} bytes, {listed}", bytes.len()))
}

fn slice_read(slice: &Slice<'_>) -> Check {
    const NAME: &str = "readers-agree";
    let architecture = slice.architecture;
    let image = match slice.image() {
        Ok(image) => image,
        Err(error) => return Check::fail(NAME, format!("{architecture}: {}", plain(&error))),
    };
    let uuid = image.uuid().map_or_else(|| "no UUID".to_owned(), |uuid| uuid.to_string());
    let version = image.source_version().map_or_else(String::new, |version| format!(", {version}"));
    let methods = image.methods().map(|methods| methods.len());
    let methods = match methods {
        Ok(count) => format!("{count} methods named"),
        Err(error) => return Check::fail(NAME, format!("{architecture}: {}", plain(&error))),
    };
    Check::pass(NAME, format!("{architecture} at {}: {uuid}{version}, {methods}", slice.offset))
}

/// The signature as Apple, or whoever patched it, made it: its page digests must
/// be those of the bytes.
fn slice_sealed(slice: &Slice<'_>) -> Check {
    const NAME: &str = "signature-read";
    let architecture = slice.architecture;
    let range = slice.image().ok().and_then(|image| image.code_signature());
    let Some(range) = range else {
        return Check::fail(NAME, format!("{architecture}: no signature"));
    };
    let findings = codesign::check(slice.bytes, range.clone());
    let wrong = findings.iter().find(|finding| finding.concern() != Concern::AdHoc);
    if let Some(wrong) = wrong {
        return Check::fail(NAME, format!("{architecture}: {wrong}"));
    }
    let bytes = usize::try_from(range.start.0).ok().zip(usize::try_from(range.end.0).ok());
    let bytes = bytes.and_then(|(start, end)| slice.bytes.get(start..end)).unwrap_or_default();
    match EmbeddedSignature::parse(bytes) {
        Ok(signature) => {
            let pages: u32 = signature.directories.iter().map(|d| d.code_slots).sum();
            let kind = signature.kind();
            Check::pass(NAME, format!("{architecture}: {kind}, {pages} page digests hold"))
        }
        Err(error) => Check::fail(NAME, format!("{architecture}: {}", plain(&error))),
    }
}

fn whereabouts(site: &Site) -> String {
    format!(
        "{} in {}, {}, {}",
        site.place.window.start,
        site.place.architecture,
        site.place.method.as_deref().unwrap_or("in a function without a name"),
        site.state
    )
}

fn planned(plan: &Plan) -> Check {
    let bytes: usize = plan.edits.iter().map(|edit| edit.new.len()).sum();
    let detail = format!("{}: {bytes} bytes in {} places", plan.patch, plan.edits.len());
    Check::pass("planned", detail)
}

fn proven(engine: &Engine, file: &Universal<'_>, site: &Site) -> Check {
    Check { name: "proven", ..proof::check_default(engine, file, site) }
}

fn verified(engine: &Engine, patched: &[u8]) -> Check {
    const NAME: &str = "patched-in-memory";
    match patch::verify(engine, patched) {
        Err(error) => Check::fail(NAME, plain(&error)),
        Ok((checks, _)) => {
            let failed = checks.iter().find(|check| check.status == crate::check::Status::Fail);
            match failed {
                None => Check::pass(NAME, format!("{} checks of the result hold", checks.len())),
                Some(failed) => Check::fail(NAME, format!("{}: {}", failed.name, failed.detail)),
            }
        }
    }
}
