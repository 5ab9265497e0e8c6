//! `agxpatch guard status PID`: what the guard does in a process that runs.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use super::Session;
use crate::launch::{GuardSummary, live};
use crate::report::{Report, printable};
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;

/// The library looks for a question ten times a second.
const PATIENCE: Duration = Duration::from_secs(2);

/// Show what the guard does in a running process
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Ask the guard in a process that `agxpatch run` started, or that such a process
    /// started. The process is not stopped and gets no signal.
    Status {
        /// The number of the process.
        pid: u32,
    },
}

#[derive(Serialize)]
struct Status {
    report: Value,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let Verb::Status { pid } = args.verb;
    let report = live::ask(&std::env::temp_dir(), pid, PATIENCE)?;
    session.show(&Status { report })
}

/// Counters and what they are called here.
const COUNTERS: [(&str, &str); 8] = [
    ("calls", "calls"),
    ("waits", "waited for another thread"),
    ("long_waits", "waited long"),
    ("deadlocks_broken", "deadlocks broken"),
    ("races_overlap", "races: two threads inside"),
    ("races_use_after_end", "races: use after the end"),
    ("races_use_after_commit", "races: use after commit"),
    ("races_torn_sequence", "races: another thread's state"),
];

impl Report for Status {
    const SCHEMA: &'static str = "agxpatch.guard-status/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mode = self.report["mode"].as_str().unwrap_or("unknown");
        writeln!(out, "process {}, mode {}", self.report["pid"], printable(mode))?;
        match GuardSummary::of(std::slice::from_ref(&self.report)) {
            None => writeln!(out, "  it has loaded no driver")?,
            Some(summary) => {
                for line in summary.lines(false) {
                    writeln!(out, "  {}", printable(&line))?;
                }
            }
        }
        if let Some(driver) = self.report["driver"]["path"].as_str() {
            let way = self.report["driver"]["way"].as_str().unwrap_or("unknown");
            writeln!(out, "  driver {} ({})", printable(driver), printable(way))?;
        }
        let encoders = &self.report["encoders"];
        if encoders.is_object() {
            writeln!(out, "  {:>10}  encoders live", encoders["live"])?;
            writeln!(
                out,
                "  {:>10}  encoders ended and kept for a while",
                encoders["quarantined"]
            )?;
        }
        for (name, words) in COUNTERS {
            match self.report["counters"][name].as_u64() {
                Some(count) if count > 0 => writeln!(out, "  {count:>10}  {words}")?,
                _ => {}
            }
        }
        Ok(())
    }
}
