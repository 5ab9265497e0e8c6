//! A process on a simulated Mac: one of its tools, or one that reads or writes a file.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;

use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_host::{Command, CommandKind, Host, Input, Status, Tool};
use agxpatch_simulate::mac::SimulatedMac;

/// Writes a file of the Mac to standard output.
pub(super) fn get(mac: &SimulatedMac, path: &Path) -> Result<Exit> {
    told(io::stdout().write_all(&mac.read(path)?.bytes))?;
    Ok(Exit::Success)
}

/// Puts standard input into a file of the Mac.
pub(super) fn put(mac: &SimulatedMac, path: &Path) -> Result<Exit> {
    let bytes = standard_input()?;
    let mode = mac.metadata(path)?.map(|metadata| metadata.mode);
    if mode.is_some() {
        mac.remove_file(path)?;
    }
    mac.write_new(path, &bytes, mode.unwrap_or(0o644))?;
    Ok(Exit::Success)
}

fn told(written: io::Result<()>) -> Result<()> {
    written.map_err(|error| {
        Error::new(Code::WriteFailed, "the answer cannot be written").with("reason", error)
    })
}

fn standard_input() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).map_err(|error| {
        Error::new(Code::ReadFailed, "standard input cannot be read").with("reason", error)
    })?;
    Ok(bytes)
}

/// Runs a tool as a process of the Mac, with this process's input, output and
/// exit code, so that scripts can be tried on it.
pub(super) fn tool(mac: &SimulatedMac, name: &str, arguments: Vec<OsString>) -> Result<Exit> {
    let known = Tool::ALL.iter().copied().find(|tool| tool.name() == name);
    let tool = known.ok_or_else(|| {
        Error::new(Code::BadArgument, "the simulated Mac has no such tool")
            .with("tool", name)
            .next("agxpatch simulate tool --help")
    })?;
    let mounts = tool == Tool::Diskutil && arguments.first().is_some_and(|word| word == "mount");
    let changes =
        mounts || matches!(tool, Tool::Bless | Tool::Mount | Tool::Umount) && !arguments.is_empty();
    let mut command = Command::question(tool, arguments);
    if changes {
        command.kind = CommandKind::Effect;
        command.input = tool_input(mac)?;
    }
    let output = mac.run(&command)?;
    told(io::stdout().write_all(&output.stdout))?;
    told(io::stderr().write_all(&output.stderr))?;
    let code = match output.status {
        Status::Code(code) => code,
        Status::Signal(signal) => 128 + signal,
    };
    std::process::exit(code)
}

/// The simulated terminal where there is one, else what is piped in.
fn tool_input(mac: &SimulatedMac) -> Result<Input> {
    if mac.has_terminal() {
        return Ok(Input::Terminal);
    }
    Ok(Input::Secret(standard_input()?))
}
