//! Whose code a frame is, and which frame a crash is put down to.
//!
//! Names match by words: `MPSCore` is Apple's and `MPStudio` a program, `layer_norm_mps`
//! encodes GPU work and `read_mps_columns` reads a file. A crash is put down to the
//! innermost frame that is neither the system's nor a library that carries GPU and
//! other code alike: what a program does in a callback of Metal's is the program's.

use super::facts::{Driver, Frame, is_driver};

/// Whose code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Runtimes and the C library, which crash on behalf of their caller.
    System,
    /// The AGX driver bundle.
    Driver,
    /// Another part of Apple's GPU stack.
    Metal,
    /// The shader compiler.
    Compiler,
    /// Code of PyTorch, MLX, ggml and the like that encodes GPU work.
    Backend,
    /// Another part of such a library.
    Carrier,
    /// Anything else.
    Program,
}

/// Apple's frameworks, by their whole names.
const METAL_IMAGES: [&str; 24] = [
    "Metal",
    "MetalFX",
    "MetalKit",
    "MetalTools",
    "MetalSerializer",
    "MetalPerformanceShaders",
    "MetalPerformanceShadersGraph",
    "MetalPerformancePrimitives",
    "MPSCore",
    "MPSFunctions",
    "MPSGraph",
    "MPSImage",
    "MPSMatrix",
    "MPSNDArray",
    "MPSNeuralNetwork",
    "MPSRayIntersector",
    "MPSBenchmarkLoop",
    "IOGPU",
    "IOAccelerator",
    "IOAccelMemoryInfo",
    "GPUToolsCapture",
    "AppleMetalOpenGLRenderer",
    "MTLSimDriver",
    "MTLSimImplementation",
];

/// Drivers of other makers' GPUs, by how they begin.
const OTHER_DRIVERS: [&str; 4] = ["AMDMTL", "AMDRadeon", "AppleIntel", "GeForceMTL"];

const OPENGL_IMAGES: [&str; 5] = ["libGPUSupport", "GLEngine", "libGL.", "OpenGL", "libGFXShared"];

/// By how they begin; no other library's name begins so.
const COMPILER_IMAGES: [&str; 4] = ["GPUCompiler", "MTLCompiler", "AGXCompiler", "libGPUCompiler"];

const SYSTEM_IMAGES: [&str; 20] = [
    "libobjc",
    "libsystem_",
    "libc++",
    "libdispatch",
    "libswift",
    "libclang_rt",
    "libunwind",
    "libdyld",
    "libBacktraceRecording",
    "CoreFoundation",
    "Foundation",
    "AppKit",
    "UIKitCore",
    "QuartzCore",
    "SwiftUI",
    "SkyLight",
    "CoreGraphics",
    "HIToolbox",
    "CoreVideo",
    "dyld",
];

const CARRIER_IMAGES: [&str; 10] = [
    "libtorch",
    "libc10",
    "libonnxruntime",
    "libggml",
    "libllama",
    "libwhisper",
    "libtensorflow",
    "CoreML",
    "Espresso",
    "MLCompute",
];

/// Symbols of the GPU stack itself, wherever they lie.
const METAL_SYMBOLS: [&str; 3] =
    ["FamilyComputeContext", "FamilyCommandBuffer", "MTLReportFailure"];

/// Symbols of code that encodes GPU work: PyTorch's back end lies in an image that
/// holds everything else of PyTorch too, and any library may be linked statically.
const BACKEND_SYMBOLS: [&str; 17] = [
    "::mps::",
    "MPSStream",
    "MPSGraph",
    "MPSHeapAllocator",
    "MPSEvent",
    "mlx::core::metal",
    "mlx::core::gpu",
    "mlx::core::CommandEncoder",
    "ggml_metal_",
    "ggml_backend_metal",
    "MTL::CommandBuffer::",
    "MTL::ComputeCommandEncoder::",
    "candle_metal_kernels::",
    "candle_core::metal_backend",
    "wgpu_hal::metal",
    "tvm::runtime::metal",
    "dawn::native::metal",
];

/// The driver whose addresses were published: version 329.2.
const PUBLISHED: &str = "0ce453ff-9f17-321f-bc18-383573a48221";

/// Where its published crashes faulted, counted from the image's start, and in
/// which method: each function's published address plus the published offset.
const PUBLISHED_FAULTS: [(u64, &str); 4] = [
    (0x2bd2b0 + 32, "-[AGXG16XFamilyComputeContext setComputePipelineState:]"),
    (0x2b61d0 + 1268, "AGX::ComputeContext<>::prepareForEnqueue(bool)"),
    (0x6b6f58 + 192, "AGX::SpillInfoGen3<>::allocateUSCSpillBuffer"),
    (0x26430c + 100, "AGX::ContextCommon<>::useResourceCommon"),
];

/// Whose code `frame` is.
pub fn layer(frame: &Frame) -> Layer {
    let image = frame.image.as_deref().unwrap_or_default();
    let symbol = frame.symbol_name();
    let begins = |names: &[&str]| names.iter().any(|name| image.starts_with(name));
    if image.is_empty() && symbol.is_empty() {
        // A frame that was lost is put down to no one.
        Layer::System
    } else if image.is_empty() {
        unnamed_layer(symbol)
    } else if is_driver(image) {
        Layer::Driver
    } else if METAL_IMAGES.contains(&image) || begins(&OPENGL_IMAGES) || begins(&OTHER_DRIVERS) {
        Layer::Metal
    } else if begins(&COMPILER_IMAGES) {
        Layer::Compiler
    } else if METAL_SYMBOLS.iter().any(|part| symbol.contains(part)) {
        Layer::Metal
    } else if is_mlx(image) || is_backend_symbol(symbol) {
        Layer::Backend
    } else if begins(&SYSTEM_IMAGES) || is_runtime_symbol(symbol) {
        Layer::System
    } else if begins(&CARRIER_IMAGES) {
        Layer::Carrier
    } else {
        Layer::Program
    }
}

/// Whose code a symbol is where the report does not name its image. An unknown name
/// belongs to no layer.
fn unnamed_layer(symbol: &str) -> Layer {
    const DRIVER_SYMBOLS: [&str; 3] = ["-[AGX", "+[AGX", "AGX::"];
    const APPLE_SYMBOLS: [&str; 6] =
        ["-[_MTL", "-[MTL", "-[IOGPU", "IOGPU", "MTLReportFailure", "-[MPS"];
    let begins = |names: &[&str]| names.iter().any(|name| symbol.starts_with(name));
    if begins(&DRIVER_SYMBOLS) {
        Layer::Driver
    } else if begins(&APPLE_SYMBOLS) {
        Layer::Metal
    } else if is_backend_symbol(symbol) {
        Layer::Backend
    } else {
        Layer::System
    }
}

fn is_mlx(image: &str) -> bool {
    image.strip_prefix("libmlx").is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_']))
        || image.starts_with("libggml-metal")
}

/// Whether `part` of a name occurs in `symbol`, which a report may give as the compiler
/// wrote it: `AGX::ComputeContext` is `3AGX14ComputeContext` there.
pub fn names(symbol: &str, part: &str) -> bool {
    if symbol.contains(part) || !symbol.starts_with("_ZN") || !part.contains("::") {
        return symbol.contains(part);
    }
    let words = part.trim_end_matches('(').split("::").filter(|word| !word.is_empty());
    let mangled: String = words.map(|word| format!("{}{word}", word.len())).collect();
    symbol.contains(&mangled)
}

fn is_backend_symbol(symbol: &str) -> bool {
    let at_word = |part: &&&str| {
        symbol.match_indices(**part).any(|(at, _)| {
            let before = symbol[..at].chars().next_back();
            part.starts_with(':') || !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    BACKEND_SYMBOLS.iter().any(|part| at_word(&part)) || is_mps_operator(symbol)
}

/// `at::native::layer_norm_mps(…)` and `mps_linear(…)`: in PyTorch's namespace, and
/// `mps` as the first or the last word of the name.
fn is_mps_operator(symbol: &str) -> bool {
    let Some((_, rest)) = symbol.split_once("at::native::") else { return false };
    let mut names = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    names.any(|name| name.ends_with("_mps") || name.starts_with("mps_"))
}

/// C++'s library is instantiated in the image that uses it.
fn is_runtime_symbol(symbol: &str) -> bool {
    const RUNTIME: [&str; 8] = [
        "std::",
        "void std::",
        "bool std::",
        "operator new",
        "operator delete",
        "__cxa_",
        "__clang_call_terminate",
        "_sigtramp",
    ];
    RUNTIME.iter().any(|part| symbol.starts_with(part))
}

/// Whether the frame is code that drives the GPU.
pub fn in_gpu_code(frame: &Frame) -> bool {
    matches!(layer(frame), Layer::Driver | Layer::Metal | Layer::Compiler | Layer::Backend)
}

/// The frame a crash is put down to.
pub fn culprit(frames: &[Frame]) -> Option<(&Frame, Layer)> {
    let owned = frames.iter().map(|frame| (frame, layer(frame)));
    owned.into_iter().find(|(_, layer)| !matches!(layer, Layer::System | Layer::Carrier))
}

/// The frames of what was running when a signal handler was called, and the handler.
pub fn below_handler(frames: &[Frame]) -> Option<(&[Frame], Option<&Frame>)> {
    // Markdown takes the underscore for emphasis.
    let is_trampoline = |frame: &Frame| frame.symbol_name().trim_matches(['_', '*']) == "sigtramp";
    let at = frames.iter().rposition(is_trampoline)?;
    let below = frames.get(at + 1..).filter(|below| !below.is_empty())?;
    let handler = frames[..at].iter().rev().find(|frame| layer(frame) == Layer::Program);
    Some((below, handler))
}

/// The frame's symbol, or the one its place has in the published driver.
pub fn symbol<'a>(frame: &'a Frame, driver: Option<&Driver>) -> &'a str {
    if let Some(symbol) = &frame.symbol {
        return symbol;
    }
    let published = driver.and_then(|driver| driver.uuid.as_deref()) == Some(PUBLISHED);
    let place = frame.image_offset.filter(|_| published && layer(frame) == Layer::Driver);
    PUBLISHED_FAULTS
        .iter()
        .find_map(|(offset, symbol)| (Some(*offset) == place).then_some(*symbol))
        .unwrap_or_default()
}
