//! Runs the arm64 slice of the program that was built for macOS, instruction by
//! instruction, where there is no Mac.
//!
//! The segments are mapped where the file wants them, every import is bound to
//! an address of its own, and the processor (Unicorn) starts at the entry point.
//! When it arrives at an import, the few functions of libSystem that a command
//! needs on its way are done in its stead (`system`). A function that is not
//! known ends the run and is named, never guessed.
//!
//! So the code that ships is the code that runs: compiler, linker, fixups,
//! static constructors, thread-local storage, keystone and capstone included.
//! The kernel, dyld and libSystem themselves are not in it.

mod format;
mod memory;
mod system;

use std::collections::BTreeMap;

use agxpatch_core::macho::{Architecture, Universal};
use anyhow::{Context, Result, anyhow, bail};
use goblin::mach::MachO;
use goblin::mach::load_command::CommandVariant;
use unicorn_engine::{Arch, Mode, Prot, RegisterARM64 as R, Unicorn};

pub use system::{Ended, System};

type Cpu<'a> = Unicorn<'a, System>;

/// Where the imports are bound to: one `ret` each.
const IMPORTS: u64 = 0x7_0000_0000;
/// Where imported variables stand.
const VARIABLES: u64 = 0x7_1000_0000;
/// Where the locale stands that the inlined `isalpha` and its like look into.
const RUNES: u64 = VARIABLES + 0x8_0000;
const STACK: u64 = 0x7_2000_0000;
const STACK_SIZE: u64 = 16 << 20;
/// Returning to it ends the run.
const END: u64 = 0x7_4000_0000;
/// Where a thread begins: the code that calls its function, and then its end.
const THREADS: u64 = END + 0x800;

const RET: u32 = 0xd65f_03c0;
/// No command that is run here needs more.
const MAX_INSTRUCTIONS: usize = 20_000_000_000;

/// Runs `program` with these arguments, its own name excluded, on a machine that
/// holds these files and no others.
pub fn run(program: &[u8], arguments: &[&str], files: BTreeMap<String, Vec<u8>>) -> Result<Ended> {
    let file = Universal::parse(program)?;
    let slice = file.slice(Architecture::ARM64)?;
    let macho = MachO::parse(slice.bytes, 0)?;
    let mut cpu: Cpu<'_> =
        Unicorn::new_with_data(Arch::ARM64, Mode::LITTLE_ENDIAN, System::new(files))
            .map_err(engine("open"))?;
    cpu.ctl_set_cpu_model(unicorn_engine::Arm64CpuModel::MAX as i32).map_err(engine("model"))?;
    for (at, size) in [(VARIABLES, 0x10_0000), (STACK, STACK_SIZE), (END, 0x1000)] {
        cpu.mem_map(at, size, Prot::ALL).map_err(engine("map"))?;
    }
    memory::map_heap(&mut cpu)?;
    let constructors = map_segments(&mut cpu, &macho, slice.bytes)?;
    let names = bind(&mut cpu, &macho)?;
    hook(&mut cpu, names)?;
    let parameters = parameters(&mut cpu, arguments)?;
    for constructor in constructors {
        call(&mut cpu, constructor, &parameters)?;
    }
    let entry = entry(&macho).context("no entry point")?;
    call(&mut cpu, entry, &parameters)?;
    if cpu.get_data().ended.is_none() {
        let code = cpu.reg_read(R::X0).map_err(engine("read"))? as i32;
        cpu.get_data_mut().exit(code);
    }
    cpu.get_data_mut().ended.take().ok_or_else(|| anyhow!("it did not end"))
}

fn engine(what: &'static str) -> impl Fn(unicorn_engine::uc_error) -> anyhow::Error {
    move |error| anyhow!("emulator, {what}: {error:?}")
}

/// Maps the segments, prepares thread-local storage, and returns the static
/// constructors.
fn map_segments(cpu: &mut Cpu<'_>, macho: &MachO<'_>, bytes: &[u8]) -> Result<Vec<u64>> {
    const PAGE: u64 = 0x4000;
    let (mut constructors, mut locals) = (Vec::new(), Vec::new());
    for segment in &macho.segments {
        if segment.initprot == 0 && segment.filesize == 0 {
            continue;
        }
        let size = segment.vmsize.next_multiple_of(PAGE).max(PAGE);
        cpu.mem_map(segment.vmaddr, size, Prot::ALL).map_err(engine("map"))?;
        let range = segment.fileoff as usize..(segment.fileoff + segment.filesize) as usize;
        cpu.mem_write(segment.vmaddr, &bytes[range]).map_err(engine("write"))?;
        for (section, content) in segment.sections()? {
            let bytes =
                || content.chunks_exact(8).map(|one| u64::from_le_bytes(one.try_into().unwrap()));
            match section.flags & 0xff {
                // S_MOD_INIT_FUNC_POINTERS.
                9 => constructors.extend(bytes()),
                // S_THREAD_LOCAL_REGULAR, S_THREAD_LOCAL_ZEROFILL.
                0x11 | 0x12 => locals.push((section.addr, section.size)),
                _ => {}
            }
        }
    }
    let start = locals.iter().map(|(at, _)| *at).min().unwrap_or(0);
    let end = locals.iter().map(|(at, size)| at + size).max().unwrap_or(0);
    cpu.get_data_mut().thread_locals = start..end;
    Ok(constructors)
}

/// Gives each import an address; imported variables get a word that holds
/// something, so that a stack guard is a stack guard.
fn bind(cpu: &mut Cpu<'_>, macho: &MachO<'_>) -> Result<Vec<String>> {
    const VARIABLE_NAMES: [&str; 4] =
        ["___stack_chk_guard", "___stderrp", "___stdoutp", "_environ"];
    // The classes of characters stand 60 bytes into the locale.
    let runes: Vec<u8> = (0..=127).flat_map(|byte| system::rune_type(byte).to_le_bytes()).collect();
    cpu.mem_write(RUNES + 60, &runes).map_err(engine("write"))?;
    let mut names: Vec<String> = Vec::new();
    for import in macho.imports()? {
        let index = names.iter().position(|name| name == import.name).unwrap_or_else(|| {
            names.push(import.name.to_owned());
            names.len() - 1
        });
        let target = if import.name == "__DefaultRuneLocale" {
            RUNES
        } else if VARIABLE_NAMES.contains(&import.name) {
            let at = VARIABLES + 16 * index as u64;
            cpu.mem_write(at, &0x5afe_5afe_u64.to_le_bytes()).map_err(engine("write"))?;
            at
        } else {
            IMPORTS + 4 * index as u64
        };
        let value = target.wrapping_add_signed(import.addend);
        cpu.mem_write(import.address, &value.to_le_bytes()).map_err(engine("write"))?;
    }
    if names.is_empty() {
        bail!("no imports: this file is linked in another way than the emulator knows");
    }
    let ended = IMPORTS + 4 * names.len() as u64;
    names.push(system::THREAD_ENDED.to_owned());
    // blr x9; ldr x16, ended; br x16; ended: .quad
    let code = [0xd63f_0120_u32, 0x5800_0050, 0xd61f_0200].map(u32::to_le_bytes).concat();
    let code = [code, ended.to_le_bytes().to_vec()].concat();
    cpu.mem_write(THREADS, &code).map_err(engine("write"))?;
    Ok(names)
}

fn hook(cpu: &mut Cpu<'_>, names: Vec<String>) -> Result<()> {
    let size = (4 * names.len() as u64).next_multiple_of(0x1000);
    cpu.mem_map(IMPORTS, size, Prot::ALL).map_err(engine("map"))?;
    for index in 0..names.len() as u64 {
        cpu.mem_write(IMPORTS + 4 * index, &RET.to_le_bytes()).map_err(engine("write"))?;
    }
    cpu.add_code_hook(IMPORTS, IMPORTS + size, move |cpu, at, _| {
        let name = &names[((at - IMPORTS) / 4) as usize];
        if let Err(error) = system::call(cpu, name) {
            cpu.get_data_mut().fail(format!("{name}: {error}"));
        }
        if cpu.get_data().ended.is_some() || cpu.get_data().failed.is_some() {
            // The run is over; whether it could be stopped shows in `ended`.
            let _ = cpu.emu_stop();
        }
    })
    .map_err(engine("hook"))?;
    Ok(())
}

/// `argc`, `argv`, `envp`, `apple`, as a constructor and `main` get them.
fn parameters(cpu: &mut Cpu<'_>, arguments: &[&str]) -> Result<[u64; 4]> {
    let all: Vec<&str> = ["agxpatch"].iter().chain(arguments).copied().collect();
    let mut pointers = Vec::new();
    for argument in &all {
        let text = [argument.as_bytes(), b"\0"].concat();
        let at = memory::allocate(cpu, text.len() as u64, 16)?;
        cpu.mem_write(at, &text).map_err(engine("write"))?;
        pointers.push(at);
    }
    pointers.push(0);
    let table: Vec<u8> = pointers.iter().flat_map(|at| at.to_le_bytes()).collect();
    let argv = memory::allocate(cpu, table.len() as u64, 16)?;
    cpu.mem_write(argv, &table).map_err(engine("write"))?;
    let empty = memory::allocate(cpu, 8, 16)?;
    cpu.get_data_mut().arguments = (all.len() as u64, argv, empty);
    Ok([all.len() as u64, argv, empty, empty])
}

fn entry(macho: &MachO<'_>) -> Option<u64> {
    let text =
        macho.segments.iter().find(|segment| segment.name().is_ok_and(|name| name == "__TEXT"))?;
    macho.load_commands.iter().find_map(|command| match &command.command {
        CommandVariant::Main(main) => Some(text.vmaddr + main.entryoff),
        _ => None,
    })
}

fn call(cpu: &mut Cpu<'_>, function: u64, parameters: &[u64; 4]) -> Result<()> {
    let registers = [R::X0, R::X1, R::X2, R::X3];
    for (register, value) in registers.into_iter().zip(parameters) {
        cpu.reg_write(register, *value).map_err(engine("write"))?;
    }
    cpu.reg_write(R::SP, STACK + STACK_SIZE - 0x1000).map_err(engine("write"))?;
    cpu.reg_write(R::X29, 0).map_err(engine("write"))?;
    cpu.reg_write(R::LR, END).map_err(engine("write"))?;
    let ran = cpu.emu_start(function, END, 0, MAX_INSTRUCTIONS);
    if let Some(failure) = cpu.get_data_mut().failed.take() {
        bail!("at {:#x}: {failure}", cpu.reg_read(R::LR).unwrap_or_default());
    }
    let at = cpu.pc_read().unwrap_or_default();
    ran.map_err(|error| anyhow!("at {at:#x}: {error:?}"))
}
