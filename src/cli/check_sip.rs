//! `agxpatch check-sip`: which protections are on.

use std::io::{self, Write};

use serde::Serialize;

use super::Session;
use crate::report::Report;
use crate::report::style::{BAD, FAINT, GOOD, RESET, STRONG, WARN};
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_host::CsrConfig;
use agxpatch_host::sip::{Sip, Word};

/// Show which system protections are enabled
#[derive(clap::Args, Debug)]
pub struct Args {}

/// One bit, for scripts.
#[derive(Serialize)]
struct BitState {
    mask: String,
    name: &'static str,
    protection: Option<&'static str>,
    allowed: bool,
    needed: bool,
}

#[derive(Serialize)]
struct Protections {
    /// Whether a change of the system volume is allowed as far as these go.
    sufficient: bool,
    needed: CsrConfig,
    missing: CsrConfig,
    #[serde(flatten)]
    sip: Sip,
    all_bits: Vec<BitState>,
}

/// Runs the command.
pub fn run(_: Args, session: &Session) -> Result<Exit> {
    let host = session.host()?;
    let sip = Sip::ask(host.as_ref())?;
    let state = |bit: &agxpatch_host::csr::Bit| BitState {
        mask: CsrConfig(bit.mask).to_string(),
        name: bit.name,
        protection: bit.protection,
        allowed: sip.bits.0 & bit.mask != 0,
        needed: CsrConfig::NEEDED_FOR_SYSTEM.0 & bit.mask != 0,
    };
    let all_bits = CsrConfig::BITS.iter().map(state).collect();
    let missing = sip.missing();
    let needed = |bit: &str| CsrConfig::NEEDED_FOR_SYSTEM.bits().any(|needed| needed.name == bit);
    let agreed = !sip.disagreements.iter().any(|disagreement| needed(disagreement.bit));
    session.show(&Protections {
        sufficient: missing == CsrConfig::PROTECTED && agreed,
        needed: CsrConfig::NEEDED_FOR_SYSTEM,
        missing,
        sip,
        all_bits,
    })
}

impl Report for Protections {
    const SCHEMA: &'static str = "agxpatch.check-sip/1";

    fn exit(&self) -> Exit {
        if self.sufficient { Exit::Success } else { Exit::Blocked }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let source = if self.sip.from_kernel { "from the kernel" } else { "from csrutil's text" };
        writeln!(
            out,
            "{STRONG}System Integrity Protection{RESET}: bits {}, {source}",
            self.sip.bits
        )?;
        let shown = self.all_bits.iter().filter(|bit| bit.allowed || bit.needed);
        for bit in shown {
            let (colour, word) = if bit.allowed { (GOOD, "off") } else { (BAD, "on ") };
            let needed = if bit.needed { " (must be off to change the system volume)" } else { "" };
            let name = bit.protection.unwrap_or(bit.name);
            writeln!(out, "  {colour}{word}{RESET}  {:>6}  {name}{needed}", bit.mask)?;
        }
        let root = if self.sip.authenticated_root { "on" } else { "off" };
        writeln!(out, "Authenticated root: {root}")?;
        if let Some(csrutil) = &self.sip.csrutil {
            let word = match csrutil.word {
                Word::Enabled => "enabled",
                Word::Disabled => "disabled",
                Word::Unknown => "unknown",
            };
            let qualifier = csrutil.qualifier.as_ref();
            let qualifier = qualifier.map(|text| format!(" ({text})")).unwrap_or_default();
            writeln!(out, "{FAINT}csrutil says: {word}{qualifier}{RESET}")?;
        }
        for missing in &self.sip.unanswered {
            writeln!(out, "{FAINT}no second opinion: {missing}{RESET}")?;
        }
        for disagreement in &self.sip.disagreements {
            let says = |allows: bool| if allows { "off" } else { "on" };
            writeln!(
                out,
                "{WARN}disagreement{RESET} on {}: the kernel says {}, csrutil says {}",
                disagreement.bit,
                says(disagreement.kernel_allows),
                says(disagreement.csrutil_allows)
            )?;
        }
        if self.sufficient {
            writeln!(out, "No protection blocks changes to the system volume.")
        } else {
            writeln!(
                out,
                "The system volume cannot be changed; `agxpatch doctor` says what can be done."
            )
        }
    }
}
