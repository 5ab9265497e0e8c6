//! A fault of another program, described in a catalogue of one's own and patched
//! by the program: a block is given back and the lock dropped before the field
//! that points to the block is cleared.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use apple_codesign::cryptography::DigestType;

use crate::engine::{assert_sealed, parts};
use agxpatch_oracles::signer::{How, sign};
use agxpatch_oracles::{Kind, Toolchain, signature_judge as judge, tools};

const SIGNATURE: &str = r#"
name = "recycle-release"
summary = "a field is cleared after the lock that guards it is dropped"
architectures = ["arm64"]
pattern = """
        mov     x0, {self}
        bl      {unlock}
        str     xzr, [{self}, #{field}]
  done:
"""
"#;

const PATCH: &str = r#"
name = "recycle-release"
signature = "recycle-release"
summary = "clears the field while the lock is held"
default = true
rewrite = """
        str     xzr, [{self}, #{field}]
        mov     x0, {self}
        bl      {unlock}
  done:
"""
"#;

/// The same fault at another address, in other registers, at another offset.
const PROGRAMS: [&str; 2] = [
    "struct box { long name; void *block; };
     static volatile int pool_lock;
     void unlock_pool(struct box *box) { pool_lock = box->name != 0; }
     void recycle(void *block) { pool_lock += block != 0; }
     void release(struct box *box) {
         pool_lock = 1;
         recycle(box->block);
         unlock_pool(box);
         box->block = 0;
     }
     void start(void) {}",
    "struct box { long names[40]; void *block; };
     static volatile int pool_lock;
     int sum(int *of) { int all = 0; for (int i = 0; i < of[0]; i++) all += of[i]; return all; }
     void unlock_pool(struct box *box) { pool_lock = box->names[3] != 0; }
     void recycle(void *block) { pool_lock += block != 0; }
     long release(int *counts, struct box *box) {
         int count = sum(counts);
         recycle(box->block);
         unlock_pool(box);
         box->block = 0;
         return count + sum(counts);
     }
     void start(void) {}",
];

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        for (kind, text) in [("signatures", SIGNATURE), ("patches", PATCH)] {
            let directory = folder.path().join("catalog").join(kind);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("recycle-release.toml"), text).unwrap();
        }
        Bench { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the program with the catalogue.
    fn agxpatch(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_agxpatch"))
            .args(arguments)
            .arg("--catalog")
            .arg(self.path("catalog"))
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) {
        let output = self.agxpatch(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
    }
}

/// The instructions of `_release` without addresses and encodings.
fn release(file: &[u8]) -> Vec<String> {
    let arguments =
        ["--macho", "--arch=arm64", "--dis-symname", "_release", "-d", "--no-show-raw-insn"];
    let listing = tools::ask("llvm-objdump", &arguments, file).unwrap();
    let instruction = |line: &str| line.split_once('\t').map(|(_, text)| text.replace('\t', " "));
    listing.lines().filter_map(instruction).collect()
}

fn code(file: &[u8]) -> Vec<Vec<u8>> {
    parts(file).unwrap().into_iter().map(|part| file[part.text.unwrap()].to_vec()).collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn a_function_of_a_stranger_s_is_patched_through_a_catalogue_and_put_back() {
    let Some(toolchain) = Toolchain::find() else { return };
    let how = How {
        certificate: true,
        hardened: true,
        digests: (DigestType::Sha1, Some(DigestType::Sha256)),
    };
    for source in PROGRAMS {
        let bench = Bench::new();
        let images = ["arm64", "x86_64"].map(|name| toolchain.link(source, name, Kind::Library));
        let before = sign(&toolchain.universal(&images, &[]), how);
        std::fs::write(bench.path("before"), &before).unwrap();

        let patch = ["patch", "before", "-o", "after", "--patch", "recycle-release"];
        let patched = bench.agxpatch(&patch);
        let said = String::from_utf8_lossy(&patched.stdout);
        assert!(patched.status.success(), "{patched:?}");
        assert!(said.contains("proven") && !said.contains("not proven"), "{said}");
        let after = read(&bench.path("after"));
        assert_eq!(judge::problems(&after), [""; 0]);
        assert_swapped(&release(&before), &release(&after));
        let differs = code(&before).into_iter().zip(code(&after)).filter(|(old, new)| old != new);
        assert_eq!(differs.count(), 1, "the x86_64 code is untouched");
        bench.succeeds(&["verify", "--file", "after"]);

        bench.succeeds(&["patch", "after", "-o", "back", "--patch", "original"]);
        let back = read(&bench.path("back"));
        assert_sealed("the way back", &before, &back, &[]);
        assert_eq!(judge::problems(&back), [""; 0]);
    }
}

/// The clear moved up over the unlock, and nothing else moved.
fn assert_swapped(before: &[String], after: &[String]) {
    let clear = before.iter().position(|line| line.starts_with("str xzr")).unwrap();
    let mut expected = before.to_vec();
    expected[clear - 2..=clear].rotate_right(1);
    assert_eq!(after, expected);
}

#[test]
fn a_file_without_the_sequence_is_not_written() {
    let Some(toolchain) = Toolchain::find() else { return };
    let bench = Bench::new();
    let image = toolchain.link("int start(int x) { return x * 3; }", "arm64", Kind::Library);
    std::fs::write(bench.path("before"), image).unwrap();
    let output = bench.agxpatch(&["patch", "before", "-o", "after", "--patch", "recycle-release"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("AGX-0202"), "{output:?}");
    assert!(!bench.path("after").exists());
}
