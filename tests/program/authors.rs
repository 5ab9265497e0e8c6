//! The mistakes of those who write signatures, and what they are told: the file,
//! the line, and what to do.

use crate::harness::{Ran, driver, run};

const SOUND: &str = "name = \"clear\"\narchitectures = [\"arm64e\"]\npattern = \"\"\"\nstr xzr, [{self}, {ivar}]\nldp x29, x30, [sp, #0x90]\n\"\"\"\n";
const REWRITE: &str =
    "name = \"cleared\"\nsignature = \"clear\"\nsummary = \"\"\nrewrite = \"\"\"\nnop\n?\n\"\"\"\n";

struct Catalog(tempfile::TempDir);

impl Catalog {
    fn new(signatures: &[(&str, &str)], patches: &[(&str, &str)]) -> Catalog {
        let folder = tempfile::tempdir().unwrap();
        for (kind, files) in [("signatures", signatures), ("patches", patches)] {
            std::fs::create_dir(folder.path().join(kind)).unwrap();
            for (name, text) in files {
                std::fs::write(folder.path().join(kind).join(name), text).unwrap();
            }
        }
        std::fs::write(folder.path().join("d"), driver()).unwrap();
        Catalog(folder)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let path = self.0.path();
        let named = arguments.iter().map(|a| if *a == "d" { path.join("d") } else { (*a).into() });
        run(named.chain(["--catalog".into(), path.into()]))
    }
}

/// One signature file with `pattern`, tried on the driver.
fn tried(pattern: &str) -> Ran {
    let text = SOUND.replace("str xzr, [{self}, {ivar}]\nldp x29, x30, [sp, #0x90]", pattern);
    Catalog::new(&[("mine.toml", &text)], &[]).run(&["signatures", "test", "d"])
}

#[track_caller]
fn told(ran: &Ran, code: &str, parts: &[&str]) {
    assert_eq!(ran.error_code(), code, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stdout, "");
    for part in parts.iter().chain(&["next: "]) {
        assert!(ran.stderr.contains(part), "no {part:?} in: {}", ran.stderr);
    }
}

#[test]
fn a_fault_in_a_pattern_is_told_by_file_and_line() {
    for (pattern, parts) in [
        ("nop\nmov x99, {a}", &["mine.toml:5", "mov x99, {a}"][..]),
        ("nop\nfrobnicate {a}", &["mine.toml:5", "frobnicate {a}"]),
        ("b outside", &["mine.toml:4", "a label that does not exist"]),
        ("nop\nadd {a}, {a}, #{a}", &["mine.toml:5", "two kinds of value"]),
        ("out: nop\nout: nop", &["mine.toml", "a label stands twice"]),
        ("mov x0, {a", &["mine.toml:4", "a brace is not closed"]),
        ("and {a}, {b}, #{n}", &["mine.toml:4", "and {a}, {b}, #{n}"]),
        ("word 5/ffffffff", &["mine.toml:4", "VALUE/MASK"]),
        ("?\n?", &["mine.toml:4", "says nothing"]),
        ("", &["mine.toml", "the pattern is empty"]),
        ("; only a remark", &["mine.toml", "the pattern is empty"]),
    ] {
        told(&tried(pattern), "AGX-0201", parts);
    }
}

#[test]
fn a_fault_in_a_file_is_told_by_file_and_line() {
    let patterns = SOUND.replace("pattern", "patern");
    for (text, line) in [
        ("name = ", "line 1"),
        (patterns.as_str(), "line 3"),
        ("name = \"clear\"\npattern = \"nop\"\n", "architectures"),
        ("\u{fffd}\u{0}", "line 1"),
    ] {
        let ran = Catalog::new(&[("mine.toml", text)], &[]).run(&["signatures", "list"]);
        told(&ran, "AGX-0302", &["mine.toml", line]);
    }
}

#[test]
fn what_contradicts_another_file_is_told_with_both() {
    let sound = ("mine.toml", SOUND);
    let intel = SOUND.replace("arm64e", "x86_64");
    let stranger = REWRITE.replace("signature = \"clear\"", "signature = \"other\"");
    let alias = format!("alias = \"legacy\"\n{REWRITE}");
    let long = REWRITE.replace("nop\n", "nop\nnop\n");
    for (signatures, patches, parts) in [
        (&[sound, ("more.toml", SOUND)][..], &[][..], &["mine.toml", "more.toml:1"][..]),
        (&[("mine.toml", &intel)], &[], &["mine.toml:2", "x86_64", "arm64, arm64e"]),
        (&[sound], &[("one.toml", REWRITE), ("two.toml", REWRITE)], &["one.toml", "two.toml:1"]),
        (&[sound], &[("one.toml", &stranger)], &["one.toml:2", "signature: other"]),
        (&[sound], &[("one.toml", &alias)], &["one.toml:1", "agx-encoder-release-legacy"]),
        (&[sound], &[("one.toml", &long)], &["one.toml:4", "3 for 2"]),
    ] {
        let ran = Catalog::new(signatures, patches).run(&["signatures", "test", "d"]);
        told(&ran, "AGX-0302", parts);
    }
}

#[test]
fn a_directory_that_holds_no_catalogue_is_refused() {
    for path in ["/nonexistent/catalog", "/dev/null"] {
        let ran = run(["signatures", "list", "--catalog", path]);
        assert_eq!(ran.error_code(), "AGX-1001", "{path}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(path), "{}", ran.stderr);
    }
    let ran = Catalog::new(&[], &[]).run(&["signatures", "list"]);
    told(&ran, "AGX-1001", &["signatures/*.toml"]);
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let ran = run(["signatures", "explain", "agx-encoder"]);
    told(&ran, "AGX-0204", &["known: agx-encoder-release"]);
}

#[test]
fn lint_goes_on_after_a_fault_and_names_each() {
    let idle = SOUND.replace("\"clear\"", "\"idle\"");
    let broken = SOUND.replace("\"clear\"", "\"broken\"").replace("str xzr", "frob xzr");
    let common = "name = \"common\"\narchitectures = [\"arm64\"]\npattern = \"bl {f}\\nbl {f}\"\n";
    let stray = REWRITE.replace("nop", "mov {nobody}, xzr").replace("\"clear\"", "\"idle\"");
    let files = [("a.toml", &*broken), ("b.toml", &*idle), ("c.toml", common)];
    let ran = Catalog::new(&files, &[("p.toml", &stray)]).run(&["signatures", "lint"]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    for (check, detail) in [
        ("compiles", "a.toml:4"),
        ("captures-used", "idle: ivar, self stand once"),
        ("names-known", "nobody captures nobody"),
        ("anchor-rare ", "common: `bl {f}` has 6 fixed bits"),
        ("anchor-rare-in-synthetic-driver", "common: "),
    ] {
        let told =
            |line: &str| line.contains("FAIL") && line.contains(check) && line.contains(detail);
        assert!(ran.stdout.lines().any(told), "{check}: {}", ran.stdout);
    }
    assert!(ran.stdout.contains("PASS    captures-used                    agx-encoder-release"));
}

#[test]
fn test_names_the_form_and_where_nothing_occurs_the_nearest_misses() {
    let near = SOUND
        .replace("#0x90", "#0x98")
        .replace("str xzr, [{self}, {ivar}]", "bl {f}\nstr xzr, [{s}, {i}]");
    let catalog = Catalog::new(&[("mine.toml", SOUND)], &[]);
    let ran = catalog.run(&["signatures", "test", "d"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("clear at 0x2be08c in arm64e, original"), "{}", ran.stdout);
    let patched = catalog.0.path().join("p");
    assert_eq!(
        run([
            "patch".as_ref(),
            catalog.0.path().join("d").as_os_str(),
            "-o".as_ref(),
            patched.as_os_str()
        ])
        .code,
        0
    );
    let ran = run(["signatures".as_ref(), "test".as_ref(), patched.as_os_str()]);
    assert!(ran.stdout.contains("in arm64e, patched by agx-encoder-release\n"), "{}", ran.stdout);

    // A file in which the built-in signature does not occur either.
    let other = catalog.0.path().join("no-hit");
    assert_eq!(
        run(["synth".as_ref(), other.as_os_str(), "--variant".as_ref(), "no-hit".as_ref()]).code,
        0
    );
    let catalog = Catalog::new(&[("mine.toml", &near)], &[]);
    let ran = run([
        "signatures".as_ref(),
        "test".as_ref(),
        other.as_os_str(),
        "--catalog".as_ref(),
        catalog.0.path().as_os_str(),
    ]);
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    for part in [
        "no signature occurs in ",
        "near misses of clear",
        "2 of 3 lines fit; the first that does not is line 3, `ldp x29, x30, [sp, #0x98]`",
        "near misses of agx-encoder-release",
        "of 10 lines fit",
    ] {
        assert!(ran.stdout.contains(part), "no {part:?} in {}", ran.stdout);
    }
}

#[test]
fn the_search_for_other_tools_finds_the_published_place_among_others() {
    let ran = run(["signatures", "explain", "agx-encoder-release"]);
    let line = ran.stdout.lines().find_map(|line| line.trim().strip_prefix("/x ")).unwrap();
    let bytes = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    };
    let (value, mask) = line.split_once(':').map(|(v, m)| (bytes(v), bytes(m))).unwrap();
    let here = |window: &[u8]| window.iter().zip(&mask).zip(&value).all(|((b, m), v)| b & m == *v);
    let found: Vec<usize> = driver()
        .windows(value.len())
        .enumerate()
        .filter(|(_, w)| here(w))
        .map(|(at, _)| at)
        .collect();
    assert!(found.contains(&(0xa6_4000 + 0x2b_e05c)));
    assert!(found.len() > 1, "decoys whose registers disagree have the fixed bits too");
}

#[test]
fn ten_thousand_signatures_are_no_trouble() {
    let one = |n: usize| {
        format!(
            "[[signature]]\nname = \"s{n}\"\narchitectures = [\"arm64e\"]\npattern = \"word {:08x}/ffffffff\\nword {n:08x}/ffffffff\"\n",
            n.wrapping_mul(0x9e37_79b1) as u32
        )
    };
    let many: String = (0..10_000).map(one).collect();
    let twice = format!("{many}{}", one(77));
    let ran = Catalog::new(&[("mine.toml", &many)], &[]).run(&["signatures", "test", "d"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("agx-encoder-release at 0x2be05c"), "{}", ran.stdout);
    let ran = Catalog::new(&[("mine.toml", &twice)], &[]).run(&["signatures", "test", "d"]);
    told(&ran, "AGX-0302", &["two signatures have one name", "mine.toml:40002"]);
}
