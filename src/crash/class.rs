//! The classes a crash is sorted into, in one table.
//!
//! The letters are those of the published collection of this driver's crashes;
//! the classes without one are needed to keep the lettered ones honest.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident $id:literal $letter:literal $family:ident $title:literal)*) => {
        /// What kind of crash a report tells of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Class {
            $($(#[$doc])* #[serde(rename = $id)] $name,)*
        }

        impl Class {
            /// Every class, in the order of the table.
            pub const ALL: &'static [Class] = &[$(Class::$name,)*];

            /// Stable name; scripts may select by it.
            pub fn id(self) -> &'static str {
                match self { $(Class::$name => $id,)* }
            }

            /// The published letter, or `-`.
            pub fn letter(self) -> &'static str {
                match self { $(Class::$name => $letter,)* }
            }

            /// The kind of defect behind it.
            pub fn family(self) -> Family {
                match self { $(Class::$name => Family::$family,)* }
            }

            /// What happened, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Class::$name => $title,)* }
            }
        }
    };
}

classes! {
    /// NULL `_impl` read at offset 0x5c8.
    NullAtSetPipeline "null-impl-set-pipeline" "A" NullImpl "NULL _impl in setComputePipelineState:"
    /// NULL `_impl` read at offset 0x98.
    NullAtPrepare "null-impl-prepare" "B" NullImpl "NULL _impl in prepareForEnqueue"
    /// NULL `_impl` written at offset 0x184.
    NullAtSpill "null-impl-spill" "C" NullImpl "NULL _impl in allocateUSCSpillBuffer"
    /// NULL `_impl` at offset 0x5f4.
    NullAtDispatch "null-impl-dispatch" "D" NullImpl "NULL _impl in dispatchThreads:threadsPerThreadgroup:"
    /// NULL `_impl` in a setter.
    NullAtSetBuffer "null-impl-set-buffer" "I" NullImpl "NULL _impl in setBuffer:offset:atIndex:"
    /// A known `_impl` offset read in another method of a compute encoder.
    NullElsewhere "null-impl-elsewhere" "-" NullImpl "NULL _impl in another encoder method"
    /// A message to an encoder that was freed.
    FreedEncoder "freed-encoder" "E" FreedEncoder "message to a freed encoder"
    /// Metal found the caller, or itself, in a state that must not be.
    Assertion "metal-assertion" "F" Assertion "Metal assertion"
    /// The process never came to run.
    LaunchAbort "launch-abort" "G" NotTheDriver "abort at launch"
    /// A trap instruction with GPU code on the stack.
    Trap "trap" "H" Trap "trap under GPU code"
    /// A nil pipeline handed in by the caller; the near miss of class A.
    NilPipeline "nil-pipeline" "-" NotTheDriver "nil pipeline passed by the caller"
    /// The GPU itself faulted or hung and was restarted.
    GpuRestart "gpu-restart" "-" GpuRestart "GPU restarted"
    /// GPU code on the stack, and none of the known forms.
    OtherGpu "other-gpu" "-" OtherGpu "in GPU code, no known form"
    /// No sign of the GPU.
    NotOurs "not-ours" "-" NotTheDriver "not ours"
    /// The report cannot be understood.
    Unreadable "unreadable" "-" Unreadable "unreadable"
}

/// What kind of defect a class points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// The encoder's `_impl` was cleared while a method was using it.
    NullImpl,
    /// The encoder object was freed while it was in use.
    FreedEncoder,
    /// Metal's own checks stopped the process.
    Assertion,
    /// A trap instruction, for which reports give no reason.
    Trap,
    /// The GPU was restarted; nothing in the process decides that.
    GpuRestart,
    /// Something else in GPU code.
    OtherGpu,
    /// Not a matter of the driver.
    NotTheDriver,
    /// Nobody can say.
    Unreadable,
}

impl Family {
    /// Every family, most telling first.
    pub const ALL: [Family; 8] = [
        Family::NullImpl,
        Family::FreedEncoder,
        Family::Assertion,
        Family::Trap,
        Family::GpuRestart,
        Family::OtherGpu,
        Family::NotTheDriver,
        Family::Unreadable,
    ];

    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Family::NullImpl => "NULL _impl",
            Family::FreedEncoder => "freed encoder",
            Family::Assertion => "Metal assertion",
            Family::Trap => "trap",
            Family::GpuRestart => "GPU restart",
            Family::OtherGpu => "other GPU code",
            Family::NotTheDriver => "not the driver",
            Family::Unreadable => "unreadable",
        }
    }

    /// Whether it counts against the GPU software of the process that died.
    pub fn counts(self) -> bool {
        !matches!(self, Family::NotTheDriver | Family::Unreadable)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}
