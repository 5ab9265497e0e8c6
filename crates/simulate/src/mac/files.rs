//! File operations of the simulated Mac, with the rules of [`agxpatch_host`].
//!
//! A path is matched against the mounted volumes and macOS's firmlinks, then
//! walked name by name. A link on the way is refused, a read-only volume says
//! so, and a user without the right to write is told, in the kernel's words.

use std::path::Path;

use super::effects::Extent;
use super::machine::{Machine, Mode, Place};
use super::store::Held;
use super::volume::{Content, Node, Object, ROOT, Volume};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::{self as host, File, FileKind, Metadata};

/// Top-level directories of macOS that really are on the data volume.
const FIRMLINKS: [&str; 7] =
    ["Applications", "Library", "Users", "Volumes", "cores", "opt", "private"];

/// Where a path leads: a volume and the names from its root.
struct Route<'a> {
    place: Place,
    read_only: bool,
    names: Vec<&'a str>,
}

/// What is at the end of a path.
struct Found<'a> {
    route: Route<'a>,
    directory: u64,
    number: Option<u64>,
}

impl<'a> Found<'a> {
    fn name(&self) -> &'a str {
        self.route.names.last().copied().unwrap_or_default()
    }
}

fn route<'a>(machine: &Machine, path: &'a Path) -> Result<Route<'a>> {
    let names = host::plain(path)?;
    let recovery = machine.mode == Mode::Recovery;
    let best = machine
        .mounts
        .iter()
        .filter(|mount| mount.at != "/")
        .filter(|mount| names.starts_with(&split(&mount.at)))
        .max_by_key(|mount| mount.at.len());
    if let Some(mount) = best {
        let names = names[split(&mount.at).len()..].to_vec();
        return Ok(Route { place: mount.place.clone(), read_only: mount.read_only, names });
    }
    let firm = names.first().is_some_and(|first| FIRMLINKS.contains(first))
        || names.starts_with(&["usr", "local"]);
    if firm && !recovery {
        return Ok(Route { place: Place::Data, read_only: false, names });
    }
    let root = machine.mounts.iter().find(|mount| mount.at == "/");
    let root = root.ok_or_else(|| failure(path, "no root volume is mounted"))?;
    Ok(Route { place: root.place.clone(), read_only: root.read_only, names })
}

fn split(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty()).collect()
}

/// Walks to the last name; none where a directory on the way is missing.
fn walk<'a>(machine: &Machine, path: &'a Path) -> Result<Option<Found<'a>>> {
    let route = route(machine, path)?;
    let volume = machine.volume(&route.place).ok_or_else(|| failure(path, "no such volume"))?;
    let Some((last, way)) = route.names.split_last() else {
        return Ok(Some(Found { route, directory: ROOT, number: Some(ROOT) }));
    };
    let mut directory = ROOT;
    for name in way {
        let Some(next) = child(volume, directory, name) else { return Ok(None) };
        match volume.node(next).map(Node::kind) {
            Some(FileKind::Directory) => directory = next,
            Some(FileKind::Link) => return Err(host::is_link(path)),
            _ => return Err(failure(path, "Not a directory")),
        }
    }
    let number = child(volume, directory, last);
    Ok(Some(Found { route, directory, number }))
}

fn child(volume: &Volume, directory: u64, name: &str) -> Option<u64> {
    volume.node(directory)?.names()?.get(name).copied()
}

/// What exists at a path.
fn existing<'a>(machine: &Machine, path: &'a Path) -> Result<(Found<'a>, u64)> {
    let found = walk(machine, path)?.ok_or_else(|| host::missing(path))?;
    let number = found.number.ok_or_else(|| host::missing(path))?;
    Ok((found, number))
}

/// A path whose directory may be written to.
fn writable<'a>(machine: &Machine, path: &'a Path) -> Result<Found<'a>> {
    let found = walk(machine, path)?.ok_or_else(|| host::missing(path))?;
    if found.route.read_only {
        return Err(failure(path, "Read-only file system"));
    }
    let node = machine.volume(&found.route.place).and_then(|v| v.node(found.directory));
    match node {
        Some(node) if may_write(machine, node) => Ok(found),
        _ => Err(failure(path, "Permission denied")),
    }
}

fn may_write(machine: &Machine, node: &Node) -> bool {
    machine.user == 0
        || node.mode & 0o002 != 0
        || (node.user == machine.user && node.mode & 0o200 != 0)
}

pub(super) fn failure(path: &Path, reason: &str) -> Error {
    Error::new(Code::HostIo, "file I/O failed").with("path", path.display()).with("reason", reason)
}

/// Stops an effect that a fault forbids altogether.
fn permitted(path: &Path, extent: Extent) -> Result<()> {
    match extent {
        Extent::Whole => Ok(()),
        // Half of an indivisible effect is none of it.
        Extent::Midway => Err(failure(path, "interrupted")),
        Extent::InputOutput => Err(failure(path, "Input/output error")),
        Extent::NoSpace => Err(failure(path, "No space left on device")),
    }
}

pub(super) fn metadata(held: &mut Held, path: &Path) -> Result<Option<Metadata>> {
    let machine = &held.machine;
    let Some(found) = walk(machine, path)? else { return Ok(None) };
    let Some(number) = found.number else { return Ok(None) };
    Ok(describe(machine, &found.route.place, number))
}

fn describe(machine: &Machine, place: &Place, number: u64) -> Option<Metadata> {
    let volume = machine.volume(place)?;
    let node = volume.node(number)?;
    let length = match &node.content {
        Content::File { length, .. } => *length,
        Content::Directory(names) => 32 * names.len() as u64,
        Content::Link(target) => target.len() as u64,
    };
    Some(Metadata {
        kind: node.kind(),
        mode: node.mode,
        user: node.user,
        group: node.group,
        links: volume.links(number).max(1),
        length,
        flags: node.flags,
        inode: number,
        device: device_number(place),
    })
}

fn device_number(place: &Place) -> u64 {
    match place {
        Place::Base => 1,
        Place::Live => 2,
        Place::Data => 3,
        Place::Preboot => 4,
        Place::Update => 5,
        Place::Snapshot(_) => 6,
    }
}

pub(super) fn only_a_file(held: &mut Held, path: &Path) -> Result<()> {
    let (found, number) = existing(&held.machine, path)?;
    let node = held.machine.volume(&found.route.place).and_then(|v| v.node(number));
    match node.map(Node::kind) {
        Some(FileKind::File) => Ok(()),
        Some(FileKind::Link) => Err(host::is_link(path)),
        _ => Err(host::not_a_file(path)),
    }
}

pub(super) fn read(held: &mut Held, path: &Path) -> Result<File> {
    only_a_file(held, path)?;
    let machine = &held.machine;
    let (found, number) = existing(machine, path)?;
    let place = &found.route.place;
    let node = machine.volume(place).and_then(|volume| volume.node(number));
    let readable = node.is_some_and(|node| {
        machine.user == 0
            || node.mode & 0o004 != 0
            || (node.user == machine.user && node.mode & 0o400 != 0)
    });
    if !readable {
        return Err(failure(path, "Permission denied"));
    }
    let object = match node.map(|node| &node.content) {
        Some(Content::File { object, .. }) => object.clone(),
        _ => return Err(host::missing(path)),
    };
    let metadata = describe(machine, place, number).ok_or_else(|| host::missing(path))?;
    let bytes = held.content(&object)?.to_vec();
    Ok(File { bytes, metadata })
}

pub(super) fn list(held: &mut Held, path: &Path) -> Result<Vec<String>> {
    let (found, number) = existing(&held.machine, path)?;
    let node = held.machine.volume(&found.route.place).and_then(|v| v.node(number));
    let names = node.and_then(Node::names).ok_or_else(|| failure(path, "Not a directory"))?;
    Ok(names.keys().cloned().collect())
}

/// Puts a new inode at a path that must be free.
fn place_new(machine: &mut Machine, path: &Path, content: Content, mode: u32) -> Result<()> {
    let found = writable(machine, path)?;
    if found.number.is_some() {
        return Err(host::exists(path));
    }
    let (user, group) = match ignores_ownership(machine, &found.route.place) {
        true => (UNKNOWN_OWNER, UNKNOWN_OWNER),
        false => (machine.user, 0),
    };
    let node = Node { content, mode, user, group, flags: 0 };
    let name = found.name().to_owned();
    let volume = machine
        .volume_mut(&found.route.place)
        .ok_or_else(|| failure(path, "Read-only file system"))?;
    let number = volume.add(node);
    volume.link(found.directory, &name, number);
    Ok(())
}

pub(super) fn create_directory(
    held: &mut Held,
    path: &Path,
    mode: u32,
    extent: Extent,
) -> Result<()> {
    permitted(path, extent)?;
    place_new(&mut held.machine, path, Content::Directory(Default::default()), mode)
}

/// The bytes that a write gets down, and what it says in the end.
fn portion<'b>(
    held: &Held,
    path: &Path,
    bytes: &'b [u8],
    extent: Extent,
) -> (&'b [u8], Result<()>) {
    let full = || Err(failure(path, "No space left on device"));
    let half = &bytes[..bytes.len() / 2];
    match extent {
        Extent::InputOutput => (half, Err(failure(path, "Input/output error"))),
        Extent::NoSpace => (half, full()),
        Extent::Midway => (half, Ok(())),
        Extent::Whole if bytes.len() as u64 > held.machine.free => (half, full()),
        Extent::Whole => (bytes, Ok(())),
    }
}

pub(super) fn write_new(
    held: &mut Held,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    extent: Extent,
) -> Result<()> {
    let (written, outcome) = portion(held, path, bytes, extent);
    let content = Content::File { object: held.keep(written)?, length: written.len() as u64 };
    place_new(&mut held.machine, path, content, mode)?;
    held.machine.free = held.machine.free.saturating_sub(written.len() as u64);
    outcome
}

pub(super) fn append(held: &mut Held, path: &Path, bytes: &[u8], extent: Extent) -> Result<()> {
    let file = read(held, path)?;
    if file.metadata.links > 1 {
        return Err(host::hard_link(path));
    }
    let (written, outcome) = portion(held, path, bytes, extent);
    let whole = [&file.bytes, written].concat();
    let content = Content::File { object: held.keep(&whole)?, length: whole.len() as u64 };
    alter(held, path, Extent::Whole, |node| node.content = content)?;
    held.machine.free = held.machine.free.saturating_sub(written.len() as u64);
    outcome
}

pub(super) fn sync(held: &mut Held, path: &Path, directory: bool, extent: Extent) -> Result<()> {
    permitted(path, extent)?;
    let (found, number) = existing(&held.machine, path)?;
    let place = found.route.place;
    let node = held.machine.volume(&place).and_then(|volume| volume.node(number));
    match node.map(Node::kind) {
        Some(FileKind::Link) => return Err(host::is_link(path)),
        Some(FileKind::Directory) if directory => {}
        Some(FileKind::File) if !directory => {}
        _ => return Err(failure(path, "not of the kind that was to be synced")),
    }
    if let Some(volume) = held.machine.volume_mut(&place) {
        volume.sync(number);
    }
    Ok(())
}

pub(super) fn rename(held: &mut Held, from: &Path, to: &Path, extent: Extent) -> Result<()> {
    permitted(from, extent)?;
    let machine = &mut held.machine;
    let source = writable(machine, from)?;
    let number = source.number.ok_or_else(|| host::missing(from))?;
    let target = writable(machine, to)?;
    if source.route.place != target.route.place {
        return Err(failure(to, "Cross-device link"));
    }
    if let Some(replaced) = target.number {
        let node = machine.volume(&target.route.place).and_then(|v| v.node(replaced));
        if node.is_some_and(|node| node.kind() == FileKind::Directory) {
            return Err(failure(to, "Is a directory"));
        }
    }
    let (old, new) = (source.name().to_owned(), target.name().to_owned());
    if let Some(volume) = machine.volume_mut(&source.route.place) {
        volume.unlink(source.directory, &old);
        volume.link(target.directory, &new, number);
        volume.collect();
    }
    Ok(())
}

pub(super) fn alter(
    held: &mut Held,
    path: &Path,
    extent: Extent,
    change: impl FnOnce(&mut Node),
) -> Result<()> {
    permitted(path, extent)?;
    let found = writable(&held.machine, path)?;
    let number = found.number.ok_or_else(|| host::missing(path))?;
    let volume = held
        .machine
        .volume_mut(&found.route.place)
        .ok_or_else(|| failure(path, "Read-only file system"))?;
    if volume.node(number).is_some_and(|node| node.kind() == FileKind::Link) {
        return Err(host::is_link(path));
    }
    volume.change(number, change);
    Ok(())
}

/// Gives a file another owner, which a volume that ignores ownership drops in silence.
pub(super) fn set_owner(
    held: &mut Held,
    path: &Path,
    extent: Extent,
    (user, group): (u32, u32),
) -> Result<()> {
    let place = route(&held.machine, path)?.place;
    let ignored = ignores_ownership(&held.machine, &place);
    alter(held, path, extent, |node| {
        if !ignored {
            (node.user, node.group) = (user, group);
        }
    })
}

/// `_unknown`, whose new files on a volume without ownership are.
const UNKNOWN_OWNER: u32 = 99;

fn ignores_ownership(machine: &Machine, place: &Place) -> bool {
    machine.ownership_ignored && *place == Place::Live
}

pub(super) fn remove(held: &mut Held, path: &Path, directory: bool, extent: Extent) -> Result<()> {
    permitted(path, extent)?;
    let found = writable(&held.machine, path)?;
    let number = found.number.ok_or_else(|| host::missing(path))?;
    let mounted = held.machine.mounts.iter().any(|mount| Path::new(&mount.at) == path);
    let node = held.machine.volume(&found.route.place).and_then(|v| v.node(number));
    match node.and_then(Node::names) {
        Some(_) if mounted => return Err(failure(path, "Resource busy")),
        Some(names) if directory && !names.is_empty() => {
            return Err(failure(path, "Directory not empty"));
        }
        Some(_) if !directory => return Err(failure(path, "Is a directory")),
        None if directory => return Err(failure(path, "Not a directory")),
        _ => {}
    }
    let name = found.name().to_owned();
    if let Some(volume) = held.machine.volume_mut(&found.route.place) {
        volume.unlink(found.directory, &name);
        volume.collect();
    }
    Ok(())
}

/// The volume a path is on and the path within it, for planting.
pub(super) fn place_of(machine: &Machine, path: &str) -> Result<(Place, String)> {
    let route = route(machine, Path::new(path))?;
    let path: String = route.names.iter().map(|name| format!("/{name}")).collect();
    Ok((route.place, path))
}

/// The inode at a path.
pub(super) fn number_of(machine: &Machine, path: &Path) -> Result<u64> {
    existing(machine, path).map(|(_, number)| number)
}

/// The content of a file on a volume, by its path there.
pub(super) fn object_on(volume: &Volume, path: &str) -> Option<Object> {
    let mut at = ROOT;
    for name in split(path) {
        at = child(volume, at, name)?;
    }
    match &volume.node(at)?.content {
        Content::File { object, .. } => Some(object.clone()),
        _ => None,
    }
}

/// Whether a path is a directory with nothing in it and nothing mounted on it.
pub(super) fn is_directory(machine: &Machine, path: &Path) -> bool {
    let node = existing(machine, path).ok().and_then(|(found, number)| {
        machine.volume(&found.route.place).and_then(|volume| volume.node(number)).cloned()
    });
    node.is_some_and(|node| node.kind() == FileKind::Directory)
}
