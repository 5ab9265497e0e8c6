//! What may go wrong, and when.
//!
//! Every effect on the simulated Mac is counted. A fault strikes at one number,
//! so that a test can strike at each in turn and know that it missed none.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::SimulatedMac;
use super::volume::Loss;

/// How far an effect gets before it is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// It has not begun.
    Before,
    /// Half of it is done: part of the bytes written, the snapshot made and not
    /// tagged, the tag cleared and the password not asked for.
    Midway,
    /// It is done; its caller does not get to hear of it.
    After,
}

impl Reach {
    /// Every reach.
    pub const ALL: [Reach; 3] = [Reach::Before, Reach::Midway, Reach::After];
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Fault {
    /// The effect fails with `EIO` and does nothing.
    InputOutput,
    /// The effect fails with `ENOSPC`; a write has left half its bytes.
    NoSpace,
    /// The Mac loses power.
    Power {
        /// How far the effect got.
        reach: Reach,
        /// What becomes of unforced writes.
        loss: Loss,
    },
    /// The process is killed; the Mac goes on. With a Mac kept in a directory
    /// the process really is, by `SIGKILL`.
    Kill {
        /// How far the effect got.
        reach: Reach,
    },
    /// The effect is done, and the process gets a signal that it may answer. Only a
    /// process on a Mac kept in a directory really does.
    Signal {
        /// Which.
        signal: Asking,
    },
}

/// Signals that ask a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Asking {
    /// Ctrl-C.
    Interrupt,
    /// `kill`.
    Terminate,
    /// The terminal or the connection is gone.
    HangUp,
}

impl Asking {
    pub(super) fn raise(self) {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let number = match self {
            Asking::Interrupt => SIGINT,
            Asking::Terminate => SIGTERM,
            Asking::HangUp => SIGHUP,
        };
        // It names a signal there is, so nothing can fail.
        drop(signal_hook::low_level::raise(number));
    }
}

impl Fault {
    /// Every way in which an effect fails or is cut off.
    pub fn all() -> Vec<Fault> {
        let mut all = vec![Fault::InputOutput, Fault::NoSpace];
        for reach in Reach::ALL {
            all.push(Fault::Kill { reach });
            all.extend(Loss::ALL.map(|loss| Fault::Power { reach, loss }));
        }
        all
    }

    /// Whether the process that makes the effect never hears of its outcome.
    pub fn is_crash(&self) -> bool {
        matches!(self, Fault::Power { .. } | Fault::Kill { .. })
    }
}

/// Hears of each Mac that being cut off leaves: at which effect of its life, by
/// what, and the Mac, seen by a new process or without power.
pub type FaultObserver = Arc<dyn Fn(u64, Fault, SimulatedMac) + Send + Sync>;

/// A fault and the effect it strikes at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The number of the effect, counted from 1 over the Mac's whole life (see
    /// [`super::SimulatedMac::effects`]).
    pub at: u64,
    /// What happens.
    pub fault: Fault,
}
