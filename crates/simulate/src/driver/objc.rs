//! Objective-C metadata as the runtime reads it: classes, methods, variables.
//!
//! Method lists are relative (12 bytes a method: selector reference, types and
//! implementation as distances), class pointers are signed as the arm64e ABI has
//! it, everything else is plain pointers for dyld to fix up. (objc-runtime-new.h)

use std::collections::HashMap;

use super::fixups::{Authentication, Fixups, Key};
use super::layout::{Memory, Segment, flags};
use agxpatch_core::address::VmAddr;

pub(super) struct Method {
    pub(super) selector: &'static str,
    pub(super) implementation: VmAddr,
}

pub(super) struct Variable {
    pub(super) name: &'static str,
    /// Where the runtime keeps its offset.
    pub(super) cell: VmAddr,
    pub(super) offset: u32,
}

pub(super) struct Class {
    pub(super) name: String,
    pub(super) superclass: Parent,
    pub(super) methods: Vec<Method>,
    pub(super) variables: Vec<Variable>,
}

/// A class's superclass.
pub(super) enum Parent {
    /// Of another image: its name, and the library it comes from.
    Imported(&'static str, u8),
    /// Of this one, by its name.
    Own(String),
}

/// Sizes of the runtime's structures.
const CLASS: u64 = 40;
const CLASS_RO: u64 = 72;
const VARIABLE: u64 = 32;
const METHOD: u64 = 12;
const RELATIVE: u32 = 0x8000_0000;
const METACLASS: u32 = 1;

const ISA: Authentication = data_key(0x6ae1);
const SUPERCLASS: Authentication = data_key(0xb5ab);
const CLASS_DATA: Authentication = data_key(0x61f8);
const METHOD_LIST: Authentication = data_key(0xc310);

const fn data_key(discriminator: u16) -> Authentication {
    Authentication { key: Key::DataA, discriminator, by_address: true }
}

/// Strings that stand one after the other, each once.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    places: HashMap<String, u64>,
}

impl Strings {
    fn add(&mut self, text: &str) {
        if !self.places.contains_key(text) {
            self.places.insert(text.to_owned(), self.bytes.len() as u64);
            self.bytes.extend_from_slice(text.as_bytes());
            self.bytes.push(0);
        }
    }

    fn at(&self, start: VmAddr, text: &str) -> VmAddr {
        start.plus(self.places.get(text).copied().unwrap_or_default())
    }
}

/// The metadata of all classes, and where its parts lie.
pub(super) struct Metadata {
    classes: Vec<Class>,
    selectors: Vec<&'static str>,
    names: Strings,
    class_names: Strings,
    types: Strings,
    at: Sections,
}

#[derive(Default)]
struct Sections {
    method_lists: VmAddr,
    names: VmAddr,
    class_names: VmAddr,
    types: VmAddr,
    class_list: VmAddr,
    image_info: VmAddr,
    constants: VmAddr,
    selectors: VmAddr,
    classes: VmAddr,
}

impl Metadata {
    /// `selectors` are what the code sends, every method's among them.
    pub(super) fn new(classes: Vec<Class>, selectors: Vec<&'static str>) -> Metadata {
        let mut names = Strings::default();
        let mut class_names = Strings::default();
        let mut types = Strings::default();
        selectors.iter().for_each(|selector| names.add(selector));
        for class in &classes {
            class_names.add(&class.name);
            class.variables.iter().for_each(|variable| names.add(variable.name));
            class.methods.iter().for_each(|method| types.add(&method_type(method.selector)));
            types.add(VARIABLE_TYPE);
        }
        Metadata { classes, selectors, names, class_names, types, at: Sections::default() }
    }

    /// The selectors, in the order of their references.
    pub(super) fn selectors(&self) -> &[&'static str] {
        &self.selectors
    }

    /// Where the reference to that selector lies.
    pub(super) fn selector_reference(&self, selector: &str) -> VmAddr {
        let index = self.selectors.iter().position(|known| *known == selector);
        self.at.selectors.plus(8 * index.unwrap_or_default() as u64)
    }

    pub(super) fn add_text_sections(&mut self, text: &mut Segment) {
        let size = self.classes.iter().map(|class| 8 + METHOD * class.methods.len() as u64).sum();
        let strings = flags::CSTRINGS;
        self.at.method_lists = text.add("__objc_methlist", size, 3, flags::REGULAR);
        self.at.names = text.add("__objc_methname", self.names.bytes.len() as u64, 0, strings);
        self.at.class_names =
            text.add("__objc_classname", self.class_names.bytes.len() as u64, 0, strings);
        self.at.types = text.add("__objc_methtype", self.types.bytes.len() as u64, 0, strings);
    }

    pub(super) fn add_constant_sections(&mut self, data: &mut Segment) {
        let size = 8 * self.classes.len() as u64;
        self.at.class_list = data.add("__objc_classlist", size, 3, flags::NO_DEAD_STRIP);
        let image_info = if self.classes.is_empty() { 0 } else { 8 };
        self.at.image_info = data.add("__objc_imageinfo", image_info, 0, flags::REGULAR);
    }

    /// The constants of the classes, which hold signed pointers to method lists.
    pub(super) fn add_signed_constants(&mut self, data: &mut Segment) {
        let size = self.classes.iter().map(constants_size).sum();
        self.at.constants = data.add("__objc_const", size, 3, flags::REGULAR);
    }

    pub(super) fn add_data_sections(&mut self, data: &mut Segment) {
        let selectors = 8 * self.selectors.len() as u64;
        let pointers = flags::LITERAL_POINTERS | flags::NO_DEAD_STRIP;
        // First, where code finds them before anything else has its place.
        self.at.selectors = data.add("__objc_selrefs", selectors, 3, pointers);
    }

    /// The class objects, whose pointers are signed.
    pub(super) fn add_class_section(&mut self, data: &mut Segment) {
        let size = 2 * CLASS * self.classes.len() as u64;
        self.at.classes = data.add("__objc_data", size, 3, flags::REGULAR);
    }

    /// The class objects' symbols.
    pub(super) fn class_symbols(&self) -> impl Iterator<Item = (String, VmAddr)> + '_ {
        self.classes.iter().enumerate().flat_map(|(index, class)| {
            let at = self.at.classes.plus(2 * CLASS * index as u64);
            [
                (format!("_OBJC_CLASS_$_{}", class.name), at),
                (format!("_OBJC_METACLASS_$_{}", class.name), at.plus(CLASS)),
            ]
        })
    }

    pub(super) fn write(&self, memory: &mut Memory, fixups: &mut Fixups) {
        memory.put(self.at.names, &self.names.bytes);
        memory.put(self.at.class_names, &self.class_names.bytes);
        memory.put(self.at.types, &self.types.bytes);
        if !self.classes.is_empty() {
            const HAS_CATEGORY_CLASS_PROPERTIES: u8 = 0x40;
            memory.put(self.at.image_info.plus(4), &[HAS_CATEGORY_CLASS_PROPERTIES]);
        }
        for (index, selector) in self.selectors.iter().enumerate() {
            let to = self.names.at(self.at.names, selector);
            fixups.point(self.at.selectors.plus(8 * index as u64), to);
        }
        let (mut list, mut constants) = (self.at.method_lists, self.at.constants);
        for (index, class) in self.classes.iter().enumerate() {
            let object = self.at.classes.plus(2 * CLASS * index as u64);
            fixups.point(self.at.class_list.plus(8 * index as u64), object);
            self.write_class(class, object, constants, list, memory, fixups);
            self.write_methods(class, list, memory);
            list = list.plus(8 + METHOD * class.methods.len() as u64);
            constants = constants.plus(constants_size(class));
        }
    }

    /// The class and its metaclass at `object`; their constants, the metaclass's
    /// first, then the list of variables.
    fn write_class(
        &self,
        class: &Class,
        object: VmAddr,
        constants: VmAddr,
        methods: VmAddr,
        memory: &mut Memory,
        fixups: &mut Fixups,
    ) {
        let meta = object.plus(CLASS);
        let own = constants.plus(CLASS_RO);
        let variables = own.plus(CLASS_RO);
        let cache = fixups.import("__objc_empty_cache", super::names::OBJC);
        let root = fixups.import("_OBJC_METACLASS_$_NSObject", super::names::OBJC);
        fixups.point_signed(object, meta, ISA);
        fixups.bind(meta, root, Some(ISA));
        self.write_superclass(&class.superclass, object, fixups);
        for (place, data) in [(object, own), (meta, constants)] {
            fixups.bind(place.plus(16), cache, None);
            fixups.point_signed(place.plus(32), data, CLASS_DATA);
        }
        let name = self.class_names.at(self.at.class_names, &class.name);
        fixups.point(constants.plus(24), name);
        fixups.point(own.plus(24), name);
        fixups.point_signed(own.plus(32), methods, METHOD_LIST);
        let size = class.variables.iter().map(|variable| variable.offset + 8).max().unwrap_or(8);
        memory.put_words(constants, [METACLASS, 40, 40, 0]);
        memory.put_words(own, [0, 8, size, 0]);
        if !class.variables.is_empty() {
            fixups.point(own.plus(48), variables);
            self.write_variables(class, variables, memory, fixups);
        }
    }

    fn write_superclass(&self, superclass: &Parent, object: VmAddr, fixups: &mut Fixups) {
        let places = [object.plus(8), object.plus(CLASS + 8)];
        match superclass {
            Parent::Imported(name, library) => {
                for (place, kind) in places.into_iter().zip(["CLASS", "METACLASS"]) {
                    let import = fixups.import(&format!("_OBJC_{kind}_$_{name}"), *library);
                    fixups.bind(place, import, Some(SUPERCLASS));
                }
            }
            Parent::Own(name) => {
                let Some(parent) = self.class_object(name) else { return };
                for (place, object) in places.into_iter().zip([parent, parent.plus(CLASS)]) {
                    fixups.point_signed(place, object, SUPERCLASS);
                }
            }
        }
    }

    /// Where the object of the class of that name lies.
    pub(super) fn class_object(&self, name: &str) -> Option<VmAddr> {
        let index = self.classes.iter().position(|class| class.name == name)?;
        Some(self.at.classes.plus(2 * CLASS * index as u64))
    }

    fn write_variables(
        &self,
        class: &Class,
        list: VmAddr,
        memory: &mut Memory,
        fixups: &mut Fixups,
    ) {
        memory.put_words(list, [VARIABLE as u32, class.variables.len() as u32]);
        for (index, variable) in class.variables.iter().enumerate() {
            let entry = list.plus(8 + VARIABLE * index as u64);
            fixups.point(entry, variable.cell);
            fixups.point(entry.plus(8), self.names.at(self.at.names, variable.name));
            fixups.point(entry.plus(16), self.types.at(self.at.types, VARIABLE_TYPE));
            memory.put_words(entry.plus(24), [3, 8]);
        }
    }

    fn write_methods(&self, class: &Class, list: VmAddr, memory: &mut Memory) {
        memory.put_words(list, [RELATIVE | METHOD as u32, class.methods.len() as u32]);
        for (index, method) in class.methods.iter().enumerate() {
            let entry = list.plus(8 + METHOD * index as u64);
            let types = self.types.at(self.at.types, &method_type(method.selector));
            let targets = [self.selector_reference(method.selector), types, method.implementation];
            for (field, target) in targets.into_iter().enumerate() {
                let place = entry.instruction(field);
                memory.put_words(place, [target.distance_from(place) as u32]);
            }
        }
    }
}

fn constants_size(class: &Class) -> u64 {
    let list = 8 + VARIABLE * class.variables.len() as u64;
    2 * CLASS_RO + if class.variables.is_empty() { 0 } else { list }
}

const VARIABLE_TYPE: &str = "^v";

/// Type encoding of a method that takes words and returns nothing, or an object
/// if it makes one.
fn method_type(selector: &str) -> String {
    let arguments = selector.matches(':').count();
    let returned = if selector.starts_with("init") { '@' } else { 'v' };
    let mut types = format!("{returned}{}@0:8", 16 + 8 * arguments);
    for index in 0..arguments {
        types.push_str(&format!("@{}", 16 + 8 * index));
    }
    types
}
