//! Crash reports of processes that never lived.
//!
//! A [`CrashReport`] is described once and written in any of the forms macOS
//! uses: `.ips`, `.crash` text, or a GPU event. The classes that were published
//! have a constructor each, with the published frame, offset and address. A
//! report can be padded to the size real ones have with idle threads and
//! images, so that reading one costs what reading a real one does.

mod forms;

use jiff::Timestamp;

/// The image name of the driver whose crashes were published.
pub const DRIVER: &str = "AGXMetalG16X";
/// Its version.
pub const DRIVER_VERSION: &str = "329.2";
/// Its UUID.
pub const DRIVER_UUID: &str = "0ce453ff-9f17-321f-bc18-383573a48221";

/// One frame: image, symbol, bytes past the symbol.
#[derive(Clone, Debug)]
struct Frame {
    image: String,
    symbol: Option<String>,
    offset: u64,
}

/// A report to be written.
#[derive(Clone, Debug)]
pub struct CrashReport {
    process: String,
    pid: u32,
    parent_pid: u32,
    incident: String,
    captured: Timestamp,
    exception: &'static str,
    signal: &'static str,
    subtype: Option<String>,
    codes: String,
    namespace: &'static str,
    indicator: &'static str,
    region: Option<String>,
    write: bool,
    frames: Vec<Frame>,
    messages: Vec<String>,
    driver: Option<(String, String, String)>,
    triggered_only: bool,
    size: usize,
    instruction: Option<u32>,
    registers: Vec<(usize, u64)>,
    thrown: Vec<Frame>,
    libraries: Vec<Library>,
    cache: Option<(u64, u64)>,
}

/// A library that was loaded: name, path, UUID.
#[derive(Clone, Debug)]
struct Library {
    name: String,
    path: String,
    uuid: String,
}

impl CrashReport {
    /// A segmentation fault without frames; `number` makes the incident
    /// identifier and the time, a minute apart each.
    pub fn new(number: u32) -> CrashReport {
        CrashReport {
            process: "Python".into(),
            pid: 4000 + number,
            parent_pid: 400,
            incident: format!("6156848E-344E-4D9E-84E0-{number:012X}"),
            captured: Timestamp::UNIX_EPOCH
                + jiff::SignedDuration::from_secs(1_766_500_000 + i64::from(number) * 60),
            exception: "EXC_BAD_ACCESS",
            signal: "SIGSEGV",
            subtype: None,
            codes: "0x0000000000000001, 0x0000000000000000".into(),
            namespace: "SIGNAL",
            indicator: "Segmentation fault: 11",
            region: None,
            write: false,
            frames: Vec::new(),
            messages: Vec::new(),
            driver: Some((DRIVER.into(), DRIVER_VERSION.into(), DRIVER_UUID.into())),
            triggered_only: false,
            size: 0,
            instruction: None,
            registers: Vec::new(),
            thrown: Vec::new(),
            libraries: Vec::new(),
            cache: None,
        }
    }

    /// A: the NULL read in `setComputePipelineState:`.
    pub fn set_pipeline(number: u32) -> CrashReport {
        let method = "-[AGXG16XFamilyComputeContext setComputePipelineState:]";
        CrashReport::new(number).unmapped(0x5c8).frame(DRIVER, method, 32).mps_callers()
    }

    /// B: the NULL read in `prepareForEnqueue`.
    pub fn prepare(number: u32) -> CrashReport {
        let function = "AGX::ComputeContext<AGX::HAL200::Encoders, AGX::HAL200::Classes, \
                        AGX::HAL200::ObjClasses, AGX::HAL200::EncoderComputeServiceClasses>\
                        ::prepareForEnqueue(bool)";
        CrashReport::new(number).unmapped(0x98).frame(DRIVER, function, 1268).mps_callers()
    }

    /// C: the NULL write in `allocateUSCSpillBuffer`.
    pub fn spill(number: u32) -> CrashReport {
        let function = "AGX::SpillInfoGen3<AGX::HAL200::Encoders>::allocateUSCSpillBuffer";
        CrashReport::new(number)
            .unmapped(0x184)
            .writing()
            .frame(DRIVER, function, 192)
            .frame(DRIVER, "AGX::ComputeContext<>::performEnqueueKernel", 2148)
            .mps_callers()
    }

    /// D: the NULL access in a dispatch.
    pub fn dispatch(number: u32) -> CrashReport {
        let method = "-[AGXG16XFamilyComputeContext dispatchThreads:threadsPerThreadgroup:]";
        CrashReport::new(number).unmapped(0x5f4).frame(DRIVER, method, 292).mps_callers()
    }

    /// E: a message to a freed encoder; annotated as a failed pointer
    /// authentication unless bit 47 of the address is clear.
    pub fn freed_encoder(number: u32, address: u64) -> CrashReport {
        let report = CrashReport::new(number)
            .unmapped(address)
            .frame("libobjc.A.dylib", "objc_msgSend", 32)
            .frame("libtorch_cpu.dylib", "at::native::layer_norm_mps(at::Tensor const&)", 1192)
            .frame("libtorch_cpu.dylib", "at::native::mps::dispatch_sync_with_rethrow", 68);
        if address >> 47 & 1 == 0 {
            return report;
        }
        let authentic = address & !(1 << 47);
        report.subtype(format!(
            "KERN_INVALID_ADDRESS at {address:#018x} -> {authentic:#018x} \
             (possible pointer authentication failure)"
        ))
    }

    /// F: Metal's assertion of the given text.
    pub fn assertion(number: u32, text: &str) -> CrashReport {
        let report =
            CrashReport::abort(number).frame("libsystem_kernel.dylib", "__pthread_kill", 8);
        report.frame("Metal", "MTLReportFailure.cold.2", 44).message(text)
    }

    /// G: the loader gives up before the process runs.
    pub fn launch_abort(number: u32) -> CrashReport {
        CrashReport {
            namespace: "DYLD",
            process: "python3.14".into(),
            driver: None,
            ..CrashReport::abort(number)
        }
        .frame("libsystem_kernel.dylib", "__abort_with_payload", 8)
        .message("Library not loaded: @rpath/libagx.dylib")
    }

    /// H: a trap with GPU code on the stack.
    pub fn trap(number: u32) -> CrashReport {
        CrashReport {
            exception: "EXC_BREAKPOINT",
            signal: "SIGTRAP",
            indicator: "Trace/BPT trap: 5",
            codes: "0x0000000000000001, 0x000000018a1e6b10".into(),
            ..CrashReport::new(number)
        }
        .frame("CoreFoundation", "CFRetain.cold.1", 16)
        .frame("Metal", "-[_MTLCommandBuffer computeCommandEncoder]", 88)
    }

    /// I: the NULL access in a setter.
    pub fn set_buffer(number: u32) -> CrashReport {
        let method = "-[AGXG16XFamilyComputeContext setBuffer:offset:atIndex:]";
        CrashReport::new(number).unmapped(0x638).frame(DRIVER, method, 56).mps_callers()
    }

    /// The near miss of A: the caller's pipeline was nil.
    pub fn nil_pipeline(number: u32) -> CrashReport {
        let function = "AGX::ComputeContext<>::setPipelineCommon(AGX::ComputePipeline*)";
        CrashReport::new(number).unmapped(0x124).frame(DRIVER, function, 52).mps_callers()
    }

    /// A process that died of something else entirely.
    pub fn unrelated(number: u32) -> CrashReport {
        CrashReport { driver: None, ..CrashReport::new(number) }
            .unmapped(0x5c8)
            .frame("libsqlite3.dylib", "sqlite3_step", 32)
            .frame("Python", "_PyEval_EvalFrameDefault", 4000)
    }

    /// An abort without frames or reason.
    pub fn abort(number: u32) -> CrashReport {
        CrashReport {
            exception: "EXC_CRASH",
            signal: "SIGABRT",
            indicator: "Abort trap: 6",
            codes: "0x0000000000000000, 0x0000000000000000".into(),
            ..CrashReport::new(number)
        }
    }

    /// Adds the next outer frame.
    pub fn frame(mut self, image: &str, symbol: &str, offset: u64) -> CrashReport {
        self.frames.push(Frame { image: image.into(), symbol: Some(symbol.into()), offset });
        self
    }

    /// Adds a frame without a symbol, `offset` bytes into the image.
    pub fn bare_frame(mut self, image: &str, offset: u64) -> CrashReport {
        self.frames.push(Frame { image: image.into(), symbol: None, offset });
        self
    }

    /// Adds the frames of PyTorch that encode GPU work.
    pub fn mps_callers(self) -> CrashReport {
        self.frame("libtorch_cpu.dylib", "at::native::mps::mps_linear(at::Tensor const&)", 900)
            .frame("libdispatch.dylib", "_dispatch_client_callout", 20)
    }

    /// The fault: an address that is not mapped.
    pub fn unmapped(mut self, address: u64) -> CrashReport {
        self.codes = format!("0x0000000000000001, {address:#018x}");
        self.region = Some(format!("{address:#x} is not in any region."));
        self.subtype(format!("KERN_INVALID_ADDRESS at {address:#018x}"))
    }

    /// The exception's subtype as text.
    pub fn subtype(mut self, subtype: impl Into<String>) -> CrashReport {
        self.subtype = Some(subtype.into());
        self
    }

    /// Leaves the subtype out, as some reports do.
    pub fn without_subtype(mut self) -> CrashReport {
        self.subtype = None;
        self
    }

    /// The access was a store.
    pub fn writing(mut self) -> CrashReport {
        self.write = true;
        self
    }

    /// The instruction that faulted.
    pub fn instruction(mut self, word: u32) -> CrashReport {
        self.instruction = Some(word);
        self
    }

    /// The value of a register; those not named are of some address.
    pub fn register(mut self, number: usize, value: u64) -> CrashReport {
        self.registers.push((number, value));
        self
    }

    /// Adds the next outer frame of where an exception was thrown.
    pub fn thrown(mut self, image: &str, symbol: &str, offset: u64) -> CrashReport {
        self.thrown.push(Frame { image: image.into(), symbol: Some(symbol.into()), offset });
        self
    }

    /// Adds a library that was loaded.
    pub fn library(mut self, path: &str, uuid: &str) -> CrashReport {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        self.libraries.push(Library { name, path: path.into(), uuid: uuid.into() });
        self
    }

    /// Where the shared cache lies, and how large it is.
    pub fn shared_cache(mut self, base: u64, size: u64) -> CrashReport {
        self.cache = Some((base, size));
        self
    }

    /// Adds application-specific information.
    pub fn message(mut self, text: &str) -> CrashReport {
        self.messages.push(text.into());
        self
    }

    /// Who died.
    pub fn process(mut self, name: &str, pid: u32, parent_pid: u32) -> CrashReport {
        (self.process, self.pid, self.parent_pid) = (name.into(), pid, parent_pid);
        self
    }

    /// When.
    pub fn captured(mut self, at: Timestamp) -> CrashReport {
        self.captured = at;
        self
    }

    /// Which driver was loaded.
    pub fn driver(mut self, name: &str, version: &str, uuid: &str) -> CrashReport {
        self.driver = Some((name.into(), version.into(), uuid.into()));
        self
    }

    /// Names the thread that died by `triggered` alone, without
    /// `faultingThread`.
    pub fn triggered_only(mut self) -> CrashReport {
        self.triggered_only = true;
        self
    }

    /// Fills the report up to at least `bytes`, as real ones are.
    pub fn padded_to(mut self, bytes: usize) -> CrashReport {
        self.size = bytes;
        self
    }

    /// The incident identifier.
    pub fn incident(&self) -> &str {
        &self.incident
    }

    /// The name macOS would give the file.
    pub fn file_name(&self) -> String {
        format!("{}-{}.ips", self.process, self.captured.strftime("%Y-%m-%d-%H%M%S"))
    }
}
