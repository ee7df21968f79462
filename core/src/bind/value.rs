use std::fmt;

use serde_json::{Number, Value};

/// A JSON value together with its text, which keeps numbers as they were written.
#[derive(Clone, Debug)]
pub struct Json {
    value: Value,
    text: String,
}

impl Json {
    /// Reads one JSON text; `None` where it is not JSON.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let value = serde_json::from_str(text).ok()?;
        Some(Self { value, text: text.to_owned() })
    }

    /// JSON's null.
    pub fn null() -> Self {
        Value::Null.into()
    }

    /// The value; numbers beyond 64 bits are rounded, in `text` they are not.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value alone.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_str(&self) -> bool {
        self.value.is_string()
    }

    /// True for a number written without fraction and exponent, of any size.
    fn is_int(&self) -> bool {
        let digits = self.text.strip_prefix('-').unwrap_or(&self.text);
        self.value.is_number() && digits.bytes().all(|b| b.is_ascii_digit())
    }

    /// Equality of values, where 1 is 1.0.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self.value.as_f64(), other.value.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => self.value == other.value,
        }
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        let text = value.to_string();
        Self { value, text }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned()).into()
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Type of a parameter or argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kind {
    /// Any JSON value.
    #[default]
    Any,
    Int,
    /// Any number.
    Float,
    Str,
    Bool,
    List,
    Map,
    /// Text that is a path: absolute, or relative without `..`.
    Path,
    /// Text that is a day: `2026-11-28`.
    Date,
    /// Text that stands in no plan and no record.
    Secret,
}

impl Kind {
    /// The types that have a word.
    pub const NAMED: [Self; 9] = [
        Self::Int,
        Self::Float,
        Self::Str,
        Self::Bool,
        Self::List,
        Self::Map,
        Self::Path,
        Self::Date,
        Self::Secret,
    ];

    /// True for types whose values are text.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Str | Self::Path | Self::Date | Self::Secret)
    }

    /// The word that users write; empty for any value.
    pub fn word(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Int => "int",
            Self::Float => "float",
            Self::Str => "str",
            Self::Bool => "bool",
            Self::List => "list",
            Self::Map => "map",
            Self::Path => "path",
            Self::Date => "date",
            Self::Secret => "secret",
        }
    }

    /// What a value of the type is, for messages.
    fn in_words(self) -> &'static str {
        match self {
            Self::Path => "path (text without `..`)",
            Self::Date => "date (text like 2026-11-28)",
            Self::Any
            | Self::Int
            | Self::Float
            | Self::Str
            | Self::Bool
            | Self::List
            | Self::Map
            | Self::Secret => self.word(),
        }
    }

    /// The type of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Any].into_iter().chain(Self::NAMED).find(|kind| kind.word() == word)
    }

    /// The type that a default implies; null implies none.
    pub fn of(json: &Json) -> Self {
        match &json.value {
            Value::Null => Self::Any,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) if json.is_int() => Self::Int,
            Value::Number(_) => Self::Float,
            Value::String(_) => Self::Str,
            Value::Array(_) => Self::List,
            Value::Object(_) => Self::Map,
        }
    }
}

/// What a type hint says of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hint {
    pub kind: Kind,
    /// True where null will do as well.
    pub optional: bool,
}

impl Hint {
    /// Checks that a value is of the hinted type.
    pub fn check(self, json: &Json) -> Result<(), Misfit> {
        let fits = match (self.kind, &json.value) {
            (Kind::Any, _) => true,
            (_, Value::Null) => self.optional,
            (Kind::Int, _) => json.is_int(),
            (Kind::Float, value) => value.is_number(),
            (Kind::Str | Kind::Secret, value) => value.is_string(),
            (Kind::Path, value) => value.as_str().is_some_and(is_path),
            (Kind::Date, value) => value.as_str().is_some_and(is_date),
            (Kind::Bool, value) => value.is_boolean(),
            (Kind::List, value) => value.is_array(),
            (Kind::Map, value) => value.is_object(),
        };
        // What is secret stands in no message.
        let got =
            || if self.kind == Kind::Secret { "another type".into() } else { shorten(&json.text) };
        if fits { Ok(()) } else { Err(Misfit::Type { expected: self.kind, got: got() }) }
    }
}

/// True for a path that a step may be handed: no `..` out of wherever it starts, no NUL.
fn is_path(text: &str) -> bool {
    let safe = !text.is_empty() && !text.chars().any(char::is_control) && !text.starts_with('~');
    safe && !text.split(['/', '\\']).any(|part| part == "..")
}

/// True for a day of the calendar as ISO 8601 writes it.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let digits = |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
        return false;
    }
    let number = |part: &str| part.parse::<u32>().unwrap_or_default();
    let (year, day) = (number(year), number(day));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match number(month) {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// A bound that a number breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ranged {
    AtLeast(f64),
    AtMost(f64),
}

impl fmt::Display for Ranged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, bound) = match self {
            Self::AtLeast(bound) => ("at least", bound),
            Self::AtMost(bound) => ("at most", bound),
        };
        write!(f, "{words} {}", Number::from_f64(*bound).map_or(Value::Null, whole))
    }
}

/// 9 rather than 9.0.
fn whole(number: Number) -> Value {
    let text = number.to_string();
    let short = text.strip_suffix(".0").unwrap_or(&text);
    serde_json::from_str(short).unwrap_or(Value::Number(number))
}

/// Why a value will not do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Misfit {
    #[error("expected {}, got {got}", expected.in_words())]
    Type { expected: Kind, got: String },
    #[error("must be {bound}, got {got}")]
    Range { bound: Ranged, got: String },
    #[error("must be one of {}, got {got}", choices.join(", "))]
    Choice { choices: Vec<String>, got: String },
}

/// Longest value that a message repeats, in characters.
const MAX_SHOWN: usize = 60;

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
