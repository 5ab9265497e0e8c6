//! Asks a file everything there is to ask.

use agxpatch_core::Error;
use agxpatch_core::macho::{Image, Universal};

/// Every question, every answer thrown away; the first refusal of the table or
/// of the load commands is returned.
pub fn everything(bytes: &[u8]) -> Result<(), Error> {
    for slice in Universal::parse(bytes)?.slices {
        image(&slice.image()?);
    }
    Ok(())
}

fn image(image: &Image) {
    let starts = image.function_starts().unwrap_or_default();
    for start in starts.iter().take(50) {
        let _ = image.function_containing(*start);
        if let Some(offset) = image.offset_of(*start) {
            assert_eq!(image.address_of(offset), Some(*start));
        }
    }
    for section in image.sections() {
        let _ = image.words(section.range()).map(|words| words.len());
    }
    let _ = image.text().map(|text| text.bytes.len());
    let _ = image.symbols().map(|symbols| symbols.iter().count());
    let _ = image.methods();
    let _ = image.ivars();
    if let Ok(Some(fixups)) = image.chained_fixups() {
        let _ = fixups.check(image);
        assert_eq!(fixups.import_name(u32::MAX), None);
    }
}
