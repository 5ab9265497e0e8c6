//! The images of a report: which of them the driver is, and which programs.
//!
//! A report lists some four hundred, of which few are looked at: those whose text
//! holds a name that is wanted.

use memchr::memmem;
use serde_json::value::RawValue;

use super::super::facts::{DRIVER, Driver, Facts, Location, image_name, is_driver, keep};
use super::super::programs;
use super::schema::{Image, Range};

/// An image that is not an object has no name.
pub(super) fn parse(image: &RawValue) -> Option<Image<'_>> {
    serde_json::from_str(image.get()).ok()
}

/// Those of `images` whose text holds one of `needles`: few among hundreds, so only
/// these are taken apart.
fn holding<'a>(images: &[&'a RawValue], needles: &[&str]) -> Vec<Image<'a>> {
    let finders: Vec<_> = needles.iter().map(|needle| memmem::Finder::new(*needle)).collect();
    let holds = |image: &&&RawValue| {
        let text = image.get().as_bytes();
        finders.iter().any(|finder| finder.find(text).is_some())
    };
    images.iter().filter(holds).filter_map(|image| parse(image)).collect()
}

/// The first image that is a driver.
pub(super) fn driver(images: &[&RawValue], cache: Range) -> Option<Driver> {
    holding(images, &[DRIVER]).iter().find_map(|image| image.driver(cache))
}

pub(super) fn add_programs(images: &[&RawValue], facts: &mut Facts) {
    for image in holding(images, &programs::NEEDLES) {
        let name = image.name().unwrap_or_default();
        let (path, uuid) = (image.path.0.as_ref(), image.uuid.0.as_ref());
        let version = image.short_version.0.as_ref();
        programs::add(&mut facts.programs, &programs::Image { name: &name, path, uuid, version });
    }
}

impl Image<'_> {
    pub(super) fn name(&self) -> Option<String> {
        let name = self.name.keep().or_else(|| keep(self.path.0.rsplit('/').next()?))?;
        Some(image_name(&name))
    }

    fn driver(&self, cache: Range) -> Option<Driver> {
        let name = self.name()?;
        is_driver(&name).then(|| Driver {
            name,
            version: self.short_version.keep().or_else(|| self.version.keep()),
            uuid: self.uuid.keep().map(|uuid| uuid.to_lowercase()),
            location: self.location(cache),
        })
    }

    /// By the bounds that the report itself gives: the cache's address differs from
    /// Mac to Mac.
    fn location(&self, cache: Range) -> Option<Location> {
        let (base, start) = (self.base.0?, cache.base.0?);
        let end = start.checked_add(cache.size.0?)?;
        Some(if (start..end).contains(&base) { Location::SharedCache } else { Location::File })
    }
}
