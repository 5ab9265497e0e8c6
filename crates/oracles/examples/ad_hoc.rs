//! Signs a Mach-O ad hoc, as `rcodesign sign` does: `ad_hoc IN OUT`. `scripts/bench`
//! runs it after a peer that patches and does not sign.

use std::process::ExitCode;

use agxpatch_oracles::signer;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else { return ExitCode::FAILURE };
    let Ok(file) = std::fs::read(input) else { return ExitCode::FAILURE };
    match std::fs::write(output, signer::sign(&file, signer::How::AD_HOC)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
