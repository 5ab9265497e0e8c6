//! The patched copy of the driver, among hostile neighbours.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use agxpatch::launch::environment::Way;
use agxpatch::launch::scoped::{Copy, prepare};
use agxpatch_core::Result;
use agxpatch_core::error::Code;
use agxpatch_core::patch::{self, Engine};
use agxpatch_host::Host;
use agxpatch_simulate::driver::{self, Signing};
use agxpatch_simulate::mac::{Fault, Reach, SimulatedMac, survive};

use crate::mac::{HOME, USER, home, mac, published};
use crate::unknown_build::unknown_build;

const RESOURCE: &str =
    "/System/Library/Extensions/AGXMetalG16X.bundle/Contents/Resources/a.metallib";

fn engine() -> Engine {
    Engine::built_in().unwrap()
}

fn copied(mac: &SimulatedMac) -> Result<Copy> {
    prepare(mac, home(), &engine(), Way::Lookup)
}

/// A Mac with a small driver, which is quicker to copy a hundred times.
fn small() -> SimulatedMac {
    static DRIVER: OnceLock<Vec<u8>> = OnceLock::new();
    let mac = mac(DRIVER.get_or_init(|| driver::build_scaled(7 << 20).unwrap()));
    mac.plant(RESOURCE, b"shaders").unwrap();
    mac
}

fn image(copy: &Copy) -> PathBuf {
    copy.driver.folder.join("AGXMetalG16X")
}

#[test]
fn the_whole_bundle_is_copied_and_its_image_patched_proven_and_sealed() {
    let mac = mac(published());
    mac.plant(RESOURCE, b"shaders").unwrap();
    let copy = copied(&mac).unwrap();
    let patched = mac.read(&image(&copy)).unwrap();
    let (checks, _) =
        patch::verify(&engine(), &patched.bytes, &patch::Selection::ByMethod).unwrap();
    assert!(agxpatch_core::check::none_failed(&checks), "{checks:#?}");
    assert_eq!(patched.bytes.len(), published().len());
    assert_eq!((patched.metadata.user, patched.metadata.mode), (USER, 0o755));
    let resource = copy.bundle.join("Contents/Resources/a.metallib");
    assert_eq!(mac.read(&resource).unwrap().bytes, b"shaders");
    let info = |bundle: &Path| mac.read(&bundle.join("Contents/Info.plist")).unwrap().bytes;
    assert_eq!(
        info(&copy.bundle),
        info(Path::new("/System/Library/Extensions/AGXMetalG16X.bundle"))
    );
    assert_eq!(copy.patch, "agx-encoder-release");
}

#[test]
fn a_build_without_a_signature_is_patched_by_meaning() {
    for signing in [Signing::Platform, Signing::LinkerSigned] {
        let driver = unknown_build(signing);
        let mac = mac(&driver);
        let copy = copied(&mac).unwrap();
        assert_eq!(copy.patch, "clear-under-lock");
        let patched = mac.read(&image(&copy)).unwrap().bytes;
        // What the guard looks for tells the copy from the system's driver.
        let said = |text: &str, bytes: &[u8]| {
            let (from, word) = text.split_once(':').unwrap();
            let from = usize::from_str_radix(from, 16).unwrap();
            let word = u32::from_str_radix(word, 16).unwrap();
            bytes[from..][..4] == word.to_le_bytes()
        };
        let Copy { driver: told, .. } = &copy;
        assert!(said(&told.original, &driver) && said(&told.patched, &patched), "{told:?}");
        assert!(!said(&told.original, &patched), "{told:?}");
    }
}

#[test]
fn the_guard_is_told_the_way_to_it_and_what_to_look_for() {
    let mac = mac(published());
    let copy = copied(&mac).unwrap();
    let own = format!("Library/Application Support/agxpatch/drivers/{}", copy.source_sha256);
    assert_eq!(copy.driver.plugin, format!("../../../Users/owner/{own}/AGXMetalG16X"));
    assert_eq!(copy.driver.instead_of, "AGXMetalG16X");
    assert_eq!(copy.bundle, Path::new(HOME).join(own).join("AGXMetalG16X.bundle"));
    // The published window begins at 0x2be05c; its first branch is turned.
    let words = |text: &str| -> Vec<String> {
        let (address, words) = text.split_once(':').unwrap();
        assert_eq!(address, "2be05c");
        words.split(',').map(str::to_owned).collect()
    };
    let (old, new) = (words(&copy.driver.original), words(&copy.driver.patched));
    assert_eq!((old[0].as_str(), new[0].as_str()), ("54000108", "540000c8"));
    assert_eq!(new[5..8], ["aa1f03f4", "f8386a7f", "8b150320"]);
    assert_eq!(old.len(), new.len());
}

#[test]
fn a_copy_that_is_right_is_only_read() {
    let mac = small();
    let first = copied(&mac).unwrap();
    let effects = mac.effects().unwrap();
    assert_eq!(copied(&mac).unwrap(), first);
    assert_eq!(mac.effects().unwrap(), effects);
    assert_eq!(first.replaced, None);
}

#[test]
fn a_copy_with_anything_altered_added_or_missing_is_made_again_and_said() {
    type Change = fn(&SimulatedMac, &Copy);
    let changes: [(Change, &str); 4] = [
        (|mac, copy| mac.append(&image(copy), b"!").unwrap(), "was altered"),
        (
            |mac, copy| {
                mac.append(&copy.bundle.join("Contents/Resources/a.metallib"), b"!").unwrap()
            },
            "was altered",
        ),
        (|mac, copy| mac.remove_file(&image(copy)).unwrap(), "is missing"),
        (
            |mac, copy| {
                mac.write_new(&copy.bundle.join("Contents/extra"), b"x", 0o644).unwrap();
            },
            "does not belong there",
        ),
    ];
    for (change, said) in changes {
        let mac = small();
        let first = copied(&mac).unwrap();
        change(&mac, &first);
        let second = copied(&mac).unwrap();
        let replaced = second.replaced.clone().unwrap_or_default();
        assert!(replaced.ends_with(said), "{replaced}");
        assert_eq!(Copy { replaced: None, ..second }, first);
        assert_eq!(copied(&mac).unwrap(), first);
    }
}

#[test]
fn files_that_another_user_put_into_the_copy_are_refused() {
    type Planting = fn(&SimulatedMac, &str);
    let plantings: [Planting; 3] = [
        |mac, path| mac.plant(path, b"root's").unwrap(),
        |mac, path| mac.plant_link(path, "/Users/Shared/evil").unwrap(),
        |mac, path| mac.plant_hard_link(path, "/Users/Shared/handle").unwrap(),
    ];
    for plant in plantings {
        let mac = small();
        let copy = copied(&mac).unwrap();
        plant(&mac, image(&copy).to_str().unwrap());
        let code = copied(&mac).unwrap_err().code();
        assert!([Code::PlaceNotOurs, Code::PathRefused].contains(&code), "{code}");
    }
}

#[test]
fn folders_of_another_user_or_behind_links_are_refused_before_anything_is_written() {
    type Planting = fn(&SimulatedMac, &str);
    let plantings: [Planting; 3] = [
        |mac, at| mac.plant_directory(at, 502, 0o755).unwrap(),
        |mac, at| mac.plant_directory(at, USER, 0o777).unwrap(),
        |mac, at| mac.plant_link(at, "/Users/Shared").unwrap(),
    ];
    for plant in plantings {
        for at in ["", "/agxpatch", "/agxpatch/drivers"] {
            let mac = small();
            let own = format!("{HOME}/Library/Application Support/agxpatch");
            mac.plant_directory(&own, USER, 0o755).unwrap();
            plant(&mac, &format!("{HOME}/Library/Application Support{at}"));
            let effects = mac.effects().unwrap();
            assert_eq!(copied(&mac).unwrap_err().code(), Code::PlaceNotOurs, "{at}");
            assert_eq!(mac.effects().unwrap(), effects);
        }
    }
}

#[test]
fn a_link_inside_the_systems_bundle_is_not_followed() {
    let mac = small();
    mac.plant_link(&RESOURCE.replace("a.metallib", "b"), "/Users/Shared/secret").unwrap();
    assert_eq!(copied(&mac).unwrap_err().code(), Code::NoDriverToCopy);
}

#[test]
fn root_makes_no_copy() {
    let mac = small();
    mac.change(|machine| machine.user = 0).unwrap();
    let effects = mac.effects().unwrap();
    assert_eq!(copied(&mac).unwrap_err().code(), Code::RunAsRoot);
    assert_eq!(mac.effects().unwrap(), effects);
}

#[test]
fn a_driver_of_another_family_is_left_alone() {
    for name in [Some("AMDMTLBronzeDriver"), Some("AGXMetal/../x"), None] {
        let mac = small();
        mac.change(|machine| machine.metal_plugin = name.map(str::to_owned)).unwrap();
        assert_eq!(copied(&mac).unwrap_err().code(), Code::NoDriverToCopy, "{name:?}");
    }
}

#[test]
fn a_driver_without_the_sequence_is_refused_and_nothing_written() {
    let broken = mac(b"\xcf\xfa\xed\xfe no driver at all");
    let effects = broken.effects().unwrap();
    assert!(copied(&broken).is_err());
    assert_eq!(broken.effects().unwrap(), effects);
}

#[test]
fn a_driver_that_is_patched_on_the_system_needs_no_copy() {
    let mac = small();
    let copy = copied(&mac).unwrap();
    let patched = mac.read(&image(&copy)).unwrap().bytes;
    let again = crate::mac::mac(&patched);
    assert_eq!(copied(&again).unwrap_err().code(), Code::NoDriverToCopy);
}

#[test]
fn each_build_of_the_driver_has_a_copy_of_its_own() {
    let mac = small();
    let first = copied(&mac).unwrap();
    let system = "/System/Library/Extensions/AGXMetalG16X.bundle/Contents/MacOS/AGXMetalG16X";
    mac.plant(system, &driver::build_scaled(8 << 20).unwrap()).unwrap();
    let second = copied(&mac).unwrap();
    assert_ne!(second.bundle, first.bundle);
    assert!(mac.metadata(&first.bundle).unwrap().is_some());
}

#[test]
fn killed_at_any_moment_the_next_run_has_the_whole_copy() {
    let whole = small();
    let before = whole.effects().unwrap();
    let expected = copied(&whole).unwrap();
    let count = whole.effects().unwrap() - before;
    assert!(count > 12, "{count}");
    let start = small();
    for nth in 1..=count {
        let mac = start.fork().unwrap();
        mac.inject(nth, Fault::Kill { reach: Reach::Midway }).unwrap();
        survive(|| copied(&mac)).unwrap_err();
        let found = copied(&mac.process()).unwrap();
        assert_eq!(Copy { replaced: None, ..found }, expected, "killed at {nth}");
    }
}
