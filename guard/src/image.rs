//! Which driver image this process runs, seen from inside: where it was loaded from, and what its code is.
//!
//! Pure: the caller brings the path and the bytes. `driver` asks dyld for them on a Mac.

use core::ffi::CStr;

use crate::bounded::Bounded;

/// How the driver came into the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the system's own place.
    System,
    /// Because the guard answered `MetalPluginName`.
    ByName,
    /// Because the guard answered Metal's lookup of the bundle.
    ByLookup,
    /// Because a directory of DYLD_LIBRARY_PATH shadows it.
    ByPath,
    /// Both lead to this one file; which of them was followed cannot be seen, and makes no difference.
    Both,
    /// From somewhere else.
    Elsewhere,
}

impl Way {
    /// As it stands in the report.
    pub fn name(self) -> &'static str {
        match self {
            Way::System => "system",
            Way::ByName => "plugin-name",
            Way::ByLookup => "lookup",
            Way::ByPath => "library-path",
            Way::Both => "both",
            Way::Elsewhere => "elsewhere",
        }
    }
}

/// What the driver's code was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The words of the patch.
    Patched,
    /// The words the patch replaces.
    Original,
    /// Neither.
    Other,
    /// Nothing was given to compare with, or the address is outside the image.
    NotCompared,
}

impl Code {
    /// As it stands in the report.
    pub fn name(self) -> &'static str {
        match self {
            Code::Patched => "patched",
            Code::Original => "original",
            Code::Other => "other",
            Code::NotCompared => "not-compared",
        }
    }
}

/// Where Metal looks for driver bundles.
pub const EXTENSIONS: &str = "/System/Library/Extensions/";
/// Longest path that is compared.
pub const MAX_PATH: usize = 1024;

/// A path with `.` and `..` taken out, by text alone: what dyld reports may still hold the `..` of the plug-in name.
pub fn normalize<'a>(path: &str, buffer: &'a mut [u8; MAX_PATH]) -> Option<&'a str> {
    let mut length = 0usize;
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            let kept = buffer.get(..length)?;
            length = kept.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            continue;
        }
        let end = length + 1 + part.len();
        let place = buffer.get_mut(length..end)?;
        let (slash, name) = place.split_first_mut()?;
        *slash = b'/';
        name.copy_from_slice(part.as_bytes());
        length = end;
    }
    core::str::from_utf8(buffer.get(..length)?).ok()
}

/// Whether a loaded image is an AGX Metal driver, by the name of its file. The counters' tools, `AGXMetalPerfCounters…`, are none.
pub fn is_driver(path: &str) -> bool {
    let leaf = path.rsplit('/').next().unwrap_or_default();
    leaf.strip_prefix("AGXMetal").is_some_and(|gpu| !gpu.starts_with("PerfCounters"))
}

/// The image of the bundle that `plugin` names.
pub fn of_plugin<'a>(plugin: &str, buffer: &'a mut [u8; MAX_PATH]) -> Option<&'a CStr> {
    let parts = [EXTENSIONS, plugin, ".bundle/Contents/MacOS/", plugin.rsplit('/').next()?];
    plain_path(&parts, buffer)
}

/// The bundle that `plugin` names.
pub fn bundle_of_plugin<'a>(plugin: &str, buffer: &'a mut [u8; MAX_PATH]) -> Option<&'a CStr> {
    plain_path(&[EXTENSIONS, plugin, ".bundle"], buffer)
}

/// The image of the bundle at `path`, which is named like it.
pub fn of_bundle<'a>(path: &str, buffer: &'a mut [u8; MAX_PATH]) -> Option<&'a CStr> {
    let name = path.rsplit('/').next()?.strip_suffix(".bundle")?;
    plain_path(&[path, "/Contents/MacOS/", name], buffer)
}

/// A path put together from parts, without `.` and `..`.
fn plain_path<'a>(parts: &[&str], buffer: &'a mut [u8; MAX_PATH]) -> Option<&'a CStr> {
    let (mut raw, mut plain) = ([0; MAX_PATH], [0; MAX_PATH]);
    let mut path = Bounded::new(&mut raw);
    for part in parts {
        path.put(part.as_bytes());
    }
    let path = normalize(core::str::from_utf8(path.bytes()?).ok()?, &mut plain)?;
    let mut image = Bounded::new(buffer);
    image.put(path.as_bytes());
    image.c_string()
}

/// What the guard told Metal of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// Nothing.
    Nothing,
    /// This plug-in name.
    Name(&'a str),
    /// The bundle of this plug-in, when Metal looked it up.
    Lookup(&'a str),
}

/// By which way the image at `path` came, given what Metal was told and the value of DYLD_LIBRARY_PATH.
pub fn way(path: &str, told: Told, library_path: Option<&str>) -> Way {
    let mut buffer = [0; MAX_PATH];
    let Some(path) = normalize(path, &mut buffer) else { return Way::Elsewhere };
    let (plugin, way) = match told {
        Told::Nothing => (None, Way::System),
        Told::Name(plugin) => (Some(plugin), Way::ByName),
        Told::Lookup(plugin) => (Some(plugin), Way::ByLookup),
    };
    match (is_of_plugin(path, plugin), is_shadow(path, library_path)) {
        (true, true) => Way::Both,
        (true, false) => way,
        (false, _) if path.starts_with(EXTENSIONS) => Way::System,
        (false, true) => Way::ByPath,
        (false, false) => Way::Elsewhere,
    }
}

fn is_of_plugin(path: &str, plugin: Option<&str>) -> bool {
    let mut buffer = [0; MAX_PATH];
    let image = plugin.and_then(|plugin| of_plugin(plugin, &mut buffer));
    image.is_some_and(|image| image.to_bytes() == path.as_bytes())
}

fn is_shadow(path: &str, library_path: Option<&str>) -> bool {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    library_path.unwrap_or_default().split(':').any(|entry| {
        let mut buffer = [0; MAX_PATH];
        !entry.is_empty() && normalize(entry, &mut buffer) == Some(directory)
    })
}

/// Words to look for: `ADDRESS:WORD,WORD,…`, all hexadecimal, the address counted from the start of the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Bytes from the image's mach header.
    pub address: usize,
    words: &'a str,
}

impl<'a> Expected<'a> {
    /// Reads the text form.
    pub fn parse(text: &'a str) -> Option<Expected<'a>> {
        let (address, words) = text.split_once(':')?;
        let address = usize::from_str_radix(address.trim_start_matches("0x"), 16).ok()?;
        let expected = Expected { address, words };
        (expected.words().count() > 0 && expected.words().all(|word| word.is_some()))
            .then_some(expected)
    }

    fn words(&self) -> impl Iterator<Item = Option<u32>> + use<'a> {
        self.words.split(',').map(|word| u32::from_str_radix(word, 16).ok())
    }

    /// How many bytes the words fill.
    pub fn size(&self) -> usize {
        self.words().count() * 4
    }

    /// Whether `code`, the bytes at the address, are these words.
    pub fn is(&self, code: &[u8]) -> bool {
        let mut found = code.chunks_exact(4);
        self.words().all(|word| match (word, found.next()) {
            (Some(word), Some(bytes)) => bytes == word.to_le_bytes(),
            _ => false,
        })
    }
}

/// Compares code with the words of the patch and with the words it replaces. `code` answers the bytes at an address, if they
/// lie inside the image.
pub fn compare<'a>(
    patched: Option<Expected>,
    original: Option<Expected>,
    code: impl Fn(usize, usize) -> Option<&'a [u8]>,
) -> Code {
    let is = |expected: Option<Expected>| {
        expected.and_then(|e| code(e.address, e.size()).map(|bytes| e.is(bytes)))
    };
    match (is(patched), is(original)) {
        (Some(true), _) => Code::Patched,
        (_, Some(true)) => Code::Original,
        (None, None) => Code::NotCompared,
        _ => Code::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_told_from_the_path_alone() {
        let plugin = Told::Name("../../../Users/me/Library/agxpatch/24G419/AGXMetalG16X");
        let system = "/System/Library/Extensions/AGXMetalG16X.bundle/Contents/MacOS/AGXMetalG16X";
        let raw = "/System/Library/Extensions/../../../Users/me/Library/agxpatch/24G419/AGXMetalG16X.bundle/Contents/MacOS/AGXMetalG16X";
        let resolved =
            "/Users/me/Library/agxpatch/24G419/AGXMetalG16X.bundle/Contents/MacOS/AGXMetalG16X";
        let shadow = "/Users/me/Library/agxpatch/24G419/shadow";
        assert_eq!(way(system, plugin, None), Way::System);
        assert_eq!(way(raw, plugin, None), Way::ByName);
        assert_eq!(way(resolved, plugin, None), Way::ByName);
        let Told::Name(name) = plugin else { unreachable!() };
        assert_eq!(way(resolved, Told::Lookup(name), None), Way::ByLookup);
        assert_eq!(way(resolved, Told::Nothing, None), Way::Elsewhere);
        assert_eq!(
            way(&format!("{shadow}/AGXMetalG16X"), plugin, Some(&format!("/opt/x:{shadow}/"))),
            Way::ByPath
        );
        assert_eq!(way(system, Told::Nothing, Some("/opt/x")), Way::System);
        let folder = resolved.strip_suffix("/AGXMetalG16X").unwrap();
        assert_eq!(way(resolved, plugin, Some(folder)), Way::Both);
        assert_eq!(way(raw, plugin, Some(folder)), Way::Both);
        assert_eq!(way(resolved, Told::Nothing, Some(folder)), Way::ByPath);
        assert_eq!(way(system, plugin, Some(folder)), Way::System);
        assert_eq!(
            way(
                "/System/Library/Extensions/AGXMetalG16X.bundleX/y",
                Told::Name("AGXMetalG16X"),
                None
            ),
            Way::System
        );
    }

    #[test]
    fn a_driver_is_known_by_its_name_and_the_counters_tools_are_none() {
        for driver in ["/x/AGXMetalG16X", "AGXMetal13_3", "/a b/AGXMetalG14G"] {
            assert!(is_driver(driver), "{driver}");
        }
        for other in ["/x/AGXMetalPerfCountersExternal", "/AGXMetalG16X.bundle/x", ""] {
            assert!(!is_driver(other), "{other}");
        }
    }

    #[test]
    fn the_image_of_a_plug_in_is_a_plain_path() {
        let mut buffer = [0; MAX_PATH];
        let plugin = "../../../Users/me/Application Support/AGXMetalG16X";
        let image =
            c"/Users/me/Application Support/AGXMetalG16X.bundle/Contents/MacOS/AGXMetalG16X";
        assert_eq!(of_plugin(plugin, &mut buffer), Some(image));
        let bundle = c"/Users/me/Application Support/AGXMetalG16X.bundle";
        assert_eq!(bundle_of_plugin(plugin, &mut buffer), Some(bundle));
        assert_eq!(of_bundle(bundle.to_str().unwrap(), &mut buffer), Some(image));
        assert_eq!(of_bundle("/Library/GPUBundles", &mut buffer), None);
        assert_eq!(of_plugin(&"x/".repeat(600), &mut buffer), None);
        assert_eq!(of_plugin("a\0b", &mut buffer), None);
    }

    #[test]
    fn code_is_compared_word_by_word_and_never_beyond_the_image() {
        let image: Vec<u8> = [1u32, 0xaa1f_03f4, 0xf838_6a7f, 4]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let code = |at: usize, size: usize| image.get(at..at + size);
        let patched = Expected::parse("0x4:aa1f03f4,f8386a7f");
        let original = Expected::parse("0x4:8b150320,94105a5c");
        assert!(patched.is_some() && original.is_some());
        assert_eq!(compare(patched, original, code), Code::Patched);
        assert_eq!(compare(original, patched, code), Code::Original);
        assert_eq!(compare(original, None, code), Code::Other);
        assert_eq!(compare(Expected::parse("c:4,5"), None, code), Code::NotCompared);
        assert_eq!(compare(None, None, code), Code::NotCompared);
        for wrong in ["", "4", "4:", "zz:1", "4:xyz", "4:1,,2"] {
            assert_eq!(Expected::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn paths_lose_their_dots_and_never_climb_above_the_root() {
        let mut buffer = [0; MAX_PATH];
        assert_eq!(normalize("/a/./b//../c", &mut buffer), Some("/a/c"));
        assert_eq!(normalize("/../../x", &mut buffer), Some("/x"));
        assert_eq!(normalize(&"/x".repeat(600), &mut buffer), None);
    }
}
