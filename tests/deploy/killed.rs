//! Processes that are really killed.
//!
//! Each costs two runs of the program on a driver of full size, so every fourth effect
//! is tried, and all with `AGXPATCH_KILL_ALL` set. That a killed process leaves what
//! the simulated fault does at each effect is shown in `faults.rs`.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use agxpatch_core::edit::sha256;
use agxpatch_deploy::layout;
use agxpatch_host::Host;
use agxpatch_simulate::mac::{Boot, DRIVER, Fault, Reach};

use crate::kept::{Kept, template};

/// Kills the program at the effects of a command, and demands a good end. Returns how
/// often.
fn kill_everywhere(name: &str, start: &Path, arguments: &[&str]) -> u64 {
    let whole = Kept::like(start);
    let first = whole.open().effects().unwrap();
    let output = whole.run(arguments);
    assert!(output.status.success(), "{output:?}");
    let effects = whole.open().effects().unwrap() - first;
    let stride = if crate::faults::exhaustive() { 1 } else { 4 };
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    let nth = 1 + turn * stride;
                    if nth > effects {
                        break;
                    }
                    kill_at(start, arguments, nth, turn, &format!("{name}, effect {nth}"));
                }
            });
        }
    });
    let killed = effects.div_ceil(stride);
    println!("{name}: {killed} processes killed at {effects} effects");
    killed
}

fn kill_at(start: &Path, arguments: &[&str], nth: u64, turn: u64, how: &str) {
    let kept = Kept::like(start);
    let mac = kept.open();
    let reach = Reach::ALL[turn as usize % 3];
    mac.inject(nth, Fault::Kill { reach }).unwrap();
    let killed = kept.run(arguments);
    assert_eq!(killed.status.signal(), Some(9), "{how}: {killed:?}");
    if turn.is_multiple_of(2) {
        assert!(matches!(mac.reboot().unwrap(), Boot::Up { .. }), "{how}");
    }
    let recovered = kept.run(&["recover"]);
    assert!(recovered.status.success(), "{how}: {recovered:?}");
    let Boot::Up { snapshot } = mac.reboot().unwrap() else { panic!("{how}") };
    let machine = mac.machine().unwrap();
    assert!(machine.snapshot(&snapshot).is_some(), "{how}");
    assert_eq!(machine.mounted_by_hand(), [""; 0], "{how}");
    for path in [layout::journal(), layout::staging(), layout::mount_point()] {
        assert_eq!(mac.metadata(&path).unwrap(), None, "{how}: {}", path.display());
    }
    let known = KNOWN.lock().unwrap();
    let driver = sha256(&mac.read(Path::new(DRIVER)).unwrap().bytes);
    let ours = snapshot.starts_with("com.apple.bless.");
    assert_eq!(driver, known[usize::from(ours)], "{how}: between");
    if mac.metadata(&layout::backups()).unwrap().is_some() {
        for name in mac.list(&layout::backups()).unwrap() {
            assert_eq!(name, known[0], "{how}");
            assert_eq!(sha256(&mac.read(&layout::backup(&name)).unwrap().bytes), name, "{how}");
        }
    }
}

/// The hashes of the original and of the patched driver.
static KNOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A Mac whose deployment, or revert, was killed where a step had just begun.
fn interrupted(start: &Path, arguments: &[&str], step: &str) -> Kept {
    for nth in 1.. {
        let kept = Kept::like(start);
        let mac = kept.open();
        mac.inject(nth, Fault::Kill { reach: Reach::After }).unwrap();
        assert_eq!(kept.run(arguments).status.signal(), Some(9), "{step} is never begun");
        let journal = mac.read(&layout::journal()).map(|file| file.bytes).unwrap_or_default();
        if String::from_utf8_lossy(&journal).ends_with(&format!("{{\"begin\":\"{step}\"}}")) {
            return kept;
        }
    }
    unreachable!()
}

#[test]
fn processes_that_are_really_killed_leave_a_mac_that_recovers() {
    let plan = Kept::new().json(&["deploy", "--dry-run", "--unlisted-build"]);
    let plan = &plan["result"]["plan"];
    let text = |name: &str| plan["manifest"][name].as_str().unwrap().to_owned();
    *KNOWN.lock().unwrap() = vec![text("original_sha256"), text("patched_sha256")];
    let agreed = plan["digest"].as_str().unwrap();
    let deploy = ["deploy", "--unlisted-build", "--yes", "--plan", agreed];
    let revert = ["revert", "--yes"];
    let active = Kept::new();
    assert!(active.deploy(agreed).status.success());
    active.open().reboot().unwrap();

    let mut killed = kill_everywhere("deploy", template(), &deploy);
    killed += kill_everywhere("revert", active.place.path(), &revert);
    let half = interrupted(template(), &deploy, "rename");
    killed += kill_everywhere("recover from a rename", half.place.path(), &["recover"]);
    println!("{killed} processes killed in all");
}
