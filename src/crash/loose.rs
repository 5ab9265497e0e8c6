//! JSON values read with little insistence on their type.
//!
//! Fields of a report have changed type between macOS versions (`bug_type` was
//! a number once), and a field that is not needed must not make the report
//! unreadable. These take what they can use and drain the rest. Strings are
//! borrowed from the input where JSON permits: a report is some 200 KB and all
//! but a few hundred bytes of it are looked at and left.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::facts::{MAX_MESSAGES, keep};

/// A string, or a number written out; anything else is empty.
#[derive(Clone, Debug, Default)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    /// A bounded copy, nothing if empty.
    pub fn keep(&self) -> Option<String> {
        keep(&self.0)
    }
}

/// An unsigned number, also one in a string; anything else is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Number(pub Option<u64>);

/// Every string found in a value of any shape, as far as the bounds go.
#[derive(Clone, Debug, Default)]
pub struct Messages(pub Vec<String>);

/// A sequence of which only the first `N` elements are kept.
#[derive(Clone, Debug)]
pub struct First<T, const N: usize>(pub Vec<T>);

impl<T, const N: usize> Default for First<T, N> {
    fn default() -> Self {
        First(Vec::new())
    }
}

macro_rules! drained {
    ($de:lifetime, $value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

macro_rules! drained_containers {
    ($de:lifetime, $value:expr) => {
        fn visit_seq<A: SeqAccess<$de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
        fn visit_map<A: MapAccess<$de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }
            drained!('de, Text::default());
            drained_containers!('de, Text::default());
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Number(Some(number)))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Number(u64::try_from(number).ok()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                let number = match text.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16),
                    None => text.parse(),
                };
                Ok(Number(number.ok()))
            }
            drained!('de, Number(None));
            drained_containers!('de, Number(None));
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Messages {
    fn add(&mut self, more: Messages) {
        let room = MAX_MESSAGES.saturating_sub(self.0.len());
        self.0.extend(more.0.into_iter().take(room));
    }
}

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Messages;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Messages(keep(text).into_iter().collect()))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Messages::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Messages::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Messages::default();
                while let Some(more) = seq.next_element()? {
                    all.add(more);
                }
                Ok(all)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Messages::default();
                while let Some((IgnoredAny, more)) = map.next_entry()? {
                    all.add(more);
                }
                Ok(all)
            }
            drained!('de, Messages::default());
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for First<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T, const N: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Reader<T, N> {
            type Value = First<T, N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < N {
                    match seq.next_element()? {
                        Some(element) => kept.push(element),
                        None => return Ok(First(kept)),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(kept))
            }
        }
        deserializer.deserialize_seq(Reader(std::marker::PhantomData))
    }
}
