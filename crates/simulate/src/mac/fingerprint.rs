//! Whether two simulated Macs are the same to every program on them.
//!
//! The Macs that remain after a crash differ in much that no program can tell or
//! goes by: how many effects there were, which number an inode has, what the
//! boot session and the snapshots happen to be called, snapshots nothing leads to
//! any more. A fingerprint leaves that out and holds the rest, what is on the
//! disk and not yet in force included. Macs with the same fingerprint go on the
//! same way, which is what lets a test visit every Mac that a crash can leave
//! behind, and each once.
//!
//! Names are told apart by what they are to the Mac: the session that runs or an
//! earlier one, the snapshots in their order. Inside of files they are replaced
//! alike. Clock and free space are left out: nothing here waits or fills a disk.
//! What else a program does not go by, it can tell with a [`Reading`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::SimulatedMac;
use super::machine::{Machine, Snapshot};
use super::shared::Shared;
use super::store::{Held, Objects};
use super::volume::{Content, Node, Object, ROOT, Volume};
use agxpatch_core::error::Result;
use agxpatch_host::volume::BLESSED_PREFIX;

/// Equal for Macs no program can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Whether it is in a fixed part of all fingerprints, one in `parts`.
    pub fn is_sampled(&self, parts: u8) -> bool {
        self.0[0].is_multiple_of(parts.max(1))
    }
}

/// Whether a content mentions a name that only happens to be what it is.
pub(super) fn mentions_names(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes);
    text.is_ok_and(|text| text.contains(SESSION) || text.contains(BLESSED_PREFIX))
}

/// How the names of boot sessions begin.
const SESSION: &str = "B0075E55-0000-4000-8000-";
/// The length of a UUID as text.
const UUID: usize = 36;

/// What the programs on a Mac go by in its files.
pub trait Reading {
    /// The one text that stands for all texts of the same meaning, or none where every
    /// word counts. It is shown files that mention a boot session or a snapshot of `bless`.
    fn meaning(&self, text: &str) -> Option<String> {
        let _ = text;
        None
    }

    /// Whether a file of this name is only ever replaced or removed, so that what is in it
    /// does not count.
    fn is_unread(&self, name: &str) -> bool {
        let _ = name;
        false
    }
}

/// Every word of every file counts.
impl Reading for () {}

impl SimulatedMac {
    /// What tells this Mac from others.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Fingerprinter::new(()).of(self)
    }

    /// Puts `bytes` into every file that is not read: a Mac with the same fingerprint, on
    /// which a program that reads one of them all the same goes another way.
    pub fn overwrite_unread(&self, reading: &dyn Reading, bytes: &[u8]) -> Result<()> {
        self.store.work(|held| {
            let object = held.keep(bytes)?;
            for volume in [&mut held.machine.live, &mut held.machine.data] {
                let read = read_inodes(volume, reading);
                let mut unread = BTreeSet::new();
                volume.each_object(|number, _| {
                    unread.insert(number);
                });
                for number in unread.difference(&read) {
                    let content =
                        Content::File { object: object.clone(), length: bytes.len() as u64 };
                    volume.own().change(*number, |node| node.content = content);
                }
            }
            Ok(())
        })
    }
}

/// Takes the fingerprints of Macs that share most of what is on them.
pub struct Fingerprinter<R> {
    reading: R,
    /// What texts mean, by their content.
    meanings: Mutex<HashMap<Object, Arc<str>>>,
    /// The digests of the volumes met last that mention no name.
    volumes: Mutex<VecDeque<(Shared<Volume>, Digested)>>,
}

type Digested = [u8; 32];

/// How many digests of volumes are kept: a Mac has seven or eight.
const MAX_VOLUMES: usize = 32;

impl<R: Reading> Fingerprinter<R> {
    /// For programs that read in this way.
    pub fn new(reading: R) -> Fingerprinter<R> {
        Fingerprinter { reading, meanings: Mutex::default(), volumes: Mutex::default() }
    }

    /// What tells a Mac from others.
    pub fn of(&self, mac: &SimulatedMac) -> Result<Fingerprint> {
        mac.store.work(|held| Ok(self.of_held(held)))
    }

    fn of_held(&self, held: &Held) -> Fingerprint {
        let machine = &held.machine;
        let texts = Texts::new(machine, &held.objects, self);
        let mut out = Vec::with_capacity(2 << 10);
        let facts = (
            &machine.mode,
            (machine.active_csr, machine.policy_csr, &machine.filevault, &machine.boot_args),
            (&machine.release, &machine.metal_plugin, machine.user, &machine.terminal),
            (machine.update_preparing, machine.gui),
            (machine.external, machine.ownership_ignored),
            (machine.no_full_disk_access, machine.profile_requires_filevault),
        );
        out.extend_from_slice(format!("{facts:?}").as_bytes());
        for name in [machine.tagged.as_deref(), Some(machine.booted.as_str())] {
            let name = name.map(|name| texts.renamed(name)).unwrap_or_default();
            out.extend_from_slice(name.as_bytes());
            out.push(0);
        }
        for mount in &machine.mounts {
            let place = texts.renamed(&format!("{:?}", mount.place));
            out.extend_from_slice(format!("{place} {} {}", mount.at, mount.read_only).as_bytes());
        }
        for volume in [&machine.live, &machine.data, &machine.preboot, &machine.update] {
            out.extend_from_slice(&self.digest(volume, &texts));
        }
        for snapshot in texts.kept.iter().map(|(snapshot, _)| snapshot) {
            out.push(u8::from(snapshot.sealed));
            out.extend_from_slice(&self.digest(&snapshot.volume, &texts));
        }
        Fingerprint(Sha256::digest(&out).into())
    }

    /// The digest of a volume, which is worked out once where it mentions no name.
    fn digest(&self, volume: &Shared<Volume>, texts: &Texts<'_>) -> Digested {
        let mut known = hold(&self.volumes);
        if let Some((_, digest)) = known.iter().find(|(known, _)| known.is(volume)) {
            return *digest;
        }
        drop(known);
        let mut out = Vec::with_capacity(8 << 10);
        write_down(volume, texts, &mut out);
        let digest = Sha256::digest(&out).into();
        if !mentions_any(volume, texts.objects) {
            known = hold(&self.volumes);
            known.push_front((volume.clone(), digest));
            known.truncate(MAX_VOLUMES);
        }
        digest
    }
}

/// What it holds is only ever added to, so a panic elsewhere leaves it whole.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a file of the volume mentions a name that only happens to be what it is.
fn mentions_any(volume: &Volume, objects: &Objects) -> bool {
    let mut mentions = false;
    volume.each_object(|_, object| mentions |= objects.renamed(object).is_some());
    mentions
}

/// What a fingerprint is taken by, whatever the way of reading.
trait Meanings {
    fn reading(&self) -> &dyn Reading;
    /// A content that mentions a session or a snapshot of `bless`, as what it means.
    fn meaning(&self, object: &Object, objects: &Objects) -> Option<Arc<str>>;
}

impl<R: Reading> Meanings for Fingerprinter<R> {
    fn reading(&self) -> &dyn Reading {
        &self.reading
    }

    fn meaning(&self, object: &Object, objects: &Objects) -> Option<Arc<str>> {
        let bytes = objects.renamed(object)?;
        if let Some(meaning) = hold(&self.meanings).get(object) {
            return Some(meaning.clone());
        }
        let text = String::from_utf8_lossy(&bytes);
        let meaning = self.reading.meaning(&text).unwrap_or_else(|| text.into_owned());
        let meaning: Arc<str> = meaning.into();
        hold(&self.meanings).insert(object.clone(), meaning.clone());
        Some(meaning)
    }
}

/// The contents of files, with names that only happen to be what they are
/// replaced by what they stand for.
struct Texts<'m> {
    objects: &'m Objects,
    meanings: &'m dyn Meanings,
    session: String,
    /// The snapshots that count, oldest first, each with what it is called here.
    kept: Vec<(&'m Snapshot, String)>,
}

impl<'m> Texts<'m> {
    fn new(machine: &'m Machine, objects: &'m Objects, meanings: &'m dyn Meanings) -> Texts<'m> {
        let session = machine.boot_session();
        let mut texts = Texts { objects, meanings, session, kept: Vec::new() };
        let mut mentioned = String::new();
        for volume in [&machine.live, &machine.data] {
            let read = read_inodes(volume, meanings.reading());
            volume.each_object(|number, object| {
                if let Some(text) = texts.text(object).filter(|_| read.contains(&number)) {
                    mentioned.push_str(&text);
                }
            });
        }
        let counts = |snapshot: &&Snapshot| {
            let name = &snapshot.name;
            snapshot.sealed
                || machine.tagged.as_ref() == Some(name)
                || machine.booted == *name
                || mentioned.contains(name.as_str())
        };
        let named = |(at, snapshot): (usize, &'m Snapshot)| (snapshot, format!("snapshot {at}"));
        texts.kept = machine.snapshots.iter().filter(counts).enumerate().map(named).collect();
        texts
    }

    /// A content that mentions a session or a snapshot of `bless`.
    fn text(&self, object: &Object) -> Option<Arc<str>> {
        self.meanings.meaning(object, self.objects)
    }

    fn renamed(&self, text: &str) -> String {
        let mut text = text.replace(&self.session, "this session");
        while let Some(at) = text.find(SESSION) {
            let end = (at + UUID).min(text.len());
            text.replace_range(at..end, if end == at + UUID { "before" } else { "cut off" });
        }
        for (snapshot, called) in &self.kept {
            text = text.replace(&snapshot.name, called);
        }
        text
    }

    fn write_object(&self, object: &Object, out: &mut Vec<u8>) {
        match self.text(object) {
            Some(text) => out.extend_from_slice(self.renamed(&text).as_bytes()),
            None => out.extend_from_slice(object.0.as_bytes()),
        }
    }
}

/// Writes a volume down, inodes numbered in the order in which they are met.
fn write_down(volume: &Volume, texts: &Texts<'_>, out: &mut Vec<u8>) {
    let mut numbers = BTreeMap::from([(ROOT, 0_u32)]);
    let mut pending = VecDeque::from([ROOT]);
    let read = read_inodes(volume, texts.meanings.reading());
    while let Some(number) = pending.pop_front() {
        let Some((now, disk)) = volume.sides(number) else { continue };
        if !read.contains(&number) {
            out.extend_from_slice(b"unread");
            continue;
        }
        for side in [now, disk] {
            out.push(u8::from(side.is_some()));
            let Some(node) = side else { continue };
            write_node(node, texts, out, &mut |child| {
                let next = numbers.len() as u32;
                *numbers.entry(child).or_insert_with(|| {
                    pending.push_back(child);
                    next
                })
            });
        }
    }
}

/// The inodes that a name leads to whose file is read: on either side, for a name that is
/// not in force yet may be the only one after a loss of power.
fn read_inodes(volume: &Volume, reading: &dyn Reading) -> BTreeSet<u64> {
    let mut read = BTreeSet::from([ROOT]);
    volume.each_name(|name, number| {
        if !reading.is_unread(name) {
            read.insert(number);
        }
    });
    read
}

fn write_node(
    node: &Node,
    texts: &Texts<'_>,
    out: &mut Vec<u8>,
    number: &mut dyn FnMut(u64) -> u32,
) {
    for value in [node.mode, node.user, node.group, node.flags] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    match &node.content {
        Content::File { object, .. } => {
            out.push(b'f');
            texts.write_object(object, out);
        }
        Content::Link(target) => {
            out.push(b'l');
            out.extend_from_slice(target.as_bytes());
        }
        Content::Directory(names) => {
            out.push(b'd');
            for (name, child) in names {
                out.extend_from_slice(name.as_bytes());
                out.push(b'/');
                out.extend_from_slice(&number(*child).to_le_bytes());
            }
        }
    }
    out.push(0);
}
