//! Everything that is wrong with a signature.

use std::ops::Range;

use super::directory::{ADHOC, CodeDirectory};
use super::problem::SignatureProblem;
use super::superblob::{Blob, Slot};
use super::{EmbeddedSignature, pages, signature_bytes};
use crate::address::SliceOffset;

/// Compares the signature at `signature` with the slice and with what an ad-hoc
/// signature must be. An empty list means: nothing is wrong.
///
/// The findings are complete as far as the structure can be read, and
/// [`SignatureProblem::concern`] tells a broken signature from one that has a signer.
pub fn check(slice: &[u8], signature: Range<SliceOffset>) -> Vec<SignatureProblem> {
    let bytes = match signature_bytes(slice, &signature) {
        Ok(bytes) => bytes,
        Err(finding) => return vec![finding],
    };
    let (read, mut findings) = EmbeddedSignature::read(bytes);
    for directory in &read.directories {
        check_pages(slice, signature.start, directory, &mut findings);
        check_special_slots(&read, directory, &mut findings);
        check_ad_hoc(directory, &mut findings);
    }
    check_agreement(&read.directories, &mut findings);
    if signature.end.0 != slice.len() as u64 {
        findings.push(SignatureProblem::NotLast { end: signature.end, slice: slice.len() as u64 });
    }
    let cms = read.cms().unwrap_or_default().len();
    if cms > 0 {
        findings.push(SignatureProblem::CmsNotEmpty { length: cms });
    }
    if read.requirements() > 0 {
        findings.push(SignatureProblem::RequirementsNotEmpty { count: read.requirements() });
    }
    findings
}

fn check_pages(
    slice: &[u8],
    signature: SliceOffset,
    directory: &CodeDirectory,
    findings: &mut Vec<SignatureProblem>,
) {
    let (slot, limit) = (directory.blob.slot, directory.code_limit);
    if limit != signature.0 {
        findings.push(SignatureProblem::CodeLimit { directory: slot, limit, signature });
    }
    let (slots, pages) = (u64::from(directory.code_slots), directory.page_size.pages(limit));
    if slots != pages {
        findings.push(SignatureProblem::PageCount { directory: slot, slots, pages });
    }
    let code = &slice[..limit.min(slice.len() as u64) as usize];
    let differing = pages::differing(code, directory).into_iter();
    findings.extend(differing.map(|difference| SignatureProblem::PageDiffers {
        directory: slot,
        hash: directory.hash,
        page: difference.page,
        bytes: SliceOffset(difference.bytes.start)..SliceOffset(difference.bytes.end),
        want: difference.want,
        got: difference.got,
    }));
}

fn check_special_slots(
    signature: &EmbeddedSignature,
    directory: &CodeDirectory,
    findings: &mut Vec<SignatureProblem>,
) {
    findings.extend(Slot::sealed().filter_map(|slot| {
        let at = directory.blob.slot;
        let digest = |blob: &Blob| directory.hash.digest([blob.bytes]);
        match (signature.blob(slot).map(digest), directory.special_digest(slot)) {
            (Some(got), Some(want)) => (want != got).then_some(SignatureProblem::SlotDiffers {
                directory: at,
                slot,
                want,
                got,
            }),
            (Some(_), None) => Some(SignatureProblem::SlotMissing { directory: at, slot }),
            (None, Some(_)) => Some(SignatureProblem::BlobMissing { directory: at, slot }),
            (None, None) => None,
        }
    }));
}

fn check_ad_hoc(directory: &CodeDirectory, findings: &mut Vec<SignatureProblem>) {
    let slot = directory.blob.slot;
    if !directory.has(ADHOC) {
        findings.push(SignatureProblem::NotAdHoc { directory: slot, flags: directory.flags });
    }
    if let Some(team) = directory.team.as_deref() {
        findings.push(SignatureProblem::TeamPresent { directory: slot, team: team.to_owned() });
    }
    if directory.platform != 0 {
        findings.push(SignatureProblem::PlatformPresent {
            directory: slot,
            platform: directory.platform,
        });
    }
}

/// Directories describe the same code in different digests: whichever the kernel
/// picks, the answer must be the same.
fn check_agreement(directories: &[CodeDirectory], findings: &mut Vec<SignatureProblem>) {
    let Some((first, others)) = directories.split_first() else { return };
    for this in others {
        let directory = this.blob.slot;
        let mut compare = |about, first: String, this: String| {
            if first != this {
                findings.push(SignatureProblem::DirectoriesDisagree {
                    directory,
                    about,
                    first,
                    this,
                });
            }
        };
        compare("the identifier", first.identifier.to_string(), this.identifier.to_string());
        compare("the page size", first.page_size.to_string(), this.page_size.to_string());
        compare("the code limit", hex(first.code_limit), hex(this.code_limit));
        compare("the flags", hex(first.flags.into()), hex(this.flags.into()));
    }
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}
