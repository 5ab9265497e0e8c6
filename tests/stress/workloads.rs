//! The workloads' harness, with Python alone, and the workloads themselves where
//! torch is installed.

use std::path::Path;
use std::process::{Command, Output};

use agxpatch::stress::{Measurement, Workload};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/workloads");

fn python(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .env("PYTHONPATH", SCRIPTS)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap()
}

/// Runs `operation`, the body of a Python function, with the harness.
fn harness(operation: &str, arguments: &[&str]) -> (Option<i32>, Measurement) {
    let script = format!(
        "import harness, math\n\
         options = harness.arguments('test', iterations=5)\n\
         def make(thread):\n    def operation(iteration):\n        {operation}\n    return operation\n\
         harness.run('test', options, make, tolerance=1e-3)\n"
    );
    let output = python("python3", &[&["-c", &script], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let measured = Measurement::find(&text);
    (output.status.code(), measured.unwrap_or_else(|| panic!("{output:?}")))
}

#[test]
fn every_operation_of_every_thread_is_counted() {
    let (code, measured) = harness("return 0.0", &["--threads", "4", "--iterations", "7"]);
    assert_eq!(code, Some(0));
    assert_eq!((measured.operations, measured.expected), (28, Some(28)));
    assert_eq!(measured.fault(), None);
}

#[test]
fn a_thread_that_fails_is_heard() {
    let (code, measured) = harness("return 1 / (2 - iteration) * 0 if thread == 1 else 0.0", &[]);
    assert_eq!(code, Some(1));
    assert_eq!(measured.errors, ["thread 1: ZeroDivisionError: division by zero"]);
    assert_eq!(measured.operations, 8 * 5 - 3);
    assert!(measured.fault().is_some());
}

#[test]
fn a_wrong_result_and_one_that_is_not_a_number_fail() {
    for operation in ["return 0.01", "return math.nan", "return math.inf"] {
        let (code, measured) = harness(operation, &[]);
        assert_eq!(code, Some(1), "{operation}");
        assert!(measured.fault().unwrap().contains("CPU"), "{operation}");
    }
}

#[test]
fn no_more_threads_than_permitted_are_inside_an_operation() {
    // Without permits all of them meet inside, however few processors there are.
    let script = "import harness, sys, threading\n\
        sys.setswitchinterval(1e-6)\n\
        options = harness.arguments('test', iterations=20)\n\
        inside, most = [], []\n\
        meeting = threading.Barrier(options.threads if options.permits is None else 1)\n\
        def make(thread):\n    def operation(iteration):\n        \
        inside.append(thread)\n        meeting.wait()\n        for _ in range(500): most.append(len(inside))\n        \
        inside.remove(thread)\n    return operation\n\
        harness.run('test', options, make, \
        final_check=lambda: f'{max(most)} were inside' if max(most) > 2 else None)\n";
    let run = |arguments: &[&str]| {
        let output = python("python3", &[&["-c", script], arguments].concat());
        Measurement::find(&String::from_utf8_lossy(&output.stdout)).unwrap().fault()
    };
    assert_eq!(run(&["--permits", "2"]), None);
    let unbound = run(&[]).unwrap();
    assert!(unbound.starts_with("1 errors, the first: ") && unbound.ends_with("were inside"));
}

#[test]
fn batched_makes_every_operation_in_one_worker_and_joins_those_that_wait() {
    // As a run writes them, with the worker of the Python package beside them.
    let folder = tempfile::tempdir().unwrap();
    Workload::Matmul.write(folder.path()).unwrap();
    let script = "import harness, threading\n\
        options = harness.arguments('test', iterations=20)\n\
        threads, counts = set(), []\n\
        def make(thread):\n    def look(count):\n        \
        threads.add(threading.get_ident())\n        counts.append(count)\n    \
        def operation(iteration):\n        look(1)\n    \
        operation.many = look\n    return operation\n\
        harness.run('test', options, make, final_check=lambda: \
        f'{len(threads)} workers, {sum(counts)} of 168, at most {max(counts)}')\n";
    let output = Command::new("python3")
        .args(["-c", script, "--batched"])
        .env("PYTHONPATH", folder.path())
        .output()
        .unwrap();
    let measured = Measurement::find(&String::from_utf8_lossy(&output.stdout)).unwrap();
    assert_eq!((measured.operations, measured.expected), (160, Some(160)));
    let told = &measured.errors[0];
    // The first call of each thread comes before the clock starts.
    assert!(told.starts_with("1 workers, 168 of 168, at most "), "{told}");
}

#[test]
fn help_needs_no_torch_and_a_missing_torch_is_told() {
    for workload in Workload::ALL.iter().filter(|each| each.takes_python()) {
        let script = format!("{SCRIPTS}/{}.py", workload.id());
        assert!(python("python3", &[&script, "--help"]).status.success());
        // -I -S hides every installed package.
        let isolated = format!(
            "import sys; sys.path.insert(0, {SCRIPTS:?}); sys.argv = ['x', '--check']; \
             import runpy; runpy.run_path({script:?}, run_name='__main__')"
        );
        let output = python("python3", &["-I", "-S", "-B", "-c", &isolated]);
        assert_eq!(output.status.code(), Some(77), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("torch cannot be imported"));
    }
}

#[test]
fn the_program_carries_the_workloads_that_lie_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    for workload in Workload::ALL {
        let script = workload.write(folder.path()).unwrap();
        let beside = Path::new(SCRIPTS).join(script.file_name().unwrap());
        assert_eq!(std::fs::read(script).unwrap(), std::fs::read(beside).unwrap());
    }
}

/// The Pythons that may have torch: the one on the path and the system's.
fn python_with_torch() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|program| {
        let probe = Command::new(program).args(["-c", "import torch"]).output();
        probe.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn every_workload_completes_on_the_cpu() {
    let Some(program) = python_with_torch() else {
        eprintln!("SKIPPED: no Python here has torch");
        return;
    };
    for workload in Workload::ALL.iter().filter(|each| each.takes_python()) {
        let script = format!("{SCRIPTS}/{}.py", workload.id());
        let length: &[&str] = match workload {
            Workload::Soak | Workload::SoakHour => &["--duration", "0.2"],
            _ => &["--iterations", "2"],
        };
        let arguments = [&[script.as_str(), "--device", "cpu", "--threads", "2"], length].concat();
        let output = python(program, &arguments);
        assert!(output.status.success(), "{output:?}");
        let measured = Measurement::find(&String::from_utf8_lossy(&output.stdout)).unwrap();
        assert_eq!((measured.fault(), measured.workload.as_str()), (None, workload.id()));
        assert!(measured.operations > 0);
    }
}
