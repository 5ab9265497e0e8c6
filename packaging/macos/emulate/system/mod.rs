//! What libSystem does for a command that reads files, works, prints and writes one.
//!
//! Each file here does the functions of one kind; one that none of them knows ends
//! the run by its name.

mod blocks;
mod files;
mod process;
mod text;
mod threads;

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, bail};
use unicorn_engine::RegisterARM64 as R;

use super::{Cpu, memory};

pub use text::rune_type;
pub use threads::ENDED as THREAD_ENDED;

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// What was written to standard output.
    pub stdout: String,
    /// What was written to standard error.
    pub stderr: String,
    /// Every file there is now, by its name.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// The emulated process's share of a system.
#[derive(Default)]
pub struct System {
    pub(super) heap: u64,
    pub(super) thread_locals: Range<u64>,
    pub(super) arguments: (u64, u64, u64),
    pub(super) ended: Option<Ended>,
    pub(super) failed: Option<String>,
    files: files::Files,
    makers: Vec<threads::Maker>,
    threads: u64,
    written: [Vec<u8>; 2],
    locals_at: u64,
    keys: BTreeMap<u64, u64>,
    errno_at: u64,
    time: u64,
}

impl System {
    pub(super) fn new(contents: BTreeMap<String, Vec<u8>>) -> System {
        let mut system = System::default();
        system.files.contents = contents;
        system
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.failed.get_or_insert(reason);
    }

    pub(super) fn exit(&mut self, code: i32) {
        let [out, err] = self.written.each_ref().map(|b| String::from_utf8_lossy(b).into_owned());
        let files = std::mem::take(&mut self.files.contents);
        self.ended = Some(Ended { code, stdout: out, stderr: err, files });
    }
}

/// Numbers of `errno.h` on macOS.
const ENOENT: u64 = 2;
const EEXIST: u64 = 17;
const ENOTTY: u64 = 25;

const FAILED: u64 = u64::MAX;

/// Does the function of that name with these arguments, if it knows it.
type Kind = fn(&mut Cpu<'_>, &str, &[u64; 6]) -> Result<Option<u64>>;

/// Does the function `name` with the arguments in the registers and leaves its
/// result in `x0`.
pub fn call(cpu: &mut Cpu<'_>, name: &str) -> Result<()> {
    let mut a = [0; 6];
    for (value, register) in a.iter_mut().zip([R::X0, R::X1, R::X2, R::X3, R::X4, R::X5]) {
        *value = cpu.reg_read(register).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
    let done = match name {
        "__tlv_bootstrap" => Some(thread_local(cpu, a[0])?),
        THREAD_ENDED => threads::end(cpu).map(|()| Some(0))?,
        // What the thread is started with stands where a result would.
        "_pthread_create" => threads::begin(cpu, a[0], a[2], a[3]).map(|()| Some(a[3]))?,
        _ => {
            const KINDS: [Kind; 4] = [blocks::call, text::call, files::call, process::call];
            let mut done = None;
            for kind in KINDS {
                done = kind(cpu, name, &a)?;
                if done.is_some() {
                    break;
                }
            }
            done
        }
    };
    let Some(result) = done else { bail!("not known to the emulator") };
    cpu.reg_write(R::X0, result).map_err(|error| anyhow::anyhow!("{error:?}"))
}

fn errno(cpu: &mut Cpu<'_>, number: u64) -> Result<u64> {
    let at = errno_at(cpu)?;
    memory::put(cpu, at, &(number as u32).to_le_bytes())?;
    Ok(FAILED)
}

fn errno_at(cpu: &mut Cpu<'_>) -> Result<u64> {
    if cpu.get_data().errno_at == 0 {
        let at = memory::allocate(cpu, 8, 16)?;
        cpu.get_data_mut().errno_at = at;
    }
    Ok(cpu.get_data().errno_at)
}

/// A descriptor holds a function, a key and an offset; the function returns the
/// variable's address and keeps every other register.
fn thread_local(cpu: &mut Cpu<'_>, descriptor: u64) -> Result<u64> {
    if cpu.get_data().locals_at == 0 {
        let template = cpu.get_data().thread_locals.clone();
        let size = template.end - template.start;
        let at = memory::allocate(cpu, size, 64)?;
        let initial = memory::get(cpu, template.start, size)?;
        memory::put(cpu, at, &initial)?;
        cpu.get_data_mut().locals_at = at;
    }
    Ok(cpu.get_data().locals_at + memory::number(cpu, descriptor + 16)?)
}

fn found(base: u64, position: Option<usize>) -> u64 {
    position.map_or(0, |at| base + at as u64)
}
