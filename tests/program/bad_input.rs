//! Input that is not a driver, and places nothing can be written to.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::{Place, Ran, driver, program, run};
use crate::unprivileged;

/// Patches a file of these bytes, which must be refused without writing.
fn refused(bytes: &[u8], exit: i32, code: &str) -> String {
    let place = Place::new();
    let d = place.file("d", bytes);
    let p = place.path("p");
    for arguments in [
        vec!["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()],
        vec!["verify".as_ref(), "--file".as_ref(), d.as_os_str()],
        vec!["inspect".as_ref(), d.as_os_str()],
    ] {
        let ran = run(&arguments);
        let first = ran.stderr.lines().next().unwrap_or_default();
        if arguments[0] == "patch" {
            assert_eq!((ran.code, ran.error_code()), (exit, code), "{}", ran.stderr);
            assert!(first.starts_with("agxpatch: "), "one line says what is wrong: {first}");
            assert!(ran.stderr.contains("\n  next: "), "and what to do: {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        assert_ne!(ran.code, 70, "{}", ran.stderr);
    }
    assert_eq!(place.names(), ["d"]);
    run(["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()]).stderr
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn patch(d: &Path, p: &Path) -> Ran {
    run(["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()])
}

#[test]
fn a_file_cut_at_any_load_command_is_refused() {
    let slice = &driver()[0xa6_4000..];
    let commands = u32::from_le_bytes(slice[16..20].try_into().unwrap());
    let mut at = 32;
    for _ in 0..commands {
        refused(&slice[..at + 6], 5, "AGX-0102");
        at += u32::from_le_bytes(slice[at + 4..at + 8].try_into().unwrap()) as usize;
    }
    assert!(commands > 10);
}

#[test]
fn a_universal_file_cut_short_is_refused() {
    for length in [4, 7, 20, 0x4000, 0xa6_4000, driver().len() - 1] {
        refused(&driver()[..length], 5, "AGX-0102");
    }
}

#[test]
fn overlapping_slices_are_refused() {
    let mut bytes = driver().to_vec();
    put(&mut bytes, 8 + 20 + 8, 0x8000);
    refused(&bytes, 5, "AGX-0102");
}

#[test]
fn a_slice_that_begins_past_the_end_is_refused() {
    let mut bytes = driver().to_vec();
    put(&mut bytes, 8 + 20 + 8, 0xffff_c000);
    refused(&bytes, 5, "AGX-0102");
}

#[test]
fn four_billion_slices_are_refused() {
    let mut bytes = driver().to_vec();
    put(&mut bytes, 4, u32::MAX);
    refused(&bytes, 5, "AGX-0102");
}

#[test]
fn an_empty_file_is_refused() {
    refused(b"", 5, "AGX-0101");
}

#[test]
fn encrypted_code_is_refused() {
    // The uuid's load command is as long as an encryption command is.
    let mut bytes = driver()[0xa6_4000..].to_vec();
    let mut at = 32;
    loop {
        let kind = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        if kind == 0x1b {
            break;
        }
        at += u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
    }
    bytes[at..at + 24]
        .copy_from_slice(&[0x2cu32, 24, 0x4000, 0x4000, 1, 0].map(u32::to_le_bytes).concat());
    refused(&bytes, 5, "AGX-0104");
}

#[test]
fn a_32_bit_image_is_named_and_refused() {
    let armv7 = [0xfeed_faceu32, 12, 9, 2, 0, 0, 0].map(u32::to_le_bytes).concat();
    assert!(refused(&armv7, 5, "AGX-0105").contains("slices: armv7"));
}

#[test]
fn a_big_endian_image_is_named_and_refused() {
    let ppc = [0xfeed_facfu32, 18, 0, 2, 0, 0, 0, 0].map(u32::to_be_bytes).concat();
    assert!(refused(&ppc, 5, "AGX-0105").contains("slices: ppc"));
}

#[test]
fn an_archive_is_refused() {
    refused(
        b"!<arch>\nlibdriver.o/   0           0     0     644     4         `\nabcd",
        5,
        "AGX-0101",
    );
}

#[test]
fn text_is_refused() {
    refused(b"#!/bin/sh\necho not a driver\n", 5, "AGX-0101");
}

#[test]
fn a_directory_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.path("d")).unwrap();
    let ran = patch(&place.path("d"), &place.path("p"));
    assert_eq!((ran.code, ran.error_code()), (8, "AGX-1001"), "{}", ran.stderr);
    assert!(ran.stderr.contains("expected a file, found a directory"));
}

#[test]
fn a_pipe_is_refused_without_waiting_for_a_writer() {
    let place = Place::new();
    let pipe = place.path("d");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let ran = patch(&pipe, &place.path("p"));
    assert_eq!((ran.code, ran.error_code()), (8, "AGX-1001"), "{}", ran.stderr);
}

#[test]
fn a_file_that_does_not_exist_is_refused() {
    let place = Place::new();
    let ran = patch(&place.path("d"), &place.path("p"));
    assert_eq!((ran.code, ran.error_code()), (8, "AGX-1001"), "{}", ran.stderr);
    assert!(ran.stderr.contains("next: check that the path exists"), "{}", ran.stderr);
}

#[test]
fn an_unreadable_file_is_refused() {
    let place = Place::new();
    let d = place.file("d", driver());
    std::fs::set_permissions(&d, std::fs::Permissions::from_mode(0o0)).unwrap();
    let mut command = unprivileged::agxpatch(&place.path("."));
    std::fs::set_permissions(place.path("."), std::fs::Permissions::from_mode(0o777)).unwrap();
    command.arg("patch").arg(&d).arg("-o").arg(place.path("p"));
    let ran: Ran = command.output().unwrap().into();
    assert_eq!((ran.code, ran.error_code()), (8, "AGX-1001"), "{}", ran.stderr);
    assert!(ran.stderr.contains("Permission denied"), "{}", ran.stderr);
}

#[test]
fn an_output_that_is_the_input_is_refused_by_any_name() {
    let place = Place::new();
    let d = place.file("d", driver());
    std::fs::hard_link(&d, place.path("hard")).unwrap();
    std::os::unix::fs::symlink(&d, place.path("soft")).unwrap();
    for name in ["d", "hard", "soft"] {
        for force in [&["--force"][..], &[]] {
            let path = place.path(name);
            let arguments = ["patch".as_ref(), d.as_os_str(), "-o".as_ref(), path.as_os_str()];
            let ran = run(arguments.into_iter().chain(force.iter().map(AsRef::as_ref)));
            assert_eq!((ran.code, ran.error_code()), (1, "AGX-1003"), "{name}: {}", ran.stderr);
        }
    }
    assert!(std::fs::read(&d).unwrap() == driver());
}

#[test]
fn an_output_that_exists_is_kept_unless_force_is_given() {
    let place = Place::new();
    let (d, p) = (place.file("d", driver()), place.file("p", b"precious"));
    let ran = patch(&d, &p);
    assert_eq!((ran.code, ran.error_code()), (1, "AGX-1003"), "{}", ran.stderr);
    assert_eq!(std::fs::read(&p).unwrap(), b"precious");
    let arguments = ["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()];
    let forced = run(arguments.into_iter().chain(["--force".as_ref()]));
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    assert_eq!(std::fs::metadata(&p).unwrap().len(), driver().len() as u64);
}

#[test]
fn an_output_that_is_not_a_regular_file_is_never_replaced() {
    let place = Place::new();
    let d = place.file("d", driver());
    std::fs::create_dir(place.path("directory")).unwrap();
    assert!(
        std::process::Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success()
    );
    std::os::unix::fs::symlink("/dev/null", place.path("null")).unwrap();
    for (name, what) in [
        ("pipe", "the output is a pipe or device"),
        ("null", "the output is a pipe or device"),
        ("directory", "the output is a directory"),
    ] {
        let p = place.path(name);
        for arguments in [
            vec!["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str(), "--force".as_ref()],
            vec!["synth".as_ref(), p.as_os_str(), "--force".as_ref()],
        ] {
            let ran = run(&arguments);
            assert_eq!((ran.code, ran.error_code()), (1, "AGX-1003"), "{name}: {}", ran.stderr);
            assert!(ran.stderr.contains(what), "{name}: {}", ran.stderr);
        }
    }
    assert_eq!(place.names(), ["d", "directory", "null", "pipe"]);
}

#[test]
fn an_output_in_a_directory_that_does_not_exist_is_refused() {
    let place = Place::new();
    let d = place.file("d", driver());
    let ran = patch(&d, &place.path("nowhere/p"));
    assert_eq!((ran.code, ran.error_code()), (8, "AGX-1002"), "{}", ran.stderr);
}

#[test]
fn a_disk_that_is_full_leaves_nothing_behind() {
    let place = Place::new();
    let d = place.file("d", driver());
    std::fs::create_dir(place.path("out")).unwrap();
    // No file may grow past a megabyte: the write fails half-way, as on a full
    // disk, as any user.
    let script = "trap '' XFSZ; ulimit -f 1024; exec \"$@\"";
    let mut command = std::process::Command::new("sh");
    command.env_clear().args(["-c", script, "sh"]).arg(program().get_program());
    command.arg("patch").arg(&d).arg("-o").arg(place.path("out/p"));
    let ran: Ran = command.output().unwrap().into();
    assert_eq!((ran.code, ran.error_code()), (8, "AGX-1002"), "{}", ran.stderr);
    assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 0);
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_1() {
    for arguments in [vec![], vec!["patch"], vec!["patch", "x"], vec!["frobnicate"]] {
        assert_eq!(run(&arguments).code, 1, "{arguments:?}");
    }
    assert_eq!(run(["--help"]).code, 0);
    assert_eq!(run(["--version"]).code, 0);
}

#[test]
fn errors_are_json_when_json_is_asked_for() {
    let place = Place::new();
    let d = place.file("d", b"text");
    let ran = run(["--json".as_ref(), "inspect".as_ref(), d.as_os_str()]);
    let error = ran.json();
    assert_eq!(error["schema"], "agxpatch.error/1");
    assert_eq!(error["exit"], 5);
    assert_eq!(error["error"]["code"], "AGX-0101");
    assert!(ran.stderr.is_empty());
}

#[test]
fn every_refusal_says_what_to_do_next() {
    let place = Place::new();
    let d = place.file("d", driver());
    // The code directory of the first slice, which says so by its magic number.
    let damaged = |new: [u8; 4], after: usize| {
        let mut bytes = driver().to_vec();
        let at = memchr::memmem::find(&bytes, &0xfade_0c02_u32.to_be_bytes()).unwrap() + after;
        bytes[at..at + 4].copy_from_slice(&new);
        bytes
    };
    let version = place.file("version", &damaged([9, 9, 9, 9], 8));
    let digests = place.file("digests", &damaged([0, 0, 0, 1], 28));
    let scattered = place.file("scattered", &damaged([0, 0, 0, 50], 44));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (file, out) = (text(&d), text(&place.path("p")));
    for arguments in [
        vec!["patch", &file, "-o", &out, "--patch", "unwritten"],
        vec!["prove", &file, "--patch", "unwritten"],
        vec!["patch", &text(&version), "-o", &out],
        vec!["patch", &text(&digests), "-o", &out],
        vec!["patch", &text(&scattered), "-o", &out],
        vec!["inspect", &text(&place.path("nothing"))],
        vec!["verify", "--file", &text(&place.path("nothing"))],
        vec!["signatures", "explain", "nothing"],
        vec!["signatures", "test", &text(&place.path("."))],
        vec!["synth", &file],
        vec!["synth", &text(&place.path("no/such/directory/d"))],
        vec!["synth", &out, "--variant", "nothing"],
        vec!["prove", &file, "--emit-tla", &format!("{file}/below")],
        vec!["prove", &file, "--html", &file],
    ] {
        let ran = run(&arguments);
        assert_ne!(ran.code, 0, "{arguments:?}");
        assert!(ran.stderr.contains("\n  next: "), "{arguments:?}: {}", ran.stderr);
        let json = run(arguments.iter().chain(&["--json"])).json();
        assert!(json["error"]["next"].is_string(), "{arguments:?}: {json}");
    }
    assert_eq!(place.names(), ["d", "digests", "scattered", "version"]);
}
