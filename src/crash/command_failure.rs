//! Command buffers that the GPU or its kernel driver ended with an error.
//!
//! The process then aborts on purpose: MLX throws, ggml and OpenGL call `abort`. The
//! error's name stands in the message, whichever library wrote it.

use serde::{Deserialize, Serialize};

/// Why a command buffer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandFailure {
    /// Not enough memory for it.
    OutOfMemory,
    /// It ran too long, or the GPU hung.
    Timeout,
    /// It reached an address that is not mapped for the GPU.
    PageFault,
    /// Another command buffer failed, and this one with it.
    InnocentVictim,
    /// Earlier failures, for which the kernel takes no more.
    Ignored,
    /// The process may not use the GPU now, such as in the background.
    NotPermitted,
    /// A resource it uses is invalid.
    InvalidResource,
    /// The report does not say.
    Unnamed,
}

/// Text of the error's name or description, lower case, and the reason.
const TEXTS: [(&str, CommandFailure); 27] = [
    ("callbackerroroutofmemory", CommandFailure::OutOfMemory),
    ("insufficient memory", CommandFailure::OutOfMemory),
    ("mtlcommandbuffererroroutofmemory", CommandFailure::OutOfMemory),
    ("callbackerrorinnocentvictim", CommandFailure::InnocentVictim),
    ("innocent victim", CommandFailure::InnocentVictim),
    ("victim of gpu error", CommandFailure::InnocentVictim),
    // Codes of MTLCommandBufferError, where a program prints the error as it is.
    ("mtlcommandbuffererrordomain code=2", CommandFailure::Timeout),
    ("mtlcommandbuffererrordomain code=3", CommandFailure::PageFault),
    ("mtlcommandbuffererrordomain code=7", CommandFailure::NotPermitted),
    ("mtlcommandbuffererrordomain code=8", CommandFailure::OutOfMemory),
    ("mtlcommandbuffererrordomain code=9", CommandFailure::InvalidResource),
    ("callbackerrortimeout", CommandFailure::Timeout),
    ("callbackerrorhang", CommandFailure::Timeout),
    ("gpu timeout error", CommandFailure::Timeout),
    ("gpu hang error", CommandFailure::Timeout),
    ("mtlcommandbuffererrortimeout", CommandFailure::Timeout),
    ("impacting interactivity", CommandFailure::Timeout),
    ("callbackerrorpagefault", CommandFailure::PageFault),
    ("gpu address fault", CommandFailure::PageFault),
    ("mtlcommandbuffererrorpagefault", CommandFailure::PageFault),
    ("callbackerrorsubmissionsignored", CommandFailure::Ignored),
    ("prior/excessive gpu errors", CommandFailure::Ignored),
    ("callbackerrornotpermitted", CommandFailure::NotPermitted),
    ("insufficient permission", CommandFailure::NotPermitted),
    ("callbackerrorbackgroundexecution", CommandFailure::NotPermitted),
    ("callbackerrorinvalidresource", CommandFailure::InvalidResource),
    ("invalid resource", CommandFailure::InvalidResource),
];

/// What says that a command buffer failed, whatever the reason.
const FAILED: [&str; 9] = [
    "commandbuffercallbackerror",
    "command buffer execution failed",
    "mtlcommandbuffererror",
    "command buffer failed",
    "failed with status 5",
    "graphics kernel error",
    "graphics hardware encountered an error",
    "execution of the command buffer was aborted",
    "gpu command buffer error",
];

/// Functions that end the process because a command buffer failed.
const FUNCTIONS: [&str; 6] = [
    "mlx::core::gpu::check_error",
    "gpusGenerateCrashLog",
    "gpusKillClient",
    "gpusSubmitDataBuffers",
    "ggml_metal_graph_compute",
    "ggml_metal_synchronize",
];

impl CommandFailure {
    /// The failure that `texts` tell of. `symbols` are those of the thread that died.
    pub fn find<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        symbols: impl IntoIterator<Item = &'a str>,
    ) -> Option<CommandFailure> {
        let text = texts.into_iter().collect::<Vec<_>>().join("\n").to_ascii_lowercase();
        let said = FAILED.iter().any(|part| text.contains(part));
        let ended = symbols
            .into_iter()
            .any(|symbol| FUNCTIONS.iter().any(|function| symbol.contains(function)));
        if !said && !ended {
            return None;
        }
        let named = TEXTS.iter().find(|(part, _)| text.contains(part));
        Some(named.map_or(CommandFailure::Unnamed, |(_, reason)| *reason))
    }

    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            CommandFailure::OutOfMemory => "out of memory",
            CommandFailure::Timeout => "it took too long, or the GPU hung",
            CommandFailure::PageFault => "the GPU reached an address that is not mapped",
            CommandFailure::InnocentVictim => "another command buffer's failure ended it too",
            CommandFailure::Ignored => "the kernel takes no more work after earlier failures",
            CommandFailure::NotPermitted => "the process may not use the GPU now",
            CommandFailure::InvalidResource => "a resource was invalid",
            CommandFailure::Unnamed => "for a reason the report does not give",
        }
    }
}
