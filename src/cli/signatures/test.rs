//! `agxpatch signatures test FILE`: where signatures occur, and what comes near
//! where none does.
//!
//! Of the file only the load commands and the code are read, the code in pieces
//! and by two threads.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use crate::cli::files;
use crate::report::style::{FAINT, RESET, STRONG, WARN};
use crate::report::{Report, printable};
use crate::storage::Parts;
use agxpatch_core::address::VmAddr;
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_core::macho::{Slice, Universal};
use agxpatch_core::patch::{Engine, Examination, Extent, Form, Signature, State};
use agxpatch_core::signature::{Code, Many, Match, NearMiss, nearest};

#[derive(Serialize)]
pub struct Occurrences {
    file: String,
    found: Vec<Occurrence>,
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
    telling: usize,
    misses: Vec<NearMiss>,
}

/// Near misses are shown of this many signatures, and of each this many.
const MOST: usize = 3;

/// Bytes of code and data of which verdicts are given.
const MAX_EXAMINED: u64 = 64 << 20;

/// Bytes at the head of a file that hold any table of slices.
const TABLE: u64 = 4096;

/// Bytes of a slice that say how long its load commands are.
const HEADER: u64 = 32;

/// Looks for all signatures in all their forms, in one pass over a slice.
/// Occurrences of a signature more than once are listed and not judged.
pub fn occurrences(engine: &Engine, path: &Path) -> Result<Occurrences> {
    let mut parts = Parts::open(path)?;
    let texts = texts(&mut parts)?;
    let known = engine.all_forms()?;
    let forms: Vec<(&Signature, &Form)> = known
        .iter()
        .flat_map(|(signature, forms)| forms.iter().map(move |form| (*signature, form)))
        .collect();
    let mut found = Vec::new();
    for text in &texts {
        let here: Vec<&(&Signature, &Form)> =
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
    let mut names: Vec<&str> = found.iter().map(|found| found.signature.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let absent = known.len() - names.len();
    let nearest = if found.is_empty() { near(&mut parts, &texts, &known)? } else { Vec::new() };
    let meaning = examine(engine, &mut parts).unwrap_or_default();
    Ok(Occurrences { file: path.display().to_string(), found, absent, nearest, meaning })
}

/// The verdicts about the methods that signatures name, where the file is no larger
/// than drivers are.
fn examine(engine: &Engine, parts: &mut Parts) -> Result<Examination> {
    let slices = Universal::parse(parts.bytes())?;
    let ranges: Vec<Range<u64>> = arm(&slices)
        .map(|slice| slice.offset.0..slice.offset.0 + slice.bytes.len() as u64)
        .collect();
    if ranges.iter().map(|range| range.end - range.start).sum::<u64>() > MAX_EXAMINED {
        return Ok(Examination::default());
    }
    ranges.into_iter().try_for_each(|range| parts.want(range))?;
    engine.examine(&Universal::parse(parts.bytes())?, Extent::Named)
}

fn near(
    parts: &mut Parts,
    texts: &[Text],
    known: &[(&Signature, &[Form])],
) -> Result<Vec<Nearest>> {
    let mut nearest_of = Vec::new();
    for text in texts {
        parts.want(text.range.clone())?;
        let bytes = &parts.bytes()[text.range.start as usize..text.range.end as usize];
        let code = Code { address: text.address, bytes };
        let of_this =
            known.iter().rev().filter(|(signature, _)| signature.is_for(&text.architecture));
        for (signature, forms) in of_this.take(MOST) {
            let Some(original) = forms.first() else { continue };
            nearest_of.push(Nearest {
                signature: signature.name.clone(),
                architecture: text.architecture.clone(),
                telling: original.pattern.telling(),
                misses: nearest(&original.pattern, code, MOST),
            });
        }
    }
    Ok(nearest_of)
}

/// The code of one slice.
struct Text {
    architecture: String,
    /// Address of the first instruction.
    address: VmAddr,
    /// Where it stands in the file.
    range: Range<u64>,
}

impl Text {
    /// All matches with the number of their pattern, by place; none is of more
    /// than `longest` instructions. One half is searched while the other is.
    fn find(&self, parts: &Parts, many: &Many<'_>, longest: usize) -> Result<Vec<(usize, Match)>> {
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
        parts: &Parts,
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
fn texts(parts: &mut Parts) -> Result<Vec<Text>> {
    parts.want(0..TABLE)?;
    // The header of each slice says how much there is to read of it.
    for _ in 0..2 {
        let heads = Universal::parse(parts.bytes())?;
        let heads: Vec<_> = arm(&heads).map(Slice::head).collect();
        for head in heads {
            parts.want(head.start.0..head.end.0.max(head.start.0 + HEADER))?;
        }
    }
    let file = Universal::parse(parts.bytes())?;
    let text = |slice: &Slice<'_>| {
        let section = slice.image()?.text()?.clone();
        let range = section.file_range();
        Ok(Text {
            architecture: slice.architecture.to_string(),
            address: section.address,
            range: slice.offset.0 + range.start.0..slice.offset.0 + range.end.0,
        })
    };
    arm(&file).map(text).collect()
}

fn arm<'f, 'a>(file: &'f Universal<'a>) -> impl Iterator<Item = &'f Slice<'a>> {
    file.slices.iter().filter(|slice| slice.architecture.is_aarch64())
}

impl Report for Occurrences {
    const SCHEMA: &'static str = "agxpatch.signatures-test/1";

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
        if self.found.is_empty() {
            writeln!(out, "no signature occurs in {}", printable(&self.file))?;
        }
        for Nearest { signature, architecture, telling, misses } in &self.nearest {
            writeln!(
                out,
                "{WARN}near misses{RESET} of {STRONG}{signature}{RESET} in {architecture}:"
            )?;
            for miss in misses {
                writeln!(out, "  {}", miss.sentence(*telling))?;
            }
            if misses.is_empty() {
                writeln!(out, "  no line of it fits anywhere")?;
            }
        }
        self.meaning.functions.iter().try_for_each(|one| files::show_verdict(out, one))
    }
}
