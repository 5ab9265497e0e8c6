//! What went wrong, as a value a person can act on.
//!
//! One type crosses every module border: a stable [`Code`], one plain sentence,
//! the context as pairs, and what to do next. The codes stand in one table
//! (`codes.rs`) so that a number found in a log leads to its meaning; what to do
//! where the place knows nothing better stands in another (`advice.rs`). Modules
//! keep richer types inside where they need to match on them.

mod advice;
mod codes;

pub use codes::Code;

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::exit::Exit;

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error as it reaches a person or a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    code: Code,
    message: String,
    context: Vec<(&'static str, String)>,
    /// The names in `context` that stand for lists, however few their values.
    lists: Vec<&'static str>,
    next: Option<String>,
}

impl Error {
    /// `message` is one plain sentence without a full stop.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Parts {
            code,
            message: message.into(),
            context: Vec::new(),
            lists: Vec::new(),
            next: None,
        }))
    }

    /// Adds a fact: a path, an offset, a command's output.
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Error {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Adds facts of one kind, of which JSON makes a list.
    pub fn with_each(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = impl fmt::Display>,
    ) -> Error {
        self.0.lists.push(name);
        self.0.context.extend(values.into_iter().map(|value| (name, value.to_string())));
        self
    }

    /// Says what the reader can do about it.
    pub fn next(mut self, advice: impl Into<String>) -> Error {
        self.0.next = Some(advice.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The exit code this error ends the program with.
    pub fn exit(&self) -> Exit {
        self.0.code.exit()
    }

    /// The one-sentence message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The facts, in the order they were added.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// What to do next, as the place that made the error knows it.
    pub fn advice(&self) -> Option<&str> {
        self.0.next.as_deref()
    }

    /// What to do next: that, or else what its code advises.
    pub fn what_next(&self) -> Option<&str> {
        self.advice().or_else(|| self.0.code.advice())
    }
}

impl Error {
    /// The context with one member a name. A name that stands for a list, or that
    /// occurs more than once, has an array.
    fn context_by_name(&self) -> serde_json::Map<String, serde_json::Value> {
        use serde_json::{Map, Value, map::Entry};
        let lists = self.0.lists.iter().map(|name| ((*name).to_owned(), Value::Array(Vec::new())));
        let mut context: Map<String, Value> = lists.collect();
        for (name, value) in &self.0.context {
            let value = Value::from(value.clone());
            match context.entry(*name) {
                Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                Entry::Occupied(entry) => match entry.into_mut() {
                    Value::Array(list) => list.push(value),
                    single => {
                        let first = single.take();
                        *single = Value::Array(vec![first, value]);
                    }
                },
            }
        }
        context
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.0.message, self.0.code)
    }
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let context = self.context_by_name();
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("code", self.0.code.as_str())?;
        map.serialize_entry("message", &self.0.message)?;
        map.serialize_entry("context", &context)?;
        map.serialize_entry("next", &self.what_next())?;
        map.end()
    }
}
