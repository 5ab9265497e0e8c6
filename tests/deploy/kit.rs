//! The script for recoveryOS, run by two shells over a directory that looks as
//! recoveryOS sees a Mac, with tools that only note how they were called.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use agxpatch_deploy::{Manifest, kit, layout};
use agxpatch_host::Host;
use agxpatch_simulate::mac::DRIVER;

use crate::bench::*;
use crate::faults::active_mac;

/// The shells. busybox prefers its own tools to those on the path, so that it
/// must be told where ours are; the script is read into it under its own name.
const SHELLS: [&[&str]; 2] = [
    &["dash"],
    &[
        "busybox",
        "sh",
        "-c",
        "mount() { command \"$BIN/mount\" \"$@\"; }; bless() { command \"$BIN/bless\" \"$@\"; }
         chown() { command \"$BIN/chown\" \"$@\"; }
         [ ! -e \"$BIN/cp\" ] || cp() { command \"$BIN/cp\" \"$@\"; }
         . \"$0\"",
    ],
];

fn original() -> PathBuf {
    layout::recovery_original(Path::new(DRIVER))
}

/// A Mac as recoveryOS sees it.
struct Recovery {
    place: tempfile::TempDir,
}

struct Ran {
    code: i32,
    said: String,
}

impl Recovery {
    /// The kit that a deployment wrote, beside a volume with this driver.
    fn new(driver: &[u8], build: &str) -> Recovery {
        let recovery = Recovery { place: tempfile::tempdir().unwrap() };
        let mac = active_mac();
        for path in [layout::recovery_script(), original(), layout::manifest()] {
            recovery.write(&recovery.data(&path), &mac.read(&path).unwrap().bytes);
        }
        let manifest = mac.read(&layout::manifest()).unwrap().bytes;
        recovery.write(&recovery.system(Path::new(DRIVER)), driver);
        recovery.write(&recovery.system(Path::new(layout::VOLUME_MANIFEST)), &manifest);
        let version = format!(
            "<plist><dict>\n\t<key>ProductBuildVersion</key>\n\t<string>{build}</string>\n\
             </dict></plist>\n"
        );
        let file = Path::new("/System/Library/CoreServices/SystemVersion.plist");
        recovery.write(&recovery.system(file), version.as_bytes());
        for tool in ["mount", "bless", "chown"] {
            recovery.tool(tool, "exit 0");
        }
        recovery
    }

    fn write(&self, path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn system(&self, path: &Path) -> PathBuf {
        layout::on_volume(&self.place.path().join("Macintosh HD"), path)
    }

    fn data(&self, path: &Path) -> PathBuf {
        layout::on_volume(&self.place.path().join("Macintosh HD - Data"), path)
    }

    fn tool(&self, name: &str, body: &str) {
        let calls = self.place.path().join("calls");
        let text =
            format!("#!/bin/sh\nprintf '%s\\n' \"{name} $*\" >> '{}'\n{body}\n", calls.display());
        let path = self.place.path().join("bin").join(name);
        self.write(&path, text.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn calls(&self) -> String {
        let text = fs::read_to_string(self.place.path().join("calls")).unwrap_or_default();
        text.replace(self.place.path().to_str().unwrap(), "")
    }

    fn run(&self, shell: &[&str], arguments: &[&str]) -> Ran {
        let path = format!("{}:/usr/bin:/bin", self.place.path().join("bin").display());
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .arg(self.data(&layout::recovery_script()))
            .arg("--volume")
            .arg(self.place.path().join("Macintosh HD"))
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("BIN", self.place.path().join("bin"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        Ran { code: output.status.code().unwrap(), said: String::from_utf8(said).unwrap() }
    }

    fn driver(&self) -> Vec<u8> {
        fs::read(self.system(Path::new(DRIVER))).unwrap()
    }
}

#[test]
fn the_script_puts_the_original_back_and_chooses_the_sealed_snapshot() {
    for shell in SHELLS {
        let recovery = Recovery::new(PATCHED, "24G419");
        let ran = recovery.run(shell, &[]);
        assert_eq!(ran.code, 0, "{shell:?}: {}", ran.said);
        assert_eq!(recovery.driver(), ORIGINAL);
        assert!(!recovery.system(Path::new(layout::VOLUME_MANIFEST)).exists());
        assert!(!recovery.data(&layout::manifest()).exists());
        let calls = recovery.calls();
        let expected = [
            "mount -uw /Macintosh HD",
            "chown 0:0",
            "bless --mount /Macintosh HD --last-sealed-snapshot",
        ];
        let mut at = 0;
        for call in expected {
            at += calls[at..].find(call).unwrap_or_else(|| panic!("{call} in {calls}"));
        }
        let mode = fs::metadata(recovery.system(Path::new(DRIVER))).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        // Once more does no harm.
        assert_eq!(recovery.run(shell, &[]).code, 0);
    }
}

#[test]
fn without_a_password_a_new_snapshot_of_the_restored_volume_is_made() {
    for shell in SHELLS {
        let recovery = Recovery::new(PATCHED, "24G419");
        assert_eq!(recovery.run(shell, &["--new-snapshot"]).code, 0);
        assert_eq!(recovery.driver(), ORIGINAL);
        assert!(recovery.calls().contains("bless --mount /Macintosh HD --create-snapshot"));
    }
}

#[test]
fn a_refused_password_is_told_with_what_it_means() {
    for shell in SHELLS {
        let recovery = Recovery::new(PATCHED, "24G419");
        recovery.tool("bless", "echo 'Owner authentication is required' >&2; exit 103");
        let ran = recovery.run(shell, &[]);
        assert_eq!(ran.code, 2);
        assert!(ran.said.contains("--new-snapshot"), "{}", ran.said);
        assert_eq!(recovery.driver(), ORIGINAL);
    }
}

/// What the facts of real recovery scripts say is there, of what the script uses.
const TOOLS: [&str; 8] = ["cksum", "cp", "mv", "rm", "awk", "sed", "chmod", "ls"];

#[test]
fn the_script_does_with_the_tools_of_recovery_and_whatever_a_volume_is_called() {
    for name in ["Macintosh HD", "it's \"mine\" $HOME `id` \\", "-rf *", " two  spaces "] {
        let recovery = Recovery::new(PATCHED, "24G419");
        let volume = recovery.place.path().join(name);
        let data = recovery.place.path().join(format!("{name} - Data"));
        if name != "Macintosh HD" {
            fs::rename(recovery.place.path().join("Macintosh HD"), &volume).unwrap();
            fs::rename(recovery.place.path().join("Macintosh HD - Data"), &data).unwrap();
        }
        for tool in TOOLS {
            let found = ["/usr/bin", "/bin"].map(|d| Path::new(d).join(tool));
            let found = found.iter().find(|path| path.exists()).unwrap();
            std::os::unix::fs::symlink(found, recovery.place.path().join("bin").join(tool))
                .unwrap();
        }
        let script = layout::on_volume(&data, &layout::recovery_script());
        let output = Command::new("/bin/dash")
            .arg(script)
            .arg("--volume")
            .arg(&volume)
            .env_clear()
            .env("PATH", recovery.place.path().join("bin"))
            .env("CDPATH", "/")
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let driver = fs::read(layout::on_volume(&volume, Path::new(DRIVER))).unwrap();
        assert_eq!(driver, ORIGINAL, "{name}");
        assert!(!layout::on_volume(&data, &layout::manifest()).exists(), "{name}");
        assert!(recovery.calls().contains(&format!("--mount /{name} --last-sealed")), "{name}");
    }
}

#[test]
fn the_script_chooses_apples_snapshot_whatever_the_volume_holds() {
    for shell in SHELLS {
        let chosen = |recovery: &Recovery, code: i32, arguments: &[&str]| {
            let ran = recovery.run(shell, arguments);
            assert_eq!(ran.code, code, "{}", ran.said);
            assert!(recovery.calls().contains("--last-sealed-snapshot"), "{}", ran.said);
            // The records stay true as long as the volume was not put right.
            assert!(recovery.data(&layout::manifest()).exists(), "{}", ran.said);
            assert_eq!(recovery.driver(), PATCHED, "{}", ran.said);
            ran.said
        };
        let other_build = Recovery::new(PATCHED, "25A1");
        let said = chosen(&other_build, 0, &[]);
        assert!(said.contains("its driver is left alone"), "{said}");

        let altered = Recovery::new(PATCHED, "24G419");
        altered.write(&altered.data(&original()), b"something else");
        chosen(&altered, 2, &[]);

        let missing = Recovery::new(PATCHED, "24G419");
        fs::remove_file(missing.data(&original())).unwrap();
        chosen(&missing, 2, &[]);

        let read_only = Recovery::new(PATCHED, "24G419");
        read_only.tool("mount", "exit 66");
        let said = chosen(&read_only, 2, &[]);
        assert!(said.contains("diskutil apfs unlockVolume"), "{said}");

        let full = Recovery::new(PATCHED, "24G419");
        full.tool("cp", "exit 1");
        chosen(&full, 2, &[]);
    }
}

#[test]
fn the_script_changes_nothing_on_a_volume_that_was_not_deployed_to() {
    for shell in SHELLS {
        // Another group, by what diskutil says.
        let other = Recovery::new(PATCHED, "24G419");
        let group = "<key>APFSVolumeGroupID</key><string>00000000-1111</string>";
        other.tool("diskutil", &format!("echo '{group}'"));
        let ran = other.run(shell, &[]);
        assert_eq!(ran.code, 1, "{}", ran.said);
        assert!(ran.said.contains("another macOS"), "{}", ran.said);
        assert!(!other.calls().contains("bless"), "{}", other.calls());
        assert_eq!(other.driver(), PATCHED);
        // The group of the deployment, whatever else the volume holds.
        let ours = Recovery::new(PATCHED, "24G419");
        let group = "9A1B5C3D-0F6E-4B1A-8C42-5D5E7A9F0B11";
        let told = format!("<key>APFSVolumeGroupID</key>\n  <string>{group}</string>");
        ours.tool("diskutil", &format!("printf '%b' '{told}'"));
        fs::remove_file(ours.system(Path::new(layout::VOLUME_MANIFEST))).unwrap();
        let ran = ours.run(shell, &[]);
        assert_eq!(ran.code, 0, "{}", ran.said);
        assert_eq!(ours.driver(), ORIGINAL);
    }
}

#[test]
fn the_script_says_what_to_type_where_no_volume_is_mounted() {
    for shell in SHELLS {
        let recovery = Recovery::new(PATCHED, "24G419");
        fs::rename(
            recovery.place.path().join("Macintosh HD"),
            recovery.place.path().join("not mounted"),
        )
        .unwrap();
        let ran = recovery.run(shell, &[]);
        assert_eq!(ran.code, 1, "{}", ran.said);
        for line in ["diskutil list", "diskutil mount", "--last-sealed-snapshot"] {
            assert!(ran.said.contains(line), "{line}: {}", ran.said);
        }
        assert_eq!(recovery.calls(), "");
    }
}

#[test]
fn the_state_after_the_script_is_set_right_by_recover() {
    // What the script does, done by hand, without its removal of the records.
    let mac = active_mac();
    mac.plant_on_live_volume(DRIVER, ORIGINAL).unwrap();
    mac.change(|machine| machine.tagged = None).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), agxpatch_deploy::State::Unknown);
    recover(&mac).unwrap();
    assert_eq!(state(&mac), agxpatch_deploy::State::Clean);
}

#[test]
fn the_checksum_in_the_script_is_the_one_cksum_prints() {
    let place = tempfile::tempdir().unwrap();
    for bytes in [b"".as_slice(), b"a", ORIGINAL, &[0xff; 70_000]] {
        let file = place.path().join("file");
        fs::write(&file, bytes).unwrap();
        let said = Command::new("cksum").arg(&file).output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        let expected = format!("{} {} ", kit::checksum(bytes), bytes.len());
        assert!(said.starts_with(&expected), "{said} {expected}");
    }
    let manifest: Manifest =
        agxpatch_deploy::manifest::read(&active_mac(), &layout::manifest()).unwrap().unwrap();
    assert!(!kit::script(&manifest, "Macintosh HD", ORIGINAL, PATCHED).contains('@'));
}

#[test]
fn the_script_of_version_0_1_0_still_puts_the_original_back() {
    for shell in SHELLS {
        let recovery = Recovery::new(PATCHED, "24G419");
        let old = include_bytes!("records-0.1.0/restore.sh");
        recovery.write(&recovery.data(&layout::recovery_script()), old);
        let ran = recovery.run(shell, &[]);
        assert_eq!(ran.code, 0, "{}", ran.said);
        assert_eq!(fs::read(recovery.system(Path::new(DRIVER))).unwrap(), ORIGINAL);
        assert!(recovery.calls().contains("--last-sealed-snapshot"), "{}", recovery.calls());
    }
}
