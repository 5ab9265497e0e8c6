//! Small Mach-O files, as seeds: the sources of `crates/oracles/shapes`, compiled.
//!
//! A driver is 16 MB, too much for a search that tries thousands a second. What a
//! compiler makes of a shape is 30 to 50 kB and has what a driver has: classes, stubs,
//! fixups, unwind information, a signature, and functions for the finder.

use std::sync::{Mutex, OnceLock};

use agxpatch_oracles::shapes::{self, Job};

/// One image a source, in a form that differs from source to source. None where the
/// compilers are missing.
pub fn images() -> Vec<Vec<u8>> {
    static IMAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    IMAGES.get_or_init(compile).clone()
}

fn compile() -> Vec<Vec<u8>> {
    let jobs = shapes::jobs();
    // The jobs of one source stand together.
    let forms = jobs.chunk_by(|one, next| one.source == next.source).enumerate();
    let jobs: Vec<Job> = forms.filter_map(|(number, forms)| forms.get(number).cloned()).collect();
    let images = Mutex::new(Vec::new());
    shapes::each(jobs, |compiled| {
        if let Ok(mut images) = images.lock() {
            images.push((compiled.job.source, compiled.image));
        }
    });
    let mut images = images.into_inner().unwrap_or_default();
    // They end in any order.
    images.sort();
    images.into_iter().map(|(_, image)| image).collect()
}
