//! The whole of `agxpatch run` on a simulated Mac: the command runs here, with
//! the library and the copy of the driver put into the simulated Mac's files.

use std::path::PathBuf;
use std::process::{Command, Output};

use agxpatch_core::macho::Architecture;
use agxpatch_host::Host;
use agxpatch_simulate::driver;
use agxpatch_simulate::mac::SimulatedMac;
use serde_json::Value;

use crate::mac::{HOME, settle};
use crate::programs::library;

struct Bench {
    place: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let place = tempfile::tempdir().unwrap();
        let driver = driver::build_scaled(7 << 20).unwrap();
        settle(SimulatedMac::create(&place.path().join("mac"), &driver).unwrap());
        let guard = library(&[Architecture::X86_64, Architecture::ARM64]);
        std::fs::write(place.path().join("guard.dylib"), guard).unwrap();
        Bench { place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn mac(&self) -> SimulatedMac {
        SimulatedMac::open(&self.path("mac")).unwrap()
    }

    fn run(&self, options: &[&str], words: &[&str]) -> Output {
        self.command(options, words).output().unwrap()
    }

    fn command(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", HOME);
        command.arg("--simulate").arg(self.path("mac")).arg("run");
        command.arg("--guard-library").arg(self.path("guard.dylib")).args(options);
        command.arg("--").args(words);
        command
    }

    /// The report of a run of a script.
    fn account(&self, options: &[&str], script: &str) -> (Value, String) {
        let file = self.path("account.json");
        let options = [options, &["--report", file.to_str().unwrap()]].concat();
        let output = self.run(&options, &["sh", "-c", script]);
        let account = std::fs::read(&file);
        let stderr = String::from_utf8(output.stderr).unwrap();
        std::fs::remove_file(&file).unwrap_or_else(|_| panic!("{stderr}"));
        (serde_json::from_slice(&account.unwrap()).unwrap(), stderr)
    }
}

fn variable<'a>(account: &'a Value, name: &str) -> &'a Value {
    let all = account["environment"].as_array().unwrap();
    all.iter().find(|pair| pair[0] == name).map_or(&Value::Null, |pair| &pair[1])
}

/// A script that writes what the guard library would report.
fn reporting(driver: &str) -> String {
    format!(
        "printf '%s' '{{\"schema\":\"agxpatch.guard/1\",\"driver\":{driver}}}' > \
         $AGX_GUARD_REPORTS/$$.json"
    )
}

#[test]
fn the_command_gets_the_library_and_the_mode() {
    let bench = Bench::new();
    let script = "echo $AGX_GUARD $DYLD_INSERT_LIBRARIES";
    let output = bench.run(&["--guard", "throttle=2"], &["sh", "-c", script]);
    let said = String::from_utf8(output.stdout).unwrap();
    let path = said.trim_end().strip_prefix("throttle=2 ").unwrap();
    let kept = bench.mac().read(path.as_ref()).unwrap();
    assert_eq!(kept.bytes, std::fs::read(bench.path("guard.dylib")).unwrap());
}

#[test]
fn a_target_that_could_not_be_read_is_said_and_run() {
    let bench = Bench::new();
    let output = bench.run(&[], &["true"]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("agxpatch: whether the guard gets into "), "{said}");
}

#[test]
fn a_program_that_would_drop_the_library_is_not_run() {
    let bench = Bench::new();
    let trace = bench.path("trace");
    let program = bench.path("python3");
    let spec = agxpatch_core::codesign::build::Spec {
        flags: agxpatch_core::codesign::RUNTIME,
        ..agxpatch_core::codesign::build::Spec::new("org.python")
    };
    std::fs::write(&program, crate::programs::signed(&spec)).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let output = bench.run(&[], &[program.to_str().unwrap(), trace.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("[AGX-0802]") && said.contains("next:"), "{said}");
    assert!(!trace.exists());
}

#[test]
fn a_patched_driver_seen_from_inside_is_not_reported() {
    let bench = Bench::new();
    let script = reporting(
        r#"{"loaded":true,"way":"plugin-name","code":"patched","path":"/x","plugin_name_answered":true}"#,
    );
    let (account, said) = bench.account(&["--driver", "patched", "--guard", "off"], &script);
    assert_eq!(said.lines().count(), 1, "only the unknown target: {said}");
    assert_eq!(account["inside"][0]["driver"]["code"], "patched");
    assert_eq!(account["processes"], 1);
    assert_eq!(variable(&account, "AGX_GUARD"), "off");
    assert_eq!(variable(&account, "AGX_GUARD_PLUGIN_FOR"), "AGXMetalG16X");
    // Both ways at once, and they lead to one file.
    let bundle = account["driver"]["bundle"].as_str().unwrap();
    assert!(bundle.starts_with(HOME), "{bundle}");
    let folder = variable(&account, "DYLD_LIBRARY_PATH");
    assert_eq!(*folder, format!("{bundle}/Contents/MacOS"));
    let plugin = variable(&account, "AGX_GUARD_PLUGIN").as_str().unwrap();
    assert_eq!(format!("{}.bundle", plugin.trim_start_matches("../")), bundle[1..]);
    assert!(bench.mac().metadata(bundle.as_ref()).unwrap().is_some());
}

#[test]
fn the_systems_driver_in_place_of_the_copy_is_said_loudly() {
    let bench = Bench::new();
    let of = |way: &str, script: &str| {
        let options = ["--driver", "patched", "--driver-way", way];
        bench.account(&options, script).1.lines().last().unwrap().to_owned()
    };
    let system = |more: &str| {
        reporting(&format!(
            r#"{{"loaded":true,"way":"system","code":"original","path":"/System/x"{more}}}"#
        ))
    };
    let never = system(r#","plugin_name_asked":false,"plugin_name_answered":false"#);
    let said = "agxpatch: the SYSTEM'S driver was loaded, not the patched copy: /System/x";
    assert_eq!(of("both", &never), format!("{said}, and MetalPluginName was never asked for"));
    assert_eq!(
        of("lookup", &never),
        format!("{said}, and MetalPluginName was never asked for; try --driver-way both")
    );
    let never_looked_up = system(r#","lookup_there":true,"lookup_asked":false"#);
    let said_so = format!("{said}, and Metal never looked its bundle up");
    assert_eq!(of("both", &never_looked_up), said_so);
    let looked_up = system(r#","lookup_there":true,"lookup_asked":true,"lookup_answered":true"#);
    let in_vain = format!("{said}, though Metal's lookup was answered with the copy");
    assert_eq!(of("name", &looked_up), format!("{in_vain}; try --driver-way both"));
    assert_eq!(of("path", &never), format!("{said}; try --driver-way both"));
    let refused = system(r#","plugin_name_asked":true,"copy_refused":"tried: /x (not valid)""#);
    assert_eq!(
        of("both", &refused),
        format!("{said}; the copy could not be taken: tried: /x (not valid)")
    );
    let other = reporting(r#"{"loaded":true,"way":"plugin-name","code":"other","path":"/x"}"#);
    assert!(of("both", &other).contains("is not patched (other): /x"));
    let two = reporting(r#"{"loaded":true,"way":"both","code":"patched","path":"/x","images":2}"#);
    assert!(of("both", &two).contains("2 drivers were loaded into one process"));
    let unused = reporting(r#"{"loaded":false}"#);
    assert!(of("both", &unused).contains("no AGX driver was loaded"));
    assert!(of("both", "exit 0").contains("left no report"));
}

#[test]
fn a_copy_that_came_in_by_path_alone_is_named_only_where_the_command_failed() {
    let bench = Bench::new();
    let script = reporting(
        r#"{"loaded":true,"way":"library-path","code":"patched","path":"/x","plugin_name_asked":false}"#,
    );
    let (_, well) = bench.account(&["--driver", "patched"], &script);
    assert!(!well.contains("by its path"), "{well}");
    let (_, failed) = bench.account(&["--driver", "patched"], &format!("{script}; exit 1"));
    assert!(failed.contains("if the command found no GPU, try --driver-way lookup"), "{failed}");
}

#[test]
fn every_process_with_a_driver_counts_and_a_launcher_does_not() {
    let bench = Bench::new();
    let patched = reporting(r#"{"loaded":true,"way":"both","code":"patched","path":"/x"}"#);
    let system = reporting(r#"{"loaded":true,"way":"system","code":"original","path":"/s"}"#);
    let launcher = reporting(r#"{"loaded":false}"#);
    let child = |script: &str, name: &str| script.replace("$$", name);
    let script = [
        child(&patched, "worker1"),
        child(&system, "worker2"),
        child(&system, "worker3"),
        child(&launcher, "launcher"),
    ]
    .join("; ");
    let (account, said) = bench.account(&["--driver", "patched"], &script);
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("agxpatch: in 2 of 3 processes: the SYSTEM'S driver"), "{said}");
    assert_eq!(account["processes"], 4);
    assert_eq!(account["inside"].as_array().unwrap().len(), 3);
}

#[test]
fn a_malformed_report_is_said_and_not_believed() {
    let bench = Bench::new();
    for text in ["not json", r#"{"schema":"another/1"}"#] {
        let script = format!("printf '%s' '{text}' > $AGX_GUARD_REPORTS/1.json");
        let (account, said) = bench.account(&["--driver", "patched"], &script);
        assert_eq!(account["inside"], serde_json::json!([]));
        assert!(said.contains("[AGX-1001]"), "{said}");
    }
}

#[test]
fn loading_by_path_puts_the_copys_folder_before_the_systems() {
    let bench = Bench::new();
    let (account, _) = bench.account(&["--driver", "patched", "--driver-way", "path"], "true");
    let folder = account["driver"]["driver"]["folder"].as_str().unwrap();
    assert_eq!(variable(&account, "DYLD_LIBRARY_PATH"), folder);
    assert_eq!(*variable(&account, "AGX_GUARD_PLUGIN"), Value::Null);
}

#[test]
fn root_is_told_to_go_without() {
    let bench = Bench::new();
    bench.mac().change(|machine| machine.user = 0).unwrap();
    let output = bench.run(&["--driver", "patched"], &["true"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("[AGX-0809]"));
}

#[test]
fn the_users_own_report_is_theirs() {
    let bench = Bench::new();
    let place = bench.path("mine.json");
    let mut command =
        bench.command(&["--driver", "patched"], &["sh", "-c", "echo $AGX_GUARD_REPORT"]);
    let output = command.env("AGX_GUARD_REPORT", &place).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), place.to_str().unwrap());
}

#[test]
fn the_mode_in_the_librarys_own_variable_counts_unless_one_is_named() {
    let bench = Bench::new();
    let mode = |options: &[&str], inherited: &str| {
        let mut command = bench.command(options, &["sh", "-c", "echo $AGX_GUARD"]);
        let output = command.env("AGX_GUARD", inherited).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        text.lines().find(|line| !line.contains("is not known")).unwrap().to_owned()
    };
    assert_eq!(mode(&[], "throttle=2"), "throttle=2");
    assert_eq!(mode(&["--guard", "serialize"], "throttle=2"), "serialize");
    assert_eq!(mode(&[], ""), "guard");
    assert!(mode(&[], "gaurd").contains("the guard has no such mode"));
}

#[test]
fn two_first_runs_at_once_both_succeed() {
    let bench = Bench::new();
    let start = || {
        let mut command = bench.command(&["--driver", "patched"], &["true"]);
        command.stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    for run in [start(), start(), start()].map(|child| child.wait_with_output().unwrap()) {
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(0), "{said}");
        assert!(!said.contains("made again"), "{said}");
    }
}

#[test]
fn a_stress_run_starts_what_run_would_start_with_the_library_in_its_place() {
    let bench = Bench::new();
    let out = bench.path("stress.json");
    let script = bench.path("tool");
    std::fs::write(&script, "#!/usr/bin/env sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", HOME);
    command.arg("--simulate").arg(bench.path("mac")).arg("stress").arg("--guard-library");
    command.arg(bench.path("guard.dylib")).args(["--trials", "1", "--compare", "off,throttle=2"]);
    command.arg("--out").arg(&out).arg("--reports").arg(bench.place.path());
    let output = command.arg("--").arg(&script).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let kept = std::fs::read_to_string(&out).unwrap_or_else(|_| panic!("{said}"));
    // Not `env` and not the script: the shell at the end of the chain.
    assert!(kept.contains("/sh\"") && !kept.contains("/usr/bin/env"), "{kept}");
    let library = format!("{HOME}/Library/Caches/agxpatch/guard/");
    assert!(kept.contains(&library) && kept.contains("throttle=2"), "{kept}");
}

/// A script that writes what the guard library would report of a process in which it refused calls.
fn refusing(refused: u64, exit: i32) -> String {
    format!(
        "printf '%s' '{{\"schema\":\"agxpatch.guard/1\",\"mode\":\"guard\",\"hooked_methods\":812,\
         \"hooked_classes\":9,\"driver\":{{\"loaded\":true}},\"refused_methods\":{{\"-[A b]\":{refused}}},\
         \"counters\":{{\"encoders_tracked\":15200,\"refused_ended\":{refused}}}}}' > \
         $AGX_GUARD_REPORTS/$$.json; exit {exit}"
    )
}

#[test]
fn a_run_ends_with_one_line_of_what_was_guarded() {
    let bench = Bench::new();
    let line = "agxpatch: guarded 812 methods of 9 classes; 15,200 encoders; 0 refused\n";
    let said = |options: &[&str]| {
        String::from_utf8(bench.run(options, &["sh", "-c", &refusing(0, 0)]).stderr).unwrap()
    };
    assert!(said(&[]).ends_with(line));
    assert!(!said(&["--quiet"]).contains("guarded 812"));
}

#[test]
fn refused_calls_are_said_and_strict_makes_them_exit_status_2() {
    let bench = Bench::new();
    for (options, exit, status) in
        [(&[][..], 0, 0), (&["--strict"], 0, 2), (&["--strict"], 7, 7), (&["--quiet"], 0, 0)]
    {
        let output = bench.run(options, &["sh", "-c", &refusing(1234, exit)]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{options:?} {said}");
        assert!(said.contains("1,234 GPU calls were refused: -[A b] 1,234 times"), "{said}");
        assert_eq!(said.contains("[AGX-0813]"), status == 2, "{said}");
    }
}

#[test]
fn a_race_is_told_although_the_process_died_of_it() {
    let bench = Bench::new();
    let finding = r#"{"kind":"overlap","later":{"method":"-[A b]","thread":{"id":2,"name":"late","queue":""},"stack":["p+0x1 f+1"]},"earlier":{"thread":{"id":1,"name":"","queue":"q"},"stack":[]},"created":{"thread":{"id":1,"name":"","queue":"q"},"stack":[]}}"#;
    let mut bytes = vec![0; 2 * 8192];
    bytes[..16].copy_from_slice(b"agxpatch.races/1");
    bytes[8192] = 7;
    bytes[8200..8208].copy_from_slice(&(finding.len() as u64).to_le_bytes());
    bytes[8208..8208 + finding.len()].copy_from_slice(finding.as_bytes());
    let races = bench.path("races");
    std::fs::write(&races, bytes).unwrap();
    let report = bench.path("report.json");
    let script = format!("cat '{}' > $AGX_GUARD_REPORTS/$$.races; kill -SEGV $$", races.display());
    let options = ["--guard", "observe", "--report", report.to_str().unwrap()];
    let output = bench.run(&options, &["sh", "-c", &script]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(
            "7 times: two threads were inside one encoder or command buffer\n  \
             by thread 2 \"late\", -[A b]\n    p+0x1 f+1\n  after thread 1 on queue q\n"
        ),
        "{said}"
    );
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["races"]["found"][0]["times"], 7);
    assert_eq!(report["races"]["found"][0]["kind"], "overlap");
}

/// A script that writes what the guard library would report of a process whose driver asked so often.
fn asking(times: u64) -> String {
    format!(
        "printf '%s' '{{\"schema\":\"agxpatch.guard/1\",\"mode\":\"off\",\"driver\":{{\"loaded\":true}},\
         \"coalescing_off\":{{\"buffers_asked\":{times}}},\"counters\":{{}}}}' > $AGX_GUARD_REPORTS/$$.json"
    )
}

#[test]
fn without_coalescing_the_library_comes_in_even_with_the_guard_off_and_what_the_driver_asked_is_told()
 {
    let bench = Bench::new();
    let options = ["--guard", "off", "--no-coalescing"];
    let (account, said) = bench.account(&options, &asking(2));
    assert_eq!(*variable(&account, "AGX_GUARD_COALESCING"), "off");
    assert!(variable(&account, "DYLD_INSERT_LIBRARIES").is_string());
    assert_eq!(account["coalescing_off"]["asked"], 2);
    assert!(!said.contains("never asked"), "{said}");
    let (_, said) = bench.account(&options, &asking(0));
    assert!(said.contains("the driver never asked whether coalescing is off"), "{said}");
    let (account, _) = bench.account(&["--guard", "off"], &asking(0));
    assert_eq!(*variable(&account, "AGX_GUARD_COALESCING"), Value::Null);
}

#[test]
fn a_library_of_another_version_is_said() {
    let bench = Bench::new();
    let of = |version: &str| {
        let report = format!(r#"{{"schema":"agxpatch.guard/1","version":"{version}"}}"#);
        bench.account(&[], &format!("printf '%s' '{report}' > $AGX_GUARD_REPORTS/$$.json")).1
    };
    assert!(
        of("0.0.9").contains("the guard library is of version 0.0.9 and this program of version")
    );
    assert!(!of(env!("CARGO_PKG_VERSION")).contains("of version"));
}

#[test]
fn the_library_has_the_programs_version() {
    let manifest = std::fs::read_to_string("guard/Cargo.toml").unwrap();
    let version = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(manifest.lines().any(|line| line == version), "guard/Cargo.toml");
}

#[test]
fn clean_removes_the_library_and_the_copy_and_nothing_else() {
    let bench = Bench::new();
    bench.account(&["--driver", "patched"], "true");
    let clean = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", HOME).arg("--simulate");
        let output = command.arg(bench.path("mac")).args(["run", "--clean"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let library = format!("{HOME}/Library/Caches/agxpatch/guard");
    let copies = format!("{HOME}/Library/Application Support/agxpatch/drivers");
    let there = |path: &str| bench.mac().metadata(path.as_ref()).unwrap().is_some();
    assert!(there(&library) && there(&copies));
    assert_eq!(clean(), format!("removed {library}\nremoved {copies}\n"));
    assert!(!there(&library) && !there(&copies) && there(&format!("{HOME}/Library/Caches")));
    assert_eq!(clean(), "nothing to remove\n");
    bench.account(&["--driver", "patched"], "true");
    assert!(there(&library) && there(&copies));
}

#[test]
fn clean_leaves_what_another_user_could_change() {
    let bench = Bench::new();
    bench.account(&[], "true");
    let library = format!("{HOME}/Library/Caches/agxpatch/guard");
    bench.mac().plant(&format!("{library}/planted/file"), b"root's").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", HOME).arg("--simulate");
    let output = command.arg(bench.path("mac")).args(["run", "--clean"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(bench.mac().metadata(format!("{library}/planted/file").as_ref()).unwrap().is_some());
}

#[test]
fn guard_status_shows_what_the_guard_of_a_running_process_answers() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("agxpatch-run-a");
    std::fs::create_dir(&run).unwrap();
    let (question, report) = (run.join("7.ask"), run.join("7.json"));
    // What the library does in process 7.
    let library = std::thread::spawn(move || {
        while !question.exists() {
            std::thread::yield_now();
        }
        let inside = r#"{"schema":"agxpatch.guard/1","pid":7,"mode":"guard","hooked_methods":812,"hooked_classes":9,
            "driver":{"loaded":true,"path":"/System/x","way":"system"},"encoders":{"live":3,"quarantined":12},
            "counters":{"encoders_tracked":1500,"waits":4}}"#;
        std::fs::write(report, inside).unwrap();
        std::fs::remove_file(question).unwrap();
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
    let output = command.env("TMPDIR", place.path()).args(["guard", "status", "7"]).output();
    library.join().unwrap();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(said.starts_with("process 7, mode guard\n"), "{said}");
    assert!(said.contains("guarded 812 methods of 9 classes; 1,500 encoders; 0 refused"), "{said}");
    assert!(said.contains("3  encoders live") && said.contains("4  waited for another"), "{said}");
}
