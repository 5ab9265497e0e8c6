//! The signatures of all slices of a file, before and after a patch.

use crate::codesign::{self, Concern, SignatureProblem};
use crate::edit::Edit;
use crate::error::{Code, Error, Result};
use crate::macho::{Slice, Universal};

/// The edits that reseal every slice of the file ad hoc for these changes.
///
/// A slice without a signature is left alone if nothing in it changes and its
/// processor runs unsigned code.
pub fn reseal_all(file: &Universal<'_>, changes: &[Edit]) -> Result<Vec<Edit>> {
    each(file, changes, |slice, signature| {
        codesign::reseal(slice.bytes, slice.offset, signature, changes)
    })
}

/// As [`reseal_all`], and renews every digest that did not fit before.
pub fn renew_all(file: &Universal<'_>, changes: &[Edit]) -> Result<Vec<Edit>> {
    each(file, changes, |slice, signature| {
        codesign::reseal_everything(slice.bytes, slice.offset, signature, changes)
    })
}

fn each(
    file: &Universal<'_>,
    changes: &[Edit],
    reseal: impl Fn(&Slice<'_>, std::ops::Range<crate::address::SliceOffset>) -> Result<Vec<Edit>>,
) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for slice in &file.slices {
        let touched = changes.iter().any(|edit| slice.range().contains(&edit.at));
        match slice.code_signature()? {
            Some(signature) => {
                let planned = reseal(slice, signature);
                edits.extend(planned.map_err(|e| e.with("slice", slice.architecture))?);
            }
            None if !touched && !slice.architecture.is_aarch64() => {}
            None => {
                return Err(Error::new(
                    Code::NoSignature,
                    "the slice carries no code signature, and there is no room kept for one",
                )
                .with("slice", slice.architecture)
                .next("sign the file first, for instance with `codesign -s -` on a Mac"));
            }
        }
    }
    Ok(edits)
}

/// How many faults of a signature an error shows.
const MAX_FAULTS: usize = 5;

/// What contradicts the bytes of a slice in its signature, of any signer. An
/// unsigned slice has nothing that could.
pub fn faults(slice: &Slice<'_>) -> Vec<SignatureProblem> {
    let Ok(Some(signature)) = slice.code_signature() else { return Vec::new() };
    let mut findings = codesign::check(slice.bytes, signature);
    findings.retain(|finding| finding.concern() != Concern::AdHoc);
    findings
}

/// Refuses a file whose signature does not fit it: renewing a few digests would
/// leave a file that the kernel kills, or hide a change that someone else made.
///
/// # Errors
/// `SignatureBroken`, with the faults.
pub fn refuse_broken(file: &Universal<'_>) -> Result<()> {
    let told = |slice: &Slice<'_>| {
        let architecture = slice.architecture;
        faults(slice).into_iter().map(move |fault| format!("{architecture}: {fault}"))
    };
    let faults: Vec<String> = file.slices.iter().flat_map(told).collect();
    if faults.is_empty() {
        return Ok(());
    }
    let shown = Error::new(
        Code::SignatureBroken,
        "the file does not match its code signature, so it was changed after it was signed",
    )
    .with_each("fault", faults.iter().take(MAX_FAULTS));
    let shown = match faults.len().saturating_sub(MAX_FAULTS) {
        0 => shown,
        more => shown.with("and", format!("{more} more")),
    };
    Err(shown.next("take the file from its source again, or renew every digest with --reseal"))
}
