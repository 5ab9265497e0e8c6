//! Telling GPU code from the rest of a stack, and the published driver's
//! methods from each other where a report has lost its symbols.

use super::facts::{Driver, Frame, is_driver};

/// Images of Apple's GPU stack and of the frameworks built on it, by how their
/// names begin.
const IMAGES: [&str; 6] = ["AGXMetal", "Metal", "MPS", "IOGPU", "IOAccelerator", "libmlx"];

/// What occurs in symbols of code that encodes GPU work: PyTorch's Metal
/// back end lies in an image that holds everything else of PyTorch too.
const SYMBOLS: [&str; 7] = [
    "::mps::",
    "_mps",
    "MPSStream",
    "MPSGraph",
    "mlx::core::metal",
    "FamilyComputeContext",
    "FamilyCommandBuffer",
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

/// Whether the frame lies in the AGX driver bundle.
pub fn in_driver(frame: &Frame) -> bool {
    frame.image.as_deref().is_some_and(is_driver)
}

/// Whether the frame is code that drives the GPU.
pub fn in_gpu_code(frame: &Frame) -> bool {
    let image = frame.image.as_deref().unwrap_or_default();
    IMAGES.iter().any(|prefix| image.starts_with(prefix))
        || SYMBOLS.iter().any(|part| frame.symbol_name().contains(part))
}

/// The frame's symbol, or the one its place has in the published driver.
pub fn symbol<'a>(frame: &'a Frame, driver: Option<&Driver>) -> &'a str {
    if let Some(symbol) = &frame.symbol {
        return symbol;
    }
    let published = driver.and_then(|driver| driver.uuid.as_deref()) == Some(PUBLISHED);
    let place = frame.image_offset.filter(|_| published && in_driver(frame));
    PUBLISHED_FAULTS
        .iter()
        .find_map(|(offset, symbol)| (Some(*offset) == place).then_some(*symbol))
        .unwrap_or_default()
}
