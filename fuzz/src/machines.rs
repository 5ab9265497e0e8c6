//! Machines whose answers, or whose files, are the input.

use std::path::Path;
use std::sync::OnceLock;

use agxpatch_core::Result;
use agxpatch_core::error::{Code, Error};
use agxpatch_core::patch::Engine;
use agxpatch_deploy::doctor::{Consent, Verdict, examine};
use agxpatch_deploy::journal::Journal;
use agxpatch_deploy::{EnginePatcher, gather, layout, verify};
use agxpatch_host::Host;
use agxpatch_host::recording::{Recorder, Recording, Replay};
use agxpatch_simulate::mac::SimulatedMac;

/// What a simulated Mac answers to everything that `doctor` and `status` ask.
pub fn recorded() -> &'static Recording {
    static RECORDED: OnceLock<Recording> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let mac = SimulatedMac::in_memory(b"a driver");
        let recorder = Recorder::new(&mac);
        ask_everything(&recorder);
        recorder.recording()
    })
}

/// Asks a host what `doctor`, `status` and `verify` ask. What it answers is not
/// judged here.
fn ask_everything(host: &dyn Host) {
    let judge = |_: &[u8]| Verdict::Listed { name: "any".into() };
    let _ = examine(host, &judge, Consent::default());
    with_patcher(|patcher| {
        let _ = gather(host, patcher);
        let _ = verify(host, patcher);
    });
}

fn with_patcher<T>(work: impl FnOnce(&EnginePatcher<'_>) -> T) -> Option<T> {
    thread_local! {
        static ENGINE: Option<Engine> = Engine::built_in().ok();
    }
    ENGINE.with(|engine| engine.as_ref().map(|engine| work(&EnginePatcher::new(engine))))
}

/// A whole recording.
pub fn read_recording(bytes: &[u8]) {
    if let Ok(recording) = Recording::parse(bytes) {
        ask_everything(&Replay::new(recording));
    }
}

/// One answer of a tool: the first byte chooses the tool, the rest is what it said.
pub fn read_tool_output(bytes: &[u8]) {
    let Some((choice, said)) = bytes.split_first() else { return };
    let mut recording = recorded().clone();
    let chosen = usize::from(*choice).checked_rem(recording.said.len()).unwrap_or(0);
    if let Some(answer) = recording.said.values_mut().nth(chosen) {
        answer.out = String::from_utf8_lossy(said).into_owned();
    }
    ask_everything(&Replay::new(recording));
}

/// Seeds of [`read_tool_output`]: what each tool really said.
pub fn tool_outputs() -> Vec<Vec<u8>> {
    let answers = recorded().said.values().enumerate();
    answers.map(|(i, said)| [&[i as u8], said.out.as_bytes()].concat()).collect()
}

/// A Mac with these bytes as its journal.
pub fn read_journal(bytes: &[u8]) {
    let mac = SimulatedMac::in_memory(b"a driver");
    if planted(&mac, &layout::journal(), bytes).is_ok() {
        let _ = Journal::read(&mac);
        with_patcher(|patcher| gather(&mac, patcher).map(drop));
    }
}

/// A Mac with these bytes as its manifest, and as its record of a pending restart.
pub fn read_manifest(bytes: &[u8]) {
    let mac = SimulatedMac::in_memory(b"a driver");
    for path in [layout::manifest(), layout::pending(), layout::reverted()] {
        if planted(&mac, &path, bytes).is_err() {
            return;
        }
    }
    with_patcher(|patcher| verify(&mac, patcher).map(drop));
}

fn planted(mac: &SimulatedMac, path: &Path, bytes: &[u8]) -> Result<()> {
    let text = path.to_str().ok_or_else(|| Error::new(Code::Bug, "a path of the layout"))?;
    mac.plant(text, bytes)
}

/// The records that a deployment writes: a journal that was cut off, and a manifest.
pub fn records() -> [Vec<u8>; 2] {
    static RECORDS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    RECORDS.get_or_init(make_records).clone()
}

fn make_records() -> [Vec<u8>; 2] {
    use agxpatch_deploy::{Options, Plan, deploy};
    use agxpatch_simulate::driver;
    use agxpatch_simulate::mac::{Fault, Reach, survive};
    let driver = driver::build(&driver::Variant::PUBLISHED).unwrap_or_default();
    let read =
        |mac: &SimulatedMac, path: &Path| mac.read(path).map(|file| file.bytes).unwrap_or_default();
    let deployed = |cut_off: bool| {
        let mac = SimulatedMac::in_memory(&driver);
        let _ = mac.open_for_deployment();
        if cut_off {
            let _ = mac.inject(40, Fault::Kill { reach: Reach::After });
        }
        let options = Options { unlisted_build: true, untested_load: true };
        let agreed = &mut |_: &Plan| Ok(());
        let _ = survive(|| with_patcher(|p| deploy(&mac, p, options, agreed, &()).map(drop)));
        mac.process()
    };
    let journal = read(&deployed(true), &layout::journal());
    let manifest = read(&deployed(false), &layout::manifest());
    [journal, manifest]
}
