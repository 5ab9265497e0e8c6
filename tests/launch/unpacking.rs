//! The guard library in the user's cache.

use agxpatch::launch::library::{embedded, unpack};
use agxpatch_core::error::Code;
use agxpatch_host::{Host, system::System};
use agxpatch_simulate::mac::{Fault, SimulatedMac, survive};

use crate::mac::{HOME, USER, home, mac};

const BYTES: &[u8] = b"the guard library of this build";

fn empty() -> SimulatedMac {
    mac(b"no driver")
}

fn unpacked(mac: &SimulatedMac) -> String {
    unpack(mac, home(), BYTES).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn it_is_unpacked_once_into_folders_of_the_users_alone() {
    let mac = empty();
    let path = unpacked(&mac);
    assert!(path.starts_with(&format!("{HOME}/Library/Caches/agxpatch/guard/")), "{path}");
    assert!(path.ends_with("/libagx_guard.dylib"));
    let file = mac.read(path.as_ref()).unwrap();
    assert_eq!((file.bytes.as_slice(), file.metadata.mode), (BYTES, 0o500));
    let folder = mac.metadata(std::path::Path::new(&path).parent().unwrap()).unwrap().unwrap();
    assert_eq!((folder.mode, folder.user), (0o700, USER));
    let effects = mac.effects().unwrap();
    assert_eq!(unpacked(&mac), path);
    assert_eq!(mac.effects().unwrap(), effects, "a second time nothing is written");
}

#[test]
fn libraries_of_two_builds_lie_side_by_side() {
    let mac = empty();
    let first = unpacked(&mac);
    let second = unpack(&mac, home(), b"another build").unwrap();
    assert_ne!(second.to_str().unwrap(), first);
    assert_eq!(mac.read(first.as_ref()).unwrap().bytes, BYTES);
}

#[test]
fn an_altered_library_is_unpacked_again() {
    let mac = empty();
    let path = unpacked(&mac);
    mac.set_mode(path.as_ref(), 0o600).unwrap();
    mac.append(path.as_ref(), b"!").unwrap();
    assert_eq!(unpacked(&mac), path);
    assert_eq!(mac.read(path.as_ref()).unwrap().bytes, BYTES);
}

#[test]
fn a_file_that_is_not_the_users_is_refused_even_with_the_right_bytes() {
    let mac = empty();
    let path = unpacked(&mac);
    mac.plant(&path, BYTES).unwrap(); // planted files are root's
    assert_eq!(unpack(&mac, home(), BYTES).unwrap_err().code(), Code::PlaceNotOurs);
}

#[test]
fn a_file_with_a_second_name_is_refused() {
    let mac = empty();
    let path = unpacked(&mac);
    mac.plant_hard_link(&path, "/Users/Shared/handle").unwrap();
    assert_eq!(unpack(&mac, home(), BYTES).unwrap_err().code(), Code::PlaceNotOurs);
}

#[test]
fn folders_others_could_write_to_are_refused_and_links_not_followed() {
    type Planting = fn(&SimulatedMac, &str);
    let cases: [(Planting, Code); 4] = [
        (|mac, at| mac.plant_directory(at, USER, 0o777).unwrap(), Code::PlaceNotOurs),
        (|mac, at| mac.plant_directory(at, USER, 0o770).unwrap(), Code::PlaceNotOurs),
        (|mac, at| mac.plant_directory(at, 502, 0o700).unwrap(), Code::PlaceNotOurs),
        (|mac, at| mac.plant_link(at, "/Users/Shared").unwrap(), Code::PlaceNotOurs),
    ];
    for (plant, code) in cases {
        for at in ["agxpatch", "agxpatch/guard"] {
            let mac = empty();
            mac.plant_directory(&format!("{HOME}/Library/Caches/agxpatch"), USER, 0o700).unwrap();
            plant(&mac, &format!("{HOME}/Library/Caches/{at}"));
            let effects = mac.effects().unwrap();
            assert_eq!(unpack(&mac, home(), BYTES).unwrap_err().code(), code, "{at}");
            assert_eq!(mac.effects().unwrap(), effects, "nothing was written");
        }
    }
}

#[test]
fn a_link_planted_as_the_stage_is_not_written_through() {
    let mac = empty();
    let path = unpacked(&mac);
    let folder = path.strip_suffix("/libagx_guard.dylib").unwrap();
    mac.plant("/Users/Shared/victim", b"precious").unwrap();
    mac.remove_file(path.as_ref()).unwrap();
    mac.plant_link(&format!("{folder}/stage"), "/Users/Shared/victim").unwrap();
    assert_eq!(unpacked(&mac), path);
    assert_eq!(mac.read("/Users/Shared/victim".as_ref()).unwrap().bytes, b"precious");
}

#[test]
fn after_any_fault_at_any_moment_the_next_run_finds_or_makes_the_whole() {
    let whole = empty();
    let before = whole.effects().unwrap();
    unpacked(&whole);
    let count = whole.effects().unwrap() - before;
    assert!(count > 8, "{count}");
    for fault in Fault::all() {
        for nth in 1..=count {
            let mac = empty();
            mac.inject(nth, fault).unwrap();
            let first = survive(|| unpack(&mac, home(), BYTES));
            let mac = mac.process();
            if matches!(fault, Fault::Power { .. }) {
                mac.reboot().unwrap();
            }
            let path = unpack(&mac, home(), BYTES).unwrap();
            assert_eq!(mac.read(&path).unwrap().bytes, BYTES, "{fault:?} at {nth}: {first:?}");
        }
    }
}

#[test]
fn a_home_that_would_be_two_in_dylds_list_is_refused() {
    let mac = empty();
    for folder in ["", "/Library", "/Library/Caches"] {
        mac.plant_directory(&format!("/Users/a:b{folder}"), USER, 0o700).unwrap();
    }
    let error = unpack(&mac, "/Users/a:b".as_ref(), BYTES).unwrap_err();
    assert_eq!(error.code(), Code::PathRefused);
}

#[test]
fn on_a_real_disk_it_lies_where_dyld_can_read_it() {
    let place = tempfile::tempdir().unwrap();
    let home = std::fs::canonicalize(place.path()).unwrap();
    let path = unpack(&System, &home, BYTES).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), BYTES);
    assert_eq!(unpack(&System, &home, BYTES).unwrap(), path);
}

#[test]
fn a_build_without_a_library_says_how_to_build_one() {
    let error = match embedded() {
        Ok(bytes) => return assert!(!bytes.is_empty()),
        Err(error) => error,
    };
    assert_eq!(error.code(), Code::NoGuardLibrary);
    assert!(error.advice().unwrap().contains("AGXPATCH_GUARD_DYLIB"));
}

#[test]
fn under_sudo_the_home_of_another_is_not_called_something_to_remove() {
    let mac = empty();
    mac.change(|machine| machine.user = 0).unwrap();
    let error = unpack(&mac, home(), BYTES).unwrap_err();
    assert_eq!(error.code(), Code::PlaceNotOurs);
    assert_eq!(error.advice(), Some("run this as the user whose home it is, without sudo"));
}

#[test]
fn a_second_process_waits_while_the_first_unpacks() {
    let place = tempfile::tempdir().unwrap();
    let home = std::fs::canonicalize(place.path()).unwrap();
    let path = unpack(&System, &home, BYTES).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lock = path.parent().unwrap().parent().unwrap().join("lock");
    let held = System.lock(&lock).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| unpack(&System, &home, BYTES).unwrap());
        std::thread::yield_now();
        drop(held);
        assert_eq!(waiting.join().unwrap(), path);
    });
}
