//! The border to a machine: the real one's files, the simulated Mac, and the
//! questions asked of both.

mod blockers;
mod commands;
mod files;
mod power;
mod recordings;
mod rehearsal;
mod sip;
mod tools;

use std::path::Path;

use agxpatch_host::{Command, Host, Input, Output, Tool};
use agxpatch_simulate::mac::SimulatedMac;

/// A driver in name only: nothing here looks inside.
const DRIVER: &[u8] = b"the driver as shipped";
/// Where these tests mount the live volume.
const MOUNT: &str = "/private/var/db/mnt";

/// A Mac whose owner switched off what a deployment needs off.
fn open_mac() -> SimulatedMac {
    let mac = SimulatedMac::in_memory(DRIVER);
    mac.open_for_deployment().unwrap();
    mac
}

fn mount(host: &dyn Host) -> Output {
    if host.metadata(Path::new(MOUNT)).unwrap().is_none() {
        host.create_directory(Path::new(MOUNT), 0o700).unwrap();
    }
    let words = ["-o", "nobrowse", "-t", "apfs", "/dev/disk3s1", MOUNT];
    host.run(&Command::effect(Tool::Mount, words)).unwrap()
}

fn umount(host: &dyn Host) -> Output {
    host.run(&Command::effect(Tool::Umount, [MOUNT])).unwrap()
}

fn bless(host: &dyn Host, option: &str, input: Input) -> Output {
    let words = ["--mount", MOUNT, option, "--verbose"];
    host.run(&Command::effect(Tool::Bless, words).input(input)).unwrap()
}

/// Puts `driver` on the live volume and makes the snapshot that boots it.
fn deploy(mac: &SimulatedMac, driver: &[u8]) {
    assert!(mount(mac).succeeded());
    let path = format!("{MOUNT}{}", agxpatch_simulate::mac::DRIVER);
    let beside = format!("{path}.new");
    mac.write_new(Path::new(&beside), driver, 0o755).unwrap();
    mac.rename(Path::new(&beside), Path::new(&path)).unwrap();
    assert!(bless(mac, "--create-snapshot", Input::Nothing).succeeded());
    assert!(umount(mac).succeeded());
}
