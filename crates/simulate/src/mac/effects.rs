//! Effects: each is counted, and a fault may strike at it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::fault::{Fault, FaultObserver, Reach};
use super::gone::Gone;
use super::store::{Held, Store};
use super::{SimulatedMac, boot};
use agxpatch_core::error::Result;

/// What a call came to: a result, or an end of its caller.
pub(super) type Answer<T> = std::result::Result<T, Gone>;

/// How much of an effect happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// Half.
    Midway,
    /// Nothing, and `EIO`.
    InputOutput,
    /// Half of a write, nothing of anything else, and `ENOSPC`.
    NoSpace,
}

impl SimulatedMac {
    /// Counts an effect and carries it out as far as the planned fault lets it.
    /// `carry_out` is told whether to stop midway, or to run out of space.
    pub(super) fn counted<T>(
        &self,
        carry_out: impl Fn(&mut Held, Extent) -> Result<T>,
    ) -> Result<T> {
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
    pub(super) fn get_signals(&self) {
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
