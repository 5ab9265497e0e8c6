//! The same rules for files on this computer and on the simulated Mac.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use agxpatch_core::error::Code;
use agxpatch_host::system::System;
use agxpatch_host::{FileKind, Host, trust};
use agxpatch_simulate::mac::SimulatedMac;

use super::{DRIVER, open_mac};

/// Puts something at the first path that leads to the second.
type Planter = Box<dyn Fn(&Path, &Path)>;

/// A directory on a host, and ways to put things there behind its back.
struct Ground {
    host: Box<dyn Host>,
    at: PathBuf,
    link: Planter,
    second_name: Planter,
    _kept: Option<tempfile::TempDir>,
}

fn grounds() -> [Ground; 2] {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().canonicalize().unwrap();
    let here = Ground {
        host: Box::new(System),
        at,
        link: Box::new(|path, target| symlink(target, path).unwrap()),
        second_name: Box::new(|new, old| fs::hard_link(old, new).unwrap()),
        _kept: Some(directory),
    };
    let mac = SimulatedMac::in_memory(DRIVER);
    let (first, second) = (mac.process(), mac.process());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let simulated = Ground {
        host: Box::new(mac),
        at: PathBuf::from("/private/var/db"),
        link: Box::new(move |path, target| first.plant_link(&text(path), &text(target)).unwrap()),
        second_name: Box::new(move |new, old| {
            second.plant_hard_link(&text(old), &text(new)).unwrap();
        }),
        _kept: None,
    };
    [here, simulated]
}

#[test]
fn a_file_is_written_read_renamed_and_removed() {
    for Ground { host, at, _kept, .. } in grounds() {
        let (first, second) = (at.join("first"), at.join("second"));
        host.write_new(&first, b"one", 0o640).unwrap();
        assert_eq!(host.write_new(&first, b"two", 0o640).unwrap_err().code(), Code::PathExists);
        host.append(&first, b" more").unwrap();
        host.sync_file(&first).unwrap();
        host.set_mode(&first, 0o600).unwrap();
        host.rename(&first, &second).unwrap();
        host.sync_directory(&at).unwrap();
        let file = host.read(&second).unwrap();
        assert_eq!(file.bytes, b"one more");
        assert_eq!((file.metadata.mode, file.metadata.kind), (0o600, FileKind::File));
        assert_eq!(host.read(&first).unwrap_err().code(), Code::PathMissing);
        assert!(host.list(&at).unwrap().contains(&"second".to_owned()));
        host.remove_file(&second).unwrap();
        assert_eq!(host.metadata(&second).unwrap(), None);
        let inner = at.join("inner");
        host.create_directory(&inner, 0o700).unwrap();
        assert_eq!(host.metadata(&inner).unwrap().unwrap().mode, 0o700);
        host.remove_directory(&inner).unwrap();
    }
}

#[test]
fn no_link_is_followed_at_the_end_of_a_path_or_on_the_way() {
    for Ground { host, at, link, _kept, .. } in grounds() {
        let target = at.join("target");
        host.create_directory(&target, 0o700).unwrap();
        host.write_new(&target.join("file"), b"x", 0o600).unwrap();
        let (file, directory) = (at.join("file-link"), at.join("directory-link"));
        link(&file, &target.join("file"));
        link(&directory, &target);
        let below = directory.join("file");
        let refusals = [
            host.read(&file).map(drop),
            host.read(&below).map(drop),
            host.metadata(&below).map(drop),
            host.append(&file, b"y"),
            host.append(&below, b"y"),
            host.write_new(&directory.join("new"), b"y", 0o600),
            host.create_directory(&directory.join("new"), 0o700),
            host.set_mode(&file, 0o777),
            host.set_owner(&file, 1, 1),
            host.sync_file(&below),
            host.remove_file(&below),
            host.rename(&below, &at.join("moved")),
            host.rename(&target.join("file"), &directory.join("moved")),
            host.lock(&file).map(drop),
        ];
        for (at, refusal) in refusals.into_iter().enumerate() {
            assert_eq!(refusal.unwrap_err().code(), Code::PathRefused, "refusal {at}");
        }
        assert_eq!(host.write_new(&file, b"y", 0o600).unwrap_err().code(), Code::PathExists);
        assert_eq!(host.read(&target.join("file")).unwrap().bytes, b"x");
        assert_eq!(host.metadata(&file).unwrap().unwrap().kind, FileKind::Link);
        // Renaming over a link replaces the link.
        host.write_new(&at.join("new"), b"z", 0o600).unwrap();
        host.rename(&at.join("new"), &file).unwrap();
        assert_eq!(host.read(&file).unwrap().bytes, b"z");
        assert_eq!(host.read(&target.join("file")).unwrap().bytes, b"x");
    }
}

#[test]
fn a_second_name_of_a_file_is_seen_and_not_written_through() {
    for Ground { host, at, second_name, _kept, .. } in grounds() {
        let (file, other) = (at.join("file"), at.join("other"));
        host.write_new(&file, b"x", 0o600).unwrap();
        second_name(&other, &file);
        assert_eq!(host.metadata(&file).unwrap().unwrap().links, 2);
        assert_eq!(host.append(&other, b"y").unwrap_err().code(), Code::PathRefused);
        assert_eq!(host.read(&file).unwrap().bytes, b"x");
    }
}

#[test]
fn a_path_that_is_not_plain_is_refused() {
    for Ground { host, _kept, .. } in grounds() {
        for path in ["relative", "", "/private/../etc", "/private/var/.."] {
            let error = host.metadata(Path::new(path)).unwrap_err();
            assert_eq!(error.code(), Code::PathRefused, "{path}");
        }
    }
}

#[test]
fn a_lock_is_held_once_and_given_up_when_dropped() {
    for Ground { host, at, _kept, .. } in grounds() {
        let path = at.join("lock");
        let held = host.lock(&path).unwrap();
        assert_eq!(host.lock(&path).map(drop).unwrap_err().code(), Code::Locked);
        drop(held);
        host.lock(&path).map(drop).unwrap();
    }
}

#[test]
fn a_pipe_in_the_way_does_not_hold_the_program_up() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().canonicalize().unwrap().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    assert_eq!(System.read(&pipe).unwrap_err().code(), Code::PathRefused);
}

#[test]
fn the_process_mask_takes_nothing_from_a_mode() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap().join("shared");
    System.write_new(&path, b"", 0o666).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o666);
}

#[test]
fn only_paths_that_belong_to_root_alone_are_trusted() {
    let mac = open_mac();
    let good = Path::new("/private/var/db/agxpatch/backup");
    trust::only_root_can_change(&mac, good).unwrap();
    let recovery = Path::new("/Users/Shared/agxpatch");
    trust::only_root_can_change(&mac, recovery).unwrap();
    let distrusted = |plant: &dyn Fn(&SimulatedMac), path: &str| {
        let mac = open_mac();
        plant(&mac);
        let error = trust::only_root_can_change(&mac, Path::new(path)).unwrap_err();
        assert_eq!(error.code(), Code::PathRefused, "{path}");
    };
    let own = "/private/var/db/agxpatch";
    distrusted(&|mac| mac.plant_directory(own, 501, 0o755).unwrap(), own);
    distrusted(&|mac| mac.plant_directory(own, 0, 0o777).unwrap(), own);
    distrusted(&|mac| mac.plant_directory(own, 0, 0o775).unwrap(), own);
    distrusted(&|mac| mac.plant_directory(own, 0, 0o1777).unwrap(), own);
    distrusted(&|mac| mac.plant_link(own, "/Users/Shared").unwrap(), own);
    let shared = "/Users/Shared/agxpatch";
    distrusted(&|mac| mac.plant_directory(shared, 501, 0o755).unwrap(), shared);
    distrusted(
        &|mac| {
            mac.plant("/private/var/db/a", b"x").unwrap();
            mac.plant_hard_link("/private/var/db/a", "/private/var/db/b").unwrap();
        },
        "/private/var/db/b",
    );
}
