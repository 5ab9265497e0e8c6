//! The sources of `shapes/`, compiled for macOS on whatever machine this is.
//!
//! Each source is a form of the driver's logic. Every clang that is installed compiles
//! it, at five levels and with flags that change the form of the code. The name of each
//! function says what is right about it (`shapes/shape.h`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::tools::{self, is_full};

/// The versions of clang that Debian 12 carries.
const ALL_VERSIONS: [u32; 6] = [13, 14, 15, 16, 19, 22];
const TWO_VERSIONS: [u32; 2] = [14, 22];
const LEVELS: [&str; 5] = ["-O1", "-O2", "-O3", "-Os", "-Oz"];

/// Flags that change the form of the code, each set with the levels it is tried at
/// where not everything is.
const FLAGS: [(&[&str], &[&str]); 8] = [
    (&[], &LEVELS),
    (&["-mcpu=apple-m1"], &["-O3"]),
    (&["-mbranch-protection=standard"], &["-O2"]),
    (&["-fstack-protector-all"], &["-O1"]),
    (&["-fno-inline"], &["-O2"]),
    (&["-mcmodel=large"], &["-Oz"]),
    (&["-fexceptions", "-fno-omit-frame-pointer"], &["-Os"]),
    (&["-mcpu=apple-m1", "-mbranch-protection=standard", "-fstack-protector-all"], &["-Oz"]),
];

/// Code for arm64e, which the newest clang alone writes: returns and calls are signed.
const ARM64E: [&str; 5] =
    ["-target", "arm64e-apple-macos13", "-mcpu=apple-m1", "-fptrauth-calls", "-fptrauth-returns"];
/// What of it can be linked where a source is Objective-C: the linker does not know the signed
/// pointers of its tables.
const SIGNED_RETURNS: [&str; 2] = ["-mcpu=apple-m1", "-fptrauth-returns"];

/// One way to compile one source.
#[derive(Clone, Debug)]
pub struct Job {
    /// The source.
    pub source: PathBuf,
    /// The version of clang.
    pub version: u32,
    /// Its options.
    pub flags: Vec<&'static str>,
}

/// What became of it.
pub struct Compiled {
    /// How it was compiled.
    pub job: Job,
    /// The linked image.
    pub image: Vec<u8>,
}

/// Every way in which the shapes are compiled here.
pub fn jobs() -> Vec<Job> {
    let versions: &[u32] = if is_full() { &ALL_VERSIONS } else { &TWO_VERSIONS };
    let mut jobs = Vec::new();
    for source in sources() {
        for &version in versions {
            for (flags, levels) in FLAGS {
                for level in if is_full() { &LEVELS } else { levels } {
                    let flags = std::iter::once(*level).chain(flags.iter().copied()).collect();
                    jobs.push(Job { source: source.clone(), version, flags });
                }
            }
        }
        let objective_c = source.extension().is_some_and(|end| end == "m");
        let flags: &[&str] = if objective_c { &SIGNED_RETURNS } else { &ARM64E };
        for level in if is_full() { &LEVELS[..] } else { &["-O2"] } {
            let flags = std::iter::once(*level).chain(flags.iter().copied()).collect();
            jobs.push(Job { source: source.clone(), version: 22, flags });
        }
    }
    jobs
}

fn sources() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shapes");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut sources: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end != "h")).collect();
    sources.sort();
    sources
}

/// Compiles every job, on all processors, and hands each image to `look`. Does
/// nothing but say so where a compiler is missing and none is required.
pub fn each(jobs: Vec<Job>, look: impl Fn(Compiled) + Sync) {
    if let Err(missing) = required(&jobs) {
        return tools::skip(&missing);
    }
    let folder = tempfile::tempdir().unwrap();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { return };
                    match compile(job, &folder.path().join(number.to_string())) {
                        Ok(image) => look(Compiled { job: job.clone(), image }),
                        Err(reason) => failed.lock().unwrap().push(reason),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn required(jobs: &[Job]) -> Result<(), String> {
    let mut versions: Vec<u32> = jobs.iter().map(|job| job.version).collect();
    versions.sort_unstable();
    versions.dedup();
    let compilers = versions.iter().map(|version| format!("clang-{version}"));
    for tool in compilers.chain(std::iter::once("ld64.lld-22".to_owned())) {
        if tools::find(&tool).is_none() {
            return Err(tool);
        }
    }
    Ok(())
}

fn compile(job: &Job, to: &Path) -> Result<Vec<u8>, String> {
    let object = to.with_extension("o");
    let mut clang = Command::new(format!("clang-{}", job.version));
    clang.args(["-target", "arm64-apple-macos13", "-ffreestanding", "-nostdinc", "-fblocks"]);
    clang.args(&job.flags).arg("-c").arg("-o").arg(&object).arg(&job.source);
    run(clang.arg("-Wno-unused-command-line-argument"))?;
    let mut linker = Command::new("ld64.lld-22");
    let architecture = if job.flags.contains(&ARM64E[1]) { "arm64e" } else { "arm64" };
    linker.args(["-dylib", "-arch", architecture, "-undefined", "dynamic_lookup"]);
    linker.args(["-platform_version", "macos", "13.0", "13.0", "-adhoc_codesign", "-o"]);
    run(linker.arg(to).arg(&object))?;
    std::fs::read(to).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
