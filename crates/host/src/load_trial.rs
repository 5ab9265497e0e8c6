//! Whether the loader takes an image, tried where a failure harms nothing.
//!
//! dyld and the kernel decide at load time, by rules that no file shows: library
//! validation, trust caches, the architecture of the process. So the loading itself is
//! tried, by a child process that does nothing else. A copy of the driver goes to another
//! run of this program; a library goes into a program of Apple's, which stands for the
//! window server: what becomes of it there would become of the driver at boot.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Output, process};

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub enum LoadTrial<'a> {
    /// `dlopen` of this image by another run of this program.
    OwnProcess {
        /// The whole file.
        image: &'a [u8],
    },
    /// This ad-hoc signed library, inserted into a program of Apple's.
    PlatformProcess {
        /// The whole file; none where there is no library to try with.
        library: Option<&'a [u8]>,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loading {
    /// It was loaded.
    Accepted,
    /// The loader rejected it; what it said.
    Rejected(String),
    /// It could not be tried, or the trial showed nothing; why.
    NotTried(String),
}

/// What a child is started with that loads the file named next and does nothing else.
pub const LOAD_IN_CHILD: [&str; 2] = ["selftest", "--load"];

/// A program of Apple's that has no duty and no output.
const APPLES: &str = "/usr/bin/true";
/// Far longer than the first start of a program takes that macOS has never seen.
const MAX_TRIAL: Duration = Duration::from_secs(60);
/// Where the file is put: root's files cannot be replaced by others here.
const SCRATCH: &str = "/private/var/tmp";

/// Tries it on this Mac.
pub(super) fn try_here(trial: &LoadTrial<'_>) -> Loading {
    let outcome = match trial {
        LoadTrial::OwnProcess { image } => own_process(image),
        LoadTrial::PlatformProcess { library: Some(library) } => platform_process(library),
        LoadTrial::PlatformProcess { library: None } => {
            return Loading::NotTried("this build carries no library to try with".to_owned());
        }
    };
    outcome.unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::TimedOut => {
            Loading::NotTried(format!("it did not end within {} s", MAX_TRIAL.as_secs()))
        }
        _ => Loading::NotTried(error.to_string()),
    })
}

fn own_process(image: &[u8]) -> io::Result<Loading> {
    let file = Scratch::with("image", image)?;
    let program = std::env::current_exe()?;
    let words = LOAD_IN_CHILD.map(OsString::from).into_iter();
    let words: Vec<OsString> = words.chain([file.path().into()]).collect();
    let output = process::spawn_with(&program, &words, &[], MAX_TRIAL)?;
    Ok(match output.succeeded() {
        true => Loading::Accepted,
        false => Loading::Rejected(said(&output)),
    })
}

/// dyld prints the libraries it loads, which is how a library that was dropped in
/// silence is told from one that was loaded.
fn platform_process(library: &[u8]) -> io::Result<Loading> {
    let file = Scratch::with("canary.dylib", library)?;
    let inserted = file.path().as_os_str().to_owned();
    let variables =
        [("DYLD_INSERT_LIBRARIES", inserted), ("DYLD_PRINT_LIBRARIES", OsString::from("1"))];
    let output = process::spawn_with(Path::new(APPLES), &[], &variables, MAX_TRIAL)?;
    Ok(platform_answer(&output, file.path()))
}

fn platform_answer(output: &Output, library: &Path) -> Loading {
    if !output.succeeded() {
        return Loading::Rejected(said(output));
    }
    match output.complaint().contains(&*library.to_string_lossy()) {
        true => Loading::Accepted,
        false => Loading::NotTried("dyld ignored the library in silence".to_owned()),
    }
}

/// How a child ended, and the line in which it says why.
fn said(output: &Output) -> String {
    let complaint = output.complaint();
    let lines = || complaint.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = lines().find(|line| line.contains("not valid") || line.contains("not loaded"));
    match telling.or_else(|| lines().next_back()) {
        Some(line) => format!("{}: {line}", output.status),
        None => output.status.to_string(),
    }
}

/// A file in a directory that only this user may enter; gone when this is.
struct Scratch {
    directory: PathBuf,
    file: PathBuf,
}

impl Scratch {
    fn with(name: &str, bytes: &[u8]) -> io::Result<Scratch> {
        let base = Some(Path::new(SCRATCH)).filter(|path| path.is_dir());
        let base = base.map_or_else(std::env::temp_dir, Path::to_owned);
        // One that a killed run left behind keeps its name.
        let age = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let directory = base.join(format!("agxpatch-load-{}-{age}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let scratch = Scratch { file: directory.join(name), directory };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o500);
        options.open(&scratch.file)?.write_all(bytes)?;
        Ok(scratch)
    }

    fn path(&self) -> &Path {
        &self.file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is a file of root's that nothing reads.
        drop(fs::remove_dir_all(&self.directory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    #[test]
    fn a_silent_success_is_not_evidence_and_a_rejection_is_quoted() {
        let output = |code, stderr: &str| Output {
            status: Status::Code(code),
            stdout: Vec::new(),
            stderr: stderr.into(),
        };
        let library = Path::new("/private/var/tmp/x/canary.dylib");
        let listed = "dyld[7]: <0CE453FF> /private/var/tmp/x/canary.dylib\n";
        assert_eq!(platform_answer(&output(0, listed), library), Loading::Accepted);
        assert!(matches!(platform_answer(&output(0, ""), library), Loading::NotTried(_)));
        let rejected = "dyld[7]: terminating\n  not valid for use in process: mapping process is a \
                        platform binary, but mapped file is not\n  tried: x\n";
        let Loading::Rejected(said) = platform_answer(&output(6, rejected), library) else {
            panic!("it was rejected")
        };
        assert!(said.contains("mapped file is not"), "{said}");
    }

    #[test]
    fn a_scratch_file_is_gone_when_it_is_dropped() {
        let scratch = Scratch::with("image", b"x").unwrap();
        let (file, directory) = (scratch.file.clone(), scratch.directory.clone());
        assert_eq!(fs::read(&file).unwrap(), b"x");
        drop(scratch);
        assert!(!directory.exists());
    }
}
