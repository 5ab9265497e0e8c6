//! The methods an image names, and which of them a signature is for.
//!
//! Nothing is copied: names may overlap in a file, so that those of a hostile
//! one add up to far more than the file is long.

use std::fmt::{self, Write};
use std::ops::Range;

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

    /// Where the methods whose name is `wanted`, in which `*` stands for any
    /// letters, begin.
    pub fn named<'m>(&'m self, wanted: &'m str) -> impl Iterator<Item = VmAddr> + 'm {
        let mut text = String::new();
        self.each().filter_map(move |(name, implementation)| {
            text.clear();
            let written = write!(text, "{name}").is_ok();
            (written && glob(wanted, &text)).then_some(implementation)
        })
    }

    /// The method that begins in `function`.
    pub fn beginning_in(&self, function: &Range<VmAddr>) -> Option<String> {
        let found = self.each().find(|(_, implementation)| function.contains(implementation));
        found.map(|(name, _)| name.to_string())
    }

    /// The functions in which the methods named `wanted` begin, in order.
    pub fn functions_named(&self, image: &Image<'a>, wanted: &str) -> Result<Vec<Range<VmAddr>>> {
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
    use super::glob;

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
