//! From a planned patch to the site of a proof.
//!
//! A rewrite is held against the code as the compiler made it, also where
//! another rewrite stands in the file. The roles are the signature's captures by
//! name; a signature that captures others is about something this proof knows
//! nothing of, and is told so.

use std::ops::Range;

use crate::address::{VmAddr, Word};
use crate::arm64::semantics::Register;
use crate::check::{Check, Status};
use crate::edit;
use crate::error::{Code, Error, Result};
use crate::macho::{Image, Universal};
use crate::patch::{
    Engine, Examined, Extent, FilePlan, ORIGINAL, Plan, Selection, Site as FoundSite, State,
};
use crate::signature::Captures;

use super::interleaving;
use super::proof_report::{rewrites, verdict_on};
use super::rewrite::{self, Rewrite, Stubs};
use super::steps::Steps;
use super::{Defect, LandingPads, Obligation, Proof, Roles, Site, Surroundings, Verdict, prove};

/// A proof of a plan, and what it comes to given what the patch declares.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Judgement {
    /// What it comes to.
    pub verdict: Verdict,
    /// Every obligation for all inputs, and every property in all interleavings.
    pub checks: Vec<Check>,
    /// The defects the patch declares.
    pub declared: Vec<Defect>,
}

/// How many threads the interleavings are explored with. More find nothing that
/// these do not, as the tests show for up to five.
const THREADS: u8 = 3;

/// Proves a planned rewrite: for all inputs, and in every interleaving.
///
/// # Errors
/// `NoProofFor` where the signature does not name the roles the proof is about
/// and the rewrite is not a refinement by what the code does, or where the image
/// does not say where the function begins; else as [`prove`].
pub fn judge(engine: &Engine, file: &Universal<'_>, plan: &Plan) -> Result<Judgement> {
    if let Err(missing) = roles(&plan.site.captures) {
        return judge_by_meaning(engine, file, plan, missing);
    }
    with_site(engine, file, plan, |site| {
        let proof = prove(site)?;
        let mut verdict = proof.verdict(site.declared);
        let mut checks: Vec<Check> = proof.obligations.iter().map(Obligation::check).collect();
        // What refines nothing has no steps worth exploring.
        if verdict != Verdict::Refuted {
            let steps =
                Steps::of(site.after, site.entry, site.window(), &site.roles, site.surroundings)?;
            let found = interleaving::check(&steps, THREADS)?;
            verdict = verdict.max(verdict_on(&found, site.declared));
            checks.extend(found.checks());
        }
        Ok(Judgement { verdict, checks, declared: site.declared.to_vec() })
    })
}

/// Proves the rewrite of a signature that names no roles: by what the code does.
/// Of a rewrite that does something else than the code it replaces nothing is
/// known, neither that it is right nor that it is wrong.
fn judge_by_meaning(
    engine: &Engine,
    file: &Universal<'_>,
    plan: &Plan,
    missing: Error,
) -> Result<Judgement> {
    let declared = declared(engine, plan)?;
    let refinement = with_versions(file, plan, |versions| {
        let stubs = Stubs::of(versions.image)?;
        // The patch leaves the exception table as it is.
        let range = versions.entry..versions.entry.instruction(versions.before.len());
        let sites = versions.image.call_sites(&range).ok();
        rewrite::refine(&Rewrite {
            entry: versions.entry,
            before: &versions.before,
            after: &versions.after,
            added: &[],
            standing: &[],
            stubs: &stubs,
            surroundings: &Around::of(versions.image)?,
            call_sites: sites.as_deref().map(|sites| [sites; 2]),
            captures: false,
        })
    });
    let refinement = match refinement {
        Ok(refinement) => refinement,
        Err(reason) if reason.code() == Code::NoProofFor => return Err(reason),
        Err(reason) => return Err(missing.with("why", reason)),
    };
    let proof = Proof { obligations: refinement.obligations };
    let verdict = proof.verdict(&declared);
    if verdict == Verdict::Refuted {
        let failed = proof.obligations.iter().filter(|found| found.status == Status::Fail);
        return Err(failed.fold(missing, |error, found| {
            error.with("lacks", format!("{}: {}", found.name.as_str(), found.detail))
        }));
    }
    let mut checks: Vec<Check> = proof.obligations.iter().map(Obligation::check).collect();
    let reason = "the signature does not name the roles that the model is about";
    checks.push(Check::skipped("interleavings", reason.to_owned()));
    Ok(Judgement { verdict, checks, declared })
}

/// Whether the default rewrite of a site is proven, as one check.
pub fn check_default(engine: &Engine, file: &Universal<'_>, site: &FoundSite) -> Check {
    const NAME: &str = "proof";
    let judged = engine.default_for(&site.signature).and_then(|patch| {
        let wanted = State::Patched { patch: patch.name.clone() };
        let plan = engine.proposal(site.clone(), &wanted)?;
        let judgement = judge(engine, file, &plan)?;
        allow(&judgement, &plan, false).map(|()| judgement.sentence())
    });
    as_check(NAME, judged)
}

/// Whether the rewrite that stands in a file is proven against the original it
/// replaced, which is rendered from the catalogue, as one check.
pub fn check_standing(engine: &Engine, bytes: &[u8], selection: &Selection) -> Check {
    const NAME: &str = "proof";
    let judged = Universal::parse(bytes).and_then(|file| {
        let mut sentences = Vec::new();
        let rewrites = match rewrites(engine, &file, None, selection) {
            Err(error) if error.code() == Code::NoMatch => {
                return standing_by_meaning(engine, bytes, &file)
                    .unwrap_or_else(|| Err(nothing_to_compare(engine, &file, error)));
            }
            rewrites => rewrites?,
        };
        for plan in rewrites {
            let judgement = judge(engine, &file, &plan)?;
            allow(&judgement, &plan, false)?;
            sentences.push(judgement.sentence());
        }
        // Sites that are alike are proven alike, which is said once.
        sentences.dedup();
        Ok(sentences.join("; "))
    });
    as_check(NAME, judged)
}

/// Proves the rewrites by meaning of a file that keeps its original code; nothing if it
/// keeps none.
fn standing_by_meaning(
    engine: &Engine,
    bytes: &[u8],
    file: &Universal<'_>,
) -> Option<Result<String>> {
    let edits = engine.plan_original(file).ok()?;
    let mut original = bytes.to_vec();
    let proven = edit::apply(&mut original, &edits).and_then(|()| {
        let original = Universal::parse(&original)?;
        let mut functions = 0;
        for (before, after) in original.slices.iter().zip(&file.slices) {
            if after.architecture.is_aarch64() {
                functions += rewrite::refine_every_change(&before.image()?, &after.image()?)?;
            }
        }
        Ok(format!("{functions} functions refine the original code that the file keeps"))
    });
    Some(proven)
}

/// Why a file that keeps no original code is not proven: its methods clear in time, and
/// whether the rest of them is as it was only the file it was made from shows; or `absent`.
fn nothing_to_compare(engine: &Engine, file: &Universal<'_>, absent: Error) -> Error {
    let examined = engine.examine(file, Extent::Shaped).unwrap_or_default().functions;
    if !examined.iter().any(Examined::clears_in_time) {
        return absent;
    }
    Error::new(Code::NoProofFor, "the file does not keep the code that a rewrite replaced")
}

/// Proves every rewrite of a plan.
///
/// # Errors
/// As [`judge`] and [`allow`], for the first rewrite that may not be carried out.
pub fn require(
    engine: &Engine,
    file: &Universal<'_>,
    plan: &FilePlan,
    by_name: bool,
) -> Result<Vec<Judgement>> {
    let proven = |rewrite: &Plan| {
        let judgement = judge(engine, file, rewrite)?;
        allow(&judgement, rewrite, by_name).map(|()| judgement)
    };
    plan.rewrites.iter().map(proven).collect()
}

fn as_check(name: &'static str, judged: Result<String>) -> Check {
    match judged {
        Ok(sentence) => Check::pass(name, sentence),
        Err(error) if error.code() == Code::NoProofFor => Check::skipped(name, error.to_string()),
        Err(error) => Check::fail(name, error.to_string()),
    }
}

/// Whether a rewrite may be carried out: it is proven, or its only failures are
/// defects it declares and the user asked for it by name.
///
/// # Errors
/// `Unproven`, with every obligation that fails.
pub fn allow(judgement: &Judgement, plan: &Plan, by_name: bool) -> Result<()> {
    let message = match judgement.verdict {
        Verdict::Holds => return Ok(()),
        Verdict::DeclaredDefect if by_name => return Ok(()),
        Verdict::DeclaredDefect => "the rewrite has a known defect and was not asked for by name",
        Verdict::Refuted => "the proof refuses the rewrite",
    };
    let failed = judgement.checks.iter().filter(|check| check.status == Status::Fail);
    let error = Error::new(Code::Unproven, message).with("patch", &plan.patch);
    Err(failed
        .fold(error, |error, check| {
            error.with("fails", format!("{}: {}", check.name, check.detail))
        })
        .next("nothing was written; `agxpatch prove` shows every obligation"))
}

impl Judgement {
    /// The verdict in a sentence.
    pub fn sentence(&self) -> String {
        let count = |status| self.checks.iter().filter(|check| check.status == status).count();
        let (passed, failed, skipped) =
            (count(Status::Pass), count(Status::Fail), count(Status::Skipped));
        let mut sentence = match self.verdict {
            Verdict::Holds => format!("proven: {passed} obligations hold"),
            _ => format!("{passed} obligations hold and {failed} fail, as the patch declares"),
        };
        if skipped != 0 {
            sentence.push_str(&format!(", {skipped} could not be looked at"));
        }
        sentence
    }
}

/// Calls `with` with the site a plan is about.
pub fn with_site<T>(
    engine: &Engine,
    file: &Universal<'_>,
    plan: &Plan,
    with: impl FnOnce(&Site<'_>) -> Result<T>,
) -> Result<T> {
    let place = &plan.site.place;
    let roles = roles(&plan.site.captures)?;
    let declared = declared(engine, plan)?;
    with_versions(file, plan, |versions| {
        let surroundings = Around::of(versions.image)?;
        with(&Site {
            entry: versions.entry,
            before: &versions.before,
            after: &versions.after,
            window_start: place.window.start,
            window_end: place.window.end,
            roles,
            declared: &declared,
            surroundings: &surroundings,
        })
    })
}

/// A whole function as it was and as a plan makes it.
struct Versions<'i, 'a> {
    image: &'i Image<'a>,
    entry: VmAddr,
    before: Vec<Word>,
    after: Vec<Word>,
}

/// Calls `with` with the function a plan is about, before and after.
fn with_versions<T>(
    file: &Universal<'_>,
    plan: &Plan,
    with: impl FnOnce(&Versions<'_, '_>) -> Result<T>,
) -> Result<T> {
    let place = &plan.site.place;
    let function = place
        .function
        .clone()
        .ok_or_else(|| no_proof("the image does not say where the function begins and ends"))?;
    let slice = file
        .slices
        .get(place.slice)
        .ok_or_else(|| Error::new(Code::Bug, "a plan names a slice that the file does not have"))?;
    let image = slice.image()?;
    let standing: Vec<Word> = image.words(function.clone())?.collect();
    let new: Vec<Word> = plan.words.iter().map(|word| word.new).collect();
    let before = replaced(&standing, &function, &place.window, &plan.original)?;
    let after = replaced(&standing, &function, &place.window, &new)?;
    with(&Versions { image: &image, entry: function.start, before, after })
}

/// The function with `words` in the window.
fn replaced(
    standing: &[Word],
    function: &Range<VmAddr>,
    window: &Range<VmAddr>,
    words: &[Word],
) -> Result<Vec<Word>> {
    let first = window.start.distance_from(function.start) / 4;
    let mut all = standing.to_vec();
    let place = usize::try_from(first).ok().and_then(|at| all.get_mut(at..at + words.len()));
    match place {
        Some(place) => {
            place.copy_from_slice(words);
            Ok(all)
        }
        None => Err(no_proof("the window does not lie within one function")),
    }
}

/// Whether the signature captures the roles that the proof is about.
pub(super) fn names_roles(plan: &Plan) -> bool {
    roles(&plan.site.captures).is_ok()
}

fn roles(captures: &Captures) -> Result<Roles> {
    let register = |name| match captures.register(name) {
        Some(number) => Ok(Register::new(number.into())),
        None => Err(missing(name)),
    };
    let address = |name| captures.address(name).ok_or_else(|| missing(name));
    let slots = captures.immediate("slots").and_then(|slots| u64::try_from(slots).ok());
    Ok(Roles {
        self_: register("self")?,
        ivar: register("ivar")?,
        impl_: register("impl")?,
        slot: register("slot")?,
        slots: slots.ok_or_else(|| missing("slots"))?,
        pool: register("pool")?,
        lock: register("lock")?,
        unlock: address("unlock")?,
        free: address("free")?,
    })
}

fn missing(name: &str) -> Error {
    no_proof("the signature does not capture a role that the proof is about").with("role", name)
}

fn no_proof(reason: &str) -> Error {
    Error::new(Code::NoProofFor, reason)
        .next("`agxpatch patch --unproven` writes a copy anyway; such a copy cannot be deployed")
}

pub(super) fn declared(engine: &Engine, plan: &Plan) -> Result<Vec<Defect>> {
    if plan.patch == ORIGINAL {
        return Ok(Vec::new());
    }
    let patch = engine.catalogue().patch(&plan.patch)?;
    let named = |name: &String| {
        Defect::named(name).ok_or_else(|| {
            Error::new(Code::CatalogueBroken, "a patch declares an unknown defect")
                .with("patch", &patch.name)
                .with("defect", name)
        })
    };
    patch.defects.iter().map(named).collect()
}

/// The image around the function, as far as the proof asks.
pub(super) struct Around<'i, 'a> {
    image: &'i Image<'a>,
    text: VmAddr,
    bytes: &'a [u8],
    starts: Vec<VmAddr>,
}

impl<'i, 'a> Around<'i, 'a> {
    pub(super) fn of(image: &'i Image<'a>) -> Result<Around<'i, 'a>> {
        let text = image.text()?;
        let starts = image.function_starts()?;
        Ok(Around { image, text: text.address, bytes: text.bytes, starts })
    }
}

impl Surroundings for Around<'_, '_> {
    fn text(&self) -> (VmAddr, &[u8]) {
        (self.text, self.bytes)
    }

    fn function_starts(&self) -> Option<&[VmAddr]> {
        (!self.starts.is_empty()).then_some(&self.starts)
    }

    fn landing_pads(&self, function: Range<VmAddr>) -> LandingPads {
        match self.image.landing_pads(&function) {
            Ok(pads) => LandingPads::Known(pads),
            Err(reason) => LandingPads::Unknown(reason.to_owned()),
        }
    }

    fn unwind_steps(&self, function: Range<VmAddr>) -> Option<Vec<VmAddr>> {
        self.image.unwind_steps(&function).ok()
    }

    fn data(&self, address: VmAddr, length: usize) -> Option<&[u8]> {
        let end = address.0.checked_add(length as u64)?;
        self.image.bytes_at(address..VmAddr(end)).ok()
    }
}
