//! What the guard library's race detector found, in each process of a run.
//!
//! The library keeps its findings in a mapped file, `PID.races`, which is there however the process ended: a race often ends it. The
//! form of the file is told in the library's `findings.rs`.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::files::{Disk, Files};
use crate::report::printable;

const MAGIC: &[u8] = b"agxpatch.races/1";
/// Bytes of the file's head and of each slot.
const SLOT: usize = 8192;
/// Where in a slot its JSON begins, and in the head the number of findings without a slot.
const TEXT: usize = 16;
/// More than the library ever writes.
const MAX_FILE: u64 = 1 << 20;
/// Races that are told on standard error; the report has them all.
const MAX_TOLD: usize = 8;
/// Callers that are told of each call.
const MAX_CALLERS: usize = 6;

/// One pair of call sites.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Race {
    /// The process.
    pub pid: u32,
    /// How often the two met.
    pub times: u64,
    /// What the library says of the first time: `kind`, `later`, `earlier`, `created`.
    #[serde(flatten)]
    pub finding: Value,
}

/// The races of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Races {
    /// Each pair of call sites, the most frequent first.
    pub found: Vec<Race>,
    /// Further races for which the library had no room.
    pub dropped: u64,
}

impl Races {
    /// Reads what the processes left in a folder.
    pub fn read(folder: &Path) -> Races {
        let mut races = Races::default();
        for name in Disk.names(folder) {
            let pid = name.strip_suffix(SUFFIX).and_then(|pid| pid.parse().ok());
            if let (Some(pid), Some(bytes)) = (pid, Disk.head(&folder.join(&name), MAX_FILE)) {
                races.add(pid, &bytes);
            }
        }
        races.found.sort_by_key(|race| std::cmp::Reverse(race.times));
        races
    }

    fn add(&mut self, pid: u32, bytes: &[u8]) {
        if !bytes.starts_with(MAGIC) {
            return;
        }
        self.dropped += number(bytes, TEXT).unwrap_or(0);
        for slot in bytes.chunks_exact(SLOT).skip(1) {
            let length = number(slot, 8).and_then(|length| usize::try_from(length).ok());
            let text = length.and_then(|length| slot.get(TEXT..TEXT.checked_add(length)?));
            // A slot that the process died in the middle of has the length 0.
            if let Some(finding) = text.and_then(|text| serde_json::from_slice(text).ok()) {
                self.found.push(Race { pid, times: number(slot, 0).unwrap_or(1), finding });
            }
        }
    }

    /// What to say at the end of a run; nothing where there was no race.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.found.iter().take(MAX_TOLD).map(Race::text).collect();
        let more = self.found.len().saturating_sub(MAX_TOLD) as u64 + self.dropped;
        if more > 0 {
            lines.push(format!("{more} more races; --report FILE writes those that were kept"));
        }
        lines
    }
}

/// How the names of the files end.
const SUFFIX: &str = ".races";

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at + 8)?;
    word.try_into().ok().map(u64::from_le_bytes)
}

impl Race {
    /// The race as people read it: what happened, then each side with its callers.
    fn text(&self) -> String {
        let what = match self.finding["kind"].as_str() {
            Some("overlap") => "two threads were inside one encoder or command buffer",
            Some("use-after-end") => "an encoder was used after its end",
            Some("use-after-commit") => "a command buffer was used after its commit",
            Some("open-encoder") => {
                "a command buffer was used while another thread's encoder on it was open"
            }
            Some("torn-sequence") => "work was encoded with state that another thread had set",
            _ => "two calls raced",
        };
        let times =
            if self.times == 1 { "once".to_owned() } else { format!("{} times", self.times) };
        let mut text = format!("race in process {}, {times}: {what}", self.pid);
        for (side, title) in [("later", "by"), ("earlier", "after"), ("created", "created by")] {
            text += &format!("\n  {title} {}", self.side(&self.finding[side]));
        }
        text
    }

    fn side(&self, side: &Value) -> String {
        let thread = &side["thread"];
        let word = |value: &Value| printable(value.as_str().unwrap_or(""));
        let (name, queue) = (word(&thread["name"]), word(&thread["queue"]));
        let mut text = match thread["id"].as_u64() {
            None | Some(0) => "a thread that is not known".to_owned(),
            Some(id) => format!("thread {id}"),
        };
        if !name.is_empty() {
            text += &format!(" \"{name}\"");
        }
        if !queue.is_empty() {
            text += &format!(" on queue {queue}");
        }
        if let Some(method) = side["method"].as_str() {
            text += &format!(", {}", printable(method));
        }
        let callers = side["stack"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for caller in callers.take(MAX_CALLERS) {
            text += &format!("\n    {}", printable(caller));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{MAGIC, Races, SLOT};

    const FINDING: &str = r#"{"kind":"torn-sequence","object":"0x1","later":{"method":"-[A dispatch]","thread":{"id":2,"name":"worker","queue":"q"},"stack":["program+0x10 work+4"]},"earlier":{"method":"-[A setBuffer]","thread":{"id":0,"name":"","queue":""},"stack":[]},"created":{"thread":{"id":1,"name":"main","queue":""},"stack":[]}}"#;

    fn file(findings: &[(u64, &str)]) -> Vec<u8> {
        let mut bytes = vec![0; SLOT];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16] = 3;
        for (times, text) in findings {
            let mut slot = vec![0; SLOT];
            slot[..8].copy_from_slice(&times.to_le_bytes());
            slot[8..16].copy_from_slice(&(text.len() as u64).to_le_bytes());
            slot[16..16 + text.len()].copy_from_slice(text.as_bytes());
            bytes.extend(slot);
        }
        bytes
    }

    #[test]
    fn races_are_told_with_both_threads_and_their_callers() {
        let mut races = Races::default();
        races.add(77, &file(&[(5, FINDING), (0, ""), (1, "{ cut")]));
        let lines = races.lines();
        assert_eq!(
            lines[0],
            "race in process 77, 5 times: work was encoded with state that another thread had set\n  \
             by thread 2 \"worker\" on queue q, -[A dispatch]\n    program+0x10 work+4\n  \
             after a thread that is not known, -[A setBuffer]\n  created by thread 1 \"main\""
        );
        let mut races = Races::default();
        races.add(77, &file(&[(1, &FINDING.replace("torn-sequence", "open-encoder"))]));
        let open = "a command buffer was used while another thread's encoder on it was open";
        assert!(races.lines()[0].starts_with(&format!("race in process 77, once: {open}\n")));
        assert_eq!(lines[1], "3 more races; --report FILE writes those that were kept");
    }

    #[test]
    fn a_file_of_another_form_or_cut_anywhere_has_no_races_and_does_no_harm() {
        let whole = file(&[(1, FINDING)]);
        for length in [0, 15, 16, 20, SLOT, SLOT + 10, whole.len() - 1] {
            let mut races = Races::default();
            races.add(1, &whole[..length]);
            assert!(races.found.is_empty(), "{length}");
        }
        let mut races = Races::default();
        races.add(1, b"another form of file");
        assert_eq!(races, Races::default());
    }
}
