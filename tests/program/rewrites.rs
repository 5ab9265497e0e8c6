//! A rewrite does what its lines say, or is refused: never less, and never silently.

use crate::authors::Catalog;
use crate::harness::{Ran, driver, read, word};

/// Where the store stands in the file that clears the field.
const CLEAR: usize = 0xa6_4000 + 0x2b_e08c;

/// Four instructions of the method that are not in the built-in signature's window.
const OTHER: usize = 0xa6_4000 + 0x2b_de00;

/// A pattern of those four by their bits, the first with this mask.
fn four_words(mask: u32) -> String {
    let line = |(index, mask): (usize, u32)| {
        format!("word {:08x}/{mask:08x}", word(driver(), OTHER + 4 * index) & mask)
    };
    [mask, !0, !0, !0].into_iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

fn catalog(pattern: &str, rewrite: &str) -> Catalog {
    let signature = format!(
        "name = \"mine\"\narchitectures = [\"arm64e\"]\npattern = \"\"\"\n{pattern}\n\"\"\"\n"
    );
    let patch = format!(
        "name = \"mine-p\"\nsignature = \"mine\"\nsummary = \"\"\nrewrite = \"\"\"\n{rewrite}\n\"\"\"\n"
    );
    Catalog::new(&[("mine.toml", &signature)], &[("mine-p.toml", &patch)])
}

impl Catalog {
    /// Patches `from` with the catalogue's own patch, or back.
    fn patched(&self, from: &str, to: &str, name: &str) -> Ran {
        self.run(&["patch", from, "-o", to, "--patch", name, "--unproven"])
    }

    fn word(&self, file: &str, at: usize) -> u32 {
        word(&read(&self.0.path().join(file)), at)
    }

    /// In how many places the catalogue's own signature stands.
    fn sites(&self, file: &str) -> usize {
        let result = &self.run(&["--json", "signatures", "test", file]).json()["result"];
        let found = result["found"].as_array().unwrap().iter();
        found.filter(|found| found["signature"] == "mine").count()
    }
}

const PATTERN: &str = "str xzr, [{self}, {ivar}]\nldp x29, x30, [sp, #0x90]";

#[test]
fn word_lines_are_written_and_put_back() {
    let original = word(driver(), OTHER);
    let mine = catalog(&four_words(!0), "word d503201f/ffffffff\n?\n?\n?");
    let ran = mine.patched("d", "p", "mine-p");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(mine.word("p", OTHER), 0xd503_201f);
    assert_eq!(mine.word("p", OTHER + 4), word(driver(), OTHER + 4));
    let ran = mine.run(&["patch", "p", "-o", "q", "--patch", "original", "--at", "0x2bde00"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(mine.word("q", OTHER), original);
}

#[test]
fn a_word_that_the_signature_leaves_open_cannot_be_put_back() {
    let mine = catalog(&four_words(0xffff_ff00), "nop\n?\n?\n?");
    let lint = mine.run(&["signatures", "lint"]);
    assert_eq!(lint.code, 2);
    let failed = |line: &str| line.contains("FAIL") && line.contains("original-restorable");
    assert!(lint.stdout.lines().any(failed), "{}", lint.stdout);
    let ran = mine.patched("d", "p", "mine-p");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let back = mine.run(&["patch", "p", "-o", "q", "--patch", "original", "--at", "0x2bde00"]);
    assert_eq!((back.code, back.error_code()), (5, "AGX-0303"), "{}", back.stderr);
    assert!(!mine.0.path().join("q").exists());
}

#[test]
fn a_rewrite_that_gives_only_some_bits_is_refused() {
    let ran = catalog(PATTERN, "word d503201e/fffffffe\n?").patched("d", "p", "mine-p");
    assert_eq!(ran.error_code(), "AGX-0302", "{}", ran.stderr);
    assert!(ran.stderr.contains("word d503201e/fffffffe"), "{}", ran.stderr);
}

#[test]
fn a_kept_line_is_still_asked_for_in_the_patched_form() {
    // `nop` and any instruction would occur all over the file.
    let mine = catalog(PATTERN, "nop\n?");
    assert_eq!(mine.patched("d", "p", "mine-p").code, 0);
    assert_eq!(mine.sites("p"), 1);
    let kept = catalog(PATTERN, "str {ivar}, [{self}, {ivar}]\n?");
    assert_eq!(kept.patched("d", "p", "mine-p").code, 0);
    assert_eq!(kept.patched("p", "q", "original").code, 0);
    assert_eq!(kept.word("q", CLEAR), 0xf838_6a7f);
}

#[test]
fn every_spelling_of_an_instruction_is_accepted() {
    for (line, expected) in [
        ("stur x0, [x1, #0]", 0xf800_0020),
        ("MOVZ X0, #16", 0xd280_0200),
        ("hint #0", 0xd503_201f),
        ("str xzr, [{self}]", 0xf900_027f),
        ("retab", 0xd65f_0fff),
        ("swpal xzr, {ivar}, [{self}]", 0xf8ff_8278),
    ] {
        let mine = catalog(PATTERN, &format!("{line}\n?"));
        let ran = mine.patched("d", "p", "mine-p");
        assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
        assert_eq!(mine.word("p", CLEAR), expected, "{line}");
    }
}
