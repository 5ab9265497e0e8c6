//! A Jupyter kernel that is Python with the guard. The form is Jupyter's kernel
//! specification: `kernel.json` in a directory of the kernel's name.

use std::path::{Path, PathBuf};

use serde::Serialize;

use agxpatch_core::error::{Code, Error, Result};

use super::guarded;
use crate::launch::Mode;

/// A kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The name of its directory.
    pub name: String,
    /// The path of this program.
    pub agxpatch: String,
    /// The guard's mode; the default if none.
    pub mode: Option<Mode>,
    /// The Python that has `ipykernel`, by absolute path.
    pub python: String,
}

#[derive(Serialize)]
struct Specification {
    argv: Vec<String>,
    display_name: String,
    language: &'static str,
    interrupt_mode: &'static str,
    metadata: Metadata,
}

#[derive(Serialize)]
struct Metadata {
    debugger: bool,
}

impl Kernel {
    /// Checks that `name` can be the name of a kernel, by Jupyter's own rule.
    ///
    /// # Errors
    /// `BadArgument`.
    pub fn check_name(name: &str) -> Result<()> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !name.is_empty() && name.chars().all(allowed) && !name.starts_with('.') {
            return Ok(());
        }
        Err(Error::new(Code::BadArgument, "the name is not valid for a Jupyter kernel")
            .with("name", name)
            .next("use letters, digits, dots, hyphens and underscores"))
    }

    /// The text of `kernel.json`.
    pub fn specification(&self) -> String {
        let kernel = ["-m", "ipykernel_launcher", "-f", "{connection_file}"];
        let command: Vec<String> =
            std::iter::once(self.python.clone()).chain(kernel.map(str::to_owned)).collect();
        let mode = self.mode.map(|mode| format!(", {mode}")).unwrap_or_default();
        let specification = Specification {
            argv: guarded(&self.agxpatch, self.mode, &command),
            display_name: format!("Python (agxpatch{mode})"),
            language: "python",
            // By message the kernel interrupts itself; a signal would meet agxpatch first.
            interrupt_mode: "message",
            metadata: Metadata { debugger: true },
        };
        let text = serde_json::to_string_pretty(&specification).unwrap_or_default();
        format!("{text}\n")
    }

    /// Where Jupyter looks for a user's kernels, in the user's home.
    pub fn place(&self, home: &Path) -> PathBuf {
        let data =
            if cfg!(target_os = "macos") { "Library/Jupyter" } else { ".local/share/jupyter" };
        home.join(data).join("kernels").join(&self.name).join("kernel.json")
    }
}
