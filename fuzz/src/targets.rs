//! The parsers, each with the input it is damaged from.

use std::fs;

use agxpatch::crash;
use agxpatch::launch::environment::{Driver, Way};
use agxpatch::launch::guard_report::GuardReports;
use agxpatch_core::Result;
use agxpatch_core::address::SliceOffset;
use agxpatch_core::arm64::Assembler;
use agxpatch_core::codesign::{self, EmbeddedSignature};
use agxpatch_core::macho::{Image, Universal};
use agxpatch_core::patch::{Catalogue, Engine};
use agxpatch_core::proof::rewrite::ByRefinement;
use agxpatch_core::signature::Pattern;
use agxpatch_simulate::crash_report::CrashReport;
use agxpatch_simulate::driver::{self, Variant};

use crate::machines;

/// One parser and what it is tried with.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Input that the parser accepts.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Hands bytes to the parser.
    pub run: fn(&[u8]),
}

/// Every parser of what others wrote.
pub const TARGETS: [Target; 11] = [
    Target { name: "mach-o", seeds: drivers, run: mach_o },
    Target { name: "plan", seeds: drivers, run: plan },
    Target { name: "code-signature", seeds: signatures, run: code_signature },
    Target { name: "crash-report", seeds: crash_reports, run: crash_report },
    Target { name: "pattern", seeds: patterns, run: pattern },
    Target { name: "catalogue", seeds: catalogues, run: catalogue },
    Target { name: "tool-output", seeds: machines::tool_outputs, run: machines::read_tool_output },
    Target { name: "recording", seeds: recordings, run: machines::read_recording },
    Target { name: "journal", seeds: journals, run: machines::read_journal },
    Target { name: "manifest", seeds: manifests, run: machines::read_manifest },
    Target { name: "guard-report", seeds: guard_reports, run: guard_report },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

fn drivers() -> Vec<Vec<u8>> {
    let built = Variant::ALL.iter().step_by(4).map(driver::build);
    built.filter_map(Result::ok).collect()
}

fn mach_o(bytes: &[u8]) {
    let Ok(file) = Universal::parse(bytes) else { return };
    for slice in &file.slices {
        if let Ok(image) = slice.image() {
            read_whole(&image);
        }
    }
}

fn read_whole(image: &Image<'_>) {
    let _ = image.symbols().map(|symbols| symbols.iter().count());
    let _ = image.stubs();
    let _ = image.pointers();
    let _ = image.methods();
    let _ = image.ivars();
    let _ = image.chained_fixups();
    for start in image.function_starts().unwrap_or_default().into_iter().take(8) {
        let _ = image.function_containing(start);
    }
}

fn plan(bytes: &[u8]) {
    let Ok(file) = Universal::parse(bytes) else { return };
    with_engine(|engine| {
        let _ = engine.plan(&file, None);
        let _ = engine.plan_by_meaning(&file, &ByRefinement);
    });
}

fn with_engine(work: impl FnOnce(&Engine)) {
    thread_local! {
        static ENGINE: Option<Engine> = Engine::built_in().ok();
    }
    ENGINE.with(|engine| engine.as_ref().map(work));
}

/// The signatures of the synthetic drivers, each alone.
fn signatures() -> Vec<Vec<u8>> {
    let drivers = drivers();
    let cut_out = drivers.iter().filter_map(|bytes| {
        let file = Universal::parse(bytes).ok()?;
        let slice = file.slices.first()?;
        let range = slice.code_signature().ok()??;
        Some(slice.bytes.get(range.start.0 as usize..range.end.0 as usize)?.to_vec())
    });
    cut_out.collect()
}

fn code_signature(bytes: &[u8]) {
    if let Ok(signature) = EmbeddedSignature::parse(bytes) {
        let _ = (signature.kind(), signature.cd_hashes(), signature.entitlements());
    }
    // As a slice that is nothing but its signature.
    let whole = SliceOffset(0)..SliceOffset(bytes.len() as u64);
    let _ = codesign::check(bytes, whole.clone());
    let _ = codesign::reseal(bytes, Default::default(), whole, &[]);
}

fn crash_reports() -> Vec<Vec<u8>> {
    let made = [CrashReport::set_pipeline(1), CrashReport::assertion(2, "failed assertion `x'")];
    made.iter().flat_map(|report| [report.ips(), report.text(), report.single_object()]).collect()
}

fn crash_report(bytes: &[u8]) {
    let _ = crash::looks_like_report(bytes);
    let _ = crash::read_all("a.ips", bytes);
}

fn built_in() -> Option<Catalogue> {
    Catalogue::built_in().ok()
}

fn patterns() -> Vec<Vec<u8>> {
    let signatures = built_in().map(|catalogue| catalogue.signatures).unwrap_or_default();
    signatures.into_iter().map(|signature| signature.pattern.into_bytes()).collect()
}

fn pattern(bytes: &[u8]) {
    let _ = Pattern::compile(&Assembler::new(), &String::from_utf8_lossy(bytes));
}

fn catalogues() -> Vec<Vec<u8>> {
    let Some(catalogue) = built_in() else { return Vec::new() };
    let origins = ["../signatures", "../patches"].map(|folder| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::read(entry.path()).ok()).collect::<Vec<_>>()
    });
    let seeds: Vec<Vec<u8>> = origins.into_iter().flatten().collect();
    if seeds.is_empty() { vec![catalogue.digest().into_bytes()] } else { seeds }
}

fn catalogue(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let Some(mut catalogue) = built_in() else { return };
    let _ = catalogue.add_signature(text.clone(), "a.toml");
    let _ = catalogue.add_patch(text.clone(), "b.toml");
    let _ = catalogue.add_builds(text.clone(), "c.toml");
    let _ = catalogue.add_releases(text, "d.toml");
    let _ = catalogue.check();
}

fn recordings() -> Vec<Vec<u8>> {
    machines::recorded().to_json().into_iter().collect()
}

fn journals() -> Vec<Vec<u8>> {
    let [journal, _] = machines::records();
    vec![journal]
}

fn manifests() -> Vec<Vec<u8>> {
    let [_, manifest] = machines::records();
    vec![manifest]
}

fn guard_reports() -> Vec<Vec<u8>> {
    let driver = serde_json::json!({
        "loaded": true, "path": "/x/AGXMetalG16X", "images": 1, "way": "lookup",
        "code": "original", "copy_refused": "code signature", "uuid": "0",
    });
    let report = serde_json::json!({
        "schema": "agxpatch.guard/1", "pid": 7, "driver": driver, "refused": 3,
        "calls": {"entered": 5}, "faults": ["x"],
    });
    vec![report.to_string().into_bytes()]
}

fn guard_report(bytes: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    if fs::write(folder.path().join("7.json"), bytes).is_err() {
        return;
    }
    let read = GuardReports::read(folder.path());
    let asked = Driver {
        plugin: "copy/AGXMetalG16X".into(),
        instead_of: "AGXMetalG16X".into(),
        folder: folder.path().to_owned(),
        patched: "0x2be070:aa1f03f4".into(),
        original: "0x2be070:aa1403e0".into(),
        way: Way::default(),
    };
    let _ = (read.drivers().len(), read.complaints(&asked, true));
}
