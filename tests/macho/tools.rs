//! A folder with a compiler, a linker and LLVM's tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Classes, categories (one on a foreign class), instance variables, functions
/// that are visible and functions that are not, and pointers to both.
pub const SOURCE: &str = r#"
#define ROOT __attribute__((objc_root_class))
ROOT @interface Base { Class isa; long count; } + (int)make; - (void)destroyImpl; @end
@implementation Base
+ (int)make { return 7; }
- (void)destroyImpl { count = 0; }
@end
@interface Encoder : Base { void *_impl; int depth; }
- (int)setBuffer:(int)buffer offset:(int)offset; - (void)destroyImpl; @end
@implementation Encoder
- (int)setBuffer:(int)buffer offset:(int)offset { depth = buffer + offset; return depth; }
- (void)destroyImpl { _impl = 0; [super destroyImpl]; }
@end
@interface Encoder (Extras) - (int)extra; + (int)shared; @end
@implementation Encoder (Extras)
- (int)extra { return depth; }
+ (int)shared { return 3; }
@end
ROOT @interface Foreign @end
@interface Foreign (More) - (int)more; @end
@implementation Foreign (More) - (int)more { return 9; } @end
int visible(int x) { return x * 3; }
static int hidden(int x) { return x + 1; }
int (*table[])(int) = { visible, hidden };
int zeroes[50000];
"#;

/// How to link: the four ways metadata can be laid out.
pub const LAYOUTS: [&[&str]; 4] = [
    &["-fixup_chains", "-objc_relative_method_lists"],
    &["-fixup_chains", "-no_objc_relative_method_lists"],
    &["-no_fixup_chains", "-objc_relative_method_lists"],
    &["-no_fixup_chains", "-no_objc_relative_method_lists"],
];

pub struct Workshop(TempDir);

impl Workshop {
    pub fn new() -> Workshop {
        Workshop(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Compiles [`SOURCE`] and links it into a library for macOS.
    pub fn library(&self, architecture: &str, layout: &[&str]) -> PathBuf {
        let name = format!("{architecture}{}", layout.concat());
        let (object, library) = (self.path(&format!("{name}.o")), self.path(&name));
        let source = self.write("source.m", SOURCE.as_bytes());
        let target = format!("--target={architecture}-apple-macos13");
        run(tool("clang")
            .args([&target, "-O1", "-fobjc-runtime=macosx", "-c", "-o"])
            .args([&object, &source]));
        run(linker()
            .args(["-arch", architecture, "-platform_version", "macos", "13.0", "13.0"])
            .args(["-dylib", "-undefined", "dynamic_lookup", "-install_name", "@rpath/it"])
            .args(layout)
            .arg("-o")
            .args([&library, &object]));
        library
    }

    /// An arm64 library of the first layout, as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.library("arm64", LAYOUTS[0])).unwrap()
    }

    /// A universal file of the two architectures.
    pub fn universal(&self, options: &[&str]) -> PathBuf {
        let out = self.path("universal");
        run(tool("llvm-lipo")
            .arg("-create")
            .args(["arm64", "x86_64"].map(|name| self.library(name, LAYOUTS[0])))
            .args(options)
            .arg("-output")
            .arg(&out));
        out
    }
}

/// What a tool prints about a file.
pub fn ask(name: &str, options: &[&str], file: &Path) -> String {
    run(tool(name).args(options).arg(file))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The newest of a tool's Debian versions that is installed. Older ones do not
/// know relative method lists or chained fixups.
fn tool(name: &str) -> Command {
    let names = [format!("{name}-22"), format!("{name}-19"), name.to_owned()];
    let found = names.iter().find(|name| on_path(name));
    Command::new(
        found.unwrap_or_else(|| panic!("these tests need {name}: apt-get install llvm-19 clang")),
    )
}

/// lld for Mach-O: Debian's, or the one every Rust toolchain brings.
fn linker() -> Command {
    if let Some(name) = ["ld64.lld-22", "ld64.lld-19"].into_iter().find(|name| on_path(name)) {
        return Command::new(name);
    }
    let sysroot = run(Command::new("rustc").args(["--print", "sysroot"]));
    let hosts = Path::new(sysroot.trim()).join("lib/rustlib");
    let bundled = fs::read_dir(hosts).ok().and_then(|hosts| {
        hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|path| path.exists())
    });
    let mut command = Command::new(bundled.expect("these tests need lld: apt-get install lld-19"));
    command.args(["-flavor", "darwin"]);
    command
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).exists())
}
