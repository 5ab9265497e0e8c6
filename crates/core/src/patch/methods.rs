//! The methods an image names, and which of them a signature is for.
//!
//! Nothing is copied: names may overlap in a file, so that those of a hostile
//! one add up to far more than the file is long.

use std::fmt::{self, Write};
use std::ops::Range;

use serde::Serialize;

use crate::address::VmAddr;
use crate::error::Result;
use crate::macho::{Image, Method, Symbols};

/// What an image says of its methods: by the Objective-C metadata, which the
/// runtime itself relies on, or by the symbol table where there is none.
pub(super) enum Methods<'a> {
    Metadata(Vec<Method<'a>>),
    Symbols(Symbols<'a>),
    Unknown,
}

/// A method's name, such as `-[Class selector]`.
pub(super) enum Name<'m, 'a> {
    Method(&'m Method<'a>),
    Symbol(&'a str),
}

/// A method that an image names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedMethod {
    /// Its first instruction.
    pub address: VmAddr,
    /// Its name, such as `-[Class selector]`.
    pub name: String,
}

/// More methods than this are not listed, nor names longer than [`MAX_NAME`]: those of
/// a hostile file may add up to far more than the file is long.
const MAX_LISTED: usize = 100_000;

/// The methods of an image whose names fit `wanted`, in which `*` stands for any
/// letters, in the order of addresses.
pub fn methods_named(image: &Image<'_>, wanted: &str) -> Vec<NamedMethod> {
    let methods = Methods::of(image);
    let named = methods.by_address().into_iter().filter_map(|(address, name)| {
        let name = name.to_string();
        (name.len() <= MAX_NAME && glob(wanted, &name)).then_some(NamedMethod { address, name })
    });
    named.take(MAX_LISTED).collect()
}

impl<'a> Methods<'a> {
    pub fn of(image: &Image<'a>) -> Methods<'a> {
        match image.methods() {
            Ok(methods) if !methods.is_empty() => Methods::Metadata(methods),
            _ => image.symbols().map_or(Methods::Unknown, Methods::Symbols),
        }
    }

    /// Each method's name and first instruction.
    fn each(&self) -> Box<dyn Iterator<Item = (Name<'_, 'a>, VmAddr)> + '_> {
        match self {
            Methods::Metadata(methods) => {
                Box::new(methods.iter().map(|method| (Name::Method(method), method.implementation)))
            }
            Methods::Symbols(symbols) => Box::new(
                symbols
                    .iter()
                    .filter(|symbol| symbol.is_defined())
                    .filter(|symbol| symbol.name.starts_with("-[") || symbol.name.starts_with("+["))
                    .map(|symbol| (Name::Symbol(symbol.name), symbol.address)),
            ),
            Methods::Unknown => Box::new(std::iter::empty()),
        }
    }

    /// Whether the image names any method.
    pub fn are_named(&self) -> bool {
        self.each().next().is_some()
    }

    /// Whether a method has one of the `wanted` names.
    pub fn any_named(&self, wanted: &[String]) -> bool {
        self.named(wanted).next().is_some()
    }

    /// Where the methods whose name is one of `wanted`, in which `*` stands for any
    /// letters, begin.
    fn named<'m>(&'m self, wanted: &'m [String]) -> impl Iterator<Item = VmAddr> + 'm {
        let mut text = String::new();
        self.each().filter_map(move |(name, implementation)| {
            text.clear();
            let written = write!(text, "{name}").is_ok();
            let fits = |wanted: &String| glob(wanted, &text);
            (written && wanted.iter().any(fits)).then_some(implementation)
        })
    }

    /// The names that have most in common with one of `wanted`, best first.
    pub fn nearest(&self, wanted: &[String]) -> Vec<String> {
        let mut best: Vec<(usize, String)> = Vec::new();
        let mut text = String::new();
        for (name, _) in self.each().take(MAX_COMPARED) {
            text.clear();
            if write!(text, "{name}").is_err() || text.len() > MAX_NAME {
                continue;
            }
            let shared = wanted.iter().map(|wanted| in_common(wanted, &text)).max().unwrap_or(0);
            let full = best.len() == MAX_NEAREST;
            if full && best.last().is_some_and(|(least, _)| shared <= *least) {
                continue;
            }
            best.truncate(MAX_NEAREST - 1);
            best.push((shared, text.clone()));
            best.sort_by_key(|(shared, _)| std::cmp::Reverse(*shared));
        }
        best.into_iter().map(|(_, name)| name).collect()
    }

    /// The method that begins in `function`.
    pub fn beginning_in(&self, function: &Range<VmAddr>) -> Option<String> {
        let found = self.each().find(|(_, implementation)| function.contains(implementation));
        found.map(|(name, _)| name.to_string())
    }

    /// Every method with its first instruction, in the order of addresses.
    pub fn by_address(&self) -> Vec<(VmAddr, Name<'_, 'a>)> {
        let mut methods: Vec<_> = self.each().map(|(name, at)| (at, name)).collect();
        methods.sort_by_key(|(at, _)| *at);
        methods
    }

    /// The functions in which the methods named one of `wanted` begin, in order.
    pub fn functions_named(
        &self,
        image: &Image<'a>,
        wanted: &[String],
    ) -> Result<Vec<Range<VmAddr>>> {
        let starts = image.function_starts()?;
        let mut functions: Vec<Range<VmAddr>> = Vec::new();
        let mut begin: Vec<VmAddr> = self.named(wanted).collect();
        begin.sort_unstable();
        for at in begin {
            if functions.last().is_some_and(|last| at < last.end) {
                continue;
            }
            let next = starts.partition_point(|start| *start <= at);
            match (next.checked_sub(1).map(|this| starts[this]), starts.get(next)) {
                (Some(start), Some(&end)) => functions.push(start..end),
                _ => functions.extend(image.function_containing(at)?),
            }
        }
        Ok(functions)
    }
}

impl fmt::Display for Name<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Method(method) => method.fmt(f),
            Name::Symbol(name) => f.write_str(name),
        }
    }
}

/// How many names an error shows that are like the ones wanted.
const MAX_NEAREST: usize = 3;

/// Names longer than this, in bytes, are not compared with the ones wanted, nor are
/// more names than this, for the comparison takes the product of their lengths.
const MAX_NAME: usize = 256;
const MAX_COMPARED: usize = 20_000;

/// How many letters a name shares with a wanted one: for each part between stars,
/// the longest run of letters that both have.
fn in_common(wanted: &str, name: &str) -> usize {
    wanted.split('*').map(|part| longest_shared(part.as_bytes(), name.as_bytes())).sum()
}

/// The length of the longest run of bytes that stands in both.
fn longest_shared(one: &[u8], other: &[u8]) -> usize {
    // `runs[i]` is the length of the run that ends before `other[i]`.
    let mut runs = vec![0; other.len() + 1];
    let mut longest = 0;
    for byte in one {
        for index in (0..other.len()).rev() {
            runs[index + 1] = if other[index] == *byte { runs[index] + 1 } else { 0 };
            longest = longest.max(runs[index + 1]);
        }
    }
    longest
}

/// Whether `text` is `pattern`, in which `*` stands for any letters.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut text) = text.strip_prefix(head) else { return false };
    for part in middle.split('*') {
        // The first place that fits leaves the most for what follows.
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::{glob, in_common};

    #[test]
    fn names_of_the_same_class_or_selector_come_nearest() {
        let wanted = "-[AGX*FamilyComputeContext destroyImpl]";
        let misspelt = in_common(wanted, "-[AGXG16XFamilyComputeContext destroyImp]");
        let other_selector = in_common(wanted, "-[AGXG16XFamilyComputeContext dealloc]");
        let other = in_common(wanted, "-[NSObject description]");
        assert!(misspelt > other_selector && other_selector > other);
    }

    #[test]
    fn a_star_stands_for_any_letters_and_nothing_else_does() {
        let pattern = "-[AGX*FamilyComputeContext destroyImpl]";
        assert!(glob(pattern, "-[AGXG16XFamilyComputeContext destroyImpl]"));
        assert!(glob(pattern, "-[AGXFamilyComputeContext destroyImpl]"));
        assert!(!glob(pattern, "-[AGXG16XFamilyBlitContext destroyImpl]"));
        assert!(!glob(pattern, "-[AGXG16XFamilyComputeContext destroyImpl]x"));
    }

    #[test]
    fn several_stars_share_the_letters_between_them() {
        assert!(glob("*", "") && glob("a*", "a") && glob("*a*b*", "xaxbx") && glob("**", "x"));
        assert!(glob("a*b*b", "abb") && !glob("a*b*b", "ab"));
        assert!(!glob("a*a", "a") && !glob("*a*b*", "ba"));
    }

    #[test]
    fn many_stars_take_no_longer_than_the_text_is_long() {
        let (pattern, text) = ("*a".repeat(40) + "b", "a".repeat(4000));
        assert!(!glob(&pattern, &text));
    }
}
