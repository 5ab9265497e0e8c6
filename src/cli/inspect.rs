//! `agxpatch inspect FILE`: what a file is.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::report::style::{BAD, FAINT, GOOD, RESET, STRONG, WARN};
use crate::report::{Report, printable};
use crate::storage;
use agxpatch_core::address::{FileOffset, VmAddr};
use agxpatch_core::arm64::Instruction;
use agxpatch_core::codesign::Kind;
use agxpatch_core::edit::Hex;
use agxpatch_core::error::{Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_core::macho::{Architecture, Container, Slice, Universal};
use agxpatch_core::patch::{Engine, KnownBuild, Sighting, State, signature_kind};

use super::{Session, files};

/// Show what a file is, and the disassembly of the patch's window
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The driver, or any Mach-O file.
    file: PathBuf,
}

#[derive(Serialize)]
struct Inspection {
    file: String,
    size: u64,
    sha256: String,
    container: Container,
    known: Option<KnownBuild>,
    slices: Vec<SliceFacts>,
    state: &'static str,
    #[serde(flatten)]
    sighting: Option<Sighting>,
    window: Vec<Instruction>,
    /// Why there is no one place, in a sentence.
    remark: Option<String>,
    /// The same with its circumstances.
    reason: Option<Error>,
}

#[derive(Serialize)]
struct SliceFacts {
    architecture: Architecture,
    offset: FileOffset,
    size: u64,
    uuid: Option<String>,
    source_version: Option<String>,
    build: Option<String>,
    signature: Kind,
    text: Option<VmAddr>,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let input = storage::read(&args.file)?;
    let engine = files::engine(session)?;
    let report = inspect(&engine, &args.file.display().to_string(), &input.bytes)?;
    session.show(&report)
}

fn inspect(engine: &Engine, name: &str, bytes: &[u8]) -> Result<Inspection> {
    let file = Universal::parse(bytes)?;
    let sha256 = Hex(&Sha256::digest(bytes)).to_string();
    let slices = file.slices.iter().map(facts).collect::<Result<_>>()?;
    let (sighting, reason) = match engine.look_for_any(&file) {
        Ok(sighting) => {
            let reason = sighting.clone().site().err();
            (Some(sighting), reason)
        }
        // What is wrong with the catalogue says nothing of the file.
        Err(error) if error.exit() == Exit::Usage => return Err(error),
        Err(error) => (None, Some(error)),
    };
    let window = match &sighting {
        Some(Sighting::Found(site)) => {
            engine.disassembler.disassemble(&site.place.words, site.place.window.start)
        }
        _ => Vec::new(),
    };
    Ok(Inspection {
        file: name.to_owned(),
        size: bytes.len() as u64,
        known: engine.catalogue().known_build(&sha256).cloned(),
        sha256,
        container: file.container,
        slices,
        state: state_of(engine, sighting.as_ref()),
        sighting,
        window,
        remark: reason.as_ref().map(Error::to_string),
        reason,
    })
}

/// One word for the state of the file. A patch with known defects is a legacy
/// one.
fn state_of(engine: &Engine, sighting: Option<&Sighting>) -> &'static str {
    match sighting {
        Some(Sighting::Found(site)) => match &site.state {
            State::Original => "original",
            State::Patched { patch } => match engine.catalogue().patch(patch) {
                Ok(patch) if patch.defects.is_empty() => "patched",
                _ => "legacy-patched",
            },
        },
        Some(Sighting::Partly { .. }) => "partly-patched",
        _ => "unknown",
    }
}

fn facts(slice: &Slice<'_>) -> Result<SliceFacts> {
    let image = slice.image()?;
    Ok(SliceFacts {
        architecture: slice.architecture,
        offset: slice.offset,
        size: slice.size,
        uuid: image.uuid().map(|uuid| uuid.to_string()),
        source_version: image.source_version().map(|version| version.to_string()),
        build: image.build_version().map(|b| format!("{} {}", b.platform, b.minimum)),
        signature: signature_kind(slice),
        text: image.text().ok().map(|text| text.address),
    })
}

impl Report for Inspection {
    const SCHEMA: &'static str = "agxpatch.inspect/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{STRONG}{}{RESET}", printable(&self.file))?;
        writeln!(out, "  {} bytes, sha256 {}", self.size, self.sha256)?;
        match &self.known {
            Some(build) => writeln!(
                out,
                "  known: {} {}, macOS {}, {}",
                build.driver, build.version, build.macos, build.form
            )?,
            None => writeln!(out, "  {FAINT}not among the published digests{RESET}")?,
        }
        for slice in &self.slices {
            self.slice(out, slice)?;
        }
        let colour = match self.state {
            "patched" => GOOD,
            "original" => STRONG,
            "legacy-patched" => WARN,
            _ => BAD,
        };
        writeln!(out, "state: {colour}{}{RESET}", self.state)?;
        if let Some(remark) = &self.remark {
            writeln!(out, "  {}", printable(remark))?;
        }
        self.sighting(out)
    }
}

impl Inspection {
    fn slice(&self, out: &mut dyn Write, slice: &SliceFacts) -> io::Result<()> {
        let SliceFacts { architecture, offset, size, .. } = slice;
        writeln!(out, "  {STRONG}{architecture}{RESET} at {offset}, {size} bytes ({size:#x})")?;
        let version = slice.source_version.as_deref().unwrap_or("none");
        let uuid = slice.uuid.as_deref().unwrap_or("none");
        writeln!(out, "    version {version}, UUID {uuid}")?;
        if let Some(build) = &slice.build {
            writeln!(out, "    built for {build}")?;
        }
        writeln!(out, "    signature: {}", slice.signature)
    }

    fn sighting(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.sighting {
            Some(Sighting::Found(site)) => {
                let place = &site.place;
                let method = printable(place.name());
                writeln!(
                    out,
                    "  {} in {}, {method} (file offset {})",
                    site.signature, place.architecture, place.offset
                )?;
                for (name, value) in site.captures.iter() {
                    writeln!(out, "    {FAINT}{name:<8}{RESET} {value}")?;
                }
                for line in &self.window {
                    writeln!(out, "  {}  {}  {}", line.address, line.word, line.text)?;
                }
            }
            Some(Sighting::Absent { nearest, telling }) => {
                for miss in nearest {
                    writeln!(
                        out,
                        "  near miss at {}: {} of {telling} lines fit, not line {}: `{}`, where {} stands",
                        miss.at,
                        miss.fitting,
                        miss.line + 1,
                        miss.wanted,
                        miss.found
                    )?;
                }
            }
            Some(Sighting::Several(_)) | None => self.circumstances(out)?,
            Some(Sighting::Partly { at, original, of }) => {
                writeln!(out, "  {at}: {original} of {of} words are of the original")?;
            }
        }
        Ok(())
    }

    fn circumstances(&self, out: &mut dyn Write) -> io::Result<()> {
        let context = self.reason.iter().flat_map(Error::context);
        for (name, value) in context {
            writeln!(out, "  {name}: {}", printable(value))?;
        }
        Ok(())
    }
}
