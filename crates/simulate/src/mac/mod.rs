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
mod factory;
mod fault;
mod files;
mod fingerprint;
mod gone;
mod loader;
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
pub use fingerprint::{Fingerprint, Fingerprinter, Reading};
pub use gone::{EndCaller, Gone, survive};
pub use loader::Loader;
pub use machine::{
    CsrutilForm, FileVault, Machine, Mode, Release, Said, Signer, Snapshot, Terminal,
};
pub use volume::{Loss, Object};

use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::system::System;
use agxpatch_host::{
    Command, CommandKind, CsrConfig, File, Host, Input, Kind, LoadTrial, Loading, Lock, Metadata,
    Output, Status, Tool,
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

    /// Counts an effect and carries it out as far as the planned fault lets it.
    /// `carry_out` is told whether to stop midway, or to run out of space.
    fn counted<T>(&self, carry_out: impl Fn(&mut Held, Extent) -> Result<T>) -> Result<T> {
        let result = self.answer(|held| {
            // One fault at a time: crashes are shown once the planned one has struck.
            if let Some(witness) = self.witness.as_ref().filter(|_| held.machine.fault.is_none()) {
                self.show_crashes(held, witness, &carry_out);
            }
            held.machine.effects += 1;
            let now = held.machine.effects;
            match held.machine.fault.filter(|plan| plan.at == now) {
                None => carry_out(held, Extent::Whole).map(Ok),
                Some(plan) => self.strike(held, plan.fault, &carry_out),
            }
        });
        self.get_signals();
        result
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
            let copy = self.beside(store);
            // A copy that was cut off has nothing to say.
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
    ) -> Result<Answer<T>> {
        held.machine.fault = None;
        let reach = match fault {
            Fault::InputOutput => return carry_out(held, Extent::InputOutput).map(Ok),
            Fault::NoSpace => return carry_out(held, Extent::NoSpace).map(Ok),
            Fault::Signal { signal } => {
                *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(signal);
                return carry_out(held, Extent::Whole).map(Ok);
            }
            Fault::Power { reach, .. } | Fault::Kill { reach } => reach,
        };
        // What the caller would have heard is lost with the caller.
        match reach {
            Reach::Before => {}
            Reach::Midway => drop(carry_out(held, Extent::Midway)),
            Reach::After => drop(carry_out(held, Extent::Whole)),
        }
        let killed = match fault {
            Fault::Power { loss, .. } => {
                boot::lose_power(&mut held.machine, loss);
                false
            }
            _ => true,
        };
        self.killed.store(killed, Ordering::Relaxed);
        let machine = &held.machine;
        let struck = Some((fault, machine.effects));
        Ok(Err(Gone { killed, mode: machine.mode.clone(), struck }))
    }

    /// Sends this process the signals that faults sent it. A process on a Mac in a
    /// directory is killed for real, now that the state is kept.
    fn get_signals(&self) {
        if self.killed.load(Ordering::Relaxed) && self.store.is_kept() {
            let own = rustix::process::getpid();
            // Should the kernel refuse, the process is ended another way next.
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        }
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(signal) = asked.filter(|_| self.store.is_kept()) {
            signal.raise();
        }
    }
}

/// What a call came to: a result, or an end of its caller.
type Answer<T> = std::result::Result<T, Gone>;

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
        Kind::Data
    }

    fn run(&self, command: &Command) -> Result<Output> {
        let judge = self.judge.clone();
        self.question(|_| Ok(()))?;
        if command.input == Input::Terminal && !self.has_terminal() {
            return Err(Error::new(
                Code::NoTerminal,
                "the tool needs input, but there is no terminal",
            )
            .with("command", command)
            .next("run this from a terminal"));
        }
        if command.kind == CommandKind::Effect {
            return self.counted(|held, extent| tools::run(held, command, extent, &judge));
        }
        let changes =
            matches!(command.tool, Tool::Bless | Tool::Diskutil | Tool::Mount | Tool::Umount)
                && command.arguments.first().is_some_and(|word| word != "info" && word != "apfs");
        self.question(|held| {
            if !changes {
                return tools::run(held, command, Extent::Whole, &judge);
            }
            let before = held.machine.clone();
            let output = tools::run(held, command, Extent::Whole, &judge)?;
            if held.machine == before {
                return Ok(output);
            }
            held.machine = before;
            Err(Error::new(Code::Bug, "a command declared read-only changes the machine")
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

    fn try_load(&self, trial: &LoadTrial<'_>) -> Result<Loading> {
        self.question(|held| Ok(loader::answer(held, &self.judge, trial)))
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
        self.counted(|held, extent| files::set_owner(held, path, extent, (user, group)))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.counted(|held, extent| files::remove(held, path, false, extent))
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        self.counted(|held, extent| files::remove(held, path, true, extent))
    }

    fn lock(&self, path: &Path) -> Result<Lock> {
        // The file is made like any other, so that a link planted there is met.
        // Another program may make it first: then it is there, which is all that is wanted.
        if self.metadata(path)?.is_none()
            && let Err(error) = self.write_new(path, b"", 0o600)
            && error.code() != Code::PathExists
        {
            return Err(error);
        }
        self.question(|held| files::only_a_file(held, path))?;
        self.store.lock(&path.to_string_lossy())?.ok_or_else(|| agxpatch_host::locked(path))
    }
}

fn answer(code: i32, stdout: impl Into<Vec<u8>>, stderr: impl Into<Vec<u8>>) -> Output {
    Output { status: Status::Code(code), stdout: stdout.into(), stderr: stderr.into() }
}
