//! Whether a program can have the library: the table, on programs made for it.

use std::path::{Path, PathBuf};

use agxpatch::launch::verdict::{Outcome, Surroundings, Verdict, judge};
use agxpatch::launch::{Facts, instead, judge_file};
use agxpatch_core::codesign::RUNTIME;
use agxpatch_core::codesign::build::Spec;
use agxpatch_core::macho::Architecture;

use crate::forest::Forest;
use crate::programs::{entitlements, library, plain, program, signed, universal};

const VARIABLES: &str = "com.apple.security.cs.allow-dyld-environment-variables";
const VALIDATION: &str = "com.apple.security.cs.disable-library-validation";
const RESTRICT: u32 = 0x800;
const REQUIRE_LV: u32 = 0x2000;

fn shipped() -> Surroundings {
    let library = vec![Architecture::X86_64, Architecture::ARM64, Architecture::ARM64E];
    Surroundings { sip: true, validation_off: false, library }
}

fn open() -> Surroundings {
    Surroundings { sip: false, validation_off: true, ..shipped() }
}

fn on(path: &str, mode: u32, bytes: &[u8], around: &Surroundings) -> Verdict {
    judge(&Facts::read(Path::new(path), mode, bytes).unwrap(), around)
}

fn outcome(bytes: &[u8]) -> Outcome {
    on("/opt/homebrew/bin/python3", 0o755, bytes, &shipped()).outcome
}

fn hardened(granted: &[&str]) -> Vec<u8> {
    let flags = RUNTIME;
    signed(&Spec { flags, entitlements: entitlements(granted), ..Spec::new("org.python") })
}

#[test]
fn an_ad_hoc_signed_arm64_program_takes_it() {
    let verdict = on("/opt/homebrew/bin/python3", 0o755, &plain(), &shipped());
    assert_eq!(verdict, Verdict { outcome: Outcome::Fine, reasons: vec![] });
    let linker = signed(&Spec::linker_signed("python3"));
    assert_eq!(outcome(&linker), Outcome::Fine);
}

#[test]
fn the_hardened_runtime_needs_both_entitlements() {
    assert_eq!(outcome(&hardened(&[])), Outcome::Dropped);
    assert_eq!(outcome(&hardened(&[VALIDATION])), Outcome::Dropped);
    assert_eq!(outcome(&hardened(&[VARIABLES])), Outcome::Kills);
    assert_eq!(outcome(&hardened(&[VARIABLES, VALIDATION])), Outcome::Fine);
}

#[test]
fn an_entitlement_that_is_false_or_unreadable_grants_nothing() {
    for text in [
        format!("<plist><dict><key>{VARIABLES}</key><false/></dict></plist>"),
        format!("<plist><dict><key>{VARIABLES}</key><string>true</string></dict></plist>"),
        format!("<plist><dict><key>{VARIABLES}</key>"),
        String::new(),
    ] {
        let spec = Spec { flags: RUNTIME, entitlements: Some(text.clone()), ..Spec::new("x") };
        assert_eq!(outcome(&signed(&spec)), Outcome::Dropped, "{text}");
    }
}

#[test]
fn library_validation_without_the_hardened_runtime_kills() {
    let spec = Spec { flags: REQUIRE_LV, ..Spec::new("x") };
    assert_eq!(outcome(&signed(&spec)), Outcome::Kills);
}

#[test]
fn a_restricted_program_loses_the_library_in_every_case() {
    let restricted = program(Architecture::ARM64, &Spec::new("x"), true);
    assert_eq!(outcome(&restricted), Outcome::Dropped);
    let flag = signed(&Spec { flags: RESTRICT, ..Spec::new("x") });
    assert_eq!(outcome(&flag), Outcome::Dropped);
    for mode in [0o4755, 0o2755] {
        let verdict = on("/opt/tool", mode, &plain(), &open());
        assert_eq!(verdict.outcome, Outcome::Dropped, "{mode:o}");
    }
}

#[test]
fn apples_own_programs_drop_it_by_path_and_by_signature() {
    let apples = signed(&Spec::platform_binary("com.apple.python3", 15, 4500));
    assert_eq!(outcome(&apples), Outcome::Dropped);
    for path in ["/usr/bin/python3", "/bin/zsh", "/System/Applications/X", "/usr/libexec/y"] {
        assert_eq!(on(path, 0o755, &plain(), &shipped()).outcome, Outcome::Dropped, "{path}");
    }
    for path in ["/usr/local/bin/python3", "/binary", "/opt/usr/bin/x"] {
        assert_eq!(on(path, 0o755, &plain(), &shipped()).outcome, Outcome::Fine, "{path}");
    }
}

#[test]
fn without_sip_apples_programs_refuse_it_until_library_validation_is_off() {
    let apples = signed(&Spec::platform_binary("com.apple.python3", 15, 4500));
    let without_sip = Surroundings { validation_off: false, ..open() };
    assert_eq!(on("/usr/bin/python3", 0o755, &apples, &without_sip).outcome, Outcome::Kills);
    assert_eq!(on("/usr/bin/python3", 0o755, &apples, &open()).outcome, Outcome::Fine);
}

#[test]
fn the_architecture_that_would_run_decides() {
    let of = |architecture| (architecture, program(architecture, &Spec::new("x"), false));
    let [intel, arm, arm64e] =
        [Architecture::X86_64, Architecture::ARM64, Architecture::ARM64E].map(of);
    assert_eq!(outcome(&universal(&[intel.clone(), arm.clone()])), Outcome::Fine);
    assert_eq!(outcome(&universal(&[intel.clone(), arm64e.clone()])), Outcome::Idle);
    assert_eq!(outcome(&intel.1), Outcome::Idle);
    assert_eq!(outcome(&arm64e.1), Outcome::Idle);
}

#[test]
fn a_library_without_code_for_the_process_kills_it() {
    let with = |library: Vec<Architecture>| Surroundings { library, ..shipped() };
    let intel = program(Architecture::X86_64, &Spec::new("x"), false);
    let (arm, arm64e) = (Architecture::ARM64, Architecture::ARM64E);
    assert_eq!(on("/x", 0o755, &intel, &with(vec![arm])).outcome, Outcome::Kills);
    // A process without pointer authentication takes either.
    assert_eq!(on("/x", 0o755, &plain(), &with(vec![arm64e])).outcome, Outcome::Fine);
    assert_eq!(on("/x", 0o755, &plain(), &with(vec![arm])).outcome, Outcome::Fine);
    let strict = program(arm64e, &Spec::new("x"), false);
    assert_eq!(on("/x", 0o755, &strict, &with(vec![arm])).outcome, Outcome::Kills);
}

#[test]
fn every_reason_is_named() {
    let spec = Spec { flags: RESTRICT | RUNTIME, ..Spec::new("x") };
    let bytes = program(Architecture::ARM64, &spec, true);
    assert_eq!(on("/x", 0o4755, &bytes, &shipped()).reasons.len(), 4);
}

#[test]
fn a_file_that_is_not_a_mach_o_gets_no_verdict() {
    let forest = Forest::new("").file("/x", 0o755, b"\x7fELF\x02\x01\x01");
    assert_eq!(judge_file(&forest, Path::new("/x"), &shipped()).outcome, Outcome::Unknown);
    assert_eq!(judge_file(&forest, Path::new("/gone"), &shipped()).outcome, Outcome::Unknown);
}

const FRAMEWORK: &str = "/Library/Frameworks/Python.framework/Versions/3.12";

/// A framework build: a small program that starts the one in `Python.app`.
fn framework(app: &[u8]) -> Forest {
    let stub = format!("{FRAMEWORK}/bin/python3.12");
    let python = format!("{FRAMEWORK}/Resources/Python.app/Contents/MacOS/Python");
    Forest::new("/usr/local/bin")
        .file(&stub, 0o755, &plain())
        .file(&python, 0o755, app)
        .link("/usr/local/bin/python3", &stub)
}

#[test]
fn a_framework_python_is_judged_by_the_program_it_turns_into() {
    let judged = |app: &[u8]| {
        let forest = framework(app);
        let target = forest.resolve(&["python3"]).unwrap();
        judge_file(&forest, &target.image, &shipped()).outcome
    };
    assert_eq!(judged(&plain()), Outcome::Fine);
    assert_eq!(judged(&hardened(&[])), Outcome::Dropped);
    assert_eq!(judged(&hardened(&[VARIABLES, VALIDATION])), Outcome::Fine);
}

fn advice(forest: &Forest, words: &[&str]) -> String {
    instead(&forest.scene(), &forest.resolve(words).unwrap(), &shipped())
}

#[test]
fn another_python_is_named_that_can_have_it() {
    let apples = signed(&Spec::platform_binary("com.apple.python3", 15, 4500));
    let forest = || {
        Forest::new("/usr/bin:/opt/hard/bin:/Users/me/bin")
            .file("/usr/bin/python3", 0o755, &apples)
            .file("/opt/hard/bin/python3", 0o755, &hardened(&[]))
            .script("/Users/me/bin/python3", "#!/usr/bin/python3\n")
    };
    let none = advice(&forest(), &["python3"]);
    assert!(none.contains("--guard off"), "{none}");
    let brew = forest().file("/opt/homebrew/bin/python3", 0o755, &plain());
    assert_eq!(advice(&brew, &["python3"]), "run /opt/homebrew/bin/python3 instead");
    let environment = brew
        .variable("VIRTUAL_ENV", "/Users/me/.venv")
        .link("/Users/me/.venv/bin/python3", "/opt/homebrew/bin/python3");
    assert_eq!(advice(&environment, &["python3"]), "run /Users/me/.venv/bin/python3 instead");
}

#[test]
fn a_hardened_program_of_ones_own_is_advised_to_be_signed_again() {
    let program = "/Users/me/my app/infer";
    let own = Forest::new("/usr/bin").file(program, 0o755, &hardened(&[]));
    let said = advice(&own, &[program]);
    assert!(said.contains("codesign --force --sign - '/Users/me/my app/infer'"), "{said}");
    let apples = Forest::new("/usr/bin").file("/usr/bin/infer", 0o755, &hardened(&[]));
    assert!(!advice(&apples, &["infer"]).contains("codesign"));
}

#[test]
fn behind_a_starter_agxpatch_goes_inside() {
    let forest = Forest::new("/usr/bin:/bin").program("/usr/bin/time").program("/usr/bin/xcrun");
    let lines = [
        ("time", "time agxpatch run -- python3"),
        ("xcrun", "xcrun agxpatch run -- python3"),
        ("sh", "sh … agxpatch run -- PROGRAM"),
        ("bash", "bash … agxpatch run -- PROGRAM"),
    ];
    for (name, line) in lines {
        let said = advice(&forest, &[name, "python3"]);
        assert!(said.ends_with(line), "{said}");
    }
}

#[test]
fn behind_a_shim_that_decides_the_manager_is_asked() {
    let text = "#!/usr/bin/env bash\nexec asdf exec \"python\" \"$@\"\n";
    let forest =
        Forest::new("/Users/me/.asdf/shims:/bin").script("/Users/me/.asdf/shims/python", text);
    assert!(advice(&forest, &["python"]).contains("asdf which python"));
}

#[test]
fn the_library_itself_is_read_as_a_universal_file() {
    let bytes = library(&shipped().library);
    let facts = Facts::read(&PathBuf::from("/x"), 0o755, &bytes).unwrap();
    assert_eq!(facts.architectures.len(), 3);
    assert_eq!(facts.runs, Architecture::ARM64);
}

#[test]
fn an_application_that_cannot_have_the_library_is_advised_to_be_copied_and_signed() {
    let executable = "/Applications/My Trainer.app/Contents/MacOS/Trainer";
    let said = advice(&Forest::new("/usr/bin").program(executable), &[executable]);
    let copied = "ditto '/Applications/My Trainer.app' '/tmp/My Trainer.app'";
    let signed = "codesign --force --deep --sign - '/tmp/My Trainer.app'";
    let run = "agxpatch run -- '/tmp/My Trainer.app'";
    for line in [copied, signed, run] {
        assert!(said.contains(line), "{said}");
    }
    // No copy of one of the system's starts.
    let system = "/System/Applications/Chess.app/Contents/MacOS/Chess";
    let said = advice(&Forest::new("/usr/bin").program(system), &[system]);
    assert!(!said.contains("codesign"), "{said}");
}
