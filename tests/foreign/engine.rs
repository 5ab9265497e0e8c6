//! The steps of a patch, through the library, and what must hold afterwards.

use std::ops::Range;

use agxpatch_core::Result;
use agxpatch_core::address::{FileOffset, SliceOffset};
use agxpatch_core::codesign::{self, Concern, SignatureProblem};
use agxpatch_core::edit::{self, Edit, EditKind};
use agxpatch_core::macho::{Slice, Universal};

/// A slice of a file without its borrow.
pub struct Part {
    pub at: FileOffset,
    pub bytes: Range<usize>,
    pub signature: Option<Range<SliceOffset>>,
    pub text: Option<Range<usize>>,
}

impl Part {
    fn of(slice: &Slice) -> Result<Part> {
        let image = slice.image()?;
        let start = slice.offset.0 as usize;
        let text = image.text().ok().map(|section| section.file_range());
        Ok(Part {
            at: slice.offset,
            bytes: start..start + slice.bytes.len(),
            signature: image.code_signature(),
            text: text.map(|text| start + text.start.0 as usize..start + text.end.0 as usize),
        })
    }

    /// Where the signature's bytes stand in the file.
    pub fn seal(&self) -> Option<Range<usize>> {
        let range = self.signature.as_ref()?;
        Some(self.bytes.start + range.start.0 as usize..self.bytes.start + range.end.0 as usize)
    }

    pub fn check(&self, file: &[u8]) -> Vec<SignatureProblem> {
        let none = SliceOffset(0)..SliceOffset(0);
        codesign::check(&file[self.bytes.clone()], self.signature.clone().unwrap_or(none))
    }
}

pub fn parts(file: &[u8]) -> Result<Vec<Part>> {
    Universal::parse(file)?.slices.iter().map(Part::of).collect()
}

/// Another word at `at` of the file.
pub fn one_word(file: &[u8], at: usize) -> Edit {
    let old = file[at..at + 4].to_vec();
    let new = old.iter().map(|byte| byte ^ 0x5a).collect();
    let why = "a word of the test's".to_owned();
    Edit { at: FileOffset(at as u64), old, new, kind: EditKind::Instruction, why }
}

/// `file` with `changes` made and every slice resealed.
pub fn patch(file: &[u8], changes: &[Edit]) -> Result<Vec<u8>> {
    let mut edits = changes.to_vec();
    for part in parts(file)? {
        let signature = part.signature.clone().unwrap_or(SliceOffset(0)..SliceOffset(0));
        let slice = &file[part.bytes.clone()];
        edits.extend(codesign::reseal(slice, part.at, signature, changes)?);
    }
    let mut patched = file.to_vec();
    edit::apply(&mut patched, &edits)?;
    Ok(patched)
}

/// Everything outside the signatures is as it was, but for the changes; every
/// signature is clean.
pub fn assert_sealed(name: &str, before: &[u8], after: &[u8], changes: &[Edit]) {
    let mut expected = before.to_vec();
    edit::apply(&mut expected, changes).unwrap();
    assert_eq!(after.len(), expected.len(), "{name}: the size changed");
    let mut seen = 0;
    for part in parts(after).unwrap() {
        let seal = part.seal().unwrap();
        assert!(after[seen..seal.start] == expected[seen..seal.start], "{name}: bytes changed");
        seen = seal.end;
        assert_eq!(part.check(after), [], "{name}, slice at {}", part.at);
    }
    assert!(after[seen..] == expected[seen..], "{name}: bytes after the last slice changed");
}

/// Whether a file's signatures fit its bytes.
pub fn was_sealed(file: &[u8]) -> bool {
    let of_no_concern = |finding: &SignatureProblem| finding.concern() == Concern::AdHoc;
    parts(file).is_ok_and(|parts| parts.iter().all(|p| p.check(file).iter().all(of_no_concern)))
}
