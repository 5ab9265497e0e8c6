//! Text put together in a buffer of fixed size, without allocation.

use core::ffi::CStr;
use core::fmt;

/// Text under construction. What does not fit is left out, and then the whole is none.
pub struct Bounded<'a> {
    buffer: &'a mut [u8],
    length: usize,
    whole: bool,
}

impl<'a> Bounded<'a> {
    /// Begins with nothing.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Bounded { buffer, length: 0, whole: true }
    }

    /// Adds bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        match self.buffer.get_mut(self.length..self.length + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.whole = false,
        }
    }

    /// How many bytes there are. `None` when something did not fit.
    pub fn length(&self) -> Option<usize> {
        self.whole.then_some(self.length)
    }

    /// The bytes. `None` when something did not fit.
    pub fn bytes(self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.buffer.get(..length)
    }

    /// The text, with a NUL at its end and none inside. `None` when it does not fit.
    pub fn c_string(mut self) -> Option<&'a CStr> {
        self.put(b"\0");
        CStr::from_bytes_with_nul(self.bytes()?).ok()
    }
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Bounded;

    #[test]
    fn text_that_does_not_fit_is_marked_as_truncated() {
        let mut buffer = [0; 4];
        let mut text = Bounded::new(&mut buffer);
        text.put(b"abcd");
        assert_eq!(text.length(), Some(4));
        assert_eq!(text.c_string(), None);
        let mut text = Bounded::new(&mut buffer);
        text.put(b"abcde");
        text.put(b"f");
        assert_eq!(text.bytes(), None);
    }

    #[test]
    fn a_c_string_has_one_nul() {
        let mut buffer = [0; 8];
        let mut text = Bounded::new(&mut buffer);
        text.put(b"abc");
        assert_eq!(text.c_string(), Some(c"abc"));
        let mut text = Bounded::new(&mut buffer);
        text.put(b"a\0c");
        assert_eq!(text.c_string(), None);
    }
}
