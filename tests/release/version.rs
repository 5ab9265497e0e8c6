use crate::harness::prints;

#[test]
fn the_version_names_commit_and_catalogue() {
    let text = prints(&["--version"]);
    let lines: Vec<&str> = text.lines().collect();
    let catalogue = agxpatch_core::patch::Catalogue::built_in().unwrap().digest();
    assert_eq!(lines[0], concat!("agxpatch ", env!("CARGO_PKG_VERSION")));
    assert!(lines[1].starts_with("commit "), "{text}");
    assert_eq!(lines[2], format!("catalogue {catalogue}"));
    assert_eq!(lines.len(), 3);
}

#[test]
fn the_short_flag_says_the_same() {
    assert_eq!(prints(&["-V"]), prints(&["--version"]));
}
