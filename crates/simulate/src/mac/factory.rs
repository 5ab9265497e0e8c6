//! A Mac as it leaves the factory, and ways to plant files.

use std::collections::BTreeMap;
use std::path::Path;

use super::machine::{
    CsrutilForm, FileVault, Machine, Mode, Place, Release, Signer, Snapshot, Terminal,
};
use super::store::{self, Objects};
use super::volume::{Content, Node, Object, ROOT, Volume};
use super::{SimulatedMac, boot, files};
use agxpatch_core::error::Result;
use agxpatch_host as host;

/// The driver's name, unless another is given.
pub const PLUGIN: &str = "AGXMetalG16X";
/// The driver's bundle.
pub const BUNDLE: &str = "/System/Library/Extensions/AGXMetalG16X.bundle";
/// The driver itself.
pub const DRIVER: &str =
    "/System/Library/Extensions/AGXMetalG16X.bundle/Contents/MacOS/AGXMetalG16X";
/// The file that names version and build, on every system volume.
pub const SYSTEM_VERSION: &str = "/System/Library/CoreServices/SystemVersion.plist";
/// The file that holds the library-validation switch, on the data volume.
pub const LIBRARY_VALIDATION: &str =
    "/Library/Preferences/com.apple.security.libraryvalidation.plist";

/// Where the driver of this name is.
pub fn driver_path(name: &str) -> String {
    format!("/System/Library/Extensions/{name}.bundle/Contents/MacOS/{name}")
}

const SYSTEM_DIRECTORIES: [&str; 5] = [
    "/System/Library/CoreServices",
    "/System/Volumes/Data",
    "/System/Volumes/Preboot",
    "/System/Volumes/Update/mnt1",
    "/usr/bin",
];

/// Directories of the data volume with the modes macOS gives them.
const DATA_DIRECTORIES: [(&str, u32); 10] = [
    ("/Applications", 0o775),
    ("/Library/Application Support", 0o755),
    ("/Library/Logs", 0o755),
    ("/Library/Preferences", 0o755),
    ("/Users/Shared", 0o1777),
    ("/Volumes", 0o755),
    ("/private/tmp", 0o1777),
    ("/private/var/db", 0o755),
    ("/private/var/root", 0o750),
    ("/private/var/run", 0o755),
];

/// The home of the user who logged in, with the modes macOS gives it.
const HOME_DIRECTORIES: [(&str, u32); 4] = [
    ("/Users/owner", 0o750),
    ("/Users/owner/Library", 0o700),
    ("/Users/owner/Library/Application Support", 0o700),
    ("/Users/owner/Library/Caches", 0o700),
];
/// The first user of a Mac, and the group of all users.
const OWNER: u32 = 501;
const STAFF: u32 = 20;

/// Which Mac is made.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its macOS.
    pub release: Release,
    /// The driver its GPU asks for.
    pub plugin: String,
}

impl Default for Model {
    fn default() -> Model {
        let release = Release { version: "15.7.3".into(), build: "24G419".into() };
        Model { release, plugin: PLUGIN.to_owned() }
    }
}

impl Model {
    /// Whether this macOS has the driver in its dyld shared cache: all but 15 and 26.
    pub fn driver_is_cached(&self) -> bool {
        let major = self.release.version.split('.').next();
        !matches!(major, Some("15" | "26"))
    }

    /// Such as `AGXG16XDevice` for `AGXMetalG16X`, or for a revision of it.
    fn class(&self) -> String {
        let family = self.plugin.trim_start_matches("AGXMetal");
        format!("AGX{}Device", family.split('_').next().unwrap_or_default())
    }
}

/// A shipped Mac: everything protected, nothing staged.
pub(super) fn new_mac(model: &Model, driver: &[u8]) -> (Machine, Objects) {
    let objects = Objects::default();
    let release = model.release.clone();
    let live = system_volume(&objects, model, driver);
    let mut data = Volume::new();
    for (path, mode) in DATA_DIRECTORIES {
        let number = directory(&mut data, path);
        data.change(number, |node| node.mode = mode);
    }
    for (path, mode) in HOME_DIRECTORIES {
        let number = directory(&mut data, path);
        data.change(number, |node| (node.mode, node.user, node.group) = (mode, OWNER, STAFF));
    }
    let mut preboot = Volume::new();
    directory(&mut preboot, &format!("/{}", super::machine::device::GROUP));
    let signed = BTreeMap::from([(keep(&objects, driver), Signer::Apple)]);
    let mut machine = Machine {
        schema: 1,
        mode: Mode::Off,
        release,
        active_csr: 0,
        policy_csr: 0,
        csrutil: CsrutilForm::Modern,
        csr_syscall: true,
        filevault: FileVault::On,
        boot_args: None,
        metal_plugin: Some(model.plugin.clone()),
        metal_class: model.class(),
        shared_cache: if model.driver_is_cached() {
            vec![model.plugin.clone()]
        } else {
            Vec::new()
        },
        said: BTreeMap::new(),
        other_installations: Vec::new(),
        system_name: "Macintosh HD".into(),
        data_name: "Data".into(),
        loader: Default::default(),
        external: false,
        ownership_ignored: false,
        no_full_disk_access: false,
        profile_requires_filevault: false,
        unmounted_in_recovery: Vec::new(),
        update_preparing: false,
        busy: 0,
        free: 64_000_000_000,
        user: 0,
        login: "owner".into(),
        terminal: Terminal::RightPassword,
        password: "correct horse".into(),
        gui: true,
        clock: 1_766_000_000,
        boots: 0,
        effects: 0,
        fault: None,
        volume_seal_broken: true,
        signed,
        empty: keep(&objects, b""),
        live: live.into(),
        data: data.into(),
        preboot: preboot.into(),
        update: update_volume().into(),
        base: recovery_volume().into(),
        snapshots: Vec::new(),
        tagged: None,
        booted: String::new(),
        mounts: Vec::new(),
        next_xid: 1000,
        next_uuid: 0,
    };
    seal_live_volume(&mut machine);
    machine.sync_all();
    boot::boot(&mut machine);
    (machine, objects)
}

/// Makes the live volume the one sealed snapshot, as an installer does.
pub(super) fn seal_live_volume(machine: &mut Machine) {
    Volume::sync_shared(&mut machine.live);
    machine.next_xid += 17;
    let uuid = machine.fresh_uuid();
    let hash = store::name_of(machine.release.build.as_bytes()).0;
    machine.snapshots = vec![Snapshot {
        name: format!("com.apple.os.update-{}", hash.to_uppercase()),
        uuid,
        xid: machine.next_xid,
        sealed: true,
        volume: machine.live.clone(),
    }];
    machine.tagged = None;
}

/// The files of a macOS that anything here looks at.
pub(super) fn system_volume(objects: &Objects, model: &Model, driver: &[u8]) -> Volume {
    let mut volume = Volume::new();
    for path in SYSTEM_DIRECTORIES {
        directory(&mut volume, path);
    }
    let name = model.plugin.as_str();
    let identifier = format!("com.apple.{}", name.replace('_', "-"));
    let info = property_list(&[
        ("CFBundleExecutable", name),
        ("CFBundleIdentifier", &identifier),
        ("CFBundleShortVersionString", "329.2"),
    ]);
    let version = system_version(&model.release);
    let executable = driver_path(name);
    let info_path = format!("/System/Library/Extensions/{name}.bundle/Contents/Info.plist");
    let mut files = vec![
        (SYSTEM_VERSION, version.as_bytes(), 0o644),
        (info_path.as_str(), info.as_bytes(), 0o644),
    ];
    if !model.driver_is_cached() {
        files.push((executable.as_str(), driver, 0o755));
    }
    for (path, bytes, mode) in files {
        file(&mut volume, objects, path, bytes, mode, host::flag::RESTRICTED);
    }
    for (name, target) in [("etc", "private/etc"), ("tmp", "private/tmp"), ("var", "private/var")] {
        let link = node(Content::Link(target.into()), 0o755);
        let number = volume.add(link);
        volume.link(ROOT, name, number);
    }
    volume
}

/// The text of `SystemVersion.plist`.
pub(super) fn system_version(release: &Release) -> String {
    property_list(&[
        ("ProductBuildVersion", release.build.as_str()),
        ("ProductName", "macOS"),
        ("ProductVersion", release.version.as_str()),
    ])
}

/// A property list that is one dictionary of strings.
pub(super) fn property_list(pairs: &[(&str, &str)]) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST \
         1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist \
         version=\"1.0\">\n<dict>\n",
    );
    for (key, value) in pairs {
        text.push_str(&format!("\t<key>{key}</key>\n\t<string>{value}</string>\n"));
    }
    text.push_str("</dict>\n</plist>\n");
    text
}

/// The volume updates are prepared on.
pub(super) fn update_volume() -> Volume {
    let mut volume = Volume::new();
    directory(&mut volume, "/mnt1");
    volume.sync_all();
    volume
}

fn recovery_volume() -> Volume {
    let mut volume = Volume::new();
    for path in ["/Volumes", "/private/tmp", "/usr/bin"] {
        directory(&mut volume, path);
    }
    volume.sync_all();
    volume
}

fn keep(objects: &Objects, bytes: &[u8]) -> Object {
    let object = store::name_of(bytes);
    objects.insert(object.clone(), bytes.into());
    object
}

fn node(content: Content, mode: u32) -> Node {
    Node { content, mode, user: 0, group: 0, flags: 0 }
}

/// The directory at `path`, made with all above it where missing.
pub(super) fn directory(volume: &mut Volume, path: &str) -> u64 {
    let mut at = ROOT;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let known = volume.node(at).and_then(Node::names).and_then(|names| names.get(name));
        at = match known {
            Some(number) => *number,
            None => {
                let number = volume.add(node(Content::Directory(BTreeMap::new()), 0o755));
                volume.link(at, name, number);
                number
            }
        };
    }
    at
}

fn file(volume: &mut Volume, objects: &Objects, path: &str, bytes: &[u8], mode: u32, flags: u32) {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let object = keep(objects, bytes);
    let content = Content::File { object, length: bytes.len() as u64 };
    let number = volume.add(Node { flags, ..node(content, mode) });
    let at = directory(volume, parent);
    volume.link(at, name, number);
}

/// What an adversary, or the Mac's owner, may have put somewhere. None of this
/// is counted as an effect, all of it is on the disk at once, and directories
/// on the way are made.
impl SimulatedMac {
    /// Puts a file there, in place of what was.
    pub fn plant(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.store.work(|held| {
            let object = held.keep(bytes)?;
            let content = Content::File { object, length: bytes.len() as u64 };
            plant_node(&mut held.machine, path, node(content, 0o644))
        })
    }

    /// Puts a file on the live system volume, whatever is mounted.
    pub fn plant_on_live_volume(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.store.work(|held| {
            let object = held.keep(bytes)?;
            let content = Content::File { object, length: bytes.len() as u64 };
            let live = held.machine.live.own();
            plant_in(live, path, node(content, 0o755));
            Ok(())
        })
    }

    /// Puts a symbolic link there.
    pub fn plant_link(&self, path: &str, target: &str) -> Result<()> {
        self.store.work(|held| {
            plant_node(&mut held.machine, path, node(Content::Link(target.into()), 0o755))
        })
    }

    /// Puts a directory there, owned by `user`.
    pub fn plant_directory(&self, path: &str, user: u32, mode: u32) -> Result<()> {
        self.store.work(|held| {
            let (place, path) = files::place_of(&held.machine, path)?;
            if let Some(volume) = held.machine.volume_mut(&place) {
                let number = directory(volume, &path);
                volume.change(number, |node| {
                    node.user = user;
                    node.mode = mode;
                });
                volume.sync_all();
            }
            Ok(())
        })
    }

    /// Gives an existing file a second name on the same volume.
    pub fn plant_hard_link(&self, existing: &str, path: &str) -> Result<()> {
        self.store.work(|held| {
            let number = files::number_of(&held.machine, Path::new(existing))?;
            let (place, path) = files::place_of(&held.machine, path)?;
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
            if let Some(volume) = held.machine.volume_mut(&place) {
                let at = directory(volume, parent);
                volume.link(at, name, number);
                volume.sync_all();
            }
            Ok(())
        })
    }
}

fn plant_node(machine: &mut Machine, path: &str, node: Node) -> Result<()> {
    let (place, path) = files::place_of(machine, path)?;
    match place {
        Place::Snapshot(name) => {
            let snapshots = machine.snapshots.iter_mut();
            for snapshot in snapshots.filter(|snapshot| snapshot.name == name) {
                plant_in(snapshot.volume.own(), &path, node.clone());
            }
        }
        place => {
            if let Some(volume) = machine.volume_mut(&place) {
                plant_in(volume, &path, node);
            }
        }
    }
    Ok(())
}

fn plant_in(volume: &mut Volume, path: &str, node: Node) {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let at = directory(volume, parent);
    let number = volume.add(node);
    volume.link(at, name, number);
    volume.sync_all();
}
