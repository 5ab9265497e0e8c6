//! An emulated CPU that runs one method from its entry to its return.
//!
//! What the functions behind the stubs would do is reduced to a note of the call
//! and, for the few whose result the methods need, to that result.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use agxpatch_core::driver_logic::{DEVICE_FIELD, DEVICE_FIELD_26, Freelist};
use agxpatch_simulate::driver::facts;
use unicorn_engine::unicorn_const::HookType;
use unicorn_engine::{Arch, MemType, Mode, Prot, RegisterARM64, Unicorn};

use super::harness::{arm64e, driver};

/// The objects and where they lie.
pub const OBJECT: u64 = 0x1000_0000;
pub const COMMAND_BUFFER: u64 = 0x1000_4000;
const OBJC_DEVICE: u64 = 0x1000_8000;
pub const CONFIG: u64 = 0x1000_c000;
pub const DEVICE: u64 = 0x1001_0000;
pub const BLOCK: u64 = 0x1002_0000;
pub const OTHER_BLOCK: u64 = 0x1002_8000;
const STACK: u64 = 0x1003_8000;
const RETURN: u64 = 0x2000_0000;
const MEMORY: Range<u64> = OBJECT..OBJECT + 0x4_0000;
pub const LOCK: u64 = 0x6d_49d4;
pub const UNLOCK: u64 = facts::UNLOCK_STUB.0;
pub const FREE: u64 = facts::FREE_STUB.0;
/// The offset of `_impl` that the driver's cells name.
pub const IMPL_AT: u64 = 0x1b8;

/// What others can see, in order. Accesses are those to the objects above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Call { to: u64, x0: u64, x1: u64 },
    Load { at: u64 },
    Store { at: u64, value: u64 },
}

/// What is run, and the memory before it.
pub struct Setting {
    pub variant: &'static str,
    pub method: Range<u64>,
    /// The words in memory that are not zero, by address.
    pub words: Vec<(u64, u64)>,
}

pub struct Run {
    pub events: Vec<Event>,
    memory: Vec<u8>,
}

const SAVED: [RegisterARM64; 10] = [
    RegisterARM64::X19,
    RegisterARM64::X20,
    RegisterARM64::X21,
    RegisterARM64::X22,
    RegisterARM64::X23,
    RegisterARM64::X24,
    RegisterARM64::X25,
    RegisterARM64::X26,
    RegisterARM64::X27,
    RegisterARM64::X28,
];

/// Where a field of a freelist lies in memory.
pub fn in_device(offset: u32) -> u64 {
    DEVICE + u64::from(offset)
}

impl Setting {
    /// Runs the method, which must keep the registers that callers rely on.
    pub fn run(&self) -> Run {
        let file = driver(self.variant);
        let (_, slice) = arm64e(&file);
        let mut cpu = Unicorn::new(Arch::ARM64, Mode::LITTLE_ENDIAN).unwrap();
        // The one model that knows pointer authentication.
        cpu.ctl_set_cpu_model(unicorn_engine::Arm64CpuModel::MAX as i32).unwrap();
        cpu.mem_map(0, 0x80_0000, Prot::ALL).unwrap();
        cpu.mem_write(0, &slice[..0x76_0000]).unwrap();
        cpu.mem_map(MEMORY.start, MEMORY.end - MEMORY.start, Prot::ALL).unwrap();
        cpu.mem_map(RETURN, 0x1000, Prot::ALL).unwrap();
        let devices = [DEVICE_FIELD, DEVICE_FIELD_26].map(|field| OBJC_DEVICE + u64::from(field));
        for (at, value) in devices.map(|at| (at, DEVICE)).iter().chain(&self.words) {
            cpu.mem_write(*at, &value.to_le_bytes()).unwrap();
        }
        let before: Vec<u64> = (0..10).map(|index| 0x1111_1111 * (index + 1)).collect();
        for (register, value) in SAVED.iter().zip(&before) {
            cpu.reg_write(*register, *value).unwrap();
        }
        let arguments = [OBJECT, 0, COMMAND_BUFFER, CONFIG, STACK, RETURN];
        use RegisterARM64::{SP, X0, X1, X2, X3};
        for (register, value) in [X0, X1, X2, X3, SP, RegisterARM64::LR].into_iter().zip(arguments)
        {
            cpu.reg_write(register, value).unwrap();
        }
        let events = self.watch(&mut cpu);
        cpu.emu_start(self.method.start, RETURN, 0, 10_000).unwrap();
        let after: Vec<u64> = SAVED.iter().map(|r| cpu.reg_read(*r).unwrap()).collect();
        assert_eq!(after, before);
        assert_eq!(cpu.reg_read(SP).unwrap(), STACK);
        let mut memory = vec![0; (MEMORY.end - MEMORY.start) as usize];
        cpu.mem_read(MEMORY.start, &mut memory).unwrap();
        let events = events.lock().unwrap().clone();
        Run { events, memory }
    }

    /// Notes what happens; whatever is called returns at once.
    fn watch(&self, cpu: &mut Unicorn<'_, ()>) -> Arc<Mutex<Vec<Event>>> {
        let events = Arc::new(Mutex::new(Vec::new()));
        let (called, accessed) = (events.clone(), events.clone());
        let method = self.method.clone();
        cpu.add_code_hook(0, 0x80_0000, move |cpu, to, _| {
            if method.contains(&to) {
                return;
            }
            let [x0, x1] = [RegisterARM64::X0, RegisterARM64::X1]
                .map(|register| cpu.reg_read(register).unwrap());
            called.lock().unwrap().push(Event::Call { to, x0, x1 });
            let result = match (x0, x1) {
                (OBJECT | COMMAND_BUFFER, _) => OBJC_DEVICE,
                // calloc
                (_, 1) => OTHER_BLOCK,
                _ => 0,
            };
            cpu.reg_write(RegisterARM64::X0, result).unwrap();
            let back = cpu.reg_read(RegisterARM64::LR).unwrap();
            cpu.set_pc(back).unwrap();
        })
        .unwrap();
        let kinds = HookType::MEM_READ | HookType::MEM_WRITE;
        let heap = (MEMORY.start, STACK - 0x1000);
        cpu.add_mem_hook(kinds, heap.0, heap.1, move |_, kind, at, _, value| {
            let event = match kind {
                MemType::WRITE => Event::Store { at, value: value as u64 },
                _ => Event::Load { at },
            };
            accessed.lock().unwrap().push(event);
            true
        })
        .unwrap();
        events
    }
}

impl Run {
    pub fn word(&self, at: u64) -> u64 {
        let from = (at - MEMORY.start) as usize;
        u64::from_le_bytes(self.memory[from..from + 8].try_into().unwrap())
    }

    pub fn field(&self) -> u64 {
        self.word(OBJECT + IMPL_AT)
    }

    pub fn count(&self, list: Freelist) -> u64 {
        self.word(in_device(list.count)) & 0xffff_ffff
    }

    pub fn slots(&self, list: Freelist) -> Vec<u64> {
        let first = in_device(list.slots);
        (0..u64::from(list.capacity)).map(|index| self.word(first + 8 * index)).collect()
    }

    /// The calls: where to, and the first argument.
    pub fn calls(&self) -> Vec<(u64, u64)> {
        let call = |event: &Event| match *event {
            Event::Call { to, x0, .. } => Some((to, x0)),
            _ => None,
        };
        self.events.iter().filter_map(call).collect()
    }

    /// Where among the events the first is that `is` holds of.
    pub fn position(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().position(is).expect("an event")
    }

    /// Where among the events the field is cleared.
    pub fn clear(&self) -> usize {
        self.position(|event| *event == Event::Store { at: OBJECT + IMPL_AT, value: 0 })
    }

    /// Where among the events that freelist's lock is dropped.
    pub fn unlock(&self, list: Freelist) -> usize {
        let lock = in_device(list.lock);
        self.position(|event| matches!(*event, Event::Call { to: UNLOCK, x0, .. } if x0 == lock))
    }
}
