//! JSON that is not whole: cut off, or with strings that were broken into lines.
//!
//! A mail client breaks lines inside strings, which JSON forbids: a line end there is
//! a space. A report that breaks off is closed after its last whole value, so that
//! what came before is read; the reader then says that it is incomplete.

/// An object that can be read after all.
pub struct Repaired {
    /// Its text.
    pub text: String,
    /// How much of the original it was.
    pub consumed: usize,
    /// It breaks off.
    pub cut: bool,
}

/// Deeper nesting is not repaired: no report has it.
const MAX_DEPTH: usize = 64;

/// What the object that begins `text`, which is not JSON as it stands, may have been,
/// the better first; and how far `text` was looked at.
pub fn candidates(text: &str) -> (Vec<Repaired>, usize) {
    let mut lenient = Scan::new(text, true);
    lenient.run();
    let joined = (lenient.is_whole() && lenient.broken_strings > 0).then(|| Repaired {
        text: joined(&text[..lenient.at]),
        consumed: lenient.at,
        cut: false,
    });
    let mut strict = Scan::new(text, false);
    strict.run();
    let consumed = strict.at;
    let closed = strict.safe.map(|(end, open)| {
        let mut whole = text[..end].to_owned();
        whole.extend(open.iter().rev().map(|open| if *open == b'{' { '}' } else { ']' }));
        Repaired { text: whole, consumed, cut: true }
    });
    (joined.into_iter().chain(closed).collect(), lenient.at.max(consumed))
}

/// `text` with the line ends inside its strings taken for spaces.
fn joined(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\n' | '\r' if in_string => {
                // A client may indent what it broke.
                while characters.next_if(|c| c.is_whitespace()).is_some() {}
                whole.push(' ');
                continue;
            }
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        whole.push(c);
    }
    whole
}

/// A walk over JSON that stops where it is none.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether a string may hold a line end.
    lenient: bool,
    broken_strings: usize,
    /// The brackets that are open.
    open: Vec<u8>,
    /// Where the last whole value ended, and what was open there.
    safe: Option<(usize, Vec<u8>)>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str, lenient: bool) -> Scan<'a> {
        let bytes = text.as_bytes();
        Scan { bytes, at: 0, lenient, broken_strings: 0, open: Vec::new(), safe: None }
    }

    fn run(&mut self) {
        while self.step() && !self.is_whole() {}
    }

    fn is_whole(&self) -> bool {
        self.at > 0 && self.open.is_empty()
    }

    /// Goes one token further, if that is JSON.
    fn step(&mut self) -> bool {
        let Some(byte) = self.bytes.get(self.at).copied() else { return false };
        match byte {
            b'"' => return self.string(),
            b'{' | b'[' if self.open.len() < MAX_DEPTH => self.open.push(byte),
            b'}' | b']' => {
                let opener = if byte == b'}' { b'{' } else { b'[' };
                if self.open.pop() != Some(opener) {
                    return false;
                }
                self.safe = Some((self.at + 1, self.open.clone()));
            }
            b',' => self.safe = Some((self.at, self.open.clone())),
            b':' | b'+' | b'-' => {}
            b'.' => return self.after_digit(),
            _ if byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() => {}
            _ => return false,
        }
        self.at += 1;
        true
    }

    /// A point stands inside numbers only.
    fn after_digit(&mut self) -> bool {
        let before = self.at.checked_sub(1).and_then(|before| self.bytes.get(before));
        self.at += 1;
        before.is_some_and(u8::is_ascii_digit)
    }

    fn string(&mut self) -> bool {
        let mut at = self.at + 1;
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += 1,
                Some(b'\n') if self.lenient => self.broken_strings += 1,
                Some(b'\n') | None => {
                    self.at = at.min(self.bytes.len());
                    return false;
                }
                Some(_) => {}
            }
            at += 1;
        }
        self.at = at + 1;
        true
    }
}
