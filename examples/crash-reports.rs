//! Writes synthetic crash reports: `crash-reports FOLDER COUNT BYTES`.
//!
//! Every fifth file is a copy of an earlier report, and the classes take turns.
//! `scripts/bench-crashes` reads them back.

use std::error::Error;
use std::fs;
use std::path::Path;

use agxpatch_simulate::crash_report::CrashReport;

const KINDS: [fn(u32) -> CrashReport; 6] = [
    CrashReport::set_pipeline,
    CrashReport::prepare,
    CrashReport::spill,
    CrashReport::trap,
    CrashReport::nil_pipeline,
    CrashReport::unrelated,
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, bytes] = arguments.as_slice() else {
        return Err("usage: crash-reports FOLDER COUNT BYTES".into());
    };
    let bytes: usize = bytes.parse()?;
    for number in 0..count.parse::<u32>()? {
        let incident = if number % 5 == 4 { number - 4 } else { number };
        let kind = KINDS[incident as usize % KINDS.len()];
        let report = kind(incident).padded_to(bytes);
        fs::write(Path::new(folder).join(format!("Python-{number:06}.ips")), report.ips())?;
    }
    Ok(())
}
