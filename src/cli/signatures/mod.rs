//! `agxpatch signatures list|explain|lint|test|make`: the catalogue, for readers and
//! authors.

use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use crate::report::style::{FAINT, RESET, STRONG, WARN};
use crate::report::{self, Report, printable};
use agxpatch_core::address::Word;
use agxpatch_core::check::{self, Check};
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_core::macho::{Architecture, Universal};
use agxpatch_core::patch::{
    Engine, KnownRelease, MatchResult, Patch, Signature, anchor_hits, lint,
};
use agxpatch_core::signature::{Code, Many, Pattern, Template};
use agxpatch_simulate::driver::{self, Variant};

use super::{Session, files};

mod make;
mod test;

/// List, explain, lint or test the signatures of the catalogue
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List signatures and patches.
    List,
    /// Print one signature, its patches, and the words they compile to.
    Explain {
        /// The signature's name.
        name: String,
    },
    /// Check that the signatures are precise and the patches consistent.
    Lint,
    /// Show where the signatures occur in a file.
    Test {
        /// A Mach-O file.
        file: PathBuf,
    },
    Make(make::Args),
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    // The process ends with the command. To give the pieces of a large catalogue
    // back one by one would take as long as to look for it.
    let engine = ManuallyDrop::new(files::engine(session)?);
    match args.verb {
        Verb::List => session.show(&list(&engine)),
        Verb::Explain { name } => session.show(&explain(&engine, &name)?),
        Verb::Lint => {
            let mut checks = lint(&engine);
            checks.extend(against_the_synthetic_driver(&engine)?);
            session.show(&Lint { checks })
        }
        Verb::Make(args) => session.show(&make::make(&engine, &args)?),
        Verb::Test { file } => session.show(&test::occurrences(&engine, &file)?),
    }
}

#[derive(Serialize)]
struct Listing {
    catalogue: String,
    signatures: Vec<Signature>,
    patches: Vec<Patch>,
    /// The known releases of drivers, each with the signatures it is known to hold
    /// and not to hold.
    releases: Vec<KnownRelease>,
}

fn list(engine: &Engine) -> Listing {
    let catalogue = engine.catalogue();
    Listing {
        catalogue: catalogue.digest(),
        signatures: catalogue.signatures.clone(),
        patches: catalogue.patches.clone(),
        releases: catalogue.releases.clone(),
    }
}

impl Listing {
    /// What is known of a signature in each release.
    fn releases(&self, out: &mut dyn Write, signature: &str) -> io::Result<()> {
        let named = |list: &[String]| list.iter().any(|name| name == signature);
        let known = |release: &&KnownRelease| named(&release.holds) || named(&release.lacks);
        // Of a signature that no release is known for, that they are unknown says nothing.
        if !self.releases.iter().any(|release| known(&release)) {
            return Ok(());
        }
        for (word, wanted) in [
            ("known to hold it", (|holds, _| holds) as fn(bool, bool) -> bool),
            ("known not to hold it", |_, lacks| lacks),
            ("unknown", |holds, lacks| !holds && !lacks),
        ] {
            let these = self
                .releases
                .iter()
                .filter(|release| wanted(named(&release.holds), named(&release.lacks)));
            for release in these {
                writeln!(out, "  {FAINT}{word}:{RESET} {release}")?;
            }
        }
        Ok(())
    }
}

impl Report for Listing {
    const SCHEMA: &'static str = "agxpatch.signatures-list/2";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for signature in &self.signatures {
            writeln!(out, "{STRONG}{}{RESET}", signature.name)?;
            writeln!(out, "  {}", printable(&signature.summary))?;
            for patch in self.patches.iter().filter(|p| p.signature == signature.name) {
                let mark = if patch.default { " (default)" } else { "" };
                let summary = printable(&patch.summary);
                writeln!(out, "  patch {STRONG}{}{RESET}{mark}: {summary}", patch.name)?;
            }
            self.releases(out, &signature.name)?;
        }
        writeln!(out, "{FAINT}catalogue {}{RESET}", self.catalogue)
    }
}

#[derive(Serialize)]
struct Explanation {
    signature: Signature,
    words: Vec<ExplainedWord>,
    radare: String,
    patches: Vec<Patch>,
}

#[derive(Serialize)]
struct ExplainedWord {
    line: String,
    value: String,
    mask: String,
    captures: Vec<String>,
}

fn explain(engine: &Engine, name: &str) -> Result<Explanation> {
    let signature = engine.catalogue().signature(name)?.clone();
    let pattern = engine.original(&signature)?;
    let lines = pattern.source.lines.iter().zip(&pattern.templates);
    let words = lines
        .map(|(line, template)| ExplainedWord {
            line: line.text.clone(),
            value: format!("{:08x}", template.value),
            mask: format!("{:08x}", template.mask),
            captures: template.fields.iter().map(|field| field.name.clone()).collect(),
        })
        .collect();
    let patches = engine.catalogue().patches_for(name).cloned().collect();
    Ok(Explanation { radare: radare(&pattern.templates), signature, words, patches })
}

/// The search for the fixed bits in the notation of radare2 and rizin.
fn radare(templates: &[Template]) -> String {
    let bytes = |number: fn(&Template) -> u32| {
        templates
            .iter()
            .flat_map(|template| number(template).to_le_bytes())
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    format!("/x {}:{}", bytes(|template| template.value), bytes(|template| template.mask))
}

impl Report for Explanation {
    const SCHEMA: &'static str = "agxpatch.signatures-explain/2";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{STRONG}{}{RESET}\n\n{}", self.signature.name, self.signature.essay.trim())?;
        writeln!(out, "\n{STRONG}   value     mask      instruction{RESET}")?;
        for word in &self.words {
            writeln!(out, "   {}  {}  {}", word.value, word.mask, word.line)?;
        }
        writeln!(
            out,
            "\nThe fixed bits, for radare2 or rizin, which cannot be told that registers agree:\n  {}",
            self.radare
        )?;
        for patch in &self.patches {
            writeln!(out, "\n{STRONG}patch {}{RESET}\n\n{}", patch.name, patch.essay.trim())?;
            writeln!(out, "\n{}", patch.rewrite.trim_end())?;
            for gap in &patch.does_not_fix {
                writeln!(out, "\n{WARN}does not fix:{RESET} {}", printable(gap))?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Lint {
    checks: Vec<Check>,
}

/// How a signature does in 6.7 MB of plausible code with near misses in it: it
/// must not occur more than once, unless its methods choose among the places, and
/// its anchor must be rare.
fn against_the_synthetic_driver(engine: &Engine) -> Result<Vec<Check>> {
    let bytes = driver::build(&Variant::PUBLISHED)?;
    let file = Universal::parse(&bytes)?;
    let image = file.slice(Architecture::ARM64E)?.image()?;
    let text = image.text()?;
    let code = Code { address: text.address, bytes: text.bytes };
    // What does not compile was reported already.
    let signatures = engine.catalogue().signatures.iter();
    let compiled: Vec<(&Signature, &Pattern)> = signatures
        .filter_map(|signature| Some((signature, engine.original(signature).ok()?)))
        .collect();
    let mut hits = vec![0; compiled.len()];
    let many = Many::new(compiled.iter().map(|(_, pattern)| *pattern));
    many.find(code).iter().for_each(|(number, _)| hits[*number] += 1);
    let words = text.bytes.len() / 4;
    let mut checks = Vec::new();
    for ((signature, pattern), hits) in compiled.into_iter().zip(hits) {
        let name = &signature.name;
        let chosen = hits > 1 && matches!(engine.find(&file, signature), Ok(MatchResult::Found(_)));
        let how = if chosen { ", of which the methods choose" } else { "" };
        checks.push(Check::from(
            "unique-in-synthetic-driver",
            hits <= 1 || chosen,
            format!("{name}: {hits} hits{how}"),
        ));
        let anchors = anchor_hits(pattern, Word::all(text.bytes));
        checks.push(Check::from(
            "anchor-rare-in-synthetic-driver",
            anchors.saturating_mul(RARE) <= words,
            format!("{name}: {anchors} of {words} words"),
        ));
    }
    Ok(checks)
}

/// An anchor may stand for one word in this many; the scan looks no further at
/// the others.
const RARE: usize = 1000;

impl Report for Lint {
    const SCHEMA: &'static str = "agxpatch.signatures-lint/1";

    fn exit(&self) -> Exit {
        if check::none_failed(&self.checks) { Exit::Success } else { Exit::Mismatch }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        report::checks(out, &self.checks)
    }
}
