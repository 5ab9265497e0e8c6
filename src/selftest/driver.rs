//! The installed driver, read, planned, proven and patched in memory.
//!
//! What is told of it are places, counts, digests and names; the words of its
//! code stay out.

use agxpatch_core::check::{Check, Status};
use agxpatch_core::codesign::{self, Concern, EmbeddedSignature, HashType};
use agxpatch_core::edit;
use agxpatch_core::error::Error;
use agxpatch_core::macho::{Slice, Universal};
use agxpatch_core::patch::{self, Engine, FilePlan, MatchResult, Outcome, Selection, Site, State};
use agxpatch_core::proof::{self, Verdict};
use agxpatch_host::Host;
use agxpatch_host::driver::DriverBundle;

use super::machine::{IN_SHARED_CACHE, is_in_shared_cache};
use super::{bundle, function};

/// The driver, to be tried elsewhere.
#[derive(Default)]
pub(super) struct Driver {
    /// The bundle that the GPU asks for.
    pub(super) bundle: Option<DriverBundle>,
    /// As it is installed, if it can be read.
    pub(super) installed: Option<Vec<u8>>,
    /// Patched, if it can be.
    pub(super) patched: Option<Vec<u8>>,
}

/// The checks, and the driver.
pub(super) fn checks(host: &dyn Host, engine: &Engine) -> (Vec<Check>, Driver) {
    let bundle = match DriverBundle::installed(host) {
        Ok(bundle) => bundle,
        Err(error) => return (vec![Check::fail("readable", plain(&error))], Driver::default()),
    };
    let path = bundle.executable();
    if is_in_shared_cache(host, &bundle) {
        let driver = Driver { bundle: Some(bundle), ..Driver::default() };
        return (vec![Check::skipped("readable", IN_SHARED_CACHE)], driver);
    }
    let bytes = match host.read(&path) {
        Ok(file) => file.bytes,
        Err(error) => return (vec![Check::fail("readable", plain(&error))], Driver::default()),
    };
    let parsed = Universal::parse(&bytes);
    let mut checks = vec![known(engine, &bytes, parsed.as_ref().ok()), bundle::check(host, &path)];
    let patched = match parsed {
        Err(error) => {
            checks.push(Check::fail("readers-agree", plain(&error)));
            None
        }
        Ok(file) => {
            for slice in &file.slices {
                checks.push(slice_read(slice));
                checks.push(slice_sealed(slice));
            }
            let (sequence, sites) = sequence(engine, &file);
            checks.extend(sequence);
            checks.extend(function::checks(engine, &file, sites.first()));
            checks.extend(sites.iter().map(|site| proven(engine, &file, site)));
            if sites.is_empty() {
                None
            } else {
                let (about, patched) = patched(engine, &file, &bytes);
                checks.extend(about);
                patched
            }
        }
    };
    (checks, Driver { bundle: Some(bundle), installed: Some(bytes), patched })
}

/// An error without its context, which may quote code.
fn plain(error: &Error) -> String {
    error.to_string()
}

fn known(engine: &Engine, bytes: &[u8], file: Option<&Universal<'_>>) -> Check {
    let digest = HashType::Sha256.digest([bytes]).to_string();
    let known = file.and_then(|file| engine.catalogue().known_build(&digest, file));
    let listed = match known {
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

/// The signature as the file came with it: its page digests must
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

/// Where the sequence is, or what comes nearest: how much of it, and by the name
/// of its instruction what stands where it ends.
fn sequence(engine: &Engine, file: &Universal<'_>) -> (Vec<Check>, Vec<Site>) {
    const NAME: &str = "sequence-once";
    let failed = |error: &Error| vec![Check::fail(NAME, plain(error))];
    let sighting = match engine.find_any(file) {
        Ok(sighting) => sighting,
        Err(error) => return (failed(&error), Vec::new()),
    };
    if let MatchResult::Absent { nearest, distinguishing } = &sighting {
        let near = nearest.iter().map(|miss| {
            let read = engine.disassembler.one(miss.found, miss.at.instruction(miss.line));
            let name = read.text.split_whitespace().next().unwrap_or_default().to_owned();
            format!(
                "{}: {} of {distinguishing} lines fit; where `{}` is wanted stands {name}",
                miss.at, miss.fitting, miss.wanted
            )
        });
        let near = near.collect::<Vec<_>>().join("; ");
        return (
            vec![Check::fail(NAME, format!("it does not occur; nearest: {near}"))],
            Vec::new(),
        );
    }
    match sighting.sites() {
        Ok(found) => {
            let checks = found.sites.iter().map(|site| Check::pass(NAME, whereabouts(site)));
            (checks.collect(), found.sites)
        }
        Err(error) => (failed(&error), Vec::new()),
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

/// The proof of the default rewrite, with every obligation that fails or could
/// not be looked at.
fn proven(engine: &Engine, file: &Universal<'_>, site: &Site) -> Check {
    const NAME: &str = "proven";
    let judged = engine.default_for(&site.signature).and_then(|patch| {
        let wanted = State::Patched { patch: patch.name.clone() };
        proof::judge(engine, file, &engine.proposal(site.clone(), &wanted)?)
    });
    match judged {
        Err(error) => Check::fail(NAME, plain(&error)),
        Ok(judgement) => {
            let open = judgement.checks.iter().filter(|check| check.status != Status::Pass);
            let open =
                open.map(|check| format!("; {} {}: {}", check.status, check.name, check.detail));
            let detail = judgement.sentence() + &open.collect::<String>();
            Check::from(NAME, judgement.verdict == Verdict::Holds, detail)
        }
    }
}

/// The driver with the default patch, made in memory.
fn patched(engine: &Engine, file: &Universal<'_>, bytes: &[u8]) -> (Vec<Check>, Option<Vec<u8>>) {
    let mut checks = Vec::new();
    let mut patched = bytes.to_vec();
    match engine.plan(file, None) {
        Ok(Outcome::Already(_)) => {}
        Ok(Outcome::Plan(plan)) => {
            checks.push(planned(&plan));
            if let Err(error) = edit::apply(&mut patched, &plan.edits) {
                checks.push(Check::fail("patched-in-memory", plain(&error)));
                return (checks, None);
            }
        }
        Err(error) => {
            checks.push(Check::fail("planned", plain(&error)));
            return (checks, None);
        }
    }
    checks.push(verified(engine, &patched));
    (checks, Some(patched))
}

fn planned(plan: &FilePlan) -> Check {
    let bytes: usize = plan.edits.iter().map(|edit| edit.new.len()).sum();
    let detail = format!("{}: {bytes} bytes in {} places", plan.patch, plan.edits.len());
    Check::pass("planned", detail)
}

fn verified(engine: &Engine, patched: &[u8]) -> Check {
    const NAME: &str = "patched-in-memory";
    match patch::verify(engine, patched, &Selection::ByMethod) {
        Err(error) => Check::fail(NAME, plain(&error)),
        Ok((checks, _)) => match checks.iter().find(|check| check.status == Status::Fail) {
            None => Check::pass(NAME, format!("{} checks of the result hold", checks.len())),
            Some(failed) => Check::fail(NAME, format!("{}: {}", failed.name, failed.detail)),
        },
    }
}
