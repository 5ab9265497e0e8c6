//! Compiles one of the shapes with clang 22 at -O2: `compiled SOURCE OUT`.

use std::process::ExitCode;

use agxpatch_oracles::shapes;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, output] = arguments.as_slice() else { return ExitCode::FAILURE };
    let mut jobs = shapes::jobs();
    jobs.retain(|job| job.source.ends_with(source) && job.version == 22 && job.flags == ["-O2"]);
    shapes::each(jobs, |compiled| {
        std::fs::write(output, compiled.image).expect("OUT can be written");
    });
    match std::path::Path::new(output).exists() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
