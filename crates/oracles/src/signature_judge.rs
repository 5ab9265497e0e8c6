//! What `apple-codesign` thinks of a signature.

use apple_codesign::{
    CodeDirectoryBlob, CodeSigningSlot, EmbeddedSignature, MachFile, MachOBinary,
    VerificationProblemType, verify_macho_data,
};

/// Every problem, but for the want of a signer, which ad-hoc code lacks.
pub fn problems(file: &[u8]) -> Vec<String> {
    let wants_a_signer = |problem: &VerificationProblemType| {
        // It takes the empty wrapper for a CMS signature that does not parse.
        matches!(
            problem,
            VerificationProblemType::NoCryptographicSignature
                | VerificationProblemType::CmsError(_)
        )
    };
    let problems = verify_macho_data(file).into_iter();
    let mut problems: Vec<String> = problems
        .filter(|problem| !wants_a_signer(&problem.problem))
        .map(|problem| problem.to_string())
        .collect();
    for image in MachFile::parse(file).unwrap().iter_macho() {
        problems.extend(beyond_the_first_directory(image));
    }
    problems
}

/// Its verifier looks at the primary directory only; its reader knows all.
fn beyond_the_first_directory(image: &MachOBinary) -> Vec<String> {
    let signature = image.code_signature().unwrap().unwrap();
    let mut problems = Vec::new();
    for (slot, directory) in signature.all_code_directories().unwrap() {
        let digests = image.code_digests(directory.digest_type, directory.page_size as usize);
        let have = directory.code_digests.iter().map(|digest| digest.data.as_ref());
        if !have.eq(digests.unwrap().iter().map(Vec::as_slice)) {
            problems.push(format!("{slot:?}: page digests differ"));
        }
        problems.extend(special_slots(&signature, &directory));
    }
    problems
}

fn special_slots(signature: &EmbeddedSignature, directory: &CodeDirectoryBlob) -> Vec<String> {
    let special = signature.blobs.iter().filter(|blob| {
        blob.slot.is_code_directory_specials_expressible() && !blob.slot.has_external_content()
    });
    special
        .filter(|blob| {
            let want = blob.digest_with(directory.digest_type).unwrap();
            directory.slot_digest(blob.slot).is_none_or(|have| have.data.as_ref() != want)
        })
        .map(|blob| format!("{:?}: digest of {:?} differs", directory.digest_type, blob.slot))
        .collect()
}

/// What is left of a signer, as `apple-codesign` reads it.
pub fn claims(file: &[u8]) -> Vec<String> {
    let mut claims = Vec::new();
    for image in MachFile::parse(file).unwrap().iter_macho() {
        let signature = image.code_signature().unwrap().unwrap();
        for (_, directory) in signature.all_code_directories().unwrap() {
            claims.push(format!("flags {:#x}", directory.flags));
            claims.extend(directory.team_name.as_deref().map(|team| format!("team {team}")));
            claims.extend((directory.platform != 0).then(|| "platform".to_owned()));
        }
        let cms = signature.find_slot(CodeSigningSlot::Signature);
        let cms = cms.map(|blob| blob.payload().unwrap()).unwrap_or_default();
        claims.extend((!cms.is_empty()).then(|| "CMS".to_owned()));
        let requirements = signature.code_requirements().unwrap();
        let any = requirements.is_some_and(|set| !set.requirements.is_empty());
        claims.extend(any.then(|| "requirements".to_owned()));
        let entitlements = signature.entitlements().unwrap();
        claims.extend(entitlements.map(|_| "entitlements".to_owned()));
    }
    claims
}
