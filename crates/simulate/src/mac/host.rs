//! A simulated Mac as the host that the program works on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::effects::Extent;
use super::{SimulatedMac, Terminal, factory, files, loader, tools};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::system::System;
use agxpatch_host::{
    Command, CommandKind, CsrConfig, File, Host, Input, Kind, LoadTrial, Loading, Lock, Metadata,
    Output, Tool,
};

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
