//! `agxpatch-fuzz`: names the targets, and writes the seeds of one into a folder.

use std::path::Path;
use std::process::ExitCode;

use agxpatch_fuzz::{TARGETS, target};

/// Larger seeds slow the search down.
const MAX_SEED: usize = 64 << 10;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words[..] {
        [] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        [name, folder] => {
            let Some(target) = target(name) else { return ExitCode::FAILURE };
            let seeds = (target.seeds)().into_iter().filter(|seed| seed.len() <= MAX_SEED);
            for (number, seed) in seeds.enumerate() {
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
