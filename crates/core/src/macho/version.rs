//! Identity and versions as load commands carry them.

use std::fmt;

use serde::{Serialize, Serializer};

/// `LC_UUID`: names one build of one image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// `LC_SOURCE_VERSION`: five numbers A.B.C.D.E in 24, 10, 10, 10 and 10 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceVersion(pub u64);

/// Three numbers X.Y.Z in 16, 8 and 8 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackedVersion(pub u32);

/// The platform number of a build version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform(pub u32);

/// `LC_BUILD_VERSION`, or the older `LC_VERSION_MIN_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BuildVersion {
    /// What it was built for.
    pub platform: Platform,
    /// The oldest system it runs on.
    pub minimum: PackedVersion,
    /// The SDK it was built with.
    pub sdk: PackedVersion,
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Display for SourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ten = |shift: u32| (self.0 >> shift) & 0x3ff;
        let parts = [self.0 >> 40, ten(30), ten(20), ten(10), ten(0)];
        let shown = parts.iter().rposition(|&part| part != 0).map_or(2, |last| (last + 1).max(2));
        write!(f, "{}", parts[0])?;
        parts[1..shown].iter().try_for_each(|part| write!(f, ".{part}"))
    }
}

impl fmt::Display for PackedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = (self.0 >> 16, (self.0 >> 8) & 0xff, self.0 & 0xff);
        write!(f, "{major}.{minor}")?;
        if patch == 0 { Ok(()) } else { write!(f, ".{patch}") }
    }
}

impl Platform {
    /// macOS, which is platform 1.
    pub const MACOS: Platform = Platform(1);
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "macOS",
            2 => "iOS",
            3 => "tvOS",
            4 => "watchOS",
            5 => "bridgeOS",
            6 => "Mac Catalyst",
            7 => "iOS simulator",
            8 => "tvOS simulator",
            9 => "watchOS simulator",
            10 => "DriverKit",
            11 => "visionOS",
            12 => "visionOS simulator",
            number => return write!(f, "platform {number}"),
        })
    }
}

macro_rules! shown_as_text {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

shown_as_text!(Uuid SourceVersion PackedVersion Platform);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_print_as_apple_prints_them() {
        assert_eq!(SourceVersion(329 << 40 | 2 << 30).to_string(), "329.2");
        assert_eq!(SourceVersion(0).to_string(), "0.0");
        assert_eq!(SourceVersion(1 << 40 | 5).to_string(), "1.0.0.0.5");
        assert_eq!(PackedVersion(0x000f_0703).to_string(), "15.7.3");
        assert_eq!(PackedVersion(0x000f_0000).to_string(), "15.0");
    }

    #[test]
    fn a_uuid_prints_in_five_groups() {
        let uuid = Uuid(*b"\x0c\xe4\x53\xff\x9f\x17\x32\x1f\xbc\x18\x38\x35\x73\xa4\x82\x21");
        assert_eq!(uuid.to_string(), "0ce453ff-9f17-321f-bc18-383573a48221");
    }
}
