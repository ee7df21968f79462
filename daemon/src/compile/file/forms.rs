//! Values that may be written in more than one form.
mod flow;

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::Value;

use super::{
    named::Named,
    types::{ParamFields, PickFields},
};

pub(super) use self::flow::{ExprFile, ItemsFile, ResourcesFile, SecretFile};

/// A parameter: its default, or all about it.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum ParamFile {
    Fields(ParamFields),
    Default(Value),
}

/// What to run: text for a shell, or the words of a command that needs none.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum RunFile {
    Text(String),
    Words(Vec<String>),
}

/// Outputs: the whole value, the items of a tuple, or parts of it.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum OutFile {
    Whole(String),
    Items(Vec<String>),
    Parts(#[schemars(with = "BTreeMap<String, PickFile>")] Named<PickFile>),
}

/// A path like `.a.b`, or path and codec.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum PickFile {
    Path(String),
    Fields(PickFields),
}

/// Metrics: names of numbers in the returned mapping, or names with paths.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum MetricsFile {
    Names(Vec<String>),
    Paths(#[schemars(with = "BTreeMap<String, String>")] Named<String>),
}

/// Text, or a number or truth value that becomes text.
#[derive(JsonSchema)]
#[schemars(with = "ScalarSchema")]
pub(super) struct Scalar(pub(super) String);

#[derive(JsonSchema)]
#[schemars(untagged, rename = "Scalar")]
#[expect(dead_code, reason = "only its schema is used")]
enum ScalarSchema {
    Text(String),
    Number(f64),
    Truth(bool),
}

/// Some, also of null: the key is there.
pub(super) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Reads one of several forms, each by its own function.
struct Forms<T> {
    expected: &'static str,
    text: Option<fn(String) -> T>,
    list: Option<fn(Vec<String>) -> T>,
}

struct FormsVisitor<T, M> {
    forms: Forms<T>,
    map: fn(M) -> T,
}

impl<'de, T, M: Deserialize<'de>> Visitor<'de> for FormsVisitor<T, M> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.forms.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        match self.forms.text {
            Some(make) => Ok(make(text.to_owned())),
            None => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        match self.forms.list {
            Some(make) => Vec::deserialize(SeqAccessDeserializer::new(list)).map(make),
            None => Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(self.map)
    }
}

impl<'de> Deserialize<'de> for RunFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a string for the shell, or a list of the words of a command";
        let forms = Forms { expected, text: Some(Self::Text), list: Some(Self::Words) };
        let map = |mapping: NoMapping| match mapping {};
        deserializer.deserialize_any(FormsVisitor { forms, map })
    }
}

/// Takes the place of a mapping where there is no such form.
enum NoMapping {}

impl<'de> Deserialize<'de> for NoMapping {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("expected text or a list of words, got a mapping"))
    }
}

impl<'de> Deserialize<'de> for OutFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a name, a list of names or a mapping of names";
        let forms = Forms { expected, text: Some(Self::Whole), list: Some(Self::Items) };
        deserializer.deserialize_any(FormsVisitor { forms, map: Self::Parts })
    }
}

impl<'de> Deserialize<'de> for PickFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a path like .a.b, or a mapping with pick and codec";
        let forms = Forms { expected, text: Some(Self::Path), list: None };
        deserializer.deserialize_any(FormsVisitor { forms, map: Self::Fields })
    }
}

impl<'de> Deserialize<'de> for MetricsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a list of names or a mapping of names to paths";
        let forms = Forms { expected, text: None, list: Some(Self::Names) };
        deserializer.deserialize_any(FormsVisitor { forms, map: Self::Paths })
    }
}

impl<'de> Deserialize<'de> for ParamFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParamVisitor)
    }
}

struct ParamVisitor;

impl<'de> Visitor<'de> for ParamVisitor {
    type Value = ParamFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a default, or a mapping with type, default, min, max, choices, pattern and help",
        )
    }

    fn visit_unit<E>(self) -> Result<ParamFile, E> {
        Ok(ParamFile::Default(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<ParamFile, E> {
        Ok(ParamFile::Default(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ParamFile, E> {
        Ok(ParamFile::Default(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ParamFile, E> {
        Ok(ParamFile::Default(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<ParamFile, E> {
        Ok(ParamFile::Default(value.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<ParamFile, E> {
        Ok(ParamFile::Default(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<ParamFile, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(list)).map(ParamFile::Default)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ParamFile, A::Error> {
        ParamFields::deserialize(MapAccessDeserializer::new(map)).map(ParamFile::Fields)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            value @ (Value::Bool(_) | Value::Number(_)) => Ok(Self(value.to_string())),
            Value::Null => {
                Err(D::Error::custom("expected text, got nothing; write '' for empty text"))
            }
            Value::Array(_) => Err(D::Error::custom("expected text, got a list")),
            Value::Object(_) => Err(D::Error::custom("expected text, got a mapping")),
        }
    }
}
