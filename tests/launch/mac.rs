//! A simulated Mac whose user owns a home.

use agxpatch_simulate::driver::{self, Variant};
use agxpatch_simulate::mac::SimulatedMac;
use std::path::Path;
use std::sync::OnceLock;

pub const HOME: &str = "/Users/owner";
pub const USER: u32 = 501;

pub fn home() -> &'static Path {
    Path::new(HOME)
}

/// As shipped, with a user logged in who is not root.
pub fn mac(driver: &[u8]) -> SimulatedMac {
    settle(SimulatedMac::in_memory(driver))
}

/// Gives a Mac its user.
pub fn settle(mac: SimulatedMac) -> SimulatedMac {
    mac.change(|machine| machine.user = USER).unwrap();
    mac.plant_directory(HOME, USER, 0o750).unwrap();
    mac.plant_directory(&format!("{HOME}/Library"), USER, 0o700).unwrap();
    mac.plant_directory(&format!("{HOME}/Library/Caches"), USER, 0o700).unwrap();
    mac.plant_directory(&format!("{HOME}/Library/Application Support"), USER, 0o700).unwrap();
    mac
}

/// The synthetic driver with what is published of Apple's, made once.
pub fn published() -> &'static [u8] {
    static DRIVER: OnceLock<Vec<u8>> = OnceLock::new();
    DRIVER.get_or_init(|| driver::build(&Variant::PUBLISHED).unwrap())
}
