//! The mistakes of those who write signatures, and what they are told: the file,
//! the line, and what to do.

use agxpatch_simulate::driver::{self, Variant};

use crate::harness::{Ran, driver, run};
use crate::unprivileged;

pub const SOUND: &str = "name = \"clear\"\narchitectures = [\"arm64e\"]\npattern = \"\"\"\nstr xzr, [{self}, {ivar}]\nldp x29, x30, [sp, #0x90]\n\"\"\"\n";
const REWRITE: &str =
    "name = \"cleared\"\nsignature = \"clear\"\nsummary = \"\"\nrewrite = \"\"\"\nnop\n?\n\"\"\"\n";

pub struct Catalog(pub tempfile::TempDir);

impl Catalog {
    pub fn new(signatures: &[(&str, &str)], patches: &[(&str, &str)]) -> Catalog {
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

    pub fn run(&self, arguments: &[&str]) -> Ran {
        let path = self.0.path();
        let named = arguments
            .iter()
            .map(|a| if ["d", "p", "q"].contains(a) { path.join(a) } else { (*a).into() });
        run(named.chain(["--catalog".into(), path.into()]))
    }
}

impl Catalog {
    /// The same as a user to whom permissions apply.
    fn unprivileged(&self, arguments: &[&str]) -> Ran {
        let path = self.0.path();
        let mut command = unprivileged::agxpatch(path);
        command.args(arguments).arg("--catalog").arg(path);
        command.output().unwrap().into()
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
fn a_contradiction_between_two_files_names_both() {
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

/// Puts something odd at a path.
type Make = fn(&std::path::Path);

#[test]
fn a_catalogue_file_that_is_not_text_is_refused_by_name() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let make: [(&str, Make); 7] = [
        ("a pipe or device", |path| {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
        ("No such file or directory", |path| symlink("nothing", path).unwrap()),
        ("symbolic links", |path| symlink(path.file_name().unwrap(), path).unwrap()),
        ("a directory", |path| std::fs::create_dir(path).unwrap()),
        ("too large to be text", |path| {
            // A hole: it takes no room, and far more memory than there is to read.
            std::fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
        }),
        ("not UTF-8 text", |path| std::fs::write(path, b"\xff\xfe").unwrap()),
        ("Permission denied", |path| {
            std::fs::write(path, SOUND).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o0)).unwrap();
        }),
    ];
    for (what, make) in make {
        for kind in ["signatures", "patches"] {
            let catalog = Catalog::new(&[("mine.toml", SOUND)], &[]);
            make(&catalog.0.path().join(kind).join("odd.toml"));
            let list = &["signatures", "list"][..];
            let denied = what == "Permission denied";
            let ran = if denied { catalog.unprivileged(list) } else { catalog.run(list) };
            told(&ran, "AGX-1001", &[what, &format!("{kind}/odd.toml")]);
        }
    }
}

#[test]
fn a_signature_among_a_thousand_is_found_by_every_command() {
    let one = |n: u32| {
        let rest = n.wrapping_mul(0x9e37_79b1);
        format!(
            "[[signature]]\nname = \"s{n}\"\narchitectures = [\"arm64e\"]\npattern = \"word {rest:08x}/ffffffff\\nword {n:08x}/ffffffff\"\n"
        )
    };
    // Where the built-in signature is not, with words that stand there once.
    let bytes = driver::build(Variant::named("no-hit").unwrap()).unwrap();
    let words = bytes[0xa6_4000 + 0x2b_de00..][..64].chunks(4);
    let words: Vec<String> = words
        .map(|word| format!("word {:08x}/ffffffff", u32::from_le_bytes(word.try_into().unwrap())))
        .collect();
    let mine = SOUND
        .replace("name =", "[[signature]]\nname =")
        .replace("str xzr, [{self}, {ivar}]\nldp x29, x30, [sp, #0x90]", &words.join("\n"));
    let many: String = (0..1000).map(one).chain([mine]).collect();
    let rewrite = REWRITE.replace("nop\n?", &format!("nop{}", "\n?".repeat(15)));
    let catalog = Catalog::new(&[("mine.toml", &many)], &[("p.toml", &rewrite)]);
    std::fs::write(catalog.0.path().join("d"), bytes).unwrap();
    let p = catalog.0.path().join("p");
    let ran = catalog.run(&["inspect", "d"]);
    assert!(ran.stdout.contains("state: original\n  clear in arm64e"), "{}", ran.stdout);
    let path = p.to_str().unwrap();
    let ran = catalog.run(&["patch", "d", "-o", path, "--patch", "cleared", "--unproven"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = catalog.run(&["inspect", path]);
    assert!(ran.stdout.contains("state: patched\n  clear in arm64e"), "{}", ran.stdout);
}

#[test]
fn a_fault_in_a_signature_is_told_by_every_command_that_looks_for_it() {
    let broken = SOUND.replace("str xzr", "frob xzr");
    let catalog = Catalog::new(&[("mine.toml", &broken)], &[]);
    // The built-in signature is there, and the other need not be looked for.
    assert_eq!(catalog.run(&["inspect", "d"]).code, 0);
    let d = catalog.0.path().join("d");
    std::fs::remove_file(&d).unwrap();
    let words = ["synth".as_ref(), d.as_os_str(), "--variant".as_ref(), "no-hit".as_ref()];
    assert_eq!(run(words).code, 0);
    for command in [&["inspect", "d"][..], &["patch", "d", "--dry-run"]] {
        told(&catalog.run(command), "AGX-0201", &["mine.toml:4", "frob xzr"]);
    }
}

#[test]
fn a_sequence_that_occurs_everywhere_is_not_told_place_by_place() {
    let common = "name = \"common\"\narchitectures = [\"arm64e\"]\npattern = \"bl {f}\"\n";
    let rewrite = REWRITE.replace("\"clear\"", "\"common\"").replace("nop\n?", "nop");
    let catalog = Catalog::new(&[("mine.toml", common)], &[("p.toml", &rewrite)]);
    let ran = catalog.run(&["patch", "d", "--dry-run", "--patch", "cleared", "--unproven"]);
    told(&ran, "AGX-0203", &["more places"]);
    assert!(ran.stderr.lines().count() < 20, "{}", ran.stderr);
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
    let stray = REWRITE.replace("nop", "mov {unbound}, xzr").replace("\"clear\"", "\"idle\"");
    let files = [("a.toml", &*broken), ("b.toml", &*idle), ("c.toml", common)];
    let ran = Catalog::new(&files, &[("p.toml", &stray)]).run(&["signatures", "lint"]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    for (check, detail) in [
        ("compiles", "a.toml:4"),
        ("captures-used", "idle: ivar, self stand once"),
        ("names-known", "no line captures unbound"),
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
        "2 of 3 lines fit",
        ", where line 3 wants `ldp x29, x30, [sp, #0x98]`",
        "near misses of agx-encoder-release",
        "of 10 lines fit",
    ] {
        assert!(ran.stdout.contains(part), "no {part:?} in {}", ran.stdout);
    }
}

/// The push, the unlock and its argument, with the name of the function that is called.
fn unlocking(function: &str) -> String {
    format!(
        "name = \"unlocking\"\narchitectures = [\"arm64e\"]\nfunctions = {{ unlock = \"{function}\" }}\n\
         pattern = \"\"\"\nstr {{impl}}, [{{slot}}, #{{slots}}]\nadd x0, {{pool}}, {{lock}}\nbl {{unlock}}\n\"\"\"\n"
    )
}

#[test]
fn a_place_that_calls_another_function_does_not_match() {
    let right = unlocking("_os_unfair_lock_unlock");
    let ran = Catalog::new(&[("mine.toml", &right)], &[]).run(&["signatures", "test", "d"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("unlocking at 0x2be06c"), "{}", ran.stdout);
    let wrong = unlocking("_free");
    let ran = Catalog::new(&[("mine.toml", &wrong)], &[]).run(&["signatures", "test", "d"]);
    assert!(!ran.stdout.contains("unlocking at"), "{}", ran.stdout);
    let left_out = "places left out: they call other functions than the signature's";
    assert!(ran.stdout.contains(left_out), "{}", ran.stdout);
    // `patch` does not take such a place either.
    let push_only = "name = \"mine\"\nsignature = \"unlocking\"\nsummary = \"\"\nrewrite = \"\"\"\n\
                     ?\nadd x0, {lock}, {pool}\n?\n\"\"\"\n";
    let catalog = Catalog::new(&[("mine.toml", &wrong)], &[("mine.toml", push_only)]);
    let ran = catalog.run(&["patch", "d", "--dry-run", "--patch", "mine"]);
    assert_eq!(ran.error_code(), "AGX-0203", "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn lint_names_the_lines_that_a_rewrite_cannot_give_back() {
    let ran = Catalog::new(&[("mine.toml", SOUND)], &[("mine.toml", REWRITE)])
        .run(&["signatures", "lint"]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    let told = "cleared: not line 1 (`str xzr, [{self}, {ivar}]`), whose self the rewrite loses";
    let line = ran.stdout.lines().find(|line| line.contains("original-restorable"));
    let failed = ran.stdout.lines().any(|line| {
        line.contains("FAIL") && line.contains("original-restorable") && line.contains(told)
    });
    assert!(failed, "{line:?} in {}", ran.stdout);
}

/// A signature and a patch without roles are proven by what the code does.
#[test]
fn an_authors_own_rewrite_is_proven_to_do_the_same_or_refuted_by_name() {
    let freeing =
        SOUND.replace("str xzr, [{self}, {ivar}]\nldp", "mov x0, {impl}\nbl {free}\n?\nldp");
    let added = REWRITE.replace("nop\n?", "add x0, {impl}, #0\n?\n?\n?");
    let catalog = Catalog::new(&[("mine.toml", &freeing)], &[("mine.toml", &added)]);
    let ran = catalog.run(&["prove", "d", "--patch", "cleared"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("a strict refinement"), "{}", ran.stdout);

    let catalog = Catalog::new(&[("mine.toml", SOUND)], &[("mine.toml", REWRITE)]);
    let ran = catalog.run(&["prove", "d", "--patch", "cleared"]);
    assert_eq!(ran.code, 7, "{}{}", ran.stdout, ran.stderr);
    let lacking = "it differs from the original where no permission allows it: clear-kept";
    assert!(ran.stdout.contains(lacking), "{}", ran.stdout);
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
fn ten_thousand_signatures_are_checked() {
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
    assert!(ran.stdout.contains("agx-encoder-release at 0x2be05c"), "{}", ran.stdout);
    let ran = Catalog::new(&[("mine.toml", &twice)], &[]).run(&["signatures", "test", "d"]);
    told(&ran, "AGX-0302", &["two signatures have one name", "mine.toml:40002"]);
}

/// The headers of a file that holds many are found before it is parsed.
#[test]
fn a_line_of_an_essay_is_not_a_header() {
    let other = SOUND.replace("\"clear\"", "\"other\"");
    let many = format!(
        "# Two.\n\n[[signature]]\n{SOUND}essay = \"\"\"\n[[signature]]\nname = 'no'\n\"\"\"\n  [[signature]]\n{other}[signature.functions]\nivar = \"_free\"\n"
    );
    let ran = Catalog::new(&[("mine.toml", &many)], &[]).run(&["--json", "signatures", "list"]);
    let listed = ran.json()["result"]["signatures"].clone();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["agx-encoder-release", "clear", "other"]);
    assert_eq!(listed[1]["essay"], "[[signature]]\nname = 'no'\n");
    assert_eq!(listed[2]["functions"]["ivar"], "_free");
    let stray = format!("name = \"stray\"\n{many}");
    let ran = Catalog::new(&[("mine.toml", &stray)], &[]).run(&["signatures", "list"]);
    told(&ran, "AGX-0302", &["mine.toml", "line 1", "unknown field `name`"]);
}
