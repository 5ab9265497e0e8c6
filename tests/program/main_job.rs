//! Find, rewrite, reseal, and nothing else changes.

use crate::harness::{Place, driver, read, run, word};

/// Where the arm64e slice begins, and with it address 0.
const SLICE: usize = 0xa6_4000;

fn words_at(bytes: &[u8], addresses: impl IntoIterator<Item = usize>) -> Vec<u32> {
    addresses.into_iter().map(|address| word(bytes, SLICE + address)).collect()
}

fn window() -> impl Iterator<Item = usize> {
    std::iter::once(0x2be05c).chain((0x2be070..0x2be090).step_by(4))
}

#[test]
fn the_default_patch_writes_the_leak_free_words_and_the_result_verifies() {
    let place = Place::new();
    let (d, p) = (place.file("d", driver()), place.path("p"));
    let patched = run(["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()]);
    assert_eq!(patched.code, 0, "{}", patched.stderr);
    assert_eq!(
        words_at(&read(&p), window()),
        [
            0x540000c8, 0xaa1f03f4, 0xf8386a7f, 0x8b150320, 0x94105a5a, 0xb4000094, 0xaa1403e0,
            0x9410598f, 0xd503201f
        ]
    );
    let verified = run(["verify".as_ref(), "--file".as_ref(), p.as_os_str()]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
}

#[test]
fn a_patched_file_is_not_patched_again() {
    let place = Place::new();
    let (d, p, q) = (place.file("d", driver()), place.path("p"), place.path("q"));
    assert_eq!(run(["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()]).code, 0);
    let again = run(["patch".as_ref(), p.as_os_str(), "-o".as_ref(), q.as_os_str()]);
    assert_eq!(again.code, 0);
    assert!(again.stdout.contains("already patched"), "{}", again.stdout);
    assert_eq!(place.names(), ["d", "p"]);
}

#[test]
fn the_legacy_patch_by_name_writes_the_published_nine_words() {
    let place = Place::new();
    let (d, p) = (place.file("d", driver()), place.path("p"));
    let arguments = ["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()];
    let ran = run(arguments.into_iter().chain(["--patch".as_ref(), "legacy".as_ref()]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("free-lost-when-full"), "the defect is said: {}", ran.stdout);
    assert_eq!(
        words_at(&read(&p), window()),
        [
            0x54000128, 0xf8386a7f, 0x8b150320, 0x94105a5b, 0x14000005, 0xf8386a7f, 0x8b150320,
            0x94105a57, 0x14000001
        ]
    );
}

#[test]
fn a_legacy_patched_file_is_upgraded_to_the_same_bytes_and_brought_back() {
    let place = Place::new();
    let d = place.file("d", driver());
    let patch = |from: &str, to: &str, name: Option<&str>| {
        let (from, to) = (place.path(from), place.path(to));
        let mut arguments =
            vec!["patch".into(), from.into_os_string(), "-o".into(), to.into_os_string()];
        arguments.extend(name.into_iter().flat_map(|name| ["--patch".into(), name.into()]));
        let ran = run(arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    };
    patch("d", "legacy", Some("legacy"));
    patch("legacy", "upgraded", None);
    patch("d", "direct", None);
    assert!(read(&place.path("upgraded")) == read(&place.path("direct")));
    patch("upgraded", "back", Some("original"));
    let (original, back) = (read(&d), read(&place.path("back")));
    assert_eq!(words_at(&original, 0x2be000..0x2be100), words_at(&back, 0x2be000..0x2be100));
}

#[test]
fn only_the_listed_bytes_change() {
    let place = Place::new();
    let (d, p) = (place.file("d", driver()), place.path("p"));
    let ran =
        run(["--json".as_ref(), "patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()]);
    let report = ran.json();
    assert_eq!(report["schema"], "agxpatch.patch/2");
    let mut expected = driver().to_vec();
    for edit in report["result"]["edits"].as_array().unwrap() {
        let hex = |name: &str| {
            let text = edit[name].as_str().unwrap();
            (0..text.len() / 2)
                .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
                .collect::<Vec<u8>>()
        };
        let at = edit["at"].as_str().unwrap().strip_prefix("0x").unwrap();
        let at = usize::from_str_radix(at, 16).unwrap();
        let (old, new) = (hex("old"), hex("new"));
        assert_eq!(expected[at..at + old.len()], old);
        expected[at..at + new.len()].copy_from_slice(&new);
    }
    assert!(expected == read(&p));
}

#[test]
fn only_the_pages_that_must_be_are_touched() {
    let place = Place::new();
    let (d, p) = (place.file("d", driver()), place.path("p"));
    let ran =
        run(["--json".as_ref(), "patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()]);
    let report = ran.json();
    let edits = report["result"]["edits"].as_array().unwrap();
    let digests = edits.iter().filter(|edit| edit["kind"] == "page-hash").count();
    assert_eq!(digests, 1, "the window lies in one page");
    let patched = read(&p);
    let differing: Vec<usize> = driver()
        .chunks(0x1000)
        .zip(patched.chunks(0x1000))
        .enumerate()
        .filter(|(_, (old, new))| old != new)
        .map(|(page, _)| page)
        .collect();
    let window = (SLICE + 0x2be05c) / 0x1000;
    let signatures: Vec<usize> = differing.into_iter().filter(|page| *page != window).collect();
    // The head of either slice's directory and the two pages of its emptied
    // blobs; in the arm64e slice, the one renewed digest as well.
    assert_eq!(signatures.len(), 3 + 4, "{signatures:x?}");
}

#[test]
fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let place = Place::new();
    let d = place.file("d", driver());
    let ran = run(["patch".as_ref(), d.as_os_str(), "--dry-run".as_ref()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("dry run: nothing written"));
    assert_eq!(place.names(), ["d"]);
}

#[test]
fn colour_is_used_only_when_asked_for_or_on_a_terminal() {
    let place = Place::new();
    let d = place.file("d", driver());
    let with = |arguments: &[&str]| {
        let mut all = vec!["patch".into(), d.clone().into_os_string(), "--dry-run".into()];
        all.extend(arguments.iter().map(|argument| argument.into()));
        run(all).stdout
    };
    assert!(!with(&[]).contains('\x1b'));
    assert!(with(&["--color", "always"]).contains('\x1b'));
    assert!(!with(&["--color", "never"]).contains('\x1b'));
}

#[test]
fn verify_refuses_the_original_and_every_single_wrong_word() {
    let place = Place::new();
    let (d, p) = (place.file("d", driver()), place.path("p"));
    let verify =
        |file: &std::path::Path| run(["verify".as_ref(), "--file".as_ref(), file.as_os_str()]).code;
    assert_eq!(verify(&d), 2);
    run(["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()]);
    let sound = read(&p);
    for address in window() {
        let mut broken = sound.clone();
        broken[SLICE + address] ^= 1;
        assert_eq!(verify(&place.file("broken", &broken)), 2, "{address:#x}");
    }
}
