//! The page that shows the proof.

use agxpatch_core::check::Check;
use agxpatch_core::proof::html::{LOCKLESS, Page, Version, render};
use agxpatch_core::proof::interleaving::{Interleavings, check};
use agxpatch_core::proof::steps::Steps;

use crate::published::{DEFAULT, LEGACY, ORIGINAL, listing, steps};

fn page(subject: &str, after: &[u32], obligations: &[Check]) -> String {
    let parts = |words: &[u32]| -> (Steps, Interleavings) {
        let steps = steps(words);
        let found = check(&steps, 3).unwrap();
        (steps, found)
    };
    let (old, new) = (parts(&ORIGINAL), parts(after));
    let (old_listing, new_listing) = (listing(&ORIGINAL), listing(after));
    render(&Page {
        subject,
        facts: vec![("patch", "agx-encoder-release".to_owned()), ("window", "0x2be05c".to_owned())],
        before: Version {
            name: "original",
            listing: &old_listing,
            steps: &old.0,
            interleavings: &old.1,
        },
        after: Version {
            name: "patched",
            listing: &new_listing,
            steps: &new.0,
            interleavings: &new.1,
        },
        obligations: obligations.to_vec(),
    })
    .unwrap()
}

#[test]
fn the_page_needs_no_network_and_no_script() {
    let page = page("-[X destroyImpl]", &DEFAULT, &[Check::pass("push-kept", "at 0x2be06c")]);
    for outside in ["http:", "https:", "//", "src=", "@import", "url(", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme") || page.contains("light-dark("));
}

#[test]
fn the_page_says_what_the_patch_does_not_do() {
    for words in [LEGACY, DEFAULT] {
        assert!(page("x", &words, &[]).contains(LOCKLESS));
    }
}

#[test]
fn text_from_the_file_is_escaped_in_html() {
    let hostile = "-[</title><img src=x> \"&']";
    let page = page(hostile, &DEFAULT, &[Check::fail("leak", hostile)]);
    assert!(!page.contains("<img"));
    assert!(page.contains("&lt;img src=x&gt; &quot;&amp;&#39;"));
}

#[test]
fn every_element_that_is_opened_is_closed() {
    let page = page("x", &LEGACY, &[Check::skipped("landing-pads", "not listed")]);
    for tag in [
        "main", "section", "table", "tr", "td", "th", "div", "svg", "text", "title", "p", "h2",
        "h3", "span", "b",
    ] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn the_harm_is_drawn_for_the_original_and_the_lockless_reader_alone() {
    // Both paths of the original, and the reader that takes no lock.
    assert_eq!(page("x", &DEFAULT, &[]).matches("box harm").count(), 3);
    assert_eq!(page("x", &ORIGINAL, &[]).matches("box harm").count(), 5);
    // The race window of the original: one moment on either path.
    assert_eq!(page("x", &DEFAULT, &[]).matches("class=\"race\"").count(), 2);
}
