//! Metal's assertions, by their texts and by the methods that make them.
//!
//! The same texts appear in a report's application-specific information, in a
//! frame's symbol, and on the standard error of a child, so the table stands
//! alone. Where the text is missing, as in most reports of macOS 15 and 26, the
//! frame below `MTLReportFailure` names the method.

use serde::{Deserialize, Serialize};

/// A known assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assertion {
    /// A second encoder was asked for while one was open.
    AlreadyEncoding,
    /// An event was signalled or waited for with an encoder still open.
    SignalWithOpenEncoder,
    /// A completion or scheduling handler was added after `commit`.
    HandlerAfterCommit,
    /// An encoder was released without `endEncoding`.
    ReleasedWithoutEnd,
    /// A command buffer was committed twice.
    CommittedTwice,
    /// A command buffer was committed with an encoder still open.
    EncoderNotEnded,
    /// An encoder was made on a command buffer that was committed already.
    EncoderAfterCommit,
    /// Metal reported a failure whose text is not in the table.
    Unnamed,
}

/// Text that only occurs with the assertion, and the assertion. The first that
/// occurs decides: `commit … with uncommitted encoder` stands before the events'.
const TEXTS: [(&str, Assertion); 14] = [
    ("already encoding to this command buffer", Assertion::AlreadyEncoding),
    ("commit command buffer with uncommitted encoder", Assertion::EncoderNotEnded),
    ("with uncommitted encoder", Assertion::SignalWithOpenEncoder),
    ("Completed handler provided after commit", Assertion::HandlerAfterCommit),
    ("Scheduled handler provided after commit", Assertion::HandlerAfterCommit),
    ("handler provided after commit", Assertion::HandlerAfterCommit),
    ("released without endEncoding", Assertion::ReleasedWithoutEnd),
    ("commit an already committed command buffer", Assertion::CommittedTwice),
    ("_status < MTLCommandBufferStatusCommitted", Assertion::EncoderAfterCommit),
    ("tryCoalescingPreviousComputeCommandEncoder", Assertion::AlreadyEncoding),
    ("CommandBuffer validate]", Assertion::EncoderNotEnded),
    ("CommandBuffer setCurrentCommandEncoder:]", Assertion::EncoderAfterCommit),
    ("MTLReportFailure", Assertion::Unnamed),
    ("MTLReleaseAssertionFailure", Assertion::Unnamed),
];

/// A method that asserts: part of its class, part of its selector, the assertion, what
/// it was doing.
const METHODS: [(&str, &str, Assertion, &str); 16] = [
    ("CommandBuffer", " blitCommandEncoder", Assertion::AlreadyEncoding, "opening a blit encoder"),
    (
        "CommandBuffer",
        " computeCommandEncoder",
        Assertion::AlreadyEncoding,
        "opening a compute encoder",
    ),
    (
        "CommandBuffer",
        " tryCoalescing",
        Assertion::AlreadyEncoding,
        "opening a compute encoder on the one before it",
    ),
    (
        "CommandBuffer",
        " renderCommandEncoder",
        Assertion::AlreadyEncoding,
        "opening a render encoder",
    ),
    (
        "CommandBuffer",
        " parallelRenderCommandEncoder",
        Assertion::AlreadyEncoding,
        "opening a parallel render encoder",
    ),
    (
        "CommandBuffer",
        " accelerationStructureCommandEncoder",
        Assertion::AlreadyEncoding,
        "opening an acceleration structure encoder",
    ),
    (
        "CommandBuffer",
        " sampledComputeCommandEncoder",
        Assertion::AlreadyEncoding,
        "opening a sampled compute encoder",
    ),
    (
        "CommandBuffer",
        " sampledRenderCommandEncoder",
        Assertion::AlreadyEncoding,
        "opening a sampled render encoder",
    ),
    (
        "CommandBuffer",
        " machineLearningCommandEncoder",
        Assertion::AlreadyEncoding,
        "opening a machine learning encoder",
    ),
    (
        "CommandBuffer",
        " resourceStateCommandEncoder",
        Assertion::AlreadyEncoding,
        "opening a resource state encoder",
    ),
    (
        "CommandBuffer",
        " addCompletedHandler:",
        Assertion::HandlerAfterCommit,
        "adding a completion handler",
    ),
    (
        "CommandBuffer",
        " addScheduledHandler:",
        Assertion::HandlerAfterCommit,
        "adding a scheduling handler",
    ),
    (
        "CommandBuffer",
        " encodeSignalEvent:",
        Assertion::SignalWithOpenEncoder,
        "signalling an event",
    ),
    (
        "CommandBuffer",
        " encodeWaitForEvent:",
        Assertion::SignalWithOpenEncoder,
        "waiting for an event",
    ),
    ("CommandEncoder", " dealloc]", Assertion::ReleasedWithoutEnd, "freeing an encoder"),
    ("Context", " dealloc]", Assertion::ReleasedWithoutEnd, "freeing an encoder"),
];

/// An assertion told by the method it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByMethod {
    /// The assertion.
    pub assertion: Assertion,
    /// What the method was doing.
    pub doing: &'static str,
}

impl Assertion {
    /// The assertion `text` tells of, if any.
    pub fn in_text(text: &str) -> Option<Assertion> {
        Assertion::in_any([text])
    }

    /// The most telling assertion any of `texts` tells of: the order of the
    /// table decides, not that of the texts.
    pub fn in_any<'a>(texts: impl IntoIterator<Item = &'a str> + Clone) -> Option<Assertion> {
        TEXTS.iter().find_map(|(needle, assertion)| {
            texts.clone().into_iter().any(|text| text.contains(needle)).then_some(*assertion)
        })
    }

    /// The assertion that a method of this symbol makes.
    pub fn of_method(symbol: &str) -> Option<ByMethod> {
        METHODS.iter().find_map(|(class, selector, assertion, doing)| {
            let (name, method) = symbol.split_at(symbol.find(' ')?);
            (name.contains(class) && method.starts_with(selector))
                .then_some(ByMethod { assertion: *assertion, doing })
        })
    }

    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Assertion::AlreadyEncoding => "a command encoder is already encoding",
            Assertion::SignalWithOpenEncoder => "event encoded with an open encoder",
            Assertion::HandlerAfterCommit => "handler added after commit",
            Assertion::ReleasedWithoutEnd => "encoder released without endEncoding",
            Assertion::CommittedTwice => "command buffer committed twice",
            Assertion::EncoderNotEnded => "committed with an encoder not ended",
            Assertion::EncoderAfterCommit => "encoder made on a committed command buffer",
            Assertion::Unnamed => "a Metal failure of unknown text",
        }
    }
}
