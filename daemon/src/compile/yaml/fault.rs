use std::fmt;

use serde::{
    Deserialize,
    de::{self, Expected, Unexpected, value::MapDeserializer},
};

use super::Place;

/// Why a value of the tree is not what its place wants.
#[derive(Debug)]
pub(in crate::compile) struct Fault {
    /// Where it is; the reader fills it in on the way out.
    pub(super) place: Option<Place>,
    /// The innermost entry or item that has the fault in it: reading goes on without it.
    pub(super) within: Option<Place>,
    pub(in crate::compile) what: What,
}

/// The kinds of faults.
#[derive(Debug)]
pub(in crate::compile) enum What {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        known: &'static [&'static str],
    },
    MissingKey(&'static str),
    /// In words.
    Wrong(String),
}

impl Fault {
    pub(super) fn new(what: What) -> Self {
        Self { place: None, within: None, what }
    }

    /// Where it is, if anywhere.
    pub(in crate::compile) fn place(&self) -> Place {
        self.place.unwrap_or_default()
    }

    /// What to leave out when reading again.
    pub(in crate::compile) fn within(&self) -> Option<Place> {
        self.within
    }

    /// Says where it is, unless something further inside has.
    pub(super) fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    /// Says which entry or item has it, unless something further inside has.
    pub(super) fn inside(mut self, entry: Place) -> Self {
        self.within.get_or_insert(entry);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::UnknownKey { key, .. } => write!(f, "unknown key `{key}`"),
            What::UnknownWord { word, .. } => write!(f, "unknown word `{word}`"),
            What::MissingKey(key) => write!(f, "missing key `{key}`"),
            What::Wrong(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Wrong(message.to_string()))
    }

    fn invalid_type(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {}, got {}", Words(&expected.to_string()), Shown(got)))
    }

    fn invalid_value(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(got, expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownWord { word: word.to_owned(), known })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownKey { key: key.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(What::MissingKey(key))
    }
}

/// What serde expects, in words of YAML rather than of Rust.
struct Words<'a>(&'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = |letter| self.0.strip_prefix(letter).and_then(|bits| bits.parse::<u32>().ok());
        match (self.0, bits('u'), bits('i'), bits('f')) {
            (_, Some(bits), ..) if bits < 64 => {
                write!(f, "a whole number from 0 to {}", (1_u64 << bits) - 1)
            }
            (_, Some(_), ..) | ("usize", ..) => f.write_str("a whole number from 0"),
            (_, _, Some(_), _) | ("isize" | "integer", ..) => f.write_str("a whole number"),
            (.., Some(_)) | ("a floating point number", ..) => f.write_str("a number"),
            ("a boolean", ..) => f.write_str("true or false"),
            ("a string" | "a borrowed string" | "a character", ..) => f.write_str("text"),
            ("a sequence", ..) => f.write_str("a list"),
            ("a map", ..) => f.write_str("a mapping"),
            ("unit" | "option", ..) => f.write_str("nothing"),
            (text, ..) if text.starts_with("struct ") => f.write_str("a mapping"),
            (text, ..) => f.write_str(text),
        }
    }
}

/// A value that was not wanted, in words of YAML.
struct Shown<'a>(Unexpected<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Bool(value) => write!(f, "{value}"),
            Unexpected::Unsigned(value) => write!(f, "{value}"),
            Unexpected::Signed(value) => write!(f, "{value}"),
            Unexpected::Float(value) => write!(f, "{value}"),
            Unexpected::Str(text) => write!(f, "{:?}", text.chars().take(60).collect::<String>()),
            Unexpected::Unit | Unexpected::Option => f.write_str("nothing"),
            Unexpected::Seq => f.write_str("a list"),
            Unexpected::Map => f.write_str("a mapping"),
            other => other.fmt(f),
        }
    }
}

/// The keys that a struct which denies unknown ones knows.
pub(in crate::compile) fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    // No key has a blank in it, so this one is refused, and the refusal lists the others.
    let unknown = [(" ", ())].into_iter();
    match T::deserialize(MapDeserializer::<_, Fault>::new(unknown)) {
        Err(Fault { what: What::UnknownKey { known, .. }, .. }) => known,
        _ => &[],
    }
}
