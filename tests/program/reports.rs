//! What reports say of files, and lists where there is more than one of a kind.

use agxpatch_simulate::driver::{self, Variant};

use crate::harness::{Place, driver, run};

fn variant(place: &Place, name: &str) -> std::path::PathBuf {
    place.file("d", &driver::build(Variant::named(name).unwrap()).unwrap())
}

#[test]
fn json_errors_keep_every_place_and_every_near_miss() {
    for (name, member) in [("two-hits", "at"), ("no-hit", "near miss")] {
        let place = Place::new();
        let d = variant(&place, name);
        let ran = run(["--json".as_ref(), "prove".as_ref(), d.as_os_str()]);
        assert_eq!(ran.code, 4, "{}", ran.stdout);
        let list = ran.json()["error"]["context"][member].as_array().unwrap().len();
        assert!(list >= 2, "{}", ran.stdout);
    }
}

#[test]
fn near_misses_show_every_line_that_differs_with_its_instruction() {
    let place = Place::new();
    let d = variant(&place, "no-hit");
    let ran = run(["inspect".as_ref(), d.as_os_str()]);
    let differing = |line: &&str| line.contains(", where line ") && line.contains(" wants `");
    assert!(ran.stdout.lines().filter(differing).count() >= 3, "{}", ran.stdout);
    let json = run(["--json".as_ref(), "inspect".as_ref(), d.as_os_str()]).json();
    let miss = &json["result"]["nearest"][0];
    let (fitting, distinguishing) =
        (miss["fitting"].as_u64(), json["result"]["distinguishing"].as_u64());
    let misfits = miss["misfits"].as_array().unwrap().len() as u64;
    assert_eq!(fitting.unwrap() + misfits, distinguishing.unwrap());
}

#[test]
fn a_release_is_known_by_its_uuid_and_the_list_says_what_is_known_of_each() {
    let place = Place::new();
    let d = place.file("d", driver());
    let inspected = run(["inspect".as_ref(), d.as_os_str()]).stdout;
    let release = "AGXMetalG16X 329.2 of macOS 15.6 to 15.7.x (inferred)";
    assert!(inspected.contains(&format!("by its UUID of the release {release}")), "{inspected}");
    // The UUID does not make a file the published one.
    assert!(inspected.contains("not among the published digests"), "{inspected}");
    let listed = run(["signatures", "list"]).stdout;
    assert!(listed.contains(&format!("known to hold it: {release}")), "{listed}");
    assert!(listed.contains("unknown: AGXMetalG13X 350.38 of macOS 26.4"), "{listed}");
    assert!(!listed.contains("unknown: AGXMetalG16X 329.2"), "{listed}");
}

#[test]
fn methods_are_listed_and_code_is_disassembled_where_asked() {
    let place = Place::new();
    let d = place.file("d", driver());
    let ask = |option: &str, value: &str| {
        run(["inspect".as_ref(), d.as_os_str(), option.as_ref(), value.as_ref()]).stdout
    };
    let methods = ask("--methods", "-[*ComputeContext destroyImpl]");
    assert!(methods.contains("0x2bdd1c  -[AGXG16XFamilyComputeContext destroyImpl]"), "{methods}");
    assert!(!methods.contains("initWithCommandBuffer"), "{methods}");
    let code = ask("--at", "0x2be08c");
    assert!(code.contains("0x2be08c  f8386a7f  str xzr, [x19, x24]"), "{code}");
    assert!(code.contains("0x2be090  a9497bfd  ldp x29, x30, [sp, #0x90]"), "{code}");
}
