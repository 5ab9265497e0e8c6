//! What is run: one of the workloads that come along, or any command.
//!
//! The workloads carry the parameters of the published tests. They are Python with
//! torch, and one is Objective-C for a Mac without torch ([`super::metal`]). They are
//! part of this program and written to a temporary folder when used, so that they
//! match the version that reads their results.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agxpatch_core::error::{Code, Error, Result};

macro_rules! workloads {
    ($($(#[$doc:meta])* $name:ident $id:literal $suffix:literal $what:literal)*) => {
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

            /// The name of its file.
            fn file(self) -> &'static str {
                match self { $(Workload::$name => concat!($id, $suffix),)* }
            }

            fn source(self) -> &'static str {
                match self {
                    $(Workload::$name => {
                        include_str!(concat!("../../scripts/workloads/", $id, $suffix))
                    })*
                }
            }
        }
    };
}

workloads! {
    /// Matrix product, ReLU, synchronise.
    Matmul "matmul" ".py" "matrix product of 256 x 256 and ReLU"
    /// A perceptron of three layers.
    Mlp "mlp" ".py" "multi-layer perceptron 512-1024-1024-512"
    /// Layer normalisation.
    LayerNorm "layernorm" ".py" "layer normalisation of 768, against the CPU's"
    /// Two transformer blocks.
    Transformer "transformer" ".py" "two transformer blocks, d 256, 4 heads, feed-forward 1024"
    /// Six larger transformer blocks.
    LargeTransformer "large-transformer" ".py" "six transformer blocks, d 512, 8 heads"
    /// Matrix products for a minute.
    Soak "soak" ".py" "matrix product of 128 x 128 for 60 seconds"
    /// A linear layer and layer normalisation for an hour.
    SoakHour "soak-hour" ".py" "linear layer and layer normalisation for an hour"
    /// One batch of eight against eight threads.
    Batching "batching" ".py" "the transformer in one thread with batches of eight, samples a second"
    /// The same for the perceptron.
    MlpBatching "mlp-batching" ".py" "the same for the perceptron, samples a second"
    /// The device's results against the CPU's.
    Correctness "correctness" ".py" "results of many threads against the CPU's, within 1e-3"
    /// Compute passes without torch.
    Metal "metal" ".m" "compute passes in Metal alone, for a Mac without torch; is compiled first"
}

const HARNESS: &str = include_str!("../../scripts/workloads/harness.py");
/// The worker of `batched` is that of the Python package.
const BATCH: &str = include_str!("../../python/agxpatch/_batch.py");

/// A command line that differs between trials only in its number of threads.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Arguments to add for a trial with one thread; none without such a
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

    /// A workload that [`Workload::write`] put into `folder`. `program` is what runs its
    /// file, or what was compiled from it.
    pub fn workload(
        workload: Workload,
        folder: &Path,
        program: OsString,
        options: &[(&str, String)],
    ) -> Command {
        let script = workload.takes_python().then(|| folder.join(workload.file()).into());
        let options =
            options.iter().flat_map(|(name, value)| [format!("--{name}").into(), value.into()]);
        let one_thread = match workload {
            // They have one thread already.
            Workload::Batching | Workload::MlpBatching => None,
            _ => Some(vec!["--threads".into(), "1".into()]),
        };
        Command {
            program,
            arguments: script.into_iter().chain(options).collect(),
            one_thread,
            scripts: Some(folder.to_owned()),
            measures: true,
        }
    }
}

impl Workload {
    /// Whether Python runs it.
    pub fn takes_python(self) -> bool {
        self != Workload::Metal
    }

    /// How long it runs unless told otherwise, where it runs for a time.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Workload::Soak => Some(Duration::from_secs(60)),
            Workload::SoakHour => Some(Duration::from_secs(3600)),
            _ => None,
        }
    }

    /// Writes the workload and what it needs into `folder`; returns its script.
    pub fn write(self, folder: &Path) -> Result<PathBuf> {
        let script = folder.join(self.file());
        // All of them, since one may take its model from another.
        let workloads = Workload::ALL.iter().map(|each| (each.file(), each.source()));
        for (name, source) in workloads.chain([("harness.py", HARNESS), ("batch.py", BATCH)]) {
            let path = folder.join(name);
            fs::write(&path, source).map_err(|error| {
                Error::new(Code::WriteFailed, "the workload cannot be written")
                    .with("path", path.display())
                    .with("reason", error)
            })?;
        }
        Ok(script)
    }
}
