//! Everything that is shown of a patch and the function in front of it.
//!
//! The file may hold the original or a rewrite: either way the proof is about
//! the original becoming the patched one, and the version that is missing is
//! rendered from the catalogue with what the signature captured. [`examine`]
//! returns the obligations for all inputs and the properties in all
//! interleavings, of both versions.

use std::collections::BTreeSet;

use serde::{Serialize, Serializer};

use super::interleaving::{self, Interleavings, Property};
use super::judge::{declared, names_roles};
use super::meaning;
use super::rewrite::Permission;
use super::steps::Steps;
use super::{Defect, Obligation, Proof, Site, Verdict, prove, with_site};
use crate::address::Word;
use crate::arm64::Instruction;
use crate::check::{Check, Status};
use crate::error::Result;
use crate::macho::Universal;
use crate::patch::{Engine, Plan, Selection, State};

/// One version of the window and what its interleavings come to.
#[derive(Clone, Debug, Serialize)]
pub struct Version {
    /// The words of the window, read by the disassembler.
    pub listing: Vec<Instruction>,
    /// The instructions before it that make a step, likewise.
    pub approach: Vec<Instruction>,
    /// The steps of the function.
    pub steps: Steps,
    /// Every interleaving.
    pub interleavings: Interleavings,
}

/// Everything shown of a patch.
#[derive(Clone, Debug, Serialize)]
pub struct ProofReport {
    /// What it comes to, given what the patch declares.
    pub verdict: Verdict,
    /// The differences from the original that were found and are permitted, where no
    /// signature names roles; none for a strict refinement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<BTreeSet<Permission>>,
    /// For all inputs, path by path.
    pub proof: Proof,
    /// Both versions, or why the steps of a thread cannot be told.
    #[serde(flatten, serialize_with = "where_known")]
    pub versions: Result<Versions>,
    /// What is asked of the patched one in every interleaving.
    pub properties: Vec<Check>,
}

/// Leaves out versions that are not known: the properties say why.
fn where_known<S: Serializer>(
    versions: &Result<Versions>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    versions.as_ref().ok().serialize(serializer)
}

/// The original and the patched one.
#[derive(Clone, Debug, Serialize)]
pub struct Versions {
    /// The original.
    pub before: Version,
    /// The patched one.
    pub after: Version,
}

/// The rewrites that are to be proven for `file`, one for each site: those of the
/// patch of that name, else of the one the file holds, else of the default.
pub fn rewrites(
    engine: &Engine,
    file: &Universal<'_>,
    name: Option<&str>,
    selection: &Selection,
) -> Result<Vec<Plan>> {
    let named = name.map(|name| engine.catalogue().patch(name)).transpose()?;
    let sighting = match named {
        Some(patch) => {
            let signature = engine.catalogue().signature(&patch.signature)?;
            engine.find_selected(file, signature, selection)?
        }
        None => engine.find_any_selected(file, selection)?,
    };
    let found = sighting.sites()?;
    let wanted = match (named, found.state()) {
        (Some(patch), _) => State::Patched { patch: patch.name.clone() },
        (None, Some(state @ State::Patched { .. })) => state.clone(),
        // Of sites in different states, those that are not patched yet decide.
        (None, _) => State::Patched { patch: engine.default_for(found.signature())?.name.clone() },
    };
    found.sites.into_iter().map(|site| engine.proposal(site, &wanted)).collect()
}

/// Proves a rewrite for all inputs, and explores every interleaving of `threads`
/// threads under the original and under it.
///
/// Where the signature names no roles, both are told from what the code does.
///
/// # Errors
/// As [`prove`], or as [`meaning::examine`].
pub fn examine(
    engine: &Engine,
    file: &Universal<'_>,
    plan: &Plan,
    threads: u8,
) -> Result<ProofReport> {
    if !names_roles(plan) {
        return meaning::examine_plan(engine, file, plan, &declared(engine, plan)?, threads);
    }
    with_site(engine, file, plan, |site| {
        let proof = prove(site)?;
        let before = version(engine, site, site.before, threads)?;
        let after = version(engine, site, site.after, threads)?;
        let properties = after.interleavings.checks();
        let verdict =
            proof.verdict(site.declared).max(verdict_on(&after.interleavings, site.declared));
        let versions = Ok(Versions { before, after });
        Ok(ProofReport { verdict, permissions: None, proof, versions, properties })
    })
}

fn version(engine: &Engine, site: &Site<'_>, function: &[Word], threads: u8) -> Result<Version> {
    let steps = Steps::of(function, site.entry, site.window(), &site.roles, site.surroundings)?;
    let listing = engine.disassembler.disassemble(function, site.entry);
    let inside = |line: &Instruction| site.window().contains(&line.address);
    let (listing, outside): (Vec<_>, Vec<_>) = listing.into_iter().partition(inside);
    let makes_step = |line: &Instruction| steps.all().any(|step| step.at == line.address);
    Ok(Version {
        listing,
        approach: outside.into_iter().filter(makes_step).collect(),
        interleavings: interleaving::check(&steps, threads)?,
        steps,
    })
}

/// What the interleavings come to, given what the patch declares.
pub(super) fn verdict_on(found: &Interleavings, declared: &[Defect]) -> Verdict {
    let excused =
        |property| property == Property::NoLeak && declared.contains(&Defect::FreeLostWhenFull);
    interleaving::ASKED
        .iter()
        .filter(|(property, _)| found.violation(*property).is_some())
        .map(|(property, _)| match excused(*property) {
            true => Verdict::DeclaredDefect,
            false => Verdict::Refuted,
        })
        .max()
        .unwrap_or(Verdict::Holds)
}

impl ProofReport {
    /// Obligations and properties, in one list.
    pub fn checks(&self) -> Vec<Check> {
        let obligations = self.proof.obligations.iter().map(Obligation::check);
        obligations.chain(self.properties.iter().cloned()).collect()
    }

    /// Those of [`ProofReport::checks`] that have a status.
    pub fn with_status(&self, status: Status) -> Vec<Check> {
        self.checks().into_iter().filter(|check| check.status == status).collect()
    }
}
