//! A Mac that exists only as data.
//!
//! It has a live system volume with sealed and unsealed snapshots, a data
//! volume, Preboot, protections, a terminal with a person at it, and the system
//! tools this program uses, which answer with the texts and exit codes of the
//! real ones. It can be rebooted, and picks its snapshot by the rules a Mac
//! follows; it can be updated, staged for an update, unplugged.
//!
//! It obeys documentation, source code and field reports, not a Mac on a desk:
//! what it shows is that this program does what it means to do under those
//! rules, not that the rules are complete.
//!
//! Every effect is counted and a [`Fault`] can strike at any of them. The Mac
//! lives in memory or in a directory; in a directory each effect is kept before
//! it returns, so that processes can come and go, or be killed, between any two.

mod boot;
mod effects;
mod factory;
mod fault;
mod files;
mod fingerprint;
mod gone;
mod host;
mod loader;
mod machine;
mod shared;
mod store;
mod tools;
mod volume;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub use boot::Boot;
pub use factory::{BUNDLE, DRIVER, LIBRARY_VALIDATION, Model, PLUGIN, SYSTEM_VERSION, driver_path};
pub use fault::{Asking, Fault, FaultObserver, Plan, Reach};
pub use fingerprint::{Fingerprint, Fingerprinter, Reading};
pub use gone::{EndCaller, Gone, survive};
pub use loader::Loader;
pub use machine::{
    CsrutilForm, FileVault, Machine, Mode, Release, Said, Signer, Snapshot, Terminal,
};
pub use volume::{Loss, Object};

use agxpatch_core::error::Result;
use agxpatch_host::{Output, Status};
use effects::Answer;
use store::{Held, Store};

/// Tells who signed these bytes, for the simulated `codesign`.
pub type SignatureJudge = Arc<dyn Fn(&[u8]) -> Signer + Send + Sync>;

/// One process on a simulated Mac.
///
/// Several handles can share a Mac, as processes do ([`SimulatedMac::process`]);
/// [`SimulatedMac::fork`] makes an independent copy.
pub struct SimulatedMac {
    store: Store,
    judge: SignatureJudge,
    killed: AtomicBool,
    asked: Mutex<Option<Asking>>,
    witness: Option<FaultObserver>,
    end_caller: EndCaller,
}

impl SimulatedMac {
    /// A new Mac in memory with `driver` as its driver, protected as shipped.
    pub fn in_memory(driver: &[u8]) -> SimulatedMac {
        SimulatedMac::of_model(&Model::default(), driver)
    }

    /// A new Mac of this model in memory.
    pub fn of_model(model: &Model, driver: &[u8]) -> SimulatedMac {
        let (machine, objects) = factory::new_mac(model, driver);
        SimulatedMac::on(Store::in_memory(machine, objects))
    }

    /// A new Mac kept in `directory`.
    pub fn create(directory: &Path, driver: &[u8]) -> Result<SimulatedMac> {
        SimulatedMac::create_model(directory, &Model::default(), driver)
    }

    /// A new Mac of this model kept in `directory`.
    pub fn create_model(directory: &Path, model: &Model, driver: &[u8]) -> Result<SimulatedMac> {
        let (machine, objects) = factory::new_mac(model, driver);
        Ok(SimulatedMac::on(Store::create(directory, machine, objects)?))
    }

    /// The Mac kept in `directory`.
    pub fn open(directory: &Path) -> Result<SimulatedMac> {
        Ok(SimulatedMac::on(Store::open(directory)?))
    }

    fn on(store: Store) -> SimulatedMac {
        SimulatedMac::running(store, tools::default_judge(), gone::unwinding())
    }

    fn running(store: Store, judge: SignatureJudge, end_caller: EndCaller) -> SimulatedMac {
        SimulatedMac {
            store,
            judge,
            killed: AtomicBool::new(false),
            asked: Mutex::default(),
            witness: None,
            end_caller,
        }
    }

    /// Lets `judge` tell who signed contents without a declared signer.
    pub fn with_judge(mut self, judge: SignatureJudge) -> SimulatedMac {
        self.judge = judge;
        self
    }

    /// Has `end_caller` end the process, the handle's owner, where it is killed or
    /// the Mac is not up.
    pub fn ended_by(mut self, end_caller: EndCaller) -> SimulatedMac {
        self.end_caller = end_caller;
        self
    }

    /// Another process on the same Mac.
    pub fn process(&self) -> SimulatedMac {
        self.beside(self.store.clone())
    }

    fn beside(&self, store: Store) -> SimulatedMac {
        SimulatedMac::running(store, self.judge.clone(), self.end_caller.clone())
    }

    /// An independent copy, in memory.
    pub fn fork(&self) -> Result<SimulatedMac> {
        Ok(self.beside(self.store.fork()?))
    }

    /// Has `witness` see, at every effect of this process, each Mac that being cut
    /// off there would leave.
    pub fn witnessed(mut self, witness: FaultObserver) -> SimulatedMac {
        self.witness = Some(witness);
        self
    }

    /// Everything there is to know about the Mac.
    pub fn machine(&self) -> Result<Machine> {
        self.store.work(|held| Ok(held.machine.clone()))
    }

    /// Alters the Mac from outside, as its owner or an adversary would. Not
    /// counted as an effect.
    pub fn change<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> Result<T> {
        self.store.work(|held| Ok(change(&mut held.machine)))
    }

    /// How many effects there have been in the Mac's life.
    pub fn effects(&self) -> Result<u64> {
        Ok(self.machine()?.effects)
    }

    /// Lets `fault` strike at the `nth` effect from now, counted from 1.
    pub fn inject(&self, nth: u64, fault: Fault) -> Result<()> {
        self.change(|machine| {
            machine.fault = Some(Plan { at: machine.effects + nth, fault });
        })
    }

    /// Declares who signed a content.
    pub fn declare_signer(&self, bytes: &[u8], signer: Signer) -> Result<()> {
        self.change(|machine| machine.signed.insert(store::name_of(bytes), signer)).map(drop)
    }

    /// Why nothing answers this process any more, where that is so.
    fn gone(&self, held: &Held) -> Option<Gone> {
        let killed = self.killed.load(Ordering::Relaxed);
        let mode = held.machine.mode.clone();
        (killed || !held.machine.is_up()).then_some(Gone { killed, mode, struck: None })
    }

    /// Works on the Mac if this process and the Mac are there, and ends the process
    /// if one of them is gone, be it by the work itself. The Mac is kept before.
    fn answer<T>(&self, work: impl FnOnce(&mut Held) -> Result<Answer<T>>) -> Result<T> {
        let answer = self.store.work(|held| match self.gone(held) {
            Some(gone) => Ok(Err(gone)),
            None => work(held),
        })?;
        answer.map_err(|gone| match std::thread::panicking() {
            true => gone::no_answer(&gone),
            false => {
                self.get_signals();
                match (self.end_caller)(&gone) {}
            }
        })
    }

    fn question<T>(&self, ask: impl FnOnce(&mut Held) -> Result<T>) -> Result<T> {
        self.answer(|held| ask(held).map(Ok))
    }
}

fn answer(code: i32, stdout: impl Into<Vec<u8>>, stderr: impl Into<Vec<u8>>) -> Output {
    Output { status: Status::Code(code), stdout: stdout.into(), stderr: stderr.into() }
}
