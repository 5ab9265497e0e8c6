//! What `agxpatch patch` did, or would do: the changes, what was proven of them, and what
//! they do not fix.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::Serialize;

use super::Proof;
use crate::cli::files;
use crate::report::style::{GOOD, RESET, STRONG, WARN};
use crate::report::{Report, printable};
use agxpatch_core::edit::Edit;
use agxpatch_core::error::Error;
use agxpatch_core::finder::{Answer, RewriteKind};
use agxpatch_core::patch::{
    Engine, Examined, FilePlan, MeaningPlan, ORIGINAL, Occurrence, PlannedWord, Site, Sites, State,
};
use agxpatch_core::proof::Judgement;
use agxpatch_core::proof::meaning::GIVEN_BACK_ONCE;

/// The outcome of a plan that is not carried out, or not yet.
pub(super) const PLANNED: &str = "planned";

#[derive(Serialize)]
pub(super) struct Patching {
    file: String,
    pub(super) output: Option<String>,
    /// What became of it: `written`, `planned`, or `already`.
    pub(super) outcome: &'static str,
    patch: String,
    /// The sites, each with its rewrite.
    sites: Vec<Rewrite>,
    /// Further places where the sequence stands, which are left alone.
    elsewhere: Vec<Occurrence>,
    /// The functions that are rewritten because of what they do, where no signature
    /// describes them.
    by_meaning: Option<MeaningPlan>,
    pub(super) source_sha256: Option<String>,
    pub(super) edits: Vec<Edit>,
    defects: Vec<String>,
    does_not_fix: Vec<String>,
}

/// A site and what becomes of it.
#[derive(Serialize)]
struct Rewrite {
    site: Site,
    words: Vec<PlannedWord>,
    proof: Option<Judgement>,
    /// Why there is no proof, where the user asked to go on without.
    unproven: Option<Error>,
}

/// The report of putting back the original code that a file keeps.
pub(super) fn original(file: String, edits: Vec<Edit>) -> Patching {
    let none = by_meaning(file, None);
    Patching {
        outcome: PLANNED,
        patch: ORIGINAL.to_owned(),
        edits,
        does_not_fix: Vec::new(),
        ..none
    }
}

/// The report of a plan by meaning, or of a file that needs none.
pub(super) fn by_meaning(file: String, plan: Option<MeaningPlan>) -> Patching {
    let kind = plan.as_ref().map(|plan| plan.kind).unwrap_or_default();
    Patching {
        file,
        output: None,
        outcome: if plan.is_some() { PLANNED } else { "already" },
        patch: kind.name().to_owned(),
        sites: Vec::new(),
        elsewhere: Vec::new(),
        source_sha256: None,
        edits: plan.as_ref().map(|plan| plan.edits.clone()).unwrap_or_default(),
        by_meaning: plan,
        defects: Vec::new(),
        does_not_fix: does_not_fix(kind),
    }
}

/// The report of a file whose functions clear in time, with what they leave open.
pub(super) fn already_by_meaning(file: String, examined: &[Examined]) -> Patching {
    let mut report = by_meaning(file, None);
    if examined.iter().all(|one| one.remaining.double_push == Answer::No) {
        report.does_not_fix.retain(|gap| gap != GIVEN_BACK_TWICE);
    }
    if examined.iter().any(|one| one.remaining.freed_while_set == Answer::Yes) {
        report.does_not_fix.push(FREED_WHILE_SET.to_owned());
    }
    report
}

/// What a function leaves open that clears in time where the pool has room.
const FREED_WHILE_SET: &str =
    "a block that is not pooled is freed while the field still points to it";

/// What a rewrite by meaning leaves open.
pub(in crate::cli) fn does_not_fix(kind: RewriteKind) -> Vec<String> {
    let twice = (!kind.excludes_double_push()).then_some(GIVEN_BACK_TWICE);
    twice.into_iter().chain(DOES_NOT_FIX).map(str::to_owned).collect()
}

const GIVEN_BACK_TWICE: &str =
    "two threads that both release one object still give its block back twice";

/// What no rewrite by meaning closes.
const DOES_NOT_FIX: [&str; 2] = [
    "two threads that both release one object still destroy its block twice",
    "code that reads the field without the lock may still find a block that was given back",
];

pub(super) fn patching(
    engine: &Engine,
    file: String,
    plan: FilePlan,
    proofs: Vec<Proof>,
) -> Patching {
    let notes = engine.catalogue().patch(&plan.patch).ok();
    let sites = plan.rewrites.into_iter().zip(proofs).map(|(rewrite, proof)| {
        let (proof, unproven) = match proof {
            Ok(judgement) => (Some(judgement), None),
            Err(error) => (None, Some(error)),
        };
        Rewrite { site: rewrite.site, words: rewrite.words, proof, unproven }
    });
    Patching {
        file,
        output: None,
        outcome: PLANNED,
        sites: sites.collect(),
        elsewhere: plan.elsewhere,
        by_meaning: None,
        defects: notes.map(|patch| patch.defects.clone()).unwrap_or_default(),
        does_not_fix: notes.map(|patch| patch.does_not_fix.clone()).unwrap_or_default(),
        patch: plan.patch,
        source_sha256: None,
        edits: plan.edits,
    }
}

pub(super) fn already(file: String, found: Sites) -> Patching {
    let patch = found.state().map(State::to_string).unwrap_or_default();
    let unchanged = |site| Rewrite { site, words: Vec::new(), proof: None, unproven: None };
    Patching {
        file,
        output: None,
        outcome: "already",
        patch,
        sites: found.sites.into_iter().map(unchanged).collect(),
        elsewhere: found.elsewhere,
        by_meaning: None,
        source_sha256: None,
        edits: Vec::new(),
        defects: Vec::new(),
        does_not_fix: Vec::new(),
    }
}

impl Report for Patching {
    const SCHEMA: &'static str = "agxpatch.patch/2";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.outcome == "already" {
            return self.already(out);
        }
        for rewrite in &self.sites {
            let place = &rewrite.site.place;
            writeln!(
                out,
                "{STRONG}{}{RESET} in {}, {} (file offset {})",
                self.patch,
                place.architecture,
                printable(place.name()),
                place.offset
            )?;
            files::show_window(out, &rewrite.words)?;
        }
        if let Some(plan) = &self.by_meaning {
            show_by_meaning(out, plan)?;
        }
        files::show_elsewhere(out, &self.elsewhere)?;
        files::show_edits(out, &self.edits)?;
        self.proofs(out)?;
        for defect in &self.defects {
            writeln!(out, "{WARN}known defect:{RESET} {}", printable(defect))?;
        }
        for gap in &self.does_not_fix {
            writeln!(out, "{WARN}does not fix:{RESET} {}", printable(gap))?;
        }
        match &self.output {
            Some(output) => writeln!(out, "{GOOD}wrote{RESET} {}", printable(output)),
            None => writeln!(out, "dry run: nothing written"),
        }
    }
}

fn show_by_meaning(out: &mut dyn Write, plan: &MeaningPlan) -> io::Result<()> {
    for one in &plan.rewritten {
        let name = one.examined.name.as_deref().unwrap_or("a function without a name");
        let (at, architecture) = (one.examined.function, one.examined.architecture);
        let name = printable(name);
        let kind = plan.kind.name();
        writeln!(out, "{STRONG}{kind}{RESET} in {architecture}, {name} at {at}")?;
        let differences: BTreeSet<&str> =
            one.proofs.iter().flat_map(|proof| proof.permissions.iter().copied()).collect();
        let differences = Vec::from_iter(differences).join(", ");
        writeln!(out, "  {GOOD}proven{RESET}: it differs from the original by {differences}")?;
        let threads = one.proofs.iter().flat_map(|proof| &proof.checks);
        for check in threads.filter(|check| check.name == GIVEN_BACK_ONCE) {
            writeln!(
                out,
                "  {GOOD}proven{RESET}: one thread gives a block back, {}",
                check.detail
            )?;
        }
    }
    for one in &plan.refused {
        let name = one.examined.name.as_deref().unwrap_or("a function without a name");
        let (at, name) = (one.examined.function, printable(name));
        writeln!(out, "{WARN}clears late, not rewritten:{RESET} {name} at {at}: {}", one.refused)?;
    }
    files::show_not_examined(out, plan.not_examined)?;
    match plan.original_kept {
        true => {
            writeln!(out, "--patch original puts the original code back from the new file alone")
        }
        false => writeln!(
            out,
            "{WARN}the signature leaves no room for the original code:{RESET} only the file this \
             was made from brings it back"
        ),
    }
}

impl Patching {
    fn already(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.sites.is_empty() {
            let file = printable(&self.file);
            return writeln!(out, "{file}: {GOOD}clears under the lock{RESET}; nothing written");
        }
        for Rewrite { site, .. } in &self.sites {
            writeln!(
                out,
                "{}: {GOOD}already {}{RESET} at {} in {}; nothing written",
                printable(&self.file),
                site.state,
                site.place.window.start,
                site.place.architecture
            )?;
        }
        Ok(())
    }

    /// What was proven, once where it is the same for all sites.
    fn proofs(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut said = Vec::new();
        for Rewrite { proof, unproven, .. } in &self.sites {
            let sentence = match (proof, unproven) {
                (Some(judgement), _) => judgement.sentence(),
                (None, Some(reason)) => format!("{WARN}not proven:{RESET} {}", reason.message()),
                (None, None) => continue,
            };
            if !said.contains(&sentence) {
                writeln!(out, "{sentence}")?;
                said.push(sentence);
            }
        }
        Ok(())
    }
}
