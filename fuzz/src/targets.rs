//! The parsers, each with the input it is damaged from.

use std::fs;

use agxpatch::crash;
use agxpatch::launch::environment::{Driver, Way};
use agxpatch::launch::guard_report::GuardReports;
use agxpatch_core::arm64::Assembler;
use agxpatch_core::patch::Catalogue;
use agxpatch_core::signature::Pattern;
use agxpatch_simulate::crash_report::CrashReport;

use crate::{images, machines};

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
pub const TARGETS: [Target; 15] = [
    Target { name: "mach-o", seeds: images::images, run: images::mach_o },
    Target { name: "fixups", seeds: images::images, run: images::fixups },
    Target { name: "objective-c", seeds: images::images, run: images::objective_c },
    Target { name: "unwinding", seeds: images::images, run: images::unwinding },
    Target { name: "verdicts", seeds: images::images, run: images::verdicts },
    Target { name: "plan", seeds: images::images, run: images::plan },
    Target { name: "code-signature", seeds: images::signatures, run: images::code_signature },
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
