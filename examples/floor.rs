//! What `agxpatch patch` cannot go below: `floor IN OUT` reads IN into memory,
//! takes its SHA-256 on one thread and writes OUT on another, by the very
//! functions the program uses, and does nothing else. `scripts/bench` runs the
//! two in turns.

use std::path::Path;
use std::process::ExitCode;

use agxpatch::storage;
use sha2::{Digest, Sha256};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else { return ExitCode::FAILURE };
    let Ok(input) = storage::read(Path::new(input)) else { return ExitCode::FAILURE };
    std::thread::scope(|scope| {
        let digest = scope.spawn(|| Sha256::digest(&*input.bytes));
        match (storage::write(Path::new(output), &input.bytes, true), digest.join()) {
            (Ok(()), Ok(_)) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    })
}
