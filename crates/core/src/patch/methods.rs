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

/// What an image says of its functions' names.
pub(super) struct Methods<'a> {
    objective_c: ObjectiveC<'a>,
    /// The symbol table, for C and C++ functions.
    symbols: Option<Symbols<'a>>,
    text: Range<VmAddr>,
}

/// What it says of its methods: by the Objective-C metadata, which the runtime itself
/// relies on, or by the symbol table where there is none.
enum ObjectiveC<'a> {
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
/// letters, in the order of addresses; its C and C++ functions where `wanted` is not
/// the name of a method.
pub fn methods_named(image: &Image<'_>, wanted: &str) -> Vec<NamedMethod> {
    let methods = Methods::of(image);
    let wanted = [wanted.to_owned()];
    let mut named: Vec<NamedMethod> = Vec::new();
    methods.each_named(&wanted, |name, address| {
        if name.len() <= MAX_NAME && named.len() < MAX_LISTED {
            named.push(NamedMethod { address, name: name.to_owned() });
        }
    });
    named.sort_by_key(|one| one.address);
    named
}

/// The functions whose names are among `wanted`, as [`methods_named`] finds them.
///
/// # Errors
/// If the table of function starts cannot be read.
pub fn functions_named(image: &Image<'_>, wanted: &[String]) -> Result<Vec<Range<VmAddr>>> {
    Methods::of(image).functions_named(image, wanted)
}

/// Whether a name is that of an Objective-C method.
fn is_method(name: &str) -> bool {
    name.starts_with("-[") || name.starts_with("+[")
}

/// Whether a name may only be that of a C or C++ function. `*` alone asks for methods.
fn is_function(wanted: &str) -> bool {
    !is_method(wanted) && !wanted.starts_with('*')
}

impl<'a> Methods<'a> {
    pub fn of(image: &Image<'a>) -> Methods<'a> {
        let symbols = image.symbols().ok();
        let objective_c = match image.methods() {
            Ok(methods) if !methods.is_empty() => ObjectiveC::Metadata(methods),
            _ => symbols.clone().map_or(ObjectiveC::Unknown, ObjectiveC::Symbols),
        };
        let text = image.text().map_or(VmAddr(0)..VmAddr(0), |text| text.range());
        Methods { objective_c, symbols, text }
    }

    /// Each method's name and first instruction.
    fn each(&self) -> Box<dyn Iterator<Item = (Name<'_, 'a>, VmAddr)> + '_> {
        match &self.objective_c {
            ObjectiveC::Metadata(methods) => {
                Box::new(methods.iter().map(|method| (Name::Method(method), method.implementation)))
            }
            ObjectiveC::Symbols(symbols) => Box::new(
                symbols
                    .iter()
                    .filter(|symbol| symbol.is_defined())
                    .filter(|symbol| is_method(symbol.name))
                    .map(|symbol| (Name::Symbol(symbol.name), symbol.address)),
            ),
            ObjectiveC::Unknown => Box::new(std::iter::empty()),
        }
    }

    /// Each C and C++ function's name, as it stands in the symbol table, and first
    /// instruction.
    fn each_function(&self) -> impl Iterator<Item = (Name<'_, 'a>, VmAddr)> + '_ {
        let symbols = self.symbols.iter().flat_map(Symbols::iter);
        symbols
            .filter(|symbol| symbol.is_defined() && self.text.contains(&symbol.address))
            .filter(|symbol| !is_method(symbol.name))
            .map(|symbol| (Name::Symbol(symbol.name), symbol.address))
    }

    /// What one of `wanted` may name: methods, and functions where one of them does.
    fn each_like(
        &self,
        wanted: &[String],
    ) -> Box<dyn Iterator<Item = (Name<'_, 'a>, VmAddr)> + '_> {
        match wanted.iter().any(|name| is_function(name)) {
            true => Box::new(self.each().chain(self.each_function())),
            false => self.each(),
        }
    }

    /// Whether the image names anything of the kind that `wanted` is about.
    pub fn are_named(&self, wanted: &[String]) -> bool {
        let methods = wanted.iter().any(|name| !is_function(name));
        let functions = wanted.iter().any(|name| is_function(name));
        methods && self.each().next().is_some()
            || functions && self.each_function().next().is_some()
    }

    /// Whether something has one of the `wanted` names.
    pub fn any_named(&self, wanted: &[String]) -> bool {
        let mut any = false;
        self.each_named(wanted, |_, _| any = true);
        any
    }

    /// Calls `found` with the name and the first instruction of all whose name is one
    /// of `wanted`, in which `*` stands for any letters. C's underscore may be left
    /// out.
    fn each_named(&self, wanted: &[String], mut found: impl FnMut(&str, VmAddr)) {
        let mut text = String::new();
        for (name, implementation) in self.each_like(wanted) {
            text.clear();
            let written = write!(text, "{name}").is_ok();
            let fits = |wanted: &String| {
                let plain = || text.strip_prefix('_').is_some_and(|text| glob(wanted, text));
                glob(wanted, &text) || is_function(wanted) && plain()
            };
            if written && wanted.iter().any(fits) {
                found(&text, implementation);
            }
        }
    }

    /// The names that have most in common with one of `wanted`, best first.
    pub fn nearest(&self, wanted: &[String]) -> Vec<String> {
        let mut best: Vec<(usize, String)> = Vec::new();
        let mut text = String::new();
        for (name, _) in self.each_like(wanted).take(MAX_COMPARED) {
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

    /// The symbol of the C or C++ function at an address.
    pub fn function_at(&self, start: VmAddr) -> Option<String> {
        let found = self.each_function().find(|(_, at)| *at == start);
        found.map(|(name, _)| name.to_string()).filter(|name| name.len() <= MAX_NAME)
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
        let mut begin: Vec<VmAddr> = Vec::new();
        self.each_named(wanted, |_, at| begin.push(at));
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
