//! What a pattern's names stood for where it matched.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::address::VmAddr;

/// The kinds of value a name can stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The number of a general register, 0 to 30.
    Register,
    /// A number in an instruction, scaled as it is written in assembly.
    Immediate,
    /// Where a branch goes.
    Address,
}

/// A captured value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// The number of a general register.
    Register(u8),
    /// A number.
    Immediate(i64),
    /// The address a branch goes to.
    Address(VmAddr),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Register(number) => write!(f, "x{number}"),
            Value::Immediate(number) if *number < 0 => write!(f, "#-{:#x}", number.unsigned_abs()),
            Value::Immediate(number) => write!(f, "#{number:#x}"),
            Value::Address(address) => write!(f, "{address}"),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Names and what they stood for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Captures(BTreeMap<String, Value>);

impl Captures {
    /// What `name` stood for.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.0.get(name).copied()
    }

    /// The register `name` stood for.
    pub fn register(&self, name: &str) -> Option<u8> {
        match self.get(name) {
            Some(Value::Register(number)) => Some(number),
            _ => None,
        }
    }

    /// The address `name` stood for.
    pub fn address(&self, name: &str) -> Option<VmAddr> {
        match self.get(name) {
            Some(Value::Address(address)) => Some(address),
            _ => None,
        }
    }

    /// The number `name` stood for.
    pub fn immediate(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(Value::Immediate(number)) => Some(number),
            _ => None,
        }
    }

    /// Records a value; false if the name stood for another one already.
    pub fn agree(&mut self, name: &str, value: Value) -> bool {
        match self.0.get(name) {
            Some(&before) => before == value,
            None => {
                self.0.insert(name.to_owned(), value);
                true
            }
        }
    }

    /// All pairs, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value)> {
        self.0.iter().map(|(name, &value)| (name.as_str(), value))
    }
}
