//! What `agxpatch launchd` and `agxpatch jupyter` print and write.

use std::path::Path;

use plist::{Dictionary, Value};

use crate::harness::program;

/// The program with a home and a PATH of its own.
struct Place {
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { home: tempfile::tempdir().unwrap() }
    }

    fn run(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = program(arguments);
        command.env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin");
        command.output().unwrap()
    }

    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }
}

fn strings(list: &Dictionary, key: &str) -> Vec<String> {
    let words = list[key].as_array().unwrap().iter();
    words.map(|word| word.as_string().unwrap().to_owned()).collect()
}

const OWN: &str = env!("CARGO_BIN_EXE_agxpatch");

#[test]
fn a_launchd_agent_names_program_command_and_path_in_full() {
    let place = Place::new();
    let text = place.prints(&[
        "launchd",
        "--label",
        "com.example.train",
        "--guard",
        "throttle=2",
        "--env",
        "A=b=c",
        "--",
        "sh",
        "-c",
        "echo 'a & b' <x>",
    ]);
    let list: Dictionary = plist::from_bytes(text.as_bytes()).unwrap();
    assert_eq!(list["Label"], Value::from("com.example.train"));
    let words = strings(&list, "ProgramArguments");
    let expected =
        [OWN, "run", "--guard", "throttle=2", "--", "/usr/bin/sh", "-c", "echo 'a & b' <x>"];
    let real = |word: &str| std::fs::canonicalize(word).map_or(word.into(), |path| path);
    assert_eq!(real(&words[0]), real(expected[0]));
    assert_eq!(&words[1..], &expected[1..]);
    let variables = list["EnvironmentVariables"].as_dictionary().unwrap();
    assert_eq!(variables["PATH"], Value::from("/usr/bin:/bin"));
    assert_eq!(variables["A"], Value::from("b=c"));
    assert_eq!(list["KeepAlive"], Value::from(false));
    let log = place.home.path().join("Library/Logs/com.example.train.log");
    assert_eq!(list["StandardErrorPath"], Value::from(log.to_str().unwrap()));
}

#[test]
fn a_second_reader_accepts_the_property_list() {
    let text = Place::new().prints(&["launchd", "--label", "a.b", "--keep-alive", "--", "sh"]);
    let script =
        "import plistlib, sys; print(plistlib.loads(sys.stdin.buffer.read())['KeepAlive'])";
    let mut python = std::process::Command::new("python3");
    python.args(["-c", script]).stdin(std::process::Stdio::piped());
    let mut child = python.stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "True\n");
}

#[test]
fn a_written_agent_is_where_launchd_looks_and_is_not_overwritten() {
    let place = Place::new();
    let words = ["launchd", "--label", "a.b", "--write", "--", "sh"];
    let told = place.prints(&words);
    let path = place.home.path().join("Library/LaunchAgents/a.b.plist");
    plist::from_file::<_, Dictionary>(&path).unwrap();
    assert!(told.contains("launchctl bootstrap gui/"), "{told}");
    assert!(place.refusal(&words).contains("the file already exists"));
}

#[test]
fn a_label_that_would_leave_the_folder_is_refused() {
    for label in ["", "../x", "a/b", ".hidden", "a b"] {
        let told = Place::new().refusal(&["launchd", "--label", label, "--write", "--", "sh"]);
        assert!(told.contains("the label is not valid for a launchd service"), "{told}");
    }
}

#[test]
fn a_kernel_specification_starts_python_with_the_guard() {
    let text = Place::new().prints(&["jupyter", "--python", "python3", "--guard", "serialize"]);
    let kernel: serde_json::Value = serde_json::from_str(&text).unwrap();
    let words: Vec<&str> =
        kernel["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert!(Path::new(words[0]).is_absolute());
    let rest =
        ["run", "--guard", "serialize", "--", "/usr/bin/python3", "-m", "ipykernel_launcher"];
    assert_eq!(&words[1..8], &rest);
    assert_eq!(&words[8..], &["-f", "{connection_file}"]);
    assert_eq!(kernel["language"], "python");
}

#[test]
fn a_kernel_is_written_once_into_a_folder_of_its_name() {
    let place = Place::new();
    let words = ["--json", "jupyter", "--name", "guarded", "--write"];
    let told: serde_json::Value = serde_json::from_str(&place.prints(&words)).unwrap();
    let path = Path::new(told["result"]["path"].as_str().unwrap());
    assert!(path.ends_with("kernels/guarded/kernel.json") && path.starts_with(place.home.path()));
    assert!(path.is_file());
    assert!(place.refusal(&words[1..]).contains("the file already exists"));
    for name in ["../x", ""] {
        assert!(
            place.refusal(&["jupyter", "--name", name]).contains("not valid for a Jupyter kernel")
        );
    }
}

#[test]
fn nothing_of_a_simulated_mac_is_written_into_this_computers_home() {
    let place = Place::new();
    let mac = place.home.path().join("mac");
    let mac = mac.to_str().unwrap();
    let service = ["--simulate", mac, "launchd", "--label", "com.example.train", "--write"];
    let service = [&service[..], &["--", "/bin/sh"]].concat();
    let kernel = ["--simulate", mac, "jupyter", "--python", "/bin/sh", "--write"];
    for words in [&service[..], &kernel] {
        let said = place.refusal(words);
        assert!(said.contains("[AGX-1004]") && said.contains("leave out --write"), "{said}");
    }
    assert_eq!(std::fs::read_dir(place.home.path()).unwrap().count(), 0);
}
