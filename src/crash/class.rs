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
    /// The previous encoder's `_impl`, read by the command buffer.
    NullAtCoalescing "null-impl-coalescing" "-" NullImpl "NULL _impl of the encoder before, read while coalescing"
    /// A NULL with an offset in an encoder's code, on a driver whose offsets are unknown.
    NullAtUnknownOffset "null-impl-unknown-offset" "-" NullImpl "NULL _impl suspected; this driver's offsets are not known"
    /// A message to an encoder that was freed.
    FreedEncoder "freed-encoder" "E" FreedEncoder "message to a freed encoder"
    /// Another object, released or retained by GPU code after it was freed.
    FreedObject "freed-object" "-" FreedEncoder "object released too often, in GPU code"
    /// The driver followed a pointer that was overwritten or freed.
    WildPointer "wild-pointer" "-" FreedEncoder "invalid pointer inside the driver"
    /// Metal found the caller, or itself, in a state that must not be.
    Assertion "metal-assertion" "F" Assertion "Metal assertion"
    /// IOGPU's storage of a command buffer's commands and resources.
    CommandStorage "iogpu-storage" "-" Assertion "IOGPU's command buffer storage is inconsistent"
    /// The process never came to run.
    LaunchAbort "launch-abort" "G" NotTheDriver "abort at launch"
    /// A trap instruction with GPU code on the stack.
    Trap "trap" "H" Trap "trap under GPU code"
    /// A nil pipeline passed by the caller; the near miss of class A.
    NilPipeline "nil-pipeline" "-" NotTheDriver "nil pipeline passed by the caller"
    /// The GPU ended a command buffer with an error, and the program ended itself.
    CommandFailed "command-failed" "-" CommandFailed "GPU command buffer failed"
    /// The GPU itself faulted or hung and was restarted.
    GpuRestart "gpu-restart" "-" GpuRestart "GPU restarted"
    /// The kernel panicked in code of the GPU.
    GpuPanic "gpu-panic" "-" GpuRestart "kernel panic in GPU code"
    /// The shader compiler died.
    ShaderCompiler "shader-compiler" "-" OtherGpu "shader compiler crashed"
    /// An exception that GPU code threw and that was not caught.
    GpuException "gpu-exception" "-" OtherGpu "exception thrown in GPU code"
    /// A bad access that a handler of the program's turned into another death.
    HandledBadAccess "handled-bad-access" "-" OtherGpu "bad access in GPU code, passed on by a signal handler"
    /// An encoder of Metal 4, which has no pool.
    Metal4Context "metal4-context" "-" OtherGpu "bad access in a Metal 4 encoder"
    /// Code of PyTorch, MLX and the like, not of Apple.
    GpuBackend "gpu-backend" "-" GpuBackend "in the GPU back end of PyTorch, MLX or the like"
    /// GPU code on the stack, and none of the known forms.
    OtherGpu "other-gpu" "-" OtherGpu "in GPU code, no known form"
    /// The program's own code, with GPU code further out.
    ProgramCode "program-code" "-" NotTheDriver "the program's own code, called by GPU code"
    /// No sign of the GPU. The identifier is older than the name.
    Unrelated "not-ours" "-" NotTheDriver "unrelated to the GPU"
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
    /// The GPU or its kernel driver ended a command buffer.
    CommandFailed,
    /// The GPU was restarted; nothing in the process decides that.
    GpuRestart,
    /// The program's back end for the GPU, not Apple's software.
    GpuBackend,
    /// Something else in GPU code.
    OtherGpu,
    /// Not a matter of the GPU software.
    NotTheDriver,
    /// The report does not say.
    Unreadable,
}

impl Family {
    /// Every family, most telling first.
    pub const ALL: [Family; 10] = [
        Family::NullImpl,
        Family::FreedEncoder,
        Family::Assertion,
        Family::Trap,
        Family::CommandFailed,
        Family::GpuRestart,
        Family::GpuBackend,
        Family::OtherGpu,
        Family::NotTheDriver,
        Family::Unreadable,
    ];

    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Family::NullImpl => "NULL _impl",
            Family::FreedEncoder => "freed object",
            Family::Assertion => "Metal assertion",
            Family::Trap => "trap",
            Family::CommandFailed => "command buffer failed",
            Family::GpuBackend => "program's GPU back end",
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
