//! What to run instead of a program that cannot have the library.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::files::Files;
use super::image::Facts;
use super::resolve::{Scene, Step, Target, Variables, command_text};
use super::verdict::{Outcome, Surroundings, Verdict, judge};

/// More than any program is long that is looked into.
const MAX_BYTES: u64 = 1 << 30;
/// Folders of programs that are not Apple's, where the PATH does not name them.
const USUAL: [&str; 3] = ["/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin"];
/// Shells of Apple's.
const SHELLS: [&str; 7] = ["bash", "csh", "dash", "ksh", "sh", "tcsh", "zsh"];
/// Programs of Apple's that only start another.
const STARTERS: [&str; 13] = [
    "arch",
    "caffeinate",
    "env",
    "launchctl",
    "make",
    "nice",
    "nohup",
    "script",
    "sudo",
    "taskpolicy",
    "time",
    "xargs",
    "xcrun",
];
/// What of conda has a `run` that starts the command from a shell script it writes.
const CONDAS: [&str; 3] = ["conda", "mamba", "micromamba"];

/// The verdict on a file and on what it is known to start in its place.
pub fn judge_file(files: &dyn Files, image: &Path, around: &Surroundings) -> Verdict {
    let one = |image: &Path| match read(files, image) {
        Ok(facts) => judge(&facts, around),
        Err(reason) => Verdict::unknown(reason),
    };
    match framework_python(files, image) {
        Some(python) => one(image).worst(one(&python)),
        None => one(image),
    }
}

fn read(files: &dyn Files, image: &Path) -> Result<Facts, String> {
    let mode = files.mode(image).ok_or("it is not a regular file")?;
    let bytes = files.head(image, MAX_BYTES).ok_or("it cannot be read")?;
    Facts::read(image, mode, &bytes).map_err(|error| error.message().to_owned())
}

/// The program a framework build's `bin/python3.x` starts in its own place:
/// that of `Python.app`, which has a signature of its own. Homebrew's and
/// python.org's are such builds.
fn framework_python(files: &dyn Files, image: &Path) -> Option<PathBuf> {
    let version = image.parent().filter(|folder| folder.ends_with("bin"))?.parent()?;
    let framework = version.parent().filter(|folder| folder.ends_with("Versions"))?.parent()?;
    framework.extension().filter(|extension| *extension == "framework")?;
    let python = version.join("Resources/Python.app/Contents/MacOS/Python");
    files.is_program(&python).then_some(python)
}

/// What to do about a target that cannot have the library.
pub fn instead(scene: &Scene<'_>, target: &Target, around: &Surroundings) -> String {
    let shim = target.steps.iter().find_map(|step| match step {
        Step::Opaque { manager, .. } => Some(*manager),
        _ => None,
    });
    if let Some(manager) = shim {
        return format!(
            "name the program behind the shim of {manager}: see `{manager} which {}`",
            first_name(target)
        );
    }
    let name = target.program.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if let Some(conda) = conda_run(target) {
        return behind(&format!("{conda} run"), &[]);
    }
    let script = target.steps.iter().rev().find_map(|step| match step {
        Step::Script { path, interpreter } if *interpreter == target.program => Some(path),
        _ => None,
    });
    match (SHELLS.contains(&name), script) {
        (true, Some(script)) => {
            return format!(
                "{} is a shell script: put `agxpatch run --` inside it, before the program that \
                 uses the GPU",
                script.display()
            );
        }
        (true, None) => return behind(name, &[]),
        (false, _) if STARTERS.contains(&name) => return behind(name, &target.arguments),
        _ => {}
    }
    if let Some(bundle) = application(&target.program) {
        return sign_a_copy(bundle);
    }
    match other(scene, target, around) {
        Some(program) => format!("run {} instead", program.display()),
        None if is_hardened_build(scene.files, &target.image) => sign_again(&target.image),
        None => "run a build that is not Apple's and not hardened, such as Homebrew's or conda's, \
                 or go without with --guard off"
            .to_owned(),
    }
}

/// Whether a file that is not Apple's has the hardened runtime, as Xcode builds and signed
/// releases have.
fn is_hardened_build(files: &dyn Files, image: &Path) -> bool {
    read(files, image).is_ok_and(|facts| facts.hardened && !facts.system_path && !facts.platform)
}

/// How to sign one's own program so that it takes the library.
fn sign_again(image: &Path) -> String {
    let file = command_text(&[image.as_os_str().to_owned()]);
    format!(
        "if you built it, sign it without the hardened runtime: codesign --force --sign - {file}; \
         else run a build that is not hardened, or go without with --guard off"
    )
}

/// The application whose executable this is, unless it is one of the system's, of
/// which no copy starts.
fn application(program: &Path) -> Option<&Path> {
    let bundle = program.ancestors().find(|path| path.extension() == Some(OsStr::new("app")))?;
    (!bundle.starts_with("/System")).then_some(bundle)
}

/// How to make a copy of an application that takes the library: one that is signed
/// ad hoc, without the hardened runtime. It loses the entitlements that only its
/// maker's signature gives.
fn sign_a_copy(bundle: &Path) -> String {
    let name = bundle.file_name().unwrap_or_default();
    let copy = Path::new("/tmp").join(name);
    let text = |path: &Path| command_text(&[path.as_os_str().to_owned()]);
    let (original, copy) = (text(bundle), text(&copy));
    format!(
        "sign a copy without the hardened runtime and run that: ditto {original} {copy} && \
         codesign --force --deep --sign - {copy} && agxpatch run -- {copy} (the copy has none of \
         its maker's entitlements, so that iCloud, keychain groups and the like may fail)"
    )
}

/// The place for agxpatch behind what starts another program; the whole line, where
/// the first word after it is that program.
fn behind(starter: &str, arguments: &[OsString]) -> String {
    let option = |word: &OsString| {
        word.to_string_lossy().starts_with(|first: char| !first.is_alphanumeric() && first != '/')
    };
    let line = match arguments.first() {
        Some(first) if !option(first) && !first.to_string_lossy().contains('=') => {
            format!("{starter} agxpatch run -- {}", command_text(arguments))
        }
        _ => format!("{starter} … agxpatch run -- PROGRAM"),
    };
    format!("put agxpatch behind it, in front of the program that uses the GPU: {line}")
}

/// The name of a `conda` that is asked to `run` something.
fn conda_run(target: &Target) -> Option<&'static str> {
    let named = |word: &OsStr| {
        let leaf = Path::new(word).file_name()?;
        CONDAS.into_iter().find(|conda| leaf == *conda)
    };
    let words: Vec<&OsStr> = std::iter::once(target.program.as_os_str())
        .chain(target.arguments.iter().map(OsString::as_os_str))
        .take(3)
        .collect();
    words.windows(2).find_map(|pair| match pair {
        [first, second] if *second == OsStr::new("run") => named(first),
        _ => None,
    })
}

/// The verdict on a target: that on its program, unless the program is known to
/// start the command where the library does not follow.
pub fn judge_target(files: &dyn Files, target: &Target, around: &Surroundings) -> Verdict {
    match conda_run(target).filter(|_| around.sip) {
        Some(conda) => Verdict {
            outcome: Outcome::Dropped,
            reasons: vec![format!(
                "`{conda} run` starts the command from a shell script, and dyld drops the library \
                 in the system's shell"
            )],
        },
        None => judge_file(files, &target.image, around),
    }
}

fn first_name(target: &Target) -> String {
    let path = target.steps.iter().find_map(|step| match step {
        Step::Opaque { path, .. } => path.file_name(),
        _ => None,
    });
    path.unwrap_or_default().to_string_lossy().into_owned()
}

/// A program of the same name that can have the library.
fn other(scene: &Scene<'_>, target: &Target, around: &Surroundings) -> Option<PathBuf> {
    let name = target.program.file_name()?;
    let variables = &target.variables;
    let prefix = |name: &str| {
        variables.get(OsStr::new(name)).map(|prefix| PathBuf::from(prefix).join("bin"))
    };
    let path = variables.get(OsStr::new("PATH")).map(std::env::split_paths);
    let folders = [prefix("VIRTUAL_ENV"), prefix("CONDA_PREFIX")].into_iter().flatten();
    let folders = folders.chain(path.into_iter().flatten());
    let folders = folders.chain(USUAL.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|program| can_have_it(scene, program, around))
}

fn can_have_it(scene: &Scene<'_>, program: &Path, around: &Surroundings) -> bool {
    if !scene.files.is_program(program) {
        return false;
    }
    // A shim may lead anywhere; what is named is the program itself.
    let word = [program.as_os_str().to_owned()];
    let Ok(target) = super::resolve::resolve(scene, &word, Variables::new()) else { return false };
    target.steps.is_empty()
        && judge_file(scene.files, &target.image, around).outcome == Outcome::Fine
}
