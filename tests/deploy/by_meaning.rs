//! A driver that no signature describes: its rewrite is derived for it, proven, deployed
//! and taken back.

use agxpatch_simulate::driver::{Signing, Variant};
use agxpatch_simulate::mac::DRIVER;

use crate::kept::Kept;
use crate::unknown_build::unknown_build;

fn words(mac: &Kept, arguments: &[&str]) -> (i32, String) {
    let output = mac.run(arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn an_unknown_build_is_deployed_by_meaning_verified_and_reverted() {
    let driver = unknown_build(Signing::Platform);
    let mac = Kept::with_driver_file(&driver);
    let diagnosis = mac.json(&["doctor"]);
    assert_eq!(diagnosis["result"]["driver"]["verdict"], "derived", "{diagnosis}");

    let (code, shown) = words(&mac, &["deploy", "--unlisted-build", "--dry-run"]);
    assert_eq!(code, 0, "{shown}");
    for said in ["clear-under-lock", "derived for it from what its code does", "not published"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    // Without consent to an unlisted build nothing happens.
    assert_eq!(mac.json(&["deploy", "--dry-run"])["error"]["code"], "AGX-0702");

    let deployed = mac.deploy(&mac.digest());
    assert!(deployed.status.success(), "{deployed:?}");
    assert_eq!(words(&mac, &["simulate", "reboot"]).0, 0);
    assert_eq!(mac.state(), "ACTIVE");
    let (code, verified) = words(&mac, &["verify"]);
    assert_eq!(code, 0, "{verified}");
    for name in ["clears-under-lock", "original-kept", "proof"] {
        let passed = |line: &str| line.contains("PASS") && line.contains(name);
        assert!(verified.lines().any(passed), "{name}: {verified}");
    }
    let diagnosis = mac.json(&["doctor"]);
    assert_eq!(diagnosis["result"]["driver"]["patch"], "clear-under-lock", "{diagnosis}");
    let (code, again) = words(&mac, &["deploy", "--unlisted-build"]);
    assert_eq!(code, 0, "{again}");

    assert_eq!(words(&mac, &["revert", "--yes"]).0, 0);
    assert_eq!(words(&mac, &["simulate", "reboot"]).0, 0);
    assert_eq!(mac.state(), "CLEAN");
    assert!(mac.run(&["simulate", "get", DRIVER]).stdout == driver);
}

#[test]
fn without_room_for_the_original_code_nothing_is_deployed() {
    let driver = unknown_build(Signing::LinkerSigned);
    let mac = Kept::with_driver_file(&driver);
    let before = mac.bytes();
    let refused = mac.json(&["deploy", "--unlisted-build", "--dry-run"]);
    assert_eq!(refused["error"]["code"], "AGX-0715", "{refused}");
    assert!(refused["error"]["next"].is_string(), "{refused}");
    assert!(mac.bytes() == before);
    let diagnosis = mac.json(&["doctor"]);
    assert_eq!(diagnosis["result"]["driver"]["verdict"], "unrestorable", "{diagnosis}");
}

#[test]
fn a_driver_that_clears_in_time_is_not_patched() {
    let mac = Kept::with_driver(Variant::named("no-hit").unwrap());
    let refused = mac.json(&["deploy", "--unlisted-build", "--dry-run"]);
    let said = refused.to_string();
    assert_eq!(refused["error"]["code"], "AGX-0702", "{said}");
    assert!(said.contains("nothing to patch") && said.contains("clear under the lock"), "{said}");
}
