//! What to do about an error whose place in the program knows nothing better.
//!
//! Where the context decides, the place says it, and where it always does, there
//! is nothing here.

use super::Code;

/// For what this program does wrong itself.
const REPORT: &str =
    "this is a defect in agxpatch: report it with the command and everything it printed";

/// For what the proof does not allow.
const UNTRUSTED: &str = "nothing was changed: the rewrite cannot be trusted in this build; report it \
                         with what `agxpatch inspect` says of the file";

/// For signatures that cannot be renewed in place.
const SIGN_AGAIN: &str =
    "nothing was changed; sign the file again first, for instance with `codesign -s -` on a Mac";

/// Where only a Mac can answer.
const TRY_SIMULATED: &str = "agxpatch --simulate DIR simulate new --open makes a simulated Mac";

/// For answers of the system that this program did not expect.
const SELFTEST: &str = "agxpatch selftest --report FILE shows what this Mac answers, for a report";

impl Code {
    /// What to do, in a sentence, if nothing more is known.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Code::NoSlice => "`agxpatch inspect` lists the slices of a file",
            Code::OriginalNotKept => {
                "nothing was changed; `agxpatch run --driver patched` patches a copy for one \
                 process, and `agxpatch doctor` lists the other depths"
            }
            Code::NoMatch => {
                "nothing was changed; this build of the driver may contain different code"
            }
            Code::UnknownPatch => "`agxpatch signatures list` lists the patches",
            Code::CatalogueBroken => {
                "correct it; docs/signatures.md describes what a catalogue can contain"
            }
            Code::CannotEncode => {
                "nothing was changed; write a rewrite that fits the code at this place"
            }
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
            Code::NotAMac => TRY_SIMULATED,
            Code::ToolFailed | Code::UnknownAnswer | Code::HostIo | Code::ToolTimedOut => SELFTEST,
            Code::PathRefused | Code::PathMissing | Code::PathExists => {
                "ls -leO@ on the path shows what is there; then run this again"
            }
            Code::Locked => "wait for the other agxpatch; ps -ax | grep agxpatch shows it",
            Code::NoTerminal | Code::NoConsent => "run this in a terminal",
            Code::NoSimulation => TRY_SIMULATED,
            Code::NoDriver | Code::NotReady | Code::WindowsLost => "agxpatch doctor",
            Code::NotRecorded | Code::BadRecording => {
                "make a new recording on the Mac: agxpatch selftest --record FILE"
            }
            Code::ReplayOnly => "run this on the Mac itself, without --replay",
            Code::NotLoaded => "agxpatch selftest --report FILE",
            Code::PlanChanged => "sudo agxpatch deploy --dry-run",
            Code::WrongState | Code::Altered => "sudo agxpatch verify",
            Code::RolledBack => "remove the cause, then run the same command again",
            Code::Interrupted | Code::HalfDone | Code::SnapshotMissing => "sudo agxpatch recover",
            Code::WrongVolume => "sudo agxpatch verify; install a prepared update first",
            Code::NoWayBack => "reinstall macOS from recoveryOS, which keeps your data",
            Code::MountRefused => "agxpatch check-sip",
            Code::WriteFailed => "check that the directory exists, is writable, and has free space",
            Code::ReadBackDiffers | Code::Bug => REPORT,
            _ => return None,
        })
    }
}
