//! What is run: one of the workloads that come along, or any command.
//!
//! The workloads are Python and carry the parameters of the published tests.
//! They are part of this program and written to a temporary folder when used,
//! so that they match the version that reads their results.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};

macro_rules! workloads {
    ($($(#[$doc:meta])* $name:ident $id:literal $what:literal)*) => {
        /// A workload that comes along.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
        pub enum Workload {
            $($(#[$doc])* #[value(name = $id, help = $what)] $name,)*
        }

        impl Workload {
            /// Every workload.
            pub const ALL: &'static [Workload] = &[$(Workload::$name,)*];

            /// Its name.
            pub fn id(self) -> &'static str {
                match self { $(Workload::$name => $id,)* }
            }

            fn source(self) -> &'static str {
                match self {
                    $(Workload::$name => {
                        include_str!(concat!("../../scripts/workloads/", $id, ".py"))
                    })*
                }
            }
        }
    };
}

workloads! {
    /// Matrix product, ReLU, synchronise.
    Matmul "matmul" "matrix product of 256 x 256 and ReLU"
    /// A perceptron of three layers.
    Mlp "mlp" "multi-layer perceptron 512-1024-1024-512"
    /// Layer normalisation.
    LayerNorm "layernorm" "layer normalisation of 256"
    /// Two transformer blocks.
    Transformer "transformer" "two transformer blocks, d 256, 4 heads, feed-forward 1024"
    /// Matrix products for a minute.
    Soak "soak" "matrix product of 128 x 128 for 60 seconds"
    /// One batch of eight against eight threads.
    Batching "batching" "one thread with batches of eight, the answer to threading"
    /// The device's results against the CPU's.
    Correctness "correctness" "results of many threads against the CPU's, within 1e-3"
}

const HARNESS: &str = include_str!("../../scripts/workloads/harness.py");

/// A command line that differs between trials only in its number of threads.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Arguments to add for a trial with one thread; none if there is no such
    /// trial.
    pub one_thread: Option<Vec<OsString>>,
    /// The temporary folder of its script, which is another in each run.
    pub scripts: Option<PathBuf>,
    /// Whether it prints a [`super::Measurement`].
    pub measures: bool,
}

impl Command {
    /// The words as a reader would repeat them: the same for two runs of the
    /// same workload.
    pub fn words(&self) -> Vec<String> {
        let inside = |word: &OsString| {
            let folder = self.scripts.as_ref()?;
            Some(Path::new(word).strip_prefix(folder).ok()?.as_os_str().to_owned())
        };
        std::iter::once(&self.program)
            .chain(&self.arguments)
            .map(|word| inside(word).as_ref().unwrap_or(word).to_string_lossy().into_owned())
            .collect()
    }

    /// A command of the user's, which is run as it is.
    pub fn given(program: OsString, arguments: Vec<OsString>) -> Command {
        Command { program, arguments, one_thread: None, scripts: None, measures: false }
    }

    /// A workload that [`Workload::write`] put into `folder`.
    pub fn workload(
        workload: Workload,
        folder: &Path,
        python: OsString,
        options: &[(&str, String)],
    ) -> Command {
        let script = folder.join(workload.id()).with_extension("py");
        let options =
            options.iter().flat_map(|(name, value)| [format!("--{name}").into(), value.into()]);
        let one_thread = match workload {
            // It has one thread already.
            Workload::Batching => None,
            _ => Some(vec!["--threads".into(), "1".into()]),
        };
        Command {
            program: python,
            arguments: std::iter::once(script.into()).chain(options).collect(),
            one_thread,
            scripts: Some(folder.to_owned()),
            measures: true,
        }
    }
}

impl Workload {
    /// Writes the workload and what it needs into `folder`; returns the script.
    pub fn write(self, folder: &Path) -> Result<PathBuf> {
        let script = folder.join(self.id()).with_extension("py");
        let files = [(folder.join("harness.py"), HARNESS), (script.clone(), self.source())];
        for (path, source) in files {
            fs::write(&path, source).map_err(|error| {
                Error::new(Code::WriteFailed, "the workload cannot be written")
                    .with("path", path.display())
                    .with("reason", error)
            })?;
        }
        Ok(script)
    }
}
