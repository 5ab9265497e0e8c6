//! The patch engine's opinion of a driver.

use agxpatch_core::check::{Check, Status};
use agxpatch_core::edit::sha256;
use agxpatch_core::error::Code;
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{Engine, KnownState, MatchResult, Site, State};
use agxpatch_core::proof;

use super::{Judge, Verdict};
use crate::by_meaning;

/// Judges by the catalogue first, by the sequence and its proof next, and where no
/// signature describes the driver by what its methods do.
pub struct EngineJudge<'a> {
    /// Looks for the sequence and plans its rewrite.
    pub engine: &'a Engine,
}

impl Judge for EngineJudge<'_> {
    fn judge(&self, bytes: &[u8]) -> Verdict {
        let refused = |reason: String| Verdict::Refused { reason };
        let file = match Universal::parse(bytes) {
            Ok(file) => file,
            Err(error) => return refused(error.to_string()),
        };
        let digest = sha256(bytes);
        if let Some(known) = self.engine.catalogue().known_build(&digest, &file) {
            let name = format!("{} {} of macOS {}", known.driver, known.version, known.macos);
            if known.state == KnownState::Original {
                return Verdict::Listed { name };
            }
        }
        let sighting = self.engine.find_any(&file).and_then(MatchResult::sites);
        match sighting {
            Err(absent) if absent.code() == Code::NoMatch => {
                by_meaning::verdict(self.engine, &file, absent)
            }
            Err(error) => refused(error.to_string()),
            Ok(found) => match found.state() {
                Some(State::Patched { patch }) => Verdict::Patched { patch: patch.clone() },
                _ => self.unlisted(&file, &found.sites),
            },
        }
    }
}

impl EngineJudge<'_> {
    /// The verdict on sites that no list knows: the worst of them all.
    fn unlisted(&self, file: &Universal<'_>, sites: &[Site]) -> Verdict {
        let at: Vec<String> = sites.iter().map(|s| s.place.window.start.to_string()).collect();
        let found = format!("the sequence occurs at {}", at.join(" and "));
        let proofs = sites.iter().map(|site| proof::check_default(self.engine, file, site));
        let worst = |proof: &Check| match proof.status {
            Status::Fail => 2,
            Status::Skipped => 1,
            Status::Pass => 0,
        };
        match proofs.max_by_key(worst) {
            Some(Check { status: Status::Fail, detail, .. }) => Verdict::Refused {
                reason: format!("not listed; {found}, and the proof refuses: {detail}"),
            },
            Some(Check { status: Status::Skipped, detail, .. }) => {
                Verdict::Unjudged { reason: format!("not listed; {found}; no proof: {detail}") }
            }
            _ => Verdict::Provable { found },
        }
    }
}
