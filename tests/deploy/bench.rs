//! A driver_patcher of small drivers, so that thousands of deployments take seconds.

use std::sync::Arc;

use agxpatch_core::check::Check;
use agxpatch_core::error::Result;
use agxpatch_deploy::doctor::Verdict;
use agxpatch_deploy::{
    self, Content, Deployed, DriverPatcher, Options, Owner, Patched, Plan, Recovered, Reverted,
    State,
};
use agxpatch_simulate::mac::{Boot, Signer, SimulatedMac};

pub const ORIGINAL: &[u8] = b"the driver as Apple made it";
pub const PATCHED: &[u8] = b"the driver as it is patched";
pub const OTHER: &[u8] = b"a driver patched by others ";

/// Knows three drivers.
pub struct Bench;

impl DriverPatcher for Bench {
    fn look(&self, bytes: &[u8]) -> Content {
        match bytes {
            ORIGINAL => Content::Original,
            PATCHED => Content::Patched { patch: "small".into() },
            OTHER => Content::Patched { patch: "other".into() },
            _ => Content::Unknown { reason: "not one of the three".into() },
        }
    }

    fn judge(&self, bytes: &[u8]) -> Verdict {
        match bytes {
            ORIGINAL => Verdict::Listed { name: "small".into() },
            PATCHED | OTHER => Verdict::Patched { patch: "small".into() },
            _ => Verdict::Refused { reason: "not one of the three".into() },
        }
    }

    fn patch(&self, original: &[u8]) -> Result<Patched> {
        assert_eq!(original, ORIGINAL);
        Ok(Patched {
            bytes: PATCHED.to_vec(),
            patch: "small".into(),
            derived: false,
            edits: Vec::new(),
            proof: vec![Check::pass("small", "nothing to prove")],
        })
    }

    fn check(&self, bytes: &[u8]) -> Vec<Check> {
        vec![Check::from("small", bytes == PATCHED, "one of the three")]
    }
}

/// A Mac whose owner has opened it for a deployment.
pub fn open_mac() -> SimulatedMac {
    let mac = SimulatedMac::in_memory(ORIGINAL).with_judge(Arc::new(|bytes: &[u8]| match bytes {
        PATCHED | OTHER => Signer::AdHoc,
        _ => Signer::Broken,
    }));
    assert!(matches!(mac.open_for_deployment().unwrap(), Boot::Up { .. }));
    mac
}

pub fn deploy(mac: &SimulatedMac) -> Result<Deployed> {
    agxpatch_deploy::deploy(mac, &Bench, Options::default(), &mut |_: &Plan| Ok(()), &())
}

pub fn revert(mac: &SimulatedMac) -> Result<Reverted> {
    agxpatch_deploy::revert(mac, &Bench, Owner::AtTerminal, &mut |_| Ok(()), &())
}

pub fn recover(mac: &SimulatedMac) -> Result<Recovered> {
    agxpatch_deploy::recover(mac, &Bench, Owner::AtTerminal, &())
}

pub fn state(mac: &SimulatedMac) -> State {
    agxpatch_deploy::gather(mac, &Bench).unwrap().state()
}

/// Boots and demands that windows are drawn.
pub fn reboot(mac: &SimulatedMac) -> String {
    match mac.reboot().unwrap() {
        Boot::Up { snapshot } => snapshot,
        other => panic!("{other:?}"),
    }
}
