//! clang, lld and the LLVM binary tools, by whatever version suffix they have.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in an environment that must have the tools; then their want is a failure.
const REQUIRED: &str = "AGXPATCH_REQUIRE_TOOLS";

pub struct Toolchain {
    clang: PathBuf,
    linker: PathBuf,
    lipo: PathBuf,
    pub objdump: PathBuf,
    folder: tempfile::TempDir,
}

impl Toolchain {
    /// The tools, or `None` after a line that says what is missing.
    pub fn find() -> Option<Toolchain> {
        let missing = match Toolchain::locate() {
            Ok(toolchain) => return Some(toolchain),
            Err(missing) => missing,
        };
        assert!(std::env::var_os(REQUIRED).is_none(), "{missing} is missing");
        eprintln!("SKIPPED: {missing} is missing; on Debian: apt-get install clang lld llvm");
        None
    }

    fn locate() -> Result<Toolchain, &'static str> {
        Ok(Toolchain {
            clang: program("clang")?,
            linker: program("ld64.lld")?,
            lipo: program("llvm-lipo")?,
            objdump: program("llvm-objdump")?,
            folder: tempfile::tempdir().unwrap(),
        })
    }

    /// One image of `source` for `architecture`.
    pub fn link(&self, source: &str, architecture: &str, kind: Kind) -> Vec<u8> {
        let path = |name: &str| self.folder.path().join(format!("{name}.{architecture}"));
        let (c, object, image) =
            (path("source").with_extension("c"), path("object"), path("image"));
        std::fs::write(&c, source).unwrap();
        let target = format!("{architecture}-apple-macos12");
        // No inlining: each function must be there to be found.
        run(Command::new(&self.clang)
            .args(["-target", &target, "-O1", "-fno-inline", "-c", "-o"])
            .args([&object, &c]));
        let version = ["-platform_version", "macos", "12.0", "12.0"];
        run(Command::new(&self.linker)
            .args(kind.flags())
            .args(["-arch", architecture, "-undefined", "dynamic_lookup", "-o"])
            .args([&image, &object])
            .args(version));
        std::fs::read(image).unwrap()
    }

    /// A universal file of these images, laid out by llvm-lipo.
    pub fn universal(&self, images: &[Vec<u8>]) -> Vec<u8> {
        let output = self.folder.path().join("universal");
        let mut lipo = Command::new(&self.lipo);
        for (index, image) in images.iter().enumerate() {
            let path = self.folder.path().join(format!("part.{index}"));
            std::fs::write(&path, image).unwrap();
            lipo.arg(path);
        }
        run(lipo.arg("-create").arg("-output").arg(&output));
        std::fs::read(output).unwrap()
    }

    /// What a tool prints about a file with this content.
    pub fn ask(&self, tool: &Path, arguments: &[&str], file: &[u8]) -> String {
        let path = self.folder.path().join("asked");
        std::fs::write(&path, file).unwrap();
        run(Command::new(tool).args(arguments).arg(path))
    }
}

/// What is linked.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Program,
    Library,
}

impl Kind {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Kind::Program => &["-e", "_start"],
            Kind::Library => &["-dylib", "-install_name", "@rpath/subject.dylib"],
        }
    }
}

fn program(name: &'static str) -> Result<PathBuf, &'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let suffixes = (14..40).rev().map(|version| format!("-{version}"));
    let names = std::iter::once(String::new()).chain(suffixes).map(|end| format!("{name}{end}"));
    let mut files = names.flat_map(|name| {
        std::env::split_paths(&path).map(move |d| d.join(&name)).collect::<Vec<_>>()
    });
    files.find(|file| file.is_file()).ok_or(name)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}
