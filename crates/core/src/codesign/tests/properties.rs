//! What holds of all signatures, and of all bytes.

use proptest::prelude::*;

use super::*;

/// Every version that brought a field.
const VERSIONS: [u32; 7] = [0x20001, 0x20100, 0x20200, 0x20300, 0x20400, 0x20500, 0x20600];

/// Any well-formed signature the builder can make.
fn any_spec() -> impl Strategy<Value = Spec> {
    let hashes = prop::collection::vec(prop::sample::select(&HashType::ALL[..]), 1..=6);
    let pages = prop::sample::select(&[0u8, 12, 13, 14, 16][..]);
    let version = prop::sample::select(&VERSIONS[..]);
    let claims = (any::<u32>(), any::<u8>(), prop::option::of("[A-Z0-9]{10}"), any::<[bool; 4]>());
    (hashes, pages, version, claims, 0usize..40, 0usize..600).prop_map(
        |(hashes, page, version, (flags, platform, team, [a, b, c, d]), gap, cms)| Spec {
            hashes,
            page_size: PageSize::from_exponent(page).unwrap(),
            version,
            flags,
            team,
            limit_in_64_bits: a,
            entitlements: b.then(|| "<plist/>".into()),
            requirements: c.then(|| build::requirement_set(&[build::anchor_apple("x.y.z")])),
            reversed: d,
            gap,
            ..Spec::platform_binary("x.y.z", platform, cms)
        },
    )
}

proptest! {
    #[test]
    fn any_well_formed_signature_is_clean_once_resealed(
        spec in any_spec(),
        places in prop::collection::btree_set(0..CODE / 4 - 1, 0..5),
    ) {
        let places: Vec<usize> = places.into_iter().map(|place| place * 4).collect();
        let (file, signature, _) = patched(&spec, &places);
        prop_assert_eq!(check(slice(&file), signature.clone()), []);
        prop_assert_eq!(reseal(slice(&file), SLICE_AT, signature, &[]).unwrap(), []);
    }

    #[test]
    fn no_bytes_make_reading_panic_and_what_reseals_is_clean(
        sort in 0usize..12,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (mut file, signature) = signed(&sorts()[sort].1);
        let start = SLICE_AT.0 as usize + CODE;
        // Half of the damage falls into the first 200 bytes, where the structure is.
        for (nth, (at, byte)) in damage.iter().enumerate() {
            let room = if nth % 2 == 0 { 200.min(file.len() - start) } else { file.len() - start };
            file[start + at.index(room)] = *byte;
        }
        let end = cut.map_or(signature.end.0, |cut| (CODE + cut.index(file.len() - start)) as u64);
        file.truncate(SLICE_AT.0 as usize + end as usize);
        let signature = signature.start..SliceOffset(end);
        let before = check(slice(&file), signature.clone());
        let word = change(&file, 0x1ffe);
        if let Ok(seal) = reseal(slice(&file), SLICE_AT, signature.clone(), std::slice::from_ref(&word)) {
            prop_assert!(before.iter().all(|finding| finding.concern() != Concern::Structure));
            let all: Vec<Edit> = seal.into_iter().chain([word]).collect();
            edit::apply(&mut file, &all).unwrap();
            let after = check(slice(&file), signature);
            prop_assert!(after.iter().all(|finding| finding.concern() == Concern::Integrity));
            // Pages of any size that hold a byte of the word.
            let touched = |finding: &SignatureProblem| match finding {
                SignatureProblem::PageDiffers { bytes, .. } => bytes.start.0 < 0x2002 && 0x1ffe < bytes.end.0,
                _ => false,
            };
            prop_assert!(!after.iter().any(touched));
        }
    }

    #[test]
    fn any_bytes_at_all_can_be_checked(bytes in prop::collection::vec(any::<u8>(), 0..400), start in 0u64..500, end in 0u64..500) {
        check(&bytes, SliceOffset(start)..SliceOffset(end));
    }
}
