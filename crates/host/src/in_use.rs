//! Whether a file of code is used: which processes map it, and which were kept from it.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Command, Host, Output, Tool, tool_failed};
use agxpatch_core::error::Result;

/// The names of the processes that map the file, each once. Only root is shown those
/// of other users.
pub fn processes_mapping(host: &dyn Host, path: &Path) -> Result<Vec<String>> {
    let words = ["-n", "-P", "-F", "pc", "--"];
    let command = Command::question(Tool::Lsof, words).argument(path);
    let output = host.run(&command)?;
    let names = commands(&output);
    // lsof ends with 1 where it finds nothing, and where it found some and not all.
    let silent = output.text().trim().is_empty() && output.complaint().trim().is_empty();
    if output.succeeded() || !names.is_empty() || silent {
        return Ok(names);
    }
    Err(tool_failed(&command, &output))
}

/// The `c` fields of lsof's output.
fn commands(output: &Output) -> Vec<String> {
    let text = output.text();
    each_once(text.lines().filter_map(|line| line.strip_prefix('c')).map(str::to_owned))
}

fn each_once(names: impl Iterator<Item = String>) -> Vec<String> {
    names.collect::<BTreeSet<String>>().into_iter().collect()
}

/// The processes that library validation kept from the file since macOS started, as the
/// kernel's log names them.
pub fn rejections_since_start(host: &dyn Host, path: &Path) -> Result<Vec<String>> {
    let leaf = path.file_name().unwrap_or_default().to_string_lossy();
    let predicate =
        format!("eventMessage CONTAINS \"{REJECTED}\" AND eventMessage CONTAINS \"{leaf}\"");
    let words = ["show", "--last", "boot", "--style", "compact", "--predicate"];
    let command = Command::question(Tool::Log, words).argument(predicate);
    let output = host.ask(&command)?;
    let text = output.text();
    Ok(each_once(text.lines().filter_map(rejected_process)))
}

/// How the kernel's line begins.
const REJECTED: &str = "Library Validation failed";

fn rejected_process(line: &str) -> Option<String> {
    let (_, after) = line.split_once(REJECTED)?;
    let process = after.split_once("for process '").and_then(|(_, rest)| rest.split_once('\''));
    Some(process.map_or_else(|| "a process that is not named".to_owned(), |(name, _)| name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_names_the_process() {
        let line = "2026-01-01 09:00:01.0 Df kernel[0:1a] Library Validation failed: Rejecting \
                    '/System/x/AGXMetalG16X' (Team ID: none, platform: no) for process \
                    'WindowServer(163)' (Team ID: N/A, platform: yes), reason: mapping process is \
                    a platform binary, but mapped file is not";
        assert_eq!(rejected_process(line).as_deref(), Some("WindowServer(163)"));
        assert_eq!(rejected_process("Timestamp  Ty Process[PID:TID]"), None);
    }
}
