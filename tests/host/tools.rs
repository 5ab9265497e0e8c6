//! The simulated tools say what the real ones say.

use agxpatch_host::machine::{self, FileVault as State, LibraryValidation, Signer as Who};
use agxpatch_host::{Command, CsrConfig, Host, Input, Status, Tool, volume};
use agxpatch_simulate::mac::{DRIVER as PATH, FileVault, Mode, Signer, Terminal};

use super::{DRIVER, MOUNT, bless, mount, open_mac, umount};

#[test]
fn mount_says_why_it_does_not() {
    let refused = |change: fn(&mut agxpatch_simulate::mac::Machine)| {
        let mac = open_mac();
        mac.change(change).unwrap();
        let output = mount(&mac);
        (output.status, output.complaint())
    };
    let (status, text) = refused(|machine| machine.active_csr = 0);
    assert_eq!(status, Status::Code(77));
    assert!(text.starts_with("mount_apfs: volume could not be mounted: Operation not permitted\n"));
    let (status, text) = refused(|machine| machine.update_preparing = true);
    assert_eq!(status, Status::Code(75));
    assert!(text.contains("Operation already in progress"));
    let (_, text) = refused(|machine| machine.mode = Mode::Safe);
    assert!(text.ends_with("invalid file system.\n"));
}

#[test]
fn the_booted_snapshot_cannot_be_made_writable() {
    let output = open_mac().run(&Command::effect(Tool::Mount, ["-uw", "/"])).unwrap();
    assert_eq!(output.status, Status::Code(66));
    assert!(output.complaint().contains("Permission denied"));
}

#[test]
fn a_volume_is_mounted_once_and_unmounted_once() {
    let mac = open_mac();
    assert!(mount(&mac).succeeded());
    assert_eq!(volume::system_volume(&mac).unwrap().mounted_at.as_deref(), Some(MOUNT));
    assert_eq!(mount(&mac).status, Status::Code(75));
    assert!(umount(&mac).succeeded());
    assert_eq!(umount(&mac).status, Status::Code(1));
}

#[test]
fn bless_makes_no_snapshot_while_the_authenticated_root_is_on() {
    let mac = open_mac();
    mac.set_protections(CsrConfig::DISABLED).unwrap();
    assert!(mount(&mac).succeeded());
    let output = bless(&mac, "--create-snapshot", Input::Nothing);
    assert!(!output.succeeded());
    assert!(output.complaint().starts_with("Couldn't create snapshot on volume"));
    assert_eq!(volume::snapshots(&mac, "disk3s1").unwrap().len(), 1);
}

#[test]
fn bless_names_the_snapshot_it_made() {
    let mac = open_mac();
    assert!(mount(&mac).succeeded());
    let said = bless(&mac, "--create-snapshot", Input::Nothing).complaint();
    let snapshots = volume::snapshots(&mac, "disk3s1").unwrap();
    let name = &snapshots.last().unwrap().name;
    assert_eq!(said, format!("Volume {MOUNT} will boot from snapshot {name}"));
}

#[test]
fn a_wrong_password_leaves_the_tag_cleared() {
    let mac = open_mac();
    assert!(mount(&mac).succeeded());
    assert!(bless(&mac, "--create-snapshot", Input::Nothing).succeeded());
    mac.change(|machine| machine.terminal = Terminal::WrongPassword).unwrap();
    let output = bless(&mac, "--last-sealed-snapshot", Input::Terminal);
    assert!(output.complaint().contains("BYErrorDomain Code=103"), "{output:?}");
    assert_eq!(output.status, Status::Code(103));
    assert!(!output.succeeded());
    assert_eq!(mac.machine().unwrap().tagged, None);
}

#[test]
fn a_tool_that_asks_is_not_started_without_a_terminal() {
    let mac = open_mac();
    assert!(mount(&mac).succeeded());
    assert!(bless(&mac, "--create-snapshot", Input::Nothing).succeeded());
    mac.change(|machine| machine.terminal = Terminal::None).unwrap();
    let words = ["--mount", MOUNT, "--last-sealed-snapshot"];
    let command = Command::effect(Tool::Bless, words).input(Input::Terminal);
    let error = mac.run(&command).unwrap_err();
    assert_eq!(error.code(), agxpatch_core::error::Code::NoTerminal);
    assert!(mac.machine().unwrap().tagged.is_some());
}

#[test]
fn an_owner_is_believed_by_a_password_on_standard_input() {
    let mac = open_mac();
    assert!(mount(&mac).succeeded());
    let words = ["--mount", MOUNT, "--last-sealed-snapshot", "--user", "owner", "--stdinpass"];
    let bless = |password: &[u8]| {
        let command = Command::effect(Tool::Bless, words).input(Input::Secret(password.to_vec()));
        mac.run(&command).unwrap().succeeded()
    };
    assert!(!bless(b"wrong\n"));
    assert!(bless(b"correct horse\n"));
}

#[test]
fn a_question_that_changes_something_is_a_defect() {
    let mac = open_mac();
    mac.create_directory(std::path::Path::new(MOUNT), 0o700).unwrap();
    let words = ["-o", "nobrowse", "-t", "apfs", "/dev/disk3s1", MOUNT];
    let before = mac.machine().unwrap();
    let error = mac.run(&Command::question(Tool::Mount, words)).unwrap_err();
    assert_eq!(error.code(), agxpatch_core::error::Code::Bug);
    assert_eq!(mac.machine().unwrap(), before);
}

#[test]
fn questions_are_read_in_every_state() {
    let mac = open_mac();
    assert_eq!(machine::filevault(&mac).unwrap(), State::Off);
    for state in [FileVault::On, FileVault::Encrypting(42), FileVault::Decrypting(7)] {
        mac.change(|machine| machine.filevault = state).unwrap();
        assert!(matches!(machine::filevault(&mac).unwrap(), State::NotOff(_)), "{state:?}");
    }
    assert_eq!(machine::library_validation(&mac).unwrap(), LibraryValidation::Off);
    mac.set_library_validation(true).unwrap();
    assert_eq!(machine::library_validation(&mac).unwrap(), LibraryValidation::On);
    assert_eq!(machine::boot_args(&mac).unwrap(), None);
    mac.change(|machine| machine.boot_args = Some("-v amfi=0x80 keepsyms=1".into())).unwrap();
    let arguments = machine::boot_args(&mac).unwrap().unwrap();
    assert_eq!(machine::loosening(&arguments), ["amfi=0x80"]);
    assert_eq!(machine::metal_plugins(&mac).unwrap()[0].name, "AGXMetalG16X");
    mac.change(|machine| machine.metal_plugin = None).unwrap();
    assert!(machine::metal_plugins(&mac).unwrap().is_empty());
}

#[test]
fn signers_are_told_apart() {
    let mac = open_mac();
    let signer = || machine::signer(&mac, std::path::Path::new(PATH)).unwrap();
    assert_eq!(signer(), Who::Apple);
    mac.declare_signer(DRIVER, Signer::AdHoc).unwrap();
    assert_eq!(signer(), Who::AdHoc);
    mac.declare_signer(DRIVER, Signer::Broken).unwrap();
    assert!(matches!(signer(), Who::Invalid(_)));
}

#[test]
fn the_seal_of_the_volume_says_nothing_and_that_of_the_snapshot_does() {
    let mac = open_mac();
    assert!(mac.machine().unwrap().volume_seal_broken);
    assert_eq!(volume::booted_seal_intact(&mac).unwrap(), Some(true));
    super::deploy(&mac, b"patched");
    mac.reboot().unwrap();
    assert_eq!(volume::booted_seal_intact(&mac).unwrap(), Some(false));
    let volume = volume::system_volume(&mac).unwrap();
    assert_eq!(volume.device, "disk3s1");
    assert!(volume.snapshot.unwrap().starts_with(volume::BLESSED_PREFIX));
}
