//! What is worth knowing of a simulated Mac at a glance.

use std::io::{self, Write};

use serde::Serialize;

use crate::report::Report;
use agxpatch_core::exit::Exit;
use agxpatch_simulate::mac::{Boot, Machine, Mode};

/// What is worth knowing of the Mac at a glance.
#[derive(Serialize)]
pub(super) struct Glance {
    mode: Mode,
    gui: bool,
    release: String,
    booted: String,
    next_boot: Option<String>,
    snapshots: Vec<String>,
    mounted: Vec<String>,
    effects: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot: Option<Boot>,
}

/// The Mac, and how its boot went if it has just booted.
pub(super) fn glance(machine: Machine, boot: Option<Boot>) -> Glance {
    let next_boot = machine.tagged.clone();
    let next_boot = next_boot.or_else(|| machine.last_sealed().map(|s| s.name.clone()));
    Glance {
        release: format!("{} ({})", machine.release.version, machine.release.build),
        next_boot,
        snapshots: machine.snapshots.iter().map(|snapshot| snapshot.name.clone()).collect(),
        mounted: machine.mounted_by_hand(),
        effects: machine.effects,
        gui: machine.gui,
        booted: machine.booted,
        mode: machine.mode,
        boot,
    }
}

impl Report for Glance {
    const SCHEMA: &'static str = "agxpatch.simulate/1";

    fn exit(&self) -> Exit {
        match self.boot {
            Some(Boot::Panic { .. } | Boot::WithoutWindows { .. }) => Exit::Mismatch,
            _ => Exit::Success,
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.boot {
            Some(Boot::Panic { reason }) => writeln!(out, "The boot panicked: {reason}")?,
            Some(Boot::WithoutWindows { reason, .. }) => {
                writeln!(out, "The Mac is up and its screen is black: {reason}")?;
            }
            Some(Boot::Up { .. }) | None => {}
        }
        let state = match &self.mode {
            Mode::Running => "running".to_owned(),
            Mode::Safe => "running in safe mode".to_owned(),
            Mode::Recovery => "in recoveryOS".to_owned(),
            Mode::Off => "off".to_owned(),
            Mode::Panicked(reason) => format!("panicked: {reason}"),
        };
        writeln!(out, "macOS {}, {state}", self.release)?;
        writeln!(out, "  booted     {}", self.booted)?;
        writeln!(out, "  next boot  {}", self.next_boot.as_deref().unwrap_or("nothing to boot"))?;
        for name in &self.snapshots {
            writeln!(out, "  snapshot   {name}")?;
        }
        for at in &self.mounted {
            writeln!(out, "  mounted    {at}")?;
        }
        writeln!(out, "  effects    {}", self.effects)
    }
}
