//! A volume of the simulated Mac: names, inodes, and what of both has reached
//! the disk.
//!
//! Every inode is kept twice, as programs see it now and as the disk has it.
//! Forcing a file to the disk moves its content and metadata over; forcing a
//! directory moves its names. Losing power makes the disk's side the only one,
//! in one of the three ways [`Loss`] lists. A name that reached the disk before
//! its file did leads to an empty file, as on real machines.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::shared::Shared;
use agxpatch_host::FileKind;

/// The number of a volume's root directory.
pub(super) const ROOT: u64 = 2;

/// A content in the store, by its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub(super) Shared<str>);

/// What an inode holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Content {
    File { object: Object, length: u64 },
    Directory(BTreeMap<String, u64>),
    Link(String),
}

/// An inode at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub content: Content,
    pub mode: u32,
    pub user: u32,
    pub group: u32,
    pub flags: u32,
}

impl Node {
    pub fn kind(&self) -> FileKind {
        match self.content {
            Content::File { .. } => FileKind::File,
            Content::Directory(_) => FileKind::Directory,
            Content::Link(_) => FileKind::Link,
        }
    }

    /// Whether it is a file or a directory with nothing in it.
    fn is_empty(&self) -> bool {
        match &self.content {
            Content::File { length, .. } => *length == 0,
            Content::Directory(names) => names.is_empty(),
            Content::Link(_) => false,
        }
    }

    pub fn names(&self) -> Option<&BTreeMap<String, u64>> {
        match &self.content {
            Content::Directory(names) => Some(names),
            _ => None,
        }
    }
}

/// What the disk has of an inode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Disk {
    /// The same as programs see.
    Same,
    /// Nothing yet.
    Nothing,
    /// An older state.
    Older(Node),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Inode {
    now: Node,
    disk: Disk,
}

impl Inode {
    /// As programs see it and, where that is another state, as the disk has it.
    fn both_sides(&self) -> impl Iterator<Item = &Node> {
        let older = if let Disk::Older(node) = &self.disk { Some(node) } else { None };
        [Some(&self.now), older].into_iter().flatten()
    }
}

/// What becomes of writes that were not forced to the disk when power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// None of them is there.
    Everything,
    /// Names are there, contents are not: the file is empty, or as it was.
    Contents,
    /// All of them happen to be there.
    Nothing,
}

impl Loss {
    /// Every way.
    pub const ALL: [Loss; 3] = [Loss::Everything, Loss::Contents, Loss::Nothing];
}

/// A tree of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
}

impl Volume {
    pub fn new() -> Volume {
        let root = Node {
            content: Content::Directory(BTreeMap::new()),
            mode: 0o755,
            user: 0,
            group: 0,
            flags: 0,
        };
        let inodes = BTreeMap::from([(ROOT, Inode { now: root, disk: Disk::Same })]);
        Volume { inodes, next: ROOT + 1 }
    }

    pub fn node(&self, number: u64) -> Option<&Node> {
        self.inodes.get(&number).map(|inode| &inode.now)
    }

    /// An inode as programs see it and as the disk has it; none on the side where
    /// it is not, or where both are the same. Something empty that has not reached the disk
    /// is found empty after a loss of power, so that it counts as the same.
    pub fn sides(&self, number: u64) -> Option<(Option<&Node>, Option<&Node>)> {
        let inode = self.inodes.get(&number)?;
        Some(match &inode.disk {
            Disk::Same => (None, Some(&inode.now)),
            Disk::Nothing if inode.now.is_empty() => (None, Some(&inode.now)),
            Disk::Nothing => (Some(&inode.now), None),
            Disk::Older(older) => (Some(&inode.now), Some(older)),
        })
    }

    /// Every content of a file with its inode, on either side.
    pub fn each_object(&self, mut look: impl FnMut(u64, &Object)) {
        for (number, inode) in &self.inodes {
            for node in inode.both_sides() {
                if let Content::File { object, .. } = &node.content {
                    look(*number, object);
                }
            }
        }
    }

    /// Every name of a file or directory with its inode, on either side.
    pub fn each_name(&self, mut look: impl FnMut(&str, u64)) {
        for names in self.inodes.values().flat_map(Inode::both_sides).filter_map(Node::names) {
            names.iter().for_each(|(name, number)| look(name, *number));
        }
    }

    /// Adds an inode that has not reached the disk.
    pub fn add(&mut self, node: Node) -> u64 {
        let number = self.next;
        self.next += 1;
        self.inodes.insert(number, Inode { now: node, disk: Disk::Nothing });
        number
    }

    /// Changes an inode as programs see it.
    pub fn change(&mut self, number: u64, change: impl FnOnce(&mut Node)) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            let before = inode.now.clone();
            change(&mut inode.now);
            if inode.now != before && inode.disk == Disk::Same {
                inode.disk = Disk::Older(before);
            }
        }
    }

    /// Gives `number` a name in a directory, in place of what had it.
    pub fn link(&mut self, directory: u64, name: &str, number: u64) {
        self.change(directory, |node| {
            if let Content::Directory(names) = &mut node.content {
                names.insert(name.to_owned(), number);
            }
        });
    }

    pub fn unlink(&mut self, directory: u64, name: &str) {
        self.change(directory, |node| {
            if let Content::Directory(names) = &mut node.content {
                names.remove(name);
            }
        });
    }

    /// How many names an inode has.
    pub fn links(&self, number: u64) -> u64 {
        let in_directory = |inode: &Inode| {
            inode.now.names().map_or(0, |names| names.values().filter(|n| **n == number).count())
        };
        self.inodes.values().map(in_directory).sum::<usize>() as u64
    }

    /// Forces one inode to the disk.
    pub fn sync(&mut self, number: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.disk = Disk::Same;
        }
    }

    /// Forces everything to the disk.
    pub fn sync_all(&mut self) {
        self.inodes.values_mut().for_each(|inode| inode.disk = Disk::Same);
        self.collect();
    }

    /// Forces everything to the disk, and leaves a volume shared that has nothing
    /// to be forced.
    pub fn sync_shared(volume: &mut Shared<Volume>) {
        if volume.inodes.values().any(|inode| inode.disk != Disk::Same) {
            volume.own().sync_all();
        }
    }

    /// Power goes: what was not forced to the disk is lost as `loss` says.
    pub fn lose_power(volume: &mut Shared<Volume>, loss: Loss, empty: &Object) {
        if volume.inodes.values().all(|inode| inode.disk == Disk::Same) {
            return;
        }
        let volume = volume.own();
        for inode in volume.inodes.values_mut() {
            let kept = match loss {
                Loss::Nothing => true,
                Loss::Contents => inode.now.names().is_some(),
                Loss::Everything => false,
            };
            match std::mem::replace(&mut inode.disk, Disk::Same) {
                Disk::Older(node) if !kept => inode.now = node,
                Disk::Nothing if !kept => blank(&mut inode.now, empty),
                _ => {}
            }
        }
        volume.collect();
    }

    /// Forgets inodes that no name leads to, on either side.
    pub fn collect(&mut self) {
        let mut reached = BTreeSet::new();
        let mut pending = vec![ROOT];
        while let Some(number) = pending.pop() {
            if !reached.insert(number) {
                continue;
            }
            if let Some(inode) = self.inodes.get(&number) {
                let names = inode.both_sides().filter_map(Node::names);
                pending.extend(names.flat_map(BTreeMap::values));
            }
        }
        self.inodes.retain(|number, _| reached.contains(number));
    }
}

fn blank(node: &mut Node, empty: &Object) {
    match &mut node.content {
        Content::File { object, length } => {
            *object = empty.clone();
            *length = 0;
        }
        Content::Directory(names) => names.clear(),
        Content::Link(_) => {}
    }
}
