//! The synthetic driver, which the reader was not written for.

use agxpatch_core::address::VmAddr;
use agxpatch_core::macho::{Architecture, Universal};
use agxpatch_simulate::driver;

#[test]
fn the_synthetic_driver_answers_every_question() {
    let bytes = driver::build(&driver::Variant::PUBLISHED).unwrap();
    let file = Universal::parse(&bytes).unwrap();
    for slice in &file.slices {
        let image = slice.image().unwrap();
        assert!(!image.function_starts().unwrap().is_empty());
        image.methods().unwrap();
        image.symbols().unwrap();
        if let Some(fixups) = image.chained_fixups().unwrap() {
            assert!(fixups.check(&image).unwrap() > 0);
        }
    }

    let image = file.slice(Architecture::ARM64E).unwrap().image().unwrap();
    let (entry, window, next) = (VmAddr(0x2bdd1c), VmAddr(0x2be05c), VmAddr(0x2be0f4));
    assert_eq!(image.function_containing(window).unwrap(), Some(entry..next));
    let methods = image.methods().unwrap();
    let found = methods.iter().find(|method| method.implementation == entry).unwrap();
    assert_eq!(found.to_string(), "-[AGXG16XFamilyComputeContext destroyImpl]");
    let ivars = image.ivars().unwrap();
    assert!(ivars.iter().any(|ivar| (ivar.name, ivar.cell) == ("_impl", VmAddr(0x758300))));
}
