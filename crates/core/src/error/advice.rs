//! What to do about an error whose place in the program knows nothing better.
//!
//! Where the context decides, the place says it, and where it always does, there
//! is nothing here.

use super::Code;

/// For what this program does wrong itself.
const REPORT: &str = "this is a defect of agxpatch: report it with the command and all it printed";

/// For what the proof does not allow.
const UNTRUSTED: &str = "nothing was changed: the rewrite cannot be trusted in this build; report it \
                         with what `agxpatch inspect` says of the file";

/// For signatures that cannot be renewed in place.
const SIGN_AGAIN: &str =
    "nothing was changed; sign the file again first, for instance with `codesign -s -` on a Mac";

impl Code {
    /// What to do, in a sentence, if nothing more is known.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Code::NoSlice => "`agxpatch inspect` says which slices a file has",
            Code::NoMatch => "this build of the driver may hold other code; nothing was changed",
            Code::UnknownPatch => "`agxpatch signatures list` shows the patches there are",
            Code::CatalogueBroken => {
                "correct it; docs/signatures.md says what a catalogue may hold"
            }
            Code::CannotEncode => "nothing was changed; the rewrite must be one for such a place",
            Code::SignatureMalformed
            | Code::SignatureNoRoom
            | Code::SignatureUnsupported
            | Code::ChangeNotCovered => SIGN_AGAIN,
            Code::Unproven
            | Code::NotUnderstood
            | Code::UnresolvedBranch
            | Code::LoopInWindow
            | Code::StepUnknown
            | Code::WindowLeft => UNTRUSTED,
            Code::SceneTooLarge => "ask for fewer threads",
            Code::WriteFailed => "see whether the directory exists, is yours, and has room",
            Code::ReadBackDiffers | Code::Bug => REPORT,
            _ => return None,
        })
    }
}
