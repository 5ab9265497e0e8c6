//! `agxpatch-fuzz`: names the targets, and writes the seeds of one into a folder.

use std::path::Path;
use std::process::ExitCode;

use agxpatch_fuzz::{TARGETS, target};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words[..] {
        [] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        [name, folder] => {
            let Some(target) = target(name) else { return ExitCode::FAILURE };
            for (number, seed) in (target.seeds)().iter().enumerate() {
                if let Err(error) = std::fs::write(Path::new(folder).join(number.to_string()), seed)
                {
                    eprintln!("agxpatch-fuzz: {folder}: {error}");
                    return ExitCode::FAILURE;
                }
            }
        }
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}
