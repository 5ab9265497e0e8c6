//! A Mac that exists only as data.
//!
//! It has a live system volume with sealed and unsealed snapshots, a data
//! volume, Preboot, protections, a terminal with somebody at it, and the system
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
mod factory;
mod fault;
mod files;
mod fingerprint;
mod machine;
mod shared;
mod store;
mod tools;
mod volume;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use boot::Boot;
pub use factory::{BUNDLE, DRIVER, LIBRARY_VALIDATION, Model, PLUGIN, SYSTEM_VERSION, driver_path};
pub use fault::{Asking, Fault, FaultObserver, Plan, Reach};
pub use fingerprint::Fingerprint;
pub use machine::{
    CsrutilForm, FileVault, Machine, Mode, Release, Said, Signer, Snapshot, Terminal,
};
pub use volume::{Loss, Object};

use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::system::System;
use agxpatch_host::{
    Command, CommandKind, CsrConfig, File, Host, Input, Kind, Lock, Metadata, Output, Status,
};
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
        SimulatedMac::running(store, tools::default_judge())
    }

    fn running(store: Store, judge: SignatureJudge) -> SimulatedMac {
        SimulatedMac {
            store,
            judge,
            killed: AtomicBool::new(false),
            asked: Mutex::default(),
            witness: None,
        }
    }

    /// Lets `judge` tell who signed contents nobody declared a signer for.
    pub fn with_judge(mut self, judge: SignatureJudge) -> SimulatedMac {
        self.judge = judge;
        self
    }

    /// Another process on the same Mac.
    pub fn process(&self) -> SimulatedMac {
        SimulatedMac::running(self.store.clone(), self.judge.clone())
    }

    /// An independent copy, in memory.
    pub fn fork(&self) -> Result<SimulatedMac> {
        Ok(SimulatedMac::running(self.store.fork()?, self.judge.clone()))
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

    /// Refuses where this process was killed or the Mac is not up.
    fn alive(&self, held: &Held) -> Result<()> {
        if self.killed.load(Ordering::Relaxed) {
            return Err(Error::new(Code::MachineGone, "the process was killed"));
        }
        if held.machine.is_up() {
            return Ok(());
        }
        Err(Error::new(Code::MachineGone, "the simulated Mac is not running")
            .with("state", format!("{:?}", held.machine.mode))
            .next("start it with `agxpatch --simulate DIR simulate reboot`"))
    }

    fn question<T>(&self, ask: impl FnOnce(&mut Held) -> Result<T>) -> Result<T> {
        self.store.work(|held| {
            self.alive(held)?;
            ask(held)
        })
    }

    /// Counts an effect and carries it out as far as the planned fault lets it.
    /// `carry_out` is told whether to stop midway, or to run out of space.
    fn effect<T>(&self, carry_out: impl Fn(&mut Held, Extent) -> Result<T>) -> Result<T> {
        self.store.work(|held| {
            self.alive(held)?;
            // One fault at a time: crashes are shown once the planned one has struck.
            if let Some(witness) = self.witness.as_ref().filter(|_| held.machine.fault.is_none()) {
                self.show_crashes(held, witness, &carry_out);
            }
            held.machine.effects += 1;
            let now = held.machine.effects;
            match held.machine.fault.filter(|plan| plan.at == now) {
                None => carry_out(held, Extent::Whole),
                Some(plan) => self.strike(held, plan.fault, &carry_out),
            }
        })
    }

    /// Cuts copies of the Mac off at the effect that is about to happen.
    fn show_crashes<T>(
        &self,
        held: &Held,
        witness: &FaultObserver,
        carry_out: &impl Fn(&mut Held, Extent) -> Result<T>,
    ) {
        let number = held.machine.effects + 1;
        for fault in Fault::all().into_iter().filter(Fault::is_crash) {
            let store = Store::in_memory(held.machine.clone(), held.objects.clone());
            let copy = SimulatedMac::running(store, self.judge.clone());
            // What a copy that was cut off says is of no use to anybody.
            drop(copy.store.work(|held| {
                held.machine.effects += 1;
                copy.strike(held, fault, carry_out)
            }));
            witness(number, fault, copy.process());
        }
    }

    fn strike<T>(
        &self,
        held: &mut Held,
        fault: Fault,
        carry_out: &impl Fn(&mut Held, Extent) -> Result<T>,
    ) -> Result<T> {
        held.machine.fault = None;
        let reach = match fault {
            Fault::InputOutput => return carry_out(held, Extent::InputOutput),
            Fault::NoSpace => return carry_out(held, Extent::NoSpace),
            Fault::Signal { signal } => {
                *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(signal);
                return carry_out(held, Extent::Whole);
            }
            Fault::Power { reach, .. } | Fault::Kill { reach } => reach,
        };
        // What the caller would have heard is lost with the caller.
        match reach {
            Reach::Before => {}
            Reach::Midway => drop(carry_out(held, Extent::Midway)),
            Reach::After => drop(carry_out(held, Extent::Whole)),
        }
        match fault {
            Fault::Power { loss, .. } => boot::lose_power(&mut held.machine, loss),
            _ => self.die(),
        }
        Err(Error::new(Code::MachineGone, "the simulated Mac was interrupted")
            .with("effect", held.machine.effects)
            .with("fault", format!("{fault:?}")))
    }

    /// This process hears nothing more. A process on a Mac in a directory is
    /// killed for real as soon as the state is kept.
    fn die(&self) {
        self.killed.store(true, Ordering::Relaxed);
    }

    fn get_signals(&self) {
        if self.killed.load(Ordering::Relaxed) && self.store.is_kept() {
            let own = rustix::process::getpid();
            // Nothing is left to do should the kernel refuse; the error that is
            // returned next ends the program anyway.
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        }
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(signal) = asked.filter(|_| self.store.is_kept()) {
            signal.raise();
        }
    }

    fn counted<T>(&self, carry_out: impl Fn(&mut Held, Extent) -> Result<T>) -> Result<T> {
        let result = self.effect(carry_out);
        self.get_signals();
        result
    }
}

/// How much of an effect happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All of it.
    Whole,
    /// Half.
    Midway,
    /// Nothing, and `EIO`.
    InputOutput,
    /// Half of a write, nothing of anything else, and `ENOSPC`.
    NoSpace,
}

impl Host for SimulatedMac {
    fn kind(&self) -> Kind {
        Kind::Simulated
    }

    fn run(&self, command: &Command) -> Result<Output> {
        let judge = self.judge.clone();
        self.question(|_| Ok(()))?;
        if command.input == Input::Terminal && !self.has_terminal() {
            return Err(Error::new(Code::NoTerminal, "the tool must ask a person")
                .with("command", command)
                .next("run this from a terminal"));
        }
        if command.kind == CommandKind::Effect {
            return self.counted(|held, extent| tools::run(held, command, extent, &judge));
        }
        self.question(|held| {
            let before = held.machine.clone();
            let output = tools::run(held, command, Extent::Whole, &judge)?;
            if held.machine == before {
                return Ok(output);
            }
            held.machine = before;
            Err(Error::new(Code::Bug, "a command that was called a question changes the machine")
                .with("command", command))
        })
    }

    fn csr_active_config(&self) -> Result<Option<CsrConfig>> {
        self.question(|held| {
            let machine = &held.machine;
            Ok(machine.csr_syscall.then_some(CsrConfig(machine.active_csr)))
        })
    }

    fn shared_cache_contains(&self, path: &Path) -> Result<Option<bool>> {
        self.question(|held| {
            let cached = |name: &String| Path::new(&factory::driver_path(name)) == path;
            Ok(Some(held.machine.shared_cache.iter().any(cached)))
        })
    }

    fn trusted_gpu_bundle(&self, name: &str) -> Result<Option<Option<PathBuf>>> {
        self.question(|held| {
            let bundle = Path::new("/System/Library/Extensions").join(format!("{name}.bundle"));
            Ok(Some(Some(bundle).filter(|bundle| files::is_directory(&held.machine, bundle))))
        })
    }

    fn effective_user(&self) -> u32 {
        self.machine().map_or(u32::MAX, |machine| machine.user)
    }

    fn has_terminal(&self) -> bool {
        match self.machine().map(|machine| machine.terminal) {
            Ok(Terminal::Here) => System.has_terminal(),
            Ok(Terminal::RightPassword | Terminal::WrongPassword) => true,
            Ok(Terminal::None) | Err(_) => false,
        }
    }

    fn now(&self) -> jiff::Timestamp {
        let seconds = self.machine().map_or(0, |machine| machine.clock);
        jiff::Timestamp::from_second(seconds).unwrap_or_default()
    }

    fn pause(&self, time: Duration) {
        // A Mac that is gone has no clock to set, which the next question tells.
        drop(self.change(|machine| machine.clock += time.as_secs() as i64));
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.question(|held| files::metadata(held, path))
    }

    fn read(&self, path: &Path) -> Result<File> {
        self.question(|held| files::read(held, path))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.question(|held| files::list(held, path))
    }

    fn create_directory(&self, path: &Path, mode: u32) -> Result<()> {
        self.counted(|held, extent| files::create_directory(held, path, mode, extent))
    }

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        self.counted(|held, extent| files::write_new(held, path, bytes, mode, extent))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.counted(|held, extent| files::append(held, path, bytes, extent))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        self.counted(|held, extent| files::sync(held, path, false, extent))
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        self.counted(|held, extent| files::sync(held, path, true, extent))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.counted(|held, extent| files::rename(held, from, to, extent))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.counted(|held, extent| files::alter(held, path, extent, |node| node.mode = mode))
    }

    fn set_owner(&self, path: &Path, user: u32, group: u32) -> Result<()> {
        self.counted(|held, extent| {
            files::alter(held, path, extent, |node| {
                node.user = user;
                node.group = group;
            })
        })
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.counted(|held, extent| files::remove(held, path, false, extent))
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        self.counted(|held, extent| files::remove(held, path, true, extent))
    }

    fn lock(&self, path: &Path) -> Result<Lock> {
        // The file is made like any other, so that a link planted there is met.
        if self.metadata(path)?.is_none() {
            self.write_new(path, b"", 0o600)?;
        }
        self.question(|held| files::only_a_file(held, path))?;
        self.store.lock(&path.to_string_lossy())?.ok_or_else(|| agxpatch_host::locked(path))
    }
}

fn answer(code: i32, stdout: impl Into<Vec<u8>>, stderr: impl Into<Vec<u8>>) -> Output {
    Output { status: Status::Code(code), stdout: stdout.into(), stderr: stderr.into() }
}
