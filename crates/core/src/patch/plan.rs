//! From a site to the complete list of edits.
//!
//! The rewrite is rendered with what the signature captured, assembled, and
//! read back by the disassembler, whose text must be the rendered text. Then
//! every signed slice is resealed, because the kernel wants one signer for a
//! file.

use serde::Serialize;

use crate::address::{FileOffset, VmAddr, Word};
use crate::codesign;
use crate::edit::{Edit, EditKind};
use crate::error::{Code, Error, Result};
use crate::macho::Universal;

use super::catalogue::Patch;
use super::engine::Engine;
use super::look::Selection;
use super::sighting::{Occurrence, Place, Site, Sites, State};

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
    /// What shall stand there.
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
                self.look_and_select(file, signature, selection)?
            }
            None => self.look_for_any_and_select(file, selection)?,
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
        edits.extend(reseal_all(file, &edits)?);
        edits.sort_by_key(|edit| edit.at);
        Ok(FilePlan { patch: patch_name(wanted), rewrites, elsewhere, edits })
    }

    /// The window of one site as it shall be. A proof looks at this, and a file that
    /// is in the wanted state already has it too.
    pub fn proposal(&self, site: Site, wanted: &State) -> Result<Plan> {
        let forms = self.forms(self.catalogue().signature(&site.signature)?)?;
        let rewrite = |state: &State| match forms.iter().find(|form| form.state == *state) {
            Some(form) => self.rewrite(&form.pattern, &site),
            None => Err(Error::new(Code::Bug, "the wanted state has no form")),
        };
        let words = rewrite(wanted)?;
        let original = match site.state {
            State::Original => site.place.words.clone(),
            _ => rewrite(&State::Original)?.into_iter().map(|word| word.new).collect(),
        };
        Ok(Plan { patch: patch_name(wanted), site, words, original })
    }

    /// Renders, assembles and reads back the window as it shall be.
    fn rewrite(
        &self,
        pattern: &crate::signature::Pattern,
        site: &Site,
    ) -> Result<Vec<PlannedWord>> {
        let start = site.place.window.start;
        let mut lines = Vec::new();
        for index in 0..pattern.len() {
            let address = start.instruction(index);
            lines.push(pattern.source.render(index, address, &site.captures)?);
        }
        let mut words = Vec::new();
        for (index, (line, &old)) in lines.iter().zip(&site.place.words).enumerate() {
            let address = start.instruction(index);
            let new = match line {
                None => old,
                Some(line) => self.assemble(line, address)?,
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

    fn assemble(&self, line: &str, address: VmAddr) -> Result<Word> {
        let word = self.assembler.assemble_line(line, address).map_err(|reason| {
            Error::new(Code::CannotEncode, "the rewrite cannot be encoded at this place")
                .with("instruction", line.trim())
                .with("address", address)
                .with("reason", reason)
        })?;
        let read = self.disassembler.one(word, address).text;
        if plain(&read) == plain(line) {
            return Ok(word);
        }
        Err(Error::new(Code::ReadBackDiffers, "the assembled word reads back differently")
            .with("assembled", line.trim())
            .with("word", word)
            .with("reads", read))
    }
}

/// Assembly with one space between tokens and numbers in hexadecimal, so that
/// two spellings of one instruction compare equal.
fn plain(text: &str) -> String {
    let tokens = text.replace(',', " , ");
    let spell = |token: &str| {
        let number = token.trim_start_matches('[').strip_prefix('#').map(|rest| {
            let (digits, tail) = rest.split_at(rest.find(']').unwrap_or(rest.len()));
            let value = match digits.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16).ok(),
                None => digits.parse().ok(),
            };
            value.map(|value| format!("#{value:#x}{tail}"))
        });
        match number {
            Some(Some(number)) if token.starts_with('[') => format!("[{number}"),
            Some(Some(number)) => number,
            _ => token.to_owned(),
        }
    };
    tokens.split_whitespace().map(spell).collect::<Vec<_>>().join(" ")
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

/// The edits that reseal every slice of the file ad hoc for these changes.
///
/// A slice without a signature is left alone if nothing in it changes and its
/// processor runs unsigned code.
pub fn reseal_all(file: &Universal<'_>, changes: &[Edit]) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for slice in &file.slices {
        let signature = slice.image()?.code_signature();
        let touched = changes.iter().any(|edit| slice.range().contains(&edit.at));
        match signature {
            Some(signature) => {
                let planned = codesign::reseal(slice.bytes, slice.offset, signature, changes);
                edits.extend(planned.map_err(|e| e.with("slice", slice.architecture))?);
            }
            None if !touched && !slice.architecture.is_aarch64() => {}
            None => {
                return Err(Error::new(
                    Code::NoSignature,
                    "the slice carries no code signature, and there is no room kept for one",
                )
                .with("slice", slice.architecture)
                .next("sign the file first, for instance with `codesign -s -` on a Mac"));
            }
        }
    }
    Ok(edits)
}
