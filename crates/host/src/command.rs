//! One run of a system tool: which, with what, and what came back.
//!
//! Tools are named by an enum that holds their absolute path, so that no `PATH`
//! is ever consulted. A command says of itself whether it asks or changes: the
//! dry run drops the ones that change, and the simulated Mac refuses a question
//! that turns out to change something.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use serde::Serialize;

macro_rules! tools {
    ($($(#[$doc:meta])* $name:ident $path:literal)*) => {
        /// The tools of macOS that are used, each by its absolute path.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Tool {
            $($(#[$doc])* $name,)*
        }

        impl Tool {
            /// Every tool.
            pub const ALL: &'static [Tool] = &[$(Tool::$name,)*];

            /// Where the tool is on every macOS.
            pub fn path(self) -> &'static Path {
                Path::new(match self { $(Tool::$name => $path,)* })
            }
        }
    };
}

tools! {
    /// Selects the snapshot the next boot comes from.
    Bless "/usr/sbin/bless"
    /// Shows and checks code signatures.
    Codesign "/usr/bin/codesign"
    /// Shows the configuration of System Integrity Protection.
    Csrutil "/usr/bin/csrutil"
    /// Reads preference files.
    Defaults "/usr/bin/defaults"
    /// Shows volumes, containers and snapshots.
    Diskutil "/usr/sbin/diskutil"
    /// Shows the state of FileVault.
    Fdesetup "/usr/bin/fdesetup"
    /// Reads the I/O registry.
    Ioreg "/usr/sbin/ioreg"
    /// Shows the system's log.
    Log "/usr/bin/log"
    /// Shows which processes use a file.
    Lsof "/usr/sbin/lsof"
    /// Mounts a volume.
    Mount "/sbin/mount"
    /// Reads NVRAM variables.
    Nvram "/usr/sbin/nvram"
    /// Names the system's version and build.
    SwVers "/usr/bin/sw_vers"
    /// Reads kernel variables.
    Sysctl "/usr/sbin/sysctl"
    /// Unmounts a volume.
    Umount "/sbin/umount"
}

impl Tool {
    /// The last part of the path, as people call it.
    pub fn name(self) -> &'static str {
        self.path().file_name().and_then(OsStr::to_str).unwrap_or_default()
    }
}

/// Whether running a command may change the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandKind {
    /// It only tells something.
    Question,
    /// It changes something, or may.
    Effect,
}

/// What a tool reads on its standard input.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// Nothing: `/dev/null`.
    Nothing,
    /// The person at the terminal, whom the tool asks itself. Without a terminal
    /// the command is refused before it starts.
    Terminal,
    /// These bytes; never logged.
    Secret(Vec<u8>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Input::Nothing => "Nothing",
            Input::Terminal => "Terminal",
            Input::Secret(_) => "Secret(..)",
        })
    }
}

/// A tool with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What is run.
    pub tool: Tool,
    /// The arguments, without the tool's own name.
    pub arguments: Vec<OsString>,
    /// Whether it changes something.
    pub kind: CommandKind,
    /// What it reads.
    pub input: Input,
}

impl Command {
    /// A command that only tells something.
    pub fn question<A: Into<OsString>>(
        tool: Tool,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        Command::new(tool, CommandKind::Question, arguments)
    }

    /// A command that changes the machine.
    pub fn effect<A: Into<OsString>>(
        tool: Tool,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        Command::new(tool, CommandKind::Effect, arguments)
    }

    fn new<A: Into<OsString>>(
        tool: Tool,
        kind: CommandKind,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Command { tool, arguments, kind, input: Input::Nothing }
    }

    /// Adds one argument, such as a path.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Command {
        self.arguments.push(argument.into());
        self
    }

    /// Says what the tool reads.
    pub fn input(mut self, input: Input) -> Command {
        self.input = input;
        self
    }
}

/// As a person would type it, quoted for `sh` where needed.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tool.path().display())?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(&argument.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// `text` as one word of a shell command.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=./:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// How a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Code(code) => write!(f, "exit {code}"),
            Status::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether the exit code was 0.
    pub fn succeeded(&self) -> bool {
        self.status == Status::Code(0)
    }

    /// Standard output as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text; bytes that are not UTF-8 are replaced.
    pub fn complaint(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}
