//! Files: those the process was given, and those it makes. There are no others,
//! and a directory is there where a file is below it.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::{EEXIST, ENOENT, ENOTTY, errno, found};
use crate::emulate::{Cpu, memory};

const FIRST: u64 = 3;
/// `fcntl.h` of macOS.
const O_CREAT: u64 = 0x200;
const O_EXCL: u64 = 0x800;

/// The files by their names, and what is open.
#[derive(Default)]
pub struct Files {
    /// Names and contents.
    pub contents: BTreeMap<String, Vec<u8>>,
    open: Vec<Open>,
}

struct Open {
    path: String,
    at: usize,
}

/// What a name stands for.
enum Kind {
    File(u64),
    Directory,
    Pipe,
}

impl Files {
    fn kind(&self, path: &str) -> Option<Kind> {
        let below = format!("{}/", path.trim_end_matches('/'));
        match self.contents.get(path) {
            Some(content) => Some(Kind::File(content.len() as u64)),
            None if self.contents.keys().any(|name| name.starts_with(&below)) => {
                Some(Kind::Directory)
            }
            None => None,
        }
    }

    fn opened(&mut self, descriptor: u64) -> Option<(&mut Open, &mut Vec<u8>)> {
        let open = self.open.get_mut(descriptor.checked_sub(FIRST)? as usize)?;
        let content = self.contents.get_mut(&open.path)?;
        Some((open, content))
    }

    /// Writes into an open file; false where there is none.
    fn write(&mut self, descriptor: u64, at: Option<usize>, bytes: &[u8]) -> bool {
        let Some((open, content)) = self.opened(descriptor) else { return false };
        let start = at.unwrap_or(open.at);
        let end = start + bytes.len();
        content.resize(content.len().max(end), 0);
        content[start..end].copy_from_slice(bytes);
        if at.is_none() {
            open.at = end;
        }
        true
    }
}

/// Does the function if it is one of these.
pub fn call(cpu: &mut Cpu<'_>, name: &str, a: &[u64; 6]) -> Result<Option<u64>> {
    let name = name.split('$').next().unwrap_or(name);
    Ok(Some(match name {
        "_write" => {
            let content = memory::get(cpu, a[1], a[2])?;
            written(cpu, a[0], None, &content)?
        }
        "_pwrite" => {
            let content = memory::get(cpu, a[1], a[2])?;
            written(cpu, a[0], Some(usize::try_from(a[3])?), &content)?
        }
        "_writev" => {
            let mut all = 0;
            for index in 0..a[2] {
                let part = memory::number(cpu, a[1] + 16 * index)?;
                let size = memory::number(cpu, a[1] + 16 * index + 8)?;
                let content = memory::get(cpu, part, size)?;
                all += written(cpu, a[0], None, &content)?;
            }
            all
        }
        "_open" => open(cpu, a[0], a[1])?,
        "_openat" => open(cpu, a[1], a[2])?,
        "_read" => {
            let Some((open, content)) = cpu.get_data_mut().files.opened(a[0]) else {
                return Ok(Some(0));
            };
            let rest = &content[open.at.min(content.len())..];
            let read = rest[..rest.len().min(a[2] as usize)].to_vec();
            open.at += read.len();
            memory::put(cpu, a[1], &read)?;
            read.len() as u64
        }
        "_fstat" => {
            let size = cpu.get_data_mut().files.opened(a[0]).map(|(_, c)| c.len() as u64);
            status(cpu, a[1], &size.map_or(Kind::Pipe, Kind::File))?
        }
        "_stat" | "_lstat" => named(cpu, a[0], a[1])?,
        "_fstatat" => named(cpu, a[1], a[2])?,
        "_link" => linked(cpu, a[0], a[1])?,
        "_linkat" => linked(cpu, a[1], a[3])?,
        "_unlink" => {
            let path = path(cpu, a[0])?;
            match cpu.get_data_mut().files.contents.remove(&path) {
                Some(_) => 0,
                None => errno(cpu, ENOENT)?,
            }
        }
        "_close" | "_fcntl" | "_fchmod" | "_fsync" => 0,
        "_getcwd" => {
            memory::put(cpu, a[0], b"/\0")?;
            a[0]
        }
        "_realpath" => {
            let text = [path(cpu, a[0])?.into_bytes(), vec![0]].concat();
            let at = if a[1] == 0 { memory::allocate(cpu, 0x400, 16)? } else { a[1] };
            memory::put(cpu, at, &text)?;
            at
        }
        "_lseek" => {
            let open = cpu.get_data_mut().files.opened(a[0]);
            found(0, open.map(|(open, _)| open.at))
        }
        "_isatty" => {
            errno(cpu, ENOTTY)?;
            0
        }
        "_ioctl" => errno(cpu, ENOTTY)?,
        _ => return Ok(None),
    }))
}

/// A name from the root, as the files are kept by.
fn path(cpu: &Cpu<'_>, at: u64) -> Result<String> {
    let text = String::from_utf8_lossy(&memory::string(cpu, at)?).into_owned();
    let text = text.trim_start_matches("./");
    Ok(if text.starts_with('/') { text.to_owned() } else { format!("/{text}") })
}

fn named(cpu: &mut Cpu<'_>, name: u64, at: u64) -> Result<u64> {
    let path = path(cpu, name)?;
    match cpu.get_data().files.kind(&path) {
        Some(kind) => status(cpu, at, &kind),
        None => errno(cpu, ENOENT),
    }
}

/// Another name for a file; what is written to the one afterwards is not in the
/// other, which no caller here does.
fn linked(cpu: &mut Cpu<'_>, from: u64, to: u64) -> Result<u64> {
    let (from, to) = (path(cpu, from)?, path(cpu, to)?);
    let files = &mut cpu.get_data_mut().files.contents;
    match files.get(&from).cloned() {
        None => errno(cpu, ENOENT),
        Some(_) if files.contains_key(&to) => errno(cpu, EEXIST),
        Some(content) => {
            files.insert(to, content);
            Ok(0)
        }
    }
}

fn written(cpu: &mut Cpu<'_>, descriptor: u64, at: Option<usize>, content: &[u8]) -> Result<u64> {
    let system = cpu.get_data_mut();
    match system.written.get_mut(descriptor.wrapping_sub(1) as usize) {
        Some(stream) => stream.extend_from_slice(content),
        None if system.files.write(descriptor, at, content) => {}
        None => bail!("a write to descriptor {descriptor}"),
    }
    Ok(content.len() as u64)
}

fn open(cpu: &mut Cpu<'_>, name: u64, flags: u64) -> Result<u64> {
    let path = path(cpu, name)?;
    let files = &mut cpu.get_data_mut().files;
    let there = files.kind(&path).is_some();
    if there && flags & O_EXCL != 0 {
        return errno(cpu, EEXIST);
    }
    if !there && flags & O_CREAT == 0 {
        return errno(cpu, ENOENT);
    }
    if !there {
        files.contents.insert(path.clone(), Vec::new());
    }
    files.open.push(Open { path, at: 0 });
    Ok(FIRST + files.open.len() as u64 - 1)
}

/// `struct stat` of macOS with 64-bit inodes: `st_mode` at 4, `st_nlink` at 6,
/// `st_ino` at 8, `st_size` at 96. A file's inode is told by its size, which is
/// enough to tell the few files of a run apart.
fn status(cpu: &mut Cpu<'_>, at: u64, kind: &Kind) -> Result<u64> {
    let (mode, size): (u16, u64) = match kind {
        Kind::File(size) => (0o100_644, *size),
        Kind::Directory => (0o040_755, 0),
        Kind::Pipe => (0o010_600, 0),
    };
    memory::put(cpu, at, &[0; 144])?;
    memory::put(cpu, at + 4, &mode.to_le_bytes())?;
    memory::put(cpu, at + 6, &1u16.to_le_bytes())?;
    memory::put(cpu, at + 8, &size.to_le_bytes())?;
    memory::put(cpu, at + 96, &size.to_le_bytes())?;
    Ok(0)
}
