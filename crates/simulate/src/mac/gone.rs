//! What becomes of a caller whose Mac is gone.
//!
//! A process on a Mac that loses its power, and a process that is killed, hear
//! nothing more: the call they are in never returns. An error would be something to
//! answer, and the program would need branches that no real machine can lead it
//! into. So the Mac ends its caller instead, by what it was given for that
//! ([`SimulatedMac::ended_by`](super::SimulatedMac::ended_by)): a program ends its
//! process, and a test unwinds to [`survive`], as it does where nothing was given.

use std::convert::Infallible;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use super::fault::Fault;
use super::machine::Mode;
use agxpatch_core::error::{Code, Error};

/// Why a call on a simulated Mac does not return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The process was killed; else the Mac is not up.
    pub killed: bool,
    /// What the Mac does since.
    pub mode: Mode,
    /// The fault that struck within this call, and the number of the effect.
    pub struck: Option<(Fault, u64)>,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.struck, self.killed) {
            (Some(_), false) => "the simulated Mac lost its power",
            (_, true) => "the process on the simulated Mac was killed",
            (None, false) => "the simulated Mac is not running",
        })
    }
}

/// Ends the caller of a Mac that is gone, and does not return. The Mac's state has been
/// kept by then.
pub type EndCaller = Arc<dyn Fn(&Gone) -> Infallible + Send + Sync>;

/// Unwinds to [`survive`], and runs no panic hook.
pub(super) fn unwinding() -> EndCaller {
    Arc::new(|gone| panic::resume_unwind(Box::new(gone.clone())))
}

/// Runs the work of one process and returns how it ended: with a result, or cut off.
/// Any other panic goes on.
///
/// # Errors
/// Why the Mac was gone.
pub fn survive<T>(work: impl FnOnce() -> T) -> Result<T, Gone> {
    // Only the Mac outlives the process, and its state is only ever replaced whole.
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Ok(result),
        Err(payload) => match payload.downcast::<Gone>() {
            Ok(gone) => Err(*gone),
            Err(payload) => panic::resume_unwind(payload),
        },
    }
}

/// What a destructor is told that asks the Mac during an unwinding, which must not
/// unwind again.
pub(super) fn no_answer(gone: &Gone) -> Error {
    Error::new(Code::HostIo, gone.to_string())
}
