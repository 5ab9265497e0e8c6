//! Metal's assertion texts, which name the misuse they stopped.
//!
//! The same texts appear in a report's application-specific information, in a
//! frame's symbol, and on the standard error of a child, so the table stands
//! alone.

use serde::{Deserialize, Serialize};

/// A known assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assertion {
    /// A second encoder was asked for while one was open.
    AlreadyEncoding,
    /// An event was signalled with an encoder still open.
    SignalWithOpenEncoder,
    /// A completion handler was added after `commit`.
    HandlerAfterCommit,
    /// An encoder was released without `endEncoding`.
    ReleasedWithoutEnd,
    /// A command buffer was committed twice.
    CommittedTwice,
    /// A command buffer was committed with an encoder still open.
    EncoderNotEnded,
    /// Metal reported a failure whose text is not in the table.
    Unnamed,
}

/// Text that only occurs with the assertion, and the assertion. The first that
/// occurs decides, so the frames that several have in common stand last.
const TEXTS: [(&str, Assertion); 9] = [
    ("already encoding to this command buffer", Assertion::AlreadyEncoding),
    ("with uncommitted encoder", Assertion::SignalWithOpenEncoder),
    ("Completed handler provided after commit", Assertion::HandlerAfterCommit),
    ("released without endEncoding", Assertion::ReleasedWithoutEnd),
    ("commit an already committed command buffer", Assertion::CommittedTwice),
    ("tryCoalescingPreviousComputeCommandEncoder", Assertion::AlreadyEncoding),
    ("[IOGPUMetalCommandBuffer validate]", Assertion::EncoderNotEnded),
    ("MTLReportFailure", Assertion::Unnamed),
    ("MTLReleaseAssertionFailure", Assertion::Unnamed),
];

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

    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Assertion::AlreadyEncoding => "a command encoder is already encoding",
            Assertion::SignalWithOpenEncoder => "event signalled with an open encoder",
            Assertion::HandlerAfterCommit => "completion handler added after commit",
            Assertion::ReleasedWithoutEnd => "encoder released without endEncoding",
            Assertion::CommittedTwice => "command buffer committed twice",
            Assertion::EncoderNotEnded => "committed with an encoder not ended",
            Assertion::Unnamed => "a Metal failure of unknown text",
        }
    }
}
