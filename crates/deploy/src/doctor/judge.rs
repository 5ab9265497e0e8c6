//! The patch engine's opinion of a driver.

use agxpatch_core::check::Status;
use agxpatch_core::codesign::HashType;
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{Engine, KnownState, Sighting, Site, State};
use agxpatch_core::proof;

use super::{Judge, Verdict};

/// Judges by the catalogue first, by the sequence and its proof otherwise.
pub struct EngineJudge<'a> {
    /// Looks for the sequence and plans its rewrite.
    pub engine: &'a Engine,
}

impl Judge for EngineJudge<'_> {
    fn judge(&self, bytes: &[u8]) -> Verdict {
        let refused = |reason: String| Verdict::Refused { reason };
        let digest = HashType::Sha256.digest([bytes]).to_string();
        if let Some(known) = self.engine.catalogue().known_build(&digest) {
            let name = format!("{} {} of macOS {}", known.driver, known.version, known.macos);
            if known.state == KnownState::Original {
                return Verdict::Listed { name };
            }
        }
        let file = match Universal::parse(bytes) {
            Ok(file) => file,
            Err(error) => return refused(error.to_string()),
        };
        let sighting = self.engine.look_for_any(&file).and_then(Sighting::site);
        match sighting {
            Err(error) => refused(error.to_string()),
            Ok(Site { state: State::Patched { patch }, .. }) => Verdict::Patched { patch },
            Ok(site) => self.unlisted(&file, &site),
        }
    }
}

impl EngineJudge<'_> {
    fn unlisted(&self, file: &Universal<'_>, site: &Site) -> Verdict {
        let found = format!("the sequence occurs once, at {}", site.place.window.start);
        let proof = proof::check_default(self.engine, file, site);
        match proof.status {
            Status::Pass => Verdict::Provable { found },
            Status::Fail => Verdict::Refused {
                reason: format!("not listed; {found}, and the proof refuses: {}", proof.detail),
            },
            Status::Skipped => Verdict::Unjudged {
                reason: format!("not listed; {found}; no proof: {}", proof.detail),
            },
        }
    }
}
