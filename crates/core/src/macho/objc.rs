//! Objective-C metadata: which address implements which method of which class,
//! and which cell holds the offset of which instance variable.
//!
//! The linker leaves a list of classes and one of categories; from a class
//! pointers lead to its read-only part, its method list and its metaclass. All
//! of it is as the runtime reads it before the first message is sent
//! (`class_ro_t`, `category_t`, `ivar_list_t` of the public runtime source).
//! Nothing is looked up through symbols, so stripped images answer as well.

use std::fmt;

use crate::address::VmAddr;
use crate::error::Result;

use super::ChainedFixups;
use super::bytes::{hex, malformed, room_for, text_before_nul, u32_at, u64_at};
use super::file_type::FileType;
use super::image::Image;
use super::method_list::MethodList;
use super::pointer::{Pointer, PointerFormat};

/// The longest name looked at. Names may overlap, so without a bound a small
/// file could make a reader walk it over and over.
const MAX_NAME: usize = 1 << 12;

/// Smallest size of a method in a list; no honest file has more methods than
/// this allows.
const SMALLEST_METHOD: usize = 12;

/// Smallest size of a class or a category.
const SMALLEST_CLASS: usize = 40;

/// Whether a method is sent to instances or to the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MethodKind {
    /// Written with `-`.
    Instance,
    /// Written with `+`.
    Class,
}

/// One method of a class or a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method<'a> {
    /// The class it belongs to. `?` for a category whose class another image
    /// defines and which is bound in a way other than chained fixups.
    pub class: &'a str,
    /// The category that adds it, if one does.
    pub category: Option<&'a str>,
    /// The selector, such as `setBuffer:offset:atIndex:`.
    pub selector: &'a str,
    /// Instance or class method.
    pub kind: MethodKind,
    /// Its first instruction.
    pub implementation: VmAddr,
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.kind == MethodKind::Instance { '-' } else { '+' };
        match self.category {
            Some(category) => write!(f, "{sign}[{}({category}) {}]", self.class, self.selector),
            None => write!(f, "{sign}[{} {}]", self.class, self.selector),
        }
    }
}

/// One instance variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ivar<'a> {
    /// The class that declares it.
    pub class: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Where code loads its offset from: the variable `_OBJC_IVAR_$_Class.name`.
    pub cell: VmAddr,
    /// Bytes from the object to the variable, as linked; the runtime may slide it.
    pub offset: u32,
}

/// Every method of every class and category.
pub fn methods<'a>(image: &Image<'a>) -> Result<Vec<Method<'a>>> {
    let metadata = Metadata::of(image)?;
    let mut count = 0;
    metadata.each_list(|_, list| {
        count += list.len();
        room_for("methods", count, SMALLEST_METHOD, image.bytes().len())
    })?;
    room_for("methods", count, size_of::<Method>(), image.bytes().len())?;
    let mut methods = Vec::with_capacity(count);
    metadata.each_list(|owner, list| {
        for index in 0..list.len() {
            let (selector, implementation) = list.method(&metadata, index)?;
            if image.offset_of(implementation).is_none() {
                return Err(malformed("a method's implementation lies outside the image")
                    .with("class", owner.class)
                    .with("selector", selector)
                    .with("implementation", implementation));
            }
            let Owner { class, category, kind } = owner;
            methods.push(Method { class, category, selector, kind, implementation });
        }
        Ok(())
    })?;
    Ok(methods)
}

/// Every instance variable of every class.
pub fn ivars<'a>(image: &Image<'a>) -> Result<Vec<Ivar<'a>>> {
    let metadata = Metadata::of(image)?;
    let mut count = 0;
    let per_ivar = size_of::<Ivar>();
    metadata.each_class(|class| {
        if let Some(list) = metadata.ivar_list(class)? {
            count += list.count;
        }
        room_for("instance variables", count, per_ivar, image.bytes().len())
    })?;
    let mut ivars = Vec::with_capacity(count);
    metadata.each_class(|class| {
        let Some(list) = metadata.ivar_list(class)? else { return Ok(()) };
        for index in 0..list.count {
            ivars.extend(metadata.ivar(class, list, index)?);
        }
        Ok(())
    })?;
    Ok(ivars)
}

/// Reads through the metadata of one image.
pub struct Metadata<'i, 'a> {
    image: &'i Image<'a>,
    fixups: Option<ChainedFixups<'a>>,
}

#[derive(Clone, Copy)]
struct Owner<'a> {
    class: &'a str,
    category: Option<&'a str>,
    kind: MethodKind,
}

/// A class and the place of its read-only part.
#[derive(Clone, Copy)]
struct Class<'a> {
    at: VmAddr,
    read_only: VmAddr,
    name: &'a str,
}

#[derive(Clone, Copy)]
struct IvarList {
    entries_at: VmAddr,
    entry_size: u64,
    count: usize,
}

impl<'i, 'a> Metadata<'i, 'a> {
    fn of(image: &'i Image<'a>) -> Result<Metadata<'i, 'a>> {
        if !image.is_linked() {
            return Err(malformed("an object file's pointers are not final")
                .with("file-type", image.file_type())
                .next(format!("link it first; a {} has what is needed", FileType::BUNDLE)));
        }
        Ok(Metadata { image, fixups: image.chained_fixups()? })
    }

    /// Bytes from an address to the end of its segment.
    pub fn bytes_from(&self, at: VmAddr) -> Result<&'a [u8]> {
        self.image.bytes_from(at).ok_or_else(|| {
            malformed("Objective-C metadata leads out of the image").with("address", at)
        })
    }

    /// The pointer at an address.
    fn pointer(&self, at: VmAddr) -> Result<Pointer> {
        let raw = u64_at(self.bytes_from(at)?, 0).ok_or_else(|| {
            malformed("Objective-C metadata ends inside a pointer").with("address", at)
        })?;
        Ok(match &self.fixups {
            Some(fixups) => fixups.resolve(at, raw),
            None if raw == 0 => Pointer::Null,
            // Before chained fixups, arm64e images held pointers of this format,
            // threaded through by bind opcodes; in others it decodes to itself.
            None if self.image.architecture().is_arm64e() => {
                PointerFormat::Arm64e.decode(raw, self.image.base()).target
            }
            None => Pointer::Address(VmAddr(raw)),
        })
    }

    /// The address a pointer holds; `None` if it is null or leads elsewhere.
    fn local(&self, at: VmAddr) -> Result<Option<VmAddr>> {
        Ok(match self.pointer(at)? {
            Pointer::Address(address) => Some(address),
            _ => None,
        })
    }

    /// The address a pointer holds, which must lie in this image.
    pub fn required(&self, at: VmAddr, otherwise: &str) -> Result<VmAddr> {
        self.local(at)?.ok_or_else(|| malformed(otherwise).with("pointer-at", at))
    }

    /// The text at an address.
    pub fn text(&self, at: VmAddr) -> Result<&'a str> {
        let bytes = self.bytes_from(at)?;
        let bytes = &bytes[..bytes.len().min(MAX_NAME)];
        text_before_nul(bytes).filter(|text| text.len() < bytes.len()).ok_or_else(|| {
            malformed("a name in Objective-C metadata is not text").with("address", at)
        })
    }

    /// Visits the addresses in the pointer lists of that section name,
    /// whichever segment holds it. Sections may lie over each other, so the
    /// lists together must not claim more than the file could hold.
    fn listed(&self, section: &str, visit: &mut dyn FnMut(VmAddr) -> Result<()>) -> Result<()> {
        let lists = || self.image.sections().iter().filter(|found| found.name == section);
        let count = lists().map(|found| found.bytes.len() / 8).sum();
        room_for("classes", count, SMALLEST_CLASS, self.image.bytes().len())?;
        for found in lists() {
            for index in 0..found.bytes.len() as u64 / 8 {
                let at = found.address.plus(8 * index);
                visit(self.required(at, "a list of classes has a gap")?)?;
            }
        }
        Ok(())
    }

    fn each_class(&self, mut visit: impl FnMut(Class<'a>) -> Result<()>) -> Result<()> {
        self.listed("__objc_classlist", &mut |at| visit(self.class(at)?))
    }

    fn class(&self, at: VmAddr) -> Result<Class<'a>> {
        // The low three bits are flags (Swift, custom retain).
        let data = self.required(at.plus(32), "a class has no data")?;
        let read_only = VmAddr(data.0 & !7);
        let name = self.required(read_only.plus(24), "a class has no name")?;
        Ok(Class { at, read_only, name: self.text(name)? })
    }

    fn each_list(
        &self,
        mut visit: impl FnMut(Owner<'a>, MethodList<'a>) -> Result<()>,
    ) -> Result<()> {
        self.each_class(|class| {
            let owner = Owner { class: class.name, category: None, kind: MethodKind::Instance };
            self.list(class.read_only.plus(32), owner, &mut visit)?;
            let Some(metaclass) = self.local(class.at)? else { return Ok(()) };
            let metaclass = self.class(metaclass)?;
            let owner = Owner { kind: MethodKind::Class, ..owner };
            self.list(metaclass.read_only.plus(32), owner, &mut visit)
        })?;
        for lists in ["__objc_catlist", "__objc_catlist2"] {
            self.listed(lists, &mut |at| self.category(at, &mut visit))?;
        }
        Ok(())
    }

    fn category(
        &self,
        at: VmAddr,
        visit: &mut impl FnMut(Owner<'a>, MethodList<'a>) -> Result<()>,
    ) -> Result<()> {
        let name = self.text(self.required(at, "a category has no name")?)?;
        let class = match self.pointer(at.plus(8))? {
            Pointer::Address(class) => self.class(class)?.name,
            Pointer::Import { ordinal, .. } => self.imported_class(ordinal),
            Pointer::Null => "?",
        };
        let owner = Owner { class, category: Some(name), kind: MethodKind::Instance };
        self.list(at.plus(16), owner, visit)?;
        self.list(at.plus(24), Owner { kind: MethodKind::Class, ..owner }, visit)
    }

    fn imported_class(&self, ordinal: u32) -> &'a str {
        let symbol = self.fixups.as_ref().and_then(|fixups| fixups.import_name(ordinal));
        symbol.map_or("?", |symbol| symbol.strip_prefix("_OBJC_CLASS_$_").unwrap_or(symbol))
    }

    fn list(
        &self,
        pointer_at: VmAddr,
        owner: Owner<'a>,
        visit: &mut impl FnMut(Owner<'a>, MethodList<'a>) -> Result<()>,
    ) -> Result<()> {
        match self.local(pointer_at)? {
            Some(at) => visit(owner, MethodList::read(self, at)?),
            None => Ok(()),
        }
    }

    fn ivar_list(&self, class: Class) -> Result<Option<IvarList>> {
        let Some(at) = self.local(class.read_only.plus(48))? else { return Ok(None) };
        let bytes = self.bytes_from(at)?;
        let head = u32_at(bytes, 0).zip(u32_at(bytes, 4));
        head.filter(|(size, count)| {
            *size >= 32 && u64::from(*size) * u64::from(*count) <= bytes.len() as u64 - 8
        })
        .map(|(size, count)| IvarList {
            entries_at: at.plus(8),
            entry_size: size.into(),
            count: count as usize,
        })
        .map(Some)
        .ok_or_else(|| {
            malformed("a list of instance variables does not fit its segment")
                .with("class", class.name)
                .with("list", hex(at.0))
        })
    }

    /// `None` for the nameless entries that only pad a bit-field.
    fn ivar(&self, class: Class<'a>, list: IvarList, index: usize) -> Result<Option<Ivar<'a>>> {
        let at = list.entries_at.plus(index as u64 * list.entry_size);
        let Some(cell) = self.local(at)? else { return Ok(None) };
        let Some(name) = self.local(at.plus(8))? else { return Ok(None) };
        let offset = u32_at(self.bytes_from(cell)?, 0).ok_or_else(|| {
            malformed("the offset of an instance variable is truncated").with("cell", cell)
        })?;
        Ok(Some(Ivar { class: class.name, name: self.text(name)?, cell, offset }))
    }
}
