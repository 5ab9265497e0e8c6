//! clang, lld and llvm-lipo: from a source to a Mach-O file.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools::{all_newest, or_skip, run};

/// A compiler, a linker for Mach-O and a joiner of slices, the newest there are.
pub struct Toolchain {
    clang: PathBuf,
    linker: PathBuf,
    lipo: PathBuf,
    folder: tempfile::TempDir,
}

/// What is compiled, and how.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The text.
    pub text: &'a str,
    /// The end of its file's name, by which clang tells the language (`c`, `m`).
    pub extension: &'a str,
    /// The oldest macOS that it is for (`13.0`).
    pub macos: &'a str,
    /// Options for clang.
    pub compile: &'a [&'a str],
    /// Options for the linker.
    pub link: &'a [&'a str],
}

/// What is linked.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A program that starts at `start`.
    Program,
    /// A dynamic library.
    Library,
}

impl Kind {
    fn options(self) -> &'static [&'static str] {
        match self {
            Kind::Program => &["-e", "_start"],
            Kind::Library => &["-dylib", "-install_name", "@rpath/subject.dylib"],
        }
    }
}

impl Toolchain {
    /// The tools, or `None` after a line that says what is missing.
    pub fn find() -> Option<Toolchain> {
        let [clang, linker, lipo] = or_skip(all_newest(["clang", "ld64.lld", "llvm-lipo"]))?;
        let folder = tempfile::tempdir().expect("a folder");
        Some(Toolchain { clang, linker, lipo, folder })
    }

    /// A file of this name in the toolchain's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles and links `source` for one architecture.
    pub fn build(&self, source: Source<'_>, architecture: &str, to: &Path) {
        let text = self.path("source").with_extension(source.extension);
        let object = self.path("object.o");
        std::fs::write(&text, source.text).expect("a file");
        let target = format!("--target={architecture}-apple-macos{}", source.macos);
        run(Command::new(&self.clang)
            .arg(target)
            .args(source.compile)
            .args(["-c", "-o"])
            .args([&object, &text]));
        run(Command::new(&self.linker)
            .args(["-arch", architecture, "-undefined", "dynamic_lookup"])
            .args(["-platform_version", "macos", source.macos, source.macos])
            .args(source.link)
            .arg("-o")
            .args([to, &object]));
    }

    /// One image of a C source, for macOS 12. No function is inlined: each must be
    /// there to be found.
    pub fn link(&self, text: &str, architecture: &str, kind: Kind) -> Vec<u8> {
        let (compile, link) = (&["-O1", "-fno-inline"], kind.options());
        let source = Source { text, extension: "c", macos: "12.0", compile, link };
        let image = self.path("image");
        self.build(source, architecture, &image);
        std::fs::read(image).expect("an image")
    }

    /// A universal file of these images, laid out by llvm-lipo.
    pub fn universal(&self, images: &[Vec<u8>], options: &[&str]) -> Vec<u8> {
        let output = self.path("universal");
        let mut lipo = Command::new(&self.lipo);
        for (index, image) in images.iter().enumerate() {
            let path = self.path(&format!("part.{index}"));
            std::fs::write(&path, image).expect("a file");
            lipo.arg(path);
        }
        run(lipo.arg("-create").args(options).arg("-output").arg(&output));
        std::fs::read(output).expect("a file")
    }
}
