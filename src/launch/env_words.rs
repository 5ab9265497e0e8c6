//! The words of an `env` command, as far as they can be done without it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::resolve::Variables;

/// What `env` was asked to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EnvWords {
    clear: bool,
    removed: Vec<OsString>,
    set: Vec<(OsString, OsString)>,
    /// Where to look for the program instead of along the PATH.
    pub path: Option<OsString>,
    /// The program and its arguments; empty where `env` would print.
    pub command: Vec<OsString>,
}

/// How deep `-S` may stand inside `-S`.
const MAX_SPLITS: usize = 4;

/// Reads the arguments of `env`. None where one is not known, so that `env`
/// itself has to be started.
pub fn read(arguments: &[OsString]) -> Option<EnvWords> {
    let mut words = EnvWords::default();
    let mut rest: Vec<OsString> = arguments.iter().rev().cloned().collect();
    let mut splits = 0;
    while let Some(word) = rest.pop() {
        match word.as_bytes() {
            b"--" => break,
            b"-" | b"-i" => words.clear = true,
            b"-u" => words.removed.push(rest.pop()?),
            b"-P" => words.path = Some(rest.pop()?),
            b"-S" => {
                let text = rest.pop()?;
                rest.extend(split_again(text.as_bytes(), &mut splits)?);
            }
            [b'-', b'S', text @ ..] => rest.extend(split_again(text, &mut splits)?),
            [b'-', ..] => return None,
            _ => {
                rest.push(word);
                break;
            }
        }
    }
    while let Some(word) = rest.pop() {
        match assignment(&word) {
            Some(pair) => words.set.push(pair),
            None => {
                words.command.push(word);
                break;
            }
        }
    }
    words.command.extend(rest.into_iter().rev());
    Some(words)
}

impl EnvWords {
    /// Does to `variables` what `env` would.
    pub fn apply(&self, variables: &mut Variables) {
        if self.clear {
            variables.clear();
        }
        for name in &self.removed {
            variables.remove(name);
        }
        variables.extend(self.set.iter().cloned());
    }
}

fn assignment(word: &OsStr) -> Option<(OsString, OsString)> {
    let at = word.as_bytes().iter().position(|byte| *byte == b'=')?;
    let (name, value) = word.as_bytes().split_at(at);
    Some((OsStr::from_bytes(name).into(), OsStr::from_bytes(value.get(1..)?).into()))
}

/// The words of a `-S` text, last first.
fn split_again(text: &[u8], splits: &mut usize) -> Option<Vec<OsString>> {
    *splits += 1;
    let mut words = (*splits <= MAX_SPLITS).then(|| split(text))??;
    words.reverse();
    Some(words)
}

/// Splits as `env -S` does: at blanks, with quotes and backslashes. None for an
/// open quote, an escape of its own meaning, or a variable to be put in.
pub(super) fn split(text: &[u8]) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\'' | b'"', None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (b'\'' | b'"', Some(open)) if byte == open => quote = None,
            (b'$', None | Some(b'"')) => return None,
            (b'#', None) if word.is_none() => break,
            (b'\\', None | Some(b'"')) => match bytes.next()? {
                escaped @ (b'\\' | b'\'' | b'"' | b'#' | b'$' | b' ') => {
                    word.get_or_insert_default().push(escaped);
                }
                _ => return None,
            },
            (b' ' | b'\t' | b'\n', None) => words.extend(word.take().map(OsString::from_vec)),
            (byte, _) => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word.map(OsString::from_vec));
    quote.is_none().then_some(words)
}
