//! The dry run changes nothing and tells everything; the record keeps secrets.

use std::cell::RefCell;
use std::path::Path;

use agxpatch_host::dry_run::{DryRun, REHEARSED_SNAPSHOT};
use agxpatch_host::logging_host::{Entry, Logged};
use agxpatch_host::{Command, Host, Input, Tool, volume};
use agxpatch_simulate::mac::DRIVER as PATH;

use super::{DRIVER, MOUNT, bless, mount, open_mac, umount};

#[test]
fn a_rehearsed_deployment_changes_nothing_and_reads_back_what_it_wrote() {
    let mac = open_mac();
    let before = mac.machine().unwrap();
    let rehearsal = DryRun::new(&mac);
    assert!(mount(&rehearsal).succeeded());
    let live = format!("{MOUNT}{PATH}");
    let live = Path::new(&live);
    assert_eq!(rehearsal.read(live).unwrap().bytes, DRIVER);
    let beside = live.with_file_name("new");
    rehearsal.write_new(&beside, b"patched", 0o755).unwrap();
    rehearsal.set_owner(&beside, 0, 0).unwrap();
    rehearsal.rename(&beside, live).unwrap();
    assert_eq!(rehearsal.read(live).unwrap().bytes, b"patched");
    assert!(rehearsal.metadata(&beside).unwrap().is_none());
    assert!(bless(&rehearsal, "--create-snapshot", Input::Nothing).succeeded());
    let listed = volume::snapshots(&rehearsal, "disk3s1").unwrap();
    assert!(listed.iter().any(|snapshot| snapshot.name == REHEARSED_SNAPSHOT));
    let mounted = volume::system_volume(&rehearsal).unwrap().mounted_at;
    assert_eq!(mounted.as_deref(), Some(MOUNT));
    assert!(umount(&rehearsal).succeeded());
    assert_eq!(mac.machine().unwrap(), before);
    insta::assert_snapshot!(rehearsal.plan().join("\n"), @r"
    create directory /private/var/db/mnt mode 700
    /sbin/mount -o nobrowse -t apfs /dev/disk3s1 /private/var/db/mnt
    write /private/var/db/mnt/System/Library/Extensions/AGXMetalG16X.bundle/Contents/MacOS/new (7 bytes) mode 755
    set owner 0:0 of /private/var/db/mnt/System/Library/Extensions/AGXMetalG16X.bundle/Contents/MacOS/new
    rename /private/var/db/mnt/System/Library/Extensions/AGXMetalG16X.bundle/Contents/MacOS/new to /private/var/db/mnt/System/Library/Extensions/AGXMetalG16X.bundle/Contents/MacOS/AGXMetalG16X
    /usr/sbin/bless --mount /private/var/db/mnt --create-snapshot --verbose
    /sbin/umount /private/var/db/mnt
    ");
}

#[test]
fn every_command_is_recorded_with_its_output_and_no_secret_is() {
    let mac = open_mac();
    let sink: RefCell<Vec<Entry>> = RefCell::default();
    let logged = Logged::new(&mac, &sink);
    assert!(mount(&logged).succeeded());
    let words = ["--mount", MOUNT, "--last-sealed-snapshot", "--user", "owner", "--stdinpass"];
    let secret = Input::Secret(b"hunter2".to_vec());
    let command = Command::effect(Tool::Bless, words).input(secret);
    assert!(!logged.run(&command).unwrap().succeeded());
    let text: String = sink.borrow().iter().map(Entry::to_string).collect();
    assert!(text.contains("/sbin/mount -o nobrowse -t apfs /dev/disk3s1"));
    assert!(text.contains("exit 103\n    stderr: Bootability failed"));
    assert!(!text.contains("hunter2") && !format!("{command:?}").contains("hunter2"));
}
