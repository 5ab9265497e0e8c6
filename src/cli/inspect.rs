//! `agxpatch inspect FILE`: what a file is.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::report::style::{BAD, FAINT, GOOD, RESET, STRONG, WARN};
use crate::report::{Report, printable};
use crate::storage;
use agxpatch_core::address::{FileOffset, VmAddr, Word};
use agxpatch_core::arm64::Instruction;
use agxpatch_core::codesign::Kind;
use agxpatch_core::edit;
use agxpatch_core::error::{Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_core::macho::{Architecture, Container, FileType, Image, Slice, Universal};
use agxpatch_core::patch::{
    self, Engine, Examination, Examined, Extent, KnownBuild, KnownRelease, MatchResult,
    NamedMethod, Occurrence, Place, Selection, Site, Sites, State, signature_kind,
};
use agxpatch_core::signature::{Misfit, NearMiss};

use super::{Session, files};

/// Show what a file is, and the disassembly of the patch's window
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The driver, or any Mach-O file.
    file: PathBuf,

    /// Choose the place that holds this address, whatever its method, and disassemble
    /// what stands there.
    #[arg(long, value_name = "ADDRESS")]
    at: Vec<VmAddr>,

    /// List the methods with their addresses; `*` in GLOB stands for any letters.
    #[arg(
        long,
        value_name = "GLOB",
        num_args = 0..=1,
        default_missing_value = "*",
        allow_hyphen_values = true
    )]
    methods: Option<String>,
}

#[derive(Serialize)]
struct Inspection {
    file: String,
    size: u64,
    sha256: String,
    container: Container,
    known: Option<KnownBuild>,
    /// The release that the UUID of a slice names.
    release: Option<KnownRelease>,
    slices: Vec<SliceFacts>,
    state: &'static str,
    /// The places to patch.
    sites: Vec<ShownSite>,
    /// Further places where the sequence stands, which `patch` leaves alone.
    elsewhere: Vec<Occurrence>,
    /// The places where the sequence stands, if `patch` cannot choose among them.
    places: Vec<Occurrence>,
    /// Where the sequence stands nowhere, what comes nearest.
    nearest: Vec<NearMiss>,
    /// How many lines of the signature say something.
    distinguishing: Option<usize>,
    /// The verdict about what the code does, whatever the signatures say.
    verdict: Option<&'static str>,
    /// The functions it is about.
    functions: Vec<Examined>,
    /// How many more have the shape and were not examined.
    not_examined: usize,
    /// The methods that were asked for.
    methods: Vec<NamedMethod>,
    /// The instructions at the addresses that were asked for.
    code: Vec<Instruction>,
    /// The instructions that do not fit, disassembled.
    reads: BTreeMap<VmAddr, String>,
    /// Why there is nothing to patch, in a sentence.
    remark: Option<String>,
    /// The same with its circumstances.
    reason: Option<Error>,
}

/// A place to patch.
#[derive(Serialize)]
struct ShownSite {
    #[serde(flatten)]
    site: Site,
    /// Its window, disassembled.
    listing: Vec<Instruction>,
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
    /// Why the signature does not fit the slice, the first few reasons.
    faults: Vec<String>,
    /// Whether its code is looked at.
    searched: bool,
    file_type: Option<FileType>,
    text: Option<VmAddr>,
}

/// How many instructions are shown at an address.
const MAX_SHOWN: usize = 32;

/// How many faults of a signature are shown.
const MAX_FAULTS: usize = 3;

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let input = storage::read(&args.file)?;
    let engine = files::engine(session)?;
    let name = args.file.display().to_string();
    let mut report = inspect(&engine, &name, &input.bytes, &files::selection(&args.at))?;
    report.look_closer(&engine, &Universal::parse(&input.bytes)?, &args)?;
    session.show(&report)
}

fn inspect(engine: &Engine, name: &str, bytes: &[u8], selection: &Selection) -> Result<Inspection> {
    let file = Universal::parse(bytes)?;
    let sha256 = edit::sha256(bytes);
    let Examination { functions, not_examined } =
        engine.examine(&file, Extent::Shaped).unwrap_or_default();
    let mut inspection = Inspection {
        file: name.to_owned(),
        size: bytes.len() as u64,
        known: engine.catalogue().known_build(&sha256, &file).cloned(),
        sha256,
        container: file.container,
        release: None,
        slices: file.slices.iter().map(facts).collect::<Result<_>>()?,
        state: "unknown",
        sites: Vec::new(),
        elsewhere: Vec::new(),
        places: Vec::new(),
        nearest: Vec::new(),
        distinguishing: None,
        verdict: None,
        functions,
        not_examined,
        methods: Vec::new(),
        code: Vec::new(),
        reads: BTreeMap::new(),
        remark: None,
        reason: None,
    };
    let uuids = inspection.slices.iter().filter_map(|slice| slice.uuid.as_deref());
    inspection.release =
        uuids.filter_map(|uuid| engine.catalogue().known_release(uuid)).next().cloned();
    match engine.find_any_selected(&file, selection) {
        Ok(sighting) => inspection.see(engine, sighting),
        // What is wrong with the catalogue says nothing of the file.
        Err(error) if error.exit() == Exit::Usage => return Err(error),
        Err(error) => inspection.reason = Some(error),
    }
    inspection.verdict = patch::worst(&inspection.functions).map(|one| one.verdict.name());
    inspection.remark = inspection.reason.as_ref().map(Error::to_string);
    Ok(inspection)
}

/// One word for the state of the sites. A patch with known defects is a legacy one.
fn state_of(engine: &Engine, found: &Sites) -> &'static str {
    match found.state() {
        Some(State::Original) => "original",
        Some(State::Patched { patch }) => match engine.catalogue().patch(patch) {
            Ok(patch) if patch.defects.is_empty() => "patched",
            _ => "legacy-patched",
        },
        None => "partly-patched",
    }
}

fn facts(slice: &Slice<'_>) -> Result<SliceFacts> {
    let faults = patch::seal_faults(slice);
    let more = faults.len().saturating_sub(MAX_FAULTS);
    let mut faults: Vec<String> = faults.iter().take(MAX_FAULTS).map(|f| f.to_string()).collect();
    faults.extend((more > 0).then(|| format!("{more} more")));
    // A slice for another processor is named and not looked into.
    let image = if slice.is_searched() { Some(slice.image()?) } else { None };
    let image = image.as_ref();
    Ok(SliceFacts {
        architecture: slice.architecture,
        offset: slice.offset,
        size: slice.size,
        uuid: image.and_then(Image::uuid).map(|uuid| uuid.to_string()),
        source_version: image.and_then(Image::source_version).map(|version| version.to_string()),
        build: image
            .and_then(Image::build_version)
            .map(|b| format!("{} {}", b.platform, b.minimum)),
        signature: signature_kind(slice),
        faults,
        searched: slice.is_searched(),
        file_type: image.map(Image::file_type),
        text: image.and_then(|image| image.text().ok()).map(|text| text.address),
    })
}

impl Report for Inspection {
    const SCHEMA: &'static str = "agxpatch.inspect/2";

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
        if let Some(release) = &self.release {
            writeln!(out, "  by its UUID of the release {release}")?;
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
        self.sighting(out)?;
        self.functions.iter().try_for_each(|one| files::show_verdict(out, one))?;
        files::show_not_examined(out, self.not_examined)
    }
}

impl Inspection {
    /// Adds the methods and the code that the user asked for.
    fn look_closer(&mut self, engine: &Engine, file: &Universal<'_>, args: &Args) -> Result<()> {
        for slice in file.slices.iter().filter(|slice| slice.architecture.is_aarch64()) {
            let image = slice.image()?;
            if let Some(wanted) = &args.methods {
                self.methods.extend(patch::methods_named(&image, wanted));
            }
            for &at in &args.at {
                let Some(function) = image.function_containing(at)? else { continue };
                let end = function.end.min(at.instruction(MAX_SHOWN));
                let words: Vec<Word> = image.words(at..end)?.collect();
                self.code.extend(engine.disassembler.disassemble(&words, at));
            }
        }
        Ok(())
    }

    /// Takes in what was found.
    fn see(&mut self, engine: &Engine, sighting: MatchResult) {
        match &sighting {
            MatchResult::Found(found) => {
                self.state = state_of(engine, found);
                let shown = found.sites.iter().map(|site| {
                    let Place { words, window, .. } = &site.place;
                    let listing = engine.disassembler.disassemble(words, window.start);
                    ShownSite { site: site.clone(), listing }
                });
                self.sites = shown.collect();
                self.elsewhere = found.elsewhere.clone();
            }
            MatchResult::Partly { .. } => self.state = "partly-patched",
            MatchResult::Several { places } => self.places = places.clone(),
            MatchResult::Absent { nearest, distinguishing } => {
                let misfits = nearest.iter().flat_map(|miss| {
                    miss.misfits.iter().map(|misfit| (miss.at.instruction(misfit.line), misfit))
                });
                let read = |(at, misfit): (VmAddr, &Misfit)| {
                    (at, engine.disassembler.one(misfit.found, at).text)
                };
                self.reads = misfits.map(read).collect();
                self.nearest = nearest.clone();
                self.distinguishing = Some(*distinguishing);
            }
        }
        self.reason = sighting.sites().err();
    }

    fn slice(&self, out: &mut dyn Write, slice: &SliceFacts) -> io::Result<()> {
        let SliceFacts { architecture, offset, size, .. } = slice;
        writeln!(out, "  {STRONG}{architecture}{RESET} at {offset}, {size} bytes ({size:#x})")?;
        if !slice.searched {
            writeln!(out, "    {FAINT}its code is not looked at and not changed{RESET}")?;
            return writeln!(out, "    signature: {}", slice.signature);
        }
        let version = slice.source_version.as_deref().unwrap_or("none");
        let uuid = slice.uuid.as_deref().unwrap_or("none");
        writeln!(out, "    version {version}, UUID {uuid}")?;
        if let Some(build) = &slice.build {
            writeln!(out, "    built for {build}")?;
        }
        if let Some(kind) = slice.file_type.filter(|kind| *kind != FileType::BUNDLE) {
            writeln!(out, "    {kind}")?;
        }
        writeln!(out, "    signature: {}", slice.signature)?;
        for fault in &slice.faults {
            writeln!(out, "      {BAD}does not fit:{RESET} {}", printable(fault))?;
        }
        Ok(())
    }

    fn sighting(&self, out: &mut dyn Write) -> io::Result<()> {
        for ShownSite { site, listing } in &self.sites {
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
            for line in listing {
                writeln!(out, "  {}  {}  {}", line.address, line.word, line.text)?;
            }
        }
        files::show_elsewhere(out, &self.elsewhere)?;
        for method in &self.methods {
            writeln!(out, "  {}  {}", method.address, printable(&method.name))?;
        }
        for line in &self.code {
            writeln!(out, "  {}  {}  {}", line.address, line.word, line.text)?;
        }
        let distinguishing = self.distinguishing.unwrap_or_default();
        for miss in &self.nearest {
            writeln!(
                out,
                "  near miss at {}: {} of {distinguishing} lines fit",
                miss.at, miss.fitting
            )?;
            for misfit in &miss.misfits {
                let at = miss.at.instruction(misfit.line);
                let read = self.reads.get(&at).map_or("", String::as_str);
                writeln!(
                    out,
                    "    {at}  {}  {read}, where line {} wants `{}`",
                    misfit.found,
                    misfit.line + 1,
                    misfit.wanted
                )?;
            }
        }
        if self.nearest.is_empty() {
            self.circumstances(out)?;
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
