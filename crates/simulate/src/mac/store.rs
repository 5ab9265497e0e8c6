//! Where a simulated Mac is kept: in memory, or in a directory.
//!
//! In a directory there are `state.json`, `objects/` with one file per content
//! named by its SHA-256, and `locks/`. The state is replaced by renaming, so
//! that a process killed at any moment leaves the Mac before or after an effect
//! and never within. A lock serialises processes that use the same Mac.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::FlockOperation;

use super::fingerprint;
use super::machine::Machine;
use super::volume::Object;
use agxpatch_core::edit::sha256;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::Lock;

/// Contents by their hash. They never change, so the copies of a Mac share them.
#[derive(Clone, Default)]
pub(super) struct Objects(Arc<Mutex<BTreeMap<Object, Kept>>>);

#[derive(Clone)]
struct Kept {
    bytes: Arc<[u8]>,
    mentions_names: bool,
}

impl Objects {
    pub fn get(&self, object: &Object) -> Option<Arc<[u8]>> {
        self.hold().get(object).map(|kept| kept.bytes.clone())
    }

    pub fn insert(&self, object: Object, bytes: Arc<[u8]>) {
        let mentions_names = fingerprint::mentions_names(&bytes);
        self.hold().entry(object).or_insert(Kept { bytes, mentions_names });
    }

    pub fn all(&self) -> Vec<Arc<[u8]>> {
        self.hold().values().map(|kept| kept.bytes.clone()).collect()
    }

    /// A content, if it mentions names a fingerprint is not to depend on.
    pub fn renamed(&self, object: &Object) -> Option<Arc<[u8]>> {
        self.hold().get(object).filter(|kept| kept.mentions_names).map(|kept| kept.bytes.clone())
    }

    fn hold(&self) -> MutexGuard<'_, BTreeMap<Object, Kept>> {
        // Contents are only ever added, so a panic elsewhere leaves them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The Mac and its contents while they are held.
pub(super) struct Held {
    pub machine: Machine,
    pub objects: Objects,
    /// Where objects not in `objects` are found.
    directory: Option<PathBuf>,
    /// Paths whose lock is held, for Macs in memory.
    locks: Vec<String>,
}

impl Held {
    /// Keeps a content.
    pub fn keep(&mut self, bytes: &[u8]) -> Result<Object> {
        let object = name_of(bytes);
        if self.objects.get(&object).is_none() {
            if let Some(directory) = &self.directory {
                let path = directory.join("objects").join(&*object.0);
                if !path.exists() {
                    write_whole(&path, bytes)?;
                }
            }
            self.objects.insert(object.clone(), Arc::from(bytes));
        }
        Ok(object)
    }

    /// A content by its hash.
    pub fn content(&self, object: &Object) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.objects.get(object) {
            return Ok(bytes);
        }
        let missing = || broken(Path::new(&*object.0), "a content is missing");
        let directory = self.directory.as_ref().ok_or_else(missing)?;
        let path = directory.join("objects").join(&*object.0);
        let bytes: Arc<[u8]> = fs::read(&path).map_err(|error| broken(&path, error))?.into();
        self.objects.insert(object.clone(), bytes.clone());
        Ok(bytes)
    }
}

/// The name of a content.
pub(super) fn name_of(bytes: &[u8]) -> Object {
    Object(sha256(bytes).into())
}

/// A Mac's keeping place, shared by every handle on it.
#[derive(Clone)]
pub(super) struct Store {
    held: Arc<Mutex<Held>>,
}

impl Store {
    pub fn in_memory(machine: Machine, objects: Objects) -> Store {
        let held = Held { machine, objects, directory: None, locks: Vec::new() };
        Store { held: Arc::new(Mutex::new(held)) }
    }

    /// Makes a directory the keeping place; it must not hold a Mac yet.
    pub fn create(directory: &Path, machine: Machine, objects: Objects) -> Result<Store> {
        let state = directory.join("state.json");
        if state.exists() {
            return Err(Error::new(
                Code::NoSimulation,
                "the directory holds a simulated Mac already",
            )
            .with("directory", directory.display())
            .next("give another directory, or remove this one"));
        }
        for part in ["objects", "locks"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).map_err(|error| broken(&part, error))?;
        }
        let mut held = Held {
            machine,
            objects: Objects::default(),
            directory: Some(directory.to_owned()),
            locks: Vec::new(),
        };
        for bytes in objects.all() {
            held.keep(&bytes)?;
        }
        write_state(&state, &held.machine)?;
        Ok(Store { held: Arc::new(Mutex::new(held)) })
    }

    pub fn open(directory: &Path) -> Result<Store> {
        let machine = read_state(&directory.join("state.json"))?;
        let held = Held {
            machine,
            objects: Objects::default(),
            directory: Some(directory.to_owned()),
            locks: Vec::new(),
        };
        Ok(Store { held: Arc::new(Mutex::new(held)) })
    }

    /// Whether the Mac is kept in a directory.
    pub fn is_kept(&self) -> bool {
        self.hold().directory.is_some()
    }

    /// An independent copy in memory.
    pub fn fork(&self) -> Result<Store> {
        let mut held = self.hold();
        if let Some(directory) = held.directory.clone() {
            held.machine = read_state(&directory.join("state.json"))?;
            let names: Vec<Object> = list_objects(&directory)?;
            for name in names {
                held.content(&name)?;
            }
        }
        Ok(Store::in_memory(held.machine.clone(), held.objects.clone()))
    }

    /// Works on the Mac while no other process does, and keeps the result,
    /// whether the work succeeded or not.
    pub fn work<T>(&self, work: impl FnOnce(&mut Held) -> Result<T>) -> Result<T> {
        let mut held = self.hold();
        let Some(directory) = held.directory.clone() else {
            return work(&mut held);
        };
        let guard = directory.join("locks").join("state");
        let _exclusive = lock_file(&guard, FlockOperation::LockExclusive)?
            .ok_or_else(|| broken(&guard, "the lock was not given"))?;
        let state = directory.join("state.json");
        held.machine = read_state(&state)?;
        let before = held.machine.clone();
        let result = work(&mut held);
        if held.machine != before {
            write_state(&state, &held.machine)?;
        }
        result
    }

    /// Takes the lock of this name, or none where it is held.
    pub fn lock(&self, path: &str) -> Result<Option<Lock>> {
        let mut held = self.hold();
        if let Some(directory) = &held.directory {
            let file = directory.join("locks").join(&*name_of(path.as_bytes()).0);
            let locked = lock_file(&file, FlockOperation::NonBlockingLockExclusive)?;
            return Ok(locked.map(Lock::new));
        }
        if held.locks.iter().any(|held| held == path) {
            return Ok(None);
        }
        held.locks.push(path.to_owned());
        Ok(Some(Lock::new(Release { store: self.clone(), path: path.to_owned() })))
    }

    fn hold(&self) -> MutexGuard<'_, Held> {
        // A panic elsewhere, such as a failed assertion, leaves the state whole:
        // it is only ever replaced.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Release {
    store: Store,
    path: String,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.store.hold().locks.retain(|path| *path != self.path);
    }
}

fn lock_file(path: &Path, operation: FlockOperation) -> Result<Option<fs::File>> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(|error| broken(path, error))?;
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(broken(path, error)),
    }
}

fn read_state(path: &Path) -> Result<Machine> {
    let text = fs::read(path).map_err(|error| {
        broken(path, error).next("make one with `agxpatch --simulate DIR simulate new`")
    })?;
    serde_json::from_slice(&text).map_err(|error| broken(path, error))
}

fn write_state(path: &Path, machine: &Machine) -> Result<()> {
    let text = serde_json::to_vec(machine).map_err(|error| broken(path, error))?;
    write_whole(path, &text)
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| broken(path, error))
}

fn list_objects(directory: &Path) -> Result<Vec<Object>> {
    let objects = directory.join("objects");
    let entries = fs::read_dir(&objects).map_err(|error| broken(&objects, error))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name.len() == 64).map(|name| Object(name.into())).collect())
}

fn broken(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::new(Code::NoSimulation, "the simulated Mac cannot be read or kept")
        .with("path", path.display())
        .with("reason", reason)
}
