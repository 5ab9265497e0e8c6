//! The steps of everything that changes the machine: one table.
//!
//! The journal names steps from it, the plan shows them, recovery goes by it,
//! and the test that replays a deployment against `tla/journal.tla` takes the
//! sequences from it.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

macro_rules! steps {
    ($($name:ident $word:literal [$($model:literal)*] $about:literal)*) => {
        /// One step.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Step {
            $(#[doc = $about] $name,)*
        }

        impl Step {
            /// Every step.
            pub const ALL: &'static [Step] = &[$(Step::$name,)*];

            /// As the journal has it.
            pub fn name(self) -> &'static str {
                match self { $(Step::$name => $word,)* }
            }

            /// What is done, for people.
            pub fn about(self) -> &'static str {
                match self { $(Step::$name => $about,)* }
            }

            /// The steps of `tla/journal.tla` it stands for; none where the model
            /// leaves out what it changes.
            pub fn model(self) -> &'static [&'static str] {
                match self { $(Step::$name => &[$($model),*],)* }
            }
        }
    };
}

steps! {
    Lock     "lock"     ["lock"]           "take the lock, so that no other agxpatch is at work"
    Journal  "journal"  ["journal"]        "record the operation in the journal"
    Backup   "backup"   ["backup"]         "keep the original driver and read it back"
    RecoveryKit "kit"   []                 "write the script and the original for recoveryOS"
    Stage    "stage"    ["stage"]          "write the patched, re-signed copy and read it back"
    Mount    "mount"    ["mount"]          "mount the live system volume in a private directory"
    Recheck  "recheck"  ["recheck"]        "check again that build and driver there are the expected ones"
    StageInPlace "beside"   ["beside"]         "write the new driver next to the old one and flush it"
    Rename   "rename"   ["rename"]         "give it the driver's name"
    ReadBack "readback" ["readback"]       "read it back by that name, and have codesign check it in its bundle"
    Manifest "manifest" ["manifest"]       "write the manifest on both volumes"
    Snapshot "snapshot" ["snapshot" "tag"] "make a snapshot of the live volume and choose it for the next boot"
    Confirm  "confirm"  ["confirm"]        "check that the snapshot exists"
    Undoing  "undoing"  ["undoing"]        "note in the journal that the change is being undone"
    Restore  "restore"  ["restore"]        "put the original driver back on the live volume"
    RemoveManifests   "unmark"   ["unmark"]         "remove the manifests"
    SelectSealedSnapshot "seal"     ["seal"]           "choose Apple's sealed snapshot for the next boot"
    Unmount  "unmount"  ["unmount"]        "unmount the live system volume"
    Unstage  "unstage"  ["unstage"]        "remove the patched copy"
    RemoveKit    "unkit"    []                 "remove the recovery kit, where nothing needs it"
    Pending  "pending"  ["pending"]        "record whether a restart is due"
    Close    "close"    ["close"]          "close the journal"
}

impl Step {
    /// The step of that name.
    pub fn named(name: &str) -> Option<Step> {
        Step::ALL.iter().copied().find(|step| step.name() == name)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Step, D::Error> {
        let name = String::deserialize(deserializer)?;
        Step::named(&name).ok_or_else(|| serde::de::Error::custom(format!("no step {name}")))
    }
}

/// A sequence of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Puts the patched driver in force.
    Deploy,
    /// Takes back a deployment that has touched the live volume.
    Undo,
    /// Takes back a deployment that has not.
    Cancel,
    /// Completes a deployment whose snapshot may not have been made.
    Complete,
    /// Tidies up after a deployment whose snapshot is made and chosen.
    Finish,
    /// Takes a deployment back.
    Revert,
}

impl Operation {
    /// Every sequence.
    pub const ALL: [Operation; 6] = [
        Operation::Deploy,
        Operation::Undo,
        Operation::Cancel,
        Operation::Complete,
        Operation::Finish,
        Operation::Revert,
    ];

    /// Its steps, in order.
    pub fn steps(self) -> &'static [Step] {
        use Step::*;
        match self {
            Operation::Deploy => &[
                Lock,
                Journal,
                Backup,
                RecoveryKit,
                Stage,
                Mount,
                Recheck,
                StageInPlace,
                Rename,
                ReadBack,
                Manifest,
                Snapshot,
                Confirm,
                Unmount,
                Unstage,
                Pending,
                Close,
            ],
            Operation::Undo => &[
                Lock,
                Undoing,
                Mount,
                Restore,
                RemoveManifests,
                SelectSealedSnapshot,
                Unmount,
                Unstage,
                RemoveKit,
                Pending,
                Close,
            ],
            Operation::Cancel => &[Lock, Undoing, Unmount, Unstage, RemoveKit, Pending, Close],
            Operation::Complete => &[
                Lock, Mount, ReadBack, Manifest, Snapshot, Confirm, Unmount, Unstage, Pending,
                Close,
            ],
            Operation::Finish => &[Lock, Unmount, Unstage, Pending, Close],
            Operation::Revert => &[
                Lock,
                Journal,
                Mount,
                Restore,
                RemoveManifests,
                SelectSealedSnapshot,
                Unmount,
                Pending,
                Close,
            ],
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Deploy => "deploy",
            Operation::Undo => "undo",
            Operation::Cancel => "cancel",
            Operation::Complete => "complete",
            Operation::Finish => "finish",
            Operation::Revert => "revert",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Hears of each step as it begins and ends.
pub trait Progress {
    /// A step begins.
    fn begins(&self, operation: Operation, step: Step) {
        let _ = (operation, step);
    }

    /// A step is done.
    fn ends(&self, operation: Operation, step: Step) {
        let _ = (operation, step);
    }

    /// Whether the user wants the operation given up, and why. Asked before each
    /// step as long as giving up is cheap: until a snapshot is made.
    fn gives_up(&self) -> Option<&'static str> {
        None
    }
}

/// No listener.
impl Progress for () {}
