//! From a site to the complete list of edits.
//!
//! The rewrite is rendered with what the signature captured, assembled, and
//! read back by the disassembler, whose text must assemble to the same word. Then
//! every signed slice is resealed, because the kernel wants one signer for a
//! file.

use serde::Serialize;

use crate::address::{FileOffset, VmAddr, Word};
use crate::arm64::assemble_and_read_back;
use crate::edit::{Edit, EditKind};
use crate::error::{Code, Error, Result};
use crate::macho::Universal;
use crate::signature::{Captures, Pattern, Rendered};

use super::catalogue::Patch;
use super::engine::{Engine, PatternVariant};
use super::find::Selection;
use super::match_result::{Occurrence, Place, Site, Sites, State};
use super::seal;

/// What is to be done to a file: the rewrites of all its sites, together.
#[derive(Clone, Debug, Serialize)]
pub struct FilePlan {
    /// The patch; `original` for the way back.
    pub patch: String,
    /// One for each site, at least one.
    pub rewrites: Vec<Plan>,
    /// Further places where the sequence stands, which are left alone.
    pub elsewhere: Vec<Occurrence>,
    /// Every change of the file, in its order.
    pub edits: Vec<Edit>,
}

/// What is to be done at one site.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The patch; `original` for the way back.
    pub patch: String,
    /// Where it goes.
    pub site: Site,
    /// The window, word by word.
    pub words: Vec<PlannedWord>,
    /// The window's words as the compiler made them, which is what a rewrite has
    /// to be held against, also where another rewrite stands now.
    #[serde(skip)]
    pub original: Vec<Word>,
}

/// One word of the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedWord {
    /// Where it stands.
    pub address: VmAddr,
    /// What stands there.
    pub old: Word,
    /// How that reads.
    pub old_text: String,
    /// The new words.
    pub new: Word,
    /// How that reads.
    pub new_text: String,
}

/// A plan, or none needed.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// To be done.
    Plan(Box<FilePlan>),
    /// The file is in the wanted state.
    Already(Box<Sites>),
}

/// The name that asks for the way back.
pub const ORIGINAL: &str = "original";

impl Engine {
    /// Plans the patch of that name, or the default one for what the file holds, at
    /// every site that the signature's methods choose.
    pub fn plan(&self, file: &Universal<'_>, patch: Option<&str>) -> Result<Outcome> {
        self.plan_selected(file, patch, &Selection::ByMethod)
    }

    /// As [`Engine::plan`], with another way to choose the sites.
    pub fn plan_selected(
        &self,
        file: &Universal<'_>,
        patch: Option<&str>,
        selection: &Selection,
    ) -> Result<Outcome> {
        let named = match patch {
            None | Some(ORIGINAL) => None,
            Some(name) => Some(self.catalogue().patch(name)?),
        };
        let sighting = match named {
            Some(named) => {
                let signature = self.catalogue().signature(&named.signature)?;
                self.find_selected(file, signature, selection)?
            }
            None => self.find_any_selected(file, selection)?,
        };
        let sites = sighting.sites()?;
        let wanted = match (patch, named) {
            (Some(ORIGINAL), _) => State::Original,
            (_, Some(named)) => State::Patched { patch: named.name.clone() },
            _ => State::Patched { patch: self.default_for(sites.signature())?.name.clone() },
        };
        if sites.state() == Some(&wanted) {
            return Ok(Outcome::Already(Box::new(sites)));
        }
        self.plan_at(file, sites, &wanted).map(|plan| Outcome::Plan(Box::new(plan)))
    }

    /// The plan that leaves the sites as they are: it changes the signature at most.
    ///
    /// # Errors
    /// If the sites are in different states.
    pub fn plan_of_standing(&self, file: &Universal<'_>, sites: Sites) -> Result<FilePlan> {
        let state = sites.state().cloned().ok_or_else(|| {
            Error::new(Code::Bug, "sites in different states were reported as already patched")
        })?;
        self.plan_at(file, sites, &state)
    }

    /// The patch that a signature gets if none is named.
    pub fn default_for(&self, signature: &str) -> Result<&Patch> {
        let mut defaults = self.catalogue().patches_for(signature).filter(|patch| patch.default);
        match (defaults.next(), defaults.next()) {
            (Some(patch), None) => Ok(patch),
            _ => Err(Error::new(
                Code::UnknownPatch,
                "the signature that was found has no one patch marked as the default",
            )
            .with("signature", signature)
            .next("name a patch with --patch")),
        }
    }

    fn plan_at(&self, file: &Universal<'_>, sites: Sites, wanted: &State) -> Result<FilePlan> {
        let Sites { sites, elsewhere } = sites;
        let rewrites: Vec<Plan> =
            sites.into_iter().map(|site| self.proposal(site, wanted)).collect::<Result<_>>()?;
        let mut edits: Vec<Edit> = rewrites.iter().flat_map(instruction_edits).collect();
        edits.extend(seal::reseal_all(file, &edits)?);
        edits.sort_by_key(|edit| edit.at);
        Ok(FilePlan { patch: patch_name(wanted), rewrites, elsewhere, edits })
    }

    /// The window of one site as it is to be. A proof looks at this, and a file that
    /// is in the wanted state already has it too.
    pub fn proposal(&self, site: Site, wanted: &State) -> Result<Plan> {
        let forms = self.forms(self.catalogue().signature(&site.signature)?)?;
        let words = self.rewrite(forms, wanted, &site)?;
        let original = match site.state {
            State::Original => site.place.words.clone(),
            _ => {
                let put_back = self.rewrite(forms, &State::Original, &site)?;
                put_back.into_iter().map(|word| word.new).collect()
            }
        };
        Ok(Plan { patch: patch_name(wanted), site, words, original })
    }

    /// Renders, assembles and reads back the window as it is to be.
    fn rewrite(
        &self,
        forms: &[PatternVariant],
        wanted: &State,
        site: &Site,
    ) -> Result<Vec<PlannedWord>> {
        let form = |state: &State| {
            let found = forms.iter().find(|form| form.state == *state);
            found.map(|form| &form.pattern).ok_or_else(|| {
                Error::new(Code::Bug, "the wanted state has no form").with("state", state)
            })
        };
        let (wanted, standing) = (form(wanted)?, form(&site.state)?);
        let original = form(&State::Original)?;
        let start = site.place.window.start;
        let mut words = Vec::new();
        for (index, &old) in site.place.words.iter().enumerate() {
            let address = start.instruction(index);
            let new = match self.word(wanted, index, address, &site.captures)? {
                Some(word) => word,
                // The line keeps what the compiler made, which still stands there
                // unless the rewrite that is in place wrote over it.
                None if std::ptr::eq(standing, original) => old,
                None if standing.source.lines[index].is_open() => old,
                None => match self.word(original, index, address, &site.captures)? {
                    Some(word) => word,
                    None => return Err(not_told(&site.state, original, index, address)),
                },
            };
            words.push(PlannedWord {
                address,
                old,
                old_text: self.disassembler.one(old, address).text,
                new,
                new_text: self.disassembler.one(new, address).text,
            });
        }
        Ok(words)
    }

    /// The word that a line makes; none where it leaves bits open.
    fn word(
        &self,
        pattern: &Pattern,
        index: usize,
        address: VmAddr,
        captures: &Captures,
    ) -> Result<Option<Word>> {
        match pattern.source.render(index, address, captures)? {
            Rendered::Text(line) => self.assemble(&line, address).map(Some),
            Rendered::Word(word) => Ok(Some(word)),
            Rendered::Open => Ok(None),
        }
    }

    fn assemble(&self, line: &str, address: VmAddr) -> Result<Word> {
        assemble_and_read_back(&self.assembler, &self.disassembler, line, address).map_err(
            |reason| match reason.code() {
                Code::ReadBackDiffers => reason,
                _ => Error::new(Code::CannotEncode, "the rewrite cannot be encoded at this place")
                    .with("instruction", line.trim())
                    .with("address", address)
                    .with("reason", reason),
            },
        )
    }
}

/// The rewrite in place overwrote a word of which the signature does not say enough.
fn not_told(state: &State, original: &Pattern, index: usize, address: VmAddr) -> Error {
    Error::new(Code::CannotEncode, "the signature does not say which word was here before")
        .with("address", address)
        .with("line", &original.source.lines[index].text)
        .with("state", state)
        .next("start from the original file; `agxpatch signatures lint` names such lines")
}

impl FilePlan {
    /// Plans to renew also the digests that did not fit before the patch.
    ///
    /// # Errors
    /// As [`seal::reseal_all`].
    pub fn renew_every_digest(&mut self, file: &Universal<'_>) -> Result<()> {
        let mut edits: Vec<Edit> = self.rewrites.iter().flat_map(instruction_edits).collect();
        edits.extend(seal::renew_all(file, &edits)?);
        edits.sort_by_key(|edit| edit.at);
        self.edits = edits;
        Ok(())
    }
}

fn patch_name(state: &State) -> String {
    match state {
        State::Original => ORIGINAL.to_owned(),
        State::Patched { patch } => patch.clone(),
    }
}

fn instruction_edits(plan: &Plan) -> Vec<Edit> {
    let Place { window, offset, .. } = &plan.site.place;
    plan.words
        .iter()
        .filter(|word| word.old != word.new)
        .map(|word| Edit {
            at: FileOffset(offset.0 + (word.address.0 - window.start.0)),
            old: word.old.to_bytes().to_vec(),
            new: word.new.to_bytes().to_vec(),
            kind: EditKind::Instruction,
            why: format!("{}: {} -> {}", word.address, word.old_text, word.new_text),
        })
        .collect()
}
