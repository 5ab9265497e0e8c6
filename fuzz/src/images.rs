//! Files with code in them: the parsers of Mach-O, and what is done with what they
//! read.

use std::sync::OnceLock;

use agxpatch_core::Result;
use agxpatch_core::address::{SliceOffset, VmAddr};
use agxpatch_core::codesign::{self, EmbeddedSignature};
use agxpatch_core::macho::{Image, Universal};
use agxpatch_core::patch::{Engine, Extent};
use agxpatch_core::proof::rewrite::ByRefinement;
use agxpatch_simulate::driver::{self, Variant};

use crate::compiled;

/// Functions of a file that are looked at one by one.
const MAX_FUNCTIONS: usize = 16;

/// What compilers wrote, or synthetic drivers where there are no compilers.
pub fn images() -> Vec<Vec<u8>> {
    let compiled = compiled::images();
    if compiled.is_empty() { drivers() } else { compiled }
}

/// Synthetic drivers.
pub fn drivers() -> Vec<Vec<u8>> {
    static DRIVERS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let build = || {
        let built = Variant::ALL.iter().step_by(4).map(driver::build);
        built.filter_map(Result::ok).collect()
    };
    DRIVERS.get_or_init(build).clone()
}

fn each_image(bytes: &[u8], look: impl Fn(&Image<'_>)) {
    let Ok(file) = Universal::parse(bytes) else { return };
    for slice in &file.slices {
        if let Ok(image) = slice.image() {
            look(&image);
        }
    }
}

/// Slices, load commands, segments, symbols, stubs.
pub fn mach_o(bytes: &[u8]) {
    each_image(bytes, |image| {
        let _ = image.symbols().map(|symbols| symbols.iter().count());
        let _ = image.stubs();
        for start in starts(image) {
            let _ = image.function_containing(start);
        }
    });
}

fn starts(image: &Image<'_>) -> impl Iterator<Item = VmAddr> {
    image.function_starts().unwrap_or_default().into_iter().take(MAX_FUNCTIONS)
}

/// Chained fixups and bound pointers.
pub fn fixups(bytes: &[u8]) {
    each_image(bytes, |image| {
        let _ = image.pointers();
        if let Ok(Some(fixups)) = image.chained_fixups() {
            let _ = fixups.check(image);
            let _ = fixups.each().count();
        }
    });
}

/// Classes, methods and instance variables.
pub fn objective_c(bytes: &[u8]) {
    each_image(bytes, |image| {
        let _ = image.methods();
        let _ = image.ivars();
    });
}

/// Compact unwind information, frames and exception tables.
pub fn unwinding(bytes: &[u8]) {
    each_image(bytes, |image| {
        for start in starts(image) {
            if let Ok(Some(function)) = image.function_containing(start) {
                let _ = image.landing_pads(&function);
                let _ = image.call_sites(&function);
                let _ = image.unwind_steps(&function);
            }
        }
    });
}

/// The finder, on the functions that `inspect` would look at.
pub fn verdicts(bytes: &[u8]) {
    let Ok(file) = Universal::parse(bytes) else { return };
    with_engine(|engine| {
        let _ = engine.examine(&file, Extent::Shaped);
    });
}

/// All that `patch` does but the writing, by signature and by meaning.
pub fn plan(bytes: &[u8]) {
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

/// The signatures of the seeds, each alone.
pub fn signatures() -> Vec<Vec<u8>> {
    let files = [images(), drivers()].concat();
    let cut_out = files.iter().filter_map(|bytes| {
        let file = Universal::parse(bytes).ok()?;
        let slice = file.slices.first()?;
        let range = slice.code_signature().ok()??;
        Some(slice.bytes.get(range.start.0 as usize..range.end.0 as usize)?.to_vec())
    });
    cut_out.collect()
}

/// A code signature, read and renewed.
pub fn code_signature(bytes: &[u8]) {
    if let Ok(signature) = EmbeddedSignature::parse(bytes) {
        let _ = (signature.kind(), signature.cd_hashes(), signature.entitlements());
    }
    // As a slice that is nothing but its signature.
    let whole = SliceOffset(0)..SliceOffset(bytes.len() as u64);
    let _ = codesign::check(bytes, whole.clone());
    let _ = codesign::reseal(bytes, Default::default(), whole, &[]);
}
