//! What the catalogue knows of whole files.

use agxpatch_core::macho::Universal;
use agxpatch_core::patch::Catalogue;

/// A 64-bit image with nothing but a UUID of sevens.
fn image() -> Vec<u8> {
    let header = [0xfeed_facf_u32, 0x0100_000c, 0, 8, 1, 24, 0, 0, 0x1b, 24];
    let words = header.into_iter().chain([0x0707_0707; 4]);
    words.flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_known_build_has_the_digest_and_the_uuid() {
    let mut catalogue = Catalogue::built_in().unwrap();
    for (version, uuid) in [("1", "07070707-0707-0707-0707-070707070707"), ("2", "0ce453ff")] {
        let entry = format!(
            "[[build]]\ndriver = 'D'\nversion = '{version}'\nuuid = '{uuid}'\nmacos = '15'\n\
             hardware = 'H'\nform = 'thin'\nsha256 = 'abc{version}'\nstate = 'original'\n"
        );
        catalogue.add_builds(entry, "here").unwrap();
    }
    let bytes = image();
    let file = Universal::parse(&bytes).unwrap();
    assert_eq!(catalogue.known_build("ABC1", &file).map(|build| build.version.as_str()), Some("1"));
    assert_eq!(catalogue.known_build("abc2", &file), None, "another UUID");
    assert_eq!(catalogue.known_build("abc3", &file), None, "another digest");
}
