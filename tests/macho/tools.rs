//! Libraries with Objective-C metadata, built here, and what LLVM's tools say of them.

use std::fs;
use std::path::{Path, PathBuf};

use agxpatch_oracles::{Source, Toolchain, tools};

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

pub struct Libraries(Toolchain);

impl Libraries {
    pub fn new() -> Libraries {
        Libraries(Toolchain::find().expect("clang, lld and llvm"))
    }

    /// Compiles [`SOURCE`] and links it into a library for macOS.
    pub fn library(&self, architecture: &str, layout: &[&str]) -> PathBuf {
        let library = self.0.path(&format!("{architecture}{}", layout.concat()));
        let link = [&["-dylib", "-install_name", "@rpath/it"], layout].concat();
        let source = Source {
            text: SOURCE,
            extension: "m",
            macos: "13.0",
            compile: &["-O1", "-fobjc-runtime=macosx"],
            link: &link,
        };
        self.0.build(source, architecture, &library);
        library
    }

    /// An arm64 library of the first layout, as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.library("arm64", LAYOUTS[0])).unwrap()
    }

    /// A universal file of the two architectures.
    pub fn universal(&self, options: &[&str]) -> Vec<u8> {
        let images = ["arm64", "x86_64"];
        let images = images.map(|name| fs::read(self.library(name, LAYOUTS[0])).unwrap());
        self.0.universal(&images, options)
    }
}

/// What a tool prints about a file.
pub fn ask(name: &str, options: &[&str], file: &Path) -> String {
    tools::ask_about(name, options, file).expect("an LLVM tool")
}
