//! A simulated Mac that loses its power ends the program, which says so.
//!
//! The released program does not unwind. `scripts/package` runs the same on it.

use std::path::Path;

use serde_json::Value;

use crate::harness::{prints, program};

/// Writes a file on the Mac, which is the first effect on it.
fn write(mac: &str, more: &[&str]) -> std::process::Output {
    let words = ["--simulate", mac, "simulate", "put", "/private/var/db/x"];
    program(&[&words[..], more].concat()).output().unwrap()
}

fn mac_about_to_lose_power(directory: &Path) -> String {
    let mac = directory.join("mac").to_str().unwrap().to_owned();
    prints(&["--simulate", &mac, "simulate", "new"]);
    prints(&["--simulate", &mac, "simulate", "fault", "1", "power"]);
    mac
}

#[test]
fn a_power_cut_ends_the_program_with_a_status_and_a_message() {
    let place = tempfile::tempdir().unwrap();
    let mac = mac_about_to_lose_power(place.path());
    let cut = write(&mac, &[]);
    let said = String::from_utf8(cut.stderr).unwrap();
    assert_eq!(cut.status.code(), Some(8), "{said}");
    assert!(said.contains("the simulated Mac lost its power"), "{said}");
    assert!(said.contains("next: start it with"), "{said}");
}

#[test]
fn a_mac_that_is_off_answers_nothing_until_it_is_started() {
    let place = tempfile::tempdir().unwrap();
    let mac = mac_about_to_lose_power(place.path());
    write(&mac, &[]);
    let off = write(&mac, &["--json"]);
    assert_eq!(off.status.code(), Some(8));
    let told: Value = serde_json::from_slice(&off.stdout).unwrap();
    assert_eq!(told["error"]["message"], "the simulated Mac is not running");
    assert!(prints(&["--simulate", &mac, "simulate", "show"]).contains(", off"));
    prints(&["--simulate", &mac, "simulate", "reboot"]);
    assert!(write(&mac, &[]).status.success());
}
