//! A page for people: one file, no script, nothing fetched.
//!
//! Colours follow the reader's choice of light or dark. This is what stands around
//! the contents; each page draws and tabulates its own. All text from elsewhere
//! passes [`escape`], because a process may be named anything.

use std::fmt::{Result, Write};

const STYLE: &str = include_str!("page.css");

/// What every page has.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// The title and first heading, in words of this program.
    pub title: &'a str,
    /// One sentence that says the most important.
    pub lead: &'a str,
    /// When and from what it was made.
    pub made: &'a str,
}

impl Frame<'_> {
    /// The page as HTML, with what `contents` writes between heading and footer.
    pub fn around(self, contents: impl FnOnce(&mut String) -> Result) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, contents);
        out
    }

    fn write(self, out: &mut String, contents: impl FnOnce(&mut String) -> Result) -> Result {
        let Frame { title, lead, made } = self;
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n<p class=\"lead\">{}</p>\n",
            escape(lead)
        )?;
        contents(out)?;
        writeln!(out, "<footer>{}</footer>\n</main>\n</body>\n</html>", escape(made))
    }
}

/// `text` with the characters that mean something to HTML written as entities.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
