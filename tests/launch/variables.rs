//! The variables a program is started with.

use std::ffi::OsStr;

use agxpatch::launch::environment::{Driver, Wanted, Way, changes, compose};
use agxpatch::launch::{Mode, Variables};

const GUARD: &str = "/Users/me/Library/Caches/agxpatch/guard/ab/libagx_guard.dylib";

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn guarded(mode: Mode) -> Wanted {
    Wanted { library: Some(GUARD.into()), mode, ..Wanted::default() }
}

fn get<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    variables.get(OsStr::new(name)).map(|value| value.to_str().unwrap())
}

#[test]
fn the_guard_comes_first_and_what_was_inserted_stays() {
    let before = variables(&[("DYLD_INSERT_LIBRARIES", "/a/trace.dylib:/b/libagx_fix.dylib")]);
    let after = compose(before, &guarded(Mode::Guard));
    let list = format!("{GUARD}:/a/trace.dylib:/b/libagx_fix.dylib");
    assert_eq!(get(&after, "DYLD_INSERT_LIBRARIES"), Some(list.as_str()));
}

#[test]
fn a_library_stands_in_the_list_once_and_one_guard_only() {
    let inherited = format!("/old/libagx_guard.dylib:{GUARD}:/a.dylib::/a.dylib");
    let before = variables(&[("DYLD_INSERT_LIBRARIES", &inherited)]);
    let after = compose(before, &guarded(Mode::Guard));
    let list = format!("{GUARD}:/a.dylib");
    assert_eq!(get(&after, "DYLD_INSERT_LIBRARIES"), Some(list.as_str()));
}

#[test]
fn a_setting_of_pytorch_is_not_added_and_one_of_the_user_stays() {
    let given = |before: &[(&str, &str)]| {
        let after = compose(variables(before), &guarded(Mode::Guard));
        get(&after, "MPS_FORCE_GRAPH_PATH").map(str::to_owned)
    };
    // Only one fork of PyTorch knows it, and there it changes the results' path.
    assert_eq!(given(&[]), None);
    assert_eq!(given(&[("MPS_FORCE_GRAPH_PATH", "0")]).as_deref(), Some("0"));
}

#[test]
fn the_mode_is_said_as_the_library_reads_it() {
    for (mode, text) in [
        (Mode::Guard, "guard"),
        (Mode::Throttle(3), "throttle=3"),
        (Mode::Serialize, "serialize"),
        (Mode::Observe, "observe"),
        (Mode::Off, "off"),
    ] {
        let after = compose(variables(&[("AGX_GUARD", "observe")]), &guarded(mode));
        assert_eq!(get(&after, "AGX_GUARD"), Some(text));
        assert_eq!(text.parse::<Mode>().unwrap(), mode);
    }
    for wrong in ["", "throttle", "throttle=0", "throttle=-1", "on", "Guard"] {
        assert!(wrong.parse::<Mode>().is_err(), "{wrong}");
    }
}

#[test]
fn without_the_guard_an_inherited_one_goes_and_all_else_stays() {
    let before = variables(&[
        ("DYLD_INSERT_LIBRARIES", "/old/libagx_guard.dylib:/a.dylib"),
        ("AGX_GUARD", "guard"),
        ("AGX_GUARD_PLUGIN", "../../../x"),
        ("HOME", "/Users/me"),
    ]);
    let after = compose(before, &Wanted::default());
    let left = variables(&[("DYLD_INSERT_LIBRARIES", "/a.dylib"), ("HOME", "/Users/me")]);
    assert_eq!(after, left);
    let only = variables(&[("DYLD_INSERT_LIBRARIES", "/old/libagx_guard.dylib")]);
    assert_eq!(compose(only, &Wanted::default()), Variables::new());
}

fn driver(way: Way) -> Wanted {
    let folder = "/Users/me/d/AGXMetalG16X.bundle/Contents/MacOS".into();
    let driver = Driver {
        plugin: "../../../Users/me/d/AGXMetalG16X".into(),
        instead_of: "AGXMetalG16X".into(),
        folder,
        patched: "2be05c:aa1f03f4".into(),
        original: "2be05c:54000108".into(),
        way,
    };
    Wanted { driver: Some(driver), ..guarded(Mode::Off) }
}

#[test]
fn by_lookup_the_guard_is_told_what_to_answer_and_for_whom() {
    let before = variables(&[("DYLD_LIBRARY_PATH", "/x")]);
    let after = compose(before, &driver(Way::Lookup));
    assert_eq!(get(&after, "AGX_GUARD_PLUGIN"), Some("../../../Users/me/d/AGXMetalG16X"));
    assert_eq!(get(&after, "AGX_GUARD_PLUGIN_FOR"), Some("AGXMetalG16X"));
    assert_eq!(get(&after, "AGX_GUARD_PATCHED"), Some("2be05c:aa1f03f4"));
    assert_eq!(get(&after, "AGX_GUARD_ORIGINAL"), Some("2be05c:54000108"));
    assert_eq!(get(&after, "DYLD_LIBRARY_PATH"), Some("/x"));
    assert_eq!(get(&after, "AGX_GUARD"), Some("off"));
}

#[test]
fn loading_by_path_shadows_the_folder_and_answers_no_name() {
    let folder = "/Users/me/d/AGXMetalG16X.bundle/Contents/MacOS";
    let had = format!("/x:{folder}");
    let before =
        variables(&[("DYLD_LIBRARY_PATH", &had), ("AGX_GUARD_PLUGIN", "from an outer run")]);
    let after = compose(before, &driver(Way::Path));
    assert_eq!(get(&after, "DYLD_LIBRARY_PATH"), Some(format!("{folder}:/x").as_str()));
    assert_eq!(get(&after, "AGX_GUARD_PLUGIN"), None);
    assert_eq!(get(&after, "AGX_GUARD_PATCHED"), Some("2be05c:aa1f03f4"));
}

#[test]
fn both_ways_of_loading_name_the_same_copy() {
    let before = variables(&[("DYLD_LIBRARY_PATH", "/opt/own/lib")]);
    let after = compose(before, &driver(Way::Both));
    let folder = "/Users/me/d/AGXMetalG16X.bundle/Contents/MacOS";
    // First, so that it is found; it holds one name, so nothing else is shadowed.
    let list = format!("{folder}:/opt/own/lib");
    assert_eq!(get(&after, "DYLD_LIBRARY_PATH"), Some(list.as_str()));
    assert_eq!(get(&after, "AGX_GUARD_PLUGIN"), Some("../../../Users/me/d/AGXMetalG16X"));
    assert_eq!(get(&after, "AGX_GUARD_PLUGIN_FOR"), Some("AGXMetalG16X"));
}

#[test]
fn the_users_own_report_stays_beside_ours() {
    let wanted = Wanted { reports: Some("/tmp/ours".into()), ..guarded(Mode::Guard) };
    let outer = [("AGX_GUARD_REPORT", "mine.json"), ("AGX_GUARD_REPORTS", "/tmp/of an outer run")];
    let after = compose(variables(&outer), &wanted);
    assert_eq!(get(&after, "AGX_GUARD_REPORT"), Some("mine.json"));
    assert_eq!(get(&after, "AGX_GUARD_REPORTS"), Some("/tmp/ours"));
    let quiet = compose(variables(&outer), &guarded(Mode::Guard));
    assert_eq!(get(&quiet, "AGX_GUARD_REPORTS"), None);
}

#[test]
fn changed_variables_are_named() {
    let before = variables(&[("A", "1"), ("B", "2"), ("C", "3")]);
    let after = variables(&[("A", "1"), ("B", "x"), ("D", "4")]);
    let told = changes(&before, &after);
    let expected = [("B", Some("x")), ("C", None), ("D", Some("4"))];
    assert_eq!(told, expected.map(|(name, value)| (name.into(), value.map(Into::into))));
}
