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
    "0105" NoSlice         Unsupported "no slice of the architecture asked for"

    "0201" PatternSyntax   Usage       "a signature's pattern cannot be read"
    "0202" NoMatch         NotFound    "the sequence does not occur"
    "0203" ManyMatches     NotFound    "the sequence occurs more than once"
    "0204" UnknownSignature Usage      "no signature of that name in the catalogue"

    "0301" UnknownPatch    Usage       "no patch of that name in the catalogue"
    "0302" CatalogueBroken Usage       "the catalogue contradicts itself"
    "0303" CannotEncode    Unsupported "the rewrite cannot be encoded at this place"
    "0304" PartlyPatched   Mismatch    "the window holds neither the original nor a known rewrite"
    "0305" ReadBackDiffers Bug         "the disassembler does not read back what was assembled"

    "0401" SignatureMalformed Unsupported "the embedded code signature cannot be read"
    "0402" NoSignature        Unsupported "the slice carries no code signature to reseal"
    "0403" SignatureNoRoom    Unsupported "the new signature does not fit where the old one was"
    "0404" SignatureUnsupported Unsupported "the code signature is of a sort this tool does not reseal"
    "0405" ChangeNotCovered   Unsupported "a change lies where the code signature covers nothing"
    "0406" SignatureBroken    Mismatch    "the code signature does not fit the bytes it covers"

    "0501" Unproven        Unproven    "an obligation of the proof does not hold"
    "0502" NotUnderstood   Unproven    "the function holds something the proof has no meaning for"
    "0503" UnresolvedBranch Unproven   "an indirect branch whose targets cannot be told"
    "0504" LoopInWindow    Unproven    "the window to be rewritten holds a loop"
    "0509" NoProofFor      Unproven    "the proof is not about this signature or image"
    "0510" StepUnknown     Unproven    "an instruction of the window has an effect on other threads that is not known"
    "0511" WindowLeft      Unproven    "a path leaves the window elsewhere than at its end"
    "0512" SceneTooLarge   Usage       "more threads or steps than the interleaving checker takes"

    "0601" NotAMac         Unsupported "this computer is not a Mac"
    "0602" ToolFailed      Io          "a tool of the system did not succeed"
    "0603" UnknownAnswer   Unsupported "a tool of the system answered in an unknown form"
    "0604" PathRefused     Blocked     "a path is a link, or others can change it"
    "0605" PathMissing     Io          "a file or directory of the machine is missing"
    "0606" PathExists      Blocked     "a file or directory of the machine is in the way"
    "0607" HostIo          Io          "the machine failed at reading or writing"
    "0608" Locked          Blocked     "another agxpatch is at work on this machine"
    "0609" NoTerminal      Blocked     "a tool must ask a person and there is no terminal"
    "0611" NoSimulation    Usage       "the directory holds no simulated Mac, or holds one already"
    "0612" NoDriver        Unsupported "the GPU of this Mac has no driver that this program is for"
    "0613" ToolTimedOut    Io          "a tool of the system did not end in time"
    "0614" NotRecorded     Unsupported "the recording of a Mac does not answer this question"
    "0615" BadRecording    Usage       "the file is not a recording of a Mac that this version reads"
    "0616" ReplayOnly      Blocked     "a recorded Mac only answers questions"
    "0650" NotLoaded       Mismatch    "the loader does not take the library"

    "0701" NotRoot         Blocked     "only root may do this"
    "0702" NotReady        Blocked     "conditions of this machine stand in the way"
    "0703" WindowsLost     Blocked     "with library validation on, the screen would stay black"
    "0704" NoConsent       Usage       "the plan was not agreed to"
    "0705" PlanChanged     Mismatch    "the plan is not the one that was agreed to"
    "0706" WrongState      Mismatch    "the machine is not in a state this can be done from"
    "0707" Interrupted     Blocked     "an earlier run was interrupted and must be recovered first"
    "0708" Altered         Mismatch    "a file agxpatch keeps is not what it was"
    "0709" RolledBack      RolledBack  "a step failed and what had been done was undone"
    "0710" HalfDone        Io          "a step failed and not everything could be undone or finished"
    "0711" NoWayBack       Blocked     "there is no sealed snapshot or no original to go back to"
    "0712" WrongVolume     Mismatch    "the live volume is not what it was planned for"
    "0713" SnapshotMissing Io          "the snapshot that was made is not listed"
    "0714" MountRefused    Blocked     "the live system volume cannot be mounted for writing"

    "0801" GuardNeedsMac    Blocked     "the guard and the patched driver are for macOS"
    "0802" GuardDropped     Blocked     "dyld would drop the guard library in this program"
    "0803" GuardKills       Blocked     "the program would not start with the guard library"
    "0804" NoGuardLibrary   Blocked     "this build carries no guard library"
    "0805" CommandNotFound  CommandMissing "there is no such program"
    "0806" NotExecutable    CommandNotExecutable "the program cannot be executed"
    "0807" ChainTooLong     Unsupported "the chain of interpreters does not end"
    "0808" ShimLeadsNowhere CommandMissing "a shim leads to no program"
    "0809" RunAsRoot        Blocked     "a copy of the driver is never made as root"
    "0810" PlaceNotOurs     Blocked     "a folder this tool keeps files in is not its user's alone"
    "0811" NoDriverToCopy   Unsupported "the system's driver is not one that can be copied and patched"
    "0812" CommandNotStarted Io         "the command cannot be started"
    "0813" CallsRefused     Mismatch    "GPU calls were refused"

    "0901" NoReports        Io        "a folder of crash reports cannot be read"
    "0902" BadMark          Usage     "the mark is not one this tool wrote"
    "0903" BadConfiguration Usage     "the comparison names an unknown configuration"
    "0904" ChildNotStarted  Io        "the workload cannot be started"
    "0905" BadStressReport  Usage     "the file is not a stress report this tool wrote"
    "0906" WorkloadAsRoot   Blocked   "a workload is never run as root"

    "1001" ReadFailed      Io          "the input cannot be read"
    "1002" WriteFailed     Io          "the output cannot be written"
    "1003" OutputExists    Usage       "the output exists already"
    "1004" BadArgument     Usage       "the command line contradicts itself"
    "1005" VerifyFailed    Mismatch    "the file is not what a patched driver must be"
    "1070" Bug             Bug         "a defect of agxpatch"
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
