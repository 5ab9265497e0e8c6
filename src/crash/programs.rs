//! Which version of PyTorch, MLX, ONNX Runtime or llama.cpp had been loaded.
//!
//! Images carry no version of such programs, but their paths often do: Homebrew's
//! `Cellar/mlx/0.31.1`, conda's `pkgs/pytorch-2.9.1-py312`, a library named
//! `libonnxruntime.1.20.1.dylib`. Where the path is redacted, the image's UUID may
//! be one of those in `known-faults.toml`. Else the version is unknown.

use super::facts::{Frame, MAX_PROGRAMS, Program, keep};
use super::known_faults;

/// An image as a report lists it.
#[derive(Clone, Debug, Default)]
pub struct Image<'a> {
    pub name: &'a str,
    pub path: &'a str,
    pub uuid: &'a str,
    pub version: &'a str,
}

struct Known {
    name: &'static str,
    /// How names of its images begin.
    images: &'static [&'static str],
    /// Parts of its symbols, wherever they are linked.
    symbols: &'static [&'static str],
    /// What package managers call it.
    packages: &'static [&'static str],
}

const PROGRAMS: [Known; 4] = [
    Known {
        name: "torch",
        images: &["libtorch_cpu", "libtorch_python", "libtorch"],
        symbols: &["at::native::", "at::mps::", "torch::", "c10::"],
        packages: &["torch", "pytorch", "libtorch"],
    },
    Known {
        name: "mlx",
        images: &["libmlx"],
        symbols: &["mlx::core::"],
        packages: &["mlx", "mlx-metal"],
    },
    Known {
        name: "onnxruntime",
        images: &["libonnxruntime", "onnxruntime"],
        symbols: &["onnxruntime::"],
        packages: &["onnxruntime", "onnxruntime-osx-arm64", "onnxruntime-osx-universal2"],
    },
    Known {
        name: "llama.cpp",
        images: &["libllama", "libggml"],
        symbols: &["ggml_", "llama_"],
        packages: &["llama.cpp", "llama", "ggml", "llama-cpp"],
    },
];

/// What the name of an image of one of them holds, to find the few among hundreds.
pub const NEEDLES: [&str; 5] = ["libtorch", "libmlx", "onnxruntime", "libllama", "libggml"];

/// Adds the program that `image` belongs to, or what this image tells of its version.
pub fn add(programs: &mut Vec<Program>, image: &Image) {
    let Some(known) = PROGRAMS.iter().find(|known| has_prefix(known.images, image.name)) else {
        return;
    };
    let (version, source) = version(known, image).unzip();
    let is_full = programs.len() >= MAX_PROGRAMS;
    match programs.iter_mut().find(|program| program.name == known.name) {
        Some(program) if program.version.is_none() => {
            (program.version, program.source) = (version, source);
        }
        None if !is_full => {
            programs.push(Program {
                name: known.name.to_owned(),
                version,
                source,
                on_stack: false,
            });
        }
        _ => {}
    }
}

/// Whole words: `libmlxtend` is not `libmlx`.
fn has_prefix(prefixes: &[&str], name: &str) -> bool {
    prefixes
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix))
        .any(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// Marks the programs whose code is among `frames`: their faults come first.
pub fn mark_on_stack(programs: &mut [Program], frames: &[Frame]) {
    for program in programs {
        let Some(known) = PROGRAMS.iter().find(|known| known.name == program.name) else {
            continue;
        };
        program.on_stack = frames.iter().any(|frame| {
            has_prefix(known.images, frame.image.as_deref().unwrap_or_default())
                || known.symbols.iter().any(|part| frame.symbol_name().contains(part))
        });
    }
}

fn version(known: &Known, image: &Image) -> Option<(String, String)> {
    let from_path = path_version(known, image.path).or_else(|| file_version(image.name));
    if let Some(version) = from_path.and_then(keep) {
        return Some((version, "path".to_owned()));
    }
    if let Some(version) = known_faults::version_by_uuid(known.name, image.uuid) {
        return Some((version.to_owned(), "uuid".to_owned()));
    }
    let bundle = Some(image.version).filter(|version| is_version(version))?;
    Some((keep(bundle)?, "bundle".to_owned()))
}

fn path_version<'a>(known: &Known, path: &'a str) -> Option<&'a str> {
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let next = segments.peek().copied().unwrap_or_default();
        if known.packages.contains(&segment) && is_version(next) {
            return Some(next);
        }
        let tail = known
            .packages
            .iter()
            .find_map(|package| segment.strip_prefix(package)?.strip_prefix(['-', '@', '_']));
        let version = tail.map(|tail| tail.split(['-', '+']).next().unwrap_or(tail));
        if let Some(version) = version.filter(|version| is_version(version)) {
            return Some(version.trim_end_matches(".dist"));
        }
    }
    None
}

/// `libonnxruntime.1.20.1.dylib`.
fn file_version(name: &str) -> Option<&str> {
    let (_, version) = name.strip_suffix(".dylib")?.split_once('.')?;
    Some(version).filter(|version| is_version(version) && version.matches('.').count() >= 2)
}

/// Begins with a digit, and goes on as versions and build numbers do; `0` and `0.0.0`
/// are what is written where none was set.
fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.len() <= 32
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_')
        && text.chars().any(|c| c.is_ascii_digit() && c != '0')
}
