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

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest, Sha256};

use super::SimulatedMac;
use super::machine::{Machine, Snapshot};
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

impl SimulatedMac {
    /// What tells this Mac from others.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        self.fingerprint_by(&|_| None)
    }

    /// The same for programs that read some files by their meaning: `meaning` gives the
    /// one text that stands for all of a meaning, or none for what is read word by word.
    /// It is shown files that mention a boot session or a snapshot of `bless`.
    pub fn fingerprint_by(&self, meaning: &Meaning<'_>) -> Result<Fingerprint> {
        self.store.work(|held| Ok(fingerprint(held, meaning)))
    }
}

/// What a text means, as a text; none where every word counts.
type Meaning<'a> = dyn Fn(&str) -> Option<String> + 'a;

fn fingerprint(held: &Held, meaning: &Meaning<'_>) -> Fingerprint {
    let machine = &held.machine;
    let texts = Texts::new(machine, &held.objects, meaning);
    let mut out = Vec::with_capacity(16 << 10);
    let facts = (
        &machine.mode,
        (machine.active_csr, machine.policy_csr, &machine.filevault, &machine.boot_args),
        (&machine.release, &machine.metal_plugin, machine.user, &machine.terminal),
        (machine.update_preparing, machine.gui),
    );
    out.extend_from_slice(format!("{facts:?}").as_bytes());
    for name in [machine.tagged.as_deref(), Some(machine.booted.as_str())] {
        out.extend_from_slice(name.map(|name| texts.renamed(name)).unwrap_or_default().as_bytes());
        out.push(0);
    }
    for mount in &machine.mounts {
        let place = texts.renamed(&format!("{:?}", mount.place));
        out.extend_from_slice(format!("{place} {} {}", mount.at, mount.read_only).as_bytes());
    }
    let volumes = [&machine.live, &machine.data, &machine.preboot, &machine.update];
    for volume in volumes {
        write_down(volume, &texts, &mut out);
    }
    for snapshot in texts.kept.iter().map(|(snapshot, _)| snapshot) {
        out.push(u8::from(snapshot.sealed));
        write_down(&snapshot.volume, &texts, &mut out);
    }
    Fingerprint(Sha256::digest(&out).into())
}

/// The contents of files, with names that only happen to be what they are
/// replaced by what they stand for.
struct Texts<'m> {
    objects: &'m Objects,
    meaning: &'m Meaning<'m>,
    session: String,
    /// The snapshots that count, oldest first, each with what it is called here.
    kept: Vec<(&'m Snapshot, String)>,
}

impl<'m> Texts<'m> {
    fn new(machine: &'m Machine, objects: &'m Objects, meaning: &'m Meaning<'m>) -> Texts<'m> {
        let session = machine.boot_session();
        let mut texts = Texts { objects, meaning, session, kept: Vec::new() };
        let mut mentioned = String::new();
        for volume in [&machine.live, &machine.data] {
            volume.each_object(|object| {
                if let Some(text) = texts.text(object) {
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
    fn text(&self, object: &Object) -> Option<String> {
        let bytes = self.objects.renamed(object)?;
        let text = String::from_utf8_lossy(&bytes);
        Some((self.meaning)(&text).unwrap_or_else(|| text.into_owned()))
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
    while let Some(number) = pending.pop_front() {
        let Some((now, disk)) = volume.sides(number) else { continue };
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
