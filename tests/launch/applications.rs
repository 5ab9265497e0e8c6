//! `agxpatch run -- Foo.app`: the executable that the bundle's Info.plist names.

use agxpatch_core::error::Code;

use crate::forest::Forest;

const INFORMATION: &str = "/Applications/Trainer.app/Contents/Info.plist";
const EXECUTABLE: &str = "/Applications/Trainer.app/Contents/MacOS/Trainer";

fn information(executable: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict>\
         <key>CFBundleExecutable</key><string>{executable}</string></dict></plist>"
    )
    .into_bytes()
}

#[test]
fn an_application_bundle_stands_for_its_executable() {
    let forest = Forest::new("/usr/bin")
        .file(INFORMATION, 0o644, &information("Trainer"))
        .program(EXECUTABLE);
    assert_eq!(forest.starts(&["/Applications/Trainer.app", "--fast"]), [EXECUTABLE, "--fast"]);
}

#[test]
fn a_bundle_that_names_no_executable_of_its_own_is_refused() {
    for name in ["", "..", "../../../../bin/sh", "Missing"] {
        let forest = Forest::new("/usr/bin")
            .file(INFORMATION, 0o644, &information(name))
            .program(EXECUTABLE);
        let refused = forest.resolve(&["/Applications/Trainer.app"]).unwrap_err();
        assert_eq!(refused.code(), Code::CommandNotFound, "{name}");
        assert!(refused.advice().is_some(), "{name}");
    }
}

#[test]
fn a_bundle_without_a_readable_property_list_is_refused() {
    for bytes in [&b""[..], b"no property list", b"bplist00"] {
        let forest = Forest::new("/usr/bin").file(INFORMATION, 0o644, bytes).program(EXECUTABLE);
        let refused = forest.resolve(&["/Applications/Trainer.app"]).unwrap_err();
        assert_eq!(refused.code(), Code::CommandNotFound);
    }
}
