//! JSON in a buffer of fixed size, written without allocation: the report may be asked for when little else works.

use core::fmt::{self, Write};

use crate::bounded::Bounded;

/// A JSON object under construction.
pub struct Json<'a> {
    text: Bounded<'a>,
    first: bool,
}

impl<'a> Json<'a> {
    /// Begins an object.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        let mut json = Json { text: Bounded::new(buffer), first: true };
        json.put(b"{");
        json
    }

    /// A string member.
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    /// A string member, its text in parts.
    pub fn text_of(&mut self, name: &str, parts: &[&str]) {
        self.name(name);
        self.put(b"\"");
        parts.iter().for_each(|part| self.escaped(part));
        self.put(b"\"");
    }

    /// A string member that says a number in hex.
    pub fn hex(&mut self, name: &str, value: usize) {
        self.name(name);
        let _ = write!(self, "\"{value:#x}\"");
    }

    /// Begins a member that is a list; [`Json::close_list`] ends it.
    pub fn open_list(&mut self, name: &str) {
        self.name(name);
        self.put(b"[");
        self.first = true;
    }

    /// A string of a list.
    pub fn item(&mut self, text: &str) {
        self.comma();
        self.quoted(text);
    }

    /// An object of a list: one more number, and then the members of an object that is written already.
    pub fn object_before(&mut self, name: &str, value: u64, rest: &str) {
        self.comma();
        self.put(b"{");
        self.first = true;
        self.number(name, value);
        self.put(b",");
        self.put(rest.trim_start_matches('{').trim_end().as_bytes());
    }

    /// Ends the innermost list.
    pub fn close_list(&mut self) {
        self.put(b"]");
        self.first = false;
    }

    /// A member with a number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        let _ = write!(self, "{value}");
    }

    /// A member with a number, its name in parts.
    pub fn number_called(&mut self, name: &[&str], value: u64) {
        self.comma();
        self.put(b"\"");
        name.iter().for_each(|part| self.escaped(part));
        self.put(b"\":");
        let _ = write!(self, "{value}");
    }

    /// A member that is true or false.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        self.put(if value { b"true" } else { b"false" });
    }

    /// Begins a member that is an object; [`Json::close`] ends it.
    pub fn open(&mut self, name: &str) {
        self.name(name);
        self.put(b"{");
        self.first = true;
    }

    /// Ends the innermost object.
    pub fn close(&mut self) {
        self.put(b"}");
        self.first = false;
    }

    /// Ends the whole object. `None` when it did not fit.
    pub fn finish(mut self) -> Option<usize> {
        self.put(b"}\n");
        self.text.length()
    }

    fn comma(&mut self) {
        if !self.first {
            self.put(b",");
        }
        self.first = false;
    }

    fn name(&mut self, name: &str) {
        self.comma();
        self.quoted(name);
        self.put(b":");
    }

    fn quoted(&mut self, text: &str) {
        self.put(b"\"");
        self.escaped(text);
        self.put(b"\"");
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '"' => self.put(b"\\\""),
                '\\' => self.put(b"\\\\"),
                control if (control as u32) < 0x20 => {
                    let _ = write!(self, "\\u{:04x}", control as u32);
                }
                other => self.put(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.text.put(bytes);
    }
}

impl Write for Json<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn an_object_is_json_whatever_the_text_holds() {
        let mut buffer = [0; 256];
        let mut json = Json::new(&mut buffer);
        json.text("path", "a\"b\\c\n\u{e9}");
        json.open("counters");
        json.number("calls", 7);
        json.close();
        json.flag("answered", false);
        let length = json.finish().unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert_eq!(
            text,
            "{\"path\":\"a\\\"b\\\\c\\u000a\u{e9}\",\"counters\":{\"calls\":7},\"answered\":false}\n"
        );
    }

    #[test]
    fn an_object_that_does_not_fit_is_not_passed_off_as_whole() {
        let mut buffer = [0; 8];
        let mut json = Json::new(&mut buffer);
        json.text("path", "too long");
        assert_eq!(json.finish(), None);
    }
}
