//! The drivers that can be built, by name.
//!
//! One table. Each entry differs from the published driver in one respect, which
//! is the respect in which a tool that only knows the published addresses fails.

/// How the slices are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// x86_64 and arm64e behind a 32-bit universal header, as published.
    Fat32,
    /// The same behind a 64-bit universal header.
    Fat64,
    /// A universal file of the arm64e slice alone, at 0x4000.
    Arm64eOnly,
    /// The arm64e slice without a universal header.
    Thin,
}

/// What the end of the encoder's release looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Unlocks, then clears the field: the published defect.
    Original,
    /// The defect twice within the method.
    Twice,
    /// The defect also in the render encoder's method, written as in the compute
    /// encoder's.
    InSiblingToo,
    /// The render encoder gives its block to the compute encoders' pool and a
    /// second one to another: the defect twice in one method.
    TwoBlocks,
    /// Clears under the lock.
    Correct,
    /// The published nine-word rewrite.
    Legacy,
    /// The first five words of that rewrite.
    Partly,
    /// The way past the pool enters the window where the block is not known to be
    /// NULL.
    BranchIntoWindow,
    /// A call stands between the load of the block and the test that enters the
    /// window.
    CallBeforeTest,
    /// The register of `_impl` is read after the window.
    ImplLive,
}

/// Which build of the driver it pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// 329.2: the published addresses, registers and UUID.
    Published,
    /// A build never seen: other addresses, registers, freelist and UUID.
    Other,
    /// What is known of the drivers of macOS 26: the destructor is called, the C++
    /// device has another place, and there are Metal 4 classes.
    Later,
}

/// Which names are left in the arm64e slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Symbols and Objective-C metadata.
    All,
    /// Objective-C metadata only.
    MetadataOnly,
    /// Neither.
    Neither,
}

/// How each slice is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// SHA-256, 4 KiB pages, platform binary, requirements and a CMS blob.
    Platform,
    /// The same with a SHA-1 code directory first, SHA-256 as the alternate.
    Sha1AndSha256,
    /// The same as [`Signing::Platform`] with 16 KiB pages.
    LargePages,
    /// As the linker signs: ad hoc, one code directory, nothing else.
    LinkerSigned,
    /// Not at all.
    Unsigned,
}

/// One synthetic driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Stable name, as `agxpatch synth --variant` takes it.
    pub name: &'static str,
    /// What sets it apart, in one line.
    pub about: &'static str,
    /// How the slices are wrapped.
    pub container: Container,
    /// What the end of the encoder's release looks like.
    pub release: Release,
    /// Which build it pretends to be.
    pub build: Build,
    /// Which names are left.
    pub names: Names,
    /// How each slice is signed.
    pub signing: Signing,
}

impl Variant {
    /// The driver as published.
    pub const PUBLISHED: Variant = Variant {
        name: "published",
        about: "the driver of macOS 15.7.3 as far as it is published",
        container: Container::Fat32,
        release: Release::Original,
        build: Build::Published,
        names: Names::All,
        signing: Signing::Platform,
    };

    const fn new(name: &'static str, about: &'static str) -> Variant {
        Variant { name, about, ..Variant::PUBLISHED }
    }

    const fn release(self, release: Release) -> Variant {
        Variant { release, ..self }
    }

    const fn container(self, container: Container) -> Variant {
        Variant { container, ..self }
    }

    const fn names(self, names: Names) -> Variant {
        Variant { names, ..self }
    }

    const fn signing(self, signing: Signing) -> Variant {
        Variant { signing, ..self }
    }

    const fn build(self, build: Build) -> Variant {
        Variant { build, ..self }
    }

    /// Every variant, the published one first.
    pub const ALL: &'static [Variant] = &[
        Variant::PUBLISHED,
        Variant::new("renamed", "another build: other registers, addresses, freelist and UUID")
            .build(Build::Other),
        Variant::new("destructor-called", "a build as those of macOS 26, with Metal 4 classes")
            .build(Build::Later),
        Variant::new("two-hits", "the sequence occurs twice within the method")
            .release(Release::Twice),
        Variant::new("sibling-hit", "the sequence occurs in the render encoder's method too")
            .release(Release::InSiblingToo),
        Variant::new("two-blocks", "the render encoder's method gives two blocks to two pools")
            .release(Release::TwoBlocks),
        Variant::new("no-hit", "the field is cleared under the lock: nothing to patch")
            .release(Release::Correct),
        Variant::new("legacy-patched", "the published nine-word rewrite is in place")
            .release(Release::Legacy),
        Variant::new("partly-patched", "five of the nine words of that rewrite are in place")
            .release(Release::Partly),
        Variant::new(
            "branch-into-window",
            "a branch enters the window where the block is not known to be NULL",
        )
        .release(Release::BranchIntoWindow),
        Variant::new(
            "call-before-test",
            "a call stands between the load of the block and the test that enters the window",
        )
        .release(Release::CallBeforeTest),
        Variant::new("impl-live", "the register of _impl is read after the window")
            .release(Release::ImplLive),
        Variant::new("stripped-symbols", "no symbols: the method is found by its metadata")
            .names(Names::MetadataOnly),
        Variant::new("stripped-metadata", "no symbols and no Objective-C metadata")
            .names(Names::Neither),
        Variant::new("fat64", "a 64-bit universal header").container(Container::Fat64),
        Variant::new("thin", "the arm64e slice without a universal header")
            .container(Container::Thin),
        Variant::new("arm64e-only", "a universal file of the arm64e slice alone, at 0x4000")
            .container(Container::Arm64eOnly),
        Variant::new("sha1-sha256", "a SHA-1 code directory and a SHA-256 alternate")
            .signing(Signing::Sha1AndSha256),
        Variant::new("large-pages", "a signature over 16 KiB pages").signing(Signing::LargePages),
        Variant::new("linker-signed", "signed ad hoc by the linker").signing(Signing::LinkerSigned),
        Variant::new("unsigned", "no signature and no load command for one")
            .signing(Signing::Unsigned),
    ];

    /// The variant of that name.
    pub fn named(name: &str) -> Option<&'static Variant> {
        Variant::ALL.iter().find(|variant| variant.name == name)
    }
}
