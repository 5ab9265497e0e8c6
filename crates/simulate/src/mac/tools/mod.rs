//! The system's tools as they answer on the simulated Mac.
//!
//! Texts and exit codes are those of real tools, taken from their sources and
//! from real output. A call in a form that none of this program's code makes is
//! answered like a usage error, so that a wrong argument shows in a test.

mod bless;
mod csrutil;
mod diskutil;
mod in_use;
mod mount;
mod password;
mod small;

use std::sync::Arc;

use super::effects::Extent;
use super::machine::{Machine, Said, Signer};
use super::store::Held;
use super::{SignatureJudge, answer};
use agxpatch_core::codesign;
use agxpatch_core::error::Result;
use agxpatch_core::macho::{Slice, Universal};
use agxpatch_host::{Command, CommandKind, Output, Tool};

/// Reads the embedded signatures. A CMS signature is taken for broken: who made
/// one is declared, never guessed.
pub(super) fn default_judge() -> SignatureJudge {
    Arc::new(|bytes| if is_ad_hoc(bytes) { Signer::AdHoc } else { Signer::Broken })
}

/// Whether every slice has an intact ad-hoc signature.
fn is_ad_hoc(bytes: &[u8]) -> bool {
    let intact = |slice: &Slice<'_>| {
        let range = slice.image().ok().and_then(|image| image.code_signature());
        range.is_some_and(|range| codesign::check(slice.bytes, range).is_empty())
    };
    Universal::parse(bytes)
        .is_ok_and(|file| !file.slices.is_empty() && file.slices.iter().all(intact))
}

pub(super) fn run(
    held: &mut Held,
    command: &Command,
    extent: Extent,
    judge: &SignatureJudge,
) -> Result<Output> {
    let arguments: Option<Vec<&str>> =
        command.arguments.iter().map(|argument| argument.to_str()).collect();
    let Some(arguments) = arguments else {
        return Ok(answer(64, "", "an argument is not UTF-8\n"));
    };
    if let Some(failure) = device_failure(command, extent) {
        return Ok(failure);
    }
    let words = arguments.as_slice();
    if let Some(said) = replaced(&held.machine, command.tool, words) {
        if said.after_work {
            answer_of(held, command, words, extent, judge)?;
        }
        return spoken(command, &said);
    }
    answer_of(held, command, words, extent, judge)
}

/// What the Mac was told that this tool says: to this command line, or to any.
fn replaced(machine: &Machine, tool: Tool, words: &[&str]) -> Option<Said> {
    let whole = std::iter::once(tool.name()).chain(words.iter().copied());
    let whole = whole.collect::<Vec<_>>().join(" ");
    // A longer beginning of the command line is meant more.
    let fits = |said: &&String| {
        whole == **said
            || whole.strip_prefix(said.as_str()).is_some_and(|rest| rest.starts_with(' '))
    };
    let key = machine.said.keys().filter(fits).max_by_key(|said| said.len())?;
    machine.said.get(key).cloned()
}

/// A tool that hangs is ended, as a real one is after its time.
fn spoken(command: &Command, said: &Said) -> Result<Output> {
    match said.hangs {
        true => Err(agxpatch_host::timed_out(command)),
        false => Ok(answer(said.rc, said.out.as_str(), said.err.as_str())),
    }
}

fn answer_of(
    held: &mut Held,
    command: &Command,
    words: &[&str],
    extent: Extent,
    judge: &SignatureJudge,
) -> Result<Output> {
    let machine = &mut held.machine;
    Ok(match command.tool {
        Tool::Bless => bless::run(machine, words, &command.input, extent),
        Tool::Codesign => return small::codesign(held, words, judge),
        Tool::Csrutil => csrutil::run(machine, words),
        Tool::Defaults => return small::defaults(held, words),
        Tool::Diskutil => match words {
            ["mount", name] => mount::by_name(machine, name),
            _ => diskutil::run(machine, words),
        },
        Tool::Fdesetup => small::fdesetup(machine, words),
        Tool::Ioreg => small::ioreg(machine, words),
        Tool::Log => in_use::log(machine, words),
        Tool::Lsof => in_use::lsof(machine, words),
        Tool::Mount => mount::mount(machine, words, extent),
        Tool::Nvram => small::nvram(machine, words),
        Tool::SwVers => small::sw_vers(machine, words),
        Tool::Sysctl => small::sysctl(machine, words),
        Tool::Umount => mount::umount(machine, words, extent),
    })
}

/// A tool that meets a failing disk.
fn device_failure(command: &Command, extent: Extent) -> Option<Output> {
    let reason = match extent {
        Extent::InputOutput => "Input/output error",
        Extent::NoSpace => "No space left on device",
        Extent::Whole | Extent::Midway => return None,
    };
    let number = if extent == Extent::NoSpace { 28 } else { 5 };
    (command.kind == CommandKind::Effect)
        .then(|| answer(number, "", format!("{}: {reason}\n", command.tool.name())))
}

/// What a tool says to arguments it does not know.
fn usage(tool: Tool) -> Output {
    answer(64, "", format!("usage: {} ...\n", tool.name()))
}
