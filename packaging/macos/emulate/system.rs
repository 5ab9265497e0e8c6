//! What libSystem does for a command that reads a file and prints something.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, bail};
use unicorn_engine::RegisterARM64 as R;

use super::{Cpu, format, memory};

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// What was written to standard output.
    pub stdout: String,
    /// What was written to standard error.
    pub stderr: String,
}

/// The emulated process's share of a system.
#[derive(Default)]
pub struct System {
    pub(super) heap: u64,
    pub(super) thread_locals: Range<u64>,
    pub(super) arguments: (u64, u64, u64),
    pub(super) ended: Option<Ended>,
    pub(super) failed: Option<String>,
    files: BTreeMap<String, Vec<u8>>,
    open: Vec<(String, usize)>,
    written: [Vec<u8>; 2],
    locals_at: u64,
    keys: BTreeMap<u64, u64>,
    errno_at: u64,
    time: u64,
}

impl System {
    pub(super) fn new(files: BTreeMap<String, Vec<u8>>) -> System {
        System { files, ..System::default() }
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.failed.get_or_insert(reason);
    }

    pub(super) fn exit(&mut self, code: i32) {
        let [out, err] = self.written.each_ref().map(|b| String::from_utf8_lossy(b).into_owned());
        self.ended = Some(Ended { code, stdout: out, stderr: err });
    }
}

/// Numbers of `errno.h` and `fcntl.h` on macOS.
const ENOENT: u64 = 2;
const EAGAIN: u64 = 35;
const ENOTTY: u64 = 25;
const FIRST_FILE: u64 = 3;

const FAILED: u64 = u64::MAX;

/// Does the function `name` with the arguments in the registers and leaves its
/// result in `x0`.
pub fn call(cpu: &mut Cpu<'_>, name: &str) -> Result<()> {
    let mut a = [0; 6];
    for (value, register) in a.iter_mut().zip([R::X0, R::X1, R::X2, R::X3, R::X4, R::X5]) {
        *value = cpu.reg_read(register).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
    let done = match name {
        "__tlv_bootstrap" => Some(thread_local(cpu, a[0])?),
        _ => match memory_function(cpu, name, &a)? {
            Some(result) => Some(result),
            None => match text_function(cpu, name, &a)? {
                Some(result) => Some(result),
                None => match file_function(cpu, name, &a)? {
                    Some(result) => Some(result),
                    None => process_function(cpu, name, &a)?,
                },
            },
        },
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

fn memory_function(cpu: &mut Cpu<'_>, name: &str, a: &[u64; 6]) -> Result<Option<u64>> {
    Ok(Some(match name {
        "_malloc" => memory::allocate(cpu, a[0], 16)?,
        "_calloc" => memory::allocate(cpu, a[0] * a[1], 16)?,
        "_aligned_alloc" => memory::allocate(cpu, a[1], a[0])?,
        "_posix_memalign" => {
            let at = memory::allocate(cpu, a[2], a[1])?;
            memory::put(cpu, a[0], &at.to_le_bytes())?;
            0
        }
        "_realloc" => {
            let at = memory::allocate(cpu, a[1], 16)?;
            if a[0] != 0 {
                let kept = memory::size_of(cpu, a[0])?.min(a[1]);
                let content = memory::get(cpu, a[0], kept)?;
                memory::put(cpu, at, &content)?;
            }
            at
        }
        "_free" | "_munmap" | "_mprotect" | "_madvise" => 0,
        // MAP_FIXED is asked for on memory that is there, as a guard page.
        "_mmap" if a[3] & 0x10 != 0 => a[0],
        "_mmap" => memory::allocate(cpu, a[1], 0x4000)?,
        "_memcpy" | "_memmove" | "___memcpy_chk" | "___memmove_chk" => {
            let content = memory::get(cpu, a[1], a[2])?;
            memory::put(cpu, a[0], &content)?;
            a[0]
        }
        "_memset" | "___memset_chk" => {
            memory::put(cpu, a[0], &vec![a[1] as u8; usize::try_from(a[2])?])?;
            a[0]
        }
        "_bzero" | "___bzero" => {
            memory::put(cpu, a[0], &vec![0; usize::try_from(a[1])?])?;
            0
        }
        "_memset_pattern16" => {
            let pattern = memory::get(cpu, a[1], 16)?;
            let filled: Vec<u8> = pattern.into_iter().cycle().take(a[2] as usize).collect();
            memory::put(cpu, a[0], &filled)?;
            0
        }
        "_memcmp" | "_bcmp" => {
            let (left, right) = (memory::get(cpu, a[0], a[2])?, memory::get(cpu, a[1], a[2])?);
            left.cmp(&right) as i64 as u64
        }
        "_memchr" => {
            let content = memory::get(cpu, a[0], a[2])?;
            found(a[0], content.iter().position(|byte| *byte == a[1] as u8))
        }
        _ => return Ok(None),
    }))
}

fn found(base: u64, position: Option<usize>) -> u64 {
    position.map_or(0, |at| base + at as u64)
}

fn text_function(cpu: &mut Cpu<'_>, name: &str, a: &[u64; 6]) -> Result<Option<u64>> {
    let string = |at| memory::string(cpu, at);
    Ok(Some(match name {
        "_strlen" => string(a[0])?.len() as u64,
        "_strnlen" => string(a[0])?.len().min(a[1] as usize) as u64,
        "_strcmp" => string(a[0])?.cmp(&string(a[1])?) as i64 as u64,
        "_strncmp" => {
            let (mut left, mut right) = (string(a[0])?, string(a[1])?);
            left.truncate(a[2] as usize);
            right.truncate(a[2] as usize);
            left.cmp(&right) as i64 as u64
        }
        "_strcasecmp" => {
            let (left, right) = (string(a[0])?, string(a[1])?);
            left.to_ascii_lowercase().cmp(&right.to_ascii_lowercase()) as i64 as u64
        }
        "_strchr" => {
            let text = [string(a[0])?, vec![0]].concat();
            found(a[0], text.iter().position(|byte| *byte == a[1] as u8))
        }
        "_strrchr" => {
            let text = [string(a[0])?, vec![0]].concat();
            found(a[0], text.iter().rposition(|byte| *byte == a[1] as u8))
        }
        "_strstr" => {
            let (text, wanted) = (string(a[0])?, string(a[1])?);
            let at = (0..=text.len()).find(|at| text[*at..].starts_with(&wanted));
            found(a[0], at)
        }
        "_strcpy" | "___strcpy_chk" => {
            let text = [string(a[1])?, vec![0]].concat();
            memory::put(cpu, a[0], &text)?;
            a[0]
        }
        "_strncpy" | "___strncpy_chk" => {
            let mut text = string(a[1])?;
            text.resize(a[2] as usize, 0);
            memory::put(cpu, a[0], &text)?;
            a[0]
        }
        "_strcat" | "___strcat_chk" => {
            let end = a[0] + string(a[0])?.len() as u64;
            let text = [string(a[1])?, vec![0]].concat();
            memory::put(cpu, end, &text)?;
            a[0]
        }
        "___maskrune" => u64::from(rune_type(a[0] as u8)) & a[1],
        "_strerror_r" => {
            let text = format!("error {}\0", a[0]);
            memory::put(cpu, a[1], text.as_bytes())?;
            0
        }
        "_strdup" => {
            let text = [string(a[0])?, vec![0]].concat();
            let at = memory::allocate(cpu, text.len() as u64, 16)?;
            memory::put(cpu, at, &text)?;
            at
        }
        "_strtol" | "_strtoul" | "_strtoull" | "_strtoll" => number_in(cpu, a)?,
        "___tolower" | "_tolower" => u64::from((a[0] as u8).to_ascii_lowercase()),
        "___toupper" | "_toupper" => u64::from((a[0] as u8).to_ascii_uppercase()),
        "_snprintf" => printed(cpu, a[0], Some(a[1]), a[2], None)?,
        "___snprintf_chk" => printed(cpu, a[0], Some(a[1]), a[4], None)?,
        "_sprintf" => printed(cpu, a[0], None, a[1], None)?,
        "___sprintf_chk" => printed(cpu, a[0], None, a[3], None)?,
        "_vsnprintf" => printed(cpu, a[0], Some(a[1]), a[2], Some(a[3]))?,
        "___vsnprintf_chk" => printed(cpu, a[0], Some(a[1]), a[4], Some(a[5]))?,
        _ => return Ok(None),
    }))
}

/// The class of an ASCII character, as `_CTYPE_*` bits of `runetype.h`.
pub fn rune_type(byte: u8) -> u32 {
    let bits = [
        (byte.is_ascii_alphabetic(), 0x100),
        (byte.is_ascii_control(), 0x200),
        (byte.is_ascii_digit(), 0x400),
        (byte.is_ascii_graphic(), 0x800),
        (byte.is_ascii_lowercase(), 0x1000),
        (byte.is_ascii_punctuation(), 0x2000),
        (byte.is_ascii_whitespace() || byte == 11, 0x4000),
        (byte.is_ascii_uppercase(), 0x8000),
        (byte.is_ascii_hexdigit(), 0x1_0000),
        (matches!(byte, b' ' | b'\t'), 0x2_0000),
        (matches!(byte, b' '..=b'~'), 0x4_0000),
    ];
    bits.iter().filter(|(is, _)| *is).map(|(_, bit)| bit).sum()
}

fn number_in(cpu: &mut Cpu<'_>, a: &[u64; 6]) -> Result<u64> {
    let text = String::from_utf8_lossy(&memory::string(cpu, a[0])?).into_owned();
    let (digits, radix) = match (text.strip_prefix("0x"), a[2]) {
        (Some(rest), 0 | 16) => (rest, 16),
        (_, 0) => (text.as_str(), 10),
        (_, base) => (text.as_str(), base as u32),
    };
    let length = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if a[1] != 0 {
        let end = a[0] + (text.len() - digits.len() + length) as u64;
        memory::put(cpu, a[1], &end.to_le_bytes())?;
    }
    Ok(u64::from_str_radix(&digits[..length], radix).unwrap_or(0))
}

/// Writes what `printf` makes of the format into `at`, cut to `room`.
fn printed(
    cpu: &mut Cpu<'_>,
    at: u64,
    room: Option<u64>,
    format: u64,
    list: Option<u64>,
) -> Result<u64> {
    let stack = cpu.reg_read(R::SP).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let format = memory::string(cpu, format)?;
    let mut text = format::text(cpu, &format, list.unwrap_or(stack))?;
    let length = text.len() as u64;
    if room != Some(0) {
        text.truncate(room.map_or(usize::MAX, |room| room as usize - 1));
        text.push(0);
        memory::put(cpu, at, &text)?;
    }
    Ok(length)
}

fn file_function(cpu: &mut Cpu<'_>, name: &str, a: &[u64; 6]) -> Result<Option<u64>> {
    let name = name.split('$').next().unwrap_or(name);
    Ok(Some(match name {
        "_write" => {
            let content = memory::get(cpu, a[1], a[2])?;
            written(cpu, a[0], &content)?
        }
        "_writev" => {
            let mut all = 0;
            for index in 0..a[2] {
                let part = memory::number(cpu, a[1] + 16 * index)?;
                let size = memory::number(cpu, a[1] + 16 * index + 8)?;
                let content = memory::get(cpu, part, size)?;
                all += written(cpu, a[0], &content)?;
            }
            all
        }
        "_open" => opened(cpu, a[0])?,
        "_openat" => opened(cpu, a[1])?,
        "_read" => {
            let system = cpu.get_data_mut();
            let Some((path, at)) = system.open.get_mut(a[0].wrapping_sub(FIRST_FILE) as usize)
            else {
                return Ok(Some(0));
            };
            let rest = &system.files[path.as_str()][*at..];
            let content = rest[..rest.len().min(a[2] as usize)].to_vec();
            *at += content.len();
            memory::put(cpu, a[1], &content)?;
            content.len() as u64
        }
        "_fstat" => {
            let system = cpu.get_data();
            let open = system.open.get(a[0].wrapping_sub(FIRST_FILE) as usize);
            let size = open.map(|(path, _)| system.files[path.as_str()].len() as u64);
            status(cpu, a[1], size)?
        }
        "_stat" | "_lstat" => {
            let path = String::from_utf8_lossy(&memory::string(cpu, a[0])?).into_owned();
            match cpu.get_data().files.get(&path).map(|content| content.len() as u64) {
                Some(size) => status(cpu, a[1], Some(size))?,
                None => errno(cpu, ENOENT)?,
            }
        }
        "_close" | "_fcntl" => 0,
        "_getcwd" => {
            memory::put(cpu, a[0], b"/\0")?;
            a[0]
        }
        "_lseek" => {
            let open = cpu.get_data().open.get(a[0].wrapping_sub(FIRST_FILE) as usize);
            open.map_or(0, |(_, at)| *at as u64)
        }
        "_isatty" => {
            errno(cpu, ENOTTY)?;
            0
        }
        "_ioctl" => errno(cpu, ENOTTY)?,
        _ => return Ok(None),
    }))
}

fn written(cpu: &mut Cpu<'_>, descriptor: u64, content: &[u8]) -> Result<u64> {
    match cpu.get_data_mut().written.get_mut(descriptor.wrapping_sub(1) as usize) {
        Some(stream) => stream.extend_from_slice(content),
        None => bail!("a write to descriptor {descriptor}"),
    }
    Ok(content.len() as u64)
}

fn opened(cpu: &mut Cpu<'_>, path: u64) -> Result<u64> {
    let path = String::from_utf8_lossy(&memory::string(cpu, path)?).into_owned();
    if !cpu.get_data().files.contains_key(&path) {
        return errno(cpu, ENOENT);
    }
    let open = &mut cpu.get_data_mut().open;
    open.push((path, 0));
    Ok(FIRST_FILE + open.len() as u64 - 1)
}

/// `struct stat` of macOS with 64-bit inodes: `st_mode` at 4, `st_size` at 96.
fn status(cpu: &mut Cpu<'_>, at: u64, size: Option<u64>) -> Result<u64> {
    const REGULAR: u16 = 0o100_644;
    const PIPE: u16 = 0o010_600;
    memory::put(cpu, at, &[0; 144])?;
    let mode = if size.is_some() { REGULAR } else { PIPE };
    memory::put(cpu, at + 4, &mode.to_le_bytes())?;
    memory::put(cpu, at + 96, &size.unwrap_or(0).to_le_bytes())?;
    Ok(0)
}

fn process_function(cpu: &mut Cpu<'_>, name: &str, a: &[u64; 6]) -> Result<Option<u64>> {
    const ZERO: [&str; 33] = [
        "_signal",
        "_sigaction",
        "_sigaltstack",
        "_sigemptyset",
        "_poll",
        "_getenv",
        "_dlsym",
        "___cxa_atexit",
        "_atexit",
        "__tlv_atexit",
        "_pthread_mutex_init",
        "_pthread_mutex_lock",
        "_pthread_mutex_trylock",
        "_pthread_mutex_unlock",
        "_pthread_mutex_destroy",
        "_pthread_mutexattr_init",
        "_pthread_mutexattr_settype",
        "_pthread_mutexattr_destroy",
        "_pthread_rwlock_rdlock",
        "_pthread_rwlock_wrlock",
        "_pthread_rwlock_unlock",
        "_pthread_cond_init",
        "_pthread_cond_signal",
        "_pthread_cond_broadcast",
        "_pthread_cond_destroy",
        "_pthread_attr_init",
        "_pthread_attr_destroy",
        "_pthread_attr_setstacksize",
        "_pthread_setname_np",
        "_pthread_key_delete",
        "_os_unfair_lock_lock",
        "_os_unfair_lock_unlock",
        "_sched_yield",
    ];
    let name = name.split('$').next().unwrap_or(name);
    if ZERO.contains(&name) {
        return Ok(Some(0));
    }
    Ok(Some(match name {
        "_exit" | "__exit" => {
            cpu.get_data_mut().exit(a[0] as i32);
            0
        }
        "_abort" => {
            let said = String::from_utf8_lossy(&cpu.get_data().written[1]).into_owned();
            bail!("the program gave up: {said}")
        }
        "___error" => errno_at(cpu)?,
        "_getpid" => 1,
        "_pthread_self" => 0x5e1f,
        // Made for a thread that then cannot be had; nobody ever waits on it.
        "_dispatch_semaphore_create" => 1,
        "_dispatch_release" => 0,
        "_pthread_main_np" | "_pthread_mach_thread_np" => 1,
        "_pthread_get_stackaddr_np" => super::STACK + super::STACK_SIZE,
        "_pthread_get_stacksize_np" => super::STACK_SIZE,
        // One thread, as on a machine that has no more to give.
        "_pthread_create" => EAGAIN,
        "_pthread_threadid_np" => {
            memory::put(cpu, a[1], &1u64.to_le_bytes())?;
            0
        }
        "_pthread_key_create" => {
            let keys = &mut cpu.get_data_mut().keys;
            let key = 0x100 + keys.len() as u64;
            keys.insert(key, 0);
            memory::put(cpu, a[0], &key.to_le_bytes())?;
            0
        }
        "_pthread_setspecific" => {
            cpu.get_data_mut().keys.insert(a[0], a[1]);
            0
        }
        "_pthread_getspecific" => cpu.get_data().keys.get(&a[0]).copied().unwrap_or(0),
        // _SC_PAGESIZE and the number of processors.
        "_sysconf" => {
            if a[0] == 29 {
                0x4000
            } else {
                1
            }
        }
        "_sysctl" | "_sysctlbyname" => errno(cpu, ENOENT)?,
        "__NSGetArgc" | "__NSGetArgv" | "__NSGetEnviron" => pointer_to_argument(cpu, name)?,
        "_clock_gettime" => {
            memory::put(cpu, a[1], &[0; 16])?;
            0
        }
        "_mach_absolute_time" | "_clock_gettime_nsec_np" => {
            cpu.get_data_mut().time += 1000;
            cpu.get_data().time
        }
        "_CCRandomGenerateBytes" | "_getentropy" => {
            memory::put(cpu, a[0], &vec![0x55; a[1] as usize])?;
            0
        }
        _ => return Ok(None),
    }))
}

fn pointer_to_argument(cpu: &mut Cpu<'_>, name: &str) -> Result<u64> {
    let (count, values, environment) = cpu.get_data().arguments;
    let value = match name {
        "__NSGetArgc" => count,
        "__NSGetArgv" => values,
        _ => environment,
    };
    let at = memory::allocate(cpu, 8, 16)?;
    memory::put(cpu, at, &value.to_le_bytes())?;
    Ok(at)
}
