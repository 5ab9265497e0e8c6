//! `agxpatch signatures test FILE`: where signatures occur, and what comes near
//! where none does.
//!
//! Of the file only the load commands and the code are read, the code in pieces
//! and by two threads.

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use crate::cli::files;
use crate::report::style::{FAINT, RESET, STRONG, WARN};
use crate::report::{Report, printable};
use crate::storage::SparseFile;
use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_core::macho::{Slice, Universal};
use agxpatch_core::patch::{self, Engine, Examination, Extent, PatternVariant, Signature, State};
use agxpatch_core::signature::{Code, Many, Match, NearMiss};

#[derive(Serialize)]
pub struct Occurrences {
    file: String,
    found: Vec<Occurrence>,
    /// How many further occurrences there are, of which none is shown.
    more: usize,
    /// How many places call other functions than their signature names.
    other_calls: usize,
    /// How many of the signatures looked for do not occur.
    absent: usize,
    /// Where nothing was found, what comes nearest to the signatures added last.
    nearest: Vec<Nearest>,
    /// What the code does, whatever the signatures say.
    #[serde(flatten)]
    meaning: Examination,
}

#[derive(Serialize)]
struct Occurrence {
    signature: String,
    architecture: String,
    #[serde(flatten)]
    state: State,
    #[serde(flatten)]
    hit: Match,
}

#[derive(Serialize)]
struct Nearest {
    signature: String,
    architecture: String,
    /// How many of the signature's lines say something.
    distinguishing: usize,
    misses: Vec<ShownMiss>,
}

#[derive(Serialize)]
struct ShownMiss {
    at: VmAddr,
    /// How many of the distinguishing lines fit.
    fitting: usize,
    /// Lines that do not, the first few.
    misfits: Vec<ShownMisfit>,
    /// How many more there are.
    more: usize,
}

#[derive(Serialize)]
struct ShownMisfit {
    at: VmAddr,
    /// Number of the line, counted from 0.
    line: usize,
    wanted: String,
    found: Word,
    /// What stands there, disassembled.
    reads: String,
}

/// Near misses are shown of this many signatures, and of each this many.
const MAX_MISSES: usize = 3;

/// Occurrences beyond this many are counted and not shown: a vague pattern may occur
/// a million times.
const MAX_FOUND: usize = 10_000;

/// Lines that do not fit beyond this many are counted and not shown.
const MAX_MISFITS: usize = 12;

/// Bytes of code and data of which verdicts are given.
const MAX_EXAMINED: u64 = 64 << 20;

/// Bytes at the head of a file that hold any table of slices.
const TABLE: u64 = 4096;

/// Bytes of a slice that say how long its load commands are.
const HEADER: u64 = 32;

/// Looks for all signatures in all their forms, in one pass over a slice.
/// Occurrences of a signature more than once are listed and not judged.
pub fn occurrences(engine: &Engine, path: &Path) -> Result<Occurrences> {
    let mut parts = SparseFile::open(path)?;
    let texts = texts(&mut parts)?;
    let known = engine.all_forms()?;
    let forms: Vec<(&Signature, &PatternVariant)> = known
        .iter()
        .flat_map(|(signature, forms)| forms.iter().map(move |form| (*signature, form)))
        .collect();
    let mut found = Vec::new();
    for text in &texts {
        let here: Vec<&(&Signature, &PatternVariant)> =
            forms.iter().filter(|(signature, _)| signature.is_for(&text.architecture)).collect();
        let many = Many::new(here.iter().map(|(_, form)| &form.pattern));
        let longest = here.iter().map(|(_, form)| form.pattern.len()).max().unwrap_or(1);
        for (number, hit) in text.find(&parts, &many, longest)? {
            let (signature, form) = here[number];
            found.push(Occurrence {
                signature: signature.name.clone(),
                architecture: text.architecture.clone(),
                state: form.state.clone(),
                hit,
            });
        }
    }
    let other_calls = keep_fitting_calls(engine, &mut parts, &texts, &mut found)?;
    let mut names: Vec<&str> = found.iter().map(|found| found.signature.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let absent = known.len() - names.len();
    let nearest = match found.is_empty() {
        true => near(engine, &mut parts, &texts, &known)?,
        false => Vec::new(),
    };
    let more = found.len().saturating_sub(MAX_FOUND);
    found.truncate(MAX_FOUND);
    let file = path.display().to_string();
    let meaning = examine(engine, &mut parts).unwrap_or_default();
    Ok(Occurrences { file, found, more, other_calls, absent, nearest, meaning })
}

/// The verdicts about the methods that signatures name, where the file is no larger
/// than drivers are.
fn examine(engine: &Engine, parts: &mut SparseFile) -> Result<Examination> {
    let slices = Universal::parse(parts.bytes())?;
    let ranges: Vec<Range<u64>> = arm(&slices)
        .map(|slice| slice.offset.0..slice.offset.0 + slice.bytes.len() as u64)
        .collect();
    if ranges.iter().map(|range| range.end - range.start).sum::<u64>() > MAX_EXAMINED {
        return Ok(Examination::default());
    }
    ranges.into_iter().try_for_each(|range| parts.load(range))?;
    engine.examine(&Universal::parse(parts.bytes())?, Extent::Named)
}

/// Leaves out the places that call other functions than their signature names, and
/// counts them. The names stand in tables at the end of a slice, which is read for it.
fn keep_fitting_calls(
    engine: &Engine,
    parts: &mut SparseFile,
    texts: &[Text],
    found: &mut Vec<Occurrence>,
) -> Result<usize> {
    let before = found.len();
    let all = engine.catalogue().signatures.iter();
    let naming: HashMap<&str, &Signature> = all
        .filter(|signature| !signature.functions.is_empty())
        .map(|signature| (signature.name.as_str(), signature))
        .collect();
    for text in texts {
        let named = |one: &Occurrence| {
            let here = one.architecture == text.architecture;
            naming.get(one.signature.as_str()).copied().filter(|_| here)
        };
        if !found.iter().any(|one| named(one).is_some()) {
            continue;
        }
        parts.load(text.slice.clone())?;
        let file = Universal::parse(parts.bytes())?;
        let Some(slice) = arm(&file).find(|slice| slice.offset.0 == text.slice.start) else {
            continue;
        };
        let image = slice.image()?;
        let mut kept = Vec::with_capacity(found.len());
        for one in found.drain(..) {
            let fits = match named(&one) {
                Some(signature) => patch::calls_fit(signature, &image, &one.hit.captures)?,
                None => true,
            };
            if fits {
                kept.push(one);
            }
        }
        *found = kept;
    }
    Ok(before - found.len())
}

fn near(
    engine: &Engine,
    parts: &mut SparseFile,
    texts: &[Text],
    known: &[(&Signature, &[PatternVariant])],
) -> Result<Vec<Nearest>> {
    let mut nearest_of = Vec::new();
    for text in texts {
        // The names of methods stand all over the slice.
        let methods = known.iter().any(|(signature, _)| !signature.methods.is_empty());
        parts.load(if methods { text.slice.clone() } else { text.range.clone() })?;
        let file = Universal::parse(parts.bytes())?;
        let image = arm(&file).find(|slice| slice.offset.0 == text.slice.start);
        let image = image.map(Slice::image).transpose()?;
        let bytes = &parts.bytes()[text.range.start as usize..text.range.end as usize];
        let code = Code { address: text.address, bytes };
        let of_this =
            known.iter().rev().filter(|(signature, _)| signature.is_for(&text.architecture));
        for (signature, forms) in of_this.take(MAX_MISSES) {
            let Some(original) = forms.first() else { continue };
            let functions = image
                .as_ref()
                .filter(|_| methods)
                .map(|image| patch::functions_named(image, &signature.methods).unwrap_or_default());
            let functions = functions.into_iter().flatten();
            let named: Vec<Code<'_>> = functions.filter_map(|one| code.part(one)).collect();
            let misses = patch::nearest_first(&original.pattern, &named, &[code], MAX_MISSES);
            nearest_of.push(Nearest {
                signature: signature.name.clone(),
                architecture: text.architecture.clone(),
                distinguishing: original.pattern.distinguishing(),
                misses: misses.into_iter().map(|miss| shown(engine, miss)).collect(),
            });
        }
    }
    Ok(nearest_of)
}

/// A near miss with its lines that do not fit, disassembled.
fn shown(engine: &Engine, miss: NearMiss) -> ShownMiss {
    let lines = miss.misfits.iter().take(MAX_MISFITS).map(|misfit| ShownMisfit {
        at: miss.at.instruction(misfit.line),
        line: misfit.line,
        wanted: misfit.wanted.clone(),
        reads: engine.disassembler.one(misfit.found, miss.at.instruction(misfit.line)).text,
        found: misfit.found,
    });
    let more = miss.misfits.len().saturating_sub(MAX_MISFITS);
    ShownMiss { at: miss.at, fitting: miss.fitting, misfits: lines.collect(), more }
}

/// The code of one slice.
struct Text {
    architecture: String,
    /// The slice's place in the file.
    slice: Range<u64>,
    /// Address of the first instruction.
    address: VmAddr,
    /// Where it stands in the file.
    range: Range<u64>,
}

impl Text {
    /// All matches with the number of their pattern, by place; none is of more
    /// than `longest` instructions. One half is searched while the other is.
    fn find(
        &self,
        parts: &SparseFile,
        many: &Many<'_>,
        longest: usize,
    ) -> Result<Vec<(usize, Match)>> {
        let Range { start, end } = self.range;
        let middle = start + (end - start) / 8 * 4;
        let halves = std::thread::scope(|scope| {
            let second = scope.spawn(|| self.find_in(middle..end, parts, many, longest));
            let first = self.find_in(start..middle, parts, many, longest);
            [first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
        });
        let [first, second] = halves;
        Ok(first?.into_iter().chain(second?).collect())
    }

    /// The matches that begin in `share` of the file.
    fn find_in(
        &self,
        share: Range<u64>,
        parts: &SparseFile,
        many: &Many<'_>,
        longest: usize,
    ) -> Result<Vec<(usize, Match)>> {
        let mut found = Vec::new();
        parts.each_piece(share, self.range.end, longest * 4, |start, share, bytes| {
            let address = self.address.plus(start - self.range.start);
            let begins = |(_, hit): &(usize, Match)| hit.at < address.plus(share);
            found.extend(many.find(Code { address, bytes }).into_iter().filter(begins));
            Ok(())
        })?;
        Ok(found)
    }
}

/// Reads the load commands and says where the code of the AArch64 slices is.
fn texts(parts: &mut SparseFile) -> Result<Vec<Text>> {
    parts.load(0..TABLE)?;
    // The header of each slice says how much there is to read of it.
    for _ in 0..2 {
        let heads = Universal::parse(parts.bytes())?;
        let heads: Vec<_> = arm(&heads).map(Slice::head).collect();
        for head in heads {
            parts.load(head.start.0..head.end.0.max(head.start.0 + HEADER))?;
        }
    }
    let file = Universal::parse(parts.bytes())?;
    let text = |slice: &Slice<'_>| {
        let section = slice.image()?.text()?.clone();
        let range = section.file_range();
        Ok(Text {
            architecture: slice.architecture.to_string(),
            slice: slice.offset.0..slice.offset.0 + slice.size,
            address: section.address,
            range: slice.offset.0 + range.start.0..slice.offset.0 + range.end.0,
        })
    };
    arm(&file).map(text).collect()
}

fn arm<'f, 'a>(file: &'f Universal<'a>) -> impl Iterator<Item = &'f Slice<'a>> {
    file.slices.iter().filter(|slice| slice.architecture.is_aarch64())
}

impl ShownMiss {
    fn text(&self, out: &mut dyn Write, distinguishing: usize) -> io::Result<()> {
        writeln!(out, "  {}: {} of {distinguishing} lines fit", self.at, self.fitting)?;
        for ShownMisfit { at, line, wanted, found, reads } in &self.misfits {
            let line = line + 1;
            writeln!(out, "    {at}  {found}  {reads}, where line {line} wants `{wanted}`")?;
        }
        match self.more {
            0 => Ok(()),
            more => writeln!(out, "    and {more} more lines"),
        }
    }
}

impl Report for Occurrences {
    const SCHEMA: &'static str = "agxpatch.signatures-test/2";

    fn exit(&self) -> Exit {
        if self.found.is_empty() { Exit::NotFound } else { Exit::Success }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for Occurrence { signature, architecture, state, hit } in &self.found {
            writeln!(out, "{STRONG}{signature}{RESET} at {} in {architecture}, {state}", hit.at)?;
            for (name, value) in hit.captures.iter() {
                writeln!(out, "  {FAINT}{name:<8}{RESET} {value}")?;
            }
        }
        if self.more > 0 {
            writeln!(out, "and {} more places", self.more)?;
        }
        if self.other_calls > 0 {
            let count = self.other_calls;
            writeln!(
                out,
                "{count} places left out: they call other functions than the signature's"
            )?;
        }
        if self.found.is_empty() {
            writeln!(out, "no signature occurs in {}", printable(&self.file))?;
        }
        for Nearest { signature, architecture, distinguishing, misses } in &self.nearest {
            writeln!(
                out,
                "{WARN}near misses{RESET} of {STRONG}{signature}{RESET} in {architecture}:"
            )?;
            for miss in misses {
                miss.text(out, *distinguishing)?;
            }
            if misses.is_empty() {
                writeln!(out, "  no line of it fits anywhere")?;
            }
        }
        self.meaning.functions.iter().try_for_each(|one| files::show_verdict(out, one))
    }
}
