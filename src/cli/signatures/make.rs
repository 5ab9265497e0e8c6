//! `agxpatch signatures make FILE`: a signature written from code in a file.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::report::Report;
use crate::storage;
use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::macho::{Image, Slice, Universal};
use agxpatch_core::patch::{self, Engine, NamedMethod};
use agxpatch_core::signature::{Generalised, generalise};

/// Write a signature from real code, with what the linker filled in captured
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A Mach-O file.
    file: PathBuf,

    /// The function to take: a method such as `-[Class selector]`, or a C or C++ symbol.
    #[arg(long, value_name = "NAME", required_unless_present = "at", allow_hyphen_values = true)]
    symbol: Option<String>,

    /// Where to begin, in place of the beginning of a function.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "symbol")]
    at: Option<VmAddr>,

    /// How many instructions to take; the signature ends where the function does.
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    length: u16,

    /// The signature's name.
    #[arg(long, value_name = "NAME", default_value = "made")]
    name: String,
}

/// A signature as its file has it.
#[derive(Serialize)]
pub struct Made {
    name: String,
    architecture: String,
    at: VmAddr,
    method: Option<String>,
    #[serde(flatten)]
    code: MadeCode,
}

#[derive(Serialize)]
struct MadeCode {
    pattern: String,
    functions: std::collections::BTreeMap<String, String>,
}

/// Writes the signature of the code that the arguments choose.
pub fn make(engine: &Engine, args: &Args) -> Result<Made> {
    let input = storage::read(&args.file)?;
    let file = Universal::parse(&input.bytes)?;
    let arm = |slice: &&Slice<'_>| slice.architecture.is_aarch64();
    // A driver holds one such slice; of several the first with the code is taken.
    let mut missing = None;
    for slice in file.slices.iter().filter(arm) {
        match of_slice(engine, slice, args) {
            Err(error) if error.code() == Code::NoMatch => missing = missing.or(Some(error)),
            made => return made,
        }
    }
    Err(missing.unwrap_or_else(|| {
        Error::new(Code::NoSlice, "the file has no slice for a 64-bit Arm processor")
            .with("file", args.file.display())
    }))
}

fn of_slice(engine: &Engine, slice: &Slice<'_>, args: &Args) -> Result<Made> {
    let image = slice.image()?;
    let (at, method) = match (&args.symbol, args.at) {
        (Some(name), _) => {
            let found = one_named(&image, name)?;
            (found.address, Some(found.name))
        }
        (None, Some(at)) => (at, None),
        (None, None) => (image.text()?.address, None),
    };
    let Some(function) = image.function_containing(at)? else {
        return Err(Error::new(Code::NoMatch, "the address lies in no function")
            .with("address", at)
            .next("list functions with: agxpatch inspect FILE --methods"));
    };
    let end = function.end.min(at.instruction(args.length.into()));
    let words: Vec<Word> = image.words(at..end)?.collect();
    let stubs = image.stubs()?;
    let named = |target: VmAddr| {
        stubs.iter().find(|stub| stub.address == target).map(|stub| stub.name.to_owned())
    };
    let Generalised { pattern, functions } =
        generalise(&engine.assembler, &engine.disassembler, &words, at, named)?;
    Ok(Made {
        name: args.name.clone(),
        architecture: slice.architecture.to_string(),
        at,
        method,
        code: MadeCode { pattern, functions },
    })
}

/// The one function of that name.
fn one_named(image: &Image<'_>, name: &str) -> Result<NamedMethod> {
    let mut found = patch::methods_named(image, name);
    found.dedup_by_key(|one| one.address);
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Error::new(Code::NoMatch, "no function has that name")
            .with("name", name)
            .next("list functions with: agxpatch inspect FILE --methods GLOB")),
        _ => Err(Error::new(Code::ManyMatches, "several functions share that name")
            .with("name", name)
            .with_each(
                "at",
                found.iter().take(10).map(|one| format!("{} {}", one.address, one.name)),
            )
            .next("choose one with --at ADDRESS")),
    }
}

impl Report for Made {
    const SCHEMA: &'static str = "agxpatch.signatures-make/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        writeln!(out, "name = {}", quoted(&self.name))?;
        writeln!(out, "summary = {}", quoted(&format!("the code at {}", self.at)))?;
        writeln!(out, "architectures = [{}]", quoted(&self.architecture))?;
        if let Some(method) = &self.method {
            writeln!(out, "method = {}", quoted(method))?;
        }
        if !self.code.functions.is_empty() {
            let pairs = self.code.functions.iter();
            let pairs: Vec<String> =
                pairs.map(|(name, called)| format!("{name} = {}", quoted(called))).collect();
            writeln!(out, "functions = {{ {} }}", pairs.join(", "))?;
        }
        write!(out, "pattern = \"\"\"\n{}\"\"\"\n", self.code.pattern)
    }
}
