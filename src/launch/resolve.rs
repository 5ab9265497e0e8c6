//! From the words of a command to the one program that must be started.
//!
//! dyld drops its variables in every process that System Integrity Protection
//! guards, and in all that process starts. `/usr/bin/env`, `/bin/bash` and every
//! other shell of the system are such processes, and they stand in front of
//! most Pythons: as the `#!` line of a script, as a shim of pyenv. So the chain
//! is followed here, by reading files and running none, and its last program
//! started directly with the words it would have been given.
//!
//! Links are not replaced by what they lead to: a virtual environment's
//! `bin/python` is a link, and Python finds the environment by the name it was
//! started with. What stands behind the links is [`Target::image`].

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::files::Files;
use super::{console_script, env_words, pyenv};
use agxpatch_core::error::{Code, Error, Result};

/// The variables a command is started with.
pub type Variables = BTreeMap<OsString, OsString>;

/// The longest chain of interpreters followed. XNU itself allows one script to
/// name another as its interpreter not at all; `env` makes chains possible.
const MAX_STEPS: usize = 8;

/// XNU reads this much of a script for its first line (`IMG_SHSIZE`).
const FIRST_LINE: u64 = 512;

/// More than any bundle's Info.plist has.
const MAX_INFORMATION: u64 = 1 << 20;

/// What stood between the command and the program, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// A script named its interpreter.
    Script {
        /// The script.
        path: PathBuf,
        /// Its interpreter.
        interpreter: PathBuf,
    },
    /// `env` looked for a program.
    Env {
        /// The name it looked for.
        name: String,
    },
    /// A pyenv shim stands for a program of the selected version.
    Pyenv {
        /// The shim.
        shim: PathBuf,
        /// The version, or `system`.
        version: String,
    },
    /// A shim whose choice is not to be read from files.
    Opaque {
        /// The shim.
        path: PathBuf,
        /// Whose it is.
        manager: &'static str,
    },
}

/// The program to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The program, as it is to be named.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The file behind all links.
    pub image: PathBuf,
    /// What was passed over.
    pub steps: Vec<Step>,
    /// The variables, with what `env` on the way did to them.
    pub variables: Variables,
}

/// Where a command is resolved.
pub struct Scene<'a> {
    /// The files.
    pub files: &'a dyn Files,
    /// The working directory, absolute.
    pub directory: &'a Path,
}

/// Finds the program behind `command`, whose first word is looked for along
/// the `PATH` of `variables`.
///
/// # Errors
/// `CommandNotFound` and `NotExecutable`, and `ChainTooLong` where interpreters
/// name each other in a circle.
pub fn resolve(scene: &Scene<'_>, command: &[OsString], variables: Variables) -> Result<Target> {
    let (first, rest) = command
        .split_first()
        .ok_or_else(|| Error::new(Code::BadArgument, "no command was given"))?;
    let program = scene.find(first, &variables)?;
    let mut target = Target {
        program,
        arguments: rest.to_vec(),
        image: PathBuf::new(),
        steps: Vec::new(),
        variables,
    };
    while target.steps.len() < MAX_STEPS {
        if !scene.step(&mut target)? {
            let image = scene.files.canonical(&target.program);
            target.image = image.unwrap_or_else(|| target.program.clone());
            return Ok(target);
        }
    }
    Err(Error::new(Code::ChainTooLong, "the chain of interpreters does not end")
        .with("command", command_text(command))
        .with("program", target.program.display()))
}

impl Scene<'_> {
    /// The file a word of a command line stands for, by its absolute path; the
    /// word is looked for along the `PATH` of `variables`. An application bundle
    /// stands for its executable.
    ///
    /// # Errors
    /// `CommandNotFound` and `NotExecutable`.
    pub fn find(&self, word: &OsStr, variables: &Variables) -> Result<PathBuf> {
        let missing = |code, message: &str| {
            Err(Error::new(code, message).with("command", word.to_string_lossy()))
        };
        if word.as_bytes().contains(&b'/') {
            let path = self.directory.join(word);
            if path.extension() == Some(OsStr::new("app")) && !self.files.is_program(&path) {
                return self.executable_of(&path);
            }
            return match self.files.mode(&path) {
                Some(mode) if mode & 0o111 != 0 => Ok(path),
                Some(_) => missing(Code::NotExecutable, "the file is not executable"),
                None => missing(Code::CommandNotFound, "there is no such program"),
            };
        }
        match self.on_path(word, variables, |_| true) {
            Some(path) => Ok(path),
            None => missing(Code::CommandNotFound, "no such program on the PATH"),
        }
    }

    /// The executable of an application bundle, as its Info.plist names it.
    fn executable_of(&self, bundle: &Path) -> Result<PathBuf> {
        let missing = |what: &str| {
            Error::new(Code::CommandNotFound, what)
                .with("bundle", bundle.display())
                .next("name the program inside it: Contents/MacOS/NAME")
        };
        let information = bundle.join("Contents/Info.plist");
        let bytes = self.files.head(&information, MAX_INFORMATION);
        let bytes = bytes.ok_or_else(|| missing("the bundle has no Info.plist"))?;
        let list = plist::from_bytes::<plist::Dictionary>(&bytes).map_err(|error| {
            missing("the bundle's Info.plist cannot be read").with("reason", error)
        })?;
        let name = list.get("CFBundleExecutable").and_then(plist::Value::as_string);
        // A name, not a path that leads elsewhere.
        let name = name
            .filter(|name| !name.contains('/') && !matches!(*name, "" | "." | ".."))
            .ok_or_else(|| missing("the bundle's Info.plist names no executable"))?;
        let program = bundle.join("Contents/MacOS").join(name);
        if !self.files.is_program(&program) {
            return Err(missing("the bundle's executable is missing").with("name", name));
        }
        Ok(program)
    }

    /// The first program called `name` along the PATH that `wanted` accepts.
    pub fn on_path(
        &self,
        name: &OsStr,
        variables: &Variables,
        wanted: impl Fn(&Path) -> bool,
    ) -> Option<PathBuf> {
        const USUAL: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
        if name.is_empty() {
            return None;
        }
        let path = variables.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| USUAL.into());
        // An empty entry is the working directory, as `join` has it.
        std::env::split_paths(&path)
            .map(|entry| self.directory.join(entry).join(name))
            .find(|program| self.files.is_program(program) && wanted(program))
    }

    /// Goes one program further; false where `target` is the last.
    fn step(&self, target: &mut Target) -> Result<bool> {
        if is_env(&target.program) {
            return self.pass_env(target);
        }
        let Some(head) = self.files.head(&target.program, FIRST_LINE) else { return Ok(false) };
        if let Some(manager) = self.opaque(&target.program, &head) {
            let path = target.program.clone();
            if !target.steps.iter().any(|step| matches!(step, Step::Opaque { .. })) {
                target.steps.push(Step::Opaque { path, manager });
            }
        }
        let Some(mut line) = shebang(&head) else { return Ok(false) };
        if let Some(found) = pyenv::behind(self, &target.program, &target.variables)? {
            found.apply(&mut target.variables);
            target.steps.push(Step::Pyenv { shim: target.program.clone(), version: found.version });
            target.program = found.program;
            return Ok(true);
        }
        if let Some(found) = console_script::interpreter(self.files, &target.program) {
            (line.interpreter, line.arguments) = found;
        }
        let script = std::mem::take(&mut target.program);
        let interpreter = self.directory.join(&line.interpreter);
        if !self.files.is_program(&interpreter) {
            return Err(Error::new(Code::NotExecutable, "the script's interpreter is missing")
                .with("script", script.display())
                .with("interpreter", interpreter.display()));
        }
        let own = std::mem::take(&mut target.arguments);
        let before = line.arguments.into_iter().chain([script.clone().into_os_string()]);
        target.arguments = before.chain(own).collect();
        target.steps.push(Step::Script { path: script, interpreter: interpreter.clone() });
        target.program = interpreter;
        Ok(true)
    }

    /// Does what `env` would do.
    fn pass_env(&self, target: &mut Target) -> Result<bool> {
        let Some(words) = env_words::read(&target.arguments) else { return Ok(false) };
        let Some((name, rest)) = words.command.split_first() else { return Ok(false) };
        words.apply(&mut target.variables);
        let search = match &words.path {
            Some(path) => Variables::from([("PATH".into(), path.clone())]),
            None => target.variables.clone(),
        };
        target.program = self.find(name, &search)?;
        target.arguments = rest.to_vec();
        target.steps.push(Step::Env { name: name.to_string_lossy().into_owned() });
        Ok(true)
    }

    /// Managers whose shims decide by more than files say.
    fn opaque(&self, program: &Path, head: &[u8]) -> Option<&'static str> {
        let behind = self.files.canonical(program)?;
        if behind.file_name() == Some(OsStr::new("mise")) && !program.ends_with("mise") {
            return Some("mise");
        }
        let text = String::from_utf8_lossy(head);
        (text.contains("asdf exec") || text.contains("/asdf.sh")).then_some("asdf")
    }
}

/// `env` is known by its name: the system's and those of Homebrew do the same.
fn is_env(program: &Path) -> bool {
    matches!(program.file_name().and_then(OsStr::to_str), Some("env" | "genv"))
}

struct Line {
    interpreter: PathBuf,
    arguments: Vec<OsString>,
}

/// The `#!` line, split at blanks as XNU does it. For text without one, what
/// starts programs by their names (a shell, `execvp`) starts the shell with it.
fn shebang(head: &[u8]) -> Option<Line> {
    let Some(line) = head.strip_prefix(b"#!") else {
        return is_text(head).then(|| Line { interpreter: SHELL.into(), arguments: Vec::new() });
    };
    // As XNU has it, a `#` begins a comment there.
    let end = line.iter().position(|byte| matches!(byte, b'\n' | b'#')).unwrap_or(line.len());
    let mut words = line
        .get(..end)?
        .split(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
        .filter(|word| !word.is_empty());
    let interpreter = PathBuf::from(OsStr::from_bytes(words.next()?));
    let arguments = words.map(|word| OsString::from_vec(word.to_vec())).collect();
    Some(Line { interpreter, arguments })
}

/// `_PATH_BSHELL`.
const SHELL: &str = "/bin/sh";

/// Whether a file begins as text does; the beginning may end inside a character.
fn is_text(head: &[u8]) -> bool {
    let whole = std::str::from_utf8(head).map_or_else(|cut| cut.error_len().is_none(), |_| true);
    whole && !head.contains(&0)
}

/// A command as it may be shown.
pub fn command_text(command: &[OsString]) -> String {
    let words = command.iter().map(|word| agxpatch_host::command::quoted(&word.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}
