//! The table of error codes: number, exit code, meaning.
//!
//! The hundreds tell the part: 01 reading Mach-O, 02 signatures, 03 patches, 04
//! code signatures, 05 proofs, 06 the machine, 07 deployment, 08 running with
//! the guard, 09 crash reports and stress, 10 files and the command line.
//! Numbers are never reused.

use std::fmt;

use crate::exit::Exit;

macro_rules! codes {
    ($($number:literal $name:ident $exit:ident $meaning:literal)*) => {
        /// A stable error number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// As printed, such as `AGX-0101`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => concat!("AGX-", $number),)* }
            }

            /// What the code stands for, in a few words.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => $meaning,)* }
            }

            /// How the program ends with it.
            pub fn exit(self) -> Exit {
                match self { $(Code::$name => Exit::$exit,)* }
            }
        }
    };
}

codes! {
    "0101" NotMachO        Unsupported "the file is not a Mach-O this tool reads"
    "0102" Malformed       Unsupported "a structure contradicts itself or leaves the file"
    "0103" ReadersDisagree Unsupported "two independent readers see different things in the file"
    "0104" Encrypted       Unsupported "the code is encrypted"
    "0105" NoSlice         Unsupported "the file has no slice for the requested architecture"

    "0201" PatternSyntax   Usage       "the pattern of a signature cannot be read"
    "0202" NoMatch         NotFound    "the sequence does not occur"
    "0203" ManyMatches     NotFound    "the sequence occurs more than once"
    "0204" UnknownSignature Usage      "the catalogue has no signature with that name"

    "0301" UnknownPatch    Usage       "the catalogue has no patch with that name"
    "0302" CatalogueBroken Usage       "the catalogue is inconsistent"
    "0303" CannotEncode    Unsupported "the rewrite cannot be encoded at this place"
    "0304" PartlyPatched   Mismatch    "the window holds neither the original nor a known rewrite"
    "0305" ReadBackDiffers Bug         "the disassembler does not read back what was assembled"

    "0401" SignatureMalformed Unsupported "the embedded code signature cannot be read"
    "0402" NoSignature        Unsupported "the slice has no code signature to reseal"
    "0403" SignatureNoRoom    Unsupported "the new signature does not fit where the old one was"
    "0404" SignatureUnsupported Unsupported "this tool cannot reseal this kind of code signature"
    "0405" ChangeNotCovered   Unsupported "a change lies outside what the code signature covers"
    "0406" SignatureBroken    Mismatch    "the code signature does not match the bytes it covers"

    "0501" Unproven        Unproven    "an obligation of the proof does not hold"
    "0502" NotUnderstood   Unproven    "the function contains something the proof does not model"
    "0503" UnresolvedBranch Unproven   "cannot determine the targets of an indirect branch"
    "0504" LoopInWindow    Unproven    "the window to rewrite contains a loop"
    "0509" NoProofFor      Unproven    "no proof exists for this signature or image"
    "0510" StepUnknown     Unproven    "an instruction in the window has an unknown effect on other threads"
    "0511" WindowLeft      Unproven    "a path leaves the window other than at its end"
    "0512" SceneTooLarge   Usage       "more threads or steps than the interleaving checker supports"

    "0601" NotAMac         Unsupported "this computer is not a Mac"
    "0602" ToolFailed      Io          "a system tool failed"
    "0603" UnknownAnswer   Unsupported "unexpected output from a system tool"
    "0604" PathRefused     Blocked     "a path is a symbolic link, or other users can change it"
    "0605" PathMissing     Io          "a file or directory is missing"
    "0606" PathExists      Blocked     "a file or directory already exists"
    "0607" HostIo          Io          "file I/O failed on this machine"
    "0608" Locked          Blocked     "another agxpatch is running on this machine"
    "0609" NoTerminal      Blocked     "a system tool needs input, but there is no terminal"
    "0611" NoSimulation    Usage       "the directory holds no simulated Mac, or holds one already"
    "0612" NoDriver        Unsupported "this Mac's GPU does not use a driver that this program supports"
    "0613" ToolTimedOut    Io          "a system tool timed out"
    "0614" NotRecorded     Unsupported "the recording of a Mac does not answer this question"
    "0615" BadRecording    Usage       "the file is not a recording that this version can read"
    "0616" ReplayOnly      Blocked     "a recorded Mac only answers questions"
    "0650" NotLoaded       Mismatch    "dyld refused to load the library"

    "0701" NotRoot         Blocked     "only root may do this"
    "0702" NotReady        Blocked     "conditions on this machine block the change"
    "0703" WindowsLost     Blocked     "with library validation on, the screen would stay black"
    "0704" NoConsent       Usage       "the plan was not confirmed"
    "0705" PlanChanged     Mismatch    "the plan is not the one that was confirmed"
    "0706" WrongState      Mismatch    "the machine's state does not allow this"
    "0707" Interrupted     Blocked     "an earlier run was interrupted and must be recovered first"
    "0708" Altered         Mismatch    "a file that agxpatch keeps has changed"
    "0709" RolledBack      RolledBack  "a step failed and the completed steps were undone"
    "0710" HalfDone        Io          "a step failed and not everything could be undone or finished"
    "0711" NoWayBack       Blocked     "there is no sealed snapshot or original to return to"
    "0712" WrongVolume     Mismatch    "the live volume is not the one the plan was made for"
    "0713" SnapshotMissing Io          "the new snapshot is not listed"
    "0714" MountRefused    Blocked     "the live system volume cannot be mounted for writing"
    "0715" OriginalNotKept Blocked     "the patched driver could not bring its original code back"

    "0801" GuardNeedsMac    Blocked     "the guard and the patched driver run on macOS only"
    "0802" GuardDropped     Blocked     "dyld would drop the guard library in this program"
    "0803" GuardKills       Blocked     "the program would not start with the guard library"
    "0804" NoGuardLibrary   Blocked     "this build does not include the guard library"
    "0805" CommandNotFound  CommandMissing "there is no such program"
    "0806" NotExecutable    CommandNotExecutable "the program cannot be executed"
    "0807" ChainTooLong     Unsupported "the chain of interpreters does not end"
    "0808" ShimLeadsNowhere CommandMissing "a pyenv shim does not lead to a program"
    "0809" RunAsRoot        Blocked     "the driver is never copied as root"
    "0810" PlaceNotOurs     Blocked     "other users can change a folder that this tool keeps files in"
    "0811" NoDriverToCopy   Unsupported "the system's driver cannot be copied and patched"
    "0812" CommandNotStarted Io         "the command cannot be started"
    "0813" CallsRefused     Mismatch    "GPU calls were refused"

    "0901" NoReports        Io        "a folder of crash reports cannot be read"
    "0902" BadMark          Usage     "this tool did not write the mark"
    "0903" BadConfiguration Usage     "the comparison names an unknown configuration"
    "0904" ChildNotStarted  Io        "the workload cannot be started"
    "0905" BadStressReport  Usage     "this tool did not write the stress report"
    "0906" WorkloadAsRoot   Blocked   "a workload is never run as root"

    "1001" ReadFailed      Io          "the input cannot be read"
    "1002" WriteFailed     Io          "the output cannot be written"
    "1003" OutputExists    Usage       "the output already exists"
    "1004" BadArgument     Usage       "the command line is not valid"
    "1005" VerifyFailed    Mismatch    "the file is not a correctly patched driver"
    "1070" Bug             Bug         "a defect in agxpatch"
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
